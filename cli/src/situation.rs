//! What is known about a run that does not go on: collected from the store, for [`why`](crate::why) to put into words. It must
//! not judge.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use pgworkflows::RunId;
use pgworkflows::client::{RunInfo, RunStatus, Wait};
use pgworkflows::history::{Event, HistoryEvent};
use pgworkflows::id::CommandId;

use crate::connect::Connected;
use crate::failure::Failure;

/// How many pages of a history are read, each of about 1 MiB. Of a longer one, it is not known since when a call is open.
const PAGES_MAX: usize = 8;

/// A run and what surrounds it.
#[derive(Clone, Debug)]
pub(crate) struct Situation {
    /// The time by the store's clock.
    pub(crate) now: DateTime<Utc>,
    pub(crate) run: RunId,
    pub(crate) workflow: String,
    pub(crate) key: Option<String>,
    pub(crate) parent: Option<RunId>,
    pub(crate) status: RunStatus,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) closed_at: Option<DateTime<Utc>>,
    /// How it ended, in words.
    pub(crate) outcome: Option<String>,
    /// What its row says in words: why it stalled, say.
    pub(crate) words: Option<String>,
    pub(crate) waits: Vec<Wait>,
    pub(crate) wake_at: Option<DateTime<Utc>>,
    pub(crate) service: Service,
    pub(crate) tasks: Vec<Tasks>,
    pub(crate) log: Log,
}

/// Who executes the run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Service {
    /// The queue of its shard.
    pub(crate) queue: Option<String>,
    /// How many live workers the queue has.
    pub(crate) workers: usize,
    /// How many of them know the run's workflow.
    pub(crate) knowing: usize,
    /// The live worker that owns its shard.
    pub(crate) owner: Option<String>,
}

/// The tasks of an activity in an activity queue.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    pub(crate) queue: String,
    pub(crate) activity: String,
    pub(crate) waiting: u64,
    pub(crate) running: u64,
    pub(crate) workers: u32,
    pub(crate) problem: Option<String>,
}

/// What the history tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    /// The last event.
    pub(crate) last: Option<(DateTime<Utc>, String)>,
    /// When the calls that are open began.
    pub(crate) open: Vec<(Call, DateTime<Utc>)>,
    /// Whether a timer is the delay of the start.
    pub(crate) starts_at: Option<DateTime<Utc>>,
}

/// A call that a history has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Activity(String),
    Timer(DateTime<Utc>),
    Child(RunId),
}

impl Situation {
    /// Reads what surrounds a run. Each read is bounded, and finds what it needs by a key.
    pub(crate) async fn read(store: &Connected, info: RunInfo) -> Result<Self, Failure> {
        let (log, service, tasks, now) = if info.status.is_over() {
            (Log::default(), Service::default(), Vec::new(), store.now().await?)
        } else {
            tokio::try_join!(
                read_log(store, &info),
                read_service(store, &info),
                read_tasks(store, &info),
                store.now()
            )?
        };
        // One that this build cannot read does not hide the rest.
        let outcome = info.outcome().unwrap_or_default().map(|event| ended(&event));
        Ok(Self {
            now,
            run: info.run_id,
            workflow: info.workflow,
            key: info.key,
            parent: info.parent,
            status: info.status,
            created_at: info.created_at,
            closed_at: info.closed_at,
            outcome,
            words: info.waiting_on,
            waits: info.waits,
            wake_at: info.wake_at,
            service,
            tasks,
            log,
        })
    }

    /// Since when a call is open, if the history tells.
    pub(crate) fn since(&self, call: &Call) -> Option<DateTime<Utc>> {
        self.log.open.iter().find(|(open, _)| open == call).map(|(_, at)| *at)
    }
}

async fn read_log(store: &Connected, info: &RunInfo) -> Result<Log, Failure> {
    let mut calls = Calls::default();
    let mut after = None;
    for _ in 0..PAGES_MAX {
        let page = store.client.history_page(info.run_id, after).await?;
        page.events.iter().for_each(|event| calls.follow(event));
        after = page.end().or(after);
        if page.is_last {
            return Ok(calls.log());
        }
    }
    Ok(Log::default())
}

