//! Describes runs to users: the store's rows as public types. It must not know how rows are found.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::client::closed::terminal_event;
use crate::data::attributes::Attributes;
use crate::data::chain::ChainLink;
use crate::data::id::RunId;
use crate::data::payload::Payload;
use crate::data::wait::Wait;
use crate::error::Error;
use crate::log::event::Event;
use crate::log::message::Message;
use crate::log::wire;
use crate::store::append::{ClosedRun, ClosedStatus, OpenRow, OpenState};
use crate::store::query::{RunDescription, Undelivered};

/// What a run is doing, or how it ended. It is written, also as JSON, as its [`name`](RunStatus::name).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RunStatus {
    /// The run was started, but no worker has begun it yet.
    Pending,
    /// The run has work in flight, such as an activity.
    Running,
    /// The run waits for a signal or a deadline, and uses no worker memory.
    Waiting,
    /// The run's code cannot continue; [`RunInfo::waiting_on`] says why. A worker with other code tries again.
    Stalled,
    /// A client paused the run; [`RunInfo::waiting_on`] has the reason. It goes on when a client
    /// [resumes](crate::client::handle::RunHandle::resume) it.
    Paused,
    /// The workflow returned a value.
    Completed,
    /// The workflow returned an error.
    Failed,
    /// The run was cancelled, and its workflow ended with that cancellation.
    Cancelled,
    /// The run was terminated, without its workflow's code being asked.
    Terminated,
    /// The workflow continued as new: another run of the chain goes on.
    Continued,
    /// The workflow returned an error, and another run of the chain is the next attempt.
    Retried,
    /// The run was not over at its deadline.
    TimedOut,
}

impl RunStatus {
    /// Whether the run is over: completed, failed, cancelled, terminated or timed out, or continued by another one.
    ///
    /// ```
    /// use pgworkflows::client::RunStatus;
    ///
    /// assert!(RunStatus::Failed.is_over());
    /// assert!(!RunStatus::Stalled.is_over());
    /// ```
    pub fn is_over(self) -> bool {
        match self {
            Self::Pending | Self::Running | Self::Waiting | Self::Stalled | Self::Paused => false,
            Self::Completed
            | Self::Failed
            | Self::Cancelled
            | Self::Terminated
            | Self::Continued
            | Self::Retried
            | Self::TimedOut => true,
        }
    }
}

/// A description of a run, as of when it was read.
///
/// ```
/// # use pgworkflows::prelude::*;
/// # use pgworkflows::payload::Payload;
/// use pgworkflows::client::RunStatus;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// let client = Client::new(pgworkflows::MemoryStore::new());
/// let input = Payload::encode("water the plants").unwrap();
/// let run = client.start_named("reminder", input).key("order:7").await?;
///
/// let info = run.describe().await?;
/// assert_eq!((info.status, info.key.as_deref()), (RunStatus::Pending, Some("order:7")));
/// assert!(info.closed_at.is_none() && info.outcome()?.is_none());
/// # Ok(())
/// # }
/// ```
/// As JSON, for a web handler to return, it has the same fields, and `outcome`, the last event of a run that is over. Payloads
/// are the values that they encode: leave `outcome` and `undelivered` out for people who must not see them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunInfo {
    /// The run's id.
    pub run_id: RunId,
    /// The name of the run's workflow.
    pub workflow: String,
    /// The idempotency key of the run's start.
    pub key: Option<String>,
    /// The run that started this one as its child, if a run did. [`ListRuns::parent`](crate::client::ListRuns::parent) lists the
    /// children of a run.
    pub parent: Option<RunId>,
    /// What the run is doing, or how it ended.
    pub status: RunStatus,
    /// When the run was started, to the millisecond, by the store's clock.
    pub created_at: DateTime<Utc>,
    /// When the run ended.
    pub closed_at: Option<DateTime<Utc>>,
    /// What the run waits on, in words, or why it is stalled.
    pub waiting_on: Option<String>,
    /// The same as data: the first 8 things that the run waits for, empty if it is stalled or over.
    ///
    /// They are as of the last time that the run's owner wrote its row, which is whenever the run begins to wait, or an attempt
    /// of it fails. While a run is [`Running`](RunStatus::Running) and nothing of it has failed, its row says nothing. Then
    /// `describe` reads the history, up to 1 MiB of it: so the activities and timers that are under way are found, but not
    /// the signals and steps, which are no events, and no source lines. A list reads rows only.
    ///
    /// In SQL, they are the column `waits` of the view `runs`, which costs no more than the other columns.
    pub waits: Vec<Wait>,
    /// The run's earliest deadline, while it waits.
    pub wake_at: Option<DateTime<Utc>>,
    /// Messages that were accepted but reached the run after its end, and signals that it sent to nobody: the 100 oldest, oldest
    /// first.
    pub undelivered: Vec<UndeliveredMessage>,
    /// What the run is [found by](crate::client::StartRun::attribute), now or at its end.
    pub attributes: BTreeMap<String, String>,
    /// The run's place in its chain, if it continues another run.
    pub chain: Option<ChainLink>,
    closed: Option<ClosedRun>,
}

impl RunInfo {
    pub(super) fn new(found: RunDescription) -> Self {
        let (status, row) = match (&found.closed, found.open) {
            (Some(closed), _) => (closed_status(closed.status), OpenRow::default()),
            (None, Some(row)) => (open_status(row.state), row),
            // Without either row, the store has seen only the start.
            (None, None) => (RunStatus::Pending, OpenRow::default()),
        };
        Self {
            run_id: found.run,
            workflow: found.workflow,
            key: found.key,
            parent: found.parent,
            status,
            created_at: found.run.born().into(),
            closed_at: found.closed.as_ref().map(|closed| closed.closed_at.into()),
            waiting_on: row.waiting_on,
            waits: row.waits.as_deref().map(Wait::parse).unwrap_or_default(),
            wake_at: row.wake_at.map(DateTime::from),
            undelivered: found.undelivered.into_iter().map(UndeliveredMessage::new).collect(),
            attributes: texts(&found.attributes),
            chain: found.link,
            closed: found.closed,
        }
    }

