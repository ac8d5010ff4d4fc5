//! The Postgres store: the log, the inbox and the leases as tables of one schema. It must not know a kind of
//! event or message; what they say is bytes.
//!
//! ```no_run
//! # async fn example() -> Result<(), pgworkflows::Error> {
//! use pgworkflows_postgres::PostgresStore;
//!
//! let store = PostgresStore::connect("postgres://app:secret@localhost/app").await?;
//! # Ok(())
//! # }
//! ```
//!
//! A server that demands encrypted connections, as managed ones do, needs the feature `tls`.
//!
//! PostgreSQL 14 and newer. Nothing but the listener for notifications keeps state in a connection, so
//! everything else works through PgBouncer in transaction mode, from its version 1.21 with
//! `max_prepared_statements` on; give the listener a direct address with [`Builder::listen_url`].

mod append;
mod connect;
mod cursor;
mod error;
mod inbox;
mod lease;
mod migrate;
mod moved;
mod notify;
mod options;
mod partition;
mod pooler;
mod query;
mod recover;
mod schema;
mod session;
mod sql;
mod store;
mod submit;
mod transaction;
mod values;

mod key_holder;
pub use self::options::Builder;
pub use self::store::PostgresStore;
pub use self::transaction::InTransaction;
