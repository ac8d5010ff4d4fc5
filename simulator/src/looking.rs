//! Clients that ask what a run waits for while it is disturbed. What they are told is compared with its history at the end. It
//! must not know what disturbed the run.

use pgworkflows_core::client::Wait;
use pgworkflows_core::history::Event;
use pgworkflows_core::id::CommandId;
use pgworkflows_core::{RunId, Timestamp};
use pgworkflows_testkit::runtime::dice::Dice;

use crate::clients::{RunPromise, Script, lock};
use crate::plan::SIGNALS;
use crate::view::RunView;
use crate::workflow::TOLD;
use crate::workflow::serving::UPDATES;

/// What a client was told that a run waits for.
#[derive(Debug)]
pub(crate) struct Look {
    /// The run of its chain that was the current one.
    run: RunId,
    waits: Vec<Wait>,
}

impl Script {
    /// Looks at some runs, once or several times.
    pub(crate) async fn look(&self, index: usize, run: RunId, dice: &mut Dice) {
        while self.number % 4 == 3 && dice.chance(700) {
            self.pause(dice, 10).await;
            match self.clients[1].describe(run).await {
                Ok(info) if info.status.is_over() => return,
                Ok(info) => {
                    let look = Look { run: info.run_id, waits: info.waits };
                    lock(&self.promises).runs[index].looks.push(look);
                }
                Err(error) if error.is_unavailable() => {}
                Err(error) if error.is_unknown_run() && self.config.loses_commits => return,
                Err(error) => self.ledger.violated(format!("a run was not described: {error}")),
            }
        }
    }
}

/// What a run was said to wait for is in its history, or in its plan if it is no event.
pub(crate) fn check_looks(promise: &RunPromise, chain: &[&RunView], wrong: &mut Vec<String>) {
    for Look { run, waits } in &promise.looks {
        let Some(seen) = chain.iter().find(|seen| seen.run == *run) else {
            wrong.push(format!("run {} leads to {run}, which is not in its chain", promise.run));
            continue;
        };
        let made_up = waits.iter().filter(|wait| !is_told(wait, seen));
        wrong.extend(
            made_up.map(|wait| format!("run {run} was said to wait for {wait}, and its history has none")),
        );
    }
}

fn is_told(wait: &Wait, seen: &RunView) -> bool {
    match wait {
        Wait::Signal { name, .. } => SIGNALS.contains(&name.as_str()) || name == TOLD.name(),
        Wait::Update { name, .. } => UPDATES.contains(&name.as_str()),
        Wait::Step { name, .. } => name == "step",
        Wait::Permit { name, .. } => name == "mutex",
        Wait::Timer { until, .. } => has_timer(seen, (*until).into()),
        Wait::Child { run, .. } => seen.events().any(|event| match event {
            Event::ChildStarted { child, .. } | Event::ChildCarried { child, .. } => child == run,
            _ => false,
        }),
        Wait::Activity { name, attempt, again_at, .. } => {
            let again_at = again_at.map(Timestamp::from);
            calls_of(seen, name).any(|id| has_attempt(seen, id, *attempt, again_at))
        }
        Wait::Condition { .. } | Wait::Resume { .. } => true,
        // No build here is newer than another.
        _ => false,
    }
}

fn has_timer(seen: &RunView, until: Timestamp) -> bool {
    seen.events().any(|event| match event {
        Event::TimerStarted { fire_at, .. } => *fire_at == until,
        Event::RunStarted { start_at, .. } => *start_at == Some(until),
        _ => false,
    })
}

/// The calls of an activity, and its compensations.
fn calls_of<'a>(seen: &'a RunView, name: &'a str) -> impl Iterator<Item = CommandId> + 'a {
    seen.events().filter_map(move |event| match event {
        Event::ActivityScheduled { id, activity, .. }
        | Event::CompensationRegistered { id, activity, .. } => (activity == name).then_some(*id),
        _ => None,
    })
}

/// Whether a call had that attempt, in back-off until that time. Such a time is that of a failure, or of a request to retry.
fn has_attempt(seen: &RunView, id: CommandId, attempt: u32, again_at: Option<Timestamp>) -> bool {
    let is_asked_for = |at: Timestamp| {
        let asked = seen.history.iter().filter(|event| matches!(event.event, Event::RetryRequested { .. }));
        asked.map(|event| Timestamp::from(event.at)).any(|asked| asked == at)
    };
    attempt == 1 && again_at.is_none()
        || seen.events().any(|event| match event {
            Event::ActivityAttemptFailed { id: failed, attempt: before, retry_at, .. } => {
                *failed == id
                    && before + 1 == attempt
                    && again_at.is_none_or(|at| at == *retry_at || is_asked_for(at))
            }
            _ => false,
        })
}
