//! Messages: what is sent to a run from outside its processor. It must not know where messages wait.

use super::table::messages;
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::data::time::Timestamp;

/// Something that is mostly not so, and then takes no bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flag(pub(crate) bool);

/// Makes [`Message`] from the table.
macro_rules! make_message {
    (Message: $(
        $(#[$message_doc:meta])*
        $name:literal $version:literal => $variant:ident {
            $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
        }
    )*) => {
        /// What a message in the inbox says.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) enum Message {
            $($(#[$message_doc])* $variant { $($(#[$field_doc])* $field: $type,)* },)*
        }
    };
}

messages!(make_message);
