//! A store whose appends send messages to other runs, because no command does so yet. What an append sends follows from
//! its events' runs and numbers alone, so an append that is repeated sends the same. It must not know what becomes of a
//! message.
#![deny(clippy::missing_trait_methods)]

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use pgworkflows_core::client::Request;
use pgworkflows_core::id::{EventSeq, MessageId, RunId, ShardId};
use pgworkflows_core::store::{
    Append, Appended, Claim, Claimed, Due, DueRuns, Heartbeat, HeartbeatAnswer, Hint, InboxPage, InboxRead,
    Load, Loaded, Queue, Release, SentMessage, Session, SessionsWanted, Store, StoreError, StoreQuery,
    Submission, Submitted, Switchboard, Unparked, Watch, Watched,
};
use pgworkflows_core::{Client, Signal, Workflow};
use pgworkflows_memory::MemoryStore;
use pgworkflows_testkit::runtime::clock::{EPOCH, StoreClock};
use pgworkflows_testkit::runtime::dice::mix;
use pgworkflows_testkit::runtime::time::Time;
use tokio::sync::broadcast;

use crate::host::SimHost;
use crate::plan::Op;
use crate::workflow::Planned;

/// A signal that no plan takes.
const NOTE: Signal<()> = Signal::new("note");

/// How long a run lives that another run starts.
const CHILD_MILLIS: u64 = 500;

/// Marks the ids of messages that appends send, and of the runs that these start.
const MARK: u64 = 0x5E4D;
const MARK_BITS: u64 = 0xFFFF;

/// Whether an append sends this message.
pub(crate) fn is_sent(message: MessageId) -> bool {
    message.as_u128() as u64 == MARK
}

/// What appends send.
#[derive(Clone, Debug)]
pub(crate) struct Sends {
    queue_shards: u16,
    start: Bytes,
    note: Bytes,
}

impl Sends {
    /// The host is for the one client that encodes them.
    pub(crate) fn new(time: &Arc<Time>, host: Arc<SimHost>, queue_shards: u16) -> Self {
        let nowhere = MemoryStore::with_clock(Arc::new(StoreClock::new(time, EPOCH)));
        let client = Client::builder(nowhere).host(host).build().expect("the settings are in range");
        let nobody = RunId::from_u128(0);
        let start = client.start::<Planned>(Op::Sleep { millis: CHILD_MILLIS }).prepare().now_or_never();
        let note = client.signal(nobody, NOTE, ()).prepare().now_or_never();
        let (Some(Ok(start)), Some(Ok(note))) = (start, note) else {
            panic!("a store in memory answers at once, and accepts both");
        };
        let (start, note) = (start.submission().body.clone(), note.submission().body.clone());
        Self { queue_shards, start, note }
    }

    /// The same append with what its events send.
    fn complete(&self, append: &Append) -> Append {
        let mut append = append.clone();
        append.sent.extend(append.events.iter().filter_map(|event| self.sent_by(event.run, event.seq)));
        append.digest = append.content_digest();
        append
    }

    /// What is sent with an event: now and then the start of a child, or a note to the run's first child, or to the run
    /// itself if it has none.
    fn sent_by(&self, run: RunId, seq: EventSeq) -> Option<SentMessage> {
        if run.as_u128() as u64 & MARK_BITS == MARK {
            // A child: it has no children, or there would be no end.
            return None;
        }
        let number = draw(run, seq);
        let message = MessageId::from_u128(u128::from(number) << 64 | u128::from(MARK));
        match number % 12 {
            0 => {
                let (run, body) = (self.child(run, number), self.start.clone());
                Some(SentMessage { message, run, body, opens: Some(Planned::<false>::NAME.into()) })
            }
            1 | 2 => {
                let before = (1..seq.get()).map(|seq| draw(run, EventSeq::new(seq)));
                let first = before.into_iter().find(|number| number % 12 == 0);
                let run = first.map_or(run, |number| self.child(run, number));
                Some(SentMessage { message, run, body: self.note.clone(), opens: None })
            }
            _ => None,
        }
    }

    fn child(&self, parent: RunId, number: u64) -> RunId {
        let shard = (number >> 32) as u16 % self.queue_shards;
        let shard = ShardId::new(shard).expect("the first queue's shards begin at 0");
        RunId::new(parent.born(), shard, mix(number) & !MARK_BITS | MARK)
    }
}

/// A number that an event of a run draws, always the same.
fn draw(run: RunId, seq: EventSeq) -> u64 {
    mix(run.as_u128() as u64 ^ mix((run.as_u128() >> 64) as u64 ^ mix(u64::from(seq.get()))))
}

/// A store, or a session of it, whose appends send.
#[derive(Debug)]
pub(crate) struct Sending<S> {
    pub(crate) inner: S,
    pub(crate) sends: Sends,
}

#[async_trait]
impl Store for Sending<Arc<dyn Store>> {
    async fn session(&self) -> Result<Box<dyn Session>, StoreError> {
        Ok(Box::new(Sending { inner: self.inner.session().await?, sends: self.sends.clone() }))
    }

    async fn check_room(&self, wanted: SessionsWanted) -> Result<(), StoreError> {
        self.inner.check_room(wanted).await
    }

    async fn queue(&self, name: &str, shards: u16) -> Result<Queue, StoreError> {
        self.inner.queue(name, shards).await
    }

    async fn submit(&self, submissions: &[Submission]) -> Result<Vec<Submitted>, StoreError> {
        self.inner.submit(submissions).await
    }

    async fn watch(&self, watch: &Watch) -> Result<Watched, StoreError> {
        self.inner.watch(watch).await
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.inner.hints()
    }

    fn query(&self) -> &dyn StoreQuery {
        self.inner.query()
    }

    fn switchboard(&self) -> Option<Switchboard> {
        self.inner.switchboard()
    }
}

#[async_trait]
impl Session for Sending<Box<dyn Session>> {
    async fn claim(&mut self, claim: &Claim) -> Result<Claimed, StoreError> {
        self.inner.claim(claim).await
    }

    async fn heartbeat(&mut self, heartbeat: &Heartbeat) -> Result<HeartbeatAnswer, StoreError> {
        self.inner.heartbeat(heartbeat).await
    }

    async fn append(&mut self, append: &Append) -> Result<Appended, StoreError> {
        self.inner.append(&self.sends.complete(append)).await
    }

    async fn read_inbox(&mut self, read: &InboxRead) -> Result<InboxPage, StoreError> {
        self.inner.read_inbox(read).await
    }

    async fn unparked(&mut self, unparked: &Unparked) -> Result<Vec<RunId>, StoreError> {
        self.inner.unparked(unparked).await
    }

    async fn load(&mut self, load: &Load) -> Result<Loaded, StoreError> {
        self.inner.load(load).await
    }

    async fn due_runs(&mut self, due: &Due) -> Result<DueRuns, StoreError> {
        self.inner.due_runs(due).await
    }

    async fn release(&mut self, release: &Release) -> Result<(), StoreError> {
        self.inner.release(release).await
    }
}
