//! What the tasks model promises.

use stateright::Property;

use crate::tasks::database::Task;
use crate::tasks::process::{Claim, Process};
use crate::tasks::{Guard, State, Tasks};

pub(super) const ONE_OUTCOME: &str = "an activity has one recorded outcome";
pub(super) const ONE_OUTCOME_PER_ATTEMPT: &str = "an attempt is told to its run once";
pub(super) const AT_MOST_ONCE: &str = "an at-most-once activity is not executed twice";
pub(super) const REPEATED_AFTER_LOSSES_ONLY: &str = "an attempt is repeated only after a process was lost";
pub(super) const LOSSES_ARE_BOUNDED: &str = "an activity that kills processes is stopped in the end";
pub(super) const NOTHING_WAITS_FOR_EVER: &str = "somebody is going to bring the activity on";

pub(super) fn all() -> Vec<Property<Tasks>> {
    vec![
        Property::always(ONE_OUTCOME, |_, state: &State| state.database.run.outcomes <= 1),
        Property::always(ONE_OUTCOME_PER_ATTEMPT, |_, state: &State| {
            let inbox = &state.database.inbox;
            (1..inbox.len())
                .all(|this| inbox[..this].iter().all(|other| other.attempt != inbox[this].attempt))
        }),
        Property::always(AT_MOST_ONCE, |model: &Tasks, state: &State| {
            !model.bounds.at_most_once || state.begun.iter().sum::<u8>() <= 1
        }),
        Property::always(REPEATED_AFTER_LOSSES_ONLY, |_, state: &State| {
            state.begun.iter().all(|begun| *begun <= 1 + state.lost)
        }),
        Property::always(LOSSES_ARE_BOUNDED, |model: &Tasks, state: &State| {
            state.database.task.is_none_or(|task| task.losses <= model.bounds.losses)
        }),
        Property::always(NOTHING_WAITS_FOR_EVER, |model: &Tasks, state: &State| {
            let run = &state.database.run;
            let is_told = || state.database.inbox.iter().any(|outcome| outcome.attempt == run.attempt);
            let is_over = run.outcomes > 0;
            is_over || is_told() || if run.handed_out { is_task_alive(model, state) } else { is_local(state) }
        }),
    ]
}

/// Whether the owner executes the activity itself. A new owner begins with what it finds in the log.
fn is_local(state: &State) -> bool {
    let owner = &state.processes[usize::from(state.database.owner)];
    owner.work.is_some_and(|work| work.local == Some(state.database.ownership))
}

/// Whether the task is free, or held by a lease that lets go of it or whose process knows it.
fn is_task_alive(model: &Tasks, state: &State) -> bool {
    let Some(task) = state.database.task else { return false };
    let Some(lease) = task.holder else { return true };
    if state.database.is_fenced(lease) {
        return false;
    }
    // Without a process that renews it, the lease runs out and is fenced.
    let holder = state.processes.iter().find(|process| process.lease == lease);
    holder.is_none_or(|process| will_do(model, process, task))
}

fn will_do(model: &Tasks, process: &Process, task: Task) -> bool {
    let has_it = process.work.is_some_and(|work| work.attempt == task.attempt);
    let is_named = matches!(process.claim, Some(Claim::Answered { held }) if held == Some(task.attempt));
    // The next claim of the process names the task, too.
    has_it || is_named || model.guards.has(Guard::ClaimAnswersAllHeld)
}
