//! Appends that send messages to other runs beside those of the plans: to runs that no plan would name, after any event. What
//! an append sends follows from the runs and numbers of its events alone, so a repeated append sends the same. It must not
//! know what becomes of a message.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use pgworkflows_core::client::Request;
use pgworkflows_core::id::{EventSeq, MessageId, RunId, ShardId};
use pgworkflows_core::store::{Append, Appended, ChildRun, SentMessage, Session, StoreError};
use pgworkflows_core::{Client, Signal, Workflow};
use pgworkflows_memory::MemoryStore;
use pgworkflows_testkit::interceptor::Interceptor;
use pgworkflows_testkit::runtime::clock::{EPOCH, StoreClock};
use pgworkflows_testkit::runtime::dice::mix;
use pgworkflows_testkit::runtime::time::Time;

use crate::host::SimHost;
use crate::ledger::SENT_MARK;
use crate::plan::Op;
use crate::workflow::PlanWorkflow;

/// A signal that no plan takes.
const NOTE: Signal<()> = Signal::new("note");

/// How long a child, a run that another run started, sleeps.
const CHILD_MILLIS: u64 = 500;

/// How many events of a run may send a message: a run with thousands of events has no more children than another.
const SENDERS_MAX: u32 = 100;

/// The bits of a run's id that mark a child.
const MARK_BITS: u64 = 0xFFFF;

/// The messages that appends send.
#[derive(Debug)]
pub(crate) struct Sends {
    queue_shards: u16,
    start: Bytes,
    note: Bytes,
}

impl Sends {
    /// The host is for the client that encodes the messages.
    pub(crate) fn new(time: &Arc<Time>, host: Arc<SimHost>, queue_shards: u16) -> Arc<Self> {
        let nowhere = MemoryStore::with_clock(Arc::new(StoreClock::new(time, EPOCH)));
        let client = Client::builder(nowhere).host(host).build().expect("the settings are in range");
        let nobody = RunId::from_u128(0);
        let start = client.start::<PlanWorkflow>(Op::Sleep { millis: CHILD_MILLIS }).prepare().now_or_never();
        let note = client.signal(nobody, NOTE, ()).prepare().now_or_never();
        let (Some(Ok(start)), Some(Ok(note))) = (start, note) else {
            panic!("a store in memory answers at once, and accepts both");
        };
        let (start, note) = (start.submission().body.clone(), note.submission().body.clone());
        Arc::new(Self { queue_shards, start, note })
    }

    /// The append with the messages that its events send.
    fn complete(&self, append: &Append) -> Append {
        let mut append = append.clone();
        for frame in &append.frames {
            let seqs = frame.seq.get()..frame.next_seq().get();
            append.sent.extend(seqs.filter_map(|seq| self.sent_by(frame.run, EventSeq::new(seq))));
        }
        append.digest = append.content_digest();
        append
    }

    /// The message that is sent with an event, if any: the start of a child, or a note to the run's first child, or to
    /// the run itself if it has no child.
    fn sent_by(&self, run: RunId, seq: EventSeq) -> Option<SentMessage> {
        // A child has no children, or there would be no end.
        if run.as_u128() as u64 & MARK_BITS == SENT_MARK || seq.get() > SENDERS_MAX {
            return None;
        }
        let number = draw(run, seq);
        let message = MessageId::from_u128(u128::from(number) << 64 | u128::from(SENT_MARK));
        match number % 12 {
            0 => {
                let parent = run;
                let (run, body) = (self.child(parent, number), self.start.clone());
                Some(SentMessage {
                    message,
                    run,
                    key: None,
                    otherwise: None,
                    body,
                    opens: Some(ChildRun { workflow: PlanWorkflow::<false, false>::NAME.into(), parent }),
                })
            }
            1 | 2 => {
                let before = (1..seq.get()).map(|seq| draw(run, EventSeq::new(seq)));
                let first = before.into_iter().find(|number| number % 12 == 0);
                let run = first.map_or(run, |number| self.child(run, number));
                let body = self.note.clone();
                Some(SentMessage { message, run, key: None, otherwise: None, body, opens: None })
            }
            _ => None,
        }
    }

    fn child(&self, parent: RunId, number: u64) -> RunId {
        let shard = (number >> 32) as u16 % self.queue_shards;
        let shard = ShardId::new(shard).expect("the first queue's shards begin at 0");
        RunId::new(parent.born(), shard, mix(number) & !MARK_BITS | SENT_MARK)
    }
}

/// The number that an event of a run draws: always the same one.
fn draw(run: RunId, seq: EventSeq) -> u64 {
    mix(run.as_u128() as u64 ^ mix((run.as_u128() >> 64) as u64 ^ mix(u64::from(seq.get()))))
}

#[async_trait]
impl Interceptor for Sends {
    async fn append(&self, session: &mut dyn Session, append: &Append) -> Result<Appended, StoreError> {
        session.append(&self.complete(append)).await
    }
}
