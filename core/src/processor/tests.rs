//! The processor without a driver: messages, outcomes and time go in; a table in memory plays the store.

mod backlog;
mod blame;
mod local;
mod strangers;
mod suspects;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use expect_test::expect;

use crate::data::failure::Failure;
use crate::data::id::{CommandId, InboxNo, LeaseId, MessageId, Position, RunId, ShardId};
use crate::data::limits;
use crate::data::name::{EventName, Name};
use crate::data::options::ActivityOptions;
use crate::data::retry::RetryPolicy;
use crate::data::time::Timestamp;
use crate::log::message::{Flag, Message};
use crate::log::past_event::{PastEvent, decode};
use crate::log::wire;
use crate::processor::Processor;
use crate::processor::appends::Declined;
use crate::processor::effect::{Attempt, Effect};
use crate::processor::reads::Read;
use crate::processor::setup::ProcessorConfig;
use crate::run::turn::Turn;
use crate::store::append::{Append, Appended, OpenRow, OpenState};
use crate::store::history::{DueMark, DueRuns, EventRecord, Load, Loaded, RunHistory, Unparked};
use crate::store::inbox::{InboxCursor, InboxMessage, InboxPage};
use crate::store::lease::{Claimed, ClaimedShard, LeaseTicked, Suspect, SuspectStage};
use crate::testing::{BORN, broken, call, deploy_broken_build, go_on, history, payload, run_id};
use crate::workflow::Workflow;
use crate::workflow::activity::{Activity, ActivityContext};
use crate::workflow::context::Context;
use crate::workflow::error::{ActivityResult, WorkflowResult};
use crate::workflow::mark::PollMark;
use crate::workflow::registry::{Definitions, Registry};
use crate::workflow::signal::Signal;

const SECOND: Duration = Duration::from_secs(1);
const GO: Signal<u32> = Signal::new("go");

macro_rules! activity {
    ($name:ident, $stored:literal, $options:expr) => {
        struct $name;

        #[async_trait]
        impl Activity for $name {
            const NAME: &'static str = $stored;
            type Input = u32;
            type Output = u32;

            fn options() -> ActivityOptions {
                $options
            }

            async fn execute(&self, _ctx: ActivityContext, input: u32) -> ActivityResult<u32> {
                Ok(input)
            }
        }
    };
}

activity!(Work, "work", ActivityOptions::default());
activity!(Once, "once", ActivityOptions::default().at_most_once());
activity!(Unknown, "unknown", ActivityOptions::default().retry(RetryPolicy::exponential()));
activity!(Retried, "retried", ActivityOptions::default().retry(RetryPolicy::exponential()));

macro_rules! workflow {
    ($name:ident, $stored:literal, |$ctx:ident, $input:ident| $body:expr) => {
        struct $name;

        impl Workflow for $name {
            const NAME: &'static str = $stored;
            type Input = u32;
            type Output = u32;

            async fn run($ctx: Context, $input: u32) -> WorkflowResult<u32> {
                $body
            }
        }
    };
}

workflow!(Works, "works", |ctx, input| ctx.activity::<Work>(input).await);
workflow!(WorksOnce, "works-once", |ctx, input| ctx.activity::<Once>(input).await);
workflow!(Retries, "retries", |ctx, input| ctx.activity::<Retried>(input).await);
workflow!(RetriesInTime, "retries-in-time", |ctx, input| {
    ctx.activity::<Retried>(input).schedule_to_close(5 * SECOND).await
});
workflow!(AsksTheUnknown, "asks-the-unknown", |ctx, input| ctx.activity::<Unknown>(input).await);
workflow!(Steps, "steps", |ctx, input| ctx.step("step", move || async move { Ok(input) }).await);
workflow!(Waits, "waits", |ctx, _input| {
    let mut sum = 0;
    loop {
        let number = ctx.wait_for(GO).await?;
        go_on();
        sum += number;
        if number == 0 {
            return Ok(sum);
        }
    }
});
// Registered nowhere.
workflow!(Elsewhere, "elsewhere", |ctx, _input| ctx.wait_for(GO).await);
workflow!(Sleeps, "sleeps", |ctx, secs| {
    ctx.sleep(Duration::from_secs(u64::from(secs))).await?;
    Ok(secs)
});
workflow!(FansOut, "fans-out", |ctx, count| {
    let all = ctx.when_all((0..count).map(|number| ctx.activity::<Work>(number))).await?;
    Ok(all.iter().sum())
});
workflow!(RetriesMany, "retries-many", |ctx, count| {
    let all = ctx.when_all((0..count).map(|number| ctx.activity::<Retried>(number))).await?;
    Ok(all.iter().sum())
});

