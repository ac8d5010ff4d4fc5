//! User data as bytes, with the encoding in which they are written. It must not know what the data means.

mod decode;
mod encode;
mod fault;
mod json;
#[cfg(test)]
mod tests;
mod tree;

use std::any::type_name;
use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use self::encode::Integers128;
use self::fault::Fault;

/// The encoding of a payload's bytes. The numbers are stored, so they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Encoding(u8);

impl Encoding {
    /// CBOR (RFC 8949): what [`Payload::encode`] writes.
    pub const CBOR: Self = Self(0);
    /// JSON (RFC 8259): for SQL, the command line, other languages and clients without the workflow's types.
    pub const JSON: Self = Self(1);

    /// The encoding with this number, whether or not this build knows it.
    pub const fn from_number(number: u8) -> Self {
        Self(number)
    }

    /// The stored number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::CBOR => f.write_str("CBOR"),
            Self::JSON => f.write_str("JSON"),
            Self(number) => write!(f, "encoding {number}"),
        }
    }
}

/// User data: an input, a result, a signal's content. Any type that serde can serialize and deserialize can be one.
///
/// A payload may have 2 MiB by default: see `payload_bytes_max` of the client and of the worker.
///
/// ```
/// use pgworkflows::payload::Payload;
///
/// let payload = Payload::encode(&("Acme", 3))?;
/// assert_eq!(payload.decode::<(String, u8)>()?, ("Acme".to_owned(), 3));
/// assert!(payload.decode::<bool>().unwrap_err().to_string().contains("bool"));
/// # Ok::<(), pgworkflows::payload::PayloadError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    encoding: Encoding,
    bytes: Bytes,
}

/// How a payload becomes a value.
pub(crate) type Decode<T> = fn(&Payload) -> Result<T, PayloadError>;

impl Payload {
    /// Encodes a value as CBOR.
    ///
    /// Payloads are human-readable to serde, so ids, addresses and times become text.
    ///
    /// # Errors
    /// Returns an error with the path of the field if
    /// * serde cannot serialize the value;
    /// * arrays, maps, variants and `Some`s are nested more than 128 deep;
    /// * there is a `Some` of nothing, such as `Some(())` or `Some(None)`, which CBOR and JSON would read as `None`: use
    ///   an enum, or a `bool`;
    /// * an array or a map has another length than its `Serialize` announced.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, PayloadError> {
        match encode::encode(value, Integers128::Written) {
            Ok(bytes) => Ok(Self { encoding: Encoding::CBOR, bytes: bytes.into() }),
            Err(fault) => Err(cannot_be_encoded::<T>(&fault)),
        }
    }

    /// Encodes a value and decodes it again before it is used, because serde can serialize types that it cannot
    /// deserialize, such as one with a skipped field that has no default.
    pub(crate) fn encode_readable<T: Serialize + DeserializeOwned>(value: &T) -> Result<Self, PayloadError> {
        let payload = Self::encode(value)?;
        if let Err(fault) = decode::decode::<T>(&payload.bytes) {
            return Err(cannot_be_read_back(value, &fault));
        }
        Ok(payload)
    }

    /// Makes a payload of JSON, a text or a `serde_json::Value`, whose bytes are kept as given. `serde_json` decodes it:
    /// `5` becomes an `f64` and a text an id if the type wants one.
    ///
    /// ```
    /// use pgworkflows::payload::Payload;
    ///
    /// let payload = Payload::from_json(r#"{"customer": "Acme", "discount": 5}"#)?;
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Order {
    ///     customer: String,
    ///     discount: f64,
    /// }
    /// let order: Order = payload.decode()?;
    /// assert_eq!((order.customer.as_str(), order.discount), ("Acme", 5.0));
    ///
    /// let error = Payload::from_json("[1, x]").unwrap_err();
    /// assert!(error.to_string().contains("at line 1 column 5"));
    /// # Ok::<(), pgworkflows::payload::PayloadError>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error with the line and the column (in bytes) if the text is not JSON, or is nested more than 127
    /// levels deep.
    pub fn from_json(json: impl ToString) -> Result<Self, PayloadError> {
        let payload = Self { encoding: Encoding::JSON, bytes: json.to_string().into() };
        payload.check_readable()?;
        Ok(payload)
    }

    /// The value as JSON, for people and tools. CBOR that JSON does not have is converted: keys become texts, bytes an
    /// array of numbers, integers of more than 64 bits a text, and floats that are not finite `null`.
    ///
    /// ```
    /// use pgworkflows::payload::Payload;
    ///
    /// let payload = Payload::encode(&("Acme", 3, [Some(0.5), None]))?;
    /// assert_eq!(payload.to_json()?.to_string(), r#"["Acme",3,[0.5,null]]"#);
    /// # Ok::<(), pgworkflows::payload::PayloadError>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if the bytes are damaged, or their encoding is not known to this build.
    pub fn to_json(&self) -> Result<serde_json::Value, PayloadError> {
        Ok(json::from_tree(&self.tree()?))
    }

    /// Decodes the value.
    ///
    /// # Errors
    /// Returns an error with the path of the field if the bytes are not a `T`, are damaged, or their encoding is not
    /// known to this build.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        let decoded = match self.encoding {
            Encoding::CBOR => decode::decode(&self.bytes),
            Encoding::JSON => json::decode(&self.bytes),
            unknown => return Err(unknown_encoding(unknown)),
        };
        decoded.map_err(|fault| PayloadError {
            message: format!("{} are not a {}: {fault}", self.size(), type_name::<T>()),
        })
    }

    /// Refuses bytes that no type can be decoded from.
    pub(crate) fn check_readable(&self) -> Result<(), PayloadError> {
        self.tree().map(drop)
    }

    /// The value as a CBOR tree, whatever its encoding.
    fn tree(&self) -> Result<ciborium::Value, PayloadError> {
        let tree = match self.encoding {
            Encoding::CBOR => decode::decode(&self.bytes),
            Encoding::JSON => json::decode(&self.bytes).map(json::into_tree),
            unknown => return Err(unknown_encoding(unknown)),
        };
        tree.map_err(|fault| PayloadError { message: format!("{} cannot be read: {fault}", self.size()) })
    }

    /// SHA-256 of the value as deterministic CBOR (RFC 8949 §4.2.1), in which a float that is a whole number is an
    /// integer. Equal values have equal digests in every process, whatever the order of a map's entries, and JSON's
    /// whitespace and notation of numbers do not matter.
    ///
    /// CBOR and JSON of one value have the same digest unless the two represent it differently: bytes, 32-bit floats, and
    /// maps whose keys are not texts. A set is an array, so its order matters.
    pub(crate) fn canonical_digest(&self) -> [u8; 32] {
        let canonical = self.tree().map(|tree| tree::canonical(&tree));
        Sha256::digest(canonical.as_deref().unwrap_or(&self.bytes)).into()
    }

    /// Where the two differ, in words, without the values; empty if they cannot be compared.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        match (self.tree(), other.tree()) {
            (Ok(ours), Ok(theirs)) => tree::differences(&ours, &theirs),
            _ => Vec::new(),
        }
    }

    /// The kinds of the stored values, without the values: `(text, integer)` for an array of two.
    pub(crate) fn kinds(&self) -> String {
        self.tree().map_or_else(|_| self.size(), |tree| tree::kinds(&tree))
    }

    fn size(&self) -> String {
        format!("{} bytes of {}", self.bytes.len(), self.encoding)
    }

    /// Makes a payload of bytes that are encoded already, such as those that a store kept. They are not checked.
    pub const fn from_parts(encoding: Encoding, bytes: Bytes) -> Self {
        Self { encoding, bytes }
    }

    /// The encoding of the bytes.
    pub const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The bytes.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// Makes a payload of JSON, as [`Payload::from_json`] does. A value that is nested more than 127 levels deep is refused where the
