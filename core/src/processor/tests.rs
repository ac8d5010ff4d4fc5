//! The processor without a driver: a test gives it messages, outcomes and time, and a fixture in memory is its store.

mod backlog;
mod blame;
mod bounds;
mod budget;
mod carried;
mod chains;
mod children;
mod deadlines;
mod definitions;
mod executor;
mod handover;
mod local;
mod memory;
mod messages;
mod pause;
mod queues;
mod resume;
mod sent;
mod suspects;
mod tasks;
mod unknown_workflows;
mod updates;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use expect_test::expect;

use self::definitions::*;
use crate::data::attributes::Attributes;
use crate::data::failure::Failure;
use crate::data::id::{
    ClaimId, CommandId, EventSeq, ExecutorId, InboxNo, LeaseId, MessageId, Position, RunId, ShardId,
};
use crate::data::limits;
use crate::data::name::Name;
use crate::data::retry::RetryPolicy;
use crate::data::shards::Shards;
use crate::data::time::Timestamp;
use crate::log::attempt::Attempt;
use crate::log::event::Event;
use crate::log::message::{Flag, Message};
use crate::log::past_event::PastEvent;
use crate::log::stored_history::decode;
use crate::log::wire;
use crate::observe::metrics::Metrics;
use crate::processor::Processor;
use crate::processor::appends::Declined;
use crate::processor::children::ChildStart;
use crate::processor::effect::Effect;
use crate::processor::memory::MemoryBudget;
use crate::processor::reads::StoreRead;
use crate::processor::setup::ProcessorConfig;
use crate::run::turn::Turn;
use crate::store::append::{Append, Appended, Need, OpenRow, OpenState};
use crate::store::frame::Frame;
use crate::store::history::{DueMark, DueRuns, Load, Loaded, RunHistory, Unparked, UnparkedRuns};
use crate::store::inbox::{InboxCursor, InboxMessage, InboxPage};
use crate::store::lease::{Claimed, ClaimedShard, LeaseAnswer, Standing, Suspect, SuspectStage};
use crate::store::tasks::{HeldTask, NewTask, TaskId, Withdrawal};
use crate::testing::{BORN, broken, call, deploy_broken_build, history, payload, run_id};
use crate::workflow::Workflow;
use crate::workflow::child_ids::{ChildIds, OtherQueues};
use crate::workflow::mark::PollMark;
use crate::workflow::queues::KnownQueues;
use crate::workflow::registry::{Definitions, Registry};

const SECOND: Duration = Duration::from_secs(1);

/// A processor and the store that a test simulates for it.
struct Fixture {
    processor: Processor,
    now: Timestamp,
    shard: ShardId,
    log: BTreeMap<RunId, Vec<Frame>>,
    rows: BTreeMap<RunId, OpenRow>,
    closed: BTreeSet<RunId>,
    next_position: Position,
    inbox: BTreeMap<InboxNo, InboxMessage>,
    /// The runs that continue others.
    successors: BTreeMap<RunId, RunId>,
    /// The messages that the next read of the inbox returns.
    unread: VecDeque<InboxNo>,
    undelivered: Vec<InboxNo>,
    /// The messages that runs sent.
    sent: BTreeSet<MessageId>,
    messages: u64,
    /// The tasks that were inserted and not withdrawn.
    tasks: BTreeMap<TaskId, NewTask>,
    /// The tasks that the process has, because it executed them before.
    handed_out: Vec<HeldTask>,
    /// Those that a transaction has locked, and what is to be done with them afterwards.
    locked: BTreeSet<TaskId>,
    locked_withdrawals: Vec<Withdrawal>,
    /// The attempts that the executor has.
    attempts: BTreeMap<(RunId, CommandId), Attempt>,
    /// How many attempts it was given in total.
    attempts_begun: usize,
    steps: BTreeMap<(RunId, CommandId), Name>,
    /// The starts of children with keys that are to be submitted.
    child_starts: Vec<ChildStart>,
    /// The queues that are to be looked up, and for which runs.
    queue_lookups: Vec<(Name, RunId)>,
    /// What processors know of other queues, from the next owner on.
    queues: Option<Arc<KnownQueues>>,
    /// Which events the store refuses.
    refuses: fn(RunId, &Event) -> bool,
    appends: usize,
    /// The shards that were released.
    released: Vec<ShardId>,
    /// What appends said that shards need.
    needs: Vec<Need>,
    /// How often histories were read.
    loads: usize,
    /// How many bytes of histories one read returns.
    load_bytes_max: usize,
    suspects: BTreeMap<RunId, Suspect>,
    /// Whether the next owner finds that the last owner died.
    died: bool,
    /// Which appends fail.
    fails: fn(&Append) -> bool,
    /// Whether the next owner has no workflows.
    has_no_workflows: bool,
    config: ProcessorConfig,
    /// The most memory that was in use.
    most_memory: usize,
}

