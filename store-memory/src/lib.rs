//! The memory store: the readable reference of the store seam. It must not know any kind of event.
//!
//! It shows everything that a store promises in plain Rust, without a database: [`MemoryStore`] is a synchronous state
//! machine behind one mutex. It serves tests and first steps. The simulator runs on it, with a virtual [`Clock`] and
//! [`Faults`]. Its data is lost when the process ends.
//!
//! ```
//! use pgworkflows::store::Store;
//! use pgworkflows::MemoryStore;
//!
//! # async fn example() -> Result<(), pgworkflows::store::StoreError> {
//! let store = MemoryStore::new();
//! let queue = store.queue("default", 64).await?;
//! assert_eq!(queue.shard_count, 64);
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
//! ```

mod call;
mod clock;
mod fact;
mod faults;
mod lingering;
mod seam;
mod session;
mod size;
mod state;
mod store;
mod transaction;

pub use self::clock::{Clock, ManualClock, SystemClock};
pub use self::fact::Fact;
pub use self::faults::{Call, Fault, FaultPoint, Faults, SessionNo, Stage};
pub use self::store::{MemoryStore, Snapshot};
pub use self::transaction::MemoryTransaction;
