//! The store itself: what all clients and workers of a process share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pgworkflows_core::store::{
    Hint, Queue, Session, SessionsWanted, Store, StoreError, StoreQuery, Submission, Submitted, Switchboard,
    Watch, Watched,
};
use sqlx::Connection;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgRow, Postgres};
use sqlx::query::Query;
use tokio::sync::broadcast;

use crate::error::{leaves_connection_usable, store_error};
use crate::notify::Bell;
use crate::options::{Builder, Options};
use crate::partition::Partitions;
use crate::pooler::{self, Pooling};
use crate::schema::Schema;
use crate::session::{PostgresSession, rows, with_timeout};
use crate::sql::Statements;
use crate::{durability, lease, migrate, query, room, submit};

/// How long a client waits for a connection of the pool. While no server answers, the pool tries again and again
/// for as long as this, so that a restart of the server is not noticed.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a pooled connection may lie idle before it is asked whether it is still there. A client's retries go on
/// for longer.
const ASK_AFTER: Duration = Duration::from_secs(1);

/// A store on PostgreSQL. Clones share everything.
///
/// Its pool belongs to the runtime in which it was connected; sessions belong to whoever opens them.
#[derive(Clone)]
pub struct PostgresStore {
    pub(crate) shared: Arc<Shared>,
}

/// What the store and its sessions have in common.
pub(crate) struct Shared {
    pub(crate) schema: Schema,
    pub(crate) connect: PgConnectOptions,
    pub(crate) lock_timeout: String,
    pub(crate) key_timeout: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) verify: bool,
    pub(crate) prepared_statements: bool,
    pub(crate) pool_size: u32,
    pub(crate) statements: Statements,
    pub(crate) partitions: Partitions,
    pub(crate) bell: Bell,
    switchboard: Switchboard,
    pool: PgPool,
}

impl PostgresStore {
    /// Connects with the default options, and migrates: see [`Builder::connect`].
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::builder(url).connect().await
    }

    /// Options to set before connecting.
    pub fn builder(url: &str) -> Builder {
        Builder::new(url)
    }

    /// The SQL of all migrations for that schema, for a person to read and run.
    ///
    /// ```
    /// let sql = pgworkflows::PostgresStore::migrations_sql("flows")?;
    /// assert!(sql.contains("create table flows.events"));
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    pub fn migrations_sql(schema: &str) -> Result<String, StoreError> {
        Ok(migrate::script(&Schema::new(schema)?))
    }

    /// Submits inside the caller's own transaction: what was accepted exists if and when that commits.
    ///
    /// A key that somebody else's open transaction holds is waited for as long as the caller's own
    /// `lock_timeout` allows. Workers are notified by the commit, unless notifications are off.
    pub async fn submit_in(
        &self,
        connection: &mut PgConnection,
        submissions: &[Submission],
    ) -> Result<Vec<Submitted>, StoreError> {
        submit::submit_in(&self.shared, connection, submissions).await
    }

    pub(crate) async fn open(options: Options) -> Result<Self, StoreError> {
        let pooling = pooler::recognise(&options).await?;
        let listens = options.listen_directly || pooling == Pooling::PerConnection;
        migrate::migrate(&options).await?;
        let pool = PgPoolOptions::new()
            .max_connections(options.pool_size)
            .acquire_timeout(options.call_timeout.min(ACQUIRE_TIMEOUT))
            // A connection that was used just now is there; asking it would cost every call a round trip.
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for >= ASK_AFTER {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options.connect.clone());
        let shared = Shared {
            statements: Statements::new(&options.schema, options.prepared_statements),
            partitions: Partitions::default(),
            bell: Bell::new(options.listen, listens, options.schema.channel()),
            switchboard: Switchboard::default(),
            schema: options.schema,
            connect: options.connect,
            lock_timeout: options.lock_timeout,
            key_timeout: options.key_timeout,
            call_timeout: options.call_timeout,
            verify: options.verify,
            prepared_statements: options.prepared_statements,
            pool_size: options.pool_size,
            pool,
        };
        let store = Self { shared: Arc::new(shared) };
        store.open_session().await?.prepare().await?;
        durability::warn(&store.shared).await?;
        Ok(store)
    }

    async fn open_session(&self) -> Result<PostgresSession, StoreError> {
        PostgresSession::open(Arc::clone(&self.shared)).await
    }
}

impl Shared {
    /// How many connections the pool has at the moment.
    pub(crate) fn pool_connections(&self) -> u32 {
        self.pool.size()
    }

    /// Runs a statement on a connection of the pool.
    pub(crate) async fn fetch(
        &self,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, StoreError> {
        self.fetch_raw(query).await.map_err(store_error)
    }

    /// The same for a caller that wants to see the server's error.
    pub(crate) async fn fetch_raw(
        &self,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        with_timeout(self.call_timeout, self.fetch_pooled(query)).await
    }

    /// One autocommitted statement leaves nothing behind if its caller goes away in mid-call but an answer to be read,
    /// which the driver does before it uses the connection again. A transaction might be left open: such a connection
    /// is closed.
    async fn fetch_pooled(&self, query: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>, sqlx::Error> {
        if self.prepared_statements {
            return query.fetch_all(&self.pool).await;
        }
        let mut lent = Lent(Some(self.pool.acquire().await?));
        let Some(connection) = lent.0.as_deref_mut() else { return Err(sqlx::Error::WorkerCrashed) };
        let rows = rows(connection, query, false).await;
        if rows.as_ref().err().is_none_or(leaves_connection_usable) {
            drop(lent.0.take());
        }
        rows
    }
}

/// A connection that goes back to the pool if it is taken out, and is closed if it is not.
struct Lent(Option<PoolConnection<Postgres>>);

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.0 {
            connection.close_on_drop();
        }
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("schema", &self.shared.schema).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn session(&self) -> Result<Box<dyn Session>, StoreError> {
        Ok(Box::new(self.open_session().await?))
    }

    async fn check_room(&self, wanted: SessionsWanted) -> Result<(), StoreError> {
        room::check(&self.shared, wanted).await
    }

    async fn queue(&self, name: &str, shards: u16) -> Result<Queue, StoreError> {
        lease::open_queue(&self.shared, name, shards).await
    }

    async fn submit(&self, submissions: &[Submission]) -> Result<Vec<Submitted>, StoreError> {
        submit::submit(&self.shared, submissions).await
    }

    async fn watch(&self, watch: &Watch) -> Result<Watched, StoreError> {
        query::watch(&self.shared, watch).await
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.shared.bell.listen()
    }

    fn query(&self) -> &dyn StoreQuery {
        self
    }

    fn switchboard(&self) -> Option<Switchboard> {
        Some(self.shared.switchboard.clone())
    }
}
