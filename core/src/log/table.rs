//! The table of events and messages: one row for each kind. Macros in other files derive from it the types, their stored
//! form, their text for people, and the arbitrary values of tests. It must not know any of these.
//!
//! A row has the name that people read, the version in which the fields are stored, the name in Rust, the code that is
//! stored, for an event its [`Role`](super::event::Role) and its [`Consequence`](super::event::Consequence), and the fields.
//!
//! **Rows are stored.** Once released, a name and a code never change, and a row may only grow at its end, by optional
//! fields. Required fields come first, so that absent fields take no bytes.

/// Passes the rows of events to a macro.
macro_rules! events {
    ($make:ident) => {
        $make! { Event:
        /// The run began. It is the first event of every run, or the second after an [`Event::RunStalled`] if the run's
        /// code could not begin.
        "run.started" 1 => RunStarted = 1: Resolution, Begin {
            /// The workflow's name.
            workflow: Name,
            /// The workflow's input.
            input: Payload,
            /// The lease under which this event was written.
            lease: LeaseId,
            /// The idempotency key of the run's start.
            key: Option<String>,
            /// When the workflow begins, if not at once.
            start_at: Option<Timestamp>,
            /// The run that started it, if a run did: its parent.
            parent: Option<RunId>,
            /// The parent's durable call that started it.
            parent_call: Option<CommandId>,
            /// The run's place in its chain, if it continues another run. Its code takes this event and those that its
            /// predecessor left to it after they are in the log, released by an [`Event::RunResumed`].
            chain: Option<ChainLink>,
            /// The retries of the whole run, if its start asked for them.
            run_retry: Option<Box<RunRetry>>,
            /// When the run is cancelled, if it is not over.
            deadline: Option<Timestamp>,
            /// When the run is ended without asking its code, if it is not over.
            grace_until: Option<Timestamp>,
            /// The place in a trace at which the run was started, if its client traces.
            trace: Option<Box<TraceContext>>,
            /// How many children its predecessor carried along, if any: an [`Event::ChildCarried`] for each follows, and the code
            /// begins after them.
            carried: Option<u32>,
            /// What it is found by: those of its start, or those that its predecessor had at last.
            attributes: Attributes,
        }
        /// A worker that took the run over writes to it for the first time.
        "run.adopted" 1 => RunAdopted = 2: Note, Nothing {
            /// The lease under which the worker writes.
            lease: LeaseId,
            /// The worker's name.
            worker: String,
        }
        /// The run scheduled an activity.
        "activity.scheduled" 1 => ActivityScheduled = 3: Decision, Dispatch {
            /// The durable call.
            id: CommandId,
            /// The activity's name.
            activity: Name,
            /// The activity's input.
            input: Payload,
            /// The activity's retry policy and timeouts.
            options: ActivityOptions,
        }
        /// An attempt of an activity is about to begin. It is logged only if a repetition must be noticed.
        "activity.attempt-started" 1 => ActivityAttemptStarted = 4: Note, Nothing {
            /// The durable call.
            id: CommandId,
            /// The attempt, from 1 on.
            attempt: u32,
        }
        /// An attempt failed, and another will follow.
        "activity.attempt-failed" 1 => ActivityAttemptFailed = 5: Note, Nothing {
            /// The durable call.
            id: CommandId,
            /// The attempt, from 1 on.
            attempt: u32,
            /// Why it failed.
            failure: Failure,
            /// When the next attempt begins.
            retry_at: Timestamp,
        }
        /// A client asked for the attempts that wait for their time to begin at once.
        "retry.requested" 1 => RetryRequested = 33: Note, Nothing {
            /// The message that carried the request.
            message: MessageId,
        }
        /// The process died during an attempt, while the run was a suspect.
        "activity.attempt-lost" 1 => ActivityAttemptLost = 6: Note, Nothing {
            /// The durable call.
            id: CommandId,
            /// The attempt, from 1 on.
            attempt: u32,
        }
        /// An attempt of an activity became a task, which any worker that serves the activity queue executes.
        "activity.enqueued" 1 => ActivityEnqueued = 29: Note, Enqueue {
            /// The durable call.
            id: CommandId,
            /// The attempt, from 1 on.
            attempt: u32,
            /// The activity queue.
            queue: Name,
            /// The executor that has the task already: the attempt was running when its process gave the run's shard away.
            executor: Option<ExecutorId>,
        }
        /// The activity returned a value.
        "activity.completed" 1 => ActivityCompleted = 7: Resolution, Outcome {
            /// The durable call.
            id: CommandId,
            /// The value.
            result: Payload,
        }
        /// The activity failed, and is not retried.
        "activity.failed" 1 => ActivityFailed = 8: Resolution, Outcome {
            /// The durable call.
            id: CommandId,
            /// Why its last attempt failed.
            failure: Failure,
        }
        /// The run gave the activity up.
        "activity.cancelled" 1 => ActivityCancelled = 9: Decision, GiveUp {
            /// The durable call.
            id: CommandId,
        }
        /// A step returned a value.
        "step.completed" 1 => StepCompleted = 10: Resolution, Outcome {
            /// The durable call.
            id: CommandId,
            /// The step's name.
            step: Name,
            /// The value.
            result: Payload,
        }
        /// A step failed, and is not retried.
        "step.failed" 1 => StepFailed = 11: Resolution, Outcome {
            /// The durable call.
            id: CommandId,
            /// The step's name.
            step: Name,
            /// Why its last attempt failed.
            failure: Failure,
        }
        /// The run started a timer.
        "timer.started" 1 => TimerStarted = 12: Decision, Nothing {
            /// The durable call.
            id: CommandId,
            /// The timer's deadline.
            fire_at: Timestamp,
        }
        /// A timer's deadline passed.
        "timer.fired" 1 => TimerFired = 13: Resolution, Outcome {
            /// The durable call; 0 is the delay of the run's start.
            id: CommandId,
        }
        /// The run gave the timer up.
        "timer.cancelled" 1 => TimerCancelled = 14: Decision, GiveUp {
            /// The durable call.
            id: CommandId,
        }
        /// A signal arrived.
        "signal.received" 1 => SignalReceived = 15: Resolution, Nothing {
            /// The message that carried the signal.
            message: MessageId,
            /// The signal's name.
            signal: Name,
            /// The signal's content.
            payload: Payload,
            /// The signal's idempotency key.
            key: Option<String>,
            /// The run that sent the signal, if a run did.
            sender: Option<RunId>,
            /// The place in a trace at which the signal was sent, if its sender traces.
            trace: Option<Box<TraceContext>>,
        }
        /// The run sent a signal to a run, maybe to itself.
        "signal.sent" 1 => SignalSent = 31: Decision, Send {
            /// The durable call.
            id: CommandId,
            /// The run that receives the signal.
            to: Recipient,
            /// The signal's name.
            signal: Name,
            /// The signal's content.
            payload: Payload,
        }
        /// The run started a child.
        "child.started" 1 => ChildStarted = 34: Decision, StartChild {
            /// The durable call.
            id: CommandId,
            /// The child.
            child: RunId,
            /// The name of the child's workflow.
            workflow: Name,
            /// The child's input.
            input: Payload,
            /// The idempotency key of the child's start. A child with a key is started after this event is in the log.
            key: Option<String>,
            /// What becomes of the child at the end of the run.
            at_end: ChildPolicy,
            /// When the child is cancelled, if it is not over.
            deadline: Option<Timestamp>,
            /// When the child is ended without asking its code, if it is not over.
            grace_until: Option<Timestamp>,
        }
        /// The run has a child that its predecessor carried along.
        "child.carried" 1 => ChildCarried = 48: Resolution, Nothing {
            /// The durable call by which the run has the child.
            id: CommandId,
            /// The child.
            child: RunId,
            /// The name of the child's workflow.
            workflow: Name,
            /// What becomes of the child if the run gives it up.
            on_cancel: ChildPolicy,
            /// What becomes of the child at the end of the run.
            at_end: ChildPolicy,
            /// The idempotency key of the child's start, if it is not known yet whether the child was started.
            key: Option<String>,
            /// The child's input, in that case.
            input: Option<Payload>,
            /// When the child is cancelled, if it is not over, in that case.
            deadline: Option<Timestamp>,
            /// When the child is ended without asking its code, if it is not over, in that case.
            grace_until: Option<Timestamp>,
            /// What is asked of the child as soon as it is known to exist, if the code did not carry it along: the run has it for that
            /// alone.
            given_up: Option<GivenUp>,
        }
        /// A child with a key was started: no other run has its key.
        "child.bound" 1 => ChildBound = 35: Note, Nothing {
            /// The durable call.
            id: CommandId,
        }
        /// The child returned a value.
        "child.completed" 1 => ChildCompleted = 36: Resolution, Outcome {
            /// The durable call.
            id: CommandId,
            /// The value.
            result: Payload,
        }
        /// The child ended without a value, or could not be started.
        "child.failed" 1 => ChildFailed = 37: Resolution, Outcome {
            /// The durable call.
            id: CommandId,
            /// The child's failure, or why there is none: `child-cancelled`, `child-terminated` or `child-timed-out` says how it
            /// ended, `key-taken` or `child-refused` why it could not be started.
            failure: Failure,
        }
        /// The run, which is to cancel itself, asked the child to do so as well, and goes on waiting for it.
        "child.cancel-requested" 1 => ChildCancelRequested = 38: Decision, Nothing {
            /// The durable call.
            id: CommandId,
        }
        /// The run gave the child up.
        "child.cancelled" 1 => ChildCancelled = 39: Decision, GiveUp {
            /// The durable call.
            id: CommandId,
            /// What becomes of the child.
            policy: ChildPolicy,
        }
        /// An update arrived, and the run is going to answer it.
        "update.received" 1 => UpdateReceived = 40: Resolution, Nothing {
            /// The message that carried the update.
            message: MessageId,
            /// The update's name.
            update: Name,
            /// What is asked for.
            request: Payload,
            /// The update's idempotency key.
            key: Option<String>,
            /// The place in a trace at which the update was sent, if its client traces.
            trace: Option<Box<TraceContext>>,
        }
        /// The run answered an update.
        "update.replied" 1 => UpdateReplied = 41: Decision, Reply {
            /// The durable call that took the update.
            id: CommandId,
            /// The message that carried the update.
            message: MessageId,
            /// The update's name.
            update: Name,
            /// The answer.
            answer: Payload,
        }
        /// The run dropped an update that it had taken, without an answer.
        "update.dropped" 1 => UpdateDropped = 42: Decision, Reply {
            /// The durable call that took the update.
            id: CommandId,
            /// The message that carried the update.
            message: MessageId,
            /// The update's name.
            update: Name,
        }
        /// The run recorded a value that a replay could not compute again.
        "value.recorded" 1 => ValueRecorded = 16: Local, Nothing {
            /// The value's name.
            name: Name,
            /// The value.
            value: Payload,
        }
        /// The run asked where the shards of another queue are, in which it starts children.
        "queue.resolved" 1 => QueueResolved = 60: Local, Nothing {
            /// The queue.
            queue: Name,
            /// The number of its first shard.
            first_shard: u32,
            /// How many shards it has; 0 if there was no such queue.
            shard_count: u32,
        }
        /// The run published a value of one of its views.
        "view.published" 1 => ViewPublished = 30: Note, Publish {
            /// The view's name.
            view: Name,
            /// The value.
            value: Payload,
        }
        /// The run set one of its attributes, or removed it.
        "attribute.set" 1 => AttributeSet = 61: Note, Publish {
            /// The attribute's name.
            attribute: Name,
            /// The value; none if the attribute was removed.
            value: Option<String>,
        }
        /// A client asked the run to cancel itself.
        "cancel.requested" 1 => CancelRequested = 17: Resolution, Nothing {
            /// The message that carried the request.
            message: MessageId,
            /// The reason, if the caller gave one.
            reason: Option<String>,
        }
        /// The run's deadline passed, which cancels it.
        "deadline.passed" 1 => DeadlinePassed = 53: Resolution, Nothing {
            /// The deadline.
            deadline: Timestamp,
        }
        /// A client paused the run. From now on resolutions wait, and no attempt begins.
        "run.paused" 1 => RunPaused = 55: Note, Nothing {
            /// The message that carried the request.
            message: MessageId,
            /// The reason, if the caller gave one.
            reason: Option<String>,
        }
        /// A client ended the pause of the run.
        "run.unpaused" 1 => RunUnpaused = 56: Note, Nothing {
            /// The message that carried the request.
            message: MessageId,
        }
        /// The run's code could not process the resolution that follows. From now on resolutions wait.
        "run.stalled" 1 => RunStalled = 18: Note, Nothing {
            /// The diagnosis.
            reason: String,
        }
        /// Code that follows the history processed waiting resolutions. Its decisions follow.
        "run.resumed" 1 => RunResumed = 19: Note, Nothing {
            /// How many resolutions it processed, the oldest first.
            released: u32,
        }
        /// The workflow is over, and its compensations follow.
        "run.ending" 1 => RunEnding = 20: Decision, Ending {
            /// What the workflow returned.
            outcome: Outcome,
            /// The signals and updates that it has not taken, if the run may be tried again: they go along to the next attempt.
            left: Option<LeftMessages>,
        }
        /// The run registered an activity that is executed if the run fails or is cancelled.
        "compensation.registered" 1 => CompensationRegistered = 21: Decision, Nothing {
            /// The durable call.
            id: CommandId,
            /// The activity's name.
            activity: Name,
            /// The activity's input.
            input: Payload,
            /// The activity's retry policy and timeouts.
            options: ActivityOptions,
        }
        /// A compensation was scheduled.
        "compensation.scheduled" 1 => CompensationScheduled = 22: Note, Dispatch {
            /// The durable call that registered it.
            id: CommandId,
        }
        /// A compensation succeeded.
        "compensation.completed" 1 => CompensationCompleted = 23: Note, Outcome {
            /// The durable call that registered it.
            id: CommandId,
        }
        /// A compensation failed, and is not retried.
        "compensation.failed" 1 => CompensationFailed = 24: Note, Outcome {
            /// The durable call that registered it.
            id: CommandId,
            /// Why its last attempt failed.
            failure: Failure,
        }
        /// The run gave up a compensation that it had registered.
        "compensation.discarded" 1 => CompensationDiscarded = 52: Decision, Nothing {
            /// The durable call that registered it.
            id: CommandId,
        }
        /// The run began a round: all registered compensations are executed, the last registered first.
        "compensations.begun" 1 => CompensationsBegun = 50: Decision, Nothing {
            /// The durable call.
            id: CommandId,
        }
        /// A round of compensations ended.
        "compensations.ended" 1 => CompensationsEnded = 51: Resolution, Outcome {
            /// The durable call.
            id: CommandId,
            /// Those that failed, in the order of their execution.
            uncompensated: Vec<Uncompensated>,
        }
        /// The workflow returned a value. Terminal.
        "run.completed" 1 => RunCompleted = 25: Decision, Terminal(Completed) {
            /// The value.
            result: Payload,
        }
        /// The workflow returned an error. Terminal.
        "run.failed" 1 => RunFailed = 26: Decision, Terminal(Failed) {
            /// The error.
            failure: Failure,
            /// Compensations that failed as well, in the order of their execution.
            uncompensated: Vec<Uncompensated>,
        }
        /// The workflow returned the cancellation that was requested. Terminal.
        "run.cancelled" 1 => RunCancelled = 27: Decision, Terminal(Cancelled) {
            /// The reason, if the caller of `cancel` gave one.
            reason: Option<String>,
            /// Compensations that failed, in the order of their execution.
            uncompensated: Vec<Uncompensated>,
        }
        /// The run was not over at its deadline: the workflow returned the cancellation, or it was not asked after its grace.
        /// Terminal.
        "run.timed-out" 1 => RunTimedOut = 54: Decision, Terminal(TimedOut) {
            /// The deadline.
            deadline: Timestamp,
            /// The end of the grace, if the run was ended without asking its code.
            grace_until: Option<Timestamp>,
            /// Compensations that failed, in the order of their execution.
            uncompensated: Vec<Uncompensated>,
            /// The activities of the compensations that were skipped.
            skipped: Vec<String>,
        }
        /// A client ended the run without asking its code. Terminal.
        "run.terminated" 1 => RunTerminated = 28: Note, Terminal(Terminated) {
            /// The message that carried the request.
            message: MessageId,
            /// The reason.
            reason: String,
            /// The activities of the compensations that were skipped.
            skipped: Vec<String>,
        }
        /// The workflow continued as new: its successor began in the same append, with the input that the workflow gave it.
        /// Terminal.
        "run.continued" 1 => RunContinued = 45: Decision, Terminal(Continued) {
            /// The run that goes on.
            successor: RunId,
        }
        /// The workflow returned an error, and its run is tried again: the next attempt began in the same append. Terminal.
        "run.retried" 1 => RunRetried = 46: Decision, Terminal(Retried) {
            /// The run of the next attempt.
            successor: RunId,
            /// The error.
            failure: Failure,
            /// When the next attempt begins.
            retry_at: Timestamp,
            /// Compensations that failed as well, in the order of their execution.
            uncompensated: Vec<Uncompensated>,
        }
        /// The predecessors of the run in its chain have logged these messages.
        "messages.known" 1 => MessagesKnown = 47: Note, Nothing {
            /// The messages.
            messages: KnownMessages,
        }
        }
    };
}