/// The events of an append.
fn events(append: &Append) -> Vec<(RunId, Event)> {
    let decoded = |frame: &Frame| {
        let (run, frames) = (frame.run, vec![frame.clone()]);
        let past: Result<Vec<PastEvent>, _> = decode(&RunHistory { run, frames }).collect();
        past.expect("written events can be decoded").into_iter().map(move |past| (run, past.event))
    };
    append.frames.iter().flat_map(decoded).collect()
}

fn claimed(lease: u64, shard: ShardId, next_position: Position, deaths: u32) -> Claimed {
    let shards = vec![ClaimedShard {
        shard,
        claim: ClaimId::FIRST,
        next_position,
        deaths,
        former: None,
        needs: Vec::new(),
    }];
    Claimed { lease: LeaseId::new(lease), shards, suspects: Vec::new(), now: BORN }
}

impl Fixture {
    fn new() -> Self {
        deploy_broken_build(false);
        let config = ProcessorConfig {
            worker: "fixture".to_owned(),
            activity_queue: Name::from_static("own"),
            history_events_warn: 8,
            history_events_max: 100_000,
            deaths_before_suspicion: limits::DEATHS_BEFORE_SUSPICION,
            attempts_lost_max: limits::ATTEMPTS_LOST_MAX,
            memory: MemoryBudget::new(256 << 20),
            metrics: Metrics::default(),
            outbox_bytes_max: limits::OUTBOX_BYTES_MAX,
            page_bytes_max: limits::PAGE_BYTES_MAX,
            handover_grace: SECOND,
            horizon: Duration::ZERO,
        };
        let shard = run_id(0).shard();
        let claimed = claimed(1, shard, Position::FIRST, 0);
        let processor = Processor::new(config.clone(), registry(), &claimed);
        Self {
            processor,
            now: BORN,
            shard,
            log: BTreeMap::new(),
            rows: BTreeMap::new(),
            closed: BTreeSet::new(),
            next_position: Position::FIRST,
            inbox: BTreeMap::new(),
            successors: BTreeMap::new(),
            unread: VecDeque::new(),
            undelivered: Vec::new(),
            sent: BTreeSet::new(),
            messages: 0,
            tasks: BTreeMap::new(),
            handed_out: Vec::new(),
            locked: BTreeSet::new(),
            locked_withdrawals: Vec::new(),
            attempts: BTreeMap::new(),
            attempts_begun: 0,
            steps: BTreeMap::new(),
            child_starts: Vec::new(),
            queue_lookups: Vec::new(),
            queues: None,
            refuses: |_, _| false,
            appends: 0,
            released: Vec::new(),
            needs: Vec::new(),
            loads: 0,
            load_bytes_max: usize::MAX,
            suspects: BTreeMap::new(),
            died: true,
            fails: |_| false,
            has_no_workflows: false,
            config,
            most_memory: 0,
        }
    }

    /// Another processor takes over, with the same store, and does its work.
    fn take_over(&mut self, deaths: u32) {
        self.take_over_without_work(deaths);
        self.run();
    }

