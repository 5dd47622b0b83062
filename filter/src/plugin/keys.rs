//! The issuer's keys: fetched by whichever worker claims the attempt, read by all from shared data.
//!
//! A set that cannot be fetched or is not sound never replaces one that is.

use std::time::Duration;

use countersign_proxy_abi::host::{self, Buffer, Level, Map};
use countersign_proxy_abi::{Received, Status};

use super::ambient;
use crate::config::RemoteKeys;
use crate::edge::Edge;
use crate::sync::{Attempt, Names, Schedule, Snapshot};

/// A larger answer is no key set.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// One worker's side of the fetching.
#[derive(Debug)]
pub(super) struct KeySync {
    remote: RemoteKeys,
    names: Names,
    started_at: u64,
    /// The version of the snapshot that is loaded.
    loaded: Option<u32>,
    fetched_at: Option<u64>,
    /// The set that was fetched then was too old at some time, and is in force no more.
    outdated: bool,
    in_flight: Option<InFlight>,
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    call: u32,
    attempted_at: u64,
}

impl KeySync {
    /// Loads what another worker, or an earlier configuration, has fetched already.
    pub(super) fn start(remote: RemoteKeys, edge: &mut Edge) -> Self {
        let mut sync = Self {
            names: Names::of(&remote.cluster, &remote.authority, &remote.path),
            started_at: ambient::now_millis(),
            remote,
            loaded: None,
            fetched_at: None,
            outdated: false,
            in_flight: None,
        };
        let schedule = match host::shared_data(&sync.names.schedule) {
            Ok(Some((record, _))) => Schedule::decode(&record),
            _ => {
                // Compare-and-swap needs something to compare with. Every worker writes the same first record, and none
                // claims an attempt before its first tick.
                let _ = host::set_shared_data(&sync.names.schedule, &Schedule::default().encode(), None);
                Schedule::default()
            }
        };
        if let Some(record) = sync.newer() {
            let fetched_at = Snapshot::decode(&record).map_or(0, |snapshot| snapshot.fetched_at);
            if schedule.vouches_for(fetched_at, sync.started_at, &sync.remote.pace) {
                sync.load(&record, edge);
            }
        }
        sync
    }

    /// Loads a newer set if there is one, and makes an attempt if one is due.
    pub(super) fn tick(&mut self, edge: &mut Edge) -> Option<Attempt> {
        self.load_newer(edge);
        self.drop_outdated(edge);
        let attempt = self.attempt(edge);
        self.look_ahead(edge);
        attempt
    }

    /// Whether an attempt of any worker is under way.
    pub(super) fn is_under_way(&self) -> bool {
        self.schedule()
            .is_some_and(|schedule| schedule.is_under_way(ambient::now_millis(), &self.remote.pace))
    }

    fn look_ahead(&self, edge: &mut Edge) {
        let now = ambient::now_millis();
        let worth = self.schedule().is_some_and(|schedule| schedule.is_worth_waiting(now, &self.remote.pace));
        edge.set_keys_coming(worth);
    }

    fn schedule(&self) -> Option<Schedule> {
        let (record, _) = host::shared_data(&self.names.schedule).ok()??;
        Some(Schedule::decode(&record))
    }

    fn attempt(&mut self, edge: &mut Edge) -> Option<Attempt> {
        let early = edge.lacks_key();
        let (record, version) = host::shared_data(&self.names.schedule).ok()??;
        let claimed = Schedule::decode(&record).claim(ambient::now_millis(), &self.remote.pace, early)?;
        host::set_shared_data(&self.names.schedule, &claimed.encode(), Some(version)).ok()?;
        edge.asked_for_keys();
        let headers = [
            (":method", "GET"),
            (":path", self.remote.path.as_str()),
            (":authority", self.remote.authority.as_str()),
            ("accept", "application/json"),
        ];
        match host::http_call(&self.remote.cluster, &headers, &[], self.remote.pace.timeout) {
            Ok(call) => {
                self.in_flight = Some(InFlight { call, attempted_at: claimed.attempted_at });
                None
            }
            Err(status) => {
                self.report(match status {
                    Status::BAD_ARGUMENT => "there is no such cluster",
                    _ => "the cluster has no healthy host",
                });
                self.settle(claimed.attempted_at, Attempt::Failed);
                Some(Attempt::Failed)
            }
        }
    }

    /// Takes the answer to an attempt. `body_size` is what the host says it has.
    pub(super) fn answered(&mut self, call: u32, body_size: usize, edge: &mut Edge) -> Option<Attempt> {
        let InFlight { attempted_at, .. } = self.in_flight.take_if(|in_flight| in_flight.call == call)?;
        let attempt = match self.publish(body_size, edge) {
            Ok(()) => Attempt::Succeeded,
            Err(reason) => {
                self.report(&reason);
                Attempt::Failed
            }
        };
        self.settle(attempted_at, attempt);
        self.look_ahead(edge);
        Some(attempt)
    }

