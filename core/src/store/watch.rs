//! What clients wait for: facts about a run that, once they occur, stay true. It must not know who waits, or for how long.

use crate::data::id::RunId;
use crate::store::append::ClosedRun;

/// A fact about a run that clients wait for. A new kind is one more [`What`] with its [`Notice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic {
    /// The run.
    pub run: RunId,
    /// The kind of fact.
    pub what: What,
}

/// The kinds of facts that clients wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// The run's end.
    Closed,
}

/// Asks which of some topics have occurred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The topics, ascending.
    pub topics: Vec<Topic>,
    /// How many bytes of notices to return at most, counted by [`Notice::bytes`]. The first notice is returned whatever
    /// its size.
    pub bytes: usize,
}

/// The notices of the topics that were asked for, or of the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The notices of the topics that have occurred, ascending by topic.
    pub notices: Vec<Notice>,
    /// The topic at which the byte limit cut the answer: its notice and all later ones are missing. `None` if the answer
    /// is complete.
    pub cut: Option<Topic>,
}

/// A fact that occurred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The run is over.
    Closed(ClosedRun),
}

impl Notice {
    /// The notice's topic.
    pub fn topic(&self) -> Topic {
        match self {
            Self::Closed(closed) => Topic { run: closed.run, what: What::Closed },
        }
    }

    /// How many bytes the notice counts towards a byte limit: those of user data.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Closed(closed) => closed.outcome.len(),
        }
    }
}

impl Watched {
    /// Takes notices in their order until the next one exceeds the byte limit.
    pub fn within(bytes: usize, notices: impl IntoIterator<Item = Notice>) -> Self {
        let mut watched = Self { notices: Vec::new(), cut: None };
        let mut total = 0;
        for notice in notices {
            total += notice.bytes();
            if total > bytes && !watched.notices.is_empty() {
                watched.cut = Some(notice.topic());
                break;
            }
            watched.notices.push(notice);
        }
        watched
    }
}
