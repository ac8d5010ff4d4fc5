//! Events: immutable facts about a run, in the past tense. They must not know how they are stored
//! ([`wire`](super::wire) does) or how they change a run (`run::state` does).

use super::table::events;
use crate::data::failure::Failure;
use crate::data::id::{CommandId, LeaseId, MessageId};
use crate::data::name::{EventName, Name};
use crate::data::options::ActivityOptions;
use crate::data::outcome::{Outcome, Uncompensated};
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::store::append::ClosedStatus;

/// The role of an event for its run's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It arrived from outside, and the program is polled for it.
    Resolution,
    /// The program decided it.
    Decision,
    /// The program resolved it itself, while it was polled for the previous resolution.
    Local,
    /// The engine's own note, which the program does not see.
    Note,
}

/// What follows from an event, whatever the values of its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consequence {
    /// Nothing but a change of the run's state.
    Nothing,
    /// The activity of its durable call is executed.
    Dispatch,
    /// Its durable call is over: this is the outcome.
    Outcome,
    /// Its durable call is over: the run gave it up.
    GiveUp,
    /// The workflow is over: only its compensations follow.
    Ending,
    /// The run is over.
    Terminal(ClosedStatus),
}

/// Finds the durable call among an event's fields, which are given twice: as names to search, and as values.
macro_rules! call_of {
    ([id $($rest:ident)*] $id:ident $($value:ident)*) => {
        Some(*$id)
    };
    ([$($name:ident)*] $($value:ident)*) => {
        None
    };
}

/// Defines [`Event`], and everything that follows from its rows in the table.
macro_rules! make_event {
    (Event: $(
        $(#[$event_doc:meta])*
        $name:literal $version:literal => $variant:ident: $role:ident, $consequence:ident $(($status:ident))? {
            $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
        }
    )*) => {
        /// A fact about a run.
        ///
        /// *Decisions* are made by the run itself, *resolutions* arrive from outside, and *local resolutions* are values
        /// that the run recorded. The other events are notes of the engine, which workflow code does not see.
        ///
        /// Later versions may add events, and fields to events: give a `match` a `_` arm, and end its patterns in `..`.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Event {
            $($(#[$event_doc])* #[non_exhaustive] $variant { $($(#[$field_doc])* $field: $type,)* },)*
        }

        /// Every stored name that this build knows.
        pub(crate) const STORED_NAMES: &[&str] = &[$($name),*];

        /// Every event's stored name, its version, and its fields with their types.
        #[cfg(feature = "__testing")]
        #[doc(hidden)]
        pub const LAYOUTS: &[(&str, u64, &[(&str, &str)])] =
            &[$(($name, $version, &[$((stringify!($field), stringify!($type))),*])),*];

        /// The names of terminal events, by the status of the run.
        const TERMINAL_NAMES: &[(ClosedStatus, &str)] = &[$($((ClosedStatus::$status, $name),)?)*];

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

            pub(crate) fn consequence(&self) -> Consequence {
                match self {
                    $(Self::$variant { .. } => Consequence::$consequence $((ClosedStatus::$status))?,)*
                }
            }

            /// The durable call that the event is about, if it is about one; 0 is the delay of the run's start.
            #[expect(unused_variables, reason = "all fields of an event are bound, to find the call among them")]
            pub fn call(&self) -> Option<CommandId> {
                match self {
                    $(Self::$variant { $($field),* } => call_of!([$($field)*] $($field)*),)*
                }
            }
        }

        /// Events with all their fields, for tests outside of core, which cannot construct the variants of [`Event`].
        #[cfg(feature = "__testing")]
        pub mod whole {
            use super::*;

            $(
                $(#[$event_doc])*
                #[derive(Clone, Debug)]
                pub struct $variant { $($(#[$field_doc])* pub $field: $type,)* }

                impl From<$variant> for Event {
                    fn from($variant { $($field),* }: $variant) -> Self {
                        Self::$variant { $($field),* }
                    }
                }
            )*
        }
    };
}

events!(make_event);

impl Event {
    /// Every stored name that this build knows.
    #[cfg(feature = "__testing")]
    pub fn names() -> &'static [&'static str] {
        STORED_NAMES
    }

    /// Whether the event is the outcome of its durable call: a value, a failure, or a deadline that passed.
    pub fn is_outcome(&self) -> bool {
        self.consequence() == Consequence::Outcome
    }

    /// Whether the run resolved something for itself with this event, such as a recorded value.
    pub fn is_local(&self) -> bool {
        self.role() == Role::Local
    }

    /// Whether the run gave up its durable call with this event.
    pub fn gives_up(&self) -> bool {
        self.consequence() == Consequence::GiveUp
    }

    /// Whether the event ends the run.
    pub fn is_terminal(&self) -> bool {
        self.closed_status().is_some()
    }

    /// How the event ends the run, if it does.
    pub(crate) fn closed_status(&self) -> Option<ClosedStatus> {
        match self.consequence() {
            Consequence::Terminal(status) => Some(status),
            Consequence::Nothing
            | Consequence::Dispatch
            | Consequence::Outcome
            | Consequence::GiveUp
            | Consequence::Ending => None,
        }
    }
}

impl EventName {
    /// The name that a store kept. A name that this build does not know is kept as it is.
    pub fn from_stored(name: &str) -> Self {
        match STORED_NAMES.iter().find(|known| **known == name) {
            Some(known) => Self::from_static(known),
            None => Self::from_newer_build(name),
        }
    }

    /// The name of the event that ends a run with this status.
    pub(crate) fn of_end(status: ClosedStatus) -> Self {
        let named = TERMINAL_NAMES.iter().find(|(ends, _)| *ends == status);
        Self::from_static(named.expect("every status has an event").1)
    }

    /// Whether an event with this name ends its run.
    pub fn is_terminal(&self) -> bool {
        TERMINAL_NAMES.iter().any(|(_, name)| *name == self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_closed_status_has_its_event() {
        use ClosedStatus::{Cancelled, Completed, Failed, Terminated};
        let names = [Completed, Failed, Cancelled, Terminated].map(EventName::of_end);
        let expected = ["run.completed", "run.failed", "run.cancelled", "run.terminated"];
        assert_eq!(names.each_ref().map(EventName::as_str), expected);
        assert!(names.iter().all(EventName::is_terminal));
        assert!(!EventName::from_stored("run.ending").is_terminal());
    }
}
