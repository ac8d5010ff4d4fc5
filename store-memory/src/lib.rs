//! The memory store: the readable reference of the store seam. It must not know a kind of event.
//!
//! Everything that a store promises stands here in plain Rust, without a database in the way: [`MemoryStore`]
//! is a synchronous state machine behind one mutex. It serves tests and first steps, and with a virtual
//! [`Clock`] and [`Faults`] it is what the simulator runs on. Nothing in it outlives the process.
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

mod clock;
mod fact;
mod faults;
mod state;
mod store;
mod transaction;

pub use self::clock::{Clock, ManualClock, SystemClock};
pub use self::fact::Fact;
pub use self::faults::{
    Call, Fault, FaultCounts, FaultPoint, FaultWeights, Faults, SeededFaults, SessionNo, Stage,
};
pub use self::store::{MemoryStore, Snapshot};
pub use self::transaction::MemoryTransaction;
