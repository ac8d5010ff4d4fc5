//! The reducer: the state of a run is a fold over its events. It is synchronous and total, and must not know a
//! program, a store or a clock.

mod apply;

use std::collections::{BTreeSet, VecDeque};

use crate::data::attributes::Attributes;
use crate::data::call_map::CallMap;
use crate::data::chain::{ChainLink, RunRetry};
use crate::data::child::Parent;
use crate::data::id::{CommandId, EventSeq, LeaseId, MessageId, RunId};
use crate::data::id_map::IdMap;
use crate::data::name::Name;
use crate::data::outcome::{Outcome, Uncompensated};
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::data::trace_context::TraceContext;
use crate::log::event::Event;
use crate::log::past_event::PastEvent;
use crate::observe::spans::OfRun;
use crate::run::children::Children;
use crate::run::pending::{FailedCompensations, PendingActivity, PendingCompensation, Round};
use crate::run::unanswered::Unanswered;
use crate::store::append::ClosedStatus;

/// The state of one run according to its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunState {
    pub(crate) id: RunId,
    pub(crate) workflow: Name,
    pub(crate) key: Option<Box<str>>,
    /// The workflow's input.
    pub(crate) input: Option<Payload>,
    /// Its place in its chain, if it continues another run. Boxed, because few runs do.
    pub(crate) chain: Option<Box<ChainLink>>,
    /// The retries of the whole run. Boxed, because few runs have any.
    pub(crate) retry: Option<Box<RunRetry>>,
    /// The place in a trace at which the run was started. Boxed, because many runs have none.
    pub(crate) trace: Option<Box<TraceContext>>,
    /// What it is found by.
    pub(crate) attributes: Attributes,
    /// The number of the last event.
    pub(crate) seq: Option<EventSeq>,
    /// The time of the last event.
    pub(crate) now: Timestamp,
    /// The lease under which the run was started or last adopted.
    pub(crate) lease: Option<LeaseId>,
    pub(crate) activities: CallMap<PendingActivity>,
    /// How many bytes of payloads it holds: the inputs of these and of the compensations, and what waits.
    pub(crate) payload_bytes: usize,
    /// How many of them are tasks.
    tasks: u32,
    /// How many of them have failed before.
    retried: u32,
    /// The deadlines of timers and of whole activities.
    pub(crate) deadlines: BTreeSet<Deadline>,
    /// The start times of next attempts: one for every activity that has a `retry_at`.
    pub(crate) retries: BTreeSet<Deadline>,
    /// The timers that have not fired, with their deadlines.
    pub(crate) timers: CallMap<Timestamp>,
    /// The children that have not ended, unless the run has nothing to do with them any more.
    pub(crate) children: Children,
    /// The run that started this one, if a run did. Boxed, because few runs have one.
    pub(crate) parent: Option<Box<Parent>>,
    /// The logged signals and requests, and when they were, since a message is logged once however often it is delivered.
    pub(crate) messages: IdMap<MessageId, Timestamp>,
    /// The updates without a reply.
    pub(crate) updates: Unanswered,
    /// The compensations that no round has.
    pub(crate) compensations: CallMap<PendingCompensation>,
    /// The rounds that have begun and not ended, the oldest first: one after the other is executed.
    pub(crate) rounds: VecDeque<Round>,
    /// The one that is executed.
    pub(crate) compensating: Option<CommandId>,
    /// What failed, in the rounds as well. Boxed, because most runs have none.
    uncompensated: Option<Box<FailedCompensations>>,
    /// The request to cancel; that of a deadline has no reason. Boxed, because few runs have one.
    pub(crate) cancel: Option<Box<CancelRequest>>,
    /// Boxed, because few runs have them.
    pub(crate) limits: Option<Box<RunLimits>>,
    pub(crate) paused: Option<Box<Pause>>,
    /// Boxed, because few runs have one.
    pub(crate) ending: Option<Box<Outcome>>,
    pub(crate) stalled: Option<Box<str>>,
    /// Resolutions that arrived while the run was stalled or after those, and that its program has not taken yet. So do the
    /// first ones of a run that continues another.
    pub(crate) waiting: VecDeque<PastEvent>,
    pub(crate) closed: Option<ClosedStatus>,
}

/// A logged request to cancel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CancelRequest {
    pub(crate) reason: Option<String>,
}

/// How long the run may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunLimits {
    pub(crate) deadline: Timestamp,
    /// The end of its grace. Clean-up gets as much time if the deadline is noticed late.
    grace_until: Option<Timestamp>,
    /// Whether the deadline cancelled the run, and not a client.
    cancelled: bool,
}

/// A pause by a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    pub(crate) reason: Option<String>,
}

/// A deadline. Deadlines are ordered by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline {
    pub(crate) at: Timestamp,
    pub(crate) kind: DeadlineKind,
    pub(crate) id: CommandId,
}

/// What happens at a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DeadlineKind {
    /// A timer fires.
    Timer,
    /// An activity fails.
    ScheduleToClose,
    /// An activity's next attempt starts.
    Retry,
    /// The run is cancelled.
    Run,
    /// The run ends without its code.
    Grace,
}

