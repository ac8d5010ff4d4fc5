//! Counts the bytes of messages and frames in a request or an answer, which the network and the disk have to move. It
//! must not decode them.

use pgworkflows_core::RunId;
use pgworkflows_core::store::{
    ActivityQueueInfo, Appended, Claimed, ClaimedTasks, DueRuns, FoundView, Frame, HeartbeatAnswer,
    InboxPage, KeyedRun, Loaded, Notice, Queue, QueueDescription, RunDescription, RunHistory, Settled,
    Submitted, TaskId, UnparkedRuns, Watched,
};

use crate::faults::Call;

/// A request or an answer of a store.
pub(crate) trait ByteSize {
    /// Its bytes of messages and frames. Small values of fixed size count as 0.
    fn bytes(&self) -> usize {
        0
    }
}

impl ByteSize for Call<'_> {
    fn bytes(&self) -> usize {
        match self {
            Self::Submit(submissions) => submissions.iter().map(|submission| submission.body.len()).sum(),
            Self::Append(append) => {
                let frames = append.frames.iter().map(|frame| frame.body.len());
                let sent = append.sent.iter().map(|message| message.body.len());
                let tasks = append.tasks.iter().map(|task| task.body.len());
                let replies = append.replies.iter().map(|reply| reply.body.len());
                frames.chain(sent).chain(tasks).chain(replies).sum()
            }
            Self::SettleTasks(settle) => settle.outcomes.iter().map(|(_, body)| body.len()).sum(),
            Self::WithdrawTasks(withdrawals) => {
                withdrawals.iter().filter_map(|one| Some(one.tells.as_ref()?.len())).sum()
            }
            Self::Session
            | Self::Queue { .. }
            | Self::Watch(_)
            | Self::Claim(_)
            | Self::Heartbeat(_)
            | Self::ReadInbox(_)
            | Self::Unparked(_)
            | Self::Load(_)
            | Self::DueRuns(_)
            | Self::Release(_)
            | Self::Describe(_)
            | Self::DescribeQueue(_)
            | Self::Queues
            | Self::QueuesOf(_)
            | Self::Find { .. }
            | Self::KeyedRuns(_)
            | Self::List { .. }
            | Self::History(_)
            | Self::View { .. }
            | Self::ClaimTasks(_)
            | Self::ReturnTasks(_)
            | Self::ActivityQueues => 0,
        }
    }
}

impl ByteSize for InboxPage {
    fn bytes(&self) -> usize {
        self.messages.iter().map(|message| message.body.len()).sum()
    }
}

impl ByteSize for Loaded {
    fn bytes(&self) -> usize {
        self.histories.bytes()
    }
}

impl ByteSize for RunHistory {
    fn bytes(&self) -> usize {
        self.frames.bytes()
    }
}

impl ByteSize for Frame {
    fn bytes(&self) -> usize {
        self.body.len()
    }
}

impl ByteSize for FoundView {
    fn bytes(&self) -> usize {
        self.frame.bytes()
    }
}

impl ByteSize for ClaimedTasks {
    fn bytes(&self) -> usize {
        self.tasks.iter().map(|task| task.body.len()).sum()
    }
}

impl ByteSize for Watched {
    fn bytes(&self) -> usize {
        self.notices.iter().map(Notice::bytes).sum()
    }
}

impl<T: ByteSize> ByteSize for Vec<T> {
    fn bytes(&self) -> usize {
        self.iter().map(ByteSize::bytes).sum()
    }
}

impl<T: ByteSize> ByteSize for Option<T> {
    fn bytes(&self) -> usize {
        self.as_ref().map_or(0, ByteSize::bytes)
    }
}

impl ByteSize for () {}
impl ByteSize for Settled {}
impl ByteSize for TaskId {}
impl ByteSize for ActivityQueueInfo {}
impl ByteSize for Queue {}
impl ByteSize for Submitted {}
impl ByteSize for Claimed {}
impl ByteSize for HeartbeatAnswer {}
impl ByteSize for Appended {}
impl ByteSize for DueRuns {}
impl ByteSize for RunDescription {}
impl ByteSize for QueueDescription {}
impl ByteSize for UnparkedRuns {}
impl ByteSize for RunId {}
impl ByteSize for KeyedRun {}
impl ByteSize for String {}
