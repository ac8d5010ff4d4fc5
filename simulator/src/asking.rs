//! Attempts of activities that ask for something themselves: they signal their run, and start another. Later attempts of a call
//! ask again, and it happens once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pgworkflows_core::activity::ActivityContext;
use pgworkflows_core::history::Event;
use pgworkflows_core::host::Host;
use pgworkflows_core::id::MessageId;
use pgworkflows_core::{Client, Error, RunId, Signal};

use crate::host::SimHost;
use crate::plan::{Op, Work};
use crate::view::RunView;
use crate::workflow::PlanWorkflow;

/// A signal that only activities send, and no plan takes.
const REPORTED: Signal<()> = Signal::new("reported");

/// How long a run sleeps that an activity started.
const STARTED_MILLIS: u64 = 300;

/// How long an attempt waits before it asks again.
const PAUSE: Duration = Duration::from_millis(200);

impl Work {
    /// Whether its attempts signal their run.
    fn reports(&self) -> bool {
        self.value.is_multiple_of(5)
    }

    /// Whether its attempts start a run as well.
    fn starts(&self) -> bool {
        self.value.is_multiple_of(20)
    }

    /// Asks for what it should ask for, until the store has answered.
    pub(crate) async fn ask(&self, ctx: &ActivityContext, host: &SimHost) {
        // A new client numbers its requests from one again.
        while self.reports()
            && self.ask_once(&ctx.client(), ctx.run_id()).await.is_err_and(|e| e.is_unavailable())
        {
            host.sleep(PAUSE).await;
        }
    }

    async fn ask_once(&self, client: &Client, run: RunId) -> Result<(), Error> {
        // Its run may be over, if it was given up.
        let reported = client.signal(run, REPORTED, ()).await;
        if self.starts() {
            client.start::<PlanWorkflow>(Op::Sleep { millis: STARTED_MILLIS }).await?;
        }
        reported
    }
}

/// Part of invariants 1 and 3: what a completed call asked for has happened, once. What a run of the chain did not take, the next
/// one logs again.
pub(crate) fn check_asked(chain: &[&RunView], wrong: &mut Vec<String>) {
    let mut reports: BTreeMap<&str, BTreeSet<MessageId>> = BTreeMap::new();
    for event in chain.iter().flat_map(|seen| &seen.history) {
        if let Event::SignalReceived { message, signal, key: Some(key), .. } = &event.event
            && signal == REPORTED.name()
        {
            reports.entry(key).or_default().insert(*message);
        }
    }
    for (key, messages) in reports.iter().filter(|(_, messages)| messages.len() > 1) {
        wrong.push(format!("the attempts of one call reported {} times, by {key}", messages.len()));
    }
    let late = chain.iter().flat_map(|seen| &seen.info.undelivered);
    let is_late = late.into_iter().any(|late| late.what.contains(REPORTED.name()));
    for seen @ RunView { run, history, .. } in chain {
        for completed in history.iter().filter_map(|event| completed_call(&event.event)) {
            let reported = reports.contains_key(format!("{run}:{completed}:1").as_str());
            if asked(seen, &completed) && !reported && !is_late {
                wrong.push(format!("run {run}: call {completed} reported, and that is lost"));
            }
        }
    }
}

fn completed_call(event: &Event) -> Option<String> {
    let is_completed = matches!(event, Event::ActivityCompleted { .. });
    is_completed.then(|| event.call())?.map(|call| call.to_string())
}

/// Whether the call is one whose attempts report.
fn asked(seen: &RunView, call: &str) -> bool {
    seen.history.iter().any(|event| match &event.event {
        Event::ActivityScheduled { id, input, .. } if id.to_string() == call => {
            input.decode::<(Work,)>().is_ok_and(|(work,)| work.reports())
        }
        _ => false,
    })
}

/// A key names one run, or one chain of runs.
pub(crate) fn check_keys(seen: &[RunView], wrong: &mut Vec<String>) {
    let mut runs: BTreeMap<(&str, &str), RunId> = BTreeMap::new();
    for view in seen {
        for event in &view.history {
            if let Event::RunStarted { workflow, key: Some(key), chain: None, .. } = &event.event
                && let Some(other) = runs.insert((workflow, key), view.run)
            {
                wrong.push(format!("runs {other} and {} were started with key {key}", view.run));
            }
        }
    }
}