pub(crate) async fn read_service(store: &Connected, info: &RunInfo) -> Result<Service, Failure> {
    let Some(queue) = store.client.queue_of(info.run_id).await? else { return Ok(Service::default()) };
    let shard = info.run_id.shard();
    let knowing = queue.workers.iter().filter(|worker| worker.workflows.contains(&info.workflow)).count();
    let owner = queue.workers.iter().find(|worker| worker.shards.contains(&shard));
    Ok(Service {
        workers: queue.workers.len(),
        knowing,
        owner: owner.map(|worker| worker.name.clone()),
        queue: Some(queue.name),
    })
}

/// The tasks that the run waits for. Without one, the store is not asked.
async fn read_tasks(store: &Connected, info: &RunInfo) -> Result<Vec<Tasks>, Failure> {
    if !info.waits.iter().any(|wait| matches!(wait, Wait::Activity { queue: Some(_), .. })) {
        return Ok(Vec::new());
    }
    let found = store.client.activity_queues().await?;
    let tasks = found.into_iter().map(|tasks| Tasks {
        queue: tasks.queue,
        activity: tasks.activity,
        waiting: tasks.waiting,
        running: tasks.running,
        workers: tasks.workers,
        problem: tasks.problem,
    });
    Ok(tasks.collect())
}

/// The open calls of a history.
#[derive(Default)]
struct Calls {
    open: BTreeMap<CommandId, (Call, DateTime<Utc>)>,
    /// The activities of registered compensations, which are scheduled by their calls.
    registered: BTreeMap<CommandId, String>,
    last: Option<(DateTime<Utc>, String)>,
    starts_at: Option<DateTime<Utc>>,
}

impl Calls {
    fn follow(&mut self, event: &HistoryEvent) {
        self.last = Some((event.at, format!("{:#}", event.event)));
        let Some(id) = event.event.call() else {
            if let Event::RunStarted { start_at, .. } = &event.event {
                self.starts_at = start_at.map(DateTime::from);
            }
            return;
        };
        let opened = match &event.event {
            Event::ActivityScheduled { activity, .. } => Some(Call::Activity(activity.to_string())),
            Event::TimerStarted { fire_at, .. } => Some(Call::Timer((*fire_at).into())),
            Event::ChildStarted { child, .. } | Event::ChildCarried { child, .. } => {
                Some(Call::Child(*child))
            }
            Event::CompensationRegistered { activity, .. } => {
                self.registered.insert(id, activity.to_string());
                None
            }
            Event::CompensationScheduled { .. } => self.registered.remove(&id).map(Call::Activity),
            event if event.is_outcome() || event.gives_up() => {
                self.open.remove(&id);
                None
            }
            _ => None,
        };
        self.open.extend(opened.map(|call| (id, (call, event.at))));
    }

    fn log(self) -> Log {
        Log { last: self.last, open: self.open.into_values().collect(), starts_at: self.starts_at }
    }
}

/// Why a run ended, if its last event tells, without the details of failures.
pub(crate) fn reason(event: &Event) -> Option<String> {
    match event {
        Event::RunFailed { failure, .. } | Event::RunRetried { failure, .. } => Some(failure.to_string()),
        Event::RunCancelled { reason, .. } => reason.clone(),
        Event::RunTerminated { reason, .. } => Some(reason.clone()),
        _ => None,
    }
}

/// How a run ended, without its payloads: a result, and the details of failures.
fn ended(event: &Event) -> String {
    let uncompensated = match event {
        Event::RunFailed { uncompensated, .. }
        | Event::RunRetried { uncompensated, .. }
        | Event::RunCancelled { uncompensated, .. }
        | Event::RunTimedOut { uncompensated, .. } => &uncompensated[..],
        _ => &[],
    };
    let why = reason(event).map(|why| format!(": {why}")).unwrap_or_default();
    let left = uncompensated.iter();
    let left = left.map(|left| format!("; compensation {}: {}", left.activity, left.failure));
    format!("{event:#}{why}{}", left.collect::<String>())
}
