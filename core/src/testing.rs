//! The fixtures that the tests of core share: a run without a processor or a store, and histories as text.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use expect_test::Expect;
use serde::Serialize;

use crate::data::attributes::Attributes;
use crate::data::chain::RunRetry;
use crate::data::failure::Failure;
use crate::data::id::{CommandId, EventSeq, LeaseId, MessageId, Position, RunId, ShardId};
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::data::trace_context::TraceContext;
use crate::log::event::Event;
use crate::log::past_event::PastEvent;
use crate::log::wire;
use crate::log::wire::frame::{EncodedEvents, FrameWriter};
use crate::log::words::Words;
use crate::run::replay::{Takeover, replay};
use crate::run::state::{DeadlineKind, RunState};
use crate::run::succession::Successor;
use crate::run::turn::Turn;
use crate::run::{Progress, Run};
use crate::store::frame::Frame;
use crate::workflow::Workflow;
use crate::workflow::mark::PollMark;
use crate::workflow::registry::{Definitions, Registry};

/// Defines a workflow.
macro_rules! workflow {
    ($vis:vis $name:ident, $stored:expr, |$ctx:tt, $input:tt: $in:ty| -> $out:ty $body:block) => {
        $vis struct $name;

        impl $crate::workflow::Workflow for $name {
            const NAME: &'static str = $stored;
            type Input = $in;
            type Output = $out;

            async fn run(
                $ctx: $crate::workflow::context::Context,
                $input: $in,
            ) -> $crate::workflow::error::WorkflowResult<$out> $body
        }
    };
}

/// Defines an activity, with options or without.
macro_rules! activity {
    ($vis:vis $name:ident, $stored:expr, |$input:tt: $in:ty| -> $out:ty $body:block) => {
        $crate::testing::activity!($vis $name, $stored, $crate::data::options::ActivityOptions::default(), |$input: $in| -> $out $body);
    };
    ($vis:vis $name:ident, $stored:expr, $options:expr, |$input:tt: $in:ty| -> $out:ty $body:block) => {
        $vis struct $name;

        #[async_trait::async_trait]
        impl $crate::workflow::activity::Activity for $name {
            const NAME: &'static str = $stored;
            type Input = $in;
            type Output = $out;

            fn options() -> $crate::data::options::ActivityOptions {
                $options
            }

            async fn execute(
                &self,
                _: $crate::workflow::activity::ActivityContext,
                $input: $in,
            ) -> $crate::workflow::error::ActivityResult<$out> $body
        }
    };
}

pub(crate) use {activity, workflow};

/// The start time of every test.
pub(crate) const BORN: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// The lease of every test, unless it is about leases.
pub(crate) const LEASE: LeaseId = LeaseId::new(1);

pub(crate) fn payload<T: Serialize>(value: &T) -> Payload {
    Payload::encode(value).expect("a test's values can be encoded")
}

pub(crate) fn trace() -> Box<TraceContext> {
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    Box::new(TraceContext::parse(traceparent).expect("it is valid"))
}

pub(crate) fn call(number: u32) -> CommandId {
    CommandId::new(number)
}

pub(crate) fn run_id(number: u64) -> RunId {
    RunId::new(BORN, ShardId::new(3).expect("3 is a shard"), number)
}

pub(crate) fn broken() -> Failure {
    Failure::new("broken", "it broke")
}

thread_local! {
    /// Whether this thread's workflows panic at their next call of [`panic_if_broken`].
    static BROKEN_BUILD: Cell<bool> = const { Cell::new(false) };
}

/// Deploys a build whose workflows panic, or one whose workflows do not. It also affects runs in memory.
pub(crate) fn deploy_broken_build(broken: bool) {
    BROKEN_BUILD.set(broken);
}

/// Panics in the broken build, without printing a message.
pub(crate) fn panic_if_broken() {
    if BROKEN_BUILD.get() {
        std::panic::resume_unwind(Box::new("this build is broken"));
    }
}

/// A frame of these events, as a run's first writer writes it.
pub(crate) fn frame(run: RunId, seq: EventSeq, at: Timestamp, events: &[Event]) -> Frame {
    let (mut encoded, mut next) = (EncodedEvents::new(), seq);
    for event in events {
        encoded.push(next, at, event);
        next = next.next();
    }
    let (mut position, mut frames) = (Position::new(seq.get().into()), FrameWriter::default());
    frames.write(run, [&encoded].into_iter(), &mut position);
    frames.finish().pop().expect("there is an event")
}

