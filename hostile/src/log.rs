//! The log: frames, events, messages, replies and tasks as stores keep them. Bytes that cannot be read are refused, and others can be
//! written and read again.

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use pgworkflows::history::Event;
use pgworkflows::id::{EventSeq, Position, RunId, ShardId};
use pgworkflows::store::{Frame, RunHistory};
use pgworkflows::{Timestamp, history::History};
use pgworkflows_core::history::read_back;

use crate::history::written_and_read;

/// Every event and message in its least and its full form, as the tests of the format have them: a name, and its bytes.
const GOLDEN: [&str; 2] = [
    include_str!("../../core/src/log/wire/golden/events.txt"),
    include_str!("../../core/src/log/wire/golden/messages.txt"),
];

/// The log's readers.
#[derive(Debug)]
pub struct Log {
    kinds: Vec<&'static str>,
    golden: Vec<(&'static str, Vec<u8>)>,
}

impl Default for Log {
    fn default() -> Self {
        Self::new()
    }
}

impl Log {
    /// The readers of every kind.
    pub fn new() -> Self {
        let bodies = GOLDEN.iter().flat_map(|text| text.split("\n\n")).filter_map(|entry| {
            let mut lines = entry.trim().lines();
            let name = lines.next()?.strip_prefix("# ")?.split(',').next()?;
            Some((name, from_hex(lines.next()?)?))
        });
        Self { kinds: Event::names().collect(), golden: bodies.collect() }
    }

    /// Reads bytes as everything that a store keeps. Returns how much of it could be read.
    pub fn read(&self, data: &[u8]) -> usize {
        self.try_read(&mut Unstructured::new(data)).unwrap_or_default()
    }

    fn try_read(&self, u: &mut Unstructured<'_>) -> Result<usize> {
        let mut kind = *u.choose(&self.kinds)?;
        let body = if u.ratio(1, 2)? {
            let (name, body) = u.choose(&self.golden)?;
            // Messages have names as well, which no event has.
            kind = name;
            changed(u, body)?
        } else {
            u.arbitrary::<Vec<u8>>()?
        };
        let count = if u.ratio(1, 4)? { u.arbitrary()? } else { u.int_in_range(1..=3)? };
        let (seq, position) = (EventSeq::new(u.arbitrary()?), Position::new(u.arbitrary()?));
        let at = Timestamp::from_micros(u.arbitrary()?);
        let body = Bytes::from(body);
        let mut read = read_back(kind, &body);

        // As the only event of a frame, and as the frame itself.
        // Its run is known: a frame without one is none.
        let run = RunId::new(at, ShardId::new(7).expect("it is in range"), u.arbitrary()?);
        let code = u.arbitrary()?;
        for (body, count) in [(framed(code, &body).into(), 1), (body, count)] {
            let frame = Frame { run, seq, count, position, at, body };
            if let Ok(history) = History::new(&RunHistory { run, frames: vec![frame] }) {
                written_and_read(&history);
                read += 1;
            }
        }
        Ok(read)
    }
}

/// A body of which some bytes are others, or missing, or more.
fn changed(u: &mut Unstructured<'_>, body: &[u8]) -> Result<Vec<u8>> {
    let mut body = body.to_vec();
    for _ in 0..u.int_in_range(0..=4)? {
        let at = u.int_in_range(0..=body.len())?;
        match u.int_in_range(0..=3)? {
            0 => body.truncate(at),
            1 => body.insert(at, u.arbitrary()?),
            _ => match body.get_mut(at) {
                Some(byte) => *byte = u.arbitrary()?,
                None => body.push(u.arbitrary()?),
            },
        }
    }
    Ok(body)
}

/// The body of a frame of one event: an array of the code of its kind, of no time, and of its bytes.
fn framed(code: u8, event: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x83];
    if code < 24 {
        frame.push(code)
    } else {
        frame.extend([0x18, code])
    }
    frame.push(0);
    let length = u32::try_from(event.len()).unwrap_or(u32::MAX);
    match length {
        0..24 => frame.push(0x40 | event.len().to_le_bytes()[0]),
        24..256 => frame.extend([0x58, length.to_le_bytes()[0]]),
        _ => {
            frame.push(0x59);
            frame.extend(&length.to_be_bytes()[2..]);
        }
    }
    frame.extend(event);
    frame
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| u8::try_from(char::from(digit).to_digit(16)?).ok();
    hex.as_bytes()
        .chunks(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?))
        .collect::<Option<Vec<u8>>>()
}
