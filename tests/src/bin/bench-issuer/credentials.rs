//! Credentials of trading accounts: reading them at a steady pace and as fast as it goes, and replacing the key that
//! protects them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::clients::{EACH, Ready, link, readings};
use crate::issuer::{self, Issuer};
use crate::load::{Crowd, Pace, Run};
use crate::measure::{CONNECTIONS, Load, Part};
use crate::people::People;
use crate::scene::Scene;

/// With 64 connections, a little more than 1,000 readings a second.
const STEADY: Pace = Pace::Every(Duration::from_millis(60));

/// How often memory is looked at while keys are wrapped anew.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What there is to say of credentials.
#[derive(Debug, Serialize)]
pub(crate) struct Credentials {
    pub(crate) records: u64,
    /// Readings, paced.
    pub(crate) steady: Option<Run>,
    pub(crate) rewrap: Option<Rewrap>,
}

/// `countersign keys rewrap`, from its start to its end.
#[derive(Debug, Serialize)]
pub(crate) struct Rewrap {
    pub(crate) seconds: f64,
    /// The most memory it had in the first half of its time, and in the second.
    pub(crate) most_mb: [f64; 2],
}

impl Scene<'_> {
    /// People who link `records` accounts, and what can be measured with those.
    pub(crate) async fn credentials(
        &self,
        people: People,
        records: u64,
    ) -> Result<(Option<Load>, Credentials)> {
        let bench = self.bench;
        let token = self.home.add_service(&bench.programs, "credentials:read")?;
        let issuer = self.home.start(&bench.programs).await?;
        self.say(&format!("{records} trading accounts"));
        ensure!(people.count >= records / EACH, "too few people");
        let ids = link(issuer.port, 0..records / EACH, CONNECTIONS as usize).await?;
        let mut credentials = Credentials { records: ids.len() as u64, steady: None, rewrap: None };
        let mut load = None;
        if bench.wants(Part::Credentials) {
            let ready = Ready::crowd(readings(&ids, &token), CONNECTIONS as usize);
            let mut crowd = Crowd::gather(issuer.internal_port, ready).await?;
            crowd.run(self.warm_up(), STEADY).await?;
            let steady = crowd.run(self.time() * 2, STEADY).await?;
            self.say(&format!("at {:.0} credentials/s: p50 {} µs", steady.per_second, steady.p50_us));
            credentials.steady = Some(steady);
            let measured = self.rounds(Part::Credentials, &issuer, crowd).await?;
            load = Some(Load { name: Part::Credentials, measured });
        }
        if bench.wants(Part::Rewrap) {
            credentials.rewrap = Some(self.rewrap(&issuer).await?);
        }
        issuer.stop().await?;
        Ok((load, credentials))
    }

    /// Beside the issuer, as it is meant to be.
    async fn rewrap(&self, issuer: &Issuer) -> Result<Rewrap> {
        self.home.replace_key()?;
        let begun = Instant::now();
        let mut child = self.home.rewrap(&self.bench.programs)?;
        let pid = child.id().context("the command has no process id")?;
        let mut seen = Vec::new();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            // It may end at any moment.
            seen.extend(issuer::resident_mb(pid).ok().map(|mb| (begun.elapsed(), mb)));
            sleep(LOOK_EVERY).await;
        };
        let took = begun.elapsed();
        ensure!(status.success(), "rewrap failed: {status}");
        ensure!(issuer.resident_mb()? > 0.0, "the issuer is gone");
        let most = |half: usize| {
            let of_half = seen.iter().filter(|(at, _)| usize::from(*at > took / 2) == half);
            of_half.map(|(_, mb)| *mb).fold(0.0, f64::max)
        };
        let rewrap = Rewrap { seconds: took.as_secs_f64(), most_mb: [most(0), most(1)] };
        self.say(&format!("rewrapped in {:.1} s, with {:?} MB", rewrap.seconds, rewrap.most_mb));
        Ok(rewrap)
    }
}