/// payload is used.
impl From<serde_json::Value> for Payload {
    fn from(json: serde_json::Value) -> Self {
        Self { encoding: Encoding::JSON, bytes: json.to_string().into() }
    }
}

/// Writes the value, as [`Payload::to_json`] converts it. Bytes that this build cannot read, such as encrypted ones, become an
/// object that says so: `{"$encoding": 7, "bytes": 120}`.
impl Serialize for Payload {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.to_json() {
            Ok(value) => value.serialize(serializer),
            Err(_) => {
                let unread =
                    serde_json::json!({"$encoding": self.encoding.number(), "bytes": self.bytes.len()});
                unread.serialize(serializer)
            }
        }
    }
}

impl fmt::Debug for Payload {
    /// Writes the content in CBOR's diagnostic notation, cut after 200 characters; its size if it cannot be read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(tree) = self.tree() else { return f.write_str(&self.size()) };
        let text = tree::diagnostic(&tree);
        match text.char_indices().nth(200) {
            Some((cut, _)) => write!(f, "{}…", &text[..cut]),
            None => f.write_str(&text),
        }
    }
}

/// The error for a payload that cannot be encoded or decoded. Its text names the type and the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadError {
    message: String,
}

impl PayloadError {
    /// The error for data that is not there.
    pub(crate) fn missing(message: String) -> Self {
        Self { message }
    }
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PayloadError {}

#[cold]
fn cannot_be_encoded<T: ?Sized>(fault: &Fault) -> PayloadError {
    PayloadError { message: format!("a {} cannot be encoded: {fault}", type_name::<T>()) }
}

#[cold]
fn unknown_encoding(encoding: Encoding) -> PayloadError {
    PayloadError {
        message: format!(
            "the payload has {encoding}, which this build does not know; use the build that wrote it, or a newer one"
        ),
    }
}

/// Serde's buffer has no numbers of 128 bits, and its error does not say where the number is.
#[cold]
fn cannot_be_read_back<T: Serialize>(value: &T, fault: &Fault) -> PayloadError {
    let mut message = format!("a {} can be encoded, but not be read again: {fault}", type_name::<T>());
    if let Err(place) = encode::encode(value, Integers128::Refused) {
        message += &format!(
            "; {place}, which serde cannot read within `tag`, `untagged` or `flatten`: use 64 bits or a text there"
        );
    }
    PayloadError { message }
}

/// The message for a payload over the limit: the same for the client, the executor and the workflow.
pub(crate) fn payload_too_large(what: &dyn fmt::Display, bytes: usize, limit: usize) -> String {
    format!(
        "{what} has {bytes} bytes, and the limit is {limit}; pass a reference to the data instead, or raise \
         `payload_bytes_max`"
    )
}