/// A registry with one workflow.
pub(crate) fn registry_of<W: Workflow>() -> Registry {
    let mut definitions = Definitions::default();
    definitions.workflow::<W>().expect("a test's names are valid");
    Registry::new(Arc::new(definitions), Arc::new(PollMark::default()))
}

/// A run that a test controls, in place of the processor, the executor and the log. After every group
/// it checks the invariants.
pub(crate) struct RunFixture {
    pub(crate) registry: Registry,
    pub(crate) run: Run,
    pub(crate) log: Vec<PastEvent>,
    pub(crate) steps: BTreeMap<CommandId, Name>,
    pub(crate) now: Timestamp,
    messages: u128,
    shown: usize,
    /// Whether every group is checked, which takes too long for a long run.
    checked: bool,
    /// The run that continues this one.
    successor: Option<Box<Successor>>,
}

impl RunFixture {
    /// Starts a run of `W`.
    pub(crate) fn start<W: Workflow>(input: &W::Input) -> Self {
        Self::start_at::<W>(input, None)
    }

    /// Starts a run of `W` with a deadline and a grace.
    pub(crate) fn start_limited<W: Workflow>(
        input: &W::Input,
        deadline: Duration,
        grace: Option<Duration>,
    ) -> Self {
        let deadline = BORN.saturating_add(deadline);
        let grace_until = grace.map(|grace| deadline.saturating_add(grace));
        Self::start_as::<W>(registry_of::<W>(), payload(input), None, (Some(deadline), grace_until), None)
    }

    /// Starts a run of `W` whose start may be delayed.
    pub(crate) fn start_at<W: Workflow>(input: &W::Input, start_at: Option<Timestamp>) -> Self {
        Self::start_with::<W>(registry_of::<W>(), payload(input), start_at)
    }

    pub(crate) fn start_with<W: Workflow>(
        registry: Registry,
        input: Payload,
        start_at: Option<Timestamp>,
    ) -> Self {
        Self::start_as::<W>(registry, input, start_at, (None, None), None)
    }

    /// Starts a run that is tried again if it fails.
    pub(crate) fn start_retried<W: Workflow>(
        registry: Registry,
        input: Payload,
        start_at: Option<Timestamp>,
        run_retry: Option<Box<RunRetry>>,
    ) -> Self {
        Self::start_as::<W>(registry, input, start_at, (None, None), run_retry)
    }

    fn start_as<W: Workflow>(
        registry: Registry,
        input: Payload,
        start_at: Option<Timestamp>,
        (deadline, grace_until): (Option<Timestamp>, Option<Timestamp>),
        run_retry: Option<Box<RunRetry>>,
    ) -> Self {
        let started = Event::RunStarted {
            parent: None,
            parent_call: None,
            workflow: Name::from_static(W::NAME),
            input,
            key: None,
            start_at,
            deadline,
            grace_until,
            lease: LEASE,
            chain: None,
            run_retry,
            trace: None,
            carried: None,
            attributes: Attributes::default(),
        };
        let (run, progress) = Run::start(run_id(7), BORN, started, &registry);
        let (log, steps) = (Vec::new(), BTreeMap::new());
        let checked = true;
        let (now, successor) = (BORN, None);
        let mut fixture = Self { registry, run, log, steps, now, messages: 0, shown: 0, checked, successor };
        fixture.take(progress);
        fixture
    }

    /// Takes the run's progress and checks it.
    pub(crate) fn take(&mut self, progress: Progress) {
        for past in &progress.events {
            let body = wire::encode_event(&past.event);
            let read = wire::decode_event(past.event.kind(), &body);
            assert_eq!(read.as_ref(), Ok(&past.event), "an event that is stored and read is the same");
        }
        self.log.extend(progress.events);
        self.successor = progress.successor.or(self.successor.take());
        for id in progress.dropped_steps {
            self.steps.remove(&id);
        }
        self.steps.extend(progress.steps.into_iter().map(|(id, step)| (id, step.name)));
        if self.run.state.closed.is_some() || self.run.state.ending.is_some() {
            self.steps.clear();
        }
        if self.checked {
            self.check();
        }
    }

    /// From now on not every group is checked.
    pub(crate) fn check_no_more(&mut self) {
        self.checked = false;
    }

