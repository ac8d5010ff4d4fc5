//! Messages: what is sent to a run from outside its processor. It must not know where messages wait.

use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::data::time::Timestamp;

/// Something that is mostly not so, and then takes no bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flag(pub(crate) bool);

/// What a message in the inbox says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Begin the run.
    Start {
        /// The workflow's name.
        workflow: Name,
        /// Its input.
        input: Payload,
        /// The idempotency key.
        key: Option<String>,
        /// When to begin, if not at once.
        start_at: Option<Timestamp>,
        /// Whether a processor may have begun the run already, without a message.
        repeated: Flag,
    },
    /// Hand a signal to the run.
    Signal {
        /// The signal's name.
        signal: Name,
        /// Its content.
        payload: Payload,
        /// Its idempotency key.
        key: Option<String>,
    },
    /// Ask the run to cancel itself.
    Cancel {
        /// Why, if the caller said so.
        reason: Option<String>,
    },
    /// End the run without asking it.
    Terminate {
        /// Why.
        reason: String,
    },
}
