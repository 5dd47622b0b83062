//! What is measured on one database, in this order: memory at rest, each load alone, latency while logins saturate,
//! memory after all that, and the same loads with more and more rows.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::clients::{Login, Ready, Refresh};
use crate::database::{Database, Kind};
use crate::issuer::{self, Hashing, Home, Issuer, Programs};
use crate::load::{Client, Crowd, Pace, Run};
use crate::people::{self, People};
use crate::wire::{self, Connection};

pub(crate) const CONNECTIONS: u32 = 64;

/// Enough for every hashing thread to find another password waiting.
const LOGIN_CONNECTIONS: u64 = 32;

/// Callers of `me`: so many people, each with a session, if there are so many.
const TOKENS: u64 = 20_000;

/// Each of these connections sends fifty requests a second while logins saturate.
const WATCHING_CONNECTIONS: usize = 8;
const WATCHING_PAUSE: Duration = Duration::from_millis(20);

/// Until memory at rest is as it stays: longer than the issuer keeps what it needs only under load.
const REST: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Logins, and the limit that argon2id sets
    Logins,
    Refreshes,
    Me,
    Jwks,
    /// Of `me` and the JWKS while logins saturate
    Latency,
    /// At rest, and after every load
    Memory,
    /// How the loads fare with more rows
    Rows,
}

/// Everything that the measurements of a run share.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) programs: Programs,
    /// `target/bench`.
    pub(crate) folder: PathBuf,
    pub(crate) hashing: Hashing,
    pub(crate) seconds: u64,
    pub(crate) rounds: usize,
    /// Accounts and sessions: the first number for everything, the others for [`Part::Rows`].
    pub(crate) rows: Vec<u64>,
    pub(crate) only: Option<Vec<Part>>,
    /// Keep the issuer's log.
    pub(crate) log: bool,
    pub(crate) begun: Instant,
}

/// A load and what it took.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Measured {
    #[serde(flatten)]
    pub(crate) run: Run,
    /// Processor time of the issuer for each request, in µs.
    pub(crate) issuer_cpu_us: f64,
    /// The same of the load itself, which competes with the issuer for the processors.
    pub(crate) load_cpu_us: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Logins {
    pub(crate) measured: Measured,
    /// Hashes per second that the machine can do with the same parameters and threads; the middle of the rounds.
    pub(crate) limit_per_second: f64,
    pub(crate) of_limit: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    /// The logins that saturated meanwhile.
    pub(crate) logins: Run,
    pub(crate) me: Run,
    pub(crate) jwks: Run,
}

#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) at_rest_mb: f64,
    pub(crate) after_load_mb: f64,
}

/// The loads with so many accounts and sessions.
#[derive(Debug, Serialize)]
pub(crate) struct Size {
    pub(crate) rows: u64,
    pub(crate) logins: Measured,
    pub(crate) refreshes: Measured,
    pub(crate) me: Measured,
}

/// All that one database has to show.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Results {
    pub(crate) database: serde_json::Value,
    pub(crate) logins: Option<Logins>,
    pub(crate) refreshes: Option<Measured>,
    pub(crate) me: Option<Measured>,
    pub(crate) jwks: Option<Measured>,
    pub(crate) latency: Option<Latency>,
    pub(crate) memory: Option<Memory>,
    pub(crate) rows: Vec<Size>,
}

impl Bench {
    pub(crate) async fn measure(&self, kind: Kind) -> Result<Results> {
        let folder = self.folder.join(format!("issuer-{}", kind.name()));
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let database = Database::create(kind, &folder).await?;
        let log = self.log.then(|| self.folder.join(format!("issuer-{}.log", kind.name())));
        let home = Home::prepare(folder, &database.url, self.hashing, log)?;
        let scene = Scene { bench: self, kind, home };
        let results = scene.play(&database).await;
        database.drop().await?;
        results
    }

    fn wants(&self, part: Part) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&part))
    }

    /// Memory is of interest only after the loads.
    fn loads(&self, part: Part) -> bool {
        self.wants(part) || self.wants(Part::Memory)
    }
}

/// One issuer on one database.
#[derive(Debug)]
struct Scene<'a> {
    bench: &'a Bench,
    kind: Kind,
    home: Home,
}

