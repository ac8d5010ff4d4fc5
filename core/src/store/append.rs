//! What one commit writes: frames, and the rows that follow from their events. It must not know any kind of event.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::data::chain::ChainLink;
use crate::data::id::{
    AppendNo, ClaimId, EventSeq, ExecutorId, LeaseId, MessageId, Position, RunId, ShardId,
};
use crate::data::name::Name;
use crate::data::time::Timestamp;
use crate::store::frame::Frame;
use crate::store::inbox::MessageRef;
use crate::store::lease::Suspect;
use crate::store::tasks::NewTask;

/// A batch for the log: what one commit writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The lease under which the batch is written.
    pub lease: LeaseId,
    /// The batch's number: one more than the previous append's.
    pub number: AppendNo,
    /// SHA-256 of everything below: tells a repetition from another batch under the same number.
    pub digest: [u8; 32],
    /// Every shard that the batch writes to or releases, ascending: see [`seal`](Self::seal).
    pub shards: Vec<OwnedShard>,
    /// The frames; those of one run in the order of `seq`, those of one shard in the order of `position`. A run has one,
    /// unless its events do not fit.
    pub frames: Vec<Frame>,
    /// Runs that begin with this append, without a message, and do not end within it.
    pub opened: Vec<OpenedRun>,
    /// Open runs whose row changes.
    pub updated: Vec<UpdatedRun>,
    /// Runs that end with this append.
    pub closed: Vec<ClosedRun>,
    /// The places of runs that begin with this append and continue runs that end with it: each is opened here, its
    /// predecessor is closed here, and both are in one shard.
    pub links: Vec<RunLink>,
    /// Messages that became events: they are deleted from the inbox. A missing one is a conflict.
    pub consumed: Vec<MessageRef>,
    /// Messages whose run was over before they arrived: they are moved from the inbox to `undelivered`.
    pub undelivered: Vec<MessageRef>,
    /// Messages to other runs, put into the inbox in this order. Any lease may own their shards.
    pub sent: Vec<SentMessage>,
    /// Tasks of the append's runs. They are only inserted here: no append locks a task.
    pub tasks: Vec<NewTask>,
    /// Where views of the append's runs were published last: each view of a run is named once.
    pub views: Vec<PublishedView>,
    /// Attributes of the append's runs that are set or removed: each attribute of a run is named once.
    pub attributes: Vec<AttributeChange>,
    /// Replies to messages. A message that has a reply keeps it.
    pub replies: Vec<Reply>,
    /// Runs that become suspects, or whose suspicion changes. Runs that are over are not stored.
    pub suspects: Vec<Suspect>,
    /// Runs that are no longer suspects.
    pub cleared: Vec<RunId>,
    /// Workflows of which a shard may have open runs from now on. What is stored already changes nothing.
    pub needs: Vec<Need>,
    /// Shards that are free from this append on, each named once. It may write to them for the last time. That counts as no
    /// death.
    pub released: Vec<Released>,
}

impl Append {
    /// An append without content, which the caller fills in.
    pub fn new(lease: LeaseId, number: AppendNo) -> Self {
        Self {
            lease,
            number,
            digest: [0; 32],
            shards: Vec::new(),
            frames: Vec::new(),
            opened: Vec::new(),
            updated: Vec::new(),
            closed: Vec::new(),
            links: Vec::new(),
            consumed: Vec::new(),
            undelivered: Vec::new(),
            sent: Vec::new(),
            tasks: Vec::new(),
            views: Vec::new(),
            attributes: Vec::new(),
            replies: Vec::new(),
            suspects: Vec::new(),
            cleared: Vec::new(),
            needs: Vec::new(),
            released: Vec::new(),
        }
    }

