//! The hashing threads, for all that is costly about passwords: a fixed number, each with memory of its own, behind
//! a queue that refuses rather than grows. Nothing that waits here may hold a database connection.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use prometheus_client::registry::Registry;
use tokio::sync::oneshot;

use super::argon2id::{Cost, Memory, Unusable};
use super::breached::{BreachedError, BreachedList};
use super::figures::Figures;
use super::scheme::{self, Checked};
use super::{Password, Policy, WeakPassword, check_strength};
use crate::accounts::{Email, Name};

/// How long a thread keeps its memory after its last password.
const IDLE: Duration = Duration::from_secs(5);

/// Hashes and checks passwords; cheap to clone.
#[derive(Clone)]
pub struct Hasher {
    queue: Sender<Job>,
    cost: Cost,
    breached: Option<Arc<BreachedList>>,
    figures: Figures,
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
    /// This job only: the thread goes on.
    #[error("hashing panicked")]
    Panicked,
    #[error("the configured cost cannot be used: {0}")]
    Unusable(#[from] Unusable),
    #[error("at the configured cost, a hash does not fit its password, or fits another")]
    Unsound,
    #[error("a new password {0}")]
    Refused(#[from] WeakPassword),
    #[error("the list of breached passwords: {0}")]
    Breached(#[from] BreachedError),
}

/// The hash of an account's password.
#[derive(Debug, Clone)]
pub struct StoredHash {
    /// Whose it is, for the alarm if it cannot be used.
    pub user_id: String,
    /// As [`Hasher::hash`] made it, or another system.
    pub phc: String,
}

/// What checking a password showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verification {
    pub matches: bool,
    /// A hash made now would be harder to guess than the stored one: the password should be hashed again. If that
    /// fails, the login stands; the next one tries again.
    pub outdated: bool,
}

struct Job {
    task: Task,
    since: Instant,
}

type Task = Box<dyn FnOnce(&mut Memory) + Send>;

impl Hasher {
    /// Proves that the cost works, and starts `threads` threads, which end when the last clone is dropped.
    ///
    /// # Errors
    /// [`HashError::Unusable`] if the cost is none that Argon2 knows or out of bounds; [`HashError::Unsound`];
    /// [`HashError::Gone`] if no thread starts.
    pub fn start(cost: Cost, threads: u32, queue: u32) -> Result<Self, HashError> {
        prove(cost)?;
        let (queue, jobs) = bounded(usize::try_from(queue).unwrap_or(usize::MAX));
        let figures = Figures::default();
        for index in 0..threads.max(1) {
            let (jobs, figures) = (jobs.clone(), figures.clone());
            std::thread::Builder::new()
                .name(format!("hash-{index}"))
                .stack_size(256 * 1024)
                .spawn(move || work(&jobs, cost, &figures))
                .map_err(|_| HashError::Gone)?;
        }
        Ok(Self { queue, cost, breached: None, figures })
    }

    /// Has new passwords refused that are in this list.
    #[must_use]
    pub fn refusing(mut self, breached: Option<BreachedList>) -> Self {
        self.breached = breached.map(Arc::new);
        self
    }

    /// The PHC string of a new password.
    ///
    /// # Errors
    /// [`HashError::Busy`] if the queue is full; [`HashError::Refused`] if the password is longer than any may be.
    pub async fn hash(&self, password: Password, salt: [u8; 16]) -> Result<String, HashError> {
        let cost = self.cost;
        self.ask(move |memory| Ok(cost.hash(password.normal()?.as_bytes(), &salt, memory)?)).await?
    }

    /// Checks `password` against the hash of an account, at the same cost if there is none. A hash that cannot be used
    /// fits no password, and raises an alarm.
    ///
    /// # Errors
    /// [`HashError::Busy`] if the queue is full.
    pub async fn verify(
        &self,
        password: Password,
        stored: Option<StoredHash>,
    ) -> Result<Verification, HashError> {
        let cost = self.cost;
        let (user_id, phc) = stored.map(|StoredHash { user_id, phc }| (user_id, phc)).unzip();
        let task = move |memory: &mut Memory| scheme::check(&password, phc.as_deref(), cost, memory);
        let Checked { matches, outdated, unusable } = self.ask(task).await?;
        if let Some(unusable) = unusable {
            self.figures.unusable.inc();
            let (user_id, error) = (user_id.unwrap_or_default(), unusable.to_string());
            tracing::error!(event = "stored_hash_unusable", user_id, error, "nobody can log in as this user");
        }
        Ok(Verification { matches, outdated })
    }

    /// Checks a new password: its length, its zxcvbn score, that it is not made from the e-mail or name, and that it is
    /// not in the list of breached ones. On a hashing thread: it may cost as much as a hash.
    ///
    /// # Errors
    /// [`HashError::Busy`] if the queue is full, [`HashError::Breached`] if the list cannot be read; within, the first
    /// rule that the password breaks.
    pub async fn check_strength(
        &self,
        policy: Policy,
        password: Password,
        email: Email,
        name: Name,
    ) -> Result<Result<(), WeakPassword>, HashError> {
        let breached = self.breached.clone();
        let judge = move |_: &mut Memory| {
            if let Err(weak) = check_strength(policy, &password, &email, &name) {
                return Ok(Err(weak));
            }
            let leaked = breached.map_or(Ok(false), |list| list.has(&password))?;
            Ok(if leaked { Err(WeakPassword::Breached) } else { Ok(()) })
        };
        self.ask(judge).await?
    }

    /// What was done since the start.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    pub fn register(&self, registry: &mut Registry) {
        self.figures.register(registry);
    }

    /// Has a thread do something, unless by then nobody waits for it any more.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, HashError> {
        let (reply, answer) = oneshot::channel();
        let task = move |memory: &mut Memory| {
            if !reply.is_closed() {
                let _ = reply.send(question(memory));
            }
        };
        self.queue.try_send(Job { task: Box::new(task), since: Instant::now() }).map_err(
            |error| match error {
                TrySendError::Full(_) => {
                    self.figures.refused.inc();
                    HashError::Busy
                }
                TrySendError::Disconnected(_) => HashError::Gone,
            },
        )?;
        self.figures.accepted.inc();
        self.figures.queued.inc();
        answer.await.map_err(|_| HashError::Panicked)
    }
}

