//! Requests that wait for the issuer's word about their API key.

use crate::exchange::KeyDigest;

/// More of them are told to come again.
const MOST: usize = 1024;

/// One worker's requests that wait. Some may have gone by the time they are to go on.
#[derive(Debug, Default)]
pub(super) struct Paused {
    requests: Vec<(u32, KeyDigest)>,
}

impl Paused {
    pub(super) fn is_full(&self) -> bool {
        self.requests.len() >= MOST
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn add(&mut self, stream: u32, key: KeyDigest) {
        self.requests.push((stream, key));
    }

    /// Those that wait for this key, in the order in which they came.
    pub(super) fn take(&mut self, key: KeyDigest) -> Vec<u32> {
        self.requests.extract_if(.., |(_, waits_for)| *waits_for == key).map(|(stream, _)| stream).collect()
    }
}
