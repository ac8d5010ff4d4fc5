//! Durable workflows as plain `async` Rust on the PostgreSQL you already run.
//!
//! This is the one crate of the project that a program depends on: the engine, and the stores behind features. It holds
//! nothing of its own but [`connect`].
//!
//! ```
//! use pgworkflows::prelude::*;
//!
//! struct Greeting;
//!
//! impl Workflow for Greeting {
//!     const NAME: &'static str = "greeting";
//!     type Input = String;
//!     type Output = String;
//!
//!     async fn run(ctx: Context, name: String) -> WorkflowResult<String> {
//!         ctx.sleep(Duration::from_millis(10)).await?;
//!         Ok(format!("Hello, {name}!"))
//!     }
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), pgworkflows::Error> {
//! // `postgres://user:password@host:5432/database` keeps runs over a crash.
//! let store = pgworkflows::connect("memory:").await?;
//! let worker = Worker::builder(store.clone()).workflow::<Greeting>().build()?;
//! let client = Client::new(store);
//! let mut greeting = Ok(String::new());
//! worker
//!     .run_until(async {
//!         greeting = async { client.start::<Greeting>("Ada".to_owned()).await?.result().await }.await;
//!     })
//!     .await?;
//! assert_eq!(greeting?, "Hello, Ada!");
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `postgres` (default) | [`PostgresStore`], [`InTransaction`](prelude::InTransaction) and [`sqlx`] |
//! | `memory` | [`MemoryStore`], which keeps nothing longer than the process: for tests and first steps |
//! | `tls` | encrypted connections to PostgreSQL, by rustls with the machine's root certificates |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod connect;

#[doc(inline)]
pub use pgworkflows_core::*;
#[cfg(feature = "memory")]
pub use pgworkflows_memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use pgworkflows_postgres::{InTransaction, PostgresStore, sqlx};

pub use self::connect::{AnyStore, connect};

/// The names that most files need: bring them in with `use pgworkflows::prelude::*`.
pub mod prelude {
    #[doc(no_inline)]
    pub use pgworkflows_core::prelude::*;
    #[cfg(feature = "postgres")]
    #[doc(no_inline)]
    pub use pgworkflows_postgres::InTransaction;
}
