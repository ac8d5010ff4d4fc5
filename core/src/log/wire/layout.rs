//! Which fields each kind of event and message is stored with, and in which order. It must not know how a field
//! becomes bytes.

use super::cbor::{Fault, Read};
use super::fields::{FieldsReader, FieldsWriter};
use crate::log::event::Event;
use crate::log::message::Message;

/// What is stored as a version and fields.
pub(super) trait Layout: Sized {
    /// The stored name, and the version in which the fields are written.
    fn kind(&self) -> (&'static str, u64);

    /// Writes the fields, in the order in which they are stored.
    fn write_fields(&self, to: &mut FieldsWriter<'_>);

    /// Reads the fields of the kind and version that were stored, up to the end of the body.
    fn read_fields(name: &str, version: Version, from: &mut FieldsReader<'_, '_>) -> Read<Self>;
}

/// The version that a body begins with, and where that is.
#[derive(Clone, Copy)]
pub(super) struct Version {
    number: u64,
    at: usize,
}

impl Version {
    pub(super) fn take(from: &mut FieldsReader<'_, '_>) -> Read<Self> {
        let at = from.at();
        Ok(Self { number: from.take("version")?, at })
    }

    /// Refuses every version but the one that is known.
    fn check(self, known: u64) -> Read<()> {
        let Self { number, at } = self;
        if number == known {
            return Ok(());
        }
        let advice = if number > known { "use a newer build" } else { "that one was never written" };
        let problem =
            format!("version {number}, and the greatest that this build knows is {known}; {advice}");
        Err(Fault::new(at, problem))
    }
}

/// Makes writing and reading from one table, so that they cannot differ in the order of fields. Its patterns
/// name every variant and every field: what is left out of the table does not compile.
macro_rules! layout {
    ($type:ident: $($name:literal $version:literal => $variant:ident { $($field:ident),* };)*) => {
        impl Layout for $type {
            fn kind(&self) -> (&'static str, u64) {
                match self {
                    $(Self::$variant { .. } => ($name, $version),)*
                }
            }

            fn write_fields(&self, to: &mut FieldsWriter<'_>) {
                match self {
                    $(Self::$variant { $($field),* } => { $(to.put($field);)* })*
                }
            }

            fn read_fields(name: &str, version: Version, from: &mut FieldsReader<'_, '_>) -> Read<Self> {
                match name {
                    $($name => {
                        version.check($version)?;
                        $(let $field = from.take(stringify!($field))?;)*
                        // Checked before the value is made: a finished value is large, and would be moved.
                        from.end_of_body()?;
                        Ok(Self::$variant { $($field),* })
                    })*
                    _ => Err(Fault::new(from.at(), "this build knows no such name; use a newer build")),
                }
            }
        }
    };
}

// What is here is stored. Once released, a line may only grow: at its end, by fields that may be absent.
// Fields that must be there come first, so that those that are mostly absent cost nothing.
layout! { Event:
    "run.started" 1 => RunStarted { workflow, input, lease, key, start_at };
    "run.adopted" 1 => RunAdopted { lease, worker };
    "activity.scheduled" 1 => ActivityScheduled { id, activity, input, options };
    "activity.attempt-started" 1 => ActivityAttemptStarted { id, attempt };
    "activity.attempt-failed" 1 => ActivityAttemptFailed { id, attempt, failure, retry_at };
    "activity.attempt-lost" 1 => ActivityAttemptLost { id, attempt };
    "activity.completed" 1 => ActivityCompleted { id, result };
    "activity.failed" 1 => ActivityFailed { id, failure };
    "activity.cancelled" 1 => ActivityCancelled { id };
    "step.completed" 1 => StepCompleted { id, step, result };
    "step.failed" 1 => StepFailed { id, step, failure };
    "timer.started" 1 => TimerStarted { id, fire_at };
    "timer.fired" 1 => TimerFired { id };
    "timer.cancelled" 1 => TimerCancelled { id };
    "signal.received" 1 => SignalReceived { message, signal, payload, key };
    "cancel.requested" 1 => CancelRequested { message, reason };
    "run.stalled" 1 => RunStalled { reason };
    "run.resumed" 1 => RunResumed { released };
    "run.ending" 1 => RunEnding { outcome };
    "compensation.registered" 1 => CompensationRegistered { id, activity, input, options };
    "compensation.scheduled" 1 => CompensationScheduled { id };
    "compensation.completed" 1 => CompensationCompleted { id };
    "compensation.failed" 1 => CompensationFailed { id, failure };
    "run.completed" 1 => RunCompleted { result };
    "run.failed" 1 => RunFailed { failure, uncompensated };
    "run.cancelled" 1 => RunCancelled { reason, uncompensated };
    "run.terminated" 1 => RunTerminated { message, reason, skipped };
}

// As above.
layout! { Message:
    "start" 1 => Start { workflow, input, key, start_at, repeated };
    "signal" 1 => Signal { signal, payload, key };
    "cancel" 1 => Cancel { reason };
    "terminate" 1 => Terminate { reason };
}
