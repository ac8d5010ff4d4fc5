//! A run's history on its own: read from a store, kept in a file, shown as text, and replayed. It must not know
//! where it came from.

pub(crate) mod event;
pub(crate) mod file;
pub(crate) mod replay;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::event::HistoryEvent;
use self::file::HistoryFile;
pub use self::replay::{Replayed, replay};
use crate::data::id::{CommandId, EventSeq, Position, RunId};
pub use crate::data::outcome::Outcome;
use crate::data::time::Timestamp;
use crate::error::Error;
pub use crate::log::event::Event;
#[cfg(feature = "__testing")]
pub use crate::log::event::whole;
pub use crate::log::message_kind::MessageKind;
use crate::log::wire;
use crate::log::words::{Span, Words};
use crate::store::history::{EventRecord, RunHistory};
use crate::workflow::Workflow;

/// A run's history, as [`Client::export`](crate::client::Client::export) gives it. It holds the very bytes that the store
/// has.
///
/// With `serde_json`, or whatever else `serde` writes, it becomes a file that replay checks read: a digest shows
/// whether something was lost or changed since. Each event has its bytes, and beside them, for people, what they
/// say.
///
/// Its text is short and stable, for snapshots. Each line has the event's number, the time since the first event, the
/// event's stored name, the durable call with its name, and the content where there is one:
///
/// ```text
/// 1  0s   run.started trial-onboarding {"company": "Acme"}
/// 2  0s   activity.scheduled #1 send-welcome "ada@acme.example"
/// 3  0s   activity.completed #1 send-welcome
/// 4  0s   timer.started #2 until 11d
/// 5  11d  timer.fired #2
/// 6  11d  run.completed "Acme stayed."
/// ```
///
/// What differs from run to run though nothing happened otherwise (ids, leases, workers) is left out.
///
/// ```
/// use pgworkflows::{Client, RunId};
///
/// /// What happened to a run, for people.
/// async fn tell(client: &Client, run: RunId) -> Result<String, pgworkflows::Error> {
///     Ok(client.export(run).await?.to_string())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "HistoryFile", into = "HistoryFile")]
pub struct History {
    records: RunHistory,
    /// The workflow's source lines as they were when the history was annotated.
    sources: BTreeMap<EventSeq, String>,
}

impl History {
    /// The history that a store gave. Where its events were among those of others is forgotten.
    pub fn new(mut records: RunHistory) -> Self {
        records.events.iter_mut().for_each(|record| record.position = Position::FIRST);
        Self { records, sources: BTreeMap::new() }
    }

    /// The run.
    pub fn run_id(&self) -> RunId {
        self.records.run
    }

    /// The events as a store has them.
    pub fn records(&self) -> &RunHistory {
        &self.records
    }

    /// The name of its workflow; `None` if it does not even begin.
    pub fn workflow(&self) -> Option<String> {
        // A run that could not begin stalled before its start.
        self.decoded().take(2).find_map(|(_, event)| match event {
            Ok(Event::RunStarted { workflow, .. }) => Some(workflow.into()),
            _ => None,
        })
    }

    /// The events.
    ///
    /// # Errors
    /// If one is of a newer build, or its bytes are damaged: the error names it.
    pub fn events(&self) -> Result<Vec<HistoryEvent>, Error> {
        let records = self.records.events.iter();
        records.map(|record| HistoryEvent::read(self.run_id(), record.clone())).collect()
    }

    /// The source line of an event that the code decided, as it was when the history was annotated.
    pub fn source(&self, seq: EventSeq) -> Option<&str> {
        self.sources.get(&seq).map(String::as_str)
    }

    /// Notes the source line of every durable call beside its events, by a replay. When other code replays the
    /// history later, the difference can be shown with the lines of both.
    ///
    /// # Errors
    /// As [`replay`](crate::history::replay()): the code must be the one that the history follows.
    pub fn with_sources<W: Workflow>(mut self) -> Result<Self, Error> {
        let sources = replay::<W>(&self.records)?.sources;
        let lines = self.decoded().filter_map(|(record, event)| {
            let line = sources.get(&event.ok()?.call()?)?;
            Some((record.seq, line.to_string()))
        });
        self.sources = lines.collect();
        Ok(self)
    }

    fn decoded(&self) -> impl Iterator<Item = (&EventRecord, Result<Event, wire::WireError>)> {
        let records = self.records.events.iter();
        records.map(|record| (record, wire::decode_event(record.name.as_str(), &record.body)))
    }

    /// Every event in words, without its number and time.
    fn lines(&self) -> impl Iterator<Item = (&EventRecord, String)> {
        let began = self.records.events.first().map_or(Timestamp::MIN, |record| record.at);
        let mut names: BTreeMap<CommandId, String> = BTreeMap::new();
        self.decoded().map(move |(record, event)| {
            let event = match event {
                Ok(event) => event,
                Err(error) => return (record, format!("{} cannot be read: {error}", record.name)),
            };
            let activity = event.call().and_then(|id| names.get(&id)).map(String::as_str);
            let words = Words { event: &event, activity, began: Some(began) }.to_string();
            if let Event::ActivityScheduled { id, activity, .. }
            | Event::CompensationRegistered { id, activity, .. } = event
            {
                names.insert(id, activity.into());
            }
            (record, words)
        })
    }
}

impl From<History> for HistoryFile {
    fn from(history: History) -> Self {
        Self::new(&history.records, history.lines().map(|(_, says)| says), &history.sources)
    }
}

impl TryFrom<HistoryFile> for History {
    type Error = String;

    fn try_from(file: HistoryFile) -> Result<Self, String> {
        let (records, sources) = file.read()?;
        Ok(Self { records, sources })
    }
}

/// How far to the right source lines are put at most.
const WIDTH_MAX: usize = 80;

/// With `{:#}`, the source lines are there as well, where the history has any.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events = &self.records.events;
        let began = events.first().map_or(Timestamp::MIN, |record| record.at);
        let time = |record: &EventRecord| Span(record.at.saturating_since(began)).to_string();
        let numbers = events.len().to_string().len();
        let times = events.iter().map(|record| time(record).len()).max().unwrap_or_default();
        let lines: Vec<_> = self.lines().collect();
        let width =
            lines.iter().map(|(_, line)| line.chars().count().min(WIDTH_MAX)).max().unwrap_or_default();
        for (record, line) in lines {
            write!(f, "{:>numbers$}  {:<times$}  ", record.seq.get(), time(record))?;
            match self.source(record.seq).filter(|_| f.alternate()) {
                Some(source) => writeln!(f, "{line:<width$}  {source}")?,
                None => writeln!(f, "{line}")?,
            }
        }
        Ok(())
    }
}
