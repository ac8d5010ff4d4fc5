//! Stores the fields of each kind of event and message in the order of the table. It must not know how a field becomes
//! bytes.

use super::cbor::{Decoded, Fault};
use super::fields::{FieldsReader, FieldsWriter};
use crate::log::event::Event;
use crate::log::message::Message;
use crate::log::table::{events, messages};

/// A type that is stored as a version and fields.
pub(super) trait Layout: Sized {
    /// The stored code of its kind, and the version in which its fields are written.
    fn code_and_version(&self) -> (u8, u64);

    /// Writes the fields.
    fn write_fields(&self, to: &mut FieldsWriter<'_>);

    /// Reads the fields of the stored kind and version, up to the end of the body.
    fn read_fields(code: u8, version: Version, from: &mut FieldsReader<'_, '_>) -> Decoded<Self>;
}

/// The version at the beginning of a body, and its offset.
#[derive(Clone, Copy)]
pub(super) struct Version {
    number: u64,
    at: usize,
}

impl Version {
    pub(super) fn take(from: &mut FieldsReader<'_, '_>) -> Decoded<Self> {
        let at = from.at();
        Ok(Self { number: from.take("version")?, at })
    }

    /// Refuses every version except the known one.
    pub(super) fn check(self, known: u64) -> Decoded<()> {
        let Self { number, at } = self;
        if number == known {
            return Ok(());
        }
        let advice = if number > known { "use a newer build" } else { "it was never written" };
        let problem = format!("version {number}, and this build knows only {known}; {advice}");
        Err(Fault::new(at, problem))
    }
}

/// Defines writing and reading from the same rows of the table, so that both use one order of fields.
macro_rules! make_layout {
    ($type:ident: $(
        $(#[$doc:meta])*
        $name:literal $version:literal => $variant:ident = $code:literal
            $(: $role:ident, $consequence:ident $(($status:ident))?)?
        {
            $($(#[$field_doc:meta])* $field:ident: $field_type:ty,)*
        }
    )*) => {
        impl Layout for $type {
            fn code_and_version(&self) -> (u8, u64) {
                match self {
                    $(Self::$variant { .. } => ($code, $version),)*
                }
            }

            fn write_fields(&self, to: &mut FieldsWriter<'_>) {
                match self {
                    $(Self::$variant { $($field),* } => { $(to.put($field);)* })*
                }
            }

            fn read_fields(code: u8, version: Version, from: &mut FieldsReader<'_, '_>) -> Decoded<Self> {
                match code {
                    $($code => {
                        version.check($version)?;
                        $(let $field = from.take(stringify!($field))?;)*
                        // The check precedes the construction, because the value is large and would be moved.
                        from.end_of_body()?;
                        Ok(Self::$variant { $($field),* })
                    })*
                    _ => Err(Fault::new(from.at(), "this build does not know the kind; use a newer build")),
                }
            }
        }
    };
}

events!(make_layout);
messages!(make_layout);
