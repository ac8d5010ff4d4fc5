//! Encodes values as CBOR with `ciborium`, through a serializer that is human-readable to serde, refuses what could not
//! be decoded again, and knows the field that it is in. It must not know CBOR.

use std::cell::RefCell;
use std::fmt::Display;

use serde::ser::{self, Error, Serialize};

use super::decode;
use super::fault::Fault;
use super::tree;
use crate::data::limits;

/// What to do with integers of 128 bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Integers128 {
    Written,
    /// The first one is an error with its path.
    Refused,
}

/// Encodes a value.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T, integers: Integers128) -> Result<Vec<u8>, Fault> {
    let trail = Trail::default();
    let place = Place { trail: &trail, depth: 0, in_some: false, integers };
    let mut bytes = Vec::with_capacity(64);
    ciborium::into_writer(&Nested { value, place }, &mut bytes).map_err(|error| trail.fault(error))?;
    Ok(bytes)
}

/// The fields around an error, the innermost first. They are noted while the error is returned, so that a value without
/// an error does not pay for them.
#[derive(Default)]
struct Trail(RefCell<Vec<String>>);

impl Trail {
    #[cold]
    fn note(&self, step: String) {
        self.0.borrow_mut().push(step);
    }

    #[cold]
    fn fault(self, error: ciborium::ser::Error<std::io::Error>) -> Fault {
        let path: String = self.0.into_inner().into_iter().rev().collect();
        let problem = match error {
            ciborium::ser::Error::Value(problem) => problem,
            ciborium::ser::Error::Io(error) => error.to_string(),
        };
        Fault::new(path.strip_prefix('.').map(str::to_owned).unwrap_or(path), problem)
    }
}

/// Where in the value something is.
#[derive(Clone, Copy)]
struct Place<'t> {
    trail: &'t Trail,
    depth: usize,
    /// Whether it is the content of a `Some`.
    in_some: bool,
    integers: Integers128,
}

impl Place<'_> {
    /// The place one level deeper.
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let limit = limits::PAYLOAD_DEPTH_MAX;
        if self.depth == limit {
            return Err(E::custom(format_args!(
                "it is nested more than {limit} deep, which is the limit; flatten it"
            )));
        }
        Ok(Self { depth: self.depth + 1, in_some: false, ..self })
    }

    /// CBOR has one null for `None`, `()` and unit structs.
    fn check_nothing<E: Error>(self) -> Result<(), E> {
        if self.in_some {
            return Err(E::custom("a `Some` of nothing would be read as `None`; use an enum, or a `bool`"));
        }
        Ok(())
    }

    fn check_integer128<E: Error>(self) -> Result<(), E> {
        match self.integers {
            Integers128::Written => Ok(()),
            Integers128::Refused => Err(E::custom("it has 128 bits")),
        }
    }
}

/// A part of the value, which is always written through the serializer of this module.
struct Nested<'v, 't, T: ?Sized> {
    value: &'v T,
    place: Place<'t>,
}

impl<T: Serialize + ?Sized> Serialize for Nested<'_, '_, T> {
    fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Checked { inner: serializer, place: self.place })
    }
}

struct Checked<'t, S> {
    inner: S,
    place: Place<'t>,
}

macro_rules! forward {
    ($($method:ident($value:ty)),+ $(,)?) => {
        $(fn $method(self, value: $value) -> Result<S::Ok, S::Error> {
            self.inner.$method(value)
        })+
    };
}

impl<'t, S: ser::Serializer> ser::Serializer for Checked<'t, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Items<'t, S::SerializeSeq>;
    type SerializeTuple = Items<'t, S::SerializeTuple>;
    type SerializeTupleStruct = Items<'t, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Items<'t, S::SerializeTupleVariant>;
    type SerializeMap = Items<'t, S::SerializeMap>;
    type SerializeStruct = Items<'t, S::SerializeStruct>;
    type SerializeStructVariant = Items<'t, S::SerializeStructVariant>;

    forward! {
        serialize_bool(bool), serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64),
        serialize_u8(u8), serialize_u16(u16), serialize_u32(u32), serialize_u64(u64), serialize_f32(f32),
        serialize_f64(f64), serialize_char(char), serialize_str(&str), serialize_bytes(&[u8]),
    }

    /// Serde buffers the content of tagged, flattened and untagged types and reads that buffer as human-readable. If
    /// payloads were not, an address would be written as a number and read as text.
    fn is_human_readable(&self) -> bool {
        true
    }

    fn serialize_i128(self, value: i128) -> Result<S::Ok, S::Error> {
        self.place.check_integer128()?;
        self.inner.serialize_i128(value)
    }

    fn serialize_u128(self, value: u128) -> Result<S::Ok, S::Error> {
        self.place.check_integer128()?;
        self.inner.serialize_u128(value)
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.place.check_nothing()?;
        self.inner.serialize_none()
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.place.check_nothing()?;
        self.inner.serialize_unit()
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        self.place.check_nothing()?;
        self.inner.serialize_unit_struct(name)
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, index, variant)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let place = Place { in_some: true, ..self.place.deeper()? };
        self.inner.serialize_some(&Nested { value, place })
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_newtype_struct(name, &Nested { value, place: self.place })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let nested = Nested { value, place: self.place.deeper()? };
        self.inner
            .serialize_newtype_variant(name, index, variant, &nested)
            .inspect_err(|_| self.place.trail.note(format!(".{variant}")))
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        Items::open(self.place, length, self.inner.serialize_seq(length))
    }

    fn serialize_tuple(self, length: usize) -> Result<Self::SerializeTuple, S::Error> {
        Items::open(self.place, Some(length), self.inner.serialize_tuple(length))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        Items::open(self.place, Some(length), self.inner.serialize_tuple_struct(name, length))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        let opened = self.inner.serialize_tuple_variant(name, index, variant, length);
        Items::open_variant(self.place, variant, length, opened)
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        Items::open(self.place, length, self.inner.serialize_map(length))
    }

    fn serialize_struct(self, name: &'static str, length: usize) -> Result<Self::SerializeStruct, S::Error> {
        Items::open(self.place, Some(length), self.inner.serialize_struct(name, length))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        let opened = self.inner.serialize_struct_variant(name, index, variant, length);
        Items::open_variant(self.place, variant, length, opened)
    }
}

