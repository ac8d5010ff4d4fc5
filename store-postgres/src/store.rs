//! The store itself, which all clients and workers of a process share. It must not know what a statement does.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use async_trait::async_trait;
use pgworkflows_core::RunId;
use pgworkflows_core::store::{
    Hint, HintKind, Queue, Session, SessionsWanted, Store, StoreError, StoreQuery, Submission, Submitted,
    Switchboard, Watch, Watched,
};
use sqlx::postgres::PgConnection;
use tokio::sync::broadcast;

use crate::notify::Notifier;
use crate::options::{Builder, Options};
use crate::pool::Pool;
use crate::pooler::{self, Pooling};
use crate::schema::Schema;
use crate::session::PostgresSession;
use crate::shared::Shared;
use crate::sql::Statements;
use crate::{durability, elsewhere, lease, migrate, moved, partition, room, submit, watch};

/// A store on PostgreSQL. Clones are handles to the same store.
///
/// Its pool belongs to the runtime in which the store was connected. A session belongs to the caller that opens it.
#[derive(Clone)]
pub struct PostgresStore {
    pub(crate) shared: Arc<Shared>,
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
    /// assert!(sql.contains("create table flows.frames"));
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    pub fn migrations_sql(schema: &str) -> Result<String, StoreError> {
        Ok(migrate::script(&Schema::new(schema)?))
    }

    /// Returns the SQL that makes roles for a schema, for a person to read and run, after the migrations and again after each
    /// upgrade. For a schema `flows` they are `flows_owner`, which owns everything in it, `flows_worker`, `flows_client` and
    /// `flows_reader`. They cannot log in: grant them to roles that can. What each may do is in `docs/sql.md`.
    ///
    /// Without it, the role that migrated the schema owns everything, and nobody else has any right to it.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] if the name cannot be a schema's, see [`Builder::schema`].
    ///
    /// ```
    /// let sql = pgworkflows::PostgresStore::roles_sql("flows")?;
    /// assert!(sql.contains("flows_worker"));
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    pub fn roles_sql(schema: &str) -> Result<String, StoreError> {
        Ok(migrate::roles_script(&Schema::new(schema)?))
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

    /// Names the schemas of this database that have a run, ascending: for a message about a run that is not in this one.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the server does not answer.
    pub async fn schemas_with(&self, run: RunId) -> Result<Vec<String>, StoreError> {
        elsewhere::schemas_with(&self.shared, run).await
    }

    pub(crate) async fn open(options: Options) -> Result<Self, StoreError> {
        let pooling = pooler::recognise(&options).await?;
        let listens = options.listen_directly || pooling == Pooling::PerConnection;
        migrate::migrate(&options).await?;
        let shared = Shared {
            statements: Statements::new(options.schema.clone(), options.prepared_statements),
            notifier: Notifier::new(options.listen.clone(), listens, options.schema.channel()),
            partition_due: AtomicI64::default(),
            switchboard: Switchboard::default(),
            pool: Pool::for_clients(&options),
            transactions: Pool::for_transactions(&options),
            options,
        };
        let store = Self { shared: Arc::new(shared) };
        let mut session = store.open_session().await?;
        moved::rewrite_if_moved(&mut session).await?;
        partition::make_first_if_allowed(&mut session).await?;
        durability::warn(&store.shared).await?;
        Ok(store)
    }

    async fn open_session(&self) -> Result<PostgresSession, StoreError> {
        PostgresSession::open(Arc::clone(&self.shared)).await
    }
}

impl Builder {
    /// Connects, and migrates unless [`migrate`](Self::migrate) is off. If the schema was moved here from another
    /// cluster or database, its inbox is rewritten first, which takes about a minute per million waiting messages.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::Misconfigured`] if an option, the password, the server's version, the database's encoding
    /// (it must be UTF8), its default transaction settings or the schema's state is refused;
    /// [`StoreError::Unavailable`] if no server answers; [`StoreError::Corrupt`] if a migration was changed after it
    /// was applied.
    pub async fn connect(self) -> Result<PostgresStore, StoreError> {
        PostgresStore::open(self.check()?).await
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("schema", &self.shared.options.schema).finish_non_exhaustive()
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
        watch::watch(&self.shared, watch).await
    }

    fn hints(&self, kind: HintKind) -> broadcast::Receiver<Hint> {
        self.shared.notifier.listen(kind)
    }

    fn query(&self) -> &dyn StoreQuery {
        self
    }

    fn switchboard(&self) -> Option<Switchboard> {
        Some(self.shared.switchboard.clone())
    }
}