/// Passes the rows of messages to a macro.
macro_rules! messages {
    ($make:ident) => {
        $make! { Message:
        /// Begins the run.
        "start" 1 => Start = 1 {
            /// The workflow's name.
            workflow: Name,
            /// The workflow's input.
            input: Payload,
            /// The idempotency key.
            key: Option<String>,
            /// When to begin, if not at once.
            start_at: Option<Timestamp>,
            /// Whether a processor may have begun the run already, by a local start.
            repeated: Flag,
            /// The run that started it, if a run did, and its durable call.
            parent: Option<Parent>,
            /// When the whole run is retried if it fails.
            retry: RetryPolicy,
            /// When to cancel the run, if it is not over.
            deadline: Option<Timestamp>,
            /// When to end the run without asking its code, if it is not over.
            grace_until: Option<Timestamp>,
            /// The place in a trace at which the run is started.
            trace: Option<Box<TraceContext>>,
            /// What the run is found by.
            attributes: Attributes,
        }
        /// Delivers a signal to the run.
        "signal" 1 => Signal = 2 {
            /// The signal's name.
            signal: Name,
            /// The signal's content.
            payload: Payload,
            /// The signal's idempotency key.
            key: Option<String>,
            /// The place in a trace at which it is sent.
            trace: Option<Box<TraceContext>>,
        }
        /// Asks the run to cancel itself.
        "cancel" 1 => Cancel = 3 {
            /// The reason, if the caller gave one.
            reason: Option<String>,
            /// The run that asks, if its parent does.
            parent: Option<RunId>,
        }
        /// Ends the run without asking its code.
        "terminate" 1 => Terminate = 4 {
            /// The reason.
            reason: String,
            /// The run that asks, if its parent does.
            parent: Option<RunId>,
        }
        /// A task of the run ended.
        "task-ended" 1 => TaskEnded = 5 {
            /// The durable call.
            id: CommandId,
            /// The number of the event that enqueued the task.
            task: EventSeq,
            /// The value that the activity returned, or the failure of the attempt.
            outcome: Outcome,
            /// Whether the value was recorded together with the effects of the activity, so that the log shows it even if
            /// the run has given the activity up.
            committed: Flag,
        }
        /// A task of the run was lost with its executors, and is not executed again.
        "task-lost" 1 => TaskLost = 6 {
            /// The durable call.
            id: CommandId,
            /// The number of the event that enqueued the task.
            task: EventSeq,
            /// How many executors were lost while they had it.
            losses: u32,
        }
        /// Asks for the run to be paused.
        "pause" 1 => Pause = 23 {
            /// The reason, if the caller gave one.
            reason: Option<String>,
        }
        /// Ends the pause of the run, and asks for it to be tried again if it was set aside or has stalled.
        "resume" 1 => Resume = 7 {
        }
        /// Delivers a signal that a run sent. If there is no such run, it goes back to its sender.
        "run-signal" 1 => RunSignal = 8 {
            /// The signal's name.
            signal: Name,
            /// The signal's content.
            payload: Payload,
            /// The run that sent it.
            sender: RunId,
            /// The run that it is for.
            to: Recipient,
            /// The place in a trace at which its sender was started.
            trace: Option<Box<TraceContext>>,
        }
        /// Asks for the attempts that wait for their time to begin at once.
        "retry" 1 => Retry = 11 {
        }
        /// Tells a parent how its child ended.
        "child-ended" 1 => ChildEnded = 12 {
            /// The parent's durable call that started the child.
            id: CommandId,
            /// The child.
            child: RunId,
            /// What the child returned; a failure if it was terminated.
            outcome: Outcome,
        }
        /// Delivers an update to the run, which replies to it.
        "update" 1 => Update = 17 {
            /// The update's name.
            update: Name,
            /// What is asked for.
            request: Payload,
            /// The update's idempotency key.
            key: Option<String>,
            /// The place in a trace at which it is sent.
            trace: Option<Box<TraceContext>>,
        }
        }
    };
}

pub(super) use {events, messages};