/// An array or a map whose items are being written.
struct Items<'t, C> {
    inner: C,
    place: Place<'t>,
    variant: Option<&'static str>,
    announced: Option<usize>,
    written: usize,
}

impl<'t, C> Items<'t, C> {
    fn open<E: Error>(place: Place<'t>, announced: Option<usize>, opened: Result<C, E>) -> Result<Self, E> {
        Ok(Self { inner: opened?, place: place.deeper()?, variant: None, announced, written: 0 })
    }

    /// A variant with fields is a map with one entry, whose value is an array or a map of the fields.
    fn open_variant<E: Error>(
        place: Place<'t>,
        variant: &'static str,
        announced: usize,
        opened: Result<C, E>,
    ) -> Result<Self, E> {
        Ok(Self { variant: Some(variant), ..Self::open(place.deeper()?, Some(announced), opened)? })
    }

    /// Counts an item; returns it with its index.
    fn next<'v, T: ?Sized>(&mut self, value: &'v T) -> (Nested<'v, 't, T>, usize) {
        self.written += 1;
        (Nested { value, place: self.place }, self.written - 1)
    }

    #[cold]
    fn failed_at(&self, step: impl Display) {
        self.place.trail.note(step.to_string());
        if let Some(variant) = self.variant {
            self.place.trail.note(format!(".{variant}"));
        }
    }

    /// The length is written first: with a wrong one, everything after it would be misread.
    fn check_length<E: Error>(&self) -> Result<(), E> {
        match self.announced {
            Some(announced) if announced != self.written => Err(E::custom(format_args!(
                "its `Serialize` announces {announced} items and writes {}",
                self.written
            ))),
            _ => Ok(()),
        }
    }
}

/// Implements the traits whose items are plain values.
macro_rules! items {
    ($($of:ident by $method:ident),+ $(,)?) => {
        $(impl<C: ser::$of> ser::$of for Items<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
                let (nested, index) = self.next(value);
                self.inner.$method(&nested).inspect_err(|_| self.failed_at(format_args!("[{index}]")))
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.check_length()?;
                self.inner.end()
            }
        })+
    };
}

items! {
    SerializeSeq by serialize_element,
    SerializeTuple by serialize_element,
    SerializeTupleStruct by serialize_field,
    SerializeTupleVariant by serialize_field,
}

/// Implements the traits whose items have names.
macro_rules! fields {
    ($($of:ident),+) => {
        $(impl<C: ser::$of> ser::$of for Items<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), C::Error> {
                let (nested, _) = self.next(value);
                self.inner.serialize_field(name, &nested).inspect_err(|_| self.failed_at(format_args!(".{name}")))
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), C::Error> {
                self.inner.skip_field(name)
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.check_length()?;
                self.inner.end()
            }
        })+
    };
}

fields!(SerializeStruct, SerializeStructVariant);

impl<C: ser::SerializeMap> ser::SerializeMap for Items<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        let nested = Nested { value: key, place: self.place };
        self.inner.serialize_key(&nested).inspect_err(|_| self.failed_at(".(a key)"))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        let (nested, _) = self.next(value);
        self.inner.serialize_value(&nested).inspect_err(|_| self.failed_at(".(a value)"))
    }

    fn serialize_entry<K: Serialize + ?Sized, V: Serialize + ?Sized>(
        &mut self,
        key: &K,
        value: &V,
    ) -> Result<(), C::Error> {
        let (nested, _) = self.next(value);
        let nested_key = Nested { value: key, place: self.place };
        self.inner
            .serialize_entry(&nested_key, &nested)
            .inspect_err(|_| self.failed_at(format_args!(".{}", in_words(key))))
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.check_length()?;
        self.inner.end()
    }
}

/// A map's key as a part of a path.
#[cold]
fn in_words<K: Serialize + ?Sized>(key: &K) -> String {
    let key = encode(key, Integers128::Written).and_then(|bytes| decode::decode(&bytes));
    key.map_or_else(|_| "(a key)".to_owned(), |key| tree::as_key(&key))
}
