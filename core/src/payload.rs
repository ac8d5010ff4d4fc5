//! User data as bytes with an encoding tag. It must not know what the data means.

use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// How a payload's bytes are to be read. The numbers are stored: they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Encoding(u8);

impl Encoding {
    /// CBOR (RFC 8949): the default.
    pub const CBOR: Self = Self(0);

    /// The encoding of that number, known to this build or not.
    pub const fn from_number(number: u8) -> Self {
        Self(number)
    }

    /// The number that is stored.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// User data: an input, a result, a signal's content.
///
/// ```
/// use pgworkflows::Payload;
///
/// let payload = Payload::encode(&("Acme", 3))?;
/// assert_eq!(payload.decode::<(String, u8)>()?, ("Acme".to_owned(), 3));
/// assert!(payload.decode::<bool>().unwrap_err().to_string().contains("bool"));
/// # Ok::<(), pgworkflows::PayloadError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    encoding: Encoding,
    bytes: Bytes,
}

impl Payload {
    /// Encodes a value as CBOR.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, PayloadError> {
        let mut bytes = Vec::with_capacity(64);
        ciborium::into_writer(value, &mut bytes).map_err(|error| PayloadError {
            message: format!("a {} cannot be encoded: {error}", std::any::type_name::<T>()),
        })?;
        Ok(Self { encoding: Encoding::CBOR, bytes: bytes.into() })
    }

    /// Decodes the value.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        if self.encoding != Encoding::CBOR {
            return Err(PayloadError {
                message: format!(
                    "the payload has encoding {}, which this build does not know; use the build that wrote it, \
                     or a newer one",
                    self.encoding.0
                ),
            });
        }
        read(&self.bytes).map_err(|error| PayloadError {
            message: format!(
                "{} bytes of CBOR are not a {}: {}",
                self.bytes.len(),
                std::any::type_name::<T>(),
                reason(&error)
            ),
        })
    }

    /// The payload that a store or a codec kept.
    pub const fn from_parts(encoding: Encoding, bytes: Bytes) -> Self {
        Self { encoding, bytes }
    }

    /// How the bytes are to be read.
    pub const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The bytes.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl fmt::Debug for Payload {
    /// The content in CBOR's diagnostic style where it can be read, cut after some 200 characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.decode::<ciborium::Value>() {
            Ok(value) => diagnostic(&value),
            Err(_) => format!("{} bytes of encoding {}", self.bytes.len(), self.encoding.0),
        };
        match text.char_indices().nth(200) {
            Some((cut, _)) => write!(f, "{}…", &text[..cut]),
            None => f.write_str(&text),
        }
    }
}

/// How many bytes a payload may have to be read with a buffer on the stack.
const SMALL: usize = 128;

/// Reads CBOR. No text in it is longer than the whole, so a buffer of that size holds each: ciborium's own has 4 KiB,
/// which it clears every time, at the price of all the rest of a small payload, and in which a longer text does not
/// fit.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ciborium::de::Error<std::io::Error>> {
    if bytes.len() <= SMALL {
        ciborium::de::from_reader_with_buffer(bytes, &mut [0; SMALL])
    } else {
        ciborium::de::from_reader_with_buffer(bytes, &mut vec![0; bytes.len()])
    }
}

/// What is wrong with the bytes, in words: ciborium shows its errors as Rust would.
fn reason<E: fmt::Debug>(error: &ciborium::de::Error<E>) -> String {
    match error {
        ciborium::de::Error::Semantic(_, reason) => reason.clone(),
        ciborium::de::Error::Syntax(at) => format!("no CBOR begins at byte {at}"),
        ciborium::de::Error::Io(_) => "they end too early".to_owned(),
        ciborium::de::Error::RecursionLimitExceeded => "they are nested too deeply".to_owned(),
    }
}

/// A payload that could not be encoded or decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadError {
    message: String,
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PayloadError {}

/// SHA-256 of a value's deterministic CBOR (RFC 8949 §4.2.1): equal for equal values in every process,
/// though the order of a map's entries differs between them.
pub(crate) fn canonical_digest<T: Serialize + ?Sized>(value: &T) -> Result<[u8; 32], PayloadError> {
    let failed = |error: &dyn fmt::Display| PayloadError {
        message: format!("a {} cannot be encoded: {error}", std::any::type_name::<T>()),
    };
    let mut value = ciborium::Value::serialized(value).map_err(|error| failed(&error))?;
    sort_maps(&mut value).map_err(|error| failed(&error))?;
    Ok(Sha256::digest(encode_value(&value).map_err(|error| failed(&error))?).into())
}

type EncodeError = ciborium::ser::Error<std::io::Error>;

fn sort_maps(value: &mut ciborium::Value) -> Result<(), EncodeError> {
    match value {
        ciborium::Value::Array(items) => items.iter_mut().try_for_each(sort_maps),
        ciborium::Value::Tag(_, inner) => sort_maps(inner),
        ciborium::Value::Map(entries) => {
            let mut keyed = Vec::with_capacity(entries.len());
            for (mut key, mut value) in entries.drain(..) {
                sort_maps(&mut key)?;
                sort_maps(&mut value)?;
                keyed.push((encode_value(&key)?, (key, value)));
            }
            keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
            entries.extend(keyed.into_iter().map(|(_, entry)| entry));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn encode_value(value: &ciborium::Value) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes)?;
    Ok(bytes)
}

fn diagnostic(value: &ciborium::Value) -> String {
    use ciborium::Value;
    let join = |items: Vec<String>| items.join(", ");
    match value {
        Value::Integer(number) => i128::from(*number).to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Null => "null".to_owned(),
        Value::Text(text) => format!("{text:?}"),
        Value::Bytes(bytes) => format!("{} bytes", bytes.len()),
        Value::Tag(tag, inner) => format!("{tag}({})", diagnostic(inner)),
        Value::Array(items) => format!("[{}]", join(items.iter().map(diagnostic).collect())),
        Value::Map(entries) => {
            let entry = |(key, value): &(Value, Value)| format!("{}: {}", diagnostic(key), diagnostic(value));
            format!("{{{}}}", join(entries.iter().map(entry).collect()))
        }
        _ => "…".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn digest_ignores_the_order_of_map_entries() {
        let one = ciborium::Value::Map(vec![("b".into(), 1.into()), ("aa".into(), 2.into())]);
        let other = BTreeMap::from([("aa", 2), ("b", 1)]);
        assert_eq!(canonical_digest(&one), canonical_digest(&other));
    }

    #[test]
    fn digest_tells_different_values_apart() {
        assert_ne!(canonical_digest("Acme"), canonical_digest("Initech"));
        assert_ne!(canonical_digest(&[1, 2]), canonical_digest(&[2, 1]));
    }

    #[test]
    fn unknown_encoding_is_named() {
        let payload = Payload::from_parts(Encoding::from_number(9), Bytes::new());
        let error = payload.decode::<()>().unwrap_err().to_string();
        assert!(error.contains("encoding 9"), "{error}");
    }
}