    /// Completes the batch after all other fields: names its shards, with the claims by which the lease owns them, and sets
    /// the digest. A shard without a claim is refused by every store.
    pub fn seal(&mut self, claim_of: impl Fn(ShardId) -> Option<ClaimId>) {
        let owned = |shard| OwnedShard { shard, claim: claim_of(shard).unwrap_or(ClaimId::new(0)) };
        self.shards = self.shards_written().into_iter().map(owned).collect();
        self.digest = self.content_digest();
    }

    /// Every shard that the batch writes to or releases, ascending. Messages may be sent to any shard.
    pub fn shards_written(&self) -> Vec<ShardId> {
        // By their numbers, because an append names some shards very often.
        let mut written: Vec<Option<ShardId>> = Vec::new();
        let mut write = |shard: ShardId| {
            let number = usize::from(shard.get());
            if written.len() <= number {
                written.resize(number + 1, None);
            }
            written[number] = Some(shard);
        };
        self.frames.iter().for_each(|frame| write(frame.run.shard()));
        self.opened.iter().for_each(|opened| write(opened.run.shard()));
        self.updated.iter().for_each(|updated| write(updated.run.shard()));
        self.closed.iter().for_each(|closed| write(closed.run.shard()));
        self.suspects.iter().for_each(|suspect| write(suspect.run.shard()));
        self.cleared.iter().for_each(|run| write(run.shard()));
        self.tasks.iter().for_each(|task| write(task.id.run.shard()));
        self.replies.iter().for_each(|reply| write(reply.run.shard()));
        self.consumed.iter().chain(&self.undelivered).for_each(|message| write(message.shard));
        self.needs.iter().for_each(|need| write(need.shard));
        self.released.iter().for_each(|released| write(released.shard));
        written.into_iter().flatten().collect()
    }

    /// The digest of the content: see [`seal`](Self::seal).
    pub fn content_digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update((self.shards.len() as u64).to_le_bytes());
        for OwnedShard { shard, claim } in &self.shards {
            hasher.update(shard.get().to_le_bytes());
            hasher.update(claim.get().to_le_bytes());
        }
        // The length precedes each list and each text, so that the end of one cannot pass for the beginning of the next.
        hasher.update((self.frames.len() as u64).to_le_bytes());
        for frame in &self.frames {
            hasher.update(head_of(frame));
            hasher.update(&frame.body);
        }
        // Rows, views and attributes follow from the events, so the ids of the runs and messages are enough. Suspects do not follow from them.
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
        runs(&mut self.links.iter().map(|link| link.run));
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
        for SentMessage { message, run, key, otherwise, body, opens } in &self.sent {
            hasher.update(message.as_u128().to_le_bytes());
            hasher.update(run.as_u128().to_le_bytes());
            hasher.update(otherwise.map_or(0, RunId::as_u128).to_le_bytes());
            hasher.update(opens.as_ref().map_or(0, |opens| opens.parent.as_u128()).to_le_bytes());
            let opens = opens.as_ref().map_or("", |opens| &*opens.workflow);
            let key = key.as_ref().map_or(["", ""], |key| [&key.workflow, &key.key]);
            for bytes in [&body[..], opens.as_bytes(), key[0].as_bytes(), key[1].as_bytes()] {
                hasher.update((bytes.len() as u64).to_le_bytes());
                hasher.update(bytes);
            }
        }
        hasher.update((self.tasks.len() as u64).to_le_bytes());
        for NewTask { id, queue, activity, losses_max, message, body, lost, executor } in &self.tasks {
            hasher.update(id.run.as_u128().to_le_bytes());
            hasher.update(id.seq.get().to_le_bytes());
            hasher.update(losses_max.to_le_bytes());
            hasher.update(message.as_u128().to_le_bytes());
            hasher.update(executor.map_or(0, ExecutorId::get).to_le_bytes());
            for bytes in [queue.as_bytes(), activity.as_bytes(), &body[..], &lost[..]] {
                hasher.update((bytes.len() as u64).to_le_bytes());
                hasher.update(bytes);
            }
        }
        self.digest_replies(&mut hasher);
        self.digest_shards(&mut hasher);
        hasher.finalize().into()
    }

    fn digest_replies(&self, hasher: &mut Sha256) {
        hasher.update((self.replies.len() as u64).to_le_bytes());
        for Reply { run, message, body } in &self.replies {
            hasher.update(run.as_u128().to_le_bytes());
            hasher.update(message.as_u128().to_le_bytes());
            hasher.update((body.len() as u64).to_le_bytes());
            hasher.update(body);
        }
    }

    /// What it says of whole shards.
    fn digest_shards(&self, hasher: &mut Sha256) {
        hasher.update((self.released.len() as u64).to_le_bytes());
        for Released { shard, next_position } in &self.released {
            hasher.update(shard.get().to_le_bytes());
            hasher.update(next_position.get().to_le_bytes());
        }
        hasher.update((self.needs.len() as u64).to_le_bytes());
        for Need { shard, workflow } in &self.needs {
            hasher.update(shard.get().to_le_bytes());
            hasher.update((workflow.len() as u64).to_le_bytes());
            hasher.update(workflow.as_bytes());
        }
    }
}

