//! Requests that wait for the issuer: for its word about an API key, or for its newest keys.

use crate::credential::Held;
use crate::verdict::{Wait, WaitOn};

/// More of them are told to come again.
const MOST: usize = 1024;
/// Of these so many may wait for keys: anybody can make a token that names one which nobody knows.
const MOST_FOR_KEYS: usize = 256;

/// One worker's requests that wait. Some may have gone by the time they are to go on.
#[derive(Debug, Default)]
pub(super) struct Paused {
    requests: Vec<(u32, Wait)>,
    for_keys: usize,
}

impl Paused {
    pub(super) fn is_full(&self) -> bool {
        self.requests.len() >= MOST
    }

    pub(super) fn is_full_for_keys(&self) -> bool {
        self.for_keys >= MOST_FOR_KEYS
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn add(&mut self, stream: u32, wait: Wait) {
        self.for_keys = self.for_keys.saturating_add(usize::from(wait.on == WaitOn::Keys));
        self.requests.push((stream, wait));
    }

    /// Those that wait for this, with their credentials, in the order in which they came.
    pub(super) fn take(&mut self, on: WaitOn) -> Vec<(u32, Held)> {
        if on == WaitOn::Keys {
            self.for_keys = 0;
        }
        let waits = |(_, wait): &mut (u32, Wait)| wait.on == on;
        self.requests.extract_if(.., waits).map(|(stream, wait)| (stream, wait.held)).collect()
    }
}