    /// Another processor takes over, and does no work yet.
    fn take_over_without_work(&mut self, deaths: u32) {
        let lease = self.processor.lease().next().get();
        let mut claimed = claimed(lease, self.shard, self.next_position, deaths);
        if deaths > 0 && self.died {
            claimed.shards[0].former = Some("the former".to_owned());
        } else {
            // A release is not a death.
            let released = |suspect: &mut Suspect| {
                if suspect.stage == SuspectStage::Tried {
                    suspect.stage = SuspectStage::Held;
                }
            };
            self.suspects.values_mut().for_each(released);
        }
        claimed.shards[0].needs = self.needs.iter().map(|need| need.workflow.clone()).collect();
        claimed.suspects = self.suspects.values().copied().collect();
        let registry = if self.has_no_workflows {
            Registry::new(Arc::new(Definitions::default()), Arc::new(PollMark::default()))
        } else {
            registry()
        };
        let registry = match &self.queues {
            Some(queues) => {
                let own = Shards::new(self.shard, 1).expect("a queue of one shard");
                let others = OtherQueues::Known(Arc::clone(queues));
                registry.with_child_ids(ChildIds::Among(own, others))
            }
            None => registry,
        };
        self.processor = Processor::new(self.config.clone(), registry, &claimed);
        self.attempts.clear();
        self.steps.clear();
        self.unread = self.inbox.keys().copied().collect();
    }

    fn submit(&mut self, run: RunId, message: &Message) -> InboxNo {
        self.messages += 1;
        self.submit_again(run, message, MessageId::from_u128(u128::from(self.messages)))
    }

    fn submit_again(&mut self, run: RunId, message: &Message, id: MessageId) -> InboxNo {
        self.put(run, wire::encode_message(message), id)
    }

    fn put(&mut self, run: RunId, body: Bytes, id: MessageId) -> InboxNo {
        let number = InboxNo::new(self.messages);
        self.messages += 1;
        self.inbox.insert(number, InboxMessage { number, run, current: run, message: id, body });
        self.unread.push_back(number);
        self.processor.has_mail();
        number
    }

    /// A fixture with a run that has begun, and came as far as it gets.
    fn begun<W: Workflow<Input = u32>>(input: u32) -> (Self, RunId) {
        let mut fixture = Self::new();
        let run = fixture.start::<W>(1, input);
        fixture.run();
        (fixture, run)
    }

    fn start<W: Workflow<Input = u32>>(&mut self, number: u64, input: u32) -> RunId {
        self.start_within::<W>(number, &input, (None, None))
    }

    /// Starts a run with a deadline and the end of its grace, both counted from now.
    fn start_limited<W: Workflow<Input = u32>>(
        &mut self,
        number: u64,
        input: u32,
        limits: [Duration; 2],
    ) -> RunId {
        let [deadline, grace_until] = limits.map(|limit| Some(self.now.saturating_add(limit)));
        self.start_within::<W>(number, &input, (deadline, grace_until))
    }

    fn start_within<W: Workflow>(
        &mut self,
        number: u64,
        input: &W::Input,
        (deadline, grace_until): (Option<Timestamp>, Option<Timestamp>),
    ) -> RunId {
        let id = run_id(number);
        let (workflow, input) = (Name::from_static(W::NAME), payload(input));
        self.submit(
            id,
            &Message::Start {
                workflow,
                input,
                key: None,
                start_at: None,
                repeated: Flag(false),
                parent: None,
                retry: RetryPolicy::none(),
                deadline,
                grace_until,
                trace: None,
                attributes: Attributes::default(),
            },
        );
        self.rows.insert(id, OpenRow { state: OpenState::Pending, ..OpenRow::default() });
        id
    }

    fn signal(&mut self, run: RunId, content: u32) -> InboxNo {
        let signal = Name::from_static(GO.name());
        self.submit(run, &Message::Signal { signal, payload: payload(&content), key: None, trace: None })
    }

