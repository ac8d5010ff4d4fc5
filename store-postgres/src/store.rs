//! The store itself, which all clients and workers of a process share. It must not know what a statement does.

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
use crate::notify::Notifier;
use crate::options::{Builder, Options};
use crate::partition::Partitions;
use crate::pooler::{self, Pooling};
use crate::schema::Schema;
use crate::session::{PostgresSession, rows, with_timeout};
use crate::sql::Statements;
use crate::{durability, lease, migrate, query, room, submit};

/// How long a client waits for a connection of the pool. While no server answers, the pool retries for this time, so
/// that clients do not notice a restart of the server.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a pooled connection may be idle before it is pinged. Clients retry for longer than this.
const PING_AFTER: Duration = Duration::from_secs(1);

/// A store on PostgreSQL. Clones are handles to the same store.
///
/// Its pool belongs to the runtime in which the store was connected. A session belongs to the caller that opens it.
#[derive(Clone)]
pub struct PostgresStore {
    pub(crate) shared: Arc<Shared>,
}

/// The state that the store and its sessions share.
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
    pub(crate) notifier: Notifier,
    switchboard: Switchboard,
    pool: PgPool,
}

impl PostgresStore {
    /// Connects with the default options, and migrates the schema.
    ///
    /// # Errors
    /// As [`Builder::connect`].
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::builder(url).connect().await
    }

    /// Returns a builder, to set options before connecting.
    pub fn builder(url: &str) -> Builder {
        Builder::new(url)
    }

    /// Returns the SQL of all migrations for a schema, for a person to read and run.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] if the name cannot be a schema's, see [`Builder::schema`].
    ///
    /// ```
    /// let sql = pgworkflows::PostgresStore::migrations_sql("flows")?;
    /// assert!(sql.contains("create table flows.events"));
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    pub fn migrations_sql(schema: &str) -> Result<String, StoreError> {
        Ok(migrate::script(&Schema::new(schema)?))
    }

    /// Submits messages inside the caller's own transaction: accepted messages exist if and when that transaction
    /// commits.
    ///
    /// If another open transaction holds a key, the call waits as long as the connection's own `lock_timeout` allows.
    /// The commit notifies workers, unless notifications are off.
    ///
    /// # Errors
    /// [`StoreError::Held`] if the wait for a key times out; [`StoreError::Misconfigured`] if the connection's
    /// `client_encoding` is not `UTF8`; otherwise as a submission outside a transaction. After an error of the
    /// database, roll the transaction back.
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
            // A connection that was used just now is alive; a ping would cost every call a round trip.
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for >= PING_AFTER {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options.connect.clone());
        let shared = Shared {
            statements: Statements::new(&options.schema, options.prepared_statements),
            partitions: Partitions::default(),
            notifier: Notifier::new(options.listen, listens, options.schema.channel()),
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
    /// How many connections the pool has now.
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

    /// Runs a statement, for a caller that needs the server's error.
    pub(crate) async fn fetch_raw(
        &self,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        with_timeout(self.call_timeout, self.fetch_pooled(query)).await
    }

    /// A caller may drop the call half-way. After an autocommitted statement only an answer is left unread, and the
    /// driver reads it before it uses the connection again. But a transaction might stay open, so such a connection is
    /// closed.
    async fn fetch_pooled(&self, query: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>, sqlx::Error> {
        if self.prepared_statements {
            return query.fetch_all(&self.pool).await;
        }
        let mut guard = CloseUnlessTaken(Some(self.pool.acquire().await?));
        let Some(connection) = guard.0.as_deref_mut() else { return Err(sqlx::Error::WorkerCrashed) };
        let rows = rows(connection, query, false).await;
        if rows.as_ref().err().is_none_or(leaves_connection_usable) {
            drop(guard.0.take());
        }
        rows
    }
}

/// Closes the connection on drop, unless it was taken out, which returns it to the pool.
struct CloseUnlessTaken(Option<PoolConnection<Postgres>>);

impl Drop for CloseUnlessTaken {
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
        self.shared.notifier.listen()
    }

    fn query(&self) -> &dyn StoreQuery {
        self
    }

    fn switchboard(&self) -> Option<Switchboard> {
        Some(self.shared.switchboard.clone())
    }
}