    /// How the run ended; `None` while it is open.
    pub(super) fn closed(&self) -> Option<&ClosedRun> {
        self.closed.as_ref()
    }

    /// Returns the run's last event, with its result or failure; `None` while the run is open. See [`RunInfo`] for an
    /// example.
    ///
    /// # Errors
    /// Returns an error if this build cannot read the event, because a newer build wrote it or it is damaged.
    pub fn outcome(&self) -> Result<Option<Event>, Error> {
        self.closed.as_ref().map(terminal_event).transpose()
    }
}

impl Serialize for RunInfo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { run_id, workflow, key, parent, status, created_at, closed_at, .. } = self;
        let mut info = serializer.serialize_struct("RunInfo", 13)?;
        info.serialize_field("run_id", run_id)?;
        info.serialize_field("workflow", workflow)?;
        info.serialize_field("key", key)?;
        info.serialize_field("parent", parent)?;
        info.serialize_field("status", status)?;
        info.serialize_field("created_at", created_at)?;
        info.serialize_field("closed_at", closed_at)?;
        info.serialize_field("waiting_on", &self.waiting_on)?;
        info.serialize_field("waits", &self.waits)?;
        info.serialize_field("wake_at", &self.wake_at)?;
        info.serialize_field("attributes", &self.attributes)?;
        info.serialize_field("chain", &self.chain)?;
        info.serialize_field("undelivered", &self.undelivered)?;
        // One that this build cannot read does not hide the rest.
        info.serialize_field("outcome", &self.outcome().unwrap_or_default())?;
        info.end()
    }
}

fn texts(attributes: &Attributes) -> BTreeMap<String, String> {
    attributes.iter().map(|(name, value)| (name.to_string(), value.to_owned())).collect()
}

fn open_status(state: OpenState) -> RunStatus {
    match state {
        OpenState::Pending => RunStatus::Pending,
        OpenState::Busy => RunStatus::Running,
        OpenState::Parked => RunStatus::Waiting,
        OpenState::Stalled => RunStatus::Stalled,
        OpenState::Paused => RunStatus::Paused,
    }
}

fn closed_status(status: ClosedStatus) -> RunStatus {
    match status {
        ClosedStatus::Completed => RunStatus::Completed,
        ClosedStatus::Failed => RunStatus::Failed,
        ClosedStatus::Cancelled => RunStatus::Cancelled,
        ClosedStatus::Terminated => RunStatus::Terminated,
        ClosedStatus::Continued => RunStatus::Continued,
        ClosedStatus::Retried => RunStatus::Retried,
        ClosedStatus::TimedOut => RunStatus::TimedOut,
    }
}

/// A message that was accepted but reached its run after the run's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UndeliveredMessage {
    /// When the message was set aside.
    pub at: DateTime<Utc>,
    /// The message in words, such as ``signal `upgrade` ``.
    pub what: String,
    /// A signal's content, or a start's input.
    pub payload: Option<Payload>,
}

impl UndeliveredMessage {
    fn new(message: Undelivered) -> Self {
        let (what, payload) = describe_message(&message.body);
        Self { at: message.at.into(), what, payload }
    }
}

/// Describes a message. A message that cannot be read is described as unreadable, so that it does not hide its run.
fn describe_message(body: &Bytes) -> (String, Option<Payload>) {
    match wire::decode_message(body) {
        Ok(Message::Start { workflow, input, .. }) => (format!("start of `{workflow}`"), Some(input)),
        Ok(Message::Signal { signal, payload, key: None, .. }) => {
            (format!("signal `{signal}`"), Some(payload))
        }
        Ok(Message::Signal { signal, payload, key: Some(key), .. }) => {
            (format!("signal `{signal}` with key `{key}`"), Some(payload))
        }
        Ok(Message::RunSignal { signal, payload, sender, to, .. }) => {
            (format!("signal `{signal}` from run {sender} to {to}"), Some(payload))
        }
        Ok(Message::Update { update, request, key: None, .. }) => {
            (format!("update `{update}`"), Some(request))
        }
        Ok(Message::Update { update, request, key: Some(key), .. }) => {
            (format!("update `{update}` with key `{key}`"), Some(request))
        }
        Ok(Message::Cancel { reason: None, .. }) => ("cancellation".to_owned(), None),
        Ok(Message::Cancel { reason: Some(reason), .. }) => (format!("cancellation: {reason}"), None),
        Ok(Message::Terminate { reason, .. }) => (format!("termination: {reason}"), None),
        Ok(Message::Retry {}) => ("request to retry".to_owned(), None),
        Ok(Message::Pause { reason: None }) => ("request to pause".to_owned(), None),
        Ok(Message::Pause { reason: Some(reason) }) => (format!("request to pause: {reason}"), None),
        Ok(Message::Resume {}) => ("request to resume".to_owned(), None),
        Ok(Message::TaskEnded { id, .. }) => (format!("outcome of call {id}, by another process"), None),
        Ok(Message::TaskLost { id, .. }) => (format!("loss of call {id} by other processes"), None),
        Ok(Message::ChildEnded { id, child, .. }) => (format!("outcome of child {child} (call {id})"), None),
        Err(error) => (format!("a message of {} bytes that cannot be read: {error}", body.len()), None),
    }
}