/// That a hash of this cost fits its password and no other.
fn prove(cost: Cost) -> Result<(), HashError> {
    let mut memory = Memory::new(cost);
    let stored = cost.hash(b"one", &[0; 16], &mut memory)?;
    let mut fits = |password: &str| {
        let checked = scheme::check(&Password::new(password.into()), Some(&stored), cost, &mut memory);
        checked.unusable.map_or(Ok(checked.matches), Err)
    };
    if fits("one")? && !fits("other")? { Ok(()) } else { Err(HashError::Unsound) }
}

fn work(jobs: &Receiver<Job>, cost: Cost, figures: &Figures) {
    let mut memory = Memory::new(cost);
    loop {
        match jobs.recv_timeout(IDLE) {
            Ok(Job { task, since }) => {
                figures.waited(since.elapsed());
                run(task, cost, &mut memory, figures);
            }
            Err(RecvTimeoutError::Timeout) => memory.release(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// A panic ends the job only: who asked hears of it, and who comes next finds a thread, and memory as new.
fn run(task: Task, cost: Cost, memory: &mut Memory, figures: &Figures) {
    if catch_unwind(AssertUnwindSafe(|| task(memory))).is_err() {
        *memory = Memory::new(cost);
        figures.panicked.inc();
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
    use std::io::Write;
    use std::panic::resume_unwind;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 16, passes: 1 };

    fn hasher(queue: u32) -> Hasher {
        Hasher::start(CHEAP, 1, queue).unwrap()
    }

    fn password(text: &str) -> Password {
        Password::new(text.into())
    }

    fn stored(phc: impl Into<String>) -> Option<StoredHash> {
        Some(StoredHash { user_id: "u-ada".into(), phc: phc.into() })
    }

    #[tokio::test]
    async fn checks_what_it_hashed() {
        let hasher = hasher(4);
        let phc = hasher.hash(password("right"), [0; 16]).await.unwrap();
        let right = hasher.verify(password("right"), stored(&phc)).await.unwrap();
        assert_eq!(right, Verification { matches: true, outdated: false });
        let wrong = hasher.verify(password("wrong"), stored(phc)).await.unwrap();
        assert_eq!(wrong, Verification { matches: false, outdated: false });
        let nobody = hasher.verify(password("right"), None).await.unwrap();
        assert_eq!(nobody, Verification { matches: false, outdated: false });
        let Figures { queued, accepted, refused, .. } = hasher.figures();
        assert_eq!((queued.get(), accepted.get(), refused.get()), (0, 4, 0));
    }

    #[test]
    fn a_cost_that_does_not_work_is_refused_at_the_start() {
        for (memory_kib, passes) in [(4, 1), (16, 0), (16, 101), (u32::MAX, 1)] {
            let started = Hasher::start(Cost { memory_kib, passes }, 1, 1);
            assert!(matches!(started, Err(HashError::Unusable(_))), "{memory_kib} KiB, {passes} passes");
        }
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let (queue, _nobody_works) = bounded(1);
        let hasher = Hasher { queue, ..hasher(1) };
        let waiting = tokio::spawn({
            let hasher = hasher.clone();
            async move { hasher.hash(password("first"), [0; 16]).await }
        });
        tokio::task::yield_now().await;
        let refused = hasher.hash(password("second"), [0; 16]).await;
        assert!(matches!(refused, Err(HashError::Busy)));
        let Figures { queued, accepted, refused, .. } = hasher.figures();
        assert_eq!((queued.get(), accepted.get(), refused.get()), (1, 1, 1));
        waiting.abort();
    }

    #[tokio::test]
    async fn who_asked_hears_of_a_panic() {
        let ended: Result<(), _> = hasher(1).ask(|_| resume_unwind(Box::new("injected"))).await;
        assert!(matches!(ended, Err(HashError::Panicked)));
    }

    #[test]
    fn a_panic_ends_one_job_and_not_the_thread() {
        let (queue, jobs) = bounded(2);
        let (figures, done) = (Figures::default(), Arc::new(AtomicBool::new(false)));
        let after = Arc::clone(&done);
        let tasks: [Task; 2] = [
            Box::new(|_| resume_unwind(Box::new("injected"))),
            Box::new(move |_| after.store(true, Ordering::Relaxed)),
        ];
        for task in tasks {
            queue.send(Job { task, since: Instant::now() }).unwrap();
        }
        drop(queue);
        work(&jobs, CHEAP, &figures);
        assert!(done.load(Ordering::Relaxed));
        assert_eq!(figures.panicked.get(), 1);
    }

    #[test]
    fn memory_that_a_panic_left_behind_is_not_used_again() {
        let mut memory = Memory::new(CHEAP);
        let figures = Figures::default();
        let task = |memory: &mut Memory| {
            CHEAP.spend(16, memory);
            resume_unwind(Box::new("injected"))
        };
        run(Box::new(task), CHEAP, &mut memory, &figures);
        assert_eq!(memory.filled(), 0);
        assert_eq!(figures.panicked.get(), 1);
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_stored_hash_that_cannot_be_used_is_a_wrong_password_and_an_alarm() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let hasher = hasher(4);
        let spoiled = hasher.verify(password("right"), stored("$argon2id$spoiled")).await.unwrap();
        assert_eq!(spoiled, Verification { matches: false, outdated: false });
        assert_eq!(hasher.figures().unusable.get(), 1);
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(log.contains(r#""event":"stored_hash_unusable","user_id":"u-ada""#), "{log}");
        assert!(!log.contains("spoiled") && !log.contains("right"), "{log}");
        assert_eq!(log.lines().count(), 1);
    }

    #[tokio::test]
    async fn a_password_that_nobody_could_check_is_not_hashed() {
        let long = password(&"x".repeat(129));
        assert!(matches!(
            hasher(1).hash(long, [0; 16]).await,
            Err(HashError::Refused(WeakPassword::TooLong))
        ));
    }
}
