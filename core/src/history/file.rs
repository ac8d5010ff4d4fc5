//! The file format of a history. It must not trust what it reads.

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use chrono::DateTime;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::data::id::{EventSeq, RunId};
use crate::data::time::Timestamp;
use crate::log::event::EventKind;
use crate::log::past_event::StoredEvent;
use crate::log::stored_history::StoredHistory;

/// The format that this build writes and reads. A change of the format needs another number.
const FORMAT: &str = "pgworkflows-history/1";

/// The content of a file.
#[derive(Serialize, Deserialize)]
pub(super) struct HistoryFile {
    format: String,
    run: String,
    /// How many events the history has: a truncated file has fewer.
    count: usize,
    /// SHA-256 of the events. Without it they are not checked, for histories that are written by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    events: Vec<EventInFile>,
}

#[derive(Serialize, Deserialize)]
struct EventInFile {
    seq: u32,
    at: String,
    name: String,
    /// The stored bytes as hexadecimal digits.
    body: String,
    /// The event as text for people. It is not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    says: Option<String>,
    /// The workflow's source line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
}

impl HistoryFile {
    /// The file of a history whose events have the texts `says`.
    pub(super) fn new(
        history: &StoredHistory,
        says: impl Iterator<Item = String>,
        sources: &BTreeMap<EventSeq, String>,
    ) -> Self {
        let event = |(stored, says): (&StoredEvent, String)| EventInFile {
            seq: stored.seq.get(),
            at: stored.at.to_string(),
            name: stored.kind.to_string(),
            body: to_hex(&stored.body),
            says: Some(says),
            source: sources.get(&stored.seq).cloned(),
        };
        Self {
            format: FORMAT.to_owned(),
            run: history.run.to_string(),
            count: history.events.len(),
            digest: Some(to_hex(&digest(history))),
            events: history.events.iter().zip(says).map(event).collect(),
        }
    }

    /// The history, and the source lines of its events.
    pub(super) fn read(self) -> Result<(StoredHistory, BTreeMap<EventSeq, String>), String> {
        if self.format != FORMAT {
            return Err(format!(
                "the history has format `{:.64}`, and this build reads `{FORMAT}`: use the build that wrote it, or a \
                 newer one",
                self.format
            ));
        }
        let run: RunId = self.run.parse().map_err(|error| format!("`run`: {error}"))?;
        if self.events.len() != self.count {
            return Err(format!(
                "the history of run {run} is incomplete: it should have {} events, and has {}; export it again",
                self.count,
                self.events.len()
            ));
        }
        let mut history = StoredHistory { run, events: Vec::with_capacity(self.count) };
        let mut sources = BTreeMap::new();
        for event in self.events {
            let seq = EventSeq::new(event.seq);
            history.events.push(stored(seq, &event)?);
            sources.extend(event.source.map(|source| (seq, source)));
        }
        match self.digest {
            Some(expected) if expected != to_hex(&digest(&history)) => Err(format!(
                "the history of run {run} was changed or damaged after its export: its digest does not match. Export \
                 it again or, if you changed it on purpose, remove its `digest`"
            )),
            _ => Ok((history, sources)),
        }
    }
}

fn stored(seq: EventSeq, event: &EventInFile) -> Result<StoredEvent, String> {
    let kind = EventKind::named(&event.name).ok_or_else(|| {
        format!("event {seq}: this build does not know the kind `{:.64}`; use a newer build", event.name)
    })?;
    let at = DateTime::parse_from_rfc3339(&event.at)
        .map_err(|error| format!("event {seq}: `{:.64}` is not a time: {error}", event.at))?;
    let body = from_hex(&event.body)
        .ok_or_else(|| format!("event {seq}: its body is not an even number of hexadecimal digits"))?;
    Ok(StoredEvent { seq, at: Timestamp::from(at.to_utc()), kind, body })
}

fn digest(history: &StoredHistory) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(history.run.as_u128().to_le_bytes());
    for event in &history.events {
        hasher.update(event.seq.get().to_le_bytes());
        hasher.update(event.at.as_micros().to_le_bytes());
        hasher.update([event.kind.code()]);
        // The length precedes the body, so that the end of one cannot pass for the beginning of the next event.
        hasher.update((event.body.len() as u64).to_le_bytes());
        hasher.update(&event.body);
    }
    hasher.finalize().into()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn from_hex(hex: &str) -> Option<Bytes> {
    let digits: Option<Vec<u8>> = hex.chars().map(|digit| Some(digit.to_digit(16)? as u8)).collect();
    let pairs = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(pairs.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
