//! Decodes CBOR with `ciborium`, through a deserializer that is human-readable to serde, reads nulls in the way that
//! serde's buffer expects, and leaves no item unread. It must not know what wrote the bytes.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, Error, IgnoredAny, Visitor};

use super::fault::{Fault, path};

/// Decodes a value that takes up all of the bytes.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    let mut left = bytes;
    match read(&mut left) {
        Ok(Whole(value)) if left.is_empty() => Ok(value),
        Ok(Whole(_)) => {
            let problem = format!("{} more bytes follow the value", left.len());
            Err(Fault::new(String::new(), problem))
        }
        Err(error) => Err(fault::<T>(bytes, &error)),
    }
}

type ReadError = ciborium::de::Error<std::io::Error>;

/// Payloads of at most this many bytes are read with a buffer on the stack.
const SMALL: usize = 128;

/// Reads CBOR. A buffer of the payload's size holds any text in it. Ciborium's own buffer has 4 KiB: clearing it costs as
/// much as reading a small payload, and a longer text does not fit into it.
fn read<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<T, ReadError> {
    if bytes.len() <= SMALL {
        ciborium::de::from_reader_with_buffer(bytes, &mut [0; SMALL])
    } else {
        let mut buffer = vec![0; bytes.len()];
        ciborium::de::from_reader_with_buffer(bytes, &mut buffer)
    }
}

/// Reads the bytes a second time to find the path, so that intact bytes do not pay for it.
#[cold]
fn fault<T: DeserializeOwned>(mut bytes: &[u8], error: &ReadError) -> Fault {
    let path = read(&mut bytes).map_or_else(|_| String::new(), |PathOfFault::<T>(path, _)| path);
    let problem = match error {
        ciborium::de::Error::Semantic(_, reason) => reason.clone(),
        ciborium::de::Error::Syntax(at) => format!("byte {at} is not the beginning of a CBOR item"),
        ciborium::de::Error::Io(_) => "the bytes end too early".to_owned(),
        ciborium::de::Error::RecursionLimitExceeded => {
            "the value is nested more than 256 deep, which is ciborium's limit".to_owned()
        }
    };
    Fault::new(path, problem)
}

struct Whole<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(Readable(deserializer)).map(Self)
    }
}

/// The field at fault in a `T` that cannot be read.
struct PathOfFault<T>(String, PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for PathOfFault<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(path(&serde_path_to_error::deserialize::<_, T>(Readable(deserializer))), PhantomData))
    }
}

/// Wraps a deserializer or a part of one, so that everything nested in it is read by this module as well.
struct Readable<X>(X);

macro_rules! deserialize {
    ($($method:ident($($argument:ident: $of:ty),*)),+ $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, $($argument: $of,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method($($argument,)* Visit { visitor, of_any: false })
        })+
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Readable<D> {
    type Error = D::Error;

    deserialize! {
        deserialize_bool(), deserialize_i8(), deserialize_i16(), deserialize_i32(), deserialize_i64(),
        deserialize_i128(), deserialize_u8(), deserialize_u16(), deserialize_u32(), deserialize_u64(),
        deserialize_u128(), deserialize_f32(), deserialize_f64(), deserialize_char(), deserialize_str(),
        deserialize_string(), deserialize_bytes(), deserialize_byte_buf(), deserialize_option(), deserialize_unit(),
        deserialize_seq(), deserialize_map(), deserialize_ignored_any(),
        deserialize_unit_struct(name: &'static str),
        deserialize_newtype_struct(name: &'static str),
        deserialize_tuple(length: usize),
        deserialize_tuple_struct(name: &'static str, length: usize),
        deserialize_struct(name: &'static str, fields: &'static [&'static str]),
        deserialize_enum(name: &'static str, variants: &'static [&'static str]),
    }

    /// Serde's buffer is human-readable as well.
    fn is_human_readable(&self) -> bool {
        true
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(Visit { visitor, of_any: true })
    }

    /// A flattened map may have numeric keys, among which serde looks for the names of fields.
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_any(visitor)
    }
}

struct Visit<V> {
    visitor: V,
    /// Whether the type did not say what it expects.
    of_any: bool,
}

macro_rules! visit {
    ($($method:ident($of:ty)),+ $(,)?) => {
        $(fn $method<E: Error>(self, value: $of) -> Result<V::Value, E> {
            self.visitor.$method(value)
        })+
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Visit<V> {
    type Value = V::Value;

    visit! {
        visit_bool(bool), visit_i8(i8), visit_i16(i16), visit_i32(i32), visit_i64(i64), visit_i128(i128), visit_u8(u8),
        visit_u16(u16), visit_u32(u32), visit_u64(u64), visit_u128(u128), visit_f32(f32), visit_f64(f64),
        visit_char(char), visit_str(&str), visit_borrowed_str(&'de str), visit_string(String), visit_bytes(&[u8]),
        visit_borrowed_bytes(&'de [u8]), visit_byte_buf(Vec<u8>),
    }

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    /// Null. Serde's buffer can turn a `()` into a `()` or a `None`, but a `None` not into a `()`.
    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        if self.of_any { self.visitor.visit_unit() } else { self.visitor.visit_none() }
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(Readable(deserializer))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_newtype_struct(Readable(deserializer))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        let mut items = Items { of: items, are_over: false };
        let value = self.visitor.visit_seq(&mut items)?;
        match de::SeqAccess::next_element::<IgnoredAny>(&mut items)?.is_none() {
            true => Ok(value),
            false => Err(A::Error::custom("it has more items than the type takes")),
        }
    }

    fn visit_map<A: de::MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        let mut entries = Items { of: entries, are_over: false };
        let value = self.visitor.visit_map(&mut entries)?;
        match de::MapAccess::next_key::<IgnoredAny>(&mut entries)?.is_none() {
            true => Ok(value),
            false => Err(A::Error::custom("it has more entries than the type takes")),
        }
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_enum(Readable(access))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Readable<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Readable(deserializer))
    }
}

/// The items of an array or a map, which remember whether the end was read: a type that takes fewer items would leave
/// the others, or the end mark, to whatever is read next.
struct Items<A> {
    of: A,
    are_over: bool,
}

impl<'de, A: de::SeqAccess<'de>> de::SeqAccess<'de> for Items<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        if self.are_over {
            return Ok(None);
        }
        let item = self.of.next_element_seed(Readable(seed))?;
        self.are_over = item.is_none();
        Ok(item)
    }

    fn size_hint(&self) -> Option<usize> {
        self.of.size_hint()
    }
}

impl<'de, A: de::MapAccess<'de>> de::MapAccess<'de> for Items<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        if self.are_over {
            return Ok(None);
        }
        let key = self.of.next_key_seed(Readable(seed))?;
        self.are_over = key.is_none();
        Ok(key)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.of.next_value_seed(Readable(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.of.size_hint()
    }
}

impl<'de, A: de::EnumAccess<'de>> de::EnumAccess<'de> for Readable<A> {
    type Error = A::Error;
    type Variant = Readable<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let (variant, content) = self.0.variant_seed(Readable(seed))?;
        Ok((variant, Readable(content)))
    }
}

impl<'de, A: de::VariantAccess<'de>> de::VariantAccess<'de> for Readable<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(Readable(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(length, Visit { visitor, of_any: false })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.struct_variant(fields, Visit { visitor, of_any: false })
    }
}
