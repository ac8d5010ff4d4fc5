//! Recorded histories: runs of a given size, executed once by a real worker in memory. It must not know what is done
//! with them.

use std::sync::Arc;
use std::time::Duration;

use pgworkflows::bench::first_events;
use pgworkflows::store::{Bodies, Load, RunHistory, Store};
use pgworkflows::{Client, MemoryStore, Workflow};

use crate::Failure;
use crate::definitions::{Activities, FanOut, GO, Naps, Signals};
use crate::workers::{Serves, Workers};

/// A kind of history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Activities, one after the other.
    Activities,
    /// Timers, one after the other.
    Timers,
    /// Activities at the same time.
    FanOut,
    /// Signals.
    Signals,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Activities, Self::Timers, Self::FanOut, Self::Signals];

    /// What it is called in a benchmark.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Activities => "activities",
            Self::Timers => "timers",
            Self::FanOut => "fan-out",
            Self::Signals => "signals",
        }
    }
}

/// Records a history of `events` events, of a run that continues: its last resolution and later events are cut off.
///
/// # Errors
/// Whatever a worker or a client reports.
pub fn record(kind: Kind, events: u32) -> Result<RunHistory, Failure> {
    let runtime = tokio::runtime::Runtime::new()?;
    // A start first; then two events per activity or timer, of which the last has no resolution yet.
    let whole = match kind {
        Kind::Activities => runtime.block_on(run::<Activities>(events / 2, 0)),
        Kind::Timers => runtime.block_on(run::<Naps>(events / 2, 0)),
        Kind::FanOut => runtime.block_on(run::<FanOut>(events / 2, 0)),
        Kind::Signals => runtime.block_on(run::<Signals>(events, events)),
    }?;
    let mut history = first_events(&whole, events)?;
    // Laid out as by a store that reads them from a database.
    let mut bodies = Bodies::default();
    history.frames.iter_mut().for_each(|frame| frame.body = bodies.keep(&frame.body));
    Ok(history)
}

async fn run<W: Workflow<Input = u32>>(size: u32, signals: u32) -> Result<RunHistory, Failure> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let client = Client::new(Arc::clone(&store));
    let handle = client.start::<W>(size).await?;
    for number in 0..signals {
        handle.signal(GO, u64::from(number)).await?;
    }
    // Started last, so that all signals are processed at once; otherwise the run would leave memory before each of
    // them.
    let workers = Workers::inside(&store, 1, Serves { slots: 100_000, ..Serves::default() })?;
    // A run that stalls has no result; the error says why it stalled.
    handle.result().timeout(Duration::from_secs(600)).await?;
    workers.stop().await?;
    let mut session = store.session().await?;
    let load = Load { runs: vec![handle.run_id()], after: None, bytes: usize::MAX };
    Ok(session.load(&load).await?.histories.remove(0))
}

#[cfg(test)]
mod tests {
    use pgworkflows::history::{History, replay};

    use super::{Kind, record};
    use crate::definitions::{Activities, FanOut, Naps, Signals};

    #[test]
    fn every_kind_has_the_requested_events_and_a_run_that_continues() {
        for kind in Kind::ALL {
            let history = History::new(&record(kind, 10).unwrap()).unwrap();
            let replayed = match kind {
                Kind::Activities => replay::<Activities>(&history),
                Kind::Timers => replay::<Naps>(&history),
                Kind::FanOut => replay::<FanOut>(&history),
                Kind::Signals => replay::<Signals>(&history),
            };
            let replayed = replayed.unwrap();
            assert_eq!((replayed.events, replayed.over), (10, false), "{kind:?}");
        }
    }
}