/// What a frame says beside its body, and the length of that, for the digest: in one piece, because there are many frames.
fn head_of(frame: &Frame) -> [u8; 48] {
    let Frame { run, seq, count, position, at, body } = frame;
    let mut head = [0; 48];
    head[..16].copy_from_slice(&run.as_u128().to_le_bytes());
    head[16..20].copy_from_slice(&seq.get().to_le_bytes());
    head[20..24].copy_from_slice(&count.to_le_bytes());
    head[24..32].copy_from_slice(&position.get().to_le_bytes());
    head[32..40].copy_from_slice(&at.as_micros().to_le_bytes());
    head[40..].copy_from_slice(&(body.len() as u64).to_le_bytes());
    head
}

/// A workflow that the owner of a shard has to know, because the shard may have open runs of it. The first append of an owner
/// that begins such a run says so, or the first after it met one of a workflow that it does not know. So whoever shares out
/// the shards looks at no run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// The shard.
    pub shard: ShardId,
    /// The workflow's name.
    pub workflow: Name,
}

/// A shard that an append writes to, and the claim by which its lease owns it. The store refuses the append if the shard was
/// lost and claimed again meanwhile, even under the same lease: the batch follows an older log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnedShard {
    /// The shard.
    pub shard: ShardId,
    /// The claim.
    pub claim: ClaimId,
}

/// A shard that an append releases. Because the append is numbered, a late repetition cannot release a shard that was claimed
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released {
    /// The shard.
    pub shard: ShardId,
    /// The position of the shard's next event, after this append.
    pub next_position: Position,
}

/// The row of a run that begins without a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedRun {
    /// The run.
    pub run: RunId,
    /// The workflow's name.
    pub workflow: Name,
    /// The idempotency key, if the run continues one that has a key.
    pub key: Option<String>,
    /// The run that started the chain of the run, if the run continues one that has a parent.
    pub parent: Option<RunId>,
    /// The variable part of the row.
    pub row: OpenRow,
}

/// A change of an open run's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdatedRun {
    /// The run.
    pub run: RunId,
    /// The new variable part of the row.
    pub row: OpenRow,
}

/// The variable part of an open run's row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenRow {
    /// Tells whether a new owner must load the run at once.
    pub state: OpenState,
    /// The time at which its owner must load it, if the row does not tell it to load the run at once: the earliest deadline of a
    /// run that is parked or paused.
    pub wake_at: Option<Timestamp>,
    /// What the run waits on, in words for people; at most 2,000 characters.
    pub waiting_on: Option<String>,
    /// The same as data: a JSON array, which only core reads and people query. `None` if there is nothing to say.
    pub waits: Option<String>,
}

