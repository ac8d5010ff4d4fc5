//! A place in a distributed trace, as W3C Trace Context writes it in the header `traceparent`. It must not know who traces.

use std::fmt;

/// A place in a distributed trace: the trace, the span within it, and flags, of which the first says whether the trace is
/// recorded. It travels with the start of a run into the run's log, and from there to every pass and attempt.
///
/// ```
/// use pgworkflows::trace::TraceContext;
///
/// let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// let context = TraceContext::parse(parent).expect("it is valid");
/// assert_eq!(context.to_string(), parent);
/// assert_eq!(context.flags(), 1);
/// assert!(TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01").is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
}

impl TraceContext {
    /// How many bytes its stored form has.
    pub(crate) const BYTES: usize = 25;

    /// A place in a trace; `None` if the id of the trace or of the span is zero, which means that there is none.
    pub fn new(trace: [u8; 16], span: [u8; 8], flags: u8) -> Option<Self> {
        (trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span, flags })
    }

    /// Reads the value of the header `traceparent`: 55 characters, of which the digits are hexadecimal in lower case. `None` if
    /// it is not valid: W3C Trace Context says that it is then ignored.
    pub fn parse(traceparent: &str) -> Option<Self> {
        let bytes = traceparent.as_bytes();
        if bytes.len() != 55 || [bytes[2], bytes[35], bytes[52]] != [b'-'; 3] {
            return None;
        }
        let [version] = digits(&bytes[..2])?;
        let [flags] = digits(&bytes[53..])?;
        // Later versions begin in the same way; this one is forbidden.
        if version == 0xff { None } else { Self::new(digits(&bytes[3..35])?, digits(&bytes[36..52])?, flags) }
    }

    /// The id of the trace.
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace
    }

    /// The id of the span.
    pub fn span_id(&self) -> [u8; 8] {
        self.span
    }

    /// The flags: the lowest bit says whether the trace is recorded.
    pub fn flags(&self) -> u8 {
        self.flags
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [self.flags; Self::BYTES];
        bytes[..16].copy_from_slice(&self.trace);
        bytes[16..24].copy_from_slice(&self.span);
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `None` if it is no place in a trace.
    pub(crate) fn from_bytes(bytes: [u8; Self::BYTES]) -> Option<Self> {
        let (trace, rest) = bytes.split_first_chunk::<16>()?;
        let (span, flags) = rest.split_first_chunk::<8>()?;
        Self::new(*trace, *span, *flags.first()?)
    }
}

/// Bytes from pairs of hexadecimal digits in lower case.
fn digits<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// Writes the value of the header `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (u128::from_be_bytes(self.trace), u64::from_be_bytes(self.span));
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", self.flags)
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn valid_traceparent_is_read_and_written() {
        let context = TraceContext::parse(VALID).unwrap();
        assert_eq!(context.to_string(), VALID);
        assert_eq!(TraceContext::from_bytes(context.to_bytes()), Some(context));
        // A later version is written as the version that is known
        assert_eq!(TraceContext::parse(&VALID.replacen("00", "cc", 1)), Some(context));
    }

    #[test]
    fn traceparent_that_is_not_valid_is_ignored() {
        let bad = [
            "",
            "00",
            &VALID[..54],
            &format!("{VALID}0"),
            &VALID.replace('b', "B"),
            &VALID.replace("4bf92f", "4bf92g"),
            &VALID.replace('-', "_"),
            &VALID.replacen("00", "ff", 1),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-0",
        ];
        for bad in bad {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
        assert_eq!(TraceContext::from_bytes([0; TraceContext::BYTES]), None);
    }
}
