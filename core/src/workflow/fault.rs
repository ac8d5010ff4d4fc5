//! Faults: why a program cannot continue. It must not know what happens to its run.

use std::fmt;

use crate::log::past_event::PastEvent;

/// Why a program could not take a resolution. The program cannot be used after it.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The diagnosis of a stall.
    Stuck(String),
    /// In a replay, the code asked for a local resolution that the log does not contain for this poll.
    Unrecorded {
        /// What the code did, with its source line.
        did: String,
        /// The local resolution that the log contains instead, if there is one.
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
            Self::Unrecorded { did, .. } => write!(f, "the code {did}, and the log does not contain that"),
        }
    }
}
