//! What is logged and what is sent: one row for each kind of event and message. Everything that follows from a row
//! alone is made from it elsewhere: the types, how they are stored, how people read them, and the arbitrary values
//! of tests. It must not know any of that.
//!
//! A row has the stored name, the version in which the fields are stored, the name in Rust, for an event its
//! [`Role`](super::event::Role) and its [`Consequence`](super::event::Consequence), and the fields.
//!
//! **Rows are stored.** Once released, one may only grow: at its end, by fields that may be absent. Fields that must
//! be there come first, so that those that are mostly absent take no bytes.

/// Hands the rows of events to the macro of that name.
macro_rules! events {
    ($make:ident) => {
        $make! { Event:
        /// The run began. The first event of every run, unless its code could not even begin: then the second, after
        /// [`Event::RunStalled`].
        "run.started" 1 => RunStarted: Resolution, Nothing {
            /// The workflow's name.
            workflow: Name,
            /// The workflow's input.
            input: Payload,
            /// The lease under which this event was written.
            lease: LeaseId,
            /// The idempotency key of its start.
            key: Option<String>,
            /// When the workflow is to begin, if not at once.
            start_at: Option<Timestamp>,
        }
        /// A new worker first writes to this run.
        "run.adopted" 1 => RunAdopted: Note, Nothing {
            /// The lease under which it writes.
            lease: LeaseId,
            /// The worker's name.
            worker: String,
        }
        /// The run asked for an activity.
        "activity.scheduled" 1 => ActivityScheduled: Decision, Dispatch {
            /// The durable call.
            id: CommandId,
            /// The activity's name.
            activity: Name,
            /// The activity's input.
            input: Payload,
            /// Its retry policy and timeouts.
            options: ActivityOptions,
        }
        /// An attempt of an activity is about to begin. Logged only where a repetition must be noticed.
        "activity.attempt-started" 1 => ActivityAttemptStarted: Note, Nothing {
            /// The durable call.
            id: CommandId,
            /// The attempt, from 1 on.
            attempt: u32,
        }
        /// An attempt failed, and another will follow.
        "activity.attempt-failed" 1 => ActivityAttemptFailed: Note, Nothing {
            /// The durable call.
            id: CommandId,
            /// The attempt, from 1 on.
            attempt: u32,
            /// Why it failed.
            failure: Failure,
            /// When the next attempt begins.
            retry_at: Timestamp,
        }
        /// An attempt ended with its process, while its run was under suspicion.
        "activity.attempt-lost" 1 => ActivityAttemptLost: Note, Nothing {
            /// The durable call.
            id: CommandId,
            /// The attempt, from 1 on.
            attempt: u32,
        }
        /// The activity returned a value.
        "activity.completed" 1 => ActivityCompleted: Resolution, Outcome {
            /// The durable call.
            id: CommandId,
            /// What it returned.
            result: Payload,
        }
        /// The activity failed for good.
        "activity.failed" 1 => ActivityFailed: Resolution, Outcome {
            /// The durable call.
            id: CommandId,
            /// Why its last attempt failed.
            failure: Failure,
        }
        /// The run gave the activity up.
        "activity.cancelled" 1 => ActivityCancelled: Decision, GiveUp {
            /// The durable call.
            id: CommandId,
        }
        /// A step returned a value.
        "step.completed" 1 => StepCompleted: Resolution, Outcome {
            /// The durable call.
            id: CommandId,
            /// The step's name.
            step: Name,
            /// What it returned.
            result: Payload,
        }
        /// A step failed for good.
        "step.failed" 1 => StepFailed: Resolution, Outcome {
            /// The durable call.
            id: CommandId,
            /// The step's name.
            step: Name,
            /// Why its last attempt failed.
            failure: Failure,
        }
        /// The run asked for a timer.
        "timer.started" 1 => TimerStarted: Decision, Nothing {
            /// The durable call.
            id: CommandId,
            /// Its deadline.
            fire_at: Timestamp,
        }
        /// A timer's deadline passed.
        "timer.fired" 1 => TimerFired: Resolution, Outcome {
            /// The durable call; number 0 is the delay of the run's start.
            id: CommandId,
        }
        /// The run gave the timer up.
        "timer.cancelled" 1 => TimerCancelled: Decision, GiveUp {
            /// The durable call.
            id: CommandId,
        }
        /// A signal came.
        "signal.received" 1 => SignalReceived: Resolution, Nothing {
            /// The message that brought it.
            message: MessageId,
            /// The signal's name.
            signal: Name,
            /// Its content.
            payload: Payload,
            /// Its idempotency key.
            key: Option<String>,
        }
        /// The run made a value that no replay could make again.
        "value.recorded" 1 => ValueRecorded: Local, Nothing {
            /// The value's name.
            name: Name,
            /// The value.
            value: Payload,
        }
        /// Somebody asked the run to cancel itself.
        "cancel.requested" 1 => CancelRequested: Resolution, Nothing {
            /// The message that brought the request.
            message: MessageId,
            /// Why, if the caller said so.
            reason: Option<String>,
        }
        /// The run's code could not process the resolution that follows. What comes from now on waits.
        "run.stalled" 1 => RunStalled: Note, Nothing {
            /// The diagnosis.
            reason: String,
        }
        /// Code that matches processed the waiting resolutions. Its decisions follow.
        "run.resumed" 1 => RunResumed: Note, Nothing {
            /// How many of them it processed, the oldest first.
            released: u32,
        }
        /// The workflow is over, and its compensations follow.
        "run.ending" 1 => RunEnding: Decision, Ending {
            /// What the workflow returned.
            outcome: Outcome,
        }
        /// The run asked for an activity to be executed should the run fail.
        "compensation.registered" 1 => CompensationRegistered: Decision, Nothing {
            /// The durable call.
            id: CommandId,
            /// The activity's name.
            activity: Name,
            /// The activity's input.
            input: Payload,
            /// Its retry policy and timeouts.
            options: ActivityOptions,
        }
        /// A compensation's turn came.
        "compensation.scheduled" 1 => CompensationScheduled: Note, Dispatch {
            /// The durable call that registered it.
            id: CommandId,
        }
        /// A compensation succeeded.
        "compensation.completed" 1 => CompensationCompleted: Note, Outcome {
            /// The durable call that registered it.
            id: CommandId,
        }
        /// A compensation failed for good.
        "compensation.failed" 1 => CompensationFailed: Note, Outcome {
            /// The durable call that registered it.
            id: CommandId,
            /// Why its last attempt failed.
            failure: Failure,
        }
        /// The workflow returned a value. Terminal.
        "run.completed" 1 => RunCompleted: Decision, Terminal(Completed) {
            /// What it returned.
            result: Payload,
        }
        /// The workflow returned an error. Terminal.
        "run.failed" 1 => RunFailed: Decision, Terminal(Failed) {
            /// The error.
            failure: Failure,
            /// Compensations that failed as well, in the order of their execution.
            uncompensated: Vec<Uncompensated>,
        }
        /// The workflow returned the cancellation that it was asked for. Terminal.
        "run.cancelled" 1 => RunCancelled: Decision, Terminal(Cancelled) {
            /// Why, if the caller of `cancel` said so.
            reason: Option<String>,
            /// Compensations that failed, in the order of their execution.
            uncompensated: Vec<Uncompensated>,
        }
        /// Somebody ended the run without asking it. Terminal.
        "run.terminated" 1 => RunTerminated: Note, Terminal(Terminated) {
            /// The message that brought the request.
            message: MessageId,
            /// Why.
            reason: String,
            /// The activities of compensations that were left out.
            skipped: Vec<String>,
        }
        }
    };
}

/// Hands the rows of messages to the macro of that name.
macro_rules! messages {
    ($make:ident) => {
        $make! { Message:
        /// Begin the run.
        "start" 1 => Start {
            /// The workflow's name.
            workflow: Name,
            /// Its input.
            input: Payload,
            /// The idempotency key.
            key: Option<String>,
            /// When to begin, if not at once.
            start_at: Option<Timestamp>,
            /// Whether a processor may have begun the run already, without a message.
            repeated: Flag,
        }
        /// Hand a signal to the run.
        "signal" 1 => Signal {
            /// The signal's name.
            signal: Name,
            /// Its content.
            payload: Payload,
            /// Its idempotency key.
            key: Option<String>,
        }
        /// Ask the run to cancel itself.
        "cancel" 1 => Cancel {
            /// Why, if the caller said so.
            reason: Option<String>,
        }
        /// End the run without asking it.
        "terminate" 1 => Terminate {
            /// Why.
            reason: String,
        }
        }
    };
}

pub(super) use {events, messages};
