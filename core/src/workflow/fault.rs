//! Why a program cannot go on. It must not know what becomes of its run then.

use std::fmt;

use crate::log::past_event::PastEvent;

/// Why a program could not take a resolution in. It is of no more use then.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The diagnosis of a stall.
    Stuck(String),
    /// In a replay, the code asked for a local resolution that the log does not hold for this poll.
    Unrecorded {
        /// What the code did, with its source line.
        did: String,
        /// What the log holds there, if there is another.
        instead: Option<Box<PastEvent>>,
    },
}

impl From<String> for Fault {
    fn from(diagnosis: String) -> Self {
        Self::Stuck(diagnosis)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stuck(diagnosis) => f.write_str(diagnosis),
            Self::Unrecorded { did, .. } => write!(f, "the code {did}, and the log does not hold that"),
        }
    }
}