    /// Seconds since the set in force was fetched, or since this configuration waits for one.
    pub(super) fn age_seconds(&self) -> u64 {
        ambient::now_millis().saturating_sub(self.fetched_at.unwrap_or(self.started_at)) / 1000
    }

    /// Puts the answer into force and into shared data, if it is a sound set.
    fn publish(&mut self, body_size: usize, edge: &mut Edge) -> Result<(), String> {
        let status = host::header(Map::HttpCallResponseHeaders, ":status").ok().flatten();
        match status.as_deref() {
            Some(b"200") => {}
            Some(status) => return Err(format!("status {}", status.escape_ascii())),
            None => return Err("no answer in time, or the connection broke".into()),
        }
        if body_size > MAX_ANSWER_BYTES {
            return Err(format!("the answer has more than {MAX_ANSWER_BYTES} bytes"));
        }
        let jwks = host::buffer(Buffer::HttpCallResponseBody, 0, body_size)
            .map_err(|_| "the answer cannot be read")?;
        edge.load_keys(&jwks).map_err(|error| error.to_string())?;
        let fetched_at = ambient::now_millis();
        self.taken(fetched_at);
        let snapshot = Snapshot { fetched_at, jwks: &jwks }.encode();
        host::set_shared_data(&self.names.snapshot, &snapshot, None)
            .map_err(|_| "shared data cannot be written")?;
        // It is in force here; unless somebody has written another one meanwhile, the next tick need not read it again.
        if let Ok(Some((record, version))) = host::shared_data(&self.names.snapshot)
            && *record == *snapshot
        {
            self.loaded = Some(version);
        }
        Ok(())
    }

    /// Writes when the next attempt is due, unless somebody else has begun one meanwhile.
    fn settle(&self, attempted_at: u64, attempt: Attempt) {
        let Ok(Some((record, version))) = host::shared_data(&self.names.schedule) else { return };
        let schedule = Schedule::decode(&record);
        if schedule.attempted_at != attempted_at {
            return;
        }
        let (now, random) = (ambient::now_millis(), ambient::random());
        let next = match attempt {
            Attempt::Succeeded => schedule.succeeded(now, &self.remote.pace, random),
            Attempt::Failed => schedule.failed(now, random),
        };
        // Losing the swap means that somebody else has begun an attempt, which will settle.
        let _ = host::set_shared_data(&self.names.schedule, &next.encode(), Some(version));
    }

    /// The newest record in shared data, if this worker has not seen it.
    pub(super) fn newer(&mut self) -> Option<Received> {
        let (record, version) = host::shared_data(&self.names.snapshot).ok()??;
        (self.loaded.replace(version) != Some(version)).then_some(record)
    }

    /// Puts the set of such a record into force.
    pub(super) fn load(&mut self, record: &[u8], edge: &mut Edge) {
        let Some(snapshot) =
            Snapshot::decode(record).filter(|snapshot| !self.is_too_old(snapshot.fetched_at))
        else {
            return;
        };
        match edge.load_keys(snapshot.jwks) {
            Ok(()) => self.taken(snapshot.fetched_at),
            Err(error) => self.report(&error.to_string()),
        }
    }

    fn taken(&mut self, fetched_at: u64) {
        self.fetched_at = Some(fetched_at);
        self.outdated = false;
    }

    /// Takes a set out of force that nobody could fetch again for too long.
    fn drop_outdated(&mut self, edge: &mut Edge) {
        // A set from the future was fetched before the clock was set back: its age begins now.
        self.fetched_at = self.fetched_at.map(|fetched_at| fetched_at.min(ambient::now_millis()));
        if !self.outdated && self.fetched_at.is_some_and(|fetched_at| self.is_too_old(fetched_at)) {
            self.outdated = true;
            edge.forget_remote_keys();
            let age = self.age_seconds();
            self.say(&format!("are {age} s old, more than keys.remote.max_age: they are no longer trusted"));
        }
    }

    /// Whether a set that was fetched then is older than the configuration allows.
    fn is_too_old(&self, fetched_at: u64) -> bool {
        let age = Duration::from_millis(ambient::now_millis().saturating_sub(fetched_at));
        self.remote.max_age.is_some_and(|most| age > most)
    }

    fn load_newer(&mut self, edge: &mut Edge) {
        if let Some(record) = self.newer() {
            self.load(&record, edge);
        }
    }

    fn report(&self, reason: &str) {
        self.say(&format!("not taken: {reason}; those in force stay"));
    }

    fn say(&self, what: &str) {
        let RemoteKeys { cluster, path, .. } = &self.remote;
        host::log(Level::Warn, &format!("keys from {cluster}{path} {what}"));
    }
}
