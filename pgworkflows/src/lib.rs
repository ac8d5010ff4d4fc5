//! Durable workflows as plain `async` Rust, on the PostgreSQL that you already run.
//!
//! Programs depend on this crate alone: it re-exports the engine, and the stores by feature. It must not contain anything
//! of its own except [`connect`].
//!
//! ```
//! use pgworkflows::prelude::*;
//!
//! #[workflow(name = "greeting")]
//! async fn greeting(ctx: Context, name: String) -> WorkflowResult<String> {
//!     ctx.sleep(Duration::from_millis(10)).await?;
//!     Ok(format!("Hello, {name}!"))
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), pgworkflows::Error> {
//! // With `postgres://user:password@host:5432/database`, runs survive a crash.
//! let store = pgworkflows::connect("memory:").await?;
//! let worker = Worker::builder(store.clone()).workflow::<greeting>().build()?;
//! let client = Client::new(store);
//! let greet = async { client.start::<greeting>("Ada".to_owned()).await?.result().await };
//! assert_eq!(worker.run_while(greet).await??, "Hello, Ada!");
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `postgres` (default) | [`PostgresStore`], [`TransactionalActivity`], [`InTransaction`] and [`sqlx`] |
//! | `sqlite` | [`SqliteStore`]: one file, without a server |
//! | `memory` | [`MemoryStore`], which loses everything when the process ends: for tests and first steps |
//! | `tls` | encrypted connections to PostgreSQL, using rustls with the machine's root certificates |
//! | `otel` | the module `otel`: traces and metrics by OpenTelemetry |
//! | `prometheus` | the module `prometheus`: metrics as a page for Prometheus |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod connect;

/// Compiles the program of the guide.
#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../../docs/getting-started.md")]
mod guide {}

#[doc(inline)]
pub use pgworkflows_core::*;
pub use pgworkflows_macros::{Failure, activities, activity, workflow};
#[cfg(feature = "memory")]
pub use pgworkflows_memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use pgworkflows_postgres::{
    InTransaction, Isolation, PostgresStore, Transactional, TransactionalActivity, sqlx,
};
#[cfg(feature = "sqlite")]
pub use pgworkflows_sqlite::SqliteStore;

#[cfg(feature = "otel")]
pub use pgworkflows_telemetry::otel;
#[cfg(feature = "prometheus")]
pub use pgworkflows_telemetry::prometheus;

pub use self::connect::{AnyStore, connect};

/// What the examination of a store finds: `PostgresStore::builder(url).diagnose()`, `SqliteStore::builder(path).diagnose()`.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub mod diagnosis {
    pub use pgworkflows_core::store::{Finding, Verdict};
    #[cfg(feature = "postgres")]
    pub use pgworkflows_postgres::diagnosis::Check as PostgresCheck;
    #[cfg(feature = "sqlite")]
    pub use pgworkflows_sqlite::diagnosis::Check as SqliteCheck;
}

/// The names that most files need: `use pgworkflows::prelude::*`.
pub mod prelude {
    #[doc(no_inline)]
    pub use pgworkflows_core::prelude::*;
    #[doc(no_inline)]
    pub use pgworkflows_macros::{Failure, activities, activity, workflow};
    #[cfg(feature = "postgres")]
    #[doc(no_inline)]
    pub use pgworkflows_postgres::InTransaction;
}
