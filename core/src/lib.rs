//! Durable workflows as plain `async` Rust on the PostgreSQL you already run: the engine.

mod error;
mod event;
mod failure;
mod id;
pub mod limits;
mod payload;
pub mod store;
mod time;

pub use self::error::Error;
pub use self::event::EventName;
pub use self::failure::Failure;
pub use self::id::{AppendNo, CommandId, EventSeq, InboxNo, LeaseId, MessageId, Position, RunId, ShardId};
pub use self::payload::{Encoding, Payload, PayloadError};
pub use self::time::Timestamp;
