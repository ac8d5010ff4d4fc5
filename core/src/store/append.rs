//! What one commit writes: events, and the rows that follow from them. It must not know a kind of event.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::data::id::{AppendNo, EventSeq, LeaseId, MessageId, Position, RunId};
use crate::data::name::{EventName, Name};
use crate::data::time::Timestamp;
use crate::store::inbox::MessageRef;
use crate::store::lease::Suspect;

/// A batch for the log: what one commit writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The lease that it is written under.
    pub lease: LeaseId,
    /// Its number: one more than that of the append before.
    pub number: AppendNo,
    /// SHA-256 of all that follows: tells a repetition from another batch under the same number.
    pub digest: [u8; 32],
    /// The events, those of one run in the order of their `seq`, those of one shard in that of `position`.
    pub events: Vec<NewEvent>,
    /// Runs that begin with this append, without a message, and are not over within it.
    pub opened: Vec<OpenedRun>,
    /// Open runs whose row changes.
    pub updated: Vec<UpdatedRun>,
    /// Runs that are over.
    pub closed: Vec<ClosedRun>,
    /// Messages that these events took in: deleted from the inbox. One that is not there is a conflict.
    pub consumed: Vec<MessageRef>,
    /// Messages whose run was over before they came: moved from the inbox to `undelivered`.
    pub undelivered: Vec<MessageRef>,
    /// Messages to other runs, put into the inbox in this order. Their shards may belong to anybody.
    pub sent: Vec<SentMessage>,
    /// Runs that are under suspicion from now on, or stand elsewhere in it. One that is over is none.
    pub suspects: Vec<Suspect>,
    /// Runs that are under suspicion no more.
    pub cleared: Vec<RunId>,
}

impl Append {
    /// The digest of the content. Whoever makes an append sets [`Append::digest`] to it, once and last.
    pub fn content_digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        // Each list and each text is preceded by its length: what ends one must not be able to begin the next.
        hasher.update((self.events.len() as u64).to_le_bytes());
        for event in &self.events {
            hasher.update(event.run.as_u128().to_le_bytes());
            hasher.update(event.seq.get().to_le_bytes());
            hasher.update(event.position.get().to_le_bytes());
            hasher.update(event.at.as_micros().to_le_bytes());
            hasher.update((event.name.as_str().len() as u64).to_le_bytes());
            hasher.update(event.name.as_str());
            hasher.update((event.body.len() as u64).to_le_bytes());
            hasher.update(&event.body);
        }
        // Rows follow from the events: of them it takes which runs and which messages are touched. A suspect's do not.
        let mut runs = |runs: &mut dyn ExactSizeIterator<Item = RunId>| {
            hasher.update((runs.len() as u64).to_le_bytes());
            for run in runs {
                hasher.update(run.as_u128().to_le_bytes());
            }
        };
        runs(&mut self.opened.iter().map(|opened| opened.run));
        runs(&mut self.updated.iter().map(|updated| updated.run));
        runs(&mut self.closed.iter().map(|closed| closed.run));
        runs(&mut self.cleared.iter().copied());
        hasher.update((self.suspects.len() as u64).to_le_bytes());
        for Suspect { run, stage, strikes } in &self.suspects {
            hasher.update(run.as_u128().to_le_bytes());
            hasher.update([*stage as u8]);
            hasher.update(strikes.to_le_bytes());
        }
        for messages in [&self.consumed, &self.undelivered] {
            hasher.update((messages.len() as u64).to_le_bytes());
            for message in messages {
                hasher.update(message.number.get().to_le_bytes());
                hasher.update(message.message.as_u128().to_le_bytes());
            }
        }
        hasher.update((self.sent.len() as u64).to_le_bytes());
        for SentMessage { message, run, body, opens } in &self.sent {
            hasher.update(message.as_u128().to_le_bytes());
            hasher.update(run.as_u128().to_le_bytes());
            for bytes in [&body[..], opens.as_deref().unwrap_or_default().as_bytes()] {
                hasher.update((bytes.len() as u64).to_le_bytes());
                hasher.update(bytes);
            }
        }
        hasher.finalize().into()
    }
}

/// One event on its way into the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Its run; the shard is the run's.
    pub run: RunId,
    /// Its number within the run.
    pub seq: EventSeq,
    /// Its number within the shard.
    pub position: Position,
    /// Its stored name.
    pub name: EventName,
    /// When it happened.
    pub at: Timestamp,
    /// What it says, for core alone to read.
    pub body: Bytes,
}

/// A run's row when it begins without a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedRun {
    /// The run.
    pub run: RunId,
    /// Its workflow's name.
    pub workflow: Name,
    /// Its row's changing part.
    pub row: OpenRow,
}

/// A change of an open run's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdatedRun {
    /// The run.
    pub run: RunId,
    /// Its row's changing part from now on.
    pub row: OpenRow,
}

/// The changing part of an open run's row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenRow {
    /// Whether a new owner must load the run at once.
    pub state: OpenState,
    /// A parked run's earliest deadline.
    pub wake_at: Option<Timestamp>,
    /// What the run waits on, for people.
    pub waiting_on: Option<String>,
}

/// What an open run is doing, as far as its row says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OpenState {
    /// Its start is in the inbox; the log knows nothing of it.
    Pending,
    /// Something is in flight: a new owner loads it at once.
    #[default]
    Busy,
    /// Nothing is in flight: it waits for a message or its deadline.
    Parked,
    /// Its code could not go on: a new owner tries it again at once.
    Stalled,
}

/// A run that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedRun {
    /// The run.
    pub run: RunId,
    /// Its workflow's name.
    pub workflow: Name,
    /// Its start's key.
    pub key: Option<String>,
    /// How it ended.
    pub status: ClosedStatus,
    /// When it ended.
    pub closed_at: Timestamp,
    /// Its outcome, for core alone to read.
    pub outcome: Bytes,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClosedStatus {
    /// Its workflow returned a value.
    Completed,
    /// Its workflow returned an error.
    Failed,
    /// It was cancelled, and its workflow had nothing against it.
    Cancelled,
    /// It was terminated: its workflow was not asked.
    Terminated,
}

/// A message that one run sends to another.
///
/// The sender chooses its id, and no client ever uses the same: so an append never waits for a client's transaction. A
/// message whose id waits in the inbox already is not inserted again, nor is a start whose run exists. A message for a run
/// that is over is inserted all the same: the owner of its shard moves it to `undelivered`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentMessage {
    /// The message's id.
    pub message: MessageId,
    /// The run that it is for.
    pub run: RunId,
    /// What it says, for core alone to read.
    pub body: Bytes,
    /// For a start: the workflow of the run, which exists from now on. A start with a key is submitted by a client.
    pub opens: Option<Name>,
}

/// The answer to an [`Append`] that was applied, now or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The store's clock when it answered.
    pub now: Timestamp,
}
