//! The log's vocabulary: events and messages, their stored form, and their text for people. It must not know what a run
//! does with them.

pub(crate) mod attempt;
pub(crate) mod event;
pub(crate) mod json;
pub(crate) mod message;
pub(crate) mod message_kind;
pub(crate) mod past_event;
pub(crate) mod reply;
pub(crate) mod stored_history;
mod table;
pub(crate) mod wire;
pub(crate) mod words;
