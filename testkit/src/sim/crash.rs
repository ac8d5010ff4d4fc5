//! One run, crashed once at every event of its history: before its commit, before the commit is acknowledged, and
//! right after. It must come to the same end each time. It must not know what the workflow does.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::LocalBoxFuture;
use pgworkflows::{Client, Error, Event, RunHandle, Timestamp, Worker, WorkerBuilder, Workflow};
use pgworkflows_memory::{Call, Fact, Fault, FaultPoint, Faults, MemoryStore, Stage};

use super::dice::Dice;
use super::faults::StoreTime;
use super::host::SimHost;
use super::ledger::Ledger;
use super::scheduler::Scheduler;
use super::time::{Order, Owner, Time};

/// When a process dies, as seen from an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashMoment {
    /// The append is on its way and is never written.
    BeforeCommit,
    /// The append is written, and its process never hears of that.
    BeforeAcknowledgement,
    /// Its process heard of it, and has done nothing else since.
    AfterAcknowledgement,
}

/// Where activities note that they are executed.
#[derive(Clone, Debug)]
pub struct Executions(Arc<Ledger>);

impl Executions {
    /// An activity of that name begins.
    pub fn note(&self, activity: &str) {
        self.0.executes(activity.to_owned(), 1, Owner::WORLD);
    }
}

/// Runs a workflow once per event and moment, crashes it there, and has another worker take over. Gives the results,
/// the first of them undisturbed.
///
/// `register` puts the definitions into each worker; `script` plays the client, from the start of the run to its
/// result.
///
/// # Errors
/// What went wrong, and where the process had died: a result that could not be had, or an activity that was executed
/// again although its outcome was recorded.
pub fn crash_at_every_event<W: Workflow>(
    register: impl Fn(WorkerBuilder, &Executions) -> WorkerBuilder,
    script: impl Fn(Client) -> LocalBoxFuture<'static, Result<(RunHandle<W>, W::Output), Error>>,
) -> Result<Vec<W::Output>, String> {
    let mut results = Vec::new();
    let (result, _) = run(usize::MAX, CrashMoment::BeforeCommit, &register, &script)?;
    results.push(result);
    for moment in
        [CrashMoment::BeforeCommit, CrashMoment::BeforeAcknowledgement, CrashMoment::AfterAcknowledgement]
    {
        for events in 1.. {
            let (result, crashed) = run(events, moment, &register, &script)
                .map_err(|problem| format!("crashed at event {events}, {moment:?}: {problem}"))?;
            if !crashed {
                break;
            }
            results.push(result);
        }
    }
    Ok(results)
}

/// The result of one run, and whether it was crashed.
fn run<W: Workflow>(
    events: usize,
    moment: CrashMoment,
    register: &impl Fn(WorkerBuilder, &Executions) -> WorkerBuilder,
    script: &impl Fn(Client) -> LocalBoxFuture<'static, Result<(RunHandle<W>, W::Output), Error>>,
) -> Result<(W::Output, bool), String> {
    let dice = Dice::new(events as u64);
    let time = Time::new(Order::Drawn(dice.fork(1)), false);
    let ledger = Ledger::new(Arc::clone(&time));
    let plan = Arc::new(CrashPlan::new(events, moment, &ledger));
    let store = MemoryStore::with_faults(Arc::new(StoreTime(Arc::clone(&time))), Arc::clone(&plan) as _);
    let mut scheduler = Scheduler::new(Arc::clone(&time));
    let host = |owner| SimHost::new(Arc::clone(&time), owner, dice.fork(2 + u64::from(owner.0)));
    let start = |scheduler: &mut Scheduler, owner| {
        let worker = Worker::builder(store.clone()).host(host(owner) as _).processors(1).queue_shards(1);
        let worker = register(
            worker.lease_ttl(LEASE_TTL).tick_interval(LEASE_TTL / 4),
            &Executions(Arc::clone(&ledger)),
        )
        .build();
        let worker = worker.map_err(|error| error.to_string())?;
        let life = async move { drop(worker.run_on_this_thread(std::future::pending()).await) };
        scheduler.spawn(owner, Box::pin(life));
        Ok::<_, String>(())
    };
    start(&mut scheduler, Owner(1))?;
    let client = Client::builder(store.clone()).host(host(Owner::WORLD)).queue_shards(1);
    let client = client.poll_interval(LEASE_TTL / 4).build();
    let told = Arc::new(Mutex::new(None));
    let teller = {
        let (told, client) = (Arc::clone(&told), client.map_err(|error| error.to_string())?);
        let script = script(client.clone());
        async move {
            let end = match script.await {
                Ok((handle, result)) => {
                    client.history(handle.run_id()).await.map(|history| (result, history))
                }
                Err(error) => Err(error),
            };
            *told.lock().expect("one thread") = Some(end);
        }
    };
    scheduler.spawn(Owner::WORLD, Box::pin(teller));
    let mut crashed = false;
    loop {
        if let Some(end) = told.lock().expect("one thread").take() {
            let (result, history) = end.map_err(|error| error.to_string())?;
            check(&ledger, history.into_iter().map(|event| event.event))?;
            return Ok((result, crashed));
        }
        let stepped = scheduler.step()?;
        if plan.due.swap(false, Ordering::Relaxed) {
            crashed = true;
            scheduler.kill(Owner(1));
            start(&mut scheduler, Owner(2))?;
        }
        if !stepped {
            let next = time.next_timer().ok_or("everything waits, and for nothing")?;
            time.advance_to(next);
        }
        if scheduler.polls > POLLS_MAX {
            return Err(format!("there was no result after {POLLS_MAX} polls, at {:?}", time.now()));
        }
    }
}

