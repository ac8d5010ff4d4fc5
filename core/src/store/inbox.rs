//! Messages: how they enter the inbox, and how a processor reads them. It must not know their content.

use bytes::Bytes;

use crate::data::attributes::Attributes;
use crate::data::id::{InboxNo, MessageId, RunId, ShardId};
use crate::data::time::Timestamp;

/// A message for the inbox and, for a start, the run that it creates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The message's id. It stays the same when the message is sent again.
    pub message: MessageId,
    /// The run that receives the message.
    pub run: RunId,
    /// The message's content, which only core reads.
    pub body: Bytes,
    /// For a start, the run that it creates.
    pub opens: Option<NewRun>,
}

/// A run that a start creates. It is visible as soon as the start is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRun {
    /// The workflow's name.
    pub workflow: String,
    /// The start's idempotency key, unique per workflow name.
    pub key: Option<String>,
    /// The run that starts it, if a run does.
    pub parent: Option<RunId>,
    /// SHA-256 of the canonical input; `None` if the caller cannot compute it, then digests are not compared.
    pub input_digest: Option<[u8; 32]>,
    /// A message that follows the start in the same transaction: to the new run or, if another run has the key and no other
    /// input, to that one.
    pub followed_by: Option<FollowUp>,
    /// What the run is found by, from now on.
    pub attributes: Attributes,
}

impl NewRun {
    /// A run of a workflow, with nothing else said of it.
    pub fn of(workflow: impl Into<String>) -> Self {
        Self {
            workflow: workflow.into(),
            key: None,
            parent: None,
            input_digest: None,
            followed_by: None,
            attributes: Attributes::default(),
        }
    }
}

/// A message that follows a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowUp {
    /// The message's id. It stays the same when the start is sent again.
    pub message: MessageId,
    /// The message's content, which only core reads.
    pub body: Bytes,
}

impl FollowUp {
    /// The message as a submission of its own, to the run that receives it.
    pub fn to(&self, run: RunId) -> Submission {
        Submission { message: self.message, run, body: self.body.clone(), opens: None }
    }
}

/// The answer to a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// The message is in the inbox, or was accepted before. One that has a [`Reply`](crate::store::Reply) is not delivered again.
    Accepted,
    /// A run with this key exists, with the same input as far as is known. Nothing was written but the message that follows
    /// the start, if one does: it is in the run's inbox, or was accepted before.
    Existing(RunId),
    /// The same, but the run is over and a message follows the start. Nothing was written.
    ExistingOver(RunId),
    /// A run with this key but another input exists. Nothing was written.
    KeyConflict(RunId),
    /// The run is over. Nothing was written.
    RunOver,
    /// The run does not exist. Nothing was written.
    UnknownRun,
}

/// Identifies a message in the inbox. Its number is not enough: a database that lost commits gives the same number to
/// another message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageRef {
    /// The shard of the message's run.
    pub shard: ShardId,
    /// The message's number in the inbox.
    pub number: InboxNo,
    /// The message's id.
    pub message: MessageId,
}

/// Asks for the messages of some shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxRead {
    /// The shards.
    pub shards: Vec<ShardId>,
    /// How far the caller has read exactly these shards.
    pub cursor: InboxCursor,
    /// How many messages to return at most, at least 1.
    pub limit: u32,
    /// How many bytes of bodies to return at most. The first message is returned whatever its size.
    pub bytes: usize,
    /// Whether starts are returned. A caller that reads without them passes over them: they are not returned with its
    /// cursor later.
    pub starts: bool,
}

/// How far a caller has read the inbox, in a format that only the store understands. The default is the beginning.
///
/// It is valid only for the shards that it was read with: a caller that adds a shard starts from the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboxCursor(pub Bytes);

/// Some messages, and the cursor after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxPage {
    /// The messages, in the order of their numbers. There may be fewer than the limit allows, or none, although there are more: a page
    /// also ends where the store has looked at many of other shards, or of starts that were not asked for.
    pub messages: Vec<InboxMessage>,
    /// The cursor for the next read.
    pub cursor: InboxCursor,
    /// Whether to read again at once, because there are or may be more messages.
    pub more: bool,
    /// The store's clock when it answered.
    pub now: Timestamp,
}

/// A message in the inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxMessage {
    /// The message's number in the inbox.
    pub number: InboxNo,
    /// The run that the message was sent to.
    pub run: RunId,
    /// The current run of that run's chain, as of the read: `run` itself, unless it was continued. It is in the same shard.
    pub current: RunId,
    /// The message's id.
    pub message: MessageId,
    /// The message's content, which only core reads.
    pub body: Bytes,
}
