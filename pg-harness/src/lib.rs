//! A real PostgreSQL for tests and benches: found, started, crashed, restored and thrown away.
//!
//! It must not know anything about workflows, nor about the tables that the stores create.
//!
//! Most tests need a separate database on a shared server:
//!
//! ```no_run
//! # #[cfg(feature = "databases")] {
//! use pgworkflows_pg_harness::Postgres;
//!
//! let database = Postgres::shared().create_database().unwrap();
//! // Connect to `database.url()`; the database is dropped with the value.
//! # }
//! ```
//!
//! A test that crashes or restores a server starts its own:
//!
//! ```no_run
//! use pgworkflows_pg_harness::Postgres;
//!
//! let server = Postgres::start()?;
//! let older = server.scratch_dir().join("older");
//! server.copy_data_dir_to(&older)?;
//! // ... commit something that the restored server lacks ...
//! server.restore_from(&older)?;
//! server.kill()?;
//! server.restart()?;
//! # Ok::<(), pgworkflows_pg_harness::Error>(())
//! ```
//!
//! Every call blocks its thread, so that values can clean up in `Drop`. A call takes from some milliseconds (a
//! database) to some seconds (a server), and may be made from async code.
//!
//! Unix only: PostgreSQL refuses to run as root, so if the caller is root, the server's programs run as another user.

mod error;
mod installation;

mod account;
mod supervisor;

mod server;

mod pooler;

#[cfg(feature = "databases")]
mod database;
#[cfg(feature = "databases")]
mod dump;
#[cfg(feature = "proxy")]
mod proxy;
#[cfg(feature = "databases")]
mod shared;
#[cfg(feature = "databases")]
mod sql;

pub use self::error::Error;
pub use self::installation::{DATABASE_URL_VARIABLE, Installation, POSTGRES_BIN_VARIABLE};
pub use self::pooler::{PGBOUNCER_VARIABLE, PgBouncer, PoolMode};
pub use self::server::{Builder, Postgres};

#[cfg(feature = "databases")]
pub use self::database::Database;
#[cfg(feature = "proxy")]
pub use self::proxy::{Cut, Link, Proxy};
#[cfg(feature = "databases")]
pub use self::shared::Shared;