    /// Answers all requests until there is nothing left to do.
    fn run(&mut self) {
        loop {
            self.work();
            if let Some(append) = self.processor.cut() {
                self.append(&append);
                continue;
            }
            self.take_effects();
            if self.processor.wants_trial() {
                self.processor.begin_trial(self.now);
                continue;
            }
            match self.processor.next_read() {
                Some(read) => self.answer(read),
                None => return,
            }
        }
    }

    /// The same, and returns the appends.
    fn run_and_list(&mut self) -> Vec<Arc<Append>> {
        let mut appends = Vec::new();
        loop {
            self.work();
            if let Some(append) = self.processor.cut() {
                self.append(&append);
                appends.push(append);
                continue;
            }
            self.take_effects();
            match self.processor.next_read() {
                Some(read) => self.answer(read),
                None => return appends,
            }
        }
    }

    /// Does all work that is ready.
    fn work(&mut self) {
        while self.processor.work(&Turn::endless(self.now)) {
            self.most_memory = self.most_memory.max(self.processor.memory.used());
        }
    }

    fn take_effects(&mut self) {
        for effect in self.processor.take_effects() {
            match effect {
                Effect::Execute(attempt) => {
                    let key = (attempt.run, attempt.id);
                    self.attempts_begun += 1;
                    assert!(self.attempts.insert(key, *attempt).is_none(), "an attempt is executed twice");
                }
                Effect::ExecuteStep { run, step, .. } => {
                    let key = (run, step.id);
                    assert!(self.steps.insert(key, step.name).is_none(), "a step is executed twice");
                }
                Effect::Abort { run, id } => {
                    self.attempts.remove(&(run, id));
                    self.steps.remove(&(run, id));
                }
                Effect::HandOut { call, task } => {
                    self.attempts.remove(&(task.claim.task.run, call));
                    self.handed_out.push(task);
                }
                Effect::Withdraw(Withdrawal { task, tells }) => self.withdraw(task, tells),
                Effect::StartChild(start) => self.child_starts.push(*start),
                Effect::FindQueue { queue, run } => self.queue_lookups.push((queue, run)),
                Effect::Accept { accepted } => drop(accepted.send(())),
                Effect::Tell { notice, watcher } => drop(watcher.send(*notice)),
            }
        }
    }

    /// Applies an append as a store does.
    fn append(&mut self, append: &Append) {
        self.appends += 1;
        assert_eq!(append.digest, append.content_digest());
        if events(append).iter().any(|(run, event)| (self.refuses)(*run, event)) {
            return self.processor.declined(Declined::Refused, "it is too large");
        }
        for frame in &append.frames {
            let frames = self.log.entry(frame.run).or_default();
            let next = frames.last().map_or(EventSeq::FIRST, Frame::next_seq);
            assert_eq!(frame.seq, next, "frames are contiguous");
            assert_eq!(frame.first_position(), self.next_position, "positions are gapless");
            self.next_position = frame.position.next();
            frames.push(frame.clone());
        }
        for opened in &append.opened {
            let before = self.rows.insert(opened.run, opened.row.clone());
            assert!(before.is_none_or(|row| row.state == OpenState::Pending), "a run is opened once");
        }
        for updated in &append.updated {
            let row = self.rows.get_mut(&updated.run).expect("the row is there");
            row.clone_from(&updated.row);
        }
        for closed in &append.closed {
            // A run that begins and ends within one append never has a row.
            self.rows.remove(&closed.run);
            assert!(self.closed.insert(closed.run), "a run is closed once");
        }
        self.suspects.extend(append.suspects.iter().map(|suspect| (suspect.run, *suspect)));
        append.cleared.iter().for_each(|run| _ = self.suspects.remove(run));
        self.successors.extend(append.links.iter().map(|link| (link.link.predecessor, link.run)));
        for message in append.consumed.iter().chain(&append.undelivered) {
            self.inbox.remove(&message.number).expect("a message is consumed once");
        }
        for task in &append.tasks {
            assert!(self.tasks.insert(task.id, task.clone()).is_none(), "a task is inserted once");
        }
        self.undelivered.extend(append.undelivered.iter().map(|message| message.number));
        for sent in &append.sent {
            assert!(self.sent.insert(sent.message), "a message is sent once");
            if sent.opens.is_some() {
                self.rows.insert(sent.run, OpenRow { state: OpenState::Pending, ..OpenRow::default() });
            }
            let exists = self.rows.contains_key(&sent.run) || self.closed.contains(&sent.run);
            let run = sent.otherwise.filter(|_| !exists).unwrap_or(sent.run);
            self.put(run, sent.body.clone(), sent.message);
        }
        for released in append.released.iter().filter(|released| released.shard == self.shard) {
            assert_eq!(released.next_position, self.next_position, "nothing of it is left to be written");
        }
        self.released.extend(append.released.iter().map(|released| released.shard));
        self.needs.extend_from_slice(&append.needs);
        self.processor.appended(Appended { now: self.now });
    }

