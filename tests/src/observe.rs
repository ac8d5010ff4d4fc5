//! What a test observes: effects of activities, histories, and whether a condition holds yet.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pgworkflows::client::{RunInfo, RunStatus};
use pgworkflows::history::Event;
use pgworkflows::{RunHandle, Workflow};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::definitions::ActivityFn;
use crate::logs::Logs;

/// How long a test waits for a condition. Only a test that fails waits that long.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How often a condition is checked.
const INTERVAL: Duration = Duration::from_millis(10);

/// Waits until `condition` returns a value, and returns that.
///
/// # Panics
/// Panics after 60 seconds.
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < end, "still not true after {DEADLINE:?}: {what}");
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Effects of activities. Like the world outside of a worker, it survives every worker.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    /// Notes an effect.
    pub fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what.into());
    }

    /// An activity that notes its input.
    pub fn noting(&self) -> ActivityFn<String, ()> {
        ActivityFn::with(self.clone(), |journal, _, what| async move {
            journal.note(what);
            Ok(())
        })
    }

    /// All effects, in order.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often this effect was noted.
    pub fn count(&self, what: &str) -> usize {
        self.lines().iter().filter(|line| *line == what).count()
    }

    /// Waits until the effect was noted that often.
    pub async fn has(&self, what: &str, times: usize) {
        eventually(&format!("`{what}` is noted {times} times, in {:?}", self.lines()), async || {
            (self.count(what) >= times).then_some(())
        })
        .await;
    }
}

/// A gate at which activities wait until it is opened, across all runtimes of a test.
#[derive(Clone, Debug)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    /// A closed gate.
    pub fn closed() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// An open gate.
    pub fn opened() -> Self {
        Self(Arc::new(watch::Sender::new(true)))
    }

    /// Opens it for good.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// An activity that waits until the gate is open.
    pub fn waiting(&self) -> ActivityFn<(), ()> {
        ActivityFn::with(self.clone(), |gate, _, ()| async move {
            gate.pass().await;
            Ok(())
        })
    }

    /// Waits until it is open.
    pub async fn pass(&self) {
        // The sender lives as long as `self`.
        drop(self.0.subscribe().wait_for(|open| *open).await);
    }
}

/// A run's history as text: one line per event, see [`event_text`].
///
/// # Panics
/// Panics if the history cannot be read.
pub async fn history_text<W: Workflow>(run: &RunHandle<W>) -> Vec<String> {
    run.history().await.unwrap().iter().map(|event| event_text(&event.event)).collect()
}

/// An event as text: its stored name, and the name of what it is about.
pub fn event_text(event: &Event) -> String {
    let short = format!("{event:#}").replace('`', "");
    short.split_once(" (call ").map_or(short.as_str(), |(text, _)| text).to_owned()
}

/// How many events of a run's history have that stored name.
///
/// # Panics
/// Panics if the history cannot be read.
pub async fn count<W: Workflow>(run: &RunHandle<W>, name: &str) -> usize {
    let history = run.history().await.unwrap();
    history.iter().filter(|event| event.event.name() == name).count()
}

/// Waits until a run's history has that many events of that stored name.
pub async fn logged<W: Workflow>(run: &RunHandle<W>, name: &str, times: usize) {
    let what = format!("{times} `{name}` in the history");
    eventually(&what, async || (count(run, name).await == times).then_some(())).await;
}

/// Waits until a run has that status, and returns its description.
pub async fn reached<W: Workflow>(run: &RunHandle<W>, status: RunStatus) -> RunInfo {
    eventually(&format!("the run is {status:?}"), async || {
        let info = run.describe().await.unwrap();
        (info.status == status).then_some(info)
    })
    .await
}

impl Logs {
    /// Waits for a line that contains all of these.
    pub async fn wait_for(&self, parts: &[&str]) -> String {
        eventually(&format!("a log line with {parts:?}"), async || self.with(parts).into_iter().next()).await
    }
}

/// Waits until a run is stalled, and returns the reason.
pub async fn stall_reason<W: Workflow>(run: &RunHandle<W>) -> String {
    reached(run, RunStatus::Stalled).await.waiting_on.unwrap()
}

/// Asserts that a text contains all of these.
///
/// # Panics
/// Panics if a part is missing.
pub fn assert_contains(text: impl ToString, parts: &[&str]) {
    let text = text.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}
