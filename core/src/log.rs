//! The log's vocabulary: events and messages, how they are stored, and how people read them. It must not know what
//! follows from them.

pub(crate) mod event;
pub(crate) mod message;
pub(crate) mod message_kind;
pub(crate) mod past_event;
mod table;
pub(crate) mod wire;
pub(crate) mod words;
