//! The options of a store and their checks. It opens no connection.

use std::time::Duration;

use pgworkflows_core::store::StoreError;
use sqlx::postgres::PgConnectOptions;

use crate::address;
use crate::schema::Schema;

/// The default maximum of connections in the store's pool, which serves clients. The crate's documentation counts those
/// that workers open.
const POOL_SIZE: u32 = 8;

/// The default maximum of connections for transactional activities.
const TRANSACTIONS_MAX: u32 = 8;

/// The default time that a statement waits for a lock: far below a lease's time to live (10 s).
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest time that a start waits for a key which an open transaction holds: long enough for a transaction that is
/// about to commit, and short enough for a person who waits for an answer.
const KEY_TIMEOUT_MAX: Duration = Duration::from_secs(1);

/// The default time that a call waits for its answer before the connection is dropped.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The default time span of a log partition in a new schema: sixty partitions are five years.
const PARTITION_WIDTH: Duration = Duration::from_secs(30 * 24 * 3600);

/// Options of a [`PostgresStore`](crate::PostgresStore), made by
/// [`PostgresStore::builder`](crate::PostgresStore::builder).
///
/// ```no_run
/// # async fn example() -> Result<(), pgworkflows::Error> {
/// use pgworkflows::PostgresStore;
///
/// let store = PostgresStore::builder("postgres://app:secret@localhost/app")
///     .schema("flows")
///     .migrate(false)
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Builder {
    url: String,
    schema: String,
    migrate: bool,
    pool_size: u32,
    transactions_max: u32,
    lock_timeout: Duration,
    call_timeout: Duration,
    partition_width: Duration,
    notifications: bool,
    listen_url: Option<String>,
    prepared_statements: bool,
    verify: bool,
}

