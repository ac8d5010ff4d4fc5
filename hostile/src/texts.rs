//! Texts that the library and the command line read: addresses, JSON and other payloads, files of histories, ids, and the headers of
//! traces.

use std::collections::BTreeMap;

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use pgworkflows::RunId;
use pgworkflows::history::History;
use pgworkflows::payload::{Encoding, Payload};
use pgworkflows::trace::TraceContext;
use pgworkflows_postgres::testing::read_address;
use serde::{Deserialize, Serialize};

use crate::history::written_and_read;
use crate::lines::Collector;
use crate::{SECRET, words};

/// The readers of texts.
#[derive(Debug)]
pub struct Texts {
    runtime: tokio::runtime::Runtime,
    collector: Collector,
    /// The file of a history.
    history: Vec<u8>,
}

/// A type with most of what serde knows.
#[derive(Debug, Deserialize, Serialize)]
struct Zoo {
    text: Option<String>,
    number: Option<i64>,
    float: Option<f32>,
    bytes: Option<Vec<u8>>,
    map: Option<BTreeMap<i8, (bool, char)>>,
    animal: Option<Animal>,
}

#[derive(Debug, Deserialize, Serialize)]
enum Animal {
    Cat,
    Dog(u128),
    Bird { wings: Box<Option<Animal>> },
}

impl Texts {
    /// The readers. `history` is the file of a history, of which others are made.
    ///
    /// # Panics
    /// Panics if there is no runtime.
    pub fn new(history: &History) -> Self {
        let history = serde_json::to_vec(history).expect("a history can be written");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
        Self { runtime, collector: Collector::new(), history }
    }

    /// Reads bytes as one of the texts.
    pub fn read(&self, data: &[u8]) {
        // Bytes that end too early were no input.
        let _ = self.try_read(&mut Unstructured::new(data));
    }

    fn try_read(&self, u: &mut Unstructured<'_>) -> Result<()> {
        match u.int_in_range(0..=7)? {
            0 | 1 => self.read_address(u),
            2 | 3 => self.read_history(u),
            4 => read_json(&words::json(u)?),
            5 => read_payload(u),
            6 => read_id(u),
            _ => read_traceparent(u),
        }
    }

    fn read_address(&self, u: &mut Unstructured<'_>) -> Result<()> {
        let address = words::address(u)?;
        let (read, logged) = self.collector.during(|| read_address(&address));
        let shown = match read {
            Ok(place) => place,
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!shown.contains(SECRET) && !logged.contains(SECRET), "{address}: {shown}; {logged}");
        // Only an address that nothing can connect to.
        if !address.starts_with("postgres:") && !address.starts_with("postgresql:") {
            let error =
                self.runtime.block_on(pgworkflows::connect(&address)).expect_err("no store has this scheme");
            assert!(
                error.is_misconfigured() && !format!("{error} {error:?}").contains(SECRET),
                "{address}: {error:?}"
            );
        }
        Ok(())
    }

    fn read_history(&self, u: &mut Unstructured<'_>) -> Result<()> {
        let mut file = self.history.clone();
        // Without its digest, a file is one that was written by hand.
        if u.ratio(3, 4)? {
            let text = String::from_utf8_lossy(&file).replacen("\"digest\"", "\"x\"", 1);
            file = text.into_bytes();
        }
        for _ in 0..u.int_in_range(0..=6)? {
            let at = u.choose_index(file.len().max(1))?;
            match u.int_in_range(0..=4)? {
                0 => file.truncate(at),
                1 => file.insert(at, u.arbitrary()?),
                2 => drop(file.splice(at..at, u.arbitrary::<Vec<u8>>()?)),
                // Most bytes are digits.
                3 if at < file.len() => file[at] = *u.choose(b"0123456789abcdef")?,
                _ if at < file.len() => file[at] = u.arbitrary()?,
                _ => {}
            }
        }
        if let Ok(history) = serde_json::from_slice::<History>(&file) {
            written_and_read(&history);
        }
        Ok(())
    }
}

fn read_json(json: &str) -> Result<()> {
    if let Ok(payload) = Payload::from_json(json) {
        let value = payload.to_json().expect("what was accepted can be read");
        assert!(!format!("{payload:?}").is_empty());
        drop(payload.decode::<Zoo>());
        // In the other encoding, it is the same.
        let encoded = Payload::encode(&value).unwrap_or_else(|error| panic!("{json}: {error}"));
        assert_eq!(encoded.to_json().expect("what was encoded can be read"), value, "{json}");
    }
    Ok(())
}

fn read_payload(u: &mut Unstructured<'_>) -> Result<()> {
    let encoding = Encoding::from_number(u.int_in_range(0..=2)?);
    let payload = Payload::from_parts(encoding, Bytes::from(u.arbitrary::<Vec<u8>>()?));
    let value = payload.to_json();
    assert!(value.is_ok() || payload.decode::<serde_json::Value>().is_err(), "{payload:?}");
    drop(serde_json::to_string(&payload).expect("every payload can be shown"));
    if let Ok(zoo) = payload.decode::<Zoo>() {
        let again = Payload::encode(&zoo).and_then(|payload| payload.decode::<Zoo>());
        assert!(again.is_ok(), "{zoo:?}: {again:?}");
    }
    Ok(())
}

fn read_id(u: &mut Unstructured<'_>) -> Result<()> {
    let text = if u.arbitrary()? { RunId::from_u128(u.arbitrary()?).to_string() } else { words::text(u)? };
    match text.parse::<RunId>() {
        Ok(run) => assert_eq!(run.to_string().parse(), Ok(run), "{text}"),
        Err(error) => assert!(error.to_string().contains("is not a run id"), "{error}"),
    }
    Ok(())
}

fn read_traceparent(u: &mut Unstructured<'_>) -> Result<()> {
    let made =
        TraceContext::new(u.arbitrary()?, u.arbitrary()?, u.arbitrary()?).map(|trace| trace.to_string());
    let mut text = match made {
        Some(text) if u.ratio(3, 4)? => text,
        _ => u.arbitrary::<&str>()?.to_owned(),
    };
    let at = u.choose_index(text.len() + 1)?;
    if u.arbitrary()? && text.is_char_boundary(at) {
        text.insert_str(at, u.arbitrary::<&str>()?);
    }
    if let Some(trace) = TraceContext::parse(&text) {
        assert_eq!(TraceContext::parse(&trace.to_string()), Some(trace), "{text}");
    }
    Ok(())
}
