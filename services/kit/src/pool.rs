//! The connection pool of calls.
//!
//! The driver's pool pings the server whenever a connection is released: this costs a task and a round
//! trip for each statement, during which no other call can use the connection. In this pool a
//! connection stays idle for the next call if its work ended cleanly. If the work failed or was
//! cancelled, the connection returns through the driver's pool and its ping.
//!
//! A call first takes a place in its channel's [`Lane`](crate::telemetry::lane::Lane), so that one channel whose
//! calls are slow uses its share of the connections and waits for itself.
//!
//! Permits are granted in the order of the requests, so no request overtakes another by finding
//! an idle connection.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Describe, Either, Error, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::database::errors::ShareUsedUp;
use crate::database::{self, DatabaseSettings};
use crate::telemetry::boundary::Boundary;
use crate::telemetry::lane::Lane;

/// An idle connection is released to the driver's pool after this time, which then checks its age.
const IDLE_FOR: Duration = Duration::from_mins(1);
/// The longest wait for the rollback of a dropped transaction.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(5);

/// A pool of connections for calls. Clones share the pool.
#[derive(Clone, Debug)]
pub struct Pool {
    driver: PgPool,
    permits: Arc<Semaphore>,
    places: usize,
    idle: Arc<Idle>,
    acquire_timeout: Duration,
}

/// Idle connections. The last one used is on top, because its server process has warm caches.
#[derive(Debug, Default)]
struct Idle {
    connections: Mutex<Vec<Taken>>,
    /// The number of leases that ended.
    released: AtomicU64,
}

/// A connection that was taken from the driver's pool, and the instant when it was.
#[derive(Debug)]
struct Taken {
    connection: PoolConnection<Postgres>,
    since: Instant,
}

impl Idle {
    fn lock(&self) -> MutexGuard<'_, Vec<Taken>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// Creates a pool that connects when it is first used, so a service starts, not ready, while its
    /// database is down. Besides the connections for calls it has one for the process's own queries.
    ///
    /// # Errors
    /// Returns an error if the URL cannot be parsed.
    pub fn new(settings: &DatabaseSettings) -> Result<Self, Error> {
        let connections = settings.connections.saturating_add(1);
        Ok(Self::over(database::connect(&DatabaseSettings { connections, ..settings.clone() })?))
    }

    /// Creates a pool over one of the driver's pools; all of its connections but one are for calls.
    #[must_use]
    pub fn over(driver: PgPool) -> Self {
        let connections = usize::try_from(driver.options().get_max_connections()).unwrap_or(usize::MAX);
        let permits = connections.saturating_sub(1).clamp(1, Semaphore::MAX_PERMITS);
        let acquire_timeout = driver.options().get_acquire_timeout();
        Self {
            driver,
            permits: Arc::new(Semaphore::new(permits)),
            places: permits,
            idle: Arc::default(),
            acquire_timeout,
        }
    }

    /// Returns the driver's pool, for work outside of calls: cached credentials, readiness,
    /// housekeeping. Calls use [`Pool`] only, because the driver's pool does not see idle connections.
    #[must_use]
    pub fn driver(&self) -> &PgPool {
        &self.driver
    }

    /// Returns the options of its connections.
    #[must_use]
    pub fn connect_options(&self) -> Arc<PgConnectOptions> {
        self.driver.connect_options()
    }

    /// Leases a connection for one call. The caller must call [`Lease::done`] if the work ended
    /// cleanly.
    ///
    /// # Errors
    /// Returns `PoolTimedOut` if no connection is free in time, [`ShareUsedUp`] if none of the channel's share is,
    /// or the driver's error.
    pub async fn lease(&self) -> Result<Lease, Error> {
        self.lease_after(Instant::now(), None).await
    }

    /// Leases a connection for a query whose answer grows with all that a company has. A channel has few of them at once, so
    /// that the others find a processor.
    ///
    /// # Errors
    /// Returns the errors of [`Pool::lease`].
    pub async fn lease_for_large_query(&self) -> Result<Lease, Error> {
        let began = Instant::now();
        let large = match Boundary::current_lanes() {
            Some(lanes) => Some(self.enter(&lanes.large_queries, began).await?),
            None => None,
        };
        self.lease_after(began, large).await
    }

