//! How many bytes of messages and events a request or an answer carries: what the network and the disk have to move. It
//! must not look into them.

use pgworkflows_core::RunId;
use pgworkflows_core::store::{
    Appended, Claimed, DueRuns, EventRecord, InboxPage, Loaded, Notice, Queue, RunDescription, RunHistory,
    Submitted, Ticked, Watched,
};

use super::Call;

/// Something that is moved between a store and its callers.
pub(crate) trait Carries {
    /// Its bytes; what has the same few in every case has none.
    fn bytes(&self) -> usize {
        0
    }
}

impl Carries for Call<'_> {
    fn bytes(&self) -> usize {
        match self {
            Self::Submit(submissions) => submissions.iter().map(|submission| submission.body.len()).sum(),
            Self::Append(append) => {
                let events = append.events.iter().map(|event| event.body.len());
                events.chain(append.sent.iter().map(|message| message.body.len())).sum()
            }
            Self::Session
            | Self::Queue { .. }
            | Self::Watch(_)
            | Self::Claim(_)
            | Self::Tick(_)
            | Self::ReadInbox(_)
            | Self::Unparked(_)
            | Self::Load(_)
            | Self::DueRuns(_)
            | Self::Release(_)
            | Self::Describe(_)
            | Self::Find { .. }
            | Self::List { .. }
            | Self::History { .. } => 0,
        }
    }
}

impl Carries for InboxPage {
    fn bytes(&self) -> usize {
        self.messages.iter().map(|message| message.body.len()).sum()
    }
}

impl Carries for Loaded {
    fn bytes(&self) -> usize {
        self.histories.bytes()
    }
}

impl Carries for RunHistory {
    fn bytes(&self) -> usize {
        self.events.bytes()
    }
}

impl Carries for EventRecord {
    fn bytes(&self) -> usize {
        self.body.len()
    }
}

impl Carries for Watched {
    fn bytes(&self) -> usize {
        self.notices.iter().map(Notice::bytes).sum()
    }
}

impl<T: Carries> Carries for Vec<T> {
    fn bytes(&self) -> usize {
        self.iter().map(Carries::bytes).sum()
    }
}

impl<T: Carries> Carries for Option<T> {
    fn bytes(&self) -> usize {
        self.as_ref().map_or(0, Carries::bytes)
    }
}

impl Carries for () {}
impl Carries for Queue {}
impl Carries for Submitted {}
impl Carries for Claimed {}
impl Carries for Ticked {}
impl Carries for Appended {}
impl Carries for DueRuns {}
impl Carries for RunDescription {}
impl Carries for RunId {}
