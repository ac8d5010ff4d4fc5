//! The first difference between a history and the code that replays it.

use std::fmt;

use super::id::EventSeq;

/// The first difference between a history and the code that replays it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Divergence {
    /// The event at which they differ; `None` if the history ends before it.
    pub seq: Option<EventSeq>,
    /// What was recorded there, in words.
    pub recorded: Option<String>,
    /// What the code did instead, with its source line.
    pub did: String,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.seq, &self.recorded) {
            (Some(seq), Some(recorded)) => {
                write!(f, "event {seq} of the log is {recorded}, but the code {}", self.did)
            }
            (Some(_), None) => f.write_str(&self.did),
            (None, _) => write!(f, "the code {}, and the log ends before that", self.did),
        }
    }
}
