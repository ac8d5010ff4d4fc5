//! What the transactions model promises.

use stateright::Property;

use crate::transactions::{Guard, Run, Stage, State, Transactions, Work};

pub(super) const APPLIED_ONCE: &str = "a user's writes are committed once";
pub(super) const RECORDED_IS_TRUE: &str = "the recorded outcome says whether the writes were committed";
pub(super) const APPLIED_IS_SHOWN: &str = "what was committed is in the log in the end";
pub(super) const APPENDS_DO_NOT_WAIT: &str = "no append waits for a user's transaction";
pub(super) const HEARTBEATS_DO_NOT_WAIT: &str = "no heartbeat waits for a user's transaction";
pub(super) const NOTHING_WAITS_FOR_EVER: &str = "somebody is going to bring the activity on";

pub(super) fn all() -> Vec<Property<Transactions>> {
    vec![
        Property::always(APPLIED_ONCE, |_, state: &State| state.applied <= 1),
        Property::always(RECORDED_IS_TRUE, |_, state: &State| match state.run {
            Run::Completed | Run::CancelledAndCompleted => state.applied > 0,
            Run::Failed => state.applied == 0,
            Run::Waits | Run::Cancelled => true,
        }),
        Property::always(APPLIED_IS_SHOWN, |_, state: &State| {
            let is_shown = matches!(state.run, Run::Completed | Run::CancelledAndCompleted);
            state.applied == 0 || is_shown || state.told || is_to_be_told(state)
        }),
        Property::always(APPENDS_DO_NOT_WAIT, |_, state| holds(state, APPENDS_DO_NOT_WAIT)),
        Property::always(HEARTBEATS_DO_NOT_WAIT, |_, state| holds(state, HEARTBEATS_DO_NOT_WAIT)),
        Property::always(NOTHING_WAITS_FOR_EVER, |model: &Transactions, state: &State| {
            let is_alive = state.row.is_some_and(|row| {
                let is_fenced = row.holder.is_some_and(|lease| state.fenced[usize::from(lease)]);
                !is_fenced || state.is_locked() || model.guards.has(Guard::ClaimTakesRowsOfFenced)
            });
            state.run != Run::Waits || state.told || is_alive
        }),
    ]
}

/// Whether a process has committed the writes and has still to say so.
fn is_to_be_told(state: &State) -> bool {
    state.works.iter().flatten().any(|Work { stage, .. }| *stage == Stage::Committed)
}

fn holds(state: &State, property: &'static str) -> bool {
    !state.broken.contains(&property)
}
