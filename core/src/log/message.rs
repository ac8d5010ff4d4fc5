//! Messages: what is sent to a run from outside of its processor. They must not know where they wait.

use super::table::messages;
use crate::data::attributes::Attributes;
use crate::data::child::Parent;
use crate::data::id::{CommandId, EventSeq, RunId};
use crate::data::name::Name;
use crate::data::outcome::Outcome;
use crate::data::payload::Payload;
use crate::data::recipient::Recipient;
use crate::data::retry::RetryPolicy;
use crate::data::time::Timestamp;
use crate::data::trace_context::TraceContext;

/// A `bool` that is usually `false`, and is then stored in no bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flag(pub(crate) bool);

/// Defines [`Message`] from the table.
macro_rules! make_message {
    (Message: $(
        $(#[$message_doc:meta])*
        $name:literal $version:literal => $variant:ident = $code:literal {
            $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
        }
    )*) => {
        /// The content of a message in the inbox.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) enum Message {
            $($(#[$message_doc])* $variant { $($(#[$field_doc])* $field: $type,)* },)*
        }

        impl Message {
            /// The name of the kind with this stored code; `None` if this build does not know it.
            pub(crate) fn name_of(code: u8) -> Option<&'static str> {
                match code {
                    $($code => Some($name),)*
                    _ => None,
                }
            }
        }
    };
}

messages!(make_message);

impl Message {
    /// Whether it is for the runs that continue its run, too. The others are about one run's own calls.
    pub(crate) fn follows_chain(&self) -> bool {
        match self {
            Self::Signal { .. }
            | Self::Update { .. }
            | Self::RunSignal { .. }
            | Self::Cancel { .. }
            | Self::Terminate { .. }
            | Self::Pause { .. }
            | Self::Resume {}
            | Self::Retry {}
            // The child may have been carried along.
            | Self::ChildEnded { .. } => true,
            Self::Start { .. } | Self::TaskEnded { .. } | Self::TaskLost { .. } => false,
        }
    }
}
