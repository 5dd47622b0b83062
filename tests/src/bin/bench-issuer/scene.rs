//! One issuer on one database, in this order: memory at rest, each load alone, latency while logins saturate, memory after
//! all that, and the same loads with more and more rows.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use countersign_tests::bench::process::cpu_time;
use countersign_tests::bench::wire::{self, Connection};
use tokio::time::{Instant, sleep};

use crate::clients::{
    self, Listing, Login, Owner, Ready, Refresh, RoleChange, SecondStep, TurnedAway, enrol, lock,
};
use crate::database::Database;
use crate::issuer::{Home, Issuer};
use crate::load::{Client, Crowd, Pace};
use crate::measure::{Bench, CONNECTIONS, Latency, Limit, Load, Measured, Memory, Part, Results, Size};
use crate::people::{self, People};

/// Enough for every hashing thread to find another password waiting.
const LOGIN_CONNECTIONS: u64 = 32;

/// Callers of `me` and of their events: so many people, each with a session, if there are so many.
const TOKENS: u64 = 20_000;

/// Each of these connections sends fifty requests a second while logins saturate.
const WATCHING_CONNECTIONS: usize = 8;
const WATCHING_PAUSE: Duration = Duration::from_millis(20);

/// Until memory at rest is as it stays: longer than the issuer keeps what it needs only under load.
const REST: Duration = Duration::from_secs(10);

/// How long the first events may wait to be sealed.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) bench: &'a Bench,
    pub(crate) database: &'a Database,
    pub(crate) home: Home,
}

