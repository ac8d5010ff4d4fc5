//! The event vocabulary: facts about a run, past tense, immutable. It must not know how events are stored
//! ([`wire`] does) or what follows from them (`run::state` does).

use crate::data::failure::Failure;
use crate::data::id::{CommandId, LeaseId, MessageId};
use crate::data::name::{EventName, Name};
use crate::data::options::ActivityOptions;
use crate::data::outcome::{Outcome, Uncompensated};
use crate::data::payload::Payload;
use crate::data::time::Timestamp;

/// A fact about a run.
///
/// *Decisions* are what the run itself decided, *resolutions* what came to it from outside; the other events
/// are the engine's own notes, which no workflow code sees.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The run began. The first event of every run, unless its code could not even begin: then the second, behind
    /// [`Event::RunStalled`].
    RunStarted {
        /// The workflow's name.
        workflow: Name,
        /// The workflow's input.
        input: Payload,
        /// The idempotency key of its start.
        key: Option<String>,
        /// When the workflow is to begin, if not at once.
        start_at: Option<Timestamp>,
        /// The lease under which this event was written.
        lease: LeaseId,
    },
    /// A new worker first writes to this run.
    RunAdopted {
        /// The lease under which it writes.
        lease: LeaseId,
        /// The worker's name.
        worker: String,
    },
    /// The run asked for an activity.
    ActivityScheduled {
        /// The durable call.
        id: CommandId,
        /// The activity's name.
        activity: Name,
        /// The activity's input.
        input: Payload,
        /// Its retry policy and timeouts.
        options: ActivityOptions,
    },
    /// An attempt of an activity is about to begin. Logged only where a repetition must be noticed.
    ActivityAttemptStarted {
        /// The durable call.
        id: CommandId,
        /// The attempt, from 1 on.
        attempt: u32,
    },
    /// An attempt failed, and another will follow.
    ActivityAttemptFailed {
        /// The durable call.
        id: CommandId,
        /// The attempt, from 1 on.
        attempt: u32,
        /// Why it failed.
        failure: Failure,
        /// When the next attempt begins.
        retry_at: Timestamp,
    },
    /// An attempt ended with its process, while its run was under suspicion.
    ActivityAttemptLost {
        /// The durable call.
        id: CommandId,
        /// The attempt, from 1 on.
        attempt: u32,
    },
    /// The activity returned a value.
    ActivityCompleted {
        /// The durable call.
        id: CommandId,
        /// What it returned.
        result: Payload,
    },
    /// The activity failed for good.
    ActivityFailed {
        /// The durable call.
        id: CommandId,
        /// Why its last attempt failed.
        failure: Failure,
    },
    /// The run gave the activity up.
    ActivityCancelled {
        /// The durable call.
        id: CommandId,
    },
    /// A step returned a value.
    StepCompleted {
        /// The durable call.
        id: CommandId,
        /// The step's name.
        step: Name,
        /// What it returned.
        result: Payload,
    },
    /// A step failed for good.
    StepFailed {
        /// The durable call.
        id: CommandId,
        /// The step's name.
        step: Name,
        /// Why its last attempt failed.
        failure: Failure,
    },
    /// The run asked for a timer.
    TimerStarted {
        /// The durable call.
        id: CommandId,
        /// Its deadline.
        fire_at: Timestamp,
    },
    /// A timer's deadline passed.
    TimerFired {
        /// The durable call; number 0 is the delay of the run's start.
        id: CommandId,
    },
    /// The run gave the timer up.
    TimerCancelled {
        /// The durable call.
        id: CommandId,
    },
    /// A signal came.
    SignalReceived {
        /// The message that brought it.
        message: MessageId,
        /// The signal's name.
        signal: Name,
        /// Its content.
        payload: Payload,
        /// Its idempotency key.
        key: Option<String>,
    },
    /// Somebody asked the run to cancel itself.
    CancelRequested {
        /// The message that brought the request.
        message: MessageId,
        /// Why, if the caller said so.
        reason: Option<String>,
    },
    /// The run's code could not process the resolution that follows. What comes from now on waits.
    RunStalled {
        /// The diagnosis.
        reason: String,
    },
    /// Code that matches processed the waiting resolutions. Its decisions follow.
    RunResumed {
        /// How many of them it processed, the oldest first.
        released: u32,
    },
    /// The workflow is over, and its compensations follow.
    RunEnding {
        /// What the workflow returned.
        outcome: Outcome,
    },
    /// The run asked for an activity to be executed should the run fail.
    CompensationRegistered {
        /// The durable call.
        id: CommandId,
        /// The activity's name.
        activity: Name,
        /// The activity's input.
        input: Payload,
        /// Its retry policy and timeouts.
        options: ActivityOptions,
    },
    /// A compensation's turn came.
    CompensationScheduled {
        /// The durable call that registered it.
        id: CommandId,
    },
    /// A compensation succeeded.
    CompensationCompleted {
        /// The durable call that registered it.
        id: CommandId,
    },
    /// A compensation failed for good.
    CompensationFailed {
        /// The durable call that registered it.
        id: CommandId,
        /// Why its last attempt failed.
        failure: Failure,
    },
    /// The workflow returned a value. Terminal.
    RunCompleted {
        /// What it returned.
        result: Payload,
    },
    /// The workflow returned an error. Terminal.
    RunFailed {
        /// The error.
        failure: Failure,
        /// Compensations that failed as well, in the order of their execution.
        uncompensated: Vec<Uncompensated>,
    },
    /// The workflow returned the cancellation that it was asked for. Terminal.
    RunCancelled {
        /// Why, if the caller of `cancel` said so.
        reason: Option<String>,
        /// Compensations that failed, in the order of their execution.
        uncompensated: Vec<Uncompensated>,
    },
    /// Somebody ended the run without asking it. Terminal.
    RunTerminated {
        /// The message that brought the request.
        message: MessageId,
        /// Why.
        reason: String,
        /// The activities of compensations that were left out.
        skipped: Vec<String>,
    },
}