/// A processor with the store that a test plays for it.
struct Desk {
    processor: Processor,
    now: Timestamp,
    shard: ShardId,
    log: BTreeMap<RunId, Vec<EventRecord>>,
    rows: BTreeMap<RunId, OpenRow>,
    closed: BTreeSet<RunId>,
    next_position: Position,
    inbox: BTreeMap<InboxNo, InboxMessage>,
    /// What the next read of the inbox shows.
    unread: VecDeque<InboxNo>,
    undelivered: Vec<InboxNo>,
    messages: u64,
    /// Attempts that the executor has.
    attempts: BTreeMap<(RunId, CommandId), Attempt>,
    /// How many attempts it was given in all.
    attempts_begun: usize,
    steps: BTreeMap<(RunId, CommandId), Name>,
    /// What an event must not be, if the store is to take it.
    refuses: fn(&crate::store::append::NewEvent) -> bool,
    appends: usize,
    /// How many bytes of histories it gives out at once.
    load_bytes_max: usize,
    suspects: BTreeMap<RunId, Suspect>,
    /// Whether the next owner finds that the one before died, if any did.
    died: bool,
    /// Which appends it cannot meet.
    fails: fn(&Append) -> bool,
    /// Whether the next owner knows no workflow.
    knows_nothing: bool,
    config: ProcessorConfig,
}

fn registry() -> Registry {
    let mut definitions = Definitions::default();
    let registered = definitions
        .workflow::<Works>()
        .and_then(|()| definitions.workflow::<WorksOnce>())
        .and_then(|()| definitions.workflow::<Retries>())
        .and_then(|()| definitions.workflow::<RetriesInTime>())
        .and_then(|()| definitions.workflow::<AsksTheUnknown>())
        .and_then(|()| definitions.workflow::<Steps>())
        .and_then(|()| definitions.workflow::<Waits>())
        .and_then(|()| definitions.workflow::<Sleeps>())
        .and_then(|()| definitions.workflow::<FansOut>())
        .and_then(|()| definitions.workflow::<RetriesMany>())
        .and_then(|()| definitions.activity(Work))
        .and_then(|()| definitions.activity(Once))
        .and_then(|()| definitions.activity(Retried));
    registered.expect("the names differ");
    Registry::new(Arc::new(definitions), Arc::new(PollMark::default()))
}

fn claimed(lease: u64, shard: ShardId, next_position: Position, deaths: u32) -> Claimed {
    let shards = vec![ClaimedShard { shard, next_position, deaths, former: None }];
    Claimed { lease: LeaseId::new(lease), shards, suspects: Vec::new(), now: BORN }
}

impl Desk {
    fn new() -> Self {
        deploy_broken_build(false);
        let config = ProcessorConfig {
            worker: "desk".to_owned(),
            history_events_warn: 8,
            history_events_max: 100_000,
            runs_max: 1_000,
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
            unread: VecDeque::new(),
            undelivered: Vec::new(),
            messages: 0,
            attempts: BTreeMap::new(),
            attempts_begun: 0,
            steps: BTreeMap::new(),
            refuses: |_| false,
            appends: 0,
            load_bytes_max: usize::MAX,
            suspects: BTreeMap::new(),
            died: true,
            fails: |_| false,
            knows_nothing: false,
            config,
        }
    }

    /// Another processor takes over, with the same store.
    fn take_over(&mut self, deaths: u32) {
        self.change_owner(deaths);
        self.run();
    }

    /// The same, before the new one does anything.
    fn take_over_without_work(&mut self, deaths: u32) {
        self.change_owner(deaths);
    }