impl Scene<'_> {
    async fn play(&self, database: &Database) -> Result<Results> {
        let bench = self.bench;
        let mut people = self.first(database).await?;
        let mut sizes = bench.rows.iter().copied();
        people = self.grow(database, people, sizes.next().context("no rows")?).await?;
        let mut results = Results { database: database.about().await?, ..Results::default() };

        let issuer = self.home.start(&bench.programs).await?;
        let at_rest_mb = if bench.wants(Part::Memory) {
            self.say("memory at rest");
            sleep(REST).await;
            issuer.resident_mb()?
        } else {
            0.0
        };
        if bench.loads(Part::Logins) {
            results.logins = Some(self.logins(&issuer, people).await?);
        }
        if bench.loads(Part::Refreshes) {
            results.refreshes = Some(self.refreshes(&issuer, people).await?);
        }
        if bench.loads(Part::Me) {
            results.me = Some(self.ready("me", &issuer, Ready::me(people, TOKENS)?).await?);
        }
        if bench.loads(Part::Jwks) {
            results.jwks = Some(self.ready("JWKS", &issuer, Ready::jwks()).await?);
        }
        if bench.wants(Part::Latency) {
            results.latency = Some(self.latency(&issuer, people).await?);
        }
        if bench.wants(Part::Memory) {
            self.say("memory after load");
            sleep(REST).await;
            results.memory = Some(Memory { at_rest_mb, after_load_mb: issuer.resident_mb()? });
        }
        issuer.stop().await?;

        if bench.wants(Part::Rows) {
            results.rows.push(self.size(people).await?);
            for rows in sizes {
                people = self.grow(database, people, rows).await?;
                results.rows.push(self.size(people).await?);
            }
        }
        Ok(results)
    }

    /// The account and the session that the issuer makes itself.
    async fn first(&self, database: &Database) -> Result<People> {
        let programs = &self.bench.programs;
        // It makes the tables, too.
        let issuer = self.home.start(programs).await?;
        self.home.create_first(programs)?;
        let mut request = Vec::new();
        wire::post(
            &mut request,
            "/v1/auth/login",
            &format!(r#"{{"email":"{}","password":"{}"}}"#, people::FIRST, people::PASSWORD),
        );
        let mut connection = Connection::open(issuer.port).await?;
        let status = connection.exchange(&request).await?.status;
        anyhow::ensure!(
            status == 200,
            "the first account cannot log in to {}: {status}",
            database.kind.name()
        );
        drop(connection);
        issuer.stop().await?;
        Ok(People { count: 0 })
    }

    async fn grow(&self, database: &Database, mut people: People, rows: u64) -> Result<People> {
        self.say(&format!("{rows} accounts and sessions"));
        let pool = database.pool().await?;
        people.grow(&pool, self.kind, rows).await?;
        pool.close().await;
        Ok(people)
    }

    async fn logins(&self, issuer: &Issuer, people: People) -> Result<Logins> {
        let bench = self.bench;
        let mut crowd = Crowd::gather(issuer.port, Login::crowd(people, LOGIN_CONNECTIONS)).await?;
        crowd.run(self.warm_up(), Pace::AsFastAsItGoes).await?;
        let (mut limits, mut runs) = (Vec::new(), Vec::new());
        for round in 0..bench.rounds {
            let limit = bench.programs.limit(bench.hashing, bench.seconds).await?;
            let run = self.once(issuer, &mut crowd).await?;
            let rate = run.run.per_second;
            self.say(&format!("{}: {rate:.1} logins/s, limit {limit:.1}", self.round(round)));
            limits.push(limit);
            runs.push(run);
        }
        limits.sort_by(f64::total_cmp);
        let limit_per_second = limits[limits.len() / 2];
        let measured = middle(runs)?;
        let of_limit = measured.run.per_second / limit_per_second;
        Ok(Logins { measured, limit_per_second, of_limit })
    }

    async fn refreshes(&self, issuer: &Issuer, people: People) -> Result<Measured> {
        let crowd = refreshing(issuer, people).await?;
        self.rounds("refreshes", issuer, crowd).await
    }

    async fn ready(
        &self,
        what: &str,
        issuer: &Issuer,
        requests: std::sync::Arc<[Vec<u8>]>,
    ) -> Result<Measured> {
        let clients = Ready::crowd(requests, CONNECTIONS as usize);
        self.rounds(what, issuer, Crowd::gather(issuer.port, clients).await?).await
    }

    async fn rounds<C: Client>(&self, what: &str, issuer: &Issuer, mut crowd: Crowd<C>) -> Result<Measured> {
        crowd.run(self.warm_up(), Pace::AsFastAsItGoes).await?;
        let mut runs = Vec::new();
        for round in 0..self.bench.rounds {
            let run = self.once(issuer, &mut crowd).await?;
            self.say(&format!("{}: {:.0} {what}/s", self.round(round), run.run.per_second));
            runs.push(run);
        }
        middle(runs)
    }

    async fn latency(&self, issuer: &Issuer, people: People) -> Result<Latency> {
        let watch = |requests| Crowd::gather(issuer.port, Ready::crowd(requests, WATCHING_CONNECTIONS));
        let mut logins = Crowd::gather(issuer.port, Login::crowd(people, LOGIN_CONNECTIONS)).await?;
        let mut me = watch(Ready::me(people, TOKENS)?).await?;
        let mut jwks = watch(Ready::jwks()).await?;
        logins.run(self.warm_up(), Pace::AsFastAsItGoes).await?;
        // Enough requests for a 99th percentile.
        let (time, pace) = (2 * self.time(), Pace::Every(WATCHING_PAUSE));
        let (logins, me, jwks) = tokio::try_join!(
            logins.run(time, Pace::AsFastAsItGoes),
            me.run(time, pace),
            jwks.run(time, pace)
        )?;
        self.say(&format!("p99 while logins saturate: me {} µs, JWKS {} µs", me.p99_us, jwks.p99_us));
        Ok(Latency { logins, me, jwks })
    }

    /// The loads with as many rows as there are.
    async fn size(&self, people: People) -> Result<Size> {
        let issuer = self.home.start(&self.bench.programs).await?;
        let logins = Crowd::gather(issuer.port, Login::crowd(people, LOGIN_CONNECTIONS)).await?;
        let logins = self.rounds("logins", &issuer, logins).await?;
        let refreshes = self.refreshes(&issuer, people).await?;
        let me = self.ready("me", &issuer, Ready::me(people, TOKENS)?).await?;
        issuer.stop().await?;
        Ok(Size { rows: people.count, logins, refreshes, me })
    }

    async fn once<C: Client>(&self, issuer: &Issuer, crowd: &mut Crowd<C>) -> Result<Measured> {
        let (before, own_before) = (issuer.cpu_time()?, issuer::cpu_time("self")?);
        let run = crowd.run(self.time(), Pace::AsFastAsItGoes).await?;
        let (after, own_after) = (issuer.cpu_time()?, issuer::cpu_time("self")?);
        let each = |before: Duration, after: Duration| {
            after.saturating_sub(before).as_secs_f64() * 1e6 / run.requests as f64
        };
        Ok(Measured { run, issuer_cpu_us: each(before, after), load_cpu_us: each(own_before, own_after) })
    }

    fn time(&self) -> Duration {
        Duration::from_secs(self.bench.seconds)
    }

    fn warm_up(&self) -> Duration {
        Duration::from_millis(1000.min(self.bench.seconds * 500))
    }

    fn round(&self, round: usize) -> String {
        format!("round {} of {}", round + 1, self.bench.rounds)
    }

    /// The progress of the run.
    fn say(&self, what: &str) {
        eprintln!("{:>5.0} s  {:<8}  {what}", self.bench.begun.elapsed().as_secs_f64(), self.kind.name());
    }
}

/// Sessions that go on, one on each connection.
async fn refreshing(issuer: &Issuer, people: People) -> Result<Crowd<Refresh>> {
    let mut clients = Vec::new();
    let mut connection = Connection::open(issuer.port).await?;
    for mut login in Login::crowd(people, CONNECTIONS.into()) {
        let answer = connection.exchange(login.request()).await?;
        anyhow::ensure!(answer.status == 200, "a login was answered with {}", answer.status);
        login.answered(answer.body)?;
        clients.push(Refresh::with(login.refresh_token.as_deref().unwrap_or_default()));
    }
    Crowd::gather(issuer.port, clients).await
}

/// The run with the middle rate, in the company of its own latencies.
fn middle(mut runs: Vec<Measured>) -> Result<Measured> {
    runs.sort_by(|one, other| one.run.per_second.total_cmp(&other.run.per_second));
    runs.get(runs.len() / 2).copied().context("no rounds")
}