    async fn enter(&self, lane: &Lane, began: Instant) -> Result<OwnedSemaphorePermit, Error> {
        let entered = lane.enter(self.acquire_timeout.saturating_sub(began.elapsed())).await;
        entered.ok_or_else(|| Error::AnyDriverError(Box::new(ShareUsedUp)))
    }

    async fn lease_after(&self, began: Instant, large: Option<OwnedSemaphorePermit>) -> Result<Lease, Error> {
        let lane = match Boundary::current_lanes() {
            Some(lanes) => Some(self.enter(&lanes.connections, began).await?),
            None => None,
        };
        let permit = match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => permit,
            // Only a call that has to wait needs a timer.
            Err(_) => tokio::time::timeout(
                self.acquire_timeout.saturating_sub(began.elapsed()),
                Arc::clone(&self.permits).acquire_owned(),
            )
            .await
            .map_err(|_| Error::PoolTimedOut)?
            .map_err(|_| Error::PoolClosed)?,
        };
        let idle = self.idle.lock().pop();
        let taken = match idle {
            Some(taken) => taken,
            None => Taken { connection: self.driver.acquire().await?, since: Instant::now() },
        };
        metrics::histogram!("communal_database_acquire_seconds").record(began.elapsed());
        Ok(Lease { taken: Some(taken), idle: Arc::clone(&self.idle), done: false, permit, _lanes: [lane, large] })
    }

    /// Opens a transaction.
    ///
    /// # Errors
    /// Returns the errors of [`Pool::lease`].
    pub async fn begin(&self) -> Result<Transaction, Error> {
        self.begin_with("BEGIN").await
    }

    /// Opens a transaction with a given statement, such as `BEGIN READ ONLY`.
    ///
    /// # Errors
    /// Returns the errors of [`Pool::lease`].
    pub async fn begin_with(&self, statement: &'static str) -> Result<Transaction, Error> {
        let mut transaction = Transaction { lease: Some(self.lease().await?) };
        (&mut *transaction).execute(statement).await?;
        Ok(transaction)
    }

    /// Opens a read-only transaction for lookups by keys. A connection plans each of their statements once, for whatever
    /// values: PostgreSQL would plan a statement again for each call if some values could have a cheaper plan, and planning
    /// costs several times what a lookup of a few rows does. Where values decide which index is right, as a
    /// range or a limited page does, a statement belongs outside.
    ///
    /// # Errors
    /// Returns the errors of [`Pool::lease`].
    pub async fn begin_lookup(&self) -> Result<Transaction, Error> {
        self.begin_with("BEGIN READ ONLY; SET LOCAL plan_cache_mode = force_generic_plan").await
    }

    /// Returns the most connections that calls have at once.
    #[must_use]
    pub fn places(&self) -> usize {
        self.places
    }

    /// Returns the number of open connections, and how many of them are idle.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let open = usize::try_from(self.driver.size()).unwrap_or_default();
        (open, self.driver.num_idle() + self.idle.lock().len())
    }

    /// Takes all idle connections out of the pool, to be closed.
    #[must_use]
    pub fn take_idle(&self) -> Vec<PoolConnection<Postgres>> {
        let idle = std::mem::take(&mut *self.idle.lock());
        let of_driver = std::iter::from_fn(|| self.driver.try_acquire());
        idle.into_iter().map(|taken| taken.connection).chain(of_driver).collect()
    }

    /// Returns the number of leases that have ended if no connection is free, and `None` if one is.
    /// While the number stays the same, no call gets a connection.
    #[must_use]
    pub fn exhausted(&self) -> Option<u64> {
        let left = self.permits.available_permits();
        (left == 0).then(|| self.idle.released.load(Ordering::Relaxed))
    }

    /// Grants no more leases, and waits until all of them have ended.
    pub async fn close(&self) {
        self.permits.close();
        drop(std::mem::take(&mut *self.idle.lock()));
        self.driver.close().await;
    }
}

