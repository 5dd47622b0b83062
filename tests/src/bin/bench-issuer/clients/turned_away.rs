//! Who has failed too often, and tries on: what a login costs that is refused before a password is hashed.

use anyhow::{Result, bail, ensure};
use countersign_tests::bench::wire::{self, Connection};

use super::{LOGIN, credentials};
use crate::load::Client;
use crate::people::{self, People};

/// Networks that are locked, as a proxy would name them (RFC 5737).
const NETWORKS: u64 = 4;

/// More failures than a network may have.
const FAILURES: u64 = 100;

fn login(request: &mut Vec<u8>, network: u64, email: &str) {
    let from = format!("x-forwarded-for: 198.51.100.{}\r\n", network + 1);
    wire::write(request, "POST", LOGIN, &from, &credentials(email));
}

/// Fails from each network until it is locked.
pub(crate) async fn lock(port: u16) -> Result<()> {
    let (mut connection, mut request) = (Connection::open(port).await?, Vec::new());
    for network in 0..NETWORKS {
        for failure in 0.. {
            ensure!(failure < FAILURES, "{FAILURES} failures did not lock a network");
            login(&mut request, network, &format!("nobody-{network}-{failure}@bench.example"));
            match connection.exchange(&request).await?.status {
                401 => {}
                429 => break,
                status => bail!("a failing login was answered with {status}"),
            }
        }
    }
    Ok(())
}

/// Tries to log in to one account after another, with the right password, from a network that is locked.
#[derive(Debug)]
pub(crate) struct TurnedAway {
    people: People,
    at: u64,
    request: Vec<u8>,
}

impl TurnedAway {
    pub(crate) fn crowd(people: People, count: u64) -> impl Iterator<Item = Self> {
        (0..count).map(move |at| Self { people, at, request: Vec::new() })
    }
}

impl Client for TurnedAway {
    const STATUS: u16 = 429;

    fn request(&mut self) -> &[u8] {
        self.at = self.at.wrapping_add(people::STRIDE);
        login(&mut self.request, self.at % NETWORKS, &people::email(self.people.pick(self.at)));
        &self.request
    }
}
