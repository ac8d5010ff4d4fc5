//! What the open runs of a world wait for, in words: why nothing happens any more. It must not judge whether that is
//! right.

use std::fmt::Write;

use futures::FutureExt;
use pgworkflows_core::history::History;
use pgworkflows_core::id::RunId;
use pgworkflows_core::store::{
    ActivityQueueInfo, Load, OpenState, RunDescription, RunFilter, RunPage, StoreQuery,
};

use super::World;

/// How many runs a report names.
const RUNS_NAMED: u32 = 20;

impl World {
    /// What every open run waits for, with source lines; the first runs by name.
    pub(crate) fn report(&self) -> String {
        let filter = RunFilter { open: Some(true), ..RunFilter::default() };
        let page = RunPage { before: None, limit: RUNS_NAMED + 1 };
        let Some(Ok(open)) = self.store.list(&filter, &page).now_or_never() else {
            return "what the open runs wait for is unknown: the store does not answer".to_owned();
        };
        if open.is_empty() {
            return "no run is open".to_owned();
        }
        let mut report = String::new();
        for run in open.iter().take(RUNS_NAMED as usize) {
            let _ = writeln!(report, "  {}", self.report_run(run));
        }
        if open.len() > RUNS_NAMED as usize {
            report.push_str("  … and others\n");
        }
        format!("the open runs wait for this:\n{}", report.trim_end())
    }

    /// What one open run waits for.
    fn report_run(&self, run: &RunDescription) -> String {
        let said = run.open.as_ref().and_then(|row| row.waiting_on.clone());
        format!("run {} of workflow `{}`: {}", run.run, run.workflow, self.waits_of(run, said))
    }

    fn waits_of(&self, run: &RunDescription, said: Option<String>) -> String {
        if !self.definitions.knows_workflow(&run.workflow) {
            return format!(
                "its workflow is not registered: add `.workflow::<…>()` for `{}` to the builder",
                run.workflow
            );
        }
        if let Some(stall) = said.as_deref().filter(|said| said.starts_with("stalled: ")) {
            return stall.to_owned();
        }
        let waits = self.history(run.run).and_then(|history| {
            match self.definitions.replay(&run.workflow, &history)? {
                Ok(replayed) => replayed.waiting_on,
                Err(error) => Some(error.to_string()),
            }
        });
        let waits = waits.or(said).unwrap_or_else(|| "something unknown".to_owned());
        match self.unserved_task(run) {
            Some(task) if self.definitions.knows_activity(&task.activity) => format!(
                "{waits}; no worker serves activity queue `{queue}`: add `.worker(|worker| \
                 worker.activity_queue(\"{queue}\", 10))` to the builder",
                queue = task.queue
            ),
            Some(ActivityQueueInfo { activity, .. }) => format!(
                "{waits}; activity `{activity}` is neither registered nor mocked: add `.activity(…)` or \
                 `.mock::<…>(…)` for it to the builder"
            ),
            None => waits,
        }
    }

    /// Why a run is stalled, if it is.
    pub(crate) fn stall_of(&self, run: RunId) -> Option<String> {
        let row = self.store.describe(run).now_or_never()?.ok()??.open?;
        let said = row.waiting_on.filter(|_| row.state == OpenState::Stalled)?;
        Some(said.strip_prefix("stalled: ").unwrap_or(&said).to_owned())
    }

    /// Whether a run waits for an activity that no worker executes.
    pub(crate) fn waits_in_vain(&self, run: RunId) -> bool {
        let described = self.store.describe(run).now_or_never().and_then(Result::ok).flatten();
        described.is_some_and(|described| self.unserved_task(&described).is_some())
    }

    /// The activity that a run waits for and no worker executes: it is not registered, or nobody serves its queue.
    fn unserved_task(&self, run: &RunDescription) -> Option<ActivityQueueInfo> {
        let said = run.open.as_ref()?.waiting_on.as_deref()?;
        let queues = self.store.activity_queues().now_or_never()?.ok()?;
        let is_waited_for = |tasks: &ActivityQueueInfo| {
            let ActivityQueueInfo { queue, activity, executors, .. } = tasks;
            *executors == 0
                && said.contains(&format!("activity `{activity}` (a task of activity queue `{queue}`"))
        };
        queues.into_iter().find(is_waited_for)
    }

    /// The whole history of a run; `None` if the store does not answer at once.
    pub(crate) fn history(&self, run: RunId) -> Option<History> {
        let load = Load { runs: vec![run], after: None, bytes: usize::MAX };
        let loaded = self.store.load(&load).now_or_never()?.ok()?;
        History::new(loaded.histories.first()?).ok()
    }
}
