//! The runs of a finished world as a client reads them. It must not judge them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgworkflows_core::client::RunInfo;
use pgworkflows_core::history::{Event, History, HistoryEvent};
use pgworkflows_core::store::ChainLink;
use pgworkflows_core::{Client, Error, RunId};
use pgworkflows_memory::MemoryStore;
use pgworkflows_testkit::runtime::dice::Dice;
use pgworkflows_testkit::runtime::time::Owner;

use crate::host::SimHost;
use crate::pages::read_in_parts;
use crate::workflow::{DRAWN, PlanWorkflow, TIMES};
use crate::world::World;

/// A run as a client sees it.
pub(crate) struct RunView {
    pub(crate) run: RunId,
    pub(crate) history: Vec<HistoryEvent>,
    /// The same history as the store holds it.
    pub(crate) stored: History,
    pub(crate) info: RunInfo,
    /// Its views.
    pub(crate) times: Option<u64>,
    pub(crate) drawn: Option<u64>,
}

impl RunView {
    /// Its place in its chain, if it continues another run.
    pub(crate) fn link(&self) -> Option<ChainLink> {
        self.history.iter().find_map(|event| match &event.event {
            Event::RunStarted { chain, .. } => *chain,
            _ => None,
        })
    }

    /// Its events.
    pub(crate) fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.history.iter().map(|event| &event.event)
    }

    /// Whether there is an event of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.history.iter().any(|event| event.event.name() == name)
    }

    /// Whether another run of its chain goes on.
    pub(crate) fn is_continued(&self) -> bool {
        let last = self.history.last().map(|event| &event.event);
        matches!(last, Some(Event::RunContinued { .. } | Event::RunRetried { .. }))
    }
}

async fn view(client: &Client, store: &MemoryStore, run: RunId, page: usize) -> Result<RunView, Error> {
    let (history, info) = (client.history(run).await?, client.describe(run).await?);
    let stored = History::new(&read_in_parts(store, run, page).await?)?;
    let handle = client.handle::<PlanWorkflow>(run);
    let (times, drawn) = (handle.view(TIMES).await?, handle.view(DRAWN).await?);
    Ok(RunView { run, history, stored, info, times, drawn })
}

impl World {
    /// Reads all runs as a client does.
    pub(crate) fn view_runs(&mut self) -> Vec<RunView> {
        let runs: Vec<RunId> = self.ledger.lock().accounts.runs.keys().copied().collect();
        let count = runs.len();
        let host = SimHost::new(Arc::clone(&self.time), Owner::WORLD, Dice::new(0));
        let client =
            Client::builder(self.store.clone()).host(host).build().expect("the settings are in range");
        let views = Arc::new(Mutex::new(Vec::new()));
        let (read, store, ledger) = (Arc::clone(&views), self.store.clone(), Arc::clone(&self.ledger));
        let page = self.config.page_bytes;
        let task = async move {
            for run in runs {
                match view(&client, &store, run, page).await {
                    Ok(run) => read.lock().expect("one thread").push(run),
                    Err(error) => ledger.violated(format!("run {run} cannot be read: {error}")),
                }
            }
        };
        self.faults.end();
        self.scheduler.spawn(Owner::WORLD, Box::pin(task));
        let end = self.time.now() + (self.config.latency_max * 16 + Duration::from_secs(60)) * count as u32;
        // Not `run_until`, which stops after a violation.
        while views.lock().expect("one thread").len() < count && self.time.now() < end {
            match (self.scheduler.step(), self.time.next_timer()) {
                (Ok(true), _) => {}
                (_, Some(next)) => self.time.advance_to(next),
                (_, None) => break,
            }
        }
        std::mem::take(&mut *views.lock().expect("one thread"))
    }
}
