//! The event vocabulary: facts about a run, past tense, immutable. It must not know how events are stored
//! ([`wire`](super::wire) does) or what a run makes of them (`run::state` does).

use super::table::events;
use crate::data::failure::Failure;
use crate::data::id::{CommandId, LeaseId, MessageId};
use crate::data::name::{EventName, Name};
use crate::data::options::ActivityOptions;
use crate::data::outcome::{Outcome, Uncompensated};
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::store::append::ClosedStatus;

/// What part an event plays for the program of its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It came from outside, and the program is polled for it.
    Resolution,
    /// The program decided it.
    Decision,
    /// The program resolved it for itself, while it was polled for the resolution before it.
    Local,
    /// The engine's own note: the program does not see it.
    Note,
}

/// What follows from an event, whatever its fields say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consequence {
    /// Nothing more than the fold of the log says.
    Nothing,
    /// The activity of its durable call is to be executed.
    Dispatch,
    /// Its durable call is over: this is what it came to.
    Outcome,
    /// Its durable call is over: the run does not want it any more.
    GiveUp,
    /// The workflow is over: nothing of it goes on but its compensations.
    Ending,
    /// The run is over.
    Terminal(ClosedStatus),
}

/// Tells the durable call among an event's fields, which come twice: as names to find it by, and as values.
macro_rules! call_of {
    ([id $($rest:ident)*] $id:ident $($value:ident)*) => {
        Some(*$id)
    };
    ([$($name:ident)*] $($value:ident)*) => {
        None
    };
}

/// Makes [`Event`] from the table, and all that its rows tell of it.
macro_rules! make_event {
    (Event: $(
        $(#[$event_doc:meta])*
        $name:literal $version:literal => $variant:ident: $role:ident, $consequence:ident $(($status:ident))? {
            $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
        }
    )*) => {
        /// A fact about a run.
        ///
        /// *Decisions* are what the run itself decided, *resolutions* what came to it from outside, *local resolutions*
        /// what it resolved for itself; the other events are the engine's own notes, which no workflow code sees.
        ///
        /// Later versions may add events, and fields to events: a `match` has a `_` arm, and its patterns end in `..`.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Event {
            $($(#[$event_doc])* #[non_exhaustive] $variant { $($(#[$field_doc])* $field: $type,)* },)*
        }

        /// Every stored name that this build knows.
        pub(crate) const STORED_NAMES: &[&str] = &[$($name),*];

        /// The names of terminal events, by how the run ended.
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

            /// The durable call that the event is about; number 0 is the delay of the run's start.
            #[expect(unused_variables, reason = "every event's fields are bound, to find the call among them")]
            pub fn call(&self) -> Option<CommandId> {
                match self {
                    $(Self::$variant { $($field),* } => call_of!([$($field)*] $($field)*),)*
                }
            }
        }

        /// Events with all their fields, which only tests make outside of core: [`Event`] itself may get more fields.
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

    /// Whether the event is what its durable call came to: a value, a failure, or a deadline that passed.
    pub fn is_outcome(&self) -> bool {
        self.consequence() == Consequence::Outcome
    }

    /// Whether with this event the run gave its durable call up.
    pub fn gives_up(&self) -> bool {
        self.consequence() == Consequence::GiveUp
    }

    /// Whether the run is over with this event.
    pub fn is_terminal(&self) -> bool {
        self.closed_status().is_some()
    }

    /// How the run ended with this event, if it did.
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
    /// The name as a store kept it.
    pub fn from_stored(name: &str) -> Self {
        match STORED_NAMES.iter().find(|known| **known == name) {
            Some(known) => Self::from_static(known),
            None => Self::from_newer_build(name),
        }
    }

    /// The name of the event with which a run ends so.
    pub(crate) fn of_end(status: ClosedStatus) -> Self {
        let named = TERMINAL_NAMES.iter().find(|(ends, _)| *ends == status);
        Self::from_static(named.expect("every status is that of an event").1)
    }

    /// Whether a run is over with an event of that name.
    pub fn is_terminal(&self) -> bool {
        TERMINAL_NAMES.iter().any(|(_, name)| *name == self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_for_a_run_to_end_has_its_event() {
        use ClosedStatus::{Cancelled, Completed, Failed, Terminated};
        let names = [Completed, Failed, Cancelled, Terminated].map(EventName::of_end);
        let expected = ["run.completed", "run.failed", "run.cancelled", "run.terminated"];
        assert_eq!(names.each_ref().map(EventName::as_str), expected);
        assert!(names.iter().all(EventName::is_terminal));
        assert!(!EventName::from_stored("run.ending").is_terminal());
    }
}
