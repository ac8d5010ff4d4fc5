//! The event vocabulary.

mod name;

pub use self::name::EventName;

/// Every stored name.
const STORED_NAMES: &[&str] = &[
    "run.started",
    "run.adopted",
    "activity.scheduled",
    "activity.attempt-started",
    "activity.attempt-failed",
    "activity.attempt-lost",
    "activity.completed",
    "activity.failed",
    "activity.cancelled",
    "step.completed",
    "step.failed",
    "timer.started",
    "timer.fired",
    "timer.cancelled",
    "signal.received",
    "cancel.requested",
    "run.stalled",
    "run.resumed",
    "run.ending",
    "compensation.registered",
    "compensation.scheduled",
    "compensation.completed",
    "compensation.failed",
    "run.completed",
    "run.failed",
    "run.cancelled",
    "run.terminated",
];
