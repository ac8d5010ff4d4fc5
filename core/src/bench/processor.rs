//! A processor with a store and an executor that answer at once. It must not do any work itself.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::bench::Error;
use crate::data::attributes::Attributes;
use crate::data::id::{ClaimId, InboxNo, LeaseId, MessageId, Position, RunId, ShardId};
use crate::data::limits;
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::data::retry::RetryPolicy;
use crate::data::time::Timestamp;
use crate::log::attempt::Attempt;
use crate::log::message::{Flag, Message};
use crate::log::wire;
use crate::observe::metrics::Metrics;
use crate::processor::Processor;
use crate::processor::effect::Effect;
use crate::processor::memory::MemoryBudget;
use crate::processor::reads::StoreRead;
use crate::processor::setup::ProcessorConfig;
use crate::run::turn::Turn;
use crate::store::append::Appended;
use crate::store::history::{DueRuns, UnparkedRuns};
use crate::store::inbox::{InboxCursor, InboxMessage, InboxPage};
use crate::store::lease::{Claimed, ClaimedShard};
use crate::workflow::Workflow;
use crate::workflow::mark::PollMark;
use crate::workflow::registry::{Definitions, Registry};

/// The store's time, in microseconds since 1970. It is constant, so no timer fires.
const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

/// A processor of one shard with its store and its executor. An activity returns its input.
#[derive(Debug)]
pub struct ProcessorFixture {
    processor: Processor,
    inbox: Vec<InboxMessage>,
    attempts: VecDeque<Attempt>,
    written: Written,
}

/// Start messages in an inbox.
#[derive(Clone, Debug)]
pub struct StartMessages(Vec<InboxMessage>);

/// The amount that a processor wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The number of appends.
    pub appends: usize,
    /// The number of events in them.
    pub events: usize,
    /// The number of closed runs.
    pub closed: usize,
}

impl StartMessages {
    /// Makes `count` start messages of a workflow.
    ///
    /// # Errors
    /// Returns an error if the input cannot be encoded.
    pub fn of<W: Workflow>(input: &W::Input, count: u64) -> Result<Self, Error> {
        let payload = Payload::encode(input).map_err(|error| Error::invalid(error.to_string()))?;
        let shard = ShardId::new(0)?;
        let start = |number: u64| {
            let (workflow, input) = (Name::from_static(W::NAME), payload.clone());
            let run = RunId::new(NOW, shard, number);
            InboxMessage {
                number: InboxNo::new(number),
                run,
                current: run,
                message: MessageId::from_u128(run.as_u128()),
                body: wire::encode_message(&Message::Start {
                    workflow,
                    input,
                    key: None,
                    start_at: None,
                    deadline: None,
                    grace_until: None,
                    repeated: Flag(false),
                    parent: None,
                    retry: RetryPolicy::none(),
                    trace: None,
                    attributes: Attributes::default(),
                }),
            }
        };
        Ok(Self((1..=count).map(start).collect()))
    }
}

impl ProcessorFixture {
    /// A processor that knows one workflow and one activity.
    ///
    /// # Errors
    /// Returns an error if a name is invalid.
    pub fn new<W: Workflow, A: crate::workflow::activity::Activity>(activity: A) -> Result<Self, Error> {
        let mut definitions = Definitions::default();
        definitions.workflow::<W>()?;
        definitions.activity(activity)?;
        let registry = Registry::new(Arc::new(definitions), Arc::new(PollMark::default()));
        let config = ProcessorConfig {
            worker: "bench".to_owned(),
            activity_queue: "bench".into(),
            history_events_warn: u32::MAX,
            history_events_max: u32::MAX,
            deaths_before_suspicion: limits::DEATHS_BEFORE_SUSPICION,
            attempts_lost_max: limits::ATTEMPTS_LOST_MAX,
            memory: MemoryBudget::new(usize::MAX),
            metrics: Metrics::default(),
            outbox_bytes_max: limits::OUTBOX_BYTES_MAX,
            page_bytes_max: limits::PAGE_BYTES_MAX,
            handover_grace: limits::HANDOVER_GRACE,
            horizon: 2 * limits::HEARTBEAT_INTERVAL,
        };
        let shards = vec![ClaimedShard {
            shard: ShardId::new(0)?,
            claim: ClaimId::FIRST,
            next_position: Position::FIRST,
            deaths: 0,
            former: None,
            needs: Vec::new(),
        }];
        let claimed = Claimed { lease: LeaseId::new(1), shards, suspects: Vec::new(), now: NOW };
        Ok(Self {
            processor: Processor::new(config, registry, &claimed),
            inbox: Vec::new(),
            attempts: VecDeque::new(),
            written: Written::default(),
        })
    }

    /// Takes start messages and works until nothing is left to do.
    ///
    /// # Panics
    /// Panics if the processor asks for a history, because no measured run leaves memory.
    pub fn complete(&mut self, starts: StartMessages) -> Written {
        self.inbox = starts.0;
        self.processor.has_mail();
        loop {
            while self.processor.work(&Turn::endless(NOW)) {}
            if let Some(append) = self.processor.cut() {
                self.written.appends += 1;
                self.written.events += append.frames.iter().map(|frame| frame.count as usize).sum::<usize>();
                self.written.closed += append.closed.len();
                self.processor.appended(Appended { now: NOW });
            }
            for effect in self.processor.take_effects() {
                match effect {
                    Effect::Execute(attempt) => self.attempts.push_back(*attempt),
                    Effect::ExecuteStep { .. }
                    | Effect::Abort { .. }
                    | Effect::HandOut { .. }
                    | Effect::Withdraw(_)
                    | Effect::StartChild(_)
                    | Effect::FindQueue { .. }
                    | Effect::Accept { .. }
                    | Effect::Tell { .. } => {}
                }
            }
            if let Some(read) = self.processor.next_read() {
                self.answer(read);
            } else if self.attempts.is_empty() && self.processor.is_flushed() {
                return self.written;
            }
            for attempt in self.attempts.drain(..) {
                let Attempt { run, id, attempt, input, .. } = attempt;
                self.processor.attempt_ended(run, id, attempt, Ok(input), NOW);
            }
        }
    }

    fn answer(&mut self, read: StoreRead) {
        match read {
            StoreRead::Inbox(_) => {
                let messages = std::mem::take(&mut self.inbox);
                let cursor = InboxCursor::default();
                self.processor.messages(InboxPage { messages, cursor, more: false, now: NOW });
            }
            StoreRead::Due(due) => {
                let none = DueRuns { runs: Vec::new(), now: NOW };
                self.processor.due_runs(&due, &none);
            }
            StoreRead::List(unparked) => {
                self.processor.listed(unparked, &UnparkedRuns { runs: Vec::new(), cut: None })
            }
            StoreRead::Load(load) => {
                panic!(
                    "the processor asked for histories of {} runs, but no measured run leaves memory",
                    load.runs.len()
                );
            }
        }
    }
}
