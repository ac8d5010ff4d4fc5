//! Writes the events of runs to the worker's log (by `tracing`) for operators. It must not decide anything.

use crate::log::event::Event;
use crate::run::state::RunState;

/// Logs an event, at the level of its importance to operators.
pub(super) fn report(state: &RunState, event: &Event) {
    let (run, workflow, key) = (state.id, &state.workflow, state.key.as_deref());
    match event {
        Event::ActivityAttemptFailed { id, attempt, failure, retry_at } => {
            let activity = state.activities.get(*id);
            let attempts_max = activity.and_then(|activity| activity.options.get().retry.attempts_max());
            let activity = activity.map(|activity| activity.name.as_str());
            tracing::warn!(
                %run, %workflow, key, activity, attempt, attempts_max, again_at = %retry_at,
                failure_type = %failure.type_name, "an attempt failed: {failure}"
            );
        }
        Event::ActivityAttemptLost { id, attempt } => {
            let activity = state.activities.get(*id).map(|activity| activity.name.as_str());
            tracing::warn!(%run, %workflow, key, activity, attempt, "an attempt ended with its process");
        }
        Event::ActivityFailed { id, failure } | Event::CompensationFailed { id, failure } => {
            tracing::warn!(
                %run, %workflow, key, call = %id, failure_type = %failure.type_name,
                "an activity failed, no attempt is left: {failure}"
            );
        }
        Event::RunFailed { failure, uncompensated } => {
            let uncompensated = uncompensated.len();
            tracing::warn!(
                %run, %workflow, key, failure_type = %failure.type_name, uncompensated, "a run failed: {failure}"
            );
        }
        Event::RunStalled { reason } => tracing::error!(%run, %workflow, key, "a run stalled: {reason}"),
        // A run that continues another begins in this way.
        Event::RunResumed { released } if state.chain.is_some() => {
            tracing::debug!(%run, %workflow, key, released, "a run takes what waited for it");
        }
        Event::RunResumed { released } => {
            tracing::info!(%run, %workflow, key, released, "a stalled run resumes");
        }
        Event::RunPaused { reason, .. } => {
            tracing::info!(%run, %workflow, key, reason, "a client paused a run");
        }
        Event::RunUnpaused { .. } => {
            tracing::info!(%run, %workflow, key, "a client ended the pause of a run");
        }
        Event::DeadlinePassed { deadline } => {
            tracing::warn!(%run, %workflow, key, %deadline, "the deadline of a run passed");
        }
        Event::RunStarted { .. } => tracing::debug!(%run, %workflow, key, "a run started"),
        Event::RunRetried { failure, retry_at, successor, .. } => {
            tracing::warn!(
                %run, %workflow, key, %successor, again_at = %retry_at, failure_type = %failure.type_name,
                "a run failed and is tried again: {failure}"
            );
        }
        Event::RunCompleted { .. }
        | Event::RunCancelled { .. }
        | Event::RunTerminated { .. }
        | Event::RunTimedOut { .. }
        | Event::RunContinued { .. } => {
            tracing::debug!(%run, %workflow, key, how = %event.name(), "a run is over");
        }
        // Most operators do not need the other events.
        other => tracing::trace!(%run, %workflow, key, "{}", other.name()),
    }
}