impl Builder {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            schema: "pgworkflows".to_owned(),
            migrate: true,
            pool_size: POOL_SIZE,
            transactions_max: TRANSACTIONS_MAX,
            lock_timeout: LOCK_TIMEOUT,
            call_timeout: CALL_TIMEOUT,
            partition_width: PARTITION_WIDTH,
            notifications: true,
            listen_url: None,
            prepared_statements: true,
            verify: cfg!(debug_assertions),
        }
    }

    /// Sets the schema that holds all tables: 1 to 48 lower-case letters, digits and underscores. The default is
    /// `pgworkflows`.
    #[must_use]
    pub fn schema(mut self, name: &str) -> Self {
        name.clone_into(&mut self.schema);
        self
    }

    /// Sets whether connecting brings the schema up to date (the default) or refuses a schema that is not. In the
    /// second case, run the script that [`PostgresStore::migrations_sql`](crate::PostgresStore::migrations_sql) returns.
    #[must_use]
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// Sets how many connections the clients of this process share at most: 1 or more, 8 by default. They are opened on
    /// demand. A worker with `p` processors opens `p + 3` to `2 p + 3` more.
    #[must_use]
    pub fn pool_size(mut self, connections: u32) -> Self {
        self.pool_size = connections;
        self
    }

    /// Sets how many [transactional activities](crate::TransactionalActivity) of this process have a transaction open at a time,
    /// each on a connection of its own: 1 or more, 8 by default. The connections are opened on demand. Others wait.
    #[must_use]
    pub fn transactions_max(mut self, connections: u32) -> Self {
        self.transactions_max = connections;
        self
    }

    /// Sets how long a statement waits for a lock: 1 ms or more, 2 s by default. Choose a time far below the time to
    /// live of the workers' leases (10 s by default). A start waits at most 1 s for a key that an open transaction
    /// holds. The `statement_timeout` and the `transaction_timeout` of the role must be off, or longer by 1 s or more.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Sets how long a call waits for its answer before the connection counts as lost: longer than the lock timeout, 30
    /// s by default.
    #[must_use]
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// Sets the time span of one partition of the log: whole seconds, 1 or more, 30 days by default. Choose it so that
    /// about 60 partitions cover the retention time. It applies when the schema is created; an existing schema keeps
    /// its own.
    #[must_use]
    pub fn partition_width(mut self, width: Duration) -> Self {
        self.partition_width = width;
        self
    }

    /// Sets whether to send and receive notifications (the default). Without them, other processes' changes are found
    /// by polling alone. Turn them off if a request is made in a transaction that is then prepared (two-phase commit):
    /// PostgreSQL prepares no transaction that notifies.
    #[must_use]
    pub fn notifications(mut self, notifications: bool) -> Self {
        self.notifications = notifications;
        self
    }

    /// Sets a direct address of the database for the listener of notifications. It is the one connection that a pooler
    /// in transaction mode cannot serve.
    #[must_use]
    pub fn listen_url(mut self, url: &str) -> Self {
        self.listen_url = Some(url.to_owned());
        self
    }

    /// Sets whether connections may keep prepared statements (the default). Choose `false`, or add
    /// `?statement-cache-capacity=0` to the address, if a pooler gives each transaction another connection of the
    /// server and does not support prepared statements: PgBouncer in transaction mode before 1.21, or without
    /// `max_prepared_statements`. Every call then is a transaction of four round trips instead of one.
    #[must_use]
    pub fn prepared_statements(mut self, prepared_statements: bool) -> Self {
        self.prepared_statements = prepared_statements;
        self
    }

    /// Sets whether the database compares every batch with the log before it writes the batch. This assertion catches
    /// bugs of the engine, and costs one probe per run. By default it is on in builds with debug assertions.
    #[must_use]
    pub fn verify_appends(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// The options, if they can be used.
    pub(crate) fn check(self) -> Result<Options, StoreError> {
        let refuse = |text: String| Err(StoreError::misconfigured(text));
        if self.pool_size == 0 {
            return refuse("a pool of 0 connections cannot serve a client: give it 1 or more".to_owned());
        }
        if self.transactions_max == 0 {
            return refuse("`transactions_max` of 0 lets no transaction begin: give it 1 or more".to_owned());
        }
        if self.lock_timeout < Duration::from_millis(1) {
            return refuse(format!(
                "a lock timeout of {:?} is too short: 1 ms is the minimum",
                self.lock_timeout
            ));
        }
        if self.call_timeout <= self.lock_timeout {
            return refuse(format!(
                "a call timeout of {:?} is not longer than the lock timeout of {:?}: raise the first or lower the second",
                self.call_timeout, self.lock_timeout
            ));
        }
        if self.partition_width.is_zero() || self.partition_width.subsec_nanos() != 0 {
            return refuse(format!(
                "a partition cannot span {:?}: choose whole seconds, 1 or more",
                self.partition_width
            ));
        }
        let connect = address::read(&self.url)?;
        let listen = match &self.listen_url {
            Some(url) => address::read(url)?,
            None => connect.clone(),
        };
        Ok(Options {
            schema: Schema::new(&self.schema)?,
            connect,
            listen_directly: self.listen_url.is_some(),
            prepared_statements: self.prepared_statements && !address::forbids_prepared_statements(&self.url),
            listen: self.notifications.then_some(listen),
            migrate: self.migrate,
            pool_size: self.pool_size,
            transactions_max: self.transactions_max,
            lock_timeout: milliseconds(self.lock_timeout),
            key_timeout: self.lock_timeout.min(KEY_TIMEOUT_MAX),
            lock_wait_max: self.lock_timeout,
            call_timeout: self.call_timeout,
            verify: self.verify,
            partition_width_seconds: self.partition_width.as_secs().cast_signed(),
        })
    }
}

impl std::fmt::Debug for Builder {
    /// Leaves out the addresses, because they may contain passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// Checked options.
pub(crate) struct Options {
    pub(crate) schema: Schema,
    pub(crate) connect: PgConnectOptions,
    /// `None` if notifications are switched off.
    pub(crate) listen: Option<PgConnectOptions>,
    /// Whether the listener has a direct address, which bypasses a pooler.
    pub(crate) listen_directly: bool,
    pub(crate) prepared_statements: bool,
    pub(crate) migrate: bool,
    pub(crate) pool_size: u32,
    pub(crate) transactions_max: u32,
    /// In the form of the server's setting of the same name.
    pub(crate) lock_timeout: String,
    pub(crate) key_timeout: Duration,
    /// The same as `lock_timeout`, to compare with the server's limits.
    pub(crate) lock_wait_max: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) verify: bool,
    pub(crate) partition_width_seconds: i64,
}

/// A duration in the form of the server's settings.
pub(crate) fn milliseconds(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}