    fn answer(&mut self, read: StoreRead) {
        match read {
            StoreRead::Inbox(read) => {
                let page = if read.starts {
                    // A read from the beginning returns all messages.
                    if read.cursor == InboxCursor::default() {
                        self.unread = self.inbox.keys().copied().collect();
                    }
                    self.page_of(read.limit as usize, read.bytes)
                } else {
                    self.page_without_starts(&read.cursor)
                };
                self.processor.messages(page);
            }
            StoreRead::List(unparked) => {
                let found = self.unparked(&unparked);
                self.processor.listed(unparked, &found);
            }
            StoreRead::Load(load) => {
                self.loads += 1;
                let loaded = self.load(&load);
                self.processor.loaded(load, loaded);
            }
            StoreRead::Due(due) => {
                let found = DueRuns { runs: self.due(due.after, due.until), now: self.now };
                self.processor.due_runs(&due, &found);
            }
        }
    }

    fn page(&mut self) -> InboxPage {
        self.page_of(usize::MAX, usize::MAX)
    }

    fn page_of(&mut self, limit: usize, bytes_max: usize) -> InboxPage {
        let (mut messages, mut bytes) = (Vec::new(), 0);
        while messages.len() < limit
            && let Some(number) = self.unread.pop_front()
        {
            let Some(message) = self.inbox.get(&number) else { continue };
            bytes += message.body.len();
            if bytes > bytes_max && !messages.is_empty() {
                self.unread.push_front(number);
                break;
            }
            messages.push(self.resolved(message));
        }
        let (cursor, more) = (InboxCursor(Bytes::from_static(b"read")), !self.unread.is_empty());
        InboxPage { messages, cursor, more, now: self.now }
    }

    /// A message with the run that goes on in its run's chain.
    fn resolved(&self, message: &InboxMessage) -> InboxMessage {
        let mut current = message.run;
        while let Some(successor) = self.successors.get(&current) {
            current = *successor;
        }
        InboxMessage { current, ..message.clone() }
    }

    /// Messages that are not starts, after those of the cursor's number.
    fn page_without_starts(&self, cursor: &InboxCursor) -> InboxPage {
        let read = <[u8; 8]>::try_from(&*cursor.0).map_or(0, u64::from_le_bytes);
        let news = self.inbox.values().filter(|message| message.number.get() > read || cursor.0.is_empty());
        let is_start = |message: &&InboxMessage| {
            matches!(wire::decode_message(&message.body), Ok(Message::Start { .. }))
        };
        let news = news.filter(|message| !is_start(message));
        let messages: Vec<_> = news.map(|message| self.resolved(message)).collect();
        let last = self.inbox.keys().last().map_or(read, |number| number.get());
        let cursor = InboxCursor(Bytes::copy_from_slice(&last.to_le_bytes()));
        InboxPage { messages, cursor, more: false, now: self.now }
    }

    /// What an open run does, as a store tells it.
    fn open_state(&self, run: RunId) -> OpenState {
        match self.rows[&run].state {
            OpenState::Pending if self.log.contains_key(&run) => OpenState::Busy,
            state => state,
        }
    }

