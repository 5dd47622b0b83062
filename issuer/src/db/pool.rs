//! The connections, as reads and writes borrow them. sqlx asks each that comes back whether it still works, which costs as
//! much as a read. One that has just done what it was told has shown it: it stays at hand for whoever comes next, and goes
//! back to sqlx when nobody came for a second.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

/// A connection that waited longer than this may have been lost meanwhile.
pub(super) const TRUSTED: Duration = Duration::from_secs(1);

/// How long a connection may take to show that it still works when it is given back.
const GIVEN_BACK: Duration = Duration::from_secs(1);

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    sqlx: AnyPool,
    /// As many as there may be connections, so that nobody waits at sqlx for one that is at hand.
    places: Arc<Semaphore>,
    at_hand: Arc<AtHand>,
}

/// A connection that goes back to sqlx when it is dropped, also in the middle of a statement.
pub(super) struct Lent {
    connection: GivenBack,
    at_hand: Arc<AtHand>,
    _place: OwnedSemaphorePermit,
}

struct GivenBack(PoolConnection<Any>);

/// The one used last comes last. `None` once the pool is closed.
struct AtHand(Mutex<Option<Vec<Proved>>>);

struct Proved {
    connection: GivenBack,
    at: Instant,
}

impl Pool {
    /// To be called where the connections will be used: each lives in the runtime that opened it.
    pub(super) fn new(sqlx: AnyPool) -> Self {
        let places = usize::try_from(sqlx.options().get_max_connections()).unwrap_or(Semaphore::MAX_PERMITS);
        let at_hand = Arc::new(AtHand(Mutex::new(Some(Vec::new()))));
        tokio::spawn(watch(Arc::downgrade(&at_hand)));
        Self { sqlx, places: Arc::new(Semaphore::new(places)), at_hand }
    }

    /// # Errors
    /// [`sqlx::Error::PoolTimedOut`] if all are in use for too long, [`sqlx::Error::PoolClosed`], and those of opening one.
    pub(super) async fn lend(&self) -> Result<Lent, sqlx::Error> {
        let place =
            timeout(self.sqlx.options().get_acquire_timeout(), Arc::clone(&self.places).acquire_owned());
        let place = place.await.map_err(|_| sqlx::Error::PoolTimedOut)?;
        let place = place.map_err(|_| sqlx::Error::PoolClosed)?;
        let connection = match self.at_hand.take() {
            Some(connection) => connection,
            None => {
                // sqlx may have none left but those that waited here for too long.
                self.at_hand.give_back_unused();
                GivenBack(self.sqlx.acquire().await?)
            }
        };
        Ok(Lent { connection, at_hand: Arc::clone(&self.at_hand), _place: place })
    }

    /// Connections that there may be.
    pub(super) fn most(&self) -> u32 {
        self.sqlx.options().get_max_connections()
    }

    /// Connections that are open.
    pub(super) fn size(&self) -> u32 {
        self.sqlx.size()
    }

    /// Those of them that nothing uses.
    pub(super) fn idle(&self) -> usize {
        self.sqlx.num_idle() + self.at_hand.len()
    }

    /// Waits for what uses a connection, and closes them all.
    pub(super) async fn close(&self) {
        self.places.close();
        self.at_hand.close();
        self.sqlx.close().await;
    }
}

impl Lent {
    /// It did all that it was told: nobody needs to ask it whether it works.
    pub(super) fn proved(self) {
        self.at_hand.put(self.connection);
    }

    /// Nobody knows how far it has come: nothing else may begin on it.
    pub(super) fn discard(mut self) {
        self.connection.detach();
    }
}

impl Deref for Lent {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.connection.0
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.connection.0
    }
}

impl GivenBack {
    /// sqlx forgets it, and it is closed.
    fn detach(&mut self) {
        drop(self.0.return_to_pool());
    }
}

/// Others may use it if it still works; it is closed otherwise, and where no runtime is left.
impl Drop for GivenBack {
    fn drop(&mut self) {
        let back = self.0.return_to_pool();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async { timeout(GIVEN_BACK, back).await });
        }
    }
}