impl Event {
    /// The durable call that the event is about. The delay of a run's start is none.
    pub fn call(&self) -> Option<CommandId> {
        match self {
            Self::ActivityScheduled { id, .. }
            | Self::ActivityAttemptStarted { id, .. }
            | Self::ActivityAttemptFailed { id, .. }
            | Self::ActivityAttemptLost { id, .. }
            | Self::ActivityCompleted { id, .. }
            | Self::ActivityFailed { id, .. }
            | Self::ActivityCancelled { id }
            | Self::StepCompleted { id, .. }
            | Self::StepFailed { id, .. }
            | Self::TimerStarted { id, .. }
            | Self::TimerFired { id }
            | Self::TimerCancelled { id }
            | Self::CompensationRegistered { id, .. }
            | Self::CompensationScheduled { id }
            | Self::CompensationCompleted { id }
            | Self::CompensationFailed { id, .. } => Some(*id),
            Self::RunStarted { .. }
            | Self::RunAdopted { .. }
            | Self::SignalReceived { .. }
            | Self::CancelRequested { .. }
            | Self::RunStalled { .. }
            | Self::RunResumed { .. }
            | Self::RunEnding { .. }
            | Self::RunCompleted { .. }
            | Self::RunFailed { .. }
            | Self::RunCancelled { .. }
            | Self::RunTerminated { .. } => None,
        }
    }
}

/// What part an event plays for the program of its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It came from outside, and the program is polled for it.
    Resolution,
    /// The program decided it.
    Decision,
    /// The engine's own note: the program does not see it.
    Note,
}

/// Makes [`Event::name`] and the list of all names from one table, so that they cannot differ.
macro_rules! vocabulary {
    ($($variant:ident = $name:literal, $role:ident;)*) => {
        /// Every stored name that this build knows.
        pub(crate) const STORED_NAMES: &[&str] = &[$($name),*];

        impl EventName {
            /// The name as a store kept it.
            pub fn from_stored(name: &str) -> Self {
                match STORED_NAMES.iter().find(|known| **known == name) {
                    Some(known) => Self::from_static(known),
                    None => Self::from_newer_build(name),
                }
            }
        }

        impl Event {
            /// The name under which the event is stored.
            pub fn name(&self) -> EventName {
                match self {
                    $(Self::$variant { .. } => EventName::from_static($name),)*
                }
            }

            pub(crate) fn role(&self) -> Role {
                match self {
                    $(Self::$variant { .. } => Role::$role,)*
                }
            }
        }
    };
}

vocabulary! {
    RunStarted = "run.started", Resolution;
    RunAdopted = "run.adopted", Note;
    ActivityScheduled = "activity.scheduled", Decision;
    ActivityAttemptStarted = "activity.attempt-started", Note;
    ActivityAttemptFailed = "activity.attempt-failed", Note;
    ActivityAttemptLost = "activity.attempt-lost", Note;
    ActivityCompleted = "activity.completed", Resolution;
    ActivityFailed = "activity.failed", Resolution;
    ActivityCancelled = "activity.cancelled", Decision;
    StepCompleted = "step.completed", Resolution;
    StepFailed = "step.failed", Resolution;
    TimerStarted = "timer.started", Decision;
    TimerFired = "timer.fired", Resolution;
    TimerCancelled = "timer.cancelled", Decision;
    SignalReceived = "signal.received", Resolution;
    CancelRequested = "cancel.requested", Resolution;
    RunStalled = "run.stalled", Note;
    RunResumed = "run.resumed", Note;
    RunEnding = "run.ending", Decision;
    CompensationRegistered = "compensation.registered", Decision;
    CompensationScheduled = "compensation.scheduled", Note;
    CompensationCompleted = "compensation.completed", Note;
    CompensationFailed = "compensation.failed", Note;
    RunCompleted = "run.completed", Decision;
    RunFailed = "run.failed", Decision;
    RunCancelled = "run.cancelled", Decision;
    RunTerminated = "run.terminated", Note;
}
