//! What tests see: what was done, what a history tells, and whether something has come about yet.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use pgworkflows::activity::{ActivityContext, ActivityResult};
use pgworkflows::history::Event;
use pgworkflows::{RunHandle, Workflow};
use tokio::sync::watch;
use tokio::time::Instant;

/// How long something that has to come about may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// How often to look.
const GLANCE: Duration = Duration::from_millis(10);

/// Waits until `look` finds something.
///
/// # Panics
/// If it finds nothing in 30 seconds.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "it did not come about in {DEADLINE:?}: {what}");
        tokio::time::sleep(GLANCE).await;
    }
}

/// What was done outside of any run: it survives every worker, as the world does.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    /// Something was done.
    pub fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what.into());
    }

    /// An activity that does what it is told: it is in the journal.
    pub fn noting(
        &self,
    ) -> impl Fn(ActivityContext, String) -> BoxFuture<'static, ActivityResult<()>> + use<> {
        let journal = self.clone();
        move |_, what| {
            journal.note(what);
            Box::pin(async { Ok(()) })
        }
    }

    /// All that was done, in order.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often it was done.
    pub fn count(&self, what: &str) -> usize {
        self.lines().iter().filter(|line| *line == what).count()
    }

    /// Waits until it was done that often.
    pub async fn shows(&self, what: &str, times: usize) {
        eventually(&format!("`{what}` is done {times} times, of {:?}", self.lines()), async || {
            (self.count(what) >= times).then_some(())
        })
        .await;
    }
}

/// A gate that holds activities up until it is opened, across all runtimes of a test.
#[derive(Clone, Debug)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    /// A gate that is shut.
    pub fn shut() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Opens it for good.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// An activity that ends when the gate is open.
    pub fn holding(&self) -> impl Fn(ActivityContext, ()) -> BoxFuture<'static, ActivityResult<()>> + use<> {
        let gate = self.clone();
        move |_, ()| {
            let gate = gate.clone();
            Box::pin(async move {
                gate.pass().await;
                Ok(())
            })
        }
    }

    /// Waits until it is open.
    pub async fn pass(&self) {
        let mut open = self.0.subscribe();
        // The sender is held by `self`.
        drop(open.wait_for(|open| *open).await);
    }
}

/// A run's history, each event as its stored name, with the name of what it is about.
///
/// # Panics
/// If the history cannot be read.
pub async fn story<W: Workflow>(run: &RunHandle<W>) -> Vec<String> {
    run.history().await.unwrap().iter().map(|event| told(&event.event)).collect()
}

/// How many events of a history have that stored name.
///
/// # Panics
/// If the history cannot be read.
pub async fn count<W: Workflow>(run: &RunHandle<W>, name: &str) -> usize {
    let history = run.history().await.unwrap();
    history.iter().filter(|event| event.event.name().as_str() == name).count()
}

/// An event as its stored name, with the name of what it is about.
pub fn told(event: &Event) -> String {
    let short = format!("{event:#}").replace('`', "");
    short.split_once(" (call ").map_or(short.as_str(), |(told, _)| told).to_owned()
}
