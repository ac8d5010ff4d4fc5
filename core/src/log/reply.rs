//! The reply to an update, as its client reads it. It must not know where it is kept.

use crate::data::payload::Payload;

/// The reply to an update. The end of a run is the reply to every update that has no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The run answered.
    Answered(Payload),
    /// The update's check refused the request, in these words. The run was told nothing.
    Refused(String),
    /// The run took the update and dropped it without an answer.
    Dropped,
    /// Too many updates of the run are unanswered. The run was told nothing.
    TooMany,
    /// The workflow had returned, and only its compensations were left. The run was told nothing.
    Ending,
}
