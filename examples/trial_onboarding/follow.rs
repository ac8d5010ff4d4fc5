//! Prints a run's progress: the events in its log, and when it is parked. It must not change the run.

use std::time::Duration;

use pgworkflows::client::RunStatus;
use pgworkflows::history::Event;
use pgworkflows::{Error, RunHandle};
use pgworkflows_examples::trial::trial_onboarding;

use super::say;

/// How often the run's status is read.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Prints what is already in a run's log.
pub(crate) async fn print_log(handle: &RunHandle<trial_onboarding>, company: &str) -> Result<(), Error> {
    let info = handle.describe().await?;
    let history = handle.history().await?;
    let state = if info.status.is_over() { "is over" } else { "continues" };
    say(format!("found    {company}: run {} {state}, {} events in its log", handle.run_id(), history.len()));
    let mut names = std::collections::BTreeMap::new();
    for recorded in &history {
        match &recorded.event {
            Event::ActivityScheduled { id, activity, .. } => {
                names.insert(*id, activity.clone());
            }
            Event::ActivityCompleted { id, .. } => {
                let name = names.get(id).cloned().unwrap_or_default();
                say(format!("replayed {name}: recorded, so it does not run again"));
            }
            Event::TimerFired { .. } => say("replayed the trial: its time has passed"),
            Event::SignalReceived { signal, .. } => say(format!("replayed signal `{signal}`")),
            _ => {}
        }
    }
    Ok(())
}

/// Prints when the run is parked, until the task is aborted.
pub(crate) async fn follow(handle: RunHandle<trial_onboarding>) {
    let mut printed = None;
    loop {
        if let Ok(info) = handle.describe().await {
            let waits = match info.status {
                RunStatus::Waiting => info.waiting_on,
                RunStatus::Stalled => info.waiting_on.map(|why| format!("STALLED: {why}")),
                _ => None,
            };
            if let Some(waits) = waits.filter(|waits| printed.as_ref() != Some(waits)) {
                say(format!("parked   no thread, no memory: waits for {waits}"));
                printed = Some(waits);
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Returns when the run waits for the signal of this name.
pub(crate) async fn until_waiting_for(
    handle: &RunHandle<trial_onboarding>,
    signal: &str,
) -> Result<(), Error> {
    loop {
        let info = handle.describe().await?;
        if info.waiting_on.is_some_and(|waits| waits.contains(&format!("signal `{signal}`"))) {
            return Ok(());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
