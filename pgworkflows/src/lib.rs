//! Durable workflows as plain `async` Rust on the PostgreSQL you already run.
//!
//! This is the one crate that a program depends on: the engine, and the stores behind features.

pub use pgworkflows_core::*;
#[cfg(feature = "memory")]
pub use pgworkflows_memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use pgworkflows_postgres::{InTransaction, PostgresStore};

/// What a file with workflows, activities and clients needs.
pub mod prelude {
    pub use pgworkflows_core::prelude::*;
    #[cfg(feature = "postgres")]
    pub use pgworkflows_postgres::InTransaction;
}