/// What an open run does, according to its row. A pending row is not written when its run begins: once the log has an event
/// of the run, the row counts as that of a busy run without `wake_at`, `waiting_on` and `waits`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OpenState {
    /// The run's start is in the inbox; the log has no event of the run.
    Pending,
    /// Something is in flight: a new owner loads the run at once.
    #[default]
    Busy,
    /// Nothing is in flight: the run waits for a message or its deadline.
    Parked,
    /// The run's code could not continue: a new owner tries it again at once.
    Stalled,
    /// A client paused the run: it waits for a message or its deadline, as if it were parked.
    Paused,
}

/// A run that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedRun {
    /// The run.
    pub run: RunId,
    /// The workflow's name.
    pub workflow: Name,
    /// The idempotency key of the run's start.
    pub key: Option<String>,
    /// The run that started it, if a run did.
    pub parent: Option<RunId>,
    /// How the run ended.
    pub status: ClosedStatus,
    /// When the run ended.
    pub closed_at: Timestamp,
    /// The run's outcome, which only core reads.
    pub outcome: Bytes,
}

/// The place of a run in its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunLink {
    /// The run.
    pub run: RunId,
    /// Its place.
    pub link: ChainLink,
}

/// Where the newest value of a view is: the store finds the event by it, so that nobody reads a whole history for a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedView {
    /// The run, of which the append has a frame with the event.
    pub run: RunId,
    /// The view's name.
    pub view: Name,
    /// The number of the event with the value.
    pub seq: EventSeq,
}

/// A change of what a run is found by. Only the owner of a run changes its attributes, after its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeChange {
    /// The run.
    pub run: RunId,
    /// The attribute's name.
    pub attribute: Name,
    /// The new value; `None` if the attribute is removed.
    pub value: Option<String>,
}

/// The reply to a message that a run received. It is kept for as long as the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The run.
    pub run: RunId,
    /// The message.
    pub message: MessageId,
    /// The reply's content, which only core reads.
    pub body: Bytes,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClosedStatus {
    /// The workflow returned a value.
    Completed,
    /// The workflow returned an error.
    Failed,
    /// The run was asked to cancel itself, and its workflow returned that cancellation.
    Cancelled,
    /// The run was terminated, without asking its workflow.
    Terminated,
    /// The workflow continued as new: another run of its chain goes on.
    Continued,
    /// The workflow returned an error, and another run of its chain is the next attempt.
    Retried,
    /// The run was not over at its deadline.
    TimedOut,
}

impl ClosedStatus {
    /// Whether another run of the chain goes on after a run that ended in this way.
    pub fn is_continued(self) -> bool {
        match self {
            Self::Continued | Self::Retried => true,
            Self::Completed | Self::Failed | Self::Cancelled | Self::Terminated | Self::TimedOut => false,
        }
    }
}

/// A message that one run sends to another.
///
/// The sender chooses the message's id, and no client uses the same one, so an append never waits for a client's
/// transaction. A message whose id is in the inbox already is not inserted again, nor is a start whose run exists. A
/// message for a run that is over is inserted, and the owner of its shard moves it to `undelivered`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentMessage {
    /// The message's id.
    pub message: MessageId,
    /// The run that receives it.
    pub run: RunId,
    /// If it is set, the run with this key receives the message, and `run` only if no run has the key. The key is read, and
    /// waits for no transaction.
    pub key: Option<RunKey>,
    /// If it is set, this run receives the message if `run` does not exist. A run that is over exists.
    pub otherwise: Option<RunId>,
    /// The message's content, which only core reads.
    pub body: Bytes,
    /// For a start, the run that it creates. Such a start has no key.
    pub opens: Option<ChildRun>,
}

/// A run that another run starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildRun {
    /// The workflow's name.
    pub workflow: Name,
    /// The run that starts it.
    pub parent: RunId,
}

/// A run, named by its workflow and the key of its start.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunKey {
    /// The workflow's name.
    pub workflow: Name,
    /// The key.
    pub key: String,
}

/// The answer to an [`Append`] that was applied, now or when it was sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The store's clock when it answered.
    pub now: Timestamp,
}
