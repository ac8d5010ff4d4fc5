//! One life of a script's runs, with its crashes, and what is known of it afterwards. It must not compare lives.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use pgworkflows_core::Workflow;
use pgworkflows_core::history::{Event, HistoryEvent};
use pgworkflows_core::id::{CommandId, RunId};
use pgworkflows_core::payload::Payload;
use pgworkflows_core::store::{RunFilter, RunPage, StoreQuery};

use super::plan::{CrashMoment, CrashPlan, CrashPoint};
use crate::caught::caught_in;
use crate::env::{TestEnv, TestEnvBuilder, TestRun};
use crate::error::Error;
use crate::explore::held::Held;
use crate::world::{Pilot, Turn, World};

/// What is known of a life.
pub(super) struct Life {
    /// Whether the script succeeded, or how it failed.
    pub(super) script: Result<(), String>,
    /// Where processes died.
    pub(super) crashes: Vec<CrashPoint>,
    /// How many appends the last process made.
    pub(super) appends: usize,
    /// How every run ended.
    pub(super) summaries: BTreeMap<RunId, RunSummary>,
    /// How often each attempt was executed.
    pub(super) executions: BTreeMap<Attempt, usize>,
    /// Calls that were executed again although their outcome was recorded.
    pub(super) repeated: Vec<String>,
    /// The history of the first run, in words.
    pub(super) timeline: String,
}

/// How a run ended, and what it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RunSummary {
    /// Its workflow and its key, by which it is known if it was started again: a client draws another id then.
    pub(super) key: Option<(String, String)>,
    /// Its terminal event, or what it waits for.
    pub(super) end: Result<Event, String>,
    /// The activities that it scheduled, by call.
    pub(super) calls: BTreeMap<CommandId, (String, Payload)>,
}

/// An attempt of an activity or a step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Attempt {
    pub(super) run: RunId,
    pub(super) call: CommandId,
    pub(super) attempt: u32,
    pub(super) name: String,
}

/// Plays the script in a world whose processes die at these points.
pub(super) async fn live<W: Workflow>(
    definition: &TestEnvBuilder,
    script: &impl AsyncFn(TestEnv) -> Result<TestRun<W>, Error>,
    points: &[(usize, CrashMoment)],
    outage: Duration,
) -> Result<Life, Error> {
    let plan = Arc::new(CrashPlan::new(points));
    let held = Arc::new(Held::default());
    let pilot =
        CrashPilot { plan: Arc::clone(&plan), outage, held: Arc::clone(&held), recorded: RefCell::default() };
    let pilot = Rc::new(pilot);
    let mut definition = definition.clone();
    let settings = definition.settings_mut();
    settings.faults = Some(Arc::clone(&plan) as _);
    settings.gate = Some(held as _);
    settings.pilot = Some(Rc::clone(&pilot) as _);
    let env = definition.try_build()?;
    let script = match caught_in("the script", script(env.clone())).await {
        Ok(Ok(run)) => Ok(run.run_id()),
        // A message may arrive too late, and a result may be an error: the run has ended.
        Ok(Err(error)) => error.about_run().ok_or_else(|| format!("the script failed: {error}")),
        Err(panic) => Err(panic),
    };
    if let Ok(run) = script {
        // An error is read from the store like any other end.
        drop(env.run::<W>(run).result().await);
    }
    Ok(Life {
        script: script.map(|_| ()),
        crashes: plan.died(),
        appends: plan.appends(),
        summaries: summaries(&env).await?,
        executions: executions(env.world()),
        repeated: pilot.repeated(env.world()),
        timeline: timeline::<W>(&env),
    })
}

async fn summaries(env: &TestEnv) -> Result<BTreeMap<RunId, RunSummary>, Error> {
    let mut summaries = BTreeMap::new();
    let client = env.client();
    for run in runs(env.world()) {
        let info = env.drive(client.describe(run)).await??;
        let history = env.drive(client.history(run)).await??;
        let end = info.outcome()?.ok_or_else(|| info.waiting_on.unwrap_or_default());
        let key = info.key.map(|key| (info.workflow, key));
        summaries.insert(run, RunSummary { key, end, calls: calls(history) });
    }
    Ok(summaries)
}

fn timeline<W: Workflow>(env: &TestEnv) -> String {
    let first = runs(env.world()).into_iter().min();
    first.map(|first| format!("{:#}", env.run::<W>(first).history())).unwrap_or_default()
}

/// The activities that a run scheduled.
fn calls(history: Vec<HistoryEvent>) -> BTreeMap<CommandId, (String, Payload)> {
    let call = |event| match event {
        Event::ActivityScheduled { id, activity, input, .. }
        | Event::CompensationRegistered { id, activity, input, .. } => Some((id, (activity.into(), input))),
        _ => None,
    };
    history.into_iter().filter_map(|event| call(event.event)).collect()
}

fn executions(world: &World) -> BTreeMap<Attempt, usize> {
    let mut executions = BTreeMap::new();
    for call in world.calls().begun() {
        let attempt = Attempt { run: call.run, call: call.call, attempt: call.attempt, name: call.name };
        *executions.entry(attempt).or_default() += 1;
    }
    executions
}

fn runs(world: &World) -> Vec<RunId> {
    let page = RunPage { before: None, limit: u32::MAX };
    let runs = world.store().list(&RunFilter::default(), &page).now_or_never();
    let runs = runs.expect("only appends are disturbed").expect("only appends are disturbed");
    runs.into_iter().map(|run| run.run).collect()
}

/// Kills workers at the planned points, and starts their successors.
#[derive(Debug)]
struct CrashPilot {
    plan: Arc<CrashPlan>,
    outage: Duration,
    /// Holds outcomes that are ready at the same time: each is logged alone, so that a process can die between them.
    held: Arc<Held>,
    recorded: RefCell<Vec<Recorded>>,
}

/// What was recorded when a process died.
#[derive(Debug)]
struct Recorded {
    /// How many attempts had begun.
    begun: usize,
    outcomes: BTreeSet<(RunId, CommandId)>,
}

impl CrashPilot {
    /// Calls that were executed again although their outcome was recorded.
    fn repeated(&self, world: &World) -> Vec<String> {
        let begun = world.calls().begun();
        let mut repeated = Vec::new();
        for Recorded { begun: before, outcomes } in self.recorded.borrow().iter() {
            let again = begun.iter().skip(*before).filter(|call| outcomes.contains(&(call.run, call.call)));
            repeated.extend(again.map(|call| format!("`{}` (call {})", call.name, call.call)));
        }
        repeated
    }
}

impl Pilot for CrashPilot {
    fn polled(&self, world: &World) {
        if !self.plan.take_due() {
            return;
        }
        world.kill_all();
        let outcomes = runs(world).into_iter().flat_map(|run| {
            let history = world.client().history(run).now_or_never();
            let history = history.expect("only appends are disturbed").unwrap_or_default();
            history.into_iter().filter_map(move |event| Some((run, call_ended_by(&event.event)?)))
        });
        let recorded = Recorded { begun: world.calls().begun().len(), outcomes: outcomes.collect() };
        self.recorded.borrow_mut().push(recorded);
        world.advance_to(world.elapsed() + self.outage);
        world.start_worker().expect("its predecessor was built in the same way");
    }

    fn idle(&self, _world: &World) -> Turn {
        let released = self.held.release_given_up() || self.held.release_oldest();
        if released { Turn::Continues } else { Turn::TimePasses }
    }
}

/// The call that an event ends.
fn call_ended_by(event: &Event) -> Option<CommandId> {
    if event.is_outcome() || event.gives_up() { event.call() } else { None }
}
