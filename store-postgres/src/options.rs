//! What a store can be told. It opens nothing.

use std::str::FromStr;
use std::time::Duration;

use pgworkflows_core::store::StoreError;
use sqlx::postgres::PgConnectOptions;

use crate::PostgresStore;
use crate::schema::Schema;

/// How many connections the store's pool has at most, by default. It serves clients; what workers open beside it, the
/// crate's documentation counts.
const POOL_SIZE: u32 = 8;

/// How long a statement waits for a lock, by default: far below a lease's time to live (15 s).
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a start waits for its key at most, should somebody's open transaction hold it: long enough for one that is
/// about to commit, and no longer than a person waits for a click.
const KEY_TIMEOUT_MAX: Duration = Duration::from_secs(1);

/// How long a call waits for its answer, by default, before the connection is given up.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How much time a partition of the log spans in a new schema, by default: sixty of them are five years.
const PARTITION_WIDTH: Duration = Duration::from_secs(30 * 24 * 3600);

/// Options of a [`PostgresStore`], made by [`PostgresStore::builder`].
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
            lock_timeout: LOCK_TIMEOUT,
            call_timeout: CALL_TIMEOUT,
            partition_width: PARTITION_WIDTH,
            notifications: true,
            listen_url: None,
            prepared_statements: true,
            verify: cfg!(debug_assertions),
        }
    }

    /// The schema that everything lives in: lower-case letters, digits and underscores, 48 at most.
    /// The default is `pgworkflows`.
    #[must_use]
    pub fn schema(mut self, name: &str) -> Self {
        name.clone_into(&mut self.schema);
        self
    }

    /// Whether connecting brings the schema up to date (the default) or refuses one that is not.
    /// [`PostgresStore::migrations_sql`] prints what has to be run then.
    #[must_use]
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// How many connections the clients of this process share at most: 1 or more, 8 by default. They are opened when they
    /// are needed. A worker opens more beside them: `p + 2` to `2 p + 2` with `p` processors.
    #[must_use]
    pub fn pool_size(mut self, connections: u32) -> Self {
        self.pool_size = connections;
        self
    }

    /// How long a statement waits for a lock: 1 ms or more, 2 s by default. Stay far below the time to live of
    /// the workers' leases, 15 s by default. A start waits for 1 s at most for a key that an open transaction holds.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// How long a call waits for its answer before the connection is given up for lost: 30 s by default.
    #[must_use]
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// How much time one partition of the log spans: whole seconds, 30 days by default.
    /// Choose it so that about 60 partitions cover what is retained. It counts when the schema is made; an
    /// existing schema keeps its own.
    #[must_use]
    pub fn partition_width(mut self, width: Duration) -> Self {
        self.partition_width = width;
        self
    }

    /// Whether to send and to receive notifications (the default). Without them everything is found by
    /// polling alone.
    #[must_use]
    pub fn notifications(mut self, notifications: bool) -> Self {
        self.notifications = notifications;
        self
    }

    /// A direct address of the database, for the one connection that a pooler in transaction mode cannot
    /// serve: the listener for notifications.
    #[must_use]
    pub fn listen_url(mut self, url: &str) -> Self {
        self.listen_url = Some(url.to_owned());
        self
    }

    /// Whether connections may keep prepared statements (the default). Say `false`, or write
    /// `?statement-cache-capacity=0` into the address, where a pooler gives every transaction another connection of
    /// the server and does not carry statements along: PgBouncer in transaction mode before 1.21, or without
    /// `max_prepared_statements`. Every call is then a transaction of its own in four round trips instead of one.
    #[must_use]
    pub fn prepared_statements(mut self, prepared_statements: bool) -> Self {
        self.prepared_statements = prepared_statements;
        self
    }

    /// Whether the database compares every batch with the log before it writes it, to catch bugs of the engine:
    /// an assertion that costs a probe per run. By default it is made in builds with debug assertions.
    #[must_use]
    pub fn verify_appends(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// Connects, and migrates unless told not to. A schema that was moved here from another cluster or database is
    /// put in order first, which takes about a minute for a million messages that wait.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misconfigured`] if an option, the password, the server's version, the database's encoding (it has
    /// to be UTF8), its default kind of transactions or the schema's state is refused; [`StoreError::Unavailable`] if
    /// no server answers; [`StoreError::Corrupt`] if a migration was changed after it was applied.
    pub async fn connect(self) -> Result<PostgresStore, StoreError> {
        PostgresStore::open(self.check()?).await
    }

    fn check(self) -> Result<Options, StoreError> {
        let refuse = |text: String| Err(StoreError::misconfigured(text));
        if self.pool_size == 0 {
            return refuse("a pool of 0 connections serves nobody: give it 1 or more".to_owned());
        }
        if self.lock_timeout < Duration::from_millis(1) {
            return refuse(format!(
                "a lock timeout of {:?} is too short: 1 ms is the least",
                self.lock_timeout
            ));
        }
        if self.call_timeout <= self.lock_timeout {
            return refuse(format!(
                "a call timeout of {:?} is not longer than the lock timeout of {:?}",
                self.call_timeout, self.lock_timeout
            ));
        }
        if self.partition_width.is_zero() || self.partition_width.subsec_nanos() != 0 {
            return refuse(format!(
                "a partition cannot span {:?}: whole seconds, 1 or more, are possible",
                self.partition_width
            ));
        }
        let connect = connect_options(&self.url)?;
        let listen = match &self.listen_url {
            Some(url) => connect_options(url)?,
            None => connect.clone(),
        };
        Ok(Options {
            schema: Schema::new(&self.schema)?,
            connect,
            listen_directly: self.listen_url.is_some(),
            prepared_statements: self.prepared_statements && !forbids_prepared_statements(&self.url),
            listen: self.notifications.then_some(listen),
            migrate: self.migrate,
            pool_size: self.pool_size,
            lock_timeout: milliseconds(self.lock_timeout),
            key_timeout: self.lock_timeout.min(KEY_TIMEOUT_MAX),
            call_timeout: self.call_timeout,
            verify: self.verify,
            partition_width_seconds: self.partition_width.as_secs().cast_signed(),
        })
    }
}

impl std::fmt::Debug for Builder {
    /// The addresses may hold passwords, so they are left out.
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
    /// Whether the listener has an address of its own, past a pooler.
    pub(crate) listen_directly: bool,
    pub(crate) prepared_statements: bool,
    pub(crate) migrate: bool,
    pub(crate) pool_size: u32,
    /// As the server's setting of that name takes it.
    pub(crate) lock_timeout: String,
    pub(crate) key_timeout: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) verify: bool,
    pub(crate) partition_width_seconds: i64,
}

/// A duration as the server's settings take it.
pub(crate) fn milliseconds(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

/// Whether the address says so, in the driver's own word.
fn forbids_prepared_statements(url: &str) -> bool {
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    parameters.split('&').any(|parameter| parameter == "statement-cache-capacity=0")
}

fn connect_options(url: &str) -> Result<PgConnectOptions, StoreError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(StoreError::misconfigured(
            "the address of the database does not begin with `postgres://`: it has the form \
             postgres://user:password@host:5432/database",
        ));
    }
    let options = PgConnectOptions::from_str(url).map_err(|error| {
        StoreError::misconfigured(format!(
            "the address of the database cannot be read ({error}): it has the form \
             postgres://user:password@host:5432/database"
        ))
    })?;
    let options = match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("pgworkflows"),
    };
    // The driver would set the digits of floats at the start of a session, which PgBouncer refuses and
    // nobody here needs.
    Ok(options.extra_float_digits(None))
}