    fn change_owner(&mut self, deaths: u32) {
        let lease = self.processor.lease().next().get();
        let mut claimed = claimed(lease, self.shard, self.next_position, deaths);
        if deaths > 0 && self.died {
            claimed.shards[0].former = Some("the late".to_owned());
        } else {
            // A release is no death.
            let released = |suspect: &mut Suspect| {
                if suspect.stage == SuspectStage::Tried {
                    suspect.stage = SuspectStage::Held;
                }
            };
            self.suspects.values_mut().for_each(released);
        }
        claimed.suspects = self.suspects.values().copied().collect();
        let registry = if self.knows_nothing {
            Registry::new(Arc::new(Definitions::default()), Arc::new(PollMark::default()))
        } else {
            registry()
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
        let number = InboxNo::new(self.messages);
        self.messages += 1;
        let body = wire::encode_message(message);
        self.inbox.insert(number, InboxMessage { number, run, message: id, body });
        self.unread.push_back(number);
        self.processor.has_mail();
        number
    }

    fn start<W: Workflow<Input = u32>>(&mut self, number: u64, input: u32) -> RunId {
        let id = run_id(number);
        let (workflow, input) = (Name::from_static(W::NAME), payload(&input));
        self.submit(
            id,
            &Message::Start { workflow, input, key: None, start_at: None, repeated: Flag(false) },
        );
        self.rows.insert(id, OpenRow { state: OpenState::Pending, ..OpenRow::default() });
        id
    }

    fn signal(&mut self, run: RunId, content: u32) -> InboxNo {
        let signal = Name::from_static(GO.name());
        self.submit(run, &Message::Signal { signal, payload: payload(&content), key: None })
    }

    /// Answers everything until there is nothing to do.
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

    /// Does all the work that there is.
    fn work(&mut self) {
        while self.processor.work(&Turn::endless(self.now)) {}
    }

    fn take_effects(&mut self) {
        for effect in self.processor.take_effects() {
            match effect {
                Effect::Execute(attempt) => {
                    let key = (attempt.run, attempt.id);
                    self.attempts_begun += 1;
                    assert!(self.attempts.insert(key, attempt).is_none(), "an attempt is executed twice");
                }
                Effect::ExecuteStep { run, step, .. } => {
                    let key = (run, step.id);
                    assert!(self.steps.insert(key, step.name).is_none(), "a step is executed twice");
                }
                Effect::Abort { run, id } => {
                    self.attempts.remove(&(run, id));
                    self.steps.remove(&(run, id));
                }
                Effect::Accept { accepted } => drop(accepted.send(())),
                Effect::Tell { closed, on_closed } => drop(on_closed.send(*closed)),
            }
        }
    }

    /// Applies an append as the protocol says.
    fn append(&mut self, append: &Append) {
        self.appends += 1;
        assert_eq!(append.digest, append.content_digest());
        if append.events.iter().any(self.refuses) {
            return self.processor.declined(Declined::Refused, "it is too large");
        }
        for event in &append.events {
            let events = self.log.entry(event.run).or_default();
            assert_eq!(event.seq.get() as usize, events.len() + 1, "events are contiguous");
            assert_eq!(event.position, self.next_position, "positions are gapless");
            self.next_position = self.next_position.next();
            let (seq, position, at) = (event.seq, event.position, event.at);
            events.push(EventRecord {
                seq,
                position,
                name: event.name.clone(),
                at,
                body: event.body.clone(),
            });
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
            // One that begins and ends within an append never has a row.
            self.rows.remove(&closed.run);
            assert!(self.closed.insert(closed.run), "a run is closed once");
        }
        self.suspects.extend(append.suspects.iter().map(|suspect| (suspect.run, *suspect)));
        append.cleared.iter().for_each(|run| _ = self.suspects.remove(run));
        for message in append.consumed.iter().chain(&append.undelivered) {
            self.inbox.remove(&message.number).expect("a message is consumed once");
        }
        self.undelivered.extend(append.undelivered.iter().map(|message| message.number));
        self.processor.appended(Appended { now: self.now });
    }

    fn answer(&mut self, read: Read) {
        match read {
            Read::Inbox(read) => {
                // A read from the beginning shows all that is there.
                if read.cursor == InboxCursor::default() {
                    self.unread = self.inbox.keys().copied().collect();
                }
                let page = self.page();
                self.processor.messages(&read, page);
            }
            Read::List(unparked) => {
                let found = self.unparked(&unparked);
                self.processor.listed(unparked, &found);
            }
            Read::Load(load) => {
                let loaded = self.load(&load);
                self.processor.loaded(load, loaded);
            }
            Read::Due(due) => {
                let found = DueRuns { runs: self.due(due.after, due.until), now: self.now };
                self.processor.due_runs(&due, &found);
            }
        }
    }

    fn page(&mut self) -> InboxPage {
        let unread = std::mem::take(&mut self.unread);
        let messages = unread.iter().filter_map(|number| self.inbox.get(number)).cloned().collect();
        InboxPage { messages, cursor: InboxCursor(Bytes::from_static(b"read")), more: false, now: self.now }
    }

    fn unparked(&self, unparked: &Unparked) -> Vec<RunId> {
        let is_unparked = |row: &OpenRow| matches!(row.state, OpenState::Busy | OpenState::Stalled);
        let runs = self.rows.iter().filter(|(run, row)| is_unparked(row) && Some(**run) > unparked.after);
        runs.take(unparked.limit as usize).map(|(run, _)| *run).collect()
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
            let mut events = Vec::new();
            for event in all.filter(|event| Some(event.seq) > after) {
                let is_first = histories.is_empty() && events.is_empty();
                bytes += event.body.len();
                if bytes > load.bytes.min(self.load_bytes_max) && !is_first {
                    if !events.is_empty() {
                        histories.push(RunHistory { run: *run, events });
                    }
                    return Loaded { histories, cut: Some(*run) };
                }
                events.push(event);
            }
            after = None;
            histories.push(RunHistory { run: *run, events });
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

    /// A heartbeat that sees deadlines up to then.
    fn tick(&mut self, horizon: Duration) {
        self.processor.setup.config.horizon = horizon;
        let asked = self.processor.tick(self.now, SECOND);
        let due = !self.due(asked.due_after, asked.due_until).is_empty();
        let answer = LeaseTicked { lease: asked.lease, held: true, shards: 1, mail: false, due };
        self.processor.ticked(&asked, &answer);
        self.run();
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.saturating_add(time);
        self.run();
    }

    fn end(&mut self, run: RunId, id: u32, result: Result<u32, Failure>) {
        let attempt = self.attempts.remove(&(run, call(id))).expect("the attempt is under way");
        let result = result.map(|value| payload(&value));
        self.processor.attempt_ended(run, call(id), attempt.attempt, result, self.now);
        self.run();
    }

    fn in_flight(&self) -> Vec<(RunId, CommandId)> {
        self.attempts.keys().copied().collect()
    }

    fn history(&self, run: RunId) -> String {
        let events = self.log.get(&run).cloned().unwrap_or_default();
        let events: Result<Vec<PastEvent>, _> = decode(&RunHistory { run, events }).collect();
        history(&events.expect("what was written can be read"))
    }
}

#[test]
fn run_is_in_memory_only_while_something_is_in_flight() {
    let mut desk = Desk::new();
    let run = desk.start::<Works>(1, 5);
    desk.run();
    assert_eq!(desk.processor.live_runs(), 1);
    assert_eq!(desk.rows[&run].state, OpenState::Busy);
    desk.end(run, 1, Ok(6));
    assert_eq!(desk.processor.live_runs(), 0);
    assert!(desk.rows.is_empty() && desk.inbox.is_empty());
    let waits = desk.start::<Waits>(2, 0);
    desk.run();
    assert_eq!((desk.processor.live_runs(), desk.rows[&waits].state), (0, OpenState::Parked));
    assert!(desk.rows[&waits].waiting_on.as_ref().is_some_and(|on| on.starts_with("signal `go` at")));
    desk.signal(waits, 7);
    desk.signal(waits, 0);
    desk.run();
    expect![[r#"
        1 run.started works 5
        2 activity.scheduled #1 work 5
        3 activity.completed #1 = 6
        4 run.completed = 6
        1 run.started waits 0
        2 signal.received go 7
        3 signal.received go 0
        4 run.completed = 7
    "#]]
    .assert_eq(&(desk.history(run) + &desk.history(waits)));
}

#[test]
fn nothing_is_executed_before_its_cause_is_committed() {
    let mut desk = Desk::new();
    desk.start::<WorksOnce>(1, 5);
    let read = desk.processor.next_read();
    desk.answer(read.expect("recovery comes first"));
    let read = desk.processor.next_read();
    desk.answer(read.expect("then the inbox"));
    desk.work();
    let append = desk.processor.cut().expect("a start is appended");
    assert!(desk.processor.cut().is_none(), "one append is in flight");
    assert!(desk.processor.take_effects().is_empty());
    assert_eq!(
        append.events.last().map(|event| event.name.clone()),
        Some(EventName::from_static("activity.attempt-started"))
    );
    desk.append(&append);
    desk.run();
    assert_eq!(desk.attempts.len(), 1);
}

#[test]
fn redelivered_message_is_consumed_and_changes_nothing() {
    let mut desk = Desk::new();
    let run = desk.start::<Waits>(1, 0);
    desk.run();
    let message = Message::Signal { signal: Name::from_static("go"), payload: payload(&3), key: None };
    desk.submit_again(run, &message, MessageId::from_u128(99));
    desk.run();
    desk.submit_again(run, &message, MessageId::from_u128(99));
    desk.run();
    let cancel = Message::Cancel { reason: None };
    desk.submit(run, &cancel);
    desk.submit(run, &cancel);
    desk.run();
    assert!(desk.inbox.is_empty());
    expect![[r#"
        1 run.started waits 0
        2 signal.received go 3
        3 cancel.requested
        4 run.cancelled
    "#]]
    .assert_eq(&desk.history(run));
}

#[test]
fn message_for_a_run_that_is_over_goes_to_undelivered() {
    let mut desk = Desk::new();
    let run = desk.start::<Waits>(1, 0);
    desk.signal(run, 0);
    let same_page = desk.signal(run, 1);
    desk.run();
    let later = desk.signal(run, 2);
    desk.run();
    assert_eq!(desk.undelivered, [same_page, later]);
    assert!(desk.inbox.is_empty());
}

#[test]
fn messages_for_a_run_that_is_being_loaded_keep_their_order() {
    let mut desk = Desk::new();
    let run = desk.start::<Waits>(1, 0);
    desk.run();
    desk.signal(run, 1);
    let read = desk.processor.next_read().expect("there is mail");
    desk.answer(read);
    desk.work();
    // The history is asked for, and another message comes before the answer.
    let load = desk.processor.next_read().expect("the run is to be loaded");
    desk.signal(run, 2);
    let page = desk.page();
    let shards = vec![desk.shard];
    let inbox =
        crate::store::inbox::InboxRead { shards, cursor: InboxCursor::default(), limit: 10, bytes: 1 << 20 };
    desk.processor.messages(&inbox, page);
    desk.work();
    desk.answer(load);
    desk.run();
    expect![[r#"
        1 run.started waits 0
        2 signal.received go 1
        3 signal.received go 2
    "#]]
    .assert_eq(&desk.history(run));
}

#[test]
fn message_that_a_slow_read_shows_again_is_not_taken_twice() {
    let mut desk = Desk::new();
    let run = desk.start::<Works>(1, 5);
    let read = desk.processor.next_read().expect("recovery comes first");
    desk.answer(read);
    let read = desk.processor.next_read().expect("there is mail");
    let page = desk.page();
    let Read::Inbox(read) = read else { panic!("{read:?} is no read of the inbox") };
    desk.processor.messages(&read, page.clone());
    desk.work();
    // A shard is claimed, so the inbox is read from its beginning; the answer was made before the append.
    let append = desk.processor.cut().expect("the start is appended");
    desk.processor.has_mail();
    let mut reads = std::iter::from_fn(|| desk.processor.next_read());
    let slow = reads.find_map(|read| if let Read::Inbox(slow) = read { Some(slow) } else { None });
    let slow = slow.expect("there is mail again");
    desk.append(&append);
    desk.processor.messages(&slow, page);
    desk.run();
    desk.end(run, 1, Ok(1));
    assert!(desk.rows.is_empty());
}

#[test]
fn answer_about_fewer_shards_moves_no_mark() {
    let mut desk = Desk::new();
    desk.tick(SECOND);
    desk.processor.has_mail();
    let read = desk.processor.next_read().expect("there is mail");
    let Read::Inbox(read) = read else { panic!("{read:?} is no read of the inbox") };
    let asked = desk.processor.tick(desk.now.saturating_add(9 * SECOND), SECOND);
    let other = ShardId::new(9).expect("9 is a shard");
    desk.processor.claimed(&claimed(1, other, Position::FIRST, 0));
    // Both answers speak for the shard that was there before.
    let page = desk.page();
    desk.processor.messages(&read, page);
    let ticked = LeaseTicked { lease: asked.lease, held: true, shards: 2, mail: false, due: false };
    desk.processor.ticked(&asked, &ticked);
    let next = desk.processor.tick(desk.now, SECOND);
    assert_eq!((next.cursor, next.due_after), (InboxCursor::default(), None));
    let reads: Vec<Read> = std::iter::from_fn(|| desk.processor.next_read()).collect();
    assert!(reads.iter().any(|read| matches!(read, Read::Inbox(_))), "{reads:?}");
    assert!(reads.iter().any(|read| matches!(read, Read::Due(due) if due.after.is_none())), "{reads:?}");
}

#[test]
fn activity_that_nobody_knows_stays_scheduled_also_after_a_retry() {
    let mut desk = Desk::new();
    let run = desk.start::<AsksTheUnknown>(1, 0);
    desk.run();
    assert!(desk.attempts.is_empty());
    assert_eq!(desk.rows[&run].state, OpenState::Busy);
    let waiting_on = desk.rows[&run].waiting_on.clone().unwrap_or_default();
    assert_eq!(waiting_on, "activity `unknown`, which no worker of its shard has registered");
    // A worker that knew it tried once; its retry is due at one that does not.
    let live = desk.processor.runs.get_mut(run).expect("it is busy");
    let progress = live.run().attempt_ended(desk.now, call(1), 1, Err(broken()));
    desk.processor.recorder().record(run, progress, &[], desk.now);
    desk.pass(10 * SECOND);
    assert!(desk.attempts.is_empty());
    assert_eq!(desk.processor.next_deadline(), None, "its retry does not spin");
}

#[test]
fn run_whose_attempt_failed_says_when_the_next_one_begins_and_after_what() {
    let mut desk = Desk::new();
    let run = desk.start::<Retries>(1, 0);
    desk.run();
    assert_eq!(desk.rows[&run].waiting_on, None, "a first attempt is under way");
    desk.end(run, 1, Err(broken()));
    let on = |desk: &Desk| desk.rows[&run].waiting_on.clone().unwrap_or_default();
    assert_eq!(desk.rows[&run].state, OpenState::Parked);
    assert!(
        on(&desk).starts_with("activity `retried` (attempt 2 begins at 2023-11-14T22:13:2"),
        "{}",
        on(&desk)
    );
    assert!(on(&desk).contains(", after this: it broke"), "{}", on(&desk));
    desk.tick(2 * SECOND);
    desk.pass(2 * SECOND);
    assert!(
        on(&desk).starts_with("activity `retried` (attempt 2 is under way, after this: it broke"),
        "{}",
        on(&desk)
    );
}

#[test]
fn parked_runs_are_found_by_their_deadlines() {
    let mut desk = Desk::new();
    let near = desk.start::<Sleeps>(1, 2);
    let far = desk.start::<Sleeps>(2, 60);
    desk.run();
    assert_eq!(desk.processor.live_runs(), 0, "before the first heartbeat nothing is near");
    desk.tick(4 * SECOND);
    assert_eq!(desk.processor.live_runs(), 1, "the near one is loaded");
    // What parks before the horizon of a query that was sent stays in memory.
    let nearer = desk.start::<Sleeps>(3, 3);
    desk.run();
    assert_eq!(desk.processor.live_runs(), 2);
    desk.pass(3 * SECOND);
    assert_eq!(desk.rows.keys().copied().collect::<Vec<_>>(), [far]);
    desk.pass(56 * SECOND);
    desk.tick(4 * SECOND);
    desk.pass(SECOND);
    expect![[r#"
        1 run.started sleeps 2
        2 timer.started #1 +2s
        3 timer.fired #1
        4 run.completed = 2
        1 run.started sleeps 60
        2 timer.started #1 +60s
        3 timer.fired #1
        4 run.completed = 60
        1 run.started sleeps 3
        2 timer.started #1 +3s
        3 timer.fired #1
        4 run.completed = 3
    "#]]
    .assert_eq(&(desk.history(near) + &desk.history(far) + &desk.history(nearer)));
}

#[test]
fn retry_whose_activity_is_out_of_time_does_not_begin() {
    let mut desk = Desk::new();
    let run = desk.start::<RetriesInTime>(1, 0);
    desk.run();
    desk.end(run, 1, Err(broken()));
    // Nobody serves the shard until both deadlines have passed.
    desk.now = desk.now.saturating_add(10 * SECOND);
    desk.take_over(1);
    desk.tick(SECOND);
    assert_eq!(desk.attempts_begun, 1, "the one before its worker was gone");
    assert!(desk.history(run).contains("run.failed"), "{}", desk.history(run));
}

#[test]
fn near_deadline_fires_in_time_before_the_first_heartbeat() {
    let mut desk = Desk::new();
    desk.config.horizon = 4 * SECOND;
    desk.take_over(0);
    let near = desk.start::<Sleeps>(1, 2);
    let far = desk.start::<Sleeps>(2, 60);
    desk.run();
    assert_eq!(desk.processor.live_runs(), 1, "the far one has left memory");
    desk.pass(2 * SECOND);
    assert_eq!(desk.rows.keys().copied().collect::<Vec<_>>(), [far]);
    assert!(desk.history(near).contains("run.completed"));
}

#[test]
fn retry_waits_as_a_deadline_and_begins_again_after_a_takeover() {
    let mut desk = Desk::new();
    let run = desk.start::<Retries>(1, 0);
    desk.run();
    desk.end(run, 1, Err(broken()));
    assert_eq!((desk.processor.live_runs(), desk.rows[&run].state), (0, OpenState::Parked));
    desk.take_over(1);
    desk.tick(SECOND);
    desk.pass(SECOND);
    assert_eq!(desk.attempts[&(run, call(1))].attempt, 2);
    // The retry was handed out, and the process dies: it is due still.
    desk.take_over(1);
    assert!(desk.attempts.is_empty());
    desk.tick(SECOND);
    assert_eq!(desk.attempts[&(run, call(1))].attempt, 2);
    desk.end(run, 1, Ok(1));
    expect![[r#"
        1 run.started retries 0
        2 activity.scheduled #1 retried 0
        3 activity.attempt-failed #1 attempt 1: it broke (broken), again +954.936ms
        4 run.adopted lease 3
        5 activity.completed #1 = 1
        6 run.completed = 1
    "#]]
    .assert_eq(&desk.history(run));
}

#[test]
fn step_is_executed_again_after_a_takeover_and_its_outcome_only_once() {
    let mut desk = Desk::new();
    let run = desk.start::<Steps>(1, 5);
    desk.run();
    assert_eq!(desk.rows[&run].state, OpenState::Busy);
    desk.take_over(1);
    assert_eq!(desk.steps.len(), 1);
    for _ in 0..2 {
        desk.processor.step_ended(run, call(1), Name::from_static("step"), Ok(payload(&5)), desk.now);
        desk.run();
    }
    expect![[r#"
        1 run.started steps 5
        2 run.adopted lease 2
        3 step.completed #1 step = 5
        4 run.completed = 5
    "#]]
    .assert_eq(&desk.history(run));
}

#[test]
fn refused_append_is_bisected_and_only_the_run_at_fault_stalls() {
    let mut desk = Desk::new();
    desk.refuses = |event| event.name.as_str() == "activity.completed" && event.run == run_id(3);
    let runs: Vec<RunId> = (1..=5).map(|number| desk.start::<Works>(number, 5)).collect();
    desk.run();
    for run in &runs {
        let attempt = desk.attempts.remove(&(*run, call(1))).expect("it is under way");
        desk.processor.attempt_ended(*run, call(1), attempt.attempt, Ok(payload(&9)), desk.now);
    }
    desk.run();
    assert_eq!(desk.rows.keys().copied().collect::<Vec<_>>(), [runs[2]]);
    assert_eq!(desk.rows[&runs[2]].state, OpenState::Stalled);
    assert_eq!((desk.processor.live_runs(), desk.attempts.len()), (0, 0));
    // Nothing more is written for it here, and nothing is lost: the next owner goes on.
    desk.signal(runs[2], 1);
    desk.run();
    assert_eq!(desk.inbox.len(), 1);
    desk.refuses = |_| false;
    desk.take_over(0);
    desk.end(runs[2], 1, Ok(9));
    expect![[r#"
        1 run.started works 5
        2 activity.scheduled #1 work 5
        3 activity.completed #1 = 9
        4 run.completed = 9
        1 run.started works 5
        2 activity.scheduled #1 work 5
        3 run.stalled the store refuses what the run writes: it is too large
        4 run.adopted lease 2
        5 run.resumed 0 released
        6 signal.received go 1
        7 activity.completed #1 = 9
        8 run.completed = 9
    "#]]
    .assert_eq(&(desk.history(runs[1]) + &desk.history(runs[2])));
}

#[test]
fn run_at_fault_has_its_other_activities_aborted_and_not_begun_again() {
    let mut desk = Desk::new();
    desk.refuses = |event| event.name.as_str() == "activity.completed";
    let run = desk.start::<FansOut>(1, 3);
    desk.run();
    desk.end(run, 2, Ok(1));
    assert_eq!(desk.in_flight(), []);
    assert_eq!(desk.rows[&run].state, OpenState::Stalled);
}

#[test]
fn stalled_run_leaves_memory_and_goes_on_with_code_that_matches() {
    let mut desk = Desk::new();
    let run = desk.start::<Waits>(1, 0);
    desk.run();
    deploy_broken_build(true);
    desk.signal(run, 1);
    desk.run();
    assert_eq!((desk.processor.live_runs(), desk.rows[&run].state), (0, OpenState::Stalled));
    desk.signal(run, 2);
    desk.run();
    deploy_broken_build(false);
    desk.take_over(0);
    assert_eq!((desk.processor.live_runs(), desk.rows[&run].state), (0, OpenState::Parked));
    desk.signal(run, 0);
    desk.run();
    expect![[r#"
        1 run.started waits 0
        2 run.stalled the workflow panicked: this build is broken; deploy code that does not, and the run goes on
        3 signal.received go 1
        4 signal.received go 2
        5 run.adopted lease 2
        6 run.resumed 2 released
        7 signal.received go 0
        8 run.completed = 3
    "#]].assert_eq(&desk.history(run));
}

#[test]
fn long_history_stalls_the_run_until_the_limit_is_raised() {
    let mut desk = Desk::new();
    desk.config.history_events_max = 4;
    desk.take_over(0);
    let run = desk.start::<Waits>(1, 0);
    for number in 1..=3 {
        desk.signal(run, number);
    }
    desk.run();
    // Neither a message nor another owner makes it go on.
    desk.signal(run, 4);
    desk.run();
    desk.take_over(0);
    assert_eq!(desk.rows[&run].state, OpenState::Stalled);
    desk.config.history_events_max = 100;
    desk.take_over(0);
    desk.signal(run, 0);
    desk.run();
    expect![[r#"
        1 run.started waits 0
        2 signal.received go 1
        3 signal.received go 2
        4 signal.received go 3
        5 run.stalled the history has 4 events, and the limit is 4; raise the limit (`history_events` of the worker's builder), and the run goes on
        6 signal.received go 4
        7 run.adopted lease 4
        8 run.resumed 1 released
        9 signal.received go 0
        10 run.completed = 10
    "#]].assert_eq(&desk.history(run));
}

#[test]
fn activity_that_may_run_only_once_fails_when_its_worker_is_gone() {
    let mut desk = Desk::new();
    let run = desk.start::<WorksOnce>(1, 5);
    desk.run();
    desk.take_over(1);
    assert!(desk.attempts.is_empty());
    expect![[r#"
        1 run.started works-once 5
        2 activity.scheduled #1 once 5
        3 activity.attempt-started #1 attempt 1
        4 run.adopted lease 2
        5 activity.failed #1: the process died while it executed `once`, which may run only once (attempt-lost)
        6 run.failed activity `once` failed (call-failed): the process died while it executed `once`, which may run only once (attempt-lost)
    "#]].assert_eq(&desk.history(run));
}

#[test]
fn termination_aborts_what_is_under_way() {
    let mut desk = Desk::new();
    let run = desk.start::<FansOut>(1, 3);
    desk.run();
    assert_eq!(desk.attempts.len(), 3);
    desk.submit(run, &Message::Terminate { reason: "enough".to_owned() });
    desk.run();
    assert!(desk.attempts.is_empty() && desk.rows.is_empty());
    // An outcome that was on its way finds nobody.
    desk.processor.attempt_ended(run, call(1), 1, Ok(payload(&1)), desk.now);
    desk.run();
    assert!(desk.history(run).trim_end().ends_with("run.terminated enough, skipped []"));
}

#[test]
fn result_over_the_limit_fails_the_activity() {
    let mut desk = Desk::new();
    let run = desk.start::<Works>(1, 5);
    desk.run();
    let large = payload(&"x".repeat(limits::PAYLOAD_BYTES_MAX));
    desk.attempts.clear();
    desk.processor.attempt_ended(run, call(1), 1, Ok(large), desk.now);
    desk.run();
    expect![[r#"
        1 run.started works 5
        2 activity.scheduled #1 work 5
        3 activity.failed #1: the result of activity `work` has 2097157 bytes, and the limit is 2097152; pass a reference to the data instead, or raise `payload_bytes_max` (payload-too-large)
        4 run.failed activity `work` failed (call-failed): the result of activity `work` has 2097157 bytes, and the limit is 2097152; pass a reference to the data instead, or raise `payload_bytes_max` (payload-too-large)
    "#]].assert_eq(&desk.history(run));
}

#[test]
fn failure_over_the_limits_is_recorded_cut() {
    let mut desk = Desk::new();
    let run = desk.start::<Works>(1, 5);
    desk.run();
    let mut failure = Failure::new("broken", "x".repeat(limits::FAILURE_TEXT_CHARS_MAX + 1));
    failure.details = Some(payload(&"x".repeat(limits::PAYLOAD_BYTES_MAX)));
    desk.attempts.clear();
    desk.processor.attempt_ended(run, call(1), 1, Err(failure), desk.now);
    desk.run();
    let history = desk.history(run);
    assert!(history.contains("run.failed") && history.contains("… (cut)"), "{history:.300}");
    assert!(history.len() < 3 * limits::FAILURE_TEXT_CHARS_MAX, "{}", history.len());
}

#[test]
fn input_that_the_activity_cannot_read_stalls_its_run_until_code_that_can_takes_over() {
    let mut desk = Desk::new();
    let run = desk.start::<Works>(1, 5);
    desk.run();
    desk.attempts.clear();
    desk.processor.attempt_impossible(run, call(1), "it is not a number".to_owned(), desk.now);
    desk.run();
    assert_eq!(desk.rows[&run].state, OpenState::Stalled);
    desk.take_over(0);
    desk.end(run, 1, Ok(1));
    expect![[r#"
        1 run.started works 5
        2 activity.scheduled #1 work 5
        3 run.stalled it is not a number
        4 run.adopted lease 2
        5 run.resumed 0 released
        6 activity.completed #1 = 1
        7 run.completed = 1
    "#]]
    .assert_eq(&desk.history(run));
}

#[test]
fn fan_out_over_ten_thousand_branches_takes_time_in_proportion() {
    const COUNT: u32 = 10_000;
    let mut desk = Desk::new();
    let run = desk.start::<FansOut>(1, COUNT);
    desk.run();
    assert_eq!(desk.attempts.len(), COUNT as usize);
    for id in (1..=COUNT).rev() {
        desk.processor.attempt_ended(run, call(id), 1, Ok(payload(&1)), desk.now);
    }
    desk.run();
    assert!(desk.history(run).trim_end().ends_with(&format!("run.completed = {COUNT}")));
}

#[test]
fn retries_of_ten_thousand_branches_take_time_in_proportion() {
    const COUNT: u32 = 10_000;
    let mut desk = Desk::new();
    let run = desk.start::<RetriesMany>(1, COUNT);
    desk.run();
    for id in 1..=COUNT {
        desk.processor.attempt_ended(run, call(id), 1, Err(broken()), desk.now);
    }
    desk.attempts.clear();
    desk.tick(10 * SECOND);
    desk.pass(2 * SECOND);
    assert_eq!(desk.attempts.len(), COUNT as usize);
    for id in 1..=COUNT {
        desk.processor.attempt_ended(run, call(id), 2, Ok(payload(&1)), desk.now);
    }
    desk.run();
    assert!(desk.history(run).trim_end().ends_with(&format!("run.completed = {COUNT}")));
}
