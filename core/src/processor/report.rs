//! The lines of the worker's log (by `tracing`) about the events of runs, for operators. A line is kept until its event is
//! committed, so that a crash leaves no line about what never happened. It must not decide anything.

use tracing::{Level, enabled};

use crate::data::id::RunId;
use crate::data::name::Name;
use crate::log::event::Event;
use crate::observe::line_limit::LineLimit;
use crate::run::pending::PendingActivity;
use crate::run::state::RunState;
use crate::run::{FailedActivity, Progress};

/// A line about an event.
#[derive(Debug)]
pub(super) struct Line {
    run: RunId,
    workflow: Name,
    key: Option<String>,
    event: Event,
    /// What the event does not say of its activity.
    activity: Option<About>,
    /// Whether the run continues another.
    continues: bool,
}

/// An activity that a line is about.
#[derive(Debug)]
struct About {
    name: Name,
    attempts_max: Option<u32>,
    /// How many attempts were made.
    attempts: u32,
}

impl Line {
    /// The line about an event that the state contains already; none if no subscriber wants it.
    pub(super) fn about(state: &RunState, failed: &[FailedActivity], event: &Event) -> Option<Self> {
        if !is_wanted(level(event)) {
            return None;
        }
        Some(Self {
            run: state.id,
            workflow: state.workflow.clone(),
            key: state.key.clone(),
            activity: About::of(state, failed, event),
            continues: state.chain.is_some(),
            event: event.clone(),
        })
    }

    /// The line about the start of a run that continues another.
    pub(super) fn of_successor(progress: &Progress) -> Option<Self> {
        let successor = progress.successor.as_deref().filter(|_| is_wanted(Level::DEBUG))?;
        Some(Self {
            run: successor.run,
            workflow: successor.workflow.clone(),
            key: successor.key.clone(),
            activity: None,
            continues: true,
            event: successor.events.first()?.event.clone(),
        })
    }

    /// Writes the line, unless there were too many of its kind in this second.
    pub(super) fn write(&self, limit: &mut LineLimit) {
        // Whoever asks for every line gets every line.
        if level(&self.event) >= Level::DEBUG || limit.allows(self.event.name()) {
            self.write_at_once();
        }
    }

    fn write_at_once(&self) {
        let Self { run, workflow, key, .. } = self;
        let key = key.as_deref();
        let activity = self.activity.as_ref().map(|about| about.name.as_str());
        let attempts_max = self.activity.as_ref().and_then(|about| about.attempts_max);
        let attempts = self.activity.as_ref().map(|about| about.attempts);
        match &self.event {
            Event::ActivityAttemptFailed { id, attempt, failure, retry_at } => tracing::warn!(
                %run, %workflow, key, activity, call = %id, attempt, attempts_max, again_at = %retry_at,
                failure_type = %failure.origin().type_name, %failure, "an attempt failed"
            ),
            Event::ActivityAttemptLost { id, attempt } => tracing::warn!(
                %run, %workflow, key, activity, call = %id, attempt, "an attempt ended with its process"
            ),
            Event::ActivityFailed { id, failure } => tracing::warn!(
                %run, %workflow, key, activity, call = %id, attempts, attempts_max,
                failure_type = %failure.origin().type_name, %failure, "an activity failed, and no attempt is left"
            ),
            Event::CompensationFailed { id, failure } => tracing::warn!(
                %run, %workflow, key, activity, call = %id, attempts, attempts_max,
                failure_type = %failure.origin().type_name, %failure, "a compensation failed, and no attempt is left"
            ),
            Event::StepFailed { id, step, failure } => tracing::warn!(
                %run, %workflow, key, activity = %step, call = %id,
                failure_type = %failure.origin().type_name, %failure, "a step failed, and no attempt is left"
            ),
            Event::RunStarted { .. } => tracing::debug!(%run, %workflow, key, "a run started"),
            Event::RunCompleted { .. } => tracing::debug!(%run, %workflow, key, "a run completed"),
            Event::RunCancelled { reason, uncompensated } => tracing::info!(
                %run, %workflow, key, reason, uncompensated = uncompensated.len(), "a run was cancelled"
            ),
            Event::RunContinued { successor } => {
                tracing::debug!(%run, %workflow, key, %successor, "a run continued as new");
            }
            Event::RunFailed { failure, uncompensated } => tracing::warn!(
                %run, %workflow, key, uncompensated = uncompensated.len(),
                failure_type = %failure.origin().type_name, %failure, "a run failed"
            ),
            Event::RunRetried { failure, retry_at, successor, .. } => tracing::warn!(
                %run, %workflow, key, %successor, again_at = %retry_at,
                failure_type = %failure.origin().type_name, %failure, "a run failed, and is tried again"
            ),
            Event::RunTerminated { reason, skipped, .. } => tracing::info!(
                %run, %workflow, key, reason, skipped = skipped.len(), "a run was terminated"
            ),
            Event::RunTimedOut { deadline, uncompensated, skipped, .. } => tracing::warn!(
                %run, %workflow, key, %deadline, uncompensated = uncompensated.len(), skipped = skipped.len(),
                "a run timed out"
            ),
            Event::DeadlinePassed { deadline } => {
                tracing::warn!(%run, %workflow, key, %deadline, "the deadline of a run passed");
            }
            Event::RunStalled { reason } => tracing::error!(%run, %workflow, key, reason, "a run stalled"),
            // A run that continues another begins in this way, and so does one that was paused.
            Event::RunResumed { released } if self.continues => {
                tracing::debug!(%run, %workflow, key, released, "a run takes what waited for it");
            }
            Event::RunResumed { released } => {
                tracing::info!(%run, %workflow, key, released, "a run resumed");
            }
            Event::RunPaused { reason, .. } => {
                tracing::info!(%run, %workflow, key, reason, "a client paused a run");
            }
            Event::RunUnpaused { .. } => {
                tracing::info!(%run, %workflow, key, "a client ended the pause of a run");
            }
            // Most operators do not need the other events.
            other => tracing::trace!(%run, %workflow, key, event = other.name(), "an event"),
        }
    }
}