impl AtHand {
    fn with<T>(&self, work: impl FnOnce(&mut Option<Vec<Proved>>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn len(&self) -> usize {
        self.with(|proved| proved.as_ref().map_or(0, Vec::len))
    }

    fn put(&self, connection: GivenBack) {
        let proved = Proved { connection, at: Instant::now() };
        self.with(|all| all.as_mut().map(|all| all.push(proved)));
    }

    /// The one used last, if that was not long ago.
    fn take(&self) -> Option<GivenBack> {
        let proved = self.with(|all| all.as_mut()?.pop_if(|last| last.at.elapsed() <= TRUSTED))?;
        Some(proved.connection)
    }

    /// Those that waited for too long.
    fn give_back_unused(&self) {
        self.with(|all| all.as_mut().map(|all| all.retain(|proved| proved.at.elapsed() <= TRUSTED)));
    }

    /// Gives all of them back, and takes no more.
    fn close(&self) {
        drop(self.with(Option::take));
    }
}

impl fmt::Debug for AtHand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtHand").field("len", &self.len()).finish()
    }
}

/// As long as there is a pool.
async fn watch(at_hand: Weak<AtHand>) {
    loop {
        sleep(TRUSTED).await;
        let Some(at_hand) = at_hand.upgrade() else { return };
        at_hand.give_back_unused();
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Executor as _;
    use sqlx::any::AnyPoolOptions;

    use super::*;

    async fn pool(connections: u32) -> Pool {
        sqlx::any::install_default_drivers();
        let options =
            AnyPoolOptions::new().max_connections(connections).acquire_timeout(Duration::from_millis(400));
        Pool::new(options.connect("sqlite::memory:").await.unwrap())
    }

    async fn until(so: impl Fn() -> bool) {
        while !so() {
            sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn what_was_proved_is_lent_again_and_given_back_when_nobody_comes() {
        let pool = pool(2).await;
        until(|| pool.sqlx.num_idle() == 1).await;
        let mut lent = pool.lend().await.unwrap();
        // In memory, so that another connection would know nothing of it.
        lent.execute("CREATE TABLE mark (id INTEGER)").await.unwrap();
        lent.proved();
        assert_eq!((pool.at_hand.len(), pool.sqlx.num_idle(), pool.idle()), (1, 0, 1));
        let mut again = pool.lend().await.unwrap();
        again.execute("SELECT id FROM mark").await.unwrap();
        assert_eq!((pool.at_hand.len(), pool.size()), (0, 1));
        again.proved();
        until(|| pool.sqlx.num_idle() == 1).await;
        assert_eq!((pool.at_hand.len(), pool.idle()), (0, 1));
    }

    #[tokio::test]
    async fn what_was_not_proved_is_asked_first_and_what_is_discarded_is_gone() {
        let pool = pool(2).await;
        drop(pool.lend().await.unwrap());
        assert_eq!(pool.at_hand.len(), 0);
        until(|| pool.sqlx.num_idle() == 1).await;
        pool.lend().await.unwrap().discard();
        assert_eq!((pool.at_hand.len(), pool.size()), (0, 0));
    }

    #[tokio::test]
    async fn who_waits_gets_the_connection_that_was_proved_and_not_for_ever() {
        let pool = pool(1).await;
        let lent = pool.lend().await.unwrap();
        let late = pool.lend().await.map(drop);
        assert!(matches!(late, Err(sqlx::Error::PoolTimedOut)), "{late:?}");
        let waiting = pool.clone();
        let waiting = tokio::spawn(async move { waiting.lend().await.map(Lent::proved) });
        tokio::task::yield_now().await;
        lent.proved();
        waiting.await.unwrap().unwrap();
        assert_eq!((pool.at_hand.len(), pool.size()), (1, 1));
    }

    #[tokio::test]
    async fn what_waited_for_too_long_is_asked_at_once_by_whoever_comes() {
        let pool = pool(1).await;
        // Between two looks at what waits.
        sleep(TRUSTED / 2).await;
        pool.lend().await.unwrap().proved();
        sleep(TRUSTED + Duration::from_millis(20)).await;
        pool.lend().await.map(Lent::proved).unwrap();
    }

    #[tokio::test]
    async fn closing_waits_for_what_is_lent_and_keeps_nothing() {
        let pool = pool(2).await;
        let (lent, other) = (pool.lend().await.unwrap(), pool.lend().await.unwrap());
        other.proved();
        let closing = pool.clone();
        let closing = tokio::spawn(async move { closing.close().await });
        until(|| pool.size() == 1).await;
        assert!(!closing.is_finished());
        let refused = pool.lend().await.map(drop);
        assert!(matches!(refused, Err(sqlx::Error::PoolClosed)), "{refused:?}");
        lent.proved();
        closing.await.unwrap();
        assert_eq!((pool.at_hand.len(), pool.size()), (0, 0));
    }

    #[test]
    fn it_may_outlive_its_runtime() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let pool = runtime.block_on(async {
            let pool = pool(1).await;
            pool.lend().await.unwrap().proved();
            pool
        });
        drop(runtime);
        drop(pool);
    }
}