/// How long a worker that died keeps others waiting.
const LEASE_TTL: Duration = Duration::from_secs(3600);

/// How many polls a run may take.
const POLLS_MAX: u64 = 1_000_000;

/// No activity may begin after its outcome was recorded. Known by their names, so only those are judged that the
/// workflow calls once.
fn check(ledger: &Ledger, history: impl Iterator<Item = Event>) -> Result<(), String> {
    let inner = ledger.lock();
    if let Some(violation) = inner.violations.first() {
        return Err(violation.clone());
    }
    let accounts = inner.book.runs.values().next().map(|run| &run.events[..]).unwrap_or_default();
    let events: Vec<_> = history.zip(accounts).collect();
    for (event, _) in &events {
        let Event::ActivityScheduled { id, activity, .. } = event else { continue };
        let calls = events.iter().filter(|(event, _)| {
            matches!(event, Event::ActivityScheduled { activity: other, .. } if other == activity)
        });
        let recorded = events.iter().find_map(|(event, account)| match event {
            Event::ActivityCompleted { id: other, .. } if other == id => Some(account.moment),
            _ => None,
        });
        let again = |recorded| {
            inner
                .executions
                .iter()
                .any(|execution| execution.key == **activity && execution.moment > recorded)
        };
        if calls.count() == 1 && recorded.is_some_and(again) {
            return Err(format!("`{activity}` was executed again when its outcome was recorded"));
        }
    }
    Ok(())
}

/// Where the process dies.
#[derive(Debug)]
struct CrashPlan {
    events: usize,
    moment: CrashMoment,
    written: AtomicUsize,
    done: AtomicBool,
    /// Whether the process is to die now.
    due: AtomicBool,
    ledger: Arc<Ledger>,
}

impl CrashPlan {
    fn new(events: usize, moment: CrashMoment, ledger: &Arc<Ledger>) -> Self {
        Self {
            events,
            moment,
            written: AtomicUsize::new(0),
            done: AtomicBool::new(false),
            due: AtomicBool::new(false),
            ledger: Arc::clone(ledger),
        }
    }

    fn crash(&self) -> Fault {
        self.done.store(true, Ordering::Relaxed);
        self.due.store(true, Ordering::Relaxed);
        match self.moment {
            CrashMoment::AfterAcknowledgement => Fault::Proceed,
            CrashMoment::BeforeCommit | CrashMoment::BeforeAcknowledgement => {
                Fault::Delay(Box::pin(std::future::pending()))
            }
        }
    }
}

impl Faults for CrashPlan {
    fn at(&self, point: &FaultPoint<'_>) -> Fault {
        let Call::Append(append) = point.call else { return Fault::Proceed };
        let written = self.written.load(Ordering::Relaxed);
        let reached = match (point.stage, self.moment) {
            (Stage::Commit, CrashMoment::BeforeCommit) => written + append.events.len(),
            (
                Stage::Acknowledgement,
                CrashMoment::BeforeAcknowledgement | CrashMoment::AfterAcknowledgement,
            ) => written,
            _ => return Fault::Proceed,
        };
        if reached < self.events || self.done.load(Ordering::Relaxed) {
            return Fault::Proceed;
        }
        self.crash()
    }

    fn happened(&self, fact: &Fact, now: Timestamp) {
        if let Fact::Appended(append) = fact {
            self.written.fetch_add(append.events.len(), Ordering::Relaxed);
        }
        self.ledger.happened(fact, now);
    }
}
