//! The Postgres store: the log, the inbox and the leases as tables of one schema. It must not know a kind of
//! event or message; what they say is bytes.
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
//! A server that demands encrypted connections, as managed ones do, needs the feature `tls`, which `pgworkflows` has as well.
//!
//! PostgreSQL 14 and newer, directly or through a pooler.
//!
//! # Poolers
//!
//! Tested with PgBouncer, in session mode and in transaction mode. Where each transaction gets another connection of the
//! server, as in transaction mode, say [`Builder::prepared_statements`]`(false)`, unless the pooler carries prepared
//! statements along (PgBouncer from 1.21 on, with `max_prepared_statements`); if you do not, connecting is refused.
//! Nothing else needs a connection of its own but the one that listens for notifications: give it a direct address
//! with [`Builder::listen_url`], or what other processes do is found by polling alone.
//!
//! # Connections
//!
//! A worker with `p` processors, and its store with a pool of `c`, need `p + 3` connections and use up to
//! `2 p + 2 + c`: each processor one, and a second while it reads and appends at the same time; the heartbeat one;
//! notifications one; the pool, which serves the process's clients, one to `c`. A process with clients alone uses up to
//! `1 + c`. By default `p` is the number of cores and `c` is 8. When a worker begins, that is compared with the limits of
//! the server, the database and the role: with fewer than `p + 3` it ends with an error, with fewer than it may use
//! it warns. A thread that is left behind in a workflow which never yields keeps its one or two.

mod append;
mod connect;
mod cursor;
mod durability;
mod error;
mod inbox;
mod key_holder;
mod lease;
mod migrate;
mod moved;
mod notify;
mod options;
mod partition;
mod pooler;
mod query;
mod recover;
mod room;
mod schema;
mod session;
mod sql;
mod store;
mod submit;
mod transaction;
mod values;

/// The driver, for the caller's own transactions: the version that [`InTransaction`] takes.
pub use sqlx;

pub use self::options::Builder;
pub use self::store::PostgresStore;
pub use self::transaction::InTransaction;