    /// Checks the invariants that hold after every group.
    pub(crate) fn check(&self) {
        self.check_fold();
        self.check_terminal();
        self.check_replay();
    }

    /// The fold of the log equals the live state.
    fn check_fold(&self) {
        let mut fold = RunState::new(self.run.state.id);
        for past in &self.log {
            assert_eq!(past.seq, fold.next_seq(), "events are numbered without a gap");
            fold.apply(past.at, &past.event);
        }
        assert_eq!(fold, self.run.state, "the fold of the log equals the live state");
    }

    fn check_terminal(&self) {
        let terminal = self.log.iter().filter(|past| past.event.is_terminal()).count();
        assert_eq!(terminal, usize::from(self.run.state.closed.is_some()), "at most one terminal event");
    }

    /// A replay of the log decides the same and waits for the same, unless the run is stalled: its replay may resume it.
    fn check_replay(&self) {
        if self.run.state.stalled.is_some() {
            return;
        }
        let broken = BROKEN_BUILD.replace(false);
        let (replayed, progress) =
            replay(self.run.state.id, &self.log, &self.registry, Takeover::default(), self.now);
        BROKEN_BUILD.set(broken);
        assert_eq!(progress.events, [], "a replay has nothing to log:\n{}", history(&self.log));
        assert_eq!(replayed.state, self.run.state, "a replay ends in the same state");
        assert_eq!(replayed.waiting_on(), self.run.waiting_on(), "a replay waits for the same");
        if self.run.state.paused.is_some() {
            assert!(progress.steps.is_empty(), "no step begins while the run is paused");
            return;
        }
        let steps: BTreeMap<_, _> = progress.steps.into_iter().map(|(id, step)| (id, step.name)).collect();
        assert_eq!(steps, self.steps, "a replay asks for the same steps");
    }

    /// Goes on with the run that continues this one, whose first events are in the log. Its code takes what is released in one
    /// turn.
    pub(crate) fn go_on(&mut self) {
        let Successor { run, events, .. } = *self.successor.take().expect("the run was continued");
        self.run = Run::take_up(run, &events, &self.registry);
        self.log = events;
        self.shown = 0;
        self.steps.clear();
        self.release();
    }

    pub(crate) fn successor(&self) -> &Successor {
        self.successor.as_ref().expect("the run was continued")
    }

    /// The code takes what waits for it.
    pub(crate) fn release(&mut self) {
        while self.run.can_release() {
            let mut progress = Progress::default();
            self.run.release(&Turn::endless(self.now), &mut progress);
            self.take(progress);
        }
    }

    /// Drops the run and replays it from its log, as another worker would.
    pub(crate) fn reload(&mut self) {
        let lease = LeaseId::new(self.run.state.lease.map_or(0, LeaseId::get) + 1);
        let adopted = Event::RunAdopted { lease, worker: "other".to_owned() };
        let takeover = Takeover { adoption: Some(adopted), hold: None, told_again: false };
        let (run, progress) = replay(self.run.state.id, &self.log, &self.registry, takeover, self.now);
        self.run = run;
        self.steps.clear();
        self.take(progress);
    }

    /// Deploys a working build, which replays the run.
    pub(crate) fn repair(&mut self) {
        deploy_broken_build(false);
        self.reload();
    }

    /// Asserts which events were logged since the last call, as text.
    pub(crate) fn assert_logged(&mut self, expected: &Expect) {
        expected.assert_eq(&self.new_events());
    }

    /// The activities without an outcome.
    pub(crate) fn activities(&self) -> Vec<CommandId> {
        self.run.state.activities.keys().collect()
    }

    fn attempt(&self, id: CommandId) -> u32 {
        self.run.state.activities.get(id).map_or(1, |activity| activity.attempt)
    }

    pub(crate) fn complete<T: Serialize>(&mut self, id: u32, value: &T) {
        let (id, attempt) = (call(id), self.attempt(call(id)));
        let progress = self.run.attempt_ended(self.now, id, attempt, Ok(payload(value)));
        self.take(progress);
    }

    pub(crate) fn fail(&mut self, id: u32, failure: Failure) {
        let (id, attempt) = (call(id), self.attempt(call(id)));
        let progress = self.run.attempt_ended(self.now, id, attempt, Err(failure));
        self.take(progress);
    }

