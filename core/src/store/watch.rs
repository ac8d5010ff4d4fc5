//! What clients wait for: something of a run that comes about and then stays so. It must not know who waits, nor for how
//! long.

use crate::data::id::RunId;
use crate::store::append::ClosedRun;

/// Something of a run that clients wait for. A new kind of it is one more [`What`], with its [`Notice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic {
    /// The run.
    pub run: RunId,
    /// What of it.
    pub what: What,
}

/// What clients wait for of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// Its end.
    Closed,
}

/// Asks which of some topics have come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The topics, ascending.
    pub topics: Vec<Topic>,
    /// How many bytes of notices to return at most, by [`Notice::bytes`]. One notice is returned, however large it is.
    pub bytes: usize,
}

/// The notices of the topics that were asked for, or of the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// What has come about, by topic, ascending.
    pub notices: Vec<Notice>,
    /// The topic at which the limit of bytes cut the answer: nothing of it and of those after it is here. `None` if
    /// everything is.
    pub cut: Option<Topic>,
}

/// What came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A run is over.
    Closed(ClosedRun),
}

impl Notice {
    /// The topic that it answers.
    pub fn topic(&self) -> Topic {
        match self {
            Self::Closed(closed) => Topic { run: closed.run, what: What::Closed },
        }
    }

    /// How many bytes it counts where bytes are limited: those of users' data.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Closed(closed) => closed.outcome.len(),
        }
    }
}

impl Watched {
    /// As many of the notices as fit, in their order.
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
