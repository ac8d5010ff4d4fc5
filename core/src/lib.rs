//! Durable workflows as plain `async` Rust on the PostgreSQL you already run: the engine.

mod activity;
mod error;
mod event;
mod failure;
mod id;
pub mod limits;
mod message;
mod payload;
mod random;
mod retry;
pub mod store;
mod time;

pub use self::activity::{Activity, ActivityContext, ActivityError, ActivityOptions, ActivityResult};
pub use self::error::Error;
pub use self::event::{Event, EventName, Name, Outcome, Uncompensated};
pub use self::failure::Failure;
pub use self::id::{AppendNo, CommandId, EventSeq, InboxNo, LeaseId, MessageId, Position, RunId, ShardId};
pub use self::payload::{Encoding, Payload, PayloadError};
pub use self::retry::RetryPolicy;
pub use self::time::Timestamp;