/// A leased connection.
#[derive(Debug)]
pub struct Lease {
    /// Empty only while the lease is being dropped.
    taken: Option<Taken>,
    idle: Arc<Idle>,
    done: bool,
    permit: OwnedSemaphorePermit,
    _lanes: [Option<OwnedSemaphorePermit>; 2],
}

impl Lease {
    /// Releases the connection after work that ended cleanly: no query is running and no transaction is
    /// open.
    pub fn done(mut self) {
        self.done = true;
    }
}

impl Deref for Lease {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match &self.taken {
            Some(taken) => &taken.connection,
            None => unreachable!("a lease has its connection until it is dropped"),
        }
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match &mut self.taken {
            Some(taken) => &mut taken.connection,
            None => unreachable!("a lease has its connection until it is dropped"),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.idle.released.fetch_add(1, Ordering::Relaxed);
        let Some(taken) = self.taken.take() else { return };
        if self.done && taken.since.elapsed() < IDLE_FOR && !self.permit.semaphore().is_closed() {
            self.idle.lock().push(taken);
        }
    }
}

/// An open transaction. If it is dropped, a separate task rolls it back.
#[derive(Debug)]
pub struct Transaction {
    /// Empty after the transaction has ended.
    lease: Option<Lease>,
}

impl Transaction {
    /// Commits the transaction.
    ///
    /// # Errors
    /// Returns the driver's error; the transaction may or may not have been committed then.
    pub async fn commit(self) -> Result<(), Error> {
        self.end("COMMIT").await
    }

    /// Rolls the transaction back.
    ///
    /// # Errors
    /// Returns the driver's error.
    pub async fn rollback(self) -> Result<(), Error> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, statement: &'static str) -> Result<(), Error> {
        // If this is cancelled, the rollback follows a COMMIT that was sent already, and changes
        // nothing.
        (&mut *self).execute(statement).await?;
        if let Some(lease) = self.lease.take() {
            lease.done();
        }
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match &self.lease {
            Some(lease) => lease,
            None => unreachable!("a transaction has its connection until it ends"),
        }
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match &mut self.lease {
            Some(lease) => lease,
            None => unreachable!("a transaction has its connection until it ends"),
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let Some(mut lease) = self.lease.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                match tokio::time::timeout(ROLLBACK_LIMIT, roll_back(&mut lease)).await {
                    Ok(Ok(true)) => lease.done(),
                    // The connection is closed, which rolls back as well.
                    _ => lease.close_when_dropped(),
                }
            });
        } else {
            lease.close_when_dropped();
        }
    }
}

/// Rolls back the transaction of a connection whose work may have been cancelled. Returns false if the connection answers
/// something else than it is asked: the driver counts the answers of statements that are still to come, but not those of
/// a COPY, and each later statement would take the answer of the one before it for its own.
async fn roll_back(connection: &mut PgConnection) -> Result<bool, Error> {
    connection.execute("ROLLBACK").await?;
    let asked: i64 = rand::random();
    let answered: i64 = sqlx::query_scalar("SELECT $1").bind(asked).fetch_one(connection).await?;
    Ok(answered == asked)
}

impl Lease {
    fn close_when_dropped(mut self) {
        if let Some(taken) = &mut self.taken {
            taken.connection.close_on_drop();
        }
    }
}

impl<'p> Executor<'p> for &'p Pool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let stream = async_stream::try_stream! {
            let mut lease = self.lease().await?;
            {
                let mut answers = (&mut *lease).fetch_many(query);
                while let Some(answer) = answers.try_next().await? {
                    yield answer;
                }
            }
            lease.done();
        };
        stream.boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(async move {
            let mut lease = self.lease().await?;
            let row = (&mut *lease).fetch_optional(query).await?;
            lease.done();
            Ok(row)
        })
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [PgTypeInfo]) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'p: 'e,
    {
        Box::pin(async move {
            let mut lease = self.lease().await?;
            let statement = (&mut *lease).prepare_with(sql, parameters).await?;
            lease.done();
            Ok(statement)
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
    where
        'p: 'e,
    {
        Box::pin(async move {
            let mut lease = self.lease().await?;
            let description = (&mut *lease).describe(sql).await?;
            lease.done();
            Ok(description)
        })
    }
}
