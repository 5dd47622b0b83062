//! Load by `wrk`, with a script that sends one ready-made request per token.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use countersign_stack::process;
use countersign_stack::tools;
use countersign_tests::bench::edge::{self, Edge, Processor};
use serde::Deserialize;
use tokio::time::timeout;

use crate::clients::Clients;

pub(crate) const CONNECTIONS: u32 = 64;

const PATH: &str = "/api/positions";

/// How long `wrk` may take longer than it was told to.
const PATIENCE: Duration = Duration::from_secs(30);

/// A stream of requests, one token after another.
#[derive(Debug)]
pub(crate) struct Load<'a> {
    pub(crate) clients: &'a Clients,
    pub(crate) threads: u32,
    pub(crate) processor: Processor,
    /// The token that comes next, so that several runs together go through the whole file.
    pub(crate) position: u64,
}

/// How many requests, in all, per second.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    AsFastAsItGoes,
    PerSecond(u32),
}

/// What `wrk` saw.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    pub(crate) requests: u64,
    pub(crate) duration_us: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    /// Answers other than 2xx and 3xx.
    refused: u64,
    /// Connections that failed or timed out.
    broken: u64,
    position: u64,
}

/// # Errors
/// `wrk` is not installed.
pub(crate) fn check_wrk() -> Result<()> {
    // Asked for its version, it exits with 1.
    std::process::Command::new("wrk")
        .arg("-v")
        .output()
        .map(drop)
        .map_err(|_| anyhow!("wrk is not installed: it sends the load (Debian: apt install wrk)"))
}

impl Load<'_> {
    /// Sends requests for `seconds`. That each is answered with success is part of what is measured.
    pub(crate) async fn run(&mut self, edge: &Edge, seconds: u64, pace: Pace) -> Result<Run> {
        let mut wrk = process::command(Path::new("/usr/bin/env"));
        wrk.args(edge::pinned(self.processor)).arg("wrk");
        wrk.args(["--timeout", "5s", "--connections", &CONNECTIONS.to_string()]);
        wrk.args(["--threads", &self.threads.to_string(), "--duration", &format!("{seconds}s")]);
        wrk.arg("--script").arg(tools::workspace().join("tests/bench/load.lua"));
        wrk.arg(edge.url(PATH)).arg("--").arg(&self.clients.file);
        let (low, high) = pace.delay_ms();
        wrk.args([u64::from(self.threads), self.position, low, high].map(|number| number.to_string()));

        let limit = Duration::from_secs(seconds) + PATIENCE;
        let output = timeout(limit, wrk.output()).await.context("wrk does not end")??;
        let said = String::from_utf8_lossy(&output.stdout);
        let run =
            parse(&said).with_context(|| format!("{said}{}", String::from_utf8_lossy(&output.stderr)))?;
        ensure!(run.refused == 0, "{} of {} requests were refused", run.refused, run.requests);
        ensure!(run.broken == 0, "{} connections of wrk broke", run.broken);
        self.position = run.position;
        Ok(run)
    }
}

impl Pace {
    /// The least and the most that a connection waits before a request: uniform, so that connections do not march
    /// in step.
    fn delay_ms(self) -> (u64, u64) {
        match self {
            Self::AsFastAsItGoes => (0, 0),
            Self::PerSecond(rate) => (1, u64::from(2 * 1000 * CONNECTIONS / rate.max(1)).max(2) - 1),
        }
    }
}

fn parse(said: &str) -> Result<Run> {
    let line = said.lines().find_map(|line| line.strip_prefix("bench-edge "));
    Ok(serde_json::from_str(line.context("wrk printed no summary")?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_summary_among_what_wrk_prints() {
        let said = "Running 1s test @ http://127.0.0.1:1/\n  Requests/sec: 3.0\n\nbench-edge {\"requests\":3,\
                    \"duration_us\":1000000,\"p50_us\":70,\"p99_us\":90,\"refused\":0,\"broken\":0,\"position\":4}\n";
        let run = parse(said).unwrap();
        assert_eq!((run.requests, run.p50_us, run.p99_us, run.position), (3, 70, 90, 4));
        assert!(parse("Running 1s test").is_err());
    }

    #[test]
    fn waits_so_that_all_connections_together_keep_the_pace() {
        let (low, high) = Pace::PerSecond(4000).delay_ms();
        assert_eq!((low + high) / 2, u64::from(CONNECTIONS) * 1000 / 4000);
        assert_eq!(Pace::AsFastAsItGoes.delay_ms(), (0, 0));
    }
}
