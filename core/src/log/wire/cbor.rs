//! The subset of deterministic CBOR (RFC 8949 §4.2.1) that the engine stores: integers, bytes, text, arrays, booleans and
//! null. It must not know what an event is.
//!
//! Lengths are always definite and heads always the shortest, so a value has exactly one form and tools may compare
//! bytes. Maps, tags and floats are neither written nor read.

use bytes::Bytes;

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;

const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;

/// The longest array whose head is a single byte.
pub(super) const SHORT_ARRAY_MAX: u8 = 23;

/// A problem with the bytes, and its place.
#[derive(Debug)]
pub(super) struct Fault {
    /// The enclosing fields, the innermost first.
    path: Vec<&'static str>,
    at: usize,
    problem: String,
}

/// The result of decoding. The fault is boxed to keep successful results small.
pub(super) type Decoded<T> = Result<T, Box<Fault>>;

impl Fault {
    #[cold]
    pub(super) fn new(at: usize, problem: impl Into<String>) -> Box<Self> {
        Box::new(Self { path: Vec::new(), at, problem: problem.into() })
    }

    /// Adds `field`, which encloses the place.
    #[cold]
    pub(super) fn within(mut self: Box<Self>, field: &'static str) -> Box<Self> {
        self.path.push(field);
        self
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (depth, field) in self.path.iter().rev().enumerate() {
            f.write_str(if depth == 0 { "`" } else { "." })?;
            f.write_str(field)?;
        }
        if !self.path.is_empty() {
            f.write_str("` ")?;
        }
        write!(f, "at byte {}: {}", self.at, self.problem)
    }
}

/// Writes values one after the other.
pub(super) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// Writes after bytes that are there already.
    pub(super) fn after(out: Vec<u8>) -> Self {
        Self { out }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.out
    }

    pub(super) fn unsigned(&mut self, value: u64) {
        self.head(UNSIGNED, value);
    }

    pub(super) fn signed(&mut self, value: i64) {
        match u64::try_from(value) {
            Ok(value) => self.head(UNSIGNED, value),
            // CBOR stores −1 − n as n. In two's complement, that is n with all its bits inverted.
            Err(_) => self.head(NEGATIVE, !value as u64),
        }
    }

    pub(super) fn bytes(&mut self, value: &[u8]) {
        self.head(BYTES, value.len() as u64);
        self.out.extend_from_slice(value);
    }

    pub(super) fn text(&mut self, value: &str) {
        self.head(TEXT, value.len() as u64);
        self.out.extend_from_slice(value.as_bytes());
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.out.push(if value { TRUE } else { FALSE });
    }

    pub(super) fn null(&mut self) {
        self.out.push(NULL);
    }

    /// Writes the head of an array; the caller writes its items next.
    pub(super) fn array(&mut self, items: usize) {
        self.head(ARRAY, items as u64);
    }

    /// Writes the head of a map; the caller writes its keys and values next, by turns.
    pub(super) fn map(&mut self, entries: usize) {
        self.head(MAP, entries as u64);
    }

    /// How many bytes are written.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether only a null was written since `start`.
    pub(super) fn is_null_since(&self, start: usize) -> bool {
        self.out[start..] == [NULL]
    }

    /// Ends the array whose head of one byte is at `head`: it has `items` items, and the last one ends at `end`.
    pub(super) fn close_array(&mut self, head: usize, items: u8, end: usize) {
        assert!(items <= SHORT_ARRAY_MAX, "{items} fields do not fit into a head of one byte");
        self.out.truncate(end);
        self.out[head] = ARRAY << 5 | items;
    }

    /// Writes the head of a value. Most heads are a single byte, so only that case is inlined.
    #[inline]
    fn head(&mut self, major: u8, value: u64) {
        match value {
            0..=23 => self.out.push(major << 5 | value as u8),
            _ => self.larger_head(major << 5, value),
        }
    }

    #[inline(never)]
    fn larger_head(&mut self, major: u8, value: u64) {
        match value {
            0..=0xff => self.out.extend_from_slice(&[major | 24, value as u8]),
            0x100..=0xffff => self.long_head(major | 25, &(value as u16).to_be_bytes()),
            0x1_0000..=0xffff_ffff => self.long_head(major | 26, &(value as u32).to_be_bytes()),
            _ => self.long_head(major | 27, &value.to_be_bytes()),
        }
    }

    fn long_head(&mut self, first: u8, value: &[u8]) {
        self.out.push(first);
        self.out.extend_from_slice(value);
    }
}

