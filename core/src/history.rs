//! A run's history by itself: kept in a file, shown as text, and replayed. It must not know where it came from.

pub(crate) mod event;
pub(crate) mod file;
pub(crate) mod last_events;
pub(crate) mod replay;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::event::HistoryEvent;
use self::file::HistoryFile;
pub use self::last_events::LastEvents;
pub use self::replay::Replayed;
use crate::data::id::{CommandId, EventSeq, RunId};
use crate::data::name::Name;
pub use crate::data::outcome::Outcome;
use crate::data::time::Timestamp;
use crate::error::Error;
#[cfg(feature = "__testing")]
#[doc(hidden)]
pub use crate::log::event::LAYOUTS;
#[cfg(feature = "__testing")]
pub use crate::log::event::whole;
pub use crate::log::event::{Event, EventKind};
pub use crate::log::message_kind::MessageKind;
use crate::log::past_event::StoredEvent;
use crate::log::stored_history::StoredHistory;
use crate::log::wire;
#[cfg(feature = "__testing")]
pub use crate::log::wire::read_back::read_back;
use crate::log::words::{Span, Words};
use crate::store::error::StoreError;
use crate::store::frame::Frame;
use crate::store::history::RunHistory;
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
/// # let export = async {
/// let run = client.start::<Hello>("Ada".to_owned()).await?;
/// run.result().await?;
/// let history = client.export(run.run_id()).await?;
/// assert_eq!(history.workflow().as_deref(), Some("hello"));
/// assert!(history.to_string().starts_with("1  0s"));
/// assert!(history.to_string().contains("run.started hello \"Ada\""));
/// # Ok::<(), pgworkflows::Error>(())
/// # };
/// # worker.run_while(export).await?
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "HistoryFile", into = "HistoryFile")]
pub struct History {
    stored: StoredHistory,
    /// The workflow's source lines at the time when the history was annotated.
    sources: BTreeMap<EventSeq, String>,
}

impl History {
    /// Makes a history of the frames that a store returned.
    ///
    /// # Errors
    /// Returns an error that names the run and the frame if one of them is damaged.
    pub fn new(frames: &RunHistory) -> Result<Self, Error> {
        let stored = StoredHistory::new(frames);
        let stored =
            stored.map_err(|problem| StoreError::corrupt(format!("run {}: {problem}", frames.run)))?;
        Ok(Self { stored, sources: BTreeMap::new() })
    }

    /// How many events it has.
    pub fn len(&self) -> usize {
        self.stored.events.len()
    }

    /// Whether it has no event, because no worker has begun the run.
    pub fn is_empty(&self) -> bool {
        self.stored.events.is_empty()
    }

    /// The run's id.
    pub fn run_id(&self) -> RunId {
        self.stored.run
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
        self.stored.events.iter().map(|event| HistoryEvent::decode(self.run_id(), event)).collect()
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
        let sources = replay::replay::<W>(&self.stored)?.sources;
        let lines = self.decoded().filter_map(|(stored, event)| {
            let line = sources.get(&event.ok()?.call()?)?;
            Some((stored.seq, line.to_string()))
        });
        self.sources = lines.collect();
        Ok(self)
    }

    fn decoded(&self) -> impl Iterator<Item = (&StoredEvent, Result<Event, wire::WireError>)> {
        self.stored.events.iter().map(|stored| (stored, wire::decode_event(stored.kind, &stored.body)))
    }

    /// When the first event happened.
    fn began(&self) -> Timestamp {
        self.stored.events.first().map_or(Timestamp::MIN, |first| first.at)
    }

    /// Every event as text, without its number and time.
    fn lines(&self) -> impl Iterator<Item = (&StoredEvent, String)> {
        let (began, mut names) = (self.began(), ActivityNames::default());
        self.decoded().map(move |(stored, event)| {
            event.as_ref().into_iter().for_each(|event| names.note(event));
            (stored, line(stored, &event, &names, began))
        })
    }
}

