//! What clients wait for: facts about a run that, once they occur, stay true. It must not know who waits, or for how long.

use crate::data::id::{EventSeq, MessageId, RunId};
use crate::store::append::{ClosedRun, Reply};

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
    /// A value of any view of the run, published after this event; `None`: any value. Or that another run continues it.
    Published {
        /// The event.
        after: Option<EventSeq>,
    },
    /// The reply to a message, whose content only core reads.
    Replied {
        /// The message.
        message: MessageId,
    },
}

/// Asks which of some topics have occurred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The topics, ascending.
    pub topics: Vec<Topic>,
    /// How many bytes of notices to return at most, counted by [`Notice::bytes`]. The first notice that has any is
    /// returned whatever its size.
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
    /// The run published a view.
    Published {
        /// The run.
        run: RunId,
        /// The event that was asked about.
        after: Option<EventSeq>,
        /// The number of the last event that published a view; [`Notice::CONTINUED`] if another run continues this one.
        seq: EventSeq,
    },
    /// There is a reply to a message.
    Replied(Reply),
}

impl Notice {
    /// Stands for the last event of a run that was continued: no run has as many.
    pub const CONTINUED: EventSeq = EventSeq::new(i32::MAX as u32);

    /// The notice's topic.
    pub fn topic(&self) -> Topic {
        match self {
            Self::Closed(closed) => Topic { run: closed.run, what: What::Closed },
            Self::Published { run, after, .. } => {
                Topic { run: *run, what: What::Published { after: *after } }
            }
            Self::Replied(Reply { run, message, .. }) => {
                Topic { run: *run, what: What::Replied { message: *message } }
            }
        }
    }

    /// The run that is over, if the notice tells of one.
    pub fn closed(self) -> Option<ClosedRun> {
        match self {
            Self::Closed(closed) => Some(closed),
            Self::Published { .. } | Self::Replied(_) => None,
        }
    }

    /// How many bytes the notice counts towards a byte limit: those of user data.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Closed(closed) => closed.outcome.len(),
            Self::Published { .. } => 0,
            Self::Replied(reply) => reply.body.len(),
        }
    }
}

impl Watched {
    /// Takes notices in their order until the next one exceeds the byte limit.
    pub fn within(bytes: usize, notices: impl IntoIterator<Item = Notice>) -> Self {
        let mut watched = Self { notices: Vec::new(), cut: None };
        let (mut total, mut has_data) = (0, false);
        for notice in notices {
            // A notice without user data always fits.
            if let Notice::Closed(_) | Notice::Replied(_) = notice {
                total += notice.bytes();
                if total > bytes && has_data {
                    watched.cut = Some(notice.topic());
                    break;
                }
                has_data = true;
            }
            watched.notices.push(notice);
        }
        watched
    }
}
