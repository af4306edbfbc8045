//! The connections that calls are carried out on.
//!
//! The driver's pool asks the server for a sign of life whenever a connection is given back: a
//! task and a round trip for each statement, during which nobody else can have the connection.
//! Here a connection whose work ended as it should is kept at hand for the next call. One whose
//! work failed, or was dropped half-way, goes back through the driver's pool and its question.
//!
//! Places are given out in the order they were asked for, so nobody is overtaken by those who
//! find a connection at hand.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Describe, Either, Error, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::database::{self, DatabaseSettings};

/// A connection is given back for good after this time: the driver's pool then sees to its age.
const KEPT_FOR: Duration = Duration::from_mins(1);
/// Longest wait for a transaction to be rolled back that was dropped.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(5);

/// See the module. Clones are the same pool.
#[derive(Clone, Debug)]
pub struct Pool {
    driver: PgPool,
    places: Arc<Semaphore>,
    kept: Arc<Kept>,
    acquire_timeout: Duration,
}

/// Connections at hand, the last used on top: the server process behind it is warm.
#[derive(Debug, Default)]
struct Kept(Mutex<Vec<Taken>>);

/// A connection out of the driver's pool, and since when.
#[derive(Debug)]
struct Taken {
    connection: PoolConnection<Postgres>,
    since: Instant,
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Vec<Taken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// A pool that connects when first used, so that a service starts, not ready, while its
    /// database is away. Besides the settings' connections for calls it has one for what the
    /// process asks for itself.
    ///
    /// # Errors
    /// Where the URL cannot be read.
    pub fn new(settings: &DatabaseSettings) -> Result<Self, Error> {
        let connections = settings.connections.saturating_add(1);
        Ok(Self::over(database::connect(&DatabaseSettings { connections, ..settings.clone() })?))
    }

    /// A pool over one of the driver's, of whose connections all but one are for calls.
    #[must_use]
    pub fn over(driver: PgPool) -> Self {
        let connections = usize::try_from(driver.options().get_max_connections()).unwrap_or(usize::MAX);
        let places = connections.saturating_sub(1).clamp(1, Semaphore::MAX_PERMITS);
        let acquire_timeout = driver.options().get_acquire_timeout();
        Self { driver, places: Arc::new(Semaphore::new(places)), kept: Arc::default(), acquire_timeout }
    }

    /// The driver's pool, for what is no call: credentials that are cached, readiness,
    /// housekeeping. Calls take their connections from here only through [`Pool`], or those at
    /// hand would be missing there.
    #[must_use]
    pub fn driver(&self) -> &PgPool {
        &self.driver
    }

    /// How connections are made.
    #[must_use]
    pub fn connect_options(&self) -> Arc<PgConnectOptions> {
        self.driver.connect_options()
    }

    /// A connection for one call. Say [`Lease::done`] when its work ended as it should.
    ///
    /// # Errors
    /// `PoolTimedOut` where none is free in time; the driver's.
    pub async fn lease(&self) -> Result<Lease, Error> {
        let began = Instant::now();
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            // Only who has to wait needs a timer.
            Err(_) => tokio::time::timeout(self.acquire_timeout, Arc::clone(&self.places).acquire_owned())
                .await
                .map_err(|_| Error::PoolTimedOut)?
                .map_err(|_| Error::PoolClosed)?,
        };
        let at_hand = self.kept.lock().pop();
        let taken = match at_hand {
            Some(taken) => taken,
            None => Taken { connection: self.driver.acquire().await?, since: Instant::now() },
        };
        metrics::histogram!("communal_database_acquire_seconds").record(began.elapsed());
        Ok(Lease { taken: Some(taken), kept: Arc::clone(&self.kept), done: false, _place: place })
    }

    /// Opens a transaction.
    ///
    /// # Errors
    /// As [`Pool::lease`].
    pub async fn begin(&self) -> Result<Transaction, Error> {
        self.begin_with("BEGIN").await
    }

    /// Opens a transaction by a statement of its own, like `BEGIN READ ONLY`.
    ///
    /// # Errors
    /// As [`Pool::lease`].
    pub async fn begin_with(&self, statement: &'static str) -> Result<Transaction, Error> {
        let mut transaction = Transaction { lease: Some(self.lease().await?) };
        (&mut *transaction).execute(statement).await?;
        Ok(transaction)
    }

    /// Open connections, and those of them that nobody uses.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let open = usize::try_from(self.driver.size()).unwrap_or_default();
        (open, self.driver.num_idle() + self.kept.lock().len())
    }

    /// The connections that nobody uses, to be closed.
    #[must_use]
    pub fn take_idle(&self) -> Vec<PoolConnection<Postgres>> {
        let kept = std::mem::take(&mut *self.kept.lock());
        let of_driver = std::iter::from_fn(|| self.driver.try_acquire());
        kept.into_iter().map(|taken| taken.connection).chain(of_driver).collect()
    }

    /// Gives no connection out any more, and waits for those that are out.
    pub async fn close(&self) {
        self.places.close();
        drop(std::mem::take(&mut *self.kept.lock()));
        self.driver.close().await;
    }
}

/// A connection in use.
#[derive(Debug)]
pub struct Lease {
    /// Empty only while it is dropped.
    taken: Option<Taken>,
    kept: Arc<Kept>,
    done: bool,
    _place: OwnedSemaphorePermit,
}

impl Lease {
    /// The work on it ended as it should: nothing is under way and no transaction is open.
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
        let Some(taken) = self.taken.take() else { return };
        if self.done && taken.since.elapsed() < KEPT_FOR && !self._place.semaphore().is_closed() {
            self.kept.lock().push(taken);
        }
    }
}

/// An open transaction. Dropped, it is rolled back, by a task of its own.
#[derive(Debug)]
pub struct Transaction {
    /// Empty once it ended.
    lease: Option<Lease>,
}

impl Transaction {
    /// Makes it last.
    ///
    /// # Errors
    /// The driver's; whether it lasts is not known then.
    pub async fn commit(self) -> Result<(), Error> {
        self.end("COMMIT").await
    }

    /// Undoes it.
    ///
    /// # Errors
    /// The driver's.
    pub async fn rollback(self) -> Result<(), Error> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, statement: &'static str) -> Result<(), Error> {
        // Dropped meanwhile, it is rolled back: a COMMIT that was sent comes first.
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
                match tokio::time::timeout(ROLLBACK_LIMIT, (&mut *lease).execute("ROLLBACK")).await {
                    Ok(Ok(_)) => lease.done(),
                    // Closed, which rolls back as well.
                    _ => lease.close_when_dropped(),
                }
            });
        } else {
            lease.close_when_dropped();
        }
    }
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