impl Scene<'_> {
    pub(crate) async fn play(&self) -> Result<Results> {
        let bench = self.bench;
        let owners = self.first().await?;
        let mut sizes = bench.rows.iter().copied();
        let mut people = self.grow(People { count: 0 }, sizes.next().context("no rows")?).await?;
        let mut results = Results { database: self.database.about().await?, ..Results::default() };

        let issuer = self.home.start(&bench.programs).await?;
        let at_rest_mb = if bench.wants(Part::Memory) { self.at_rest(&issuer).await? } else { 0.0 };
        for part in Part::LOADS.into_iter().filter(|part| bench.loads(*part)) {
            if part == Part::Logins {
                let (logins, limit) = self.logins(&issuer, people).await?;
                results.loads.push(logins);
                results.limit = Some(limit);
            } else {
                results.loads.push(self.load(part, &issuer, people, &owners).await?);
            }
        }
        if bench.wants(Part::Latency) {
            results.latency = Some(self.latency(&issuer, people).await?);
        }
        if bench.wants(Part::Memory) {
            let after_load_mb = self.at_rest(&issuer).await?;
            results.memory = Some(Memory { at_rest_mb, after_load_mb });
        }
        issuer.stop().await?;

        if bench.wants(Part::Rows) {
            results.rows.push(self.size(people, &owners).await?);
            for rows in sizes {
                people = self.grow(people, rows).await?;
                results.rows.push(self.size(people, &owners).await?);
            }
        }
        if bench.wants(Part::Credentials) || bench.wants(Part::Rewrap) {
            let people = self.grow(people, people.count.max(bench.records / clients::EACH)).await?;
            let (load, credentials) = self.credentials(people, bench.records).await?;
            results.loads.extend(load);
            results.credentials = Some(credentials);
        }
        Ok(results)
    }

    /// The rows that the issuer makes itself and all others are copied from, and the accounts apart.
    async fn first(&self) -> Result<Vec<Owner>> {
        let (programs, kind) = (&self.bench.programs, self.database.kind);
        // It makes the tables, too.
        let issuer = self.home.start(programs).await?;
        self.home.create_first(programs)?;
        log_in_first(&issuer).await.with_context(|| format!("the first account on {}", kind.name()))?;
        let pool = self.database.pool().await?;
        let deadline = Instant::now() + PATIENCE;
        // Copies of an event that is not sealed would all have to be.
        while !people::is_sealed(&pool).await? {
            ensure!(Instant::now() < deadline, "no event was sealed");
            sleep(Duration::from_millis(100)).await;
        }
        issuer.stop().await?;
        people::fill_apart(&pool, kind).await?;
        pool.close().await;

        let issuer = self.home.start(programs).await?;
        self.say("people with a second factor, and networks that have failed too often");
        let owners = enrol(issuer.port).await?;
        lock(issuer.port).await?;
        issuer.stop().await?;
        Ok(owners)
    }

    async fn grow(&self, mut people: People, rows: u64) -> Result<People> {
        self.say(&format!("{rows} accounts, sessions, events, failures"));
        let pool = self.database.pool().await?;
        people.grow(&pool, self.database.kind, rows).await?;
        pool.close().await;
        Ok(people)
    }

    async fn at_rest(&self, issuer: &Issuer) -> Result<f64> {
        self.say("memory at rest");
        sleep(REST).await;
        issuer.resident_mb()
    }

    /// The loads with as many rows as there are.
    async fn size(&self, people: People, owners: &[Owner]) -> Result<Size> {
        let issuer = self.home.start(&self.bench.programs).await?;
        let at_rest_mb = self.at_rest(&issuer).await?;
        let mut loads = Vec::new();
        // Nothing of the JWKS is in the database.
        for part in Part::LOADS.into_iter().filter(|part| *part != Part::Jwks) {
            loads.push(self.load(part, &issuer, people, owners).await?);
        }
        issuer.stop().await?;
        Ok(Size { rows: people.count, at_rest_mb, loads })
    }

    async fn load(&self, part: Part, issuer: &Issuer, people: People, owners: &[Owner]) -> Result<Load> {
        let (port, connections) = (issuer.port, CONNECTIONS as usize);
        let ready = async |requests| Crowd::gather(port, Ready::crowd(requests, connections)).await;
        let measured = match part {
            Part::Logins => {
                let clients = Login::crowd(people, LOGIN_CONNECTIONS);
                self.rounds(part, issuer, Crowd::gather(port, clients).await?).await
            }
            Part::Mfa => {
                self.reset_apart().await?;
                let clients = SecondStep::crowd(owners, LOGIN_CONNECTIONS as usize);
                self.rounds(part, issuer, Crowd::gather(port, clients).await?).await
            }
            Part::Refreshes => self.rounds(part, issuer, refreshing(issuer, people).await?).await,
            Part::Me => {
                let requests = Ready::of(clients::ME, people, TOKENS)?;
                self.rounds(part, issuer, ready(requests).await?).await
            }
            Part::Events => {
                let requests = Ready::of(clients::EVENTS, people, TOKENS)?;
                self.rounds(part, issuer, ready(requests).await?).await
            }
            Part::Jwks => self.rounds(part, issuer, ready(Ready::jwks()).await?).await,
            Part::Audit => {
                self.reset_apart().await?;
                let clients = RoleChange::crowd(connections)?;
                self.rounds(part, issuer, Crowd::gather(port, clients).await?).await
            }
            Part::Admin => {
                let clients = Listing::crowd(people, CONNECTIONS.into())?;
                self.rounds(part, issuer, Crowd::gather(port, clients).await?).await
            }
            Part::Limits => {
                lock(port).await?;
                let clients = TurnedAway::crowd(people, CONNECTIONS.into());
                self.rounds(part, issuer, Crowd::gather(port, clients).await?).await
            }
            Part::Credentials | Part::Rewrap | Part::Latency | Part::Memory | Part::Rows => {
                anyhow::bail!("{} is no load", part.name())
            }
        };
        Ok(Load { name: part, measured: measured.with_context(|| part.name())? })
    }

    async fn reset_apart(&self) -> Result<()> {
        let pool = self.database.pool().await?;
        people::reset_apart(&pool).await?;
        pool.close().await;
        Ok(())
    }

    /// In turn with the bare computation, so that both meet the same machine.
    async fn logins(&self, issuer: &Issuer, people: People) -> Result<(Load, Limit)> {
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
        let per_second = limits[limits.len() / 2];
        let measured = middle(runs)?;
        let reached = measured.run.per_second / per_second;
        Ok((Load { name: Part::Logins, measured }, Limit { per_second, reached }))
    }

    pub(crate) async fn rounds<C: Client>(
        &self,
        part: Part,
        issuer: &Issuer,
        mut crowd: Crowd<C>,
    ) -> Result<Measured> {
        crowd.run(self.warm_up(), Pace::AsFastAsItGoes).await?;
        let mut runs = Vec::new();
        for round in 0..self.bench.rounds {
            let run = self.once(issuer, &mut crowd).await?;
            self.say(&format!("{}: {:.0} {}/s", self.round(round), run.run.per_second, part.name()));
            runs.push(run);
        }
        middle(runs)
    }

    async fn latency(&self, issuer: &Issuer, people: People) -> Result<Latency> {
        let watch = |requests| Crowd::gather(issuer.port, Ready::crowd(requests, WATCHING_CONNECTIONS));
        let mut logins = Crowd::gather(issuer.port, Login::crowd(people, LOGIN_CONNECTIONS)).await?;
        let mut me = watch(Ready::of(clients::ME, people, TOKENS)?).await?;
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

    async fn once<C: Client>(&self, issuer: &Issuer, crowd: &mut Crowd<C>) -> Result<Measured> {
        let (before, own_before) = (issuer.cpu_time()?, cpu_time("self")?);
        let run = crowd.run(self.time(), Pace::AsFastAsItGoes).await?;
        let (after, own_after) = (issuer.cpu_time()?, cpu_time("self")?);
        let each = |before: Duration, after: Duration| {
            after.saturating_sub(before).as_secs_f64() * 1e6 / run.requests as f64
        };
        Ok(Measured { run, issuer_cpu_us: each(before, after), load_cpu_us: each(own_before, own_after) })
    }

    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs(self.bench.seconds)
    }

    pub(crate) fn warm_up(&self) -> Duration {
        Duration::from_millis(1000.min(self.bench.seconds * 500))
    }

    fn round(&self, round: usize) -> String {
        format!("round {} of {}", round + 1, self.bench.rounds)
    }

    /// The progress of the run.
    pub(crate) fn say(&self, what: &str) {
        let seconds = self.bench.begun.elapsed().as_secs_f64();
        eprintln!("{seconds:>5.0} s  {:<8}  {what}", self.database.kind.name());
    }
}

async fn log_in_first(issuer: &Issuer) -> Result<()> {
    let mut request = Vec::new();
    let body = format!(r#"{{"email":"{}","password":"{}"}}"#, people::FIRST, people::PASSWORD);
    wire::post(&mut request, "/v1/auth/login", &body);
    let mut connection = Connection::open(issuer.port).await?;
    let status = connection.exchange(&request).await?.status;
    ensure!(status == 200, "its login was answered with {status}");
    Ok(())
}

/// Sessions that go on, one on each connection.
async fn refreshing(issuer: &Issuer, people: People) -> Result<Crowd<Refresh>> {
    let mut clients = Vec::new();
    let mut connection = Connection::open(issuer.port).await?;
    for mut login in Login::crowd(people, CONNECTIONS.into()) {
        let answer = connection.exchange(login.request()).await?;
        ensure!(answer.status == 200, "a login was answered with {}", answer.status);
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