impl RunState {
    /// The state before the first event.
    pub(crate) fn new(id: RunId) -> Self {
        Self {
            id,
            workflow: Name::from_static(""),
            key: None,
            input: None,
            chain: None,
            retry: None,
            trace: None,
            attributes: Attributes::default(),
            seq: None,
            now: Timestamp::MIN,
            lease: None,
            activities: CallMap::new(),
            payload_bytes: 0,
            tasks: 0,
            retried: 0,
            deadlines: BTreeSet::new(),
            retries: BTreeSet::new(),
            timers: CallMap::new(),
            children: Children::new(),
            parent: None,
            messages: IdMap::default(),
            updates: Unanswered::default(),
            compensations: CallMap::new(),
            rounds: VecDeque::new(),
            compensating: None,
            uncompensated: None,
            cancel: None,
            limits: None,
            paused: None,
            ending: None,
            stalled: None,
            waiting: VecDeque::new(),
            closed: None,
        }
    }

    /// The idempotency key of its start, to write it elsewhere.
    pub(crate) fn key(&self) -> Option<String> {
        self.key.as_deref().map(str::to_owned)
    }

    /// The number of the next event.
    pub(crate) fn next_seq(&self) -> EventSeq {
        self.seq.map_or(EventSeq::FIRST, EventSeq::next)
    }

    /// The number of events of the run.
    pub(crate) fn event_count(&self) -> u32 {
        self.seq.map_or(0, EventSeq::get)
    }

    /// Whether a new owner must load the run at once: a child is to be started; or it is not paused, and an activity is in flight
    /// here, the run is ending, or its code is taking waiting resolutions. A task is in flight elsewhere: its outcome is a
    /// message.
    pub(crate) fn is_busy(&self) -> bool {
        let releasing = self.stalled.is_none() && !self.waiting.is_empty();
        let in_flight = self.activities.len() > self.retries.len() + self.tasks as usize;
        // An end that waits for children is told theirs by messages.
        let ending = self.ending.is_some() && self.tasks == 0 && self.children.len() == 0;
        let works = self.paused.is_none() && (ending || releasing || in_flight);
        self.closed.is_none() && (works || self.children.are_unbound())
    }

    /// Whether any of its activities is a task.
    pub(crate) fn has_tasks(&self) -> bool {
        self.tasks > 0
    }

    /// Its tasks, each with the number of the event that enqueued it.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = (CommandId, EventSeq)> {
        self.activities.iter().filter_map(|(id, activity)| Some((id, activity.task.as_ref()?.seq)))
    }

    /// Whether a new resolution has to wait, because the program cannot or must not take it, or others wait already.
    pub(crate) fn queues(&self) -> bool {
        // After the end of its code, nothing waits for it.
        self.ending.is_none() && (self.stalled.is_some() || self.paused.is_some() || !self.waiting.is_empty())
    }

    /// Whether a resolution has to wait when it is logged next.
    pub(crate) fn queues_for(&self, event: &Event) -> bool {
        self.queues() || matches!(event, Event::RunStarted { chain: Some(_), .. })
    }

    /// The activities whose attempt is, or should be, running in this process.
    pub(crate) fn activities_in_flight(&self) -> impl Iterator<Item = CommandId> {
        let here = |activity: &PendingActivity| activity.retry_at.is_none() && activity.task.is_none();
        self.activities.iter().filter(move |(_, activity)| here(activity)).map(|(id, _)| id)
    }

    /// The run, for the span of the pass in which its code takes a resolution.
    pub(crate) fn of_pass<'a>(&'a self, resolution: &'a Event) -> OfRun<'a> {
        let (workflow, key, trace) = if let Event::RunStarted { workflow, key, trace, .. } = resolution {
            // The state does not contain them yet.
            (workflow, key.as_deref(), trace)
        } else {
            (&self.workflow, self.key.as_deref(), &self.trace)
        };
        OfRun { run: self.id, workflow, key, trace: trace.as_deref() }
    }

    /// Whether an activity has failed before and is retried.
    pub(crate) fn has_retries(&self) -> bool {
        self.retried > 0
    }

    /// The earliest deadline at which something happens. Of a paused run, no attempt begins; of a stalled one, all deadlines but
    /// its own wait until it is tried again.
    pub(crate) fn wake_at(&self) -> Option<Timestamp> {
        let first = if self.paused.is_some() {
            self.deadlines.first()
        } else if self.stalled.is_some() {
            let is_own =
                |deadline: &&Deadline| matches!(deadline.kind, DeadlineKind::Run | DeadlineKind::Grace);
            // It may have thousands of timers, and rarely has a deadline of its own.
            self.limits.as_ref().and_then(|_| self.deadlines.iter().find(is_own))
        } else {
            self.deadlines.first().into_iter().chain(self.retries.first()).min()
        };
        first.map(|deadline| deadline.at)
    }

    /// When it is cancelled, and when it is ended, if it is not over: what its start asked for.
    pub(crate) fn limits(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        let limits = self.limits.as_deref();
        (limits.map(|limits| limits.deadline), limits.and_then(|limits| limits.grace_until))
    }

    /// The deadline of the run, if it was cancelled because of that.
    pub(crate) fn timed_out(&self) -> Option<Timestamp> {
        self.limits.as_ref().filter(|limits| limits.cancelled).map(|limits| limits.deadline)
    }

    /// The compensations that failed for good.
    pub(crate) fn uncompensated(&self) -> Vec<Uncompensated> {
        self.uncompensated.as_deref().map(|failed| failed.list().to_vec()).unwrap_or_default()
    }
}
