//! A run's history by itself: kept in a file, shown as text, and replayed. It must not know where it came from.

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
#[doc(hidden)]
pub use crate::log::event::LAYOUTS;
#[cfg(feature = "__testing")]
pub use crate::log::event::whole;
pub use crate::log::message_kind::MessageKind;
use crate::log::wire;
use crate::log::words::{Span, Words};
use crate::store::history::{EventRecord, RunHistory};
use crate::workflow::Workflow;

/// A run's history, as [`Client::export`](crate::client::Client::export) returns it. It holds the bytes that the store
/// has.
///
/// `serde_json`, or any other format of `serde`, turns it into a file for replay checks. The file has the bytes of each
/// event, the event as text for people, and a digest that shows whether something was lost or changed.
///
/// Its text is short and stable, for snapshot tests. Each line has the event's number, the time since the first event,
/// the event's stored name, the durable call with its name, and the content, if there is one:
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
/// Fields that differ between equal runs (message ids, leases, workers) are left out. `{:#}` adds the source lines that
/// [`History::with_sources`] noted.
///
/// ```
/// # use pgworkflows::MemoryStore;
/// # use pgworkflows::prelude::*;
/// # struct Hello;
/// # impl Workflow for Hello {
/// #     const NAME: &'static str = "hello";
/// #     type Input = String;
/// #     type Output = ();
/// #     async fn run(_ctx: Context, _name: String) -> WorkflowResult<()> { Ok(()) }
/// # }
/// # #[tokio::main]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// # let store = MemoryStore::new();
/// # let worker = Worker::builder(store.clone()).workflow::<Hello>().build()?;
/// # let client = Client::new(store);
/// # let mut exported = Ok(());
/// # let export = async {
/// let run = client.start::<Hello>("Ada".to_owned()).await?;
/// run.result().await?;
/// let history = client.export(run.run_id()).await?;
/// assert_eq!(history.workflow().as_deref(), Some("hello"));
/// assert!(history.to_string().starts_with("1  0s"));
/// assert!(history.to_string().contains("run.started hello \"Ada\""));
/// # Ok::<(), pgworkflows::Error>(())
/// # };
/// # worker.run_until(async { exported = export.await }).await?;
/// # exported
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "HistoryFile", into = "HistoryFile")]
pub struct History {
    records: RunHistory,
    /// The workflow's source lines at the time when the history was annotated.
    sources: BTreeMap<EventSeq, String>,
}

impl History {
    /// Makes a history of events that a store returned. Their positions within the shard are dropped.
    pub fn new(mut records: RunHistory) -> Self {
        records.events.iter_mut().for_each(|record| record.position = Position::FIRST);
        Self { records, sources: BTreeMap::new() }
    }

    /// The run's id.
    pub fn run_id(&self) -> RunId {
        self.records.run
    }

    /// The events as a store keeps them.
    pub fn records(&self) -> &RunHistory {
        &self.records
    }

    /// The name of the run's workflow; `None` if the run has not begun.
    pub fn workflow(&self) -> Option<String> {
        // A run whose code could not begin has a stall before its start.
        self.decoded().take(2).find_map(|(_, event)| match event {
            Ok(Event::RunStarted { workflow, .. }) => Some(workflow.into()),
            _ => None,
        })
    }

    /// Decodes the events.
    ///
    /// # Errors
    /// Returns an error that names the event if a newer build wrote it, or its bytes are damaged.
    pub fn events(&self) -> Result<Vec<HistoryEvent>, Error> {
        let records = self.records.events.iter();
        records.map(|record| HistoryEvent::read(self.run_id(), record.clone())).collect()
    }

    /// The source line of the durable call of an event, as noted by [`History::with_sources`].
    pub fn source(&self, seq: EventSeq) -> Option<&str> {
        self.sources.get(&seq).map(String::as_str)
    }

    /// Replays the history and notes the source line of every durable call beside its events. When other code replays
    /// the history later, a difference can be shown with the lines of both.
    ///
    /// # Errors
    /// The errors of [`replay`](crate::history::replay()): the code must follow the history.
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

    /// Every event as text, without its number and time.
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

/// The greatest column, in characters, at which source lines begin.
const WIDTH_MAX: usize = 80;

/// Writes one line per event. `{:#}` adds the source lines, if the history has any.
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
