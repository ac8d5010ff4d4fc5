//! Known bugs of the engine, to order: the simulator is believed once it has found each of them. Only with the feature
//! `__canaries` can one be ordered; without it [`is`] is a constant, and the compiler removes what depends on it. It
//! must not know how a bug is found.

#![cfg_attr(
    not(feature = "__canaries"),
    expect(unreachable_pub, reason = "without the feature, nobody outside can name a bug")
)]

use crate::data::failure::Failure;
use crate::data::outcome::Outcome;
use crate::data::time::Timestamp;
use crate::log::event::Event;
use crate::log::past_event::PastEvent;
use crate::run::{Progress, Run};

/// A known bug of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// An append whose outcome is not known is cut anew.
    AppendRecut,
    /// What an event asks for begins before the event is committed.
    EffectEarly,
    /// A run leaves memory although its deadline is behind what the next query for deadlines will look at.
    WakeUpLost,
    /// What parks is kept in memory up to the watermark of the last answer, not up to that of the query under way.
    MarkMovedLate,
    /// A timer begins anew when its run is replayed.
    TimerRestarted,
    /// An attempt that died with its process is not counted.
    LossUncounted,
    /// A message may follow the end of a run that is still in memory.
    EndIgnored,
    /// A compensation is registered twice.
    CompensatedTwice,
    /// The terminal event of a run that compensated does not say why it failed.
    CauseLost,
    /// What waits for a stalled run is dropped when its code goes on.
    WaitingDropped,
    /// What waits for a stalled run is handed to it with the time of its release.
    WaitingRetimed,
    /// A run that leaves memory cancels what its code was holding.
    EvictionCancels,
    /// Messages that are read together are polled for together.
    PolledPerBatch,
    /// A start that is submitted because its fate is not known begins a run that is in the log.
    RepeatedStartDoubled,
    /// A run that is in memory is loaded all the same, and comes back as it was when it was read.
    Revived,
    /// A turn of work has no end: heartbeats and appends wait until nothing is left to do.
    TurnUnbounded,
}

#[cfg(feature = "__canaries")]
impl Bug {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::AppendRecut,
        Self::EffectEarly,
        Self::WakeUpLost,
        Self::MarkMovedLate,
        Self::TimerRestarted,
        Self::LossUncounted,
        Self::EndIgnored,
        Self::CompensatedTwice,
        Self::CauseLost,
        Self::WaitingDropped,
        Self::WaitingRetimed,
        Self::EvictionCancels,
        Self::PolledPerBatch,
        Self::RepeatedStartDoubled,
        Self::Revived,
        Self::TurnUnbounded,
    ];
}

/// Runs some code with a bug in all of the engine that runs on this thread meanwhile.
#[cfg(feature = "__canaries")]
pub fn with<T>(bug: Bug, code: impl FnOnce() -> T) -> T {
    /// Takes the bug away again, after a panic as well.
    struct Ordered;
    impl Drop for Ordered {
        fn drop(&mut self) {
            switch::ORDERED.set(None);
            switch::POLLS_HELD.set(false);
        }
    }
    switch::ORDERED.set(Some(bug));
    let _ordered = Ordered;
    code()
}

/// Whether the engine is to have this bug.
#[cfg(feature = "__canaries")]
pub(crate) fn is(bug: Bug) -> bool {
    switch::ORDERED.get() == Some(bug)
}

/// Whether the engine is to have this bug: never.
#[cfg(not(feature = "__canaries"))]
pub(crate) const fn is(_bug: Bug) -> bool {
    false
}

/// [`Bug::PolledPerBatch`]: whether the next resolution belongs to the batch of this one.
pub(crate) fn hold_polls(_held: bool) {
    #[cfg(feature = "__canaries")]
    switch::POLLS_HELD.set(_held && is(Bug::PolledPerBatch));
}

/// [`Bug::PolledPerBatch`]: whether the program is to be polled with a later resolution only.
pub(crate) fn polls_are_held() -> bool {
    #[cfg(feature = "__canaries")]
    return switch::POLLS_HELD.get();
    #[cfg(not(feature = "__canaries"))]
    false
}

/// [`Bug::TimerRestarted`]: an event of a history in which every timer begins now.
pub(crate) fn restart_timer(mut past: PastEvent, now: Timestamp) -> PastEvent {
    if is(Bug::TimerRestarted)
        && let Event::TimerStarted { fire_at, .. } = &mut past.event
    {
        *fire_at = fire_at.saturating_add(now.saturating_since(past.at));
    }
    past
}

/// [`Bug::EvictionCancels`]: what a run logs when it leaves memory, and when; nothing once no timer is left.
pub(crate) fn cancel_a_timer(run: &mut Run) -> Option<(Progress, Timestamp)> {
    let (id, now) = (*run.state.timers.keys().next()?, run.state.now);
    Some((run.note(now, Event::TimerCancelled { id }), now))
}

/// [`Bug::CauseLost`]: how a run ended that does not remember it.
pub(crate) fn no_cause() -> Outcome {
    Outcome::Failed(Failure::new("failed", "the run failed"))
}

#[cfg(feature = "__canaries")]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    // The simulator is one thread, and so is each of its worlds.
    thread_local! {
        pub(super) static ORDERED: Cell<Option<Bug>> = const { Cell::new(None) };
        pub(super) static POLLS_HELD: Cell<bool> = const { Cell::new(false) };
    }
}
