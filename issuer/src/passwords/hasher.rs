//! The hashing threads, for all that is costly about passwords: a fixed number, each with memory of its own, behind
//! a queue that refuses rather than grows. Nothing that waits here may hold a database connection.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::argon2id::{self, Cost, Memory, Unusable};
use super::{Password, WeakPassword, check_strength};
use crate::accounts::{Email, Name};
use crate::ambient::Entropy;

/// How long a thread keeps its memory after its last password.
const IDLE: Duration = Duration::from_secs(5);

/// Hashes and checks passwords; cheap to clone.
#[derive(Clone)]
pub struct Hasher {
    queue: SyncSender<Job>,
    cost: Cost,
    decoy: Arc<str>,
    accepted: Arc<AtomicU64>,
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").field("cost", &self.cost).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// Every thread is busy and the queue is full.
    #[error("too many passwords are being hashed")]
    Busy,
    #[error("the hashing threads are gone")]
    Gone,
    #[error("cannot hash: {0}")]
    Unusable(#[from] Unusable),
}

/// What checking a password showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verification {
    pub matches: bool,
    /// The stored hash was made at another cost than is configured now.
    pub outdated: bool,
}

struct Job {
    password: Password,
    task: Task,
}

enum Task {
    Hash { salt: [u8; 16], reply: oneshot::Sender<Result<String, Unusable>> },
    Verify { stored: Arc<str>, reply: oneshot::Sender<Result<bool, Unusable>> },
    Judge { email: Email, name: Name, reply: oneshot::Sender<Result<(), WeakPassword>> },
}

impl Hasher {
    /// Starts `threads` threads, which end when the last clone is dropped.
    ///
    /// # Errors
    /// [`HashError::Unusable`] if the cost is none that Argon2 knows; [`HashError::Gone`] if no thread starts.
    pub fn start(cost: Cost, threads: u32, queue: u32, entropy: &Entropy) -> Result<Self, HashError> {
        let decoy = cost.decoy(&entropy.bytes())?.into();
        let (sender, receiver) = sync_channel(usize::try_from(queue).unwrap_or(usize::MAX));
        let receiver = Arc::new(Mutex::new(receiver));
        for index in 0..threads.max(1) {
            let receiver = Arc::clone(&receiver);
            let work = move || work(&receiver, cost);
            std::thread::Builder::new()
                .name(format!("hash-{index}"))
                .stack_size(256 * 1024)
                .spawn(work)
                .map_err(|_| HashError::Gone)?;
        }
        Ok(Self { queue: sender, cost, decoy, accepted: Arc::default() })
    }

    /// The PHC string of a new password.
    ///
    /// # Errors
    /// [`HashError::Busy`] if the queue is full.
    pub async fn hash(&self, password: Password, salt: [u8; 16]) -> Result<String, HashError> {
        let (reply, answer) = oneshot::channel();
        self.submit(Job { password, task: Task::Hash { salt, reply } })?;
        Ok(answer.await.map_err(|_| HashError::Gone)??)
    }

    /// Checks `password` against `stored`, or against a decoy that costs the same if there is none.
    ///
    /// # Errors
    /// [`HashError::Busy`] if the queue is full; [`HashError::Unusable`] if `stored` is no Argon2id hash.
    pub async fn verify(
        &self,
        password: Password,
        stored: Option<String>,
    ) -> Result<Verification, HashError> {
        let known = stored.is_some();
        let stored: Arc<str> = stored.map_or_else(|| Arc::clone(&self.decoy), Arc::from);
        let (reply, answer) = oneshot::channel();
        self.submit(Job { password, task: Task::Verify { stored: Arc::clone(&stored), reply } })?;
        let matches = answer.await.map_err(|_| HashError::Gone)?? && known;
        Ok(Verification { matches, outdated: !self.cost.made(&stored) })
    }

    /// Like [`check_strength`], on a hashing thread: it may cost as much as a hash.
    ///
    /// # Errors
    /// [`HashError::Busy`] if the queue is full; within, the first rule that the password breaks.
    pub async fn check_strength(
        &self,
        password: Password,
        email: Email,
        name: Name,
    ) -> Result<Result<(), WeakPassword>, HashError> {
        let (reply, answer) = oneshot::channel();
        self.submit(Job { password, task: Task::Judge { email, name, reply } })?;
        answer.await.map_err(|_| HashError::Gone)
    }

    /// Passwords hashed or checked since the start, those still waiting included.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    fn submit(&self, job: Job) -> Result<(), HashError> {
        self.queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => HashError::Busy,
            TrySendError::Disconnected(_) => HashError::Gone,
        })?;
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn work(receiver: &Mutex<Receiver<Job>>, cost: Cost) {
    let mut memory = Memory::default();
    loop {
        let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(IDLE);
        match next {
            Ok(job) => run(job, cost, &mut memory),
            Err(RecvTimeoutError::Timeout) => memory.release(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Does the job, unless whoever asked has gone.
fn run(Job { password, task }: Job, cost: Cost, memory: &mut Memory) {
    let bytes = password.expose().as_bytes();
    match task {
        Task::Hash { salt, reply } if !reply.is_closed() => {
            let _ = reply.send(cost.hash(bytes, &salt, memory));
        }
        Task::Verify { stored, reply } if !reply.is_closed() => {
            let _ = reply.send(argon2id::verify(bytes, &stored, memory));
        }
        Task::Judge { email, name, reply } if !reply.is_closed() => {
            let _ = reply.send(check_strength(&password, &email, &name));
        }
        Task::Hash { .. } | Task::Verify { .. } | Task::Judge { .. } => {}
    }
}

/// What this process may still allocate, in KiB: the machine's available memory or the limit of its control
/// group, whichever is less. `None` where the system does not tell.
pub fn available_memory_kib() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    });
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok())
        .map(|bytes| bytes / 1024);
    machine.into_iter().chain(group).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hasher(queue: u32) -> Hasher {
        Hasher::start(Cost { memory_kib: 16, passes: 1 }, 1, queue, &Entropy::seeded(1)).unwrap()
    }

    fn password(text: &str) -> Password {
        Password::new(text.into())
    }

    #[tokio::test]
    async fn checks_what_it_hashed() {
        let hasher = hasher(4);
        let stored = hasher.hash(password("right"), [0; 16]).await.unwrap();
        let right = hasher.verify(password("right"), Some(stored.clone())).await.unwrap();
        assert_eq!(right, Verification { matches: true, outdated: false });
        assert!(!hasher.verify(password("wrong"), Some(stored)).await.unwrap().matches);
    }

    #[tokio::test]
    async fn an_unknown_user_matches_nothing() {
        let verification = hasher(4).verify(password("x"), None).await.unwrap();
        assert_eq!(verification, Verification { matches: false, outdated: false });
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let (queue, _nobody_works) = sync_channel(1);
        let hasher = Hasher { queue, ..hasher(1) };
        let waiting = tokio::spawn({
            let hasher = hasher.clone();
            async move { hasher.hash(password("first"), [0; 16]).await }
        });
        tokio::task::yield_now().await;
        let refused = hasher.hash(password("second"), [0; 16]).await;
        assert!(matches!(refused, Err(HashError::Busy)));
        waiting.abort();
    }
}
