//! The Postgres store: the log, the inbox and the leases as tables of one schema. It must not know any kind of event or
//! message; their contents are bytes.
//!
//! ```no_run
//! # async fn example() -> Result<(), pgworkflows::Error> {
//! use pgworkflows::PostgresStore;
//!
//! let store = PostgresStore::connect("postgres://app:secret@localhost/app").await?;
//! # Ok(())
//! # }
//! ```
//!
//! Supports PostgreSQL 14 and newer, directly or through a pooler. A server that requires encrypted connections, as
//! managed servers do, needs the feature `tls`, which `pgworkflows` also has.
//!
//! # Poolers
//!
//! Tested with PgBouncer, in session mode and in transaction mode. In transaction mode each transaction may get another
//! connection of the server. Then call [`Builder::prepared_statements`]`(false)`, unless the pooler supports prepared
//! statements (PgBouncer 1.21 and newer, with `max_prepared_statements`); otherwise connecting is refused. The listener
//! for notifications needs a connection that is not pooled: give it a direct address with [`Builder::listen_url`], or
//! other processes' changes are found by polling alone.
//!
//! # Settings of the role
//!
//! Connecting checks what a session begins with, and refuses what cannot work, with the setting to change:
//!
//! - `default_transaction_isolation` must be `read committed`, and `default_transaction_read_only` off.
//! - `statement_timeout` and `transaction_timeout` must be off, or at least the store's [`Builder::lock_timeout`] plus 1 s.
//! - `idle_in_transaction_session_timeout` must be off, or at least 1 s, without prepared statements.
//!
//! `lock_timeout` does not matter, because each call sets its own within its transaction. With `idle_session_timeout`,
//! idle connections are lost and opened again. No call leaves a setting on a connection.
//!
//! The address must lead to the primary. Nothing is read from a standby: while the address leads to one, calls fail and
//! are retried, as while no server answers.
//!
//! # Connections
//!
//! A worker with `p` processors and a store whose pool has `c` connections need at least `p + 4` connections, and use
//! up to `2 p + 3 + c`:
//!
//! - each processor uses one, and a second one while it reads and appends at the same time;
//! - the heartbeat uses one, and so do tasks and notifications;
//! - the pool, which serves the process's clients, uses one to `c`;
//! - each [`TransactionalActivity`] that is executed uses one, up to [`Builder::transactions_max`] of them, unless they have a
//!   pool of their own. They are not counted above.
//!
//! A process that has only clients uses up to `1 + c`. By default `p` is the number of cores and `c` is 8. When a
//! worker starts, it compares these numbers with the limits of the server, the database and the role. It ends with an
//! error if `p + 4` are not possible, and logs a warning if it may get fewer than it can use. A thread that is stuck in
//! a workflow which never yields keeps its one or two connections.

mod address;
mod append;
mod calls;
mod connect;
mod cursor;
mod defaults;
pub mod diagnosis;
mod durability;
mod elsewhere;
mod error;
mod inbox;
mod key_holder;
mod lease;
mod lists;
mod migrate;
mod moved;
mod notify;
mod options;
mod partition;
mod pool;
mod pooler;
mod query;
mod recover;
mod room;
mod schema;
mod session;
mod shared;
mod sql;
mod store;
mod submit;
mod tasks;
mod transaction;
mod transactional;
mod transactions;
mod values;
mod watch;

/// For this project's own tests.
#[cfg(feature = "__testing")]
pub mod testing {
    use pgworkflows_core::store::StoreError;

    /// Reads the address of a database, and describes it as errors do. It opens no connection.
    ///
    /// # Errors
    /// The errors of an address that cannot be read.
    pub fn read_address(url: &str) -> Result<String, StoreError> {
        crate::address::read(url).map(|options| crate::connect::describe_address(&options))
    }
}

/// The driver, for the caller's own transactions: the version that [`InTransaction`] takes.
pub use sqlx;

pub use self::options::Builder;
pub use self::store::PostgresStore;
pub use self::transaction::InTransaction;
pub use self::transactional::{Transactional, TransactionalActivity};
pub use self::transactions::Isolation;
