//! The stored form of numbers, texts, ids, times, payloads and lists. It must not know which event has which fields.

use std::time::Duration;

use bytes::Bytes;

use super::cbor::{Decoded, Fault, Reader, Writer};
use super::fields::Part;
use crate::data::id::{CommandId, EventSeq, ExecutorId, LeaseId, MessageId, RunId};
use crate::data::name::Name;
use crate::data::payload::{Encoding, Payload};
use crate::data::time::Timestamp;
use crate::log::message::Flag;

impl Part for u64 {
    fn write(&self, to: &mut Writer) {
        to.unsigned(*self);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        from.unsigned()
    }
}

impl Part for u32 {
    fn write(&self, to: &mut Writer) {
        to.unsigned((*self).into());
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        let start = from.at();
        let value = from.unsigned()?;
        Self::try_from(value).map_err(|_| Fault::new(start, format!("{value} does not fit into 32 bits")))
    }
}

impl Part for bool {
    fn write(&self, to: &mut Writer) {
        to.bool(*self);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        from.bool()
    }
}

impl Part for Flag {
    fn write(&self, to: &mut Writer) {
        if self.0 { to.bool(true) } else { to.null() }
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        from.bool().map(Self)
    }

    fn absent() -> Option<Self> {
        Some(Self(false))
    }
}

impl Part for String {
    fn write(&self, to: &mut Writer) {
        to.text(self);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        from.text().map(str::to_owned)
    }
}

impl Part for Name {
    fn write(&self, to: &mut Writer) {
        to.text(self);
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        from.text().map(Self::from)
    }
}

impl<T: Part> Part for Option<T> {
    fn write(&self, to: &mut Writer) {
        match self {
            Some(value) => value.write(to),
            None => to.null(),
        }
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        T::read(from).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Part> Part for Vec<T> {
    fn write(&self, to: &mut Writer) {
        if self.is_empty() {
            return to.null();
        }
        to.array(self.len());
        self.iter().for_each(|item| item.write(to));
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        // No memory is reserved: an item in memory may be a hundred times as large as in the body.
        let items = from.array()?;
        (0..items).map(|_| T::read(from)).collect::<Decoded<_>>()
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

/// Counters and ids are their numbers.
macro_rules! number_parts {
    ($($type:ty => $number:ty;)*) => {
        $(impl Part for $type {
            fn write(&self, to: &mut Writer) {
                self.get().write(to);
            }

            fn read(from: &mut Reader<'_>) -> Decoded<Self> {
                <$number>::read(from).map(Self::new)
            }
        })*
    };
}

number_parts! {
    CommandId => u32;
    EventSeq => u32;
    ExecutorId => u64;
    LeaseId => u64;
}

impl Part for MessageId {
    fn write(&self, to: &mut Writer) {
        to.bytes(&self.as_u128().to_be_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        from.byte_array().map(|bytes| Self::from_u128(u128::from_be_bytes(bytes)))
    }
}

impl Part for RunId {
    fn write(&self, to: &mut Writer) {
        to.bytes(&self.as_u128().to_be_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        from.byte_array().map(|bytes| Self::from_u128(u128::from_be_bytes(bytes)))
    }
}

impl Part for Timestamp {
    fn write(&self, to: &mut Writer) {
        to.signed(self.as_micros());
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        from.signed().map(Self::from_micros)
    }
}

/// Whole seconds are a number, other durations `[seconds, nanoseconds]`: short in the common case, and never rounded.
impl Part for Duration {
    fn write(&self, to: &mut Writer) {
        match self.subsec_nanos() {
            0 => to.unsigned(self.as_secs()),
            nanos => to.fields(|fields| {
                fields.put(&self.as_secs());
                fields.put(&nanos);
            }),
        }
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        if !from.is_array() {
            return from.unsigned().map(Self::from_secs);
        }
        from.fields(|fields| {
            let seconds = fields.take("seconds")?;
            let start = fields.at();
            match fields.take("nanoseconds")? {
                nanos @ 1..=999_999_999 => Ok(Self::new(seconds, nanos)),
                nanos => {
                    Err(Fault::new(start, format!("{nanos} nanoseconds are not a fraction of a second")))
                }
            }
        })
    }
}

/// The bytes alone if they are CBOR, otherwise `[encoding, bytes]`.
impl Part for Payload {
    fn write(&self, to: &mut Writer) {
        if self.encoding() == Encoding::CBOR {
            return to.bytes(self.bytes());
        }
        to.fields(|fields| {
            fields.put(&u32::from(self.encoding().number()));
            fields.put_with(|to| to.bytes(self.bytes()));
        });
    }

    fn read(from: &mut Reader<'_>) -> Decoded<Self> {
        if !from.is_array() {
            return from.bytes().map(|bytes| Self::from_parts(Encoding::CBOR, bytes));
        }
        from.fields(|fields| {
            let start = fields.at();
            let number: u32 = fields.take("encoding")?;
            let Ok(number) = u8::try_from(number) else {
                return Err(Fault::new(start, format!("encoding {number}, and the greatest is 255")));
            };
            let bytes: Bytes = fields.take_or("bytes", || None, Reader::bytes)?;
            Ok(Self::from_parts(Encoding::from_number(number), bytes))
        })
    }
}