    fn unparked(&self, unparked: &Unparked) -> UnparkedRuns {
        let is_unparked = |(run, _): &(&RunId, &OpenRow)| {
            matches!(self.open_state(**run), OpenState::Busy | OpenState::Stalled)
        };
        let later = || self.rows.iter().filter(|(run, _)| Some(**run) > unparked.after);
        let page = later().take(unparked.limit as usize);
        let last = page.clone().last().map(|(run, _)| *run);
        let cut = last.filter(|_| later().nth(unparked.limit as usize).is_some());
        UnparkedRuns { runs: page.filter(is_unparked).map(|(run, _)| *run).collect(), cut }
    }

    fn load(&self, load: &Load) -> Loaded {
        let mut bytes = 0;
        let mut histories = Vec::new();
        let mut after = load.after;
        for run in &load.runs {
            if !self.log.contains_key(run) && !self.rows.contains_key(run) {
                continue;
            }
            let all = self.log.get(run).cloned().unwrap_or_default().into_iter();
            let mut frames = Vec::new();
            for frame in all.filter(|frame| Some(frame.seq) > after) {
                let is_first = histories.is_empty() && frames.is_empty();
                bytes += frame.body.len();
                if bytes > load.bytes.min(self.load_bytes_max) && !is_first {
                    if !frames.is_empty() {
                        histories.push(RunHistory { run: *run, frames });
                    }
                    return Loaded { histories, cut: Some(*run) };
                }
                frames.push(frame);
            }
            after = None;
            histories.push(RunHistory { run: *run, frames });
        }
        Loaded { histories, cut: None }
    }

    fn due(&self, after: Option<DueMark>, until: Timestamp) -> Vec<DueMark> {
        let marks = self.rows.iter().filter_map(|(run, row)| {
            let mark = DueMark { wake_at: row.wake_at?, run: *run };
            (Some(mark) > after && mark.wake_at <= until).then_some(mark)
        });
        let mut marks: Vec<_> = marks.collect();
        marks.sort_unstable();
        marks
    }

    /// Withdraws a task, unless somebody has it locked. Then it has to be withdrawn again.
    fn withdraw(&mut self, task: TaskId, tells: Option<Bytes>) {
        if self.locked.contains(&task) {
            return self.locked_withdrawals.push(Withdrawal { task, tells });
        }
        if let Some(new) = self.tasks.remove(&task)
            && let Some(body) = tells
        {
            let message = wire::decode_message(&body).expect("the message can be read");
            self.submit_again(task.run, &message, new.message);
        }
    }

    /// The transactions that have tasks locked are over, and what was asked of these tasks is done now.
    fn unlock(&mut self) {
        self.locked.clear();
        for Withdrawal { task, tells } in std::mem::take(&mut self.locked_withdrawals) {
            self.withdraw(task, tells);
        }
        self.run();
    }

    /// Sends a heartbeat with this horizon for deadlines.
    fn heartbeat(&mut self, horizon: Duration) {
        self.processor.setup.config.horizon = horizon;
        let asked = self.processor.heartbeat(self.now, SECOND);
        let due = !self.due(asked.due_after, asked.due_until).is_empty();
        let answer = LeaseAnswer {
            lease: asked.lease,
            held: true,
            shards: 1,
            standing: Standing::default(),
            mail: false,
            due,
        };
        self.processor.heartbeat_answered(&asked, &answer);
        self.run();
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.saturating_add(time);
        self.run();
    }

    fn end(&mut self, run: RunId, id: u32, result: Result<u32, Failure>) {
        let attempt = self.attempts.remove(&(run, call(id))).expect("the attempt is in flight");
        let result = result.map(|value| payload(&value));
        self.processor.attempt_ended(run, call(id), attempt.attempt, result, self.now);
        self.run();
    }

    fn in_flight(&self) -> Vec<(RunId, CommandId)> {
        self.attempts.keys().copied().collect()
    }

    fn history(&self, run: RunId) -> String {
        let frames = self.log.get(&run).cloned().unwrap_or_default();
        let events: Result<Vec<PastEvent>, _> = decode(&RunHistory { run, frames }).collect();
        history(&events.expect("written events can be decoded"))
    }
}
