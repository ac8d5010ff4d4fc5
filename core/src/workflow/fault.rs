//! Faults: why a program cannot continue. It must not know what happens to its run.

use std::fmt;

use crate::data::name::Name;
use crate::log::past_event::PastEvent;
use crate::workflow::command::Source;

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
    /// A child is to live in a queue that the worker does not know: the store has to be asked.
    UnknownQueue {
        /// The queue.
        queue: Name,
        /// The source line of the child.
        source: Source,
    },
}

impl Fault {
    /// The queue for which the store has to be asked, if that is why.
    pub(crate) fn wanted_queue(&self) -> Option<&Name> {
        match self {
            Self::UnknownQueue { queue, .. } => Some(queue),
            Self::Stuck(_) | Self::Unrecorded { .. } => None,
        }
    }
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
            Self::UnknownQueue { queue, source } => {
                write!(
                    f,
                    "the child at {source} is to live in queue `{queue}`, for which the store is being asked; then the run resumes"
                )
            }
            Self::Unrecorded { did, .. } => write!(f, "the code {did}, and the log does not contain that"),
        }
    }
}
