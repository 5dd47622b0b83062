//! Load: some connections, each with a client that sends one request after another, for a while.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use countersign_tests::bench::wire::{Answer, Connection};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Who sits on a connection.
pub(crate) trait Client: Send + 'static {
    /// What every answer must have.
    const STATUS: u16 = 200;

    /// The next request.
    fn request(&mut self) -> &[u8];

    /// Called with every answer of that status; whether what was begun is done with it, and counts.
    fn answered(&mut self, _body: &[u8]) -> Result<bool> {
        Ok(true)
    }
}

/// When a connection sends its next request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// With the answer to the last.
    AsFastAsItGoes,
    /// So long after it; connections do not march in step.
    Every(Duration),
}

/// What the clients saw.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Run {
    pub(crate) requests: usize,
    pub(crate) per_second: f64,
    pub(crate) p50_us: u32,
    pub(crate) p99_us: u32,
    pub(crate) max_us: u32,
}

/// Clients on their connections, which stay open from run to run.
#[derive(Debug)]
pub(crate) struct Crowd<C> {
    seats: Vec<(Connection, C)>,
}

impl<C: Client> Crowd<C> {
    pub(crate) async fn gather(port: u16, clients: impl IntoIterator<Item = C>) -> Result<Self> {
        let mut seats = Vec::new();
        for client in clients {
            seats.push((Connection::open(port).await?, client));
        }
        Ok(Self { seats })
    }

    /// Sends requests for `time`. That each is answered as it should be is part of what is measured.
    pub(crate) async fn run(&mut self, time: Duration, pace: Pace) -> Result<Run> {
        let begin = Instant::now();
        let end = begin + time;
        let count = u32::try_from(self.seats.len())?.max(1);
        let mut tasks = JoinSet::new();
        for (place, (connection, client)) in (0_u32..).zip(self.seats.drain(..)) {
            let pace = match pace {
                Pace::AsFastAsItGoes => None,
                Pace::Every(pause) => Some((pause * place / count, pause)),
            };
            tasks.spawn(sit(connection, client, end, pace));
        }
        let mut latencies = Vec::new();
        while let Some(seat) = tasks.join_next().await {
            let (connection, client, some) = seat??;
            self.seats.push((connection, client));
            latencies.extend(some);
        }
        Run::of(latencies, time)
    }
}

/// Latencies in µs of all requests that were answered before the end. With a pace: when to begin, and how long to pause.
async fn sit<C: Client>(
    mut connection: Connection,
    mut client: C,
    end: Instant,
    pace: Option<(Duration, Duration)>,
) -> Result<(Connection, C, Vec<u32>)> {
    let mut latencies = Vec::with_capacity(1024);
    if let Some((first, _)) = pace {
        sleep(first).await;
    }
    while Instant::now() < end {
        let sent = Instant::now();
        let answered = loop {
            let Answer { status, body } = connection.exchange(client.request()).await?;
            ensure!(status == C::STATUS, "{status}: {}", String::from_utf8_lossy(body));
            let answered = Instant::now();
            if client.answered(body)? {
                break answered;
            }
        };
        if answered < end {
            latencies.push(u32::try_from((answered - sent).as_micros()).unwrap_or(u32::MAX));
        }
        if let Some((_, pause)) = pace {
            sleep(pause).await;
        }
    }
    Ok((connection, client, latencies))
}

impl Run {
    fn of(mut latencies: Vec<u32>, time: Duration) -> Result<Self> {
        latencies.sort_unstable();
        let last = latencies.len().checked_sub(1).context("not one answer in time")?;
        let percentile = |percent: usize| latencies[last * percent / 100];
        Ok(Self {
            requests: latencies.len(),
            per_second: latencies.len() as f64 / time.as_secs_f64(),
            p50_us: percentile(50),
            p99_us: percentile(99),
            max_us: latencies[last],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_all_connections_together() {
        let run = Run::of((1..=200).rev().collect(), Duration::from_secs(2)).unwrap();
        assert_eq!((run.requests, run.per_second), (200, 100.0));
        assert_eq!((run.p50_us, run.p99_us, run.max_us), (100, 198, 200));
        assert!(Run::of(vec![], Duration::from_secs(1)).is_err());
    }
}
