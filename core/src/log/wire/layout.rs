//! How the fields of each kind of event and message are stored: as the table has them, in its order. It must not know
//! how a field becomes bytes.

use super::cbor::{Fault, Read};
use super::fields::{FieldsReader, FieldsWriter};
use crate::log::event::Event;
use crate::log::message::Message;
use crate::log::table::{events, messages};

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

/// Makes writing and reading from the rows of the table, so that they cannot differ in the order of fields.
macro_rules! make_layout {
    ($type:ident: $(
        $(#[$doc:meta])*
        $name:literal $version:literal => $variant:ident $(: $role:ident, $consequence:ident $(($status:ident))?)? {
            $($(#[$field_doc:meta])* $field:ident: $field_type:ty,)*
        }
    )*) => {
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

events!(make_layout);
messages!(make_layout);