/// Reads values one after the other. No input makes it panic or allocate more than the input's own length.
pub(super) struct Reader<'b> {
    body: &'b [u8],
    /// The buffer that the body is a part of.
    buffer: &'b Bytes,
    at: usize,
}

impl<'b> Reader<'b> {
    /// Reads a body from a buffer.
    pub(super) fn new(body: &'b [u8], buffer: &'b Bytes) -> Self {
        Self { body, buffer, at: 0 }
    }

    /// Continues in a body where another reader stopped.
    pub(super) fn starting_at(at: usize, body: &'b Bytes) -> Self {
        Self { at, ..Self::new(body, body) }
    }

    /// The offset of the next value.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    #[inline]
    pub(super) fn unsigned(&mut self) -> Decoded<u64> {
        self.head(UNSIGNED, "an unsigned number")
    }

    /// A number below 256.
    #[inline]
    pub(super) fn small(&mut self) -> Decoded<u8> {
        let start = self.at;
        let value = self.unsigned()?;
        u8::try_from(value).map_err(|_| Fault::new(start, format!("{value} does not fit into 8 bits")))
    }

    #[inline]
    pub(super) fn signed(&mut self) -> Decoded<i64> {
        let start = self.at;
        let negative = self.peek().is_some_and(|first| first >> 5 == NEGATIVE);
        let value = self.head(if negative { NEGATIVE } else { UNSIGNED }, "a number")?;
        let value = i64::try_from(value)
            .map_err(|_| Fault::new(start, "the number does not fit into 64 bits with a sign"))?;
        Ok(if negative { !value } else { value })
    }

    /// Returns a slice of the buffer itself, without a copy.
    pub(super) fn bytes(&mut self) -> Decoded<Bytes> {
        Ok(self.buffer.slice_ref(self.byte_slice()?))
    }