    pub(crate) fn complete_step<T: Serialize>(&mut self, id: u32, value: &T) {
        let step = self.steps.remove(&call(id)).expect("the step was asked for");
        self.resolve(Event::StepCompleted { id: call(id), step, result: payload(value) });
    }

    pub(crate) fn fail_step(&mut self, id: u32, failure: Failure) {
        let step = self.steps.remove(&call(id)).expect("the step was asked for");
        self.resolve(Event::StepFailed { id: call(id), step, failure });
    }

    pub(crate) fn signal<T: Serialize>(&mut self, signal: &'static str, content: &T) {
        let (message, payload) = (self.message(), payload(content));
        self.resolve(Event::SignalReceived {
            sender: None,
            message,
            signal: Name::from_static(signal),
            payload,
            key: None,
            trace: None,
        });
    }

    pub(crate) fn update<T: Serialize>(&mut self, update: &'static str, request: &T) -> MessageId {
        let (message, request) = (self.message(), payload(request));
        self.resolve(Event::UpdateReceived {
            message,
            update: Name::from_static(update),
            request,
            key: None,
            trace: None,
        });
        message
    }

    pub(crate) fn cancel(&mut self) {
        let message = self.message();
        self.resolve(Event::CancelRequested { message, reason: Some("enough".to_owned()) });
    }

    pub(crate) fn pause(&mut self) {
        let message = self.message();
        let progress = self.run.pause(self.now, message, Some("maintenance".to_owned()));
        self.take(progress);
    }

    /// Ends the pause, and releases what waits.
    pub(crate) fn unpause(&mut self) {
        let message = self.message();
        let mut progress = self.run.unpause(self.now, message);
        while self.run.can_release() {
            let mut released = Progress::default();
            self.run.release(&Turn::endless(self.now), &mut released);
            progress.append(released);
        }
        self.take(progress);
    }

    pub(crate) fn terminate(&mut self) {
        let message = self.message();
        let progress = self.run.terminate(self.now, message, "no more".to_owned());
        self.take(progress);
    }

    pub(crate) fn resolve(&mut self, resolution: Event) {
        let progress = self.run.resolve(self.now, resolution);
        self.take(progress);
    }

    fn message(&mut self) -> MessageId {
        self.messages += 1;
        MessageId::from_u128(self.messages)
    }

    /// Lets time pass and fires the deadlines in it.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now.saturating_add(time);
        loop {
            let next = self.run.state.deadlines.first().copied();
            let Some(next) = next.filter(|next| next.at <= until) else { break };
            self.now = self.now.max(next.at);
            match next.kind {
                DeadlineKind::Timer => self.resolve(Event::TimerFired { id: next.id }),
                DeadlineKind::ScheduleToClose => {
                    let progress = self.run.activity_out_of_time(self.now, next.id);
                    self.take(progress);
                }
                DeadlineKind::Run => self.resolve(Event::DeadlinePassed { deadline: next.at }),
                DeadlineKind::Grace => {
                    let progress = self.run.grace_over(self.now);
                    self.take(progress);
                }
                DeadlineKind::Retry => unreachable!("`deadlines` contains no retries"),
            }
        }
        self.now = until;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.run.state.closed.is_some()
    }

    /// The log since the last call of this method, as text.
    pub(crate) fn new_events(&mut self) -> String {
        let new_events = history(&self.log[self.shown..]);
        self.shown = self.log.len();
        new_events
    }
}

/// A run of `W` that is not checked after every group.
pub(crate) fn unchecked<W: Workflow>(input: &W::Input) -> RunFixture {
    let mut fixture = RunFixture::start::<W>(input);
    fixture.checked = false;
    fixture
}

/// A history as text, one event per line.
pub(crate) fn history(events: &[PastEvent]) -> String {
    let mut text = String::new();
    for past in events {
        let words = Words { event: &past.event, activity: None, began: Some(BORN) }.to_string();
        write!(text, "{} {}", past.seq, without_lines(&words)).expect("a string takes all");
        if let Event::RunAdopted { lease, .. } = past.event {
            write!(text, " lease {lease}").expect("a string takes all");
        }
        text.push('\n');
    }
    text
}

/// Removes the numbers of source lines from a text, because they change with every edit of a test.
pub(crate) fn without_lines(reason: &str) -> String {
    let mut parts = reason.split(".rs:");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text += ".rs:LINE";
        text += part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':');
    }
    text
}