impl About {
    fn of(state: &RunState, failed: &[FailedActivity], event: &Event) -> Option<Self> {
        let call = event.call()?;
        if let Some(failed) = failed.iter().find(|failed| failed.call == call) {
            let FailedActivity { activity, attempts, attempts_max, .. } = failed.clone();
            return Some(Self { name: activity, attempts_max, attempts });
        }
        let PendingActivity { name, options, attempt, .. } = state.activities.get(call)?;
        let attempts_max = options.get().retry.attempts_max();
        Some(Self { name: name.clone(), attempts_max, attempts: *attempt })
    }
}

/// Whether a subscriber wants lines of this level from this file.
fn is_wanted(level: Level) -> bool {
    match level {
        Level::ERROR => enabled!(Level::ERROR),
        Level::WARN => enabled!(Level::WARN),
        Level::INFO => enabled!(Level::INFO),
        Level::DEBUG => enabled!(Level::DEBUG),
        Level::TRACE => enabled!(Level::TRACE),
    }
}

/// The level of the line about an event.
fn level(event: &Event) -> Level {
    match event {
        Event::RunStalled { .. } => Level::ERROR,
        Event::ActivityAttemptFailed { .. }
        | Event::ActivityAttemptLost { .. }
        | Event::ActivityFailed { .. }
        | Event::CompensationFailed { .. }
        | Event::StepFailed { .. }
        | Event::DeadlinePassed { .. }
        | Event::RunFailed { .. }
        | Event::RunRetried { .. }
        | Event::RunTimedOut { .. } => Level::WARN,
        Event::RunCancelled { .. }
        | Event::RunTerminated { .. }
        | Event::RunResumed { .. }
        | Event::RunPaused { .. }
        | Event::RunUnpaused { .. } => Level::INFO,
        Event::RunStarted { .. } | Event::RunCompleted { .. } | Event::RunContinued { .. } => Level::DEBUG,
        Event::RunAdopted { .. }
        | Event::RunEnding { .. }
        | Event::ActivityScheduled { .. }
        | Event::ActivityAttemptStarted { .. }
        | Event::RetryRequested { .. }
        | Event::ActivityEnqueued { .. }
        | Event::ActivityCompleted { .. }
        | Event::ActivityCancelled { .. }
        | Event::StepCompleted { .. }
        | Event::TimerStarted { .. }
        | Event::TimerFired { .. }
        | Event::TimerCancelled { .. }
        | Event::SignalReceived { .. }
        | Event::SignalSent { .. }
        | Event::ChildStarted { .. }
        | Event::ChildCarried { .. }
        | Event::QueueResolved { .. }
        | Event::ChildBound { .. }
        | Event::ChildCompleted { .. }
        | Event::ChildFailed { .. }
        | Event::ChildCancelRequested { .. }
        | Event::ChildCancelled { .. }
        | Event::UpdateReceived { .. }
        | Event::UpdateReplied { .. }
        | Event::UpdateDropped { .. }
        | Event::ValueRecorded { .. }
        | Event::ViewPublished { .. }
        | Event::CancelRequested { .. }
        | Event::CompensationRegistered { .. }
        | Event::CompensationScheduled { .. }
        | Event::CompensationCompleted { .. }
        | Event::CompensationDiscarded { .. }
        | Event::CompensationsBegun { .. }
        | Event::CompensationsEnded { .. }
        | Event::MessagesKnown { .. } => Level::TRACE,
    }
}