/// Runs a workflow's code on a recorded history, and compares every decision. Use it in tests, with exported histories,
/// to check that a change of the code still follows open runs.
///
/// # Errors
/// Returns an error if the history cannot be read, belongs to another workflow, or the code decides differently: then it
/// names the event, what was recorded, what the code did, and its source line, which [`Error::divergence`] has as fields.
///
/// ```
/// use pgworkflows::history::History;
/// use pgworkflows::prelude::*;
///
/// struct Reminder;
///
/// impl Workflow for Reminder {
///     const NAME: &'static str = "reminder";
///     type Input = String;
///     type Output = String;
///
///     async fn run(ctx: Context, name: String) -> WorkflowResult<String> {
///         ctx.sleep(Duration::from_secs(60)).await?;
///         Ok(name)
///     }
/// }
///
/// fn holds(histories: &[History]) -> Result<(), pgworkflows::Error> {
///     for history in histories {
///         pgworkflows::history::replay::<Reminder>(history)?;
///     }
///     Ok(())
/// }
/// # holds(&[]).unwrap();
/// ```
pub fn replay<W: Workflow>(history: &History) -> Result<Replayed, Error> {
    replay::replay::<W>(&history.stored)
}

impl Frame {
    /// Decodes its events, for observers of a store such as decorators and tests.
    ///
    /// # Errors
    /// Returns an error if it is damaged, or if a newer build wrote it.
    pub fn events(&self) -> Result<Vec<HistoryEvent>, Error> {
        History::new(&RunHistory { run: self.run, frames: vec![self.clone()] })?.events()
    }
}

impl From<History> for HistoryFile {
    fn from(history: History) -> Self {
        Self::new(&history.stored, history.lines().map(|(_, says)| says), &history.sources)
    }
}

impl TryFrom<HistoryFile> for History {
    type Error = String;

    fn try_from(file: HistoryFile) -> Result<Self, String> {
        let (stored, sources) = file.read()?;
        Ok(Self { stored, sources })
    }
}

/// The greatest column, in characters, at which source lines begin.
const WIDTH_MAX: usize = 80;

/// Writes one line per event. `{:#}` adds the source lines, if the history has any.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.lines().collect();
        write_lines(f, self.began(), &lines, |stored| self.source(stored.seq))
    }
}

/// The names of the activities that were scheduled or registered so far, for later events that are about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ActivityNames(BTreeMap<CommandId, Name>);

impl ActivityNames {
    fn note(&mut self, event: &Event) {
        if let Event::ActivityScheduled { id, activity, .. }
        | Event::CompensationRegistered { id, activity, .. } = event
        {
            self.0.insert(*id, activity.clone());
        }
    }

    /// The name of the activity that an event is about, if the event itself does not contain it.
    fn of(&self, event: &Event) -> Option<&str> {
        let has_it = matches!(event, Event::ActivityScheduled { .. } | Event::CompensationRegistered { .. });
        event.call().filter(|_| !has_it).and_then(|id| self.0.get(&id)).map(Name::as_str)
    }
}

/// An event as text, without its number and time.
fn line(
    stored: &StoredEvent,
    event: &Result<Event, wire::WireError>,
    names: &ActivityNames,
    began: Timestamp,
) -> String {
    match event {
        Ok(event) => Words { event, activity: names.of(event), began: Some(began) }.to_string(),
        Err(error) => format!("{} cannot be read: {error}", stored.kind),
    }
}

/// Writes lines with their numbers and times and, in the alternate form, the source lines.
fn write_lines<'a>(
    f: &mut fmt::Formatter<'_>,
    began: Timestamp,
    lines: &[(&StoredEvent, String)],
    source: impl Fn(&StoredEvent) -> Option<&'a str>,
) -> fmt::Result {
    let time = |stored: &StoredEvent| Span(stored.at.saturating_since(began)).to_string();
    let numbers = lines.last().map_or(0, |(last, _)| last.seq.get().to_string().len());
    let times = lines.iter().map(|(stored, _)| time(stored).len()).max().unwrap_or_default();
    let width = lines.iter().map(|(_, line)| line.chars().count().min(WIDTH_MAX)).max().unwrap_or_default();
    for (stored, line) in lines {
        write!(f, "{:>numbers$}  {:<times$}  ", stored.seq.get(), time(stored))?;
        match source(stored).filter(|_| f.alternate()) {
            Some(source) => writeln!(f, "{line:<width$}  {source}")?,
            None => writeln!(f, "{line}")?,
        }
    }
    Ok(())
}