    #[inline]
    pub(super) fn byte_slice(&mut self) -> Decoded<&'b [u8]> {
        self.string(BYTES, "bytes")
    }

    /// Reads exactly `N` bytes.
    pub(super) fn byte_array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let head = self.at;
        let bytes = self.byte_slice()?;
        bytes.try_into().map_err(|_| Fault::new(head, format!("{} bytes where {N} should be", bytes.len())))
    }

    pub(super) fn text(&mut self) -> Decoded<&'b str> {
        let text = self.string(TEXT, "text")?;
        let start = self.at - text.len();
        std::str::from_utf8(text)
            .map_err(|error| Fault::new(start + error.valid_up_to(), "the text is not UTF-8"))
    }

    pub(super) fn bool(&mut self) -> Decoded<bool> {
        let value = match self.peek() {
            Some(FALSE) => false,
            Some(TRUE) => true,
            _ => return Err(self.unexpected("a boolean")),
        };
        self.at += 1;
        Ok(value)
    }

    /// Skips the next value if it is a null, and returns whether it was.
    pub(super) fn null(&mut self) -> bool {
        let found = self.is_null();
        self.at += usize::from(found);
        found
    }

    pub(super) fn is_null(&self) -> bool {
        self.peek() == Some(NULL)
    }

    pub(super) fn is_array(&self) -> bool {
        self.peek().is_some_and(|first| first >> 5 == ARRAY)
    }

    /// Reads the head of an array and returns the number of its items. Every item has at least one byte, so an array
    /// that is longer than the rest of the body is refused here.
    #[inline]
    pub(super) fn array(&mut self) -> Decoded<usize> {
        let start = self.at;
        let items = self.head(ARRAY, "an array")?;
        self.checked_length(start, items, "items")
    }

    /// Reads the head of a map and returns the number of its entries, each a key and a value.
    pub(super) fn map(&mut self) -> Decoded<usize> {
        let start = self.at;
        let entries = self.head(MAP, "a map")?;
        Ok(self.checked_length(start, entries.saturating_mul(2), "keys and values")? / 2)
    }

    /// Refuses bytes after the last value.
    pub(super) fn end(&self) -> Decoded<()> {
        match self.left() {
            0 => Ok(()),
            left => Err(Fault::new(self.at, format!("{left} more bytes follow the value"))),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn left(&self) -> usize {
        self.body.len() - self.at
    }

    /// Reads a string of bytes or text.
    #[inline]
    fn string(&mut self, major: u8, expected: &'static str) -> Decoded<&'b [u8]> {
        let head = self.at;
        let length = self.head(major, expected)?;
        let length = self.checked_length(head, length, "bytes")?;
        let start = self.at;
        self.at += length;
        Ok(&self.body[start..self.at])
    }

    #[inline]
    fn checked_length(&self, start: usize, length: u64, unit: &'static str) -> Decoded<usize> {
        match usize::try_from(length) {
            Ok(length) if length <= self.left() => Ok(length),
            _ => Err(self.cut_short(start, length, unit)),
        }
    }

    /// Reads the head of a value. Most heads are a single byte, so only that case is inlined.
    #[inline(always)]
    fn head(&mut self, major: u8, expected: &'static str) -> Decoded<u64> {
        let short = self.peek().map(|first| first.wrapping_sub(major << 5));
        match short {
            Some(short @ 0..=23) => {
                self.at += 1;
                Ok(short.into())
            }
            Some(size @ 24..=31) => self.long_head(size),
            _ => Err(self.unexpected(expected)),
        }
    }

    #[inline(never)]
    fn long_head(&mut self, size: u8) -> Decoded<u64> {
        // The size in bytes, and the smallest value that needs it.
        let (size, smallest) = match size {
            24 => (1, 24),
            25 => (2, 0x100),
            26 => (4, 0x1_0000),
            27 => (8, 0x1_0000_0000),
            31 => return Err(Fault::new(self.at, "an indefinite length, which is never written")),
            _ => return Err(Fault::new(self.at, "a reserved head")),
        };
        let start = self.at + 1;
        let Some(bytes) = self.body.get(start..start + size) else {
            return Err(Fault::new(self.at, "cut short within a head"));
        };
        let value = bytes.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        if value < smallest {
            return Err(Fault::new(self.at, "a head longer than necessary, which is never written"));
        }
        self.at = start + size;
        Ok(value)
    }

    #[cold]
    fn cut_short(&self, start: usize, length: u64, unit: &'static str) -> Box<Fault> {
        let left = self.left();
        Fault::new(start, format!("cut short: {length} {unit} announced, {left} bytes left"))
    }

    #[cold]
    fn unexpected(&self, expected: &'static str) -> Box<Fault> {
        let found = match self.peek() {
            None => return Fault::new(self.at, format!("cut short: {expected} should follow")),
            Some(FALSE | TRUE) => "a boolean",
            Some(NULL) => "null",
            Some(first) => match first >> 5 {
                UNSIGNED => "an unsigned number",
                NEGATIVE => "a negative number",
                BYTES => "bytes",
                TEXT => "text",
                ARRAY => "an array",
                5 => "a map",
                6 => "a tag",
                _ => "a float or a simple value",
            },
        };
        Fault::new(self.at, format!("{found} where {expected} should be"))
    }
}
