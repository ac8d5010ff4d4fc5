//! What people are told of a run: the store's rows in the words of users. It must not know how rows are found.

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::client::closed::terminal_event;
use crate::data::id::RunId;
use crate::data::payload::Payload;
use crate::error::Error;
use crate::log::event::Event;
use crate::log::message::Message;
use crate::log::wire;
use crate::store::append::{ClosedRun, ClosedStatus, OpenRow, OpenState};
use crate::store::query::{RunDescription, Undelivered};

/// What a run is doing, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RunStatus {
    /// It was started, and no worker has begun it yet.
    Pending,
    /// Something of it is in flight, an activity for example.
    Running,
    /// It waits, for a signal or a deadline, and takes no memory of any worker.
    Waiting,
    /// Its code cannot go on; code that can is tried as soon as a worker has it. [`RunInfo::waiting_on`] says why.
    Stalled,
    /// Its workflow returned a value.
    Completed,
    /// Its workflow returned an error.
    Failed,
    /// It was cancelled, and its workflow had nothing against it.
    Cancelled,
    /// It was terminated: its workflow was not asked.
    Terminated,
}

impl RunStatus {
    /// Whether the run is over.
    pub fn is_over(self) -> bool {
        match self {
            Self::Pending | Self::Running | Self::Waiting | Self::Stalled => false,
            Self::Completed | Self::Failed | Self::Cancelled | Self::Terminated => true,
        }
    }
}

/// What there is to say of a run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunInfo {
    /// The run.
    pub run_id: RunId,
    /// Its workflow's name.
    pub workflow: String,
    /// Its start's idempotency key.
    pub key: Option<String>,
    /// What it is doing, or how it ended.
    pub status: RunStatus,
    /// When it was started, to the millisecond.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub closed_at: Option<DateTime<Utc>>,
    /// What it waits on, in words, or why it is stalled.
    pub waiting_on: Option<String>,
    /// Its earliest deadline, while it waits.
    pub wake_at: Option<DateTime<Utc>>,
    /// Messages that were accepted but came when the run was over, the oldest first.
    pub undelivered: Vec<UndeliveredMessage>,
    closed: Option<ClosedRun>,
}

impl RunInfo {
    pub(super) fn new(found: RunDescription) -> Self {
        let (status, row) = match (&found.closed, found.open) {
            (Some(closed), _) => (closed_status(closed.status), OpenRow::default()),
            (None, Some(row)) => (open_status(row.state), row),
            // A store that knows neither has seen no more than the start.
            (None, None) => (RunStatus::Pending, OpenRow::default()),
        };
        Self {
            run_id: found.run,
            workflow: found.workflow,
            key: found.key,
            status,
            created_at: found.run.born().into(),
            closed_at: found.closed.as_ref().map(|closed| closed.closed_at.into()),
            waiting_on: row.waiting_on,
            wake_at: row.wake_at.map(DateTime::from),
            undelivered: found.undelivered.into_iter().map(UndeliveredMessage::new).collect(),
            closed: found.closed,
        }
    }

    /// How the run ended: its last event, with its result or its failure; `None` while it is open.
    ///
    /// # Errors
    /// A build that is older than the one that ended the run may be unable to read it.
    pub fn outcome(&self) -> Result<Option<Event>, Error> {
        self.closed.as_ref().map(terminal_event).transpose()
    }
}

fn open_status(state: OpenState) -> RunStatus {
    match state {
        OpenState::Pending => RunStatus::Pending,
        OpenState::Busy => RunStatus::Running,
        OpenState::Parked => RunStatus::Waiting,
        OpenState::Stalled => RunStatus::Stalled,
    }
}

fn closed_status(status: ClosedStatus) -> RunStatus {
    match status {
        ClosedStatus::Completed => RunStatus::Completed,
        ClosedStatus::Failed => RunStatus::Failed,
        ClosedStatus::Cancelled => RunStatus::Cancelled,
        ClosedStatus::Terminated => RunStatus::Terminated,
    }
}

/// A message that was accepted but came when its run was over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UndeliveredMessage {
    /// When it was given up.
    pub at: DateTime<Utc>,
    /// What it was, in words, such as ``signal `upgrade` ``.
    pub what: String,
    /// A signal's content.
    pub payload: Option<Payload>,
}

impl UndeliveredMessage {
    fn new(message: Undelivered) -> Self {
        let (what, payload) = describe_message(&message.body);
        Self { at: message.at.into(), what, payload }
    }
}

/// A message that cannot be read is described as such: it must not hide the run that it was for.
fn describe_message(body: &Bytes) -> (String, Option<Payload>) {
    match wire::decode_message(body) {
        Ok(Message::Start { workflow, input, .. }) => (format!("start of `{workflow}`"), Some(input)),
        Ok(Message::Signal { signal, payload, key: None }) => (format!("signal `{signal}`"), Some(payload)),
        Ok(Message::Signal { signal, payload, key: Some(key) }) => {
            (format!("signal `{signal}` with key `{key}`"), Some(payload))
        }
        Ok(Message::Cancel { reason: None }) => ("cancellation".to_owned(), None),
        Ok(Message::Cancel { reason: Some(reason) }) => (format!("cancellation: {reason}"), None),
        Ok(Message::Terminate { reason }) => (format!("termination: {reason}"), None),
        Err(error) => (format!("a message of {} bytes that cannot be read: {error}", body.len()), None),
    }
}
