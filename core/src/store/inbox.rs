//! Messages on their way: into the inbox, and out of it. It must not know what they say.

use bytes::Bytes;

use crate::data::id::{InboxNo, MessageId, RunId, ShardId};
use crate::data::time::Timestamp;

/// A message on its way into the inbox and, for a start, the run that it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The message's id, the same however often it is sent.
    pub message: MessageId,
    /// The run that it is for.
    pub run: RunId,
    /// What it says, for core alone to read.
    pub body: Bytes,
    /// For a start: the run that exists from now on.
    pub opens: Option<NewRun>,
}

/// A run that a start opens: everybody can see it as soon as the start is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRun {
    /// The workflow's name.
    pub workflow: String,
    /// The start's idempotency key, unique per workflow name.
    pub key: Option<String>,
    /// SHA-256 of the canonical input; `None` from a caller that cannot compute it, then none is compared.
    pub input_digest: Option<[u8; 32]>,
}

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It is in the inbox, or was accepted before.
    Accepted,
    /// A run with this key, and as far as is known with this input, exists: nothing was written.
    Existing(RunId),
    /// A run with this key but another input exists: nothing was written.
    KeyConflict(RunId),
    /// The run is over: nothing was written.
    RunOver,
    /// There is no such run: nothing was written.
    UnknownRun,
}

/// Names a message in the inbox. Its place alone would not do: a database that lost commits gives the same
/// number to another message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageRef {
    /// The shard of its run.
    pub shard: ShardId,
    /// Its number.
    pub number: InboxNo,
    /// Its id.
    pub message: MessageId,
}

/// Asks for the messages of some shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxRead {
    /// The shards.
    pub shards: Vec<ShardId>,
    /// How far the caller has read them: these very shards. Whoever gets another one begins anew.
    pub cursor: InboxCursor,
    /// How many messages to return at most, at least 1.
    pub limit: u32,
    /// How many bytes their bodies may have together. One message is returned, however large it is.
    pub bytes: usize,
}

/// How far somebody has read the inbox: a store's own writing, which only that store reads. The default is
/// the beginning.
///
/// It speaks of the shards that it was read with: a caller that reads others as well begins anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboxCursor(pub Bytes);

/// Some messages, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxPage {
    /// The messages, in the order of their numbers.
    pub messages: Vec<InboxMessage>,
    /// Where to go on reading.
    pub cursor: InboxCursor,
    /// Whether to read on at once: there are more messages, or there may be.
    pub more: bool,
    /// The store's clock when it answered.
    pub now: Timestamp,
}

/// A message in the inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxMessage {
    /// Its number; with the run's shard, what names it in the inbox.
    pub number: InboxNo,
    /// Its run.
    pub run: RunId,
    /// Its id.
    pub message: MessageId,
    /// What it says.
    pub body: Bytes,
}
