//! The workflows of queues that no live worker can execute, in words. It must not know which command asks.

use std::collections::{BTreeMap, BTreeSet};

use pgworkflows::client::{QueueInfo, RunStatus};

use crate::connect::Connected;
use crate::count::counted;
use crate::failure::Failure;

/// Of so many workflows it is looked whether they have open runs, and so many are named.
const WORKFLOWS_MAX: usize = 20;

/// How many open runs a look goes through.
const SEARCHED: u32 = 250_000;

/// How many pending runs are asked for their queues.
const PENDING_MAX: u32 = 20;

/// Workflows by the names of their queues.
type ByQueue = BTreeMap<String, BTreeSet<String>>;

/// One sentence for each queue with open runs that its live workers cannot execute, and for each set of workflows that only
/// several workers know.
///
/// A shard's row names a workflow from when an owner of the shard begins a run of it, until an owner finds that the last one has
/// ended. So without a worker, it may name some that have no open run, which are left out, and lack those of runs that no worker
/// has begun.
pub(crate) async fn unserved(store: &Connected, queues: &[QueueInfo]) -> Result<Vec<String>, Failure> {
    let named: BTreeSet<&str> = queues.iter().flat_map(named).collect();
    let open = if named.len() > WORKFLOWS_MAX { named } else { with_open_runs(store, named).await? };
    let pending = pending(store, queues).await?;
    Ok(queues.iter().flat_map(|queue| told(queue, &open, &pending)).collect())
}

/// The workflows of pending runs in queues without a live worker, as far as the newest runs tell.
async fn pending(store: &Connected, queues: &[QueueInfo]) -> Result<ByQueue, Failure> {
    let mut pending = ByQueue::new();
    if queues.iter().all(|queue| !queue.workers.is_empty()) {
        return Ok(pending);
    }
    let runs = store.client.list().status(RunStatus::Pending).limit(PENDING_MAX).search(SEARCHED).await?.runs;
    for run in runs {
        if let Some(queue) = store.client.queue_of(run.run_id).await?.filter(|queue| queue.workers.is_empty())
        {
            pending.entry(queue.name).or_default().insert(run.workflow);
        }
    }
    Ok(pending)
}

/// The workflows that shards of the queue name.
fn named(queue: &QueueInfo) -> impl Iterator<Item = &str> {
    queue.unserved.iter().flat_map(|unserved| unserved.workflows.iter().map(String::as_str))
}

/// Those that have open runs, or may have some beyond the search.
async fn with_open_runs<'a>(
    store: &Connected,
    named: BTreeSet<&'a str>,
) -> Result<BTreeSet<&'a str>, Failure> {
    let mut open = BTreeSet::new();
    for workflow in named {
        let found = store.client.list().workflow(workflow).open().limit(1).search(SEARCHED).await?;
        if !found.runs.is_empty() || found.next.is_some() {
            open.insert(workflow);
        }
    }
    Ok(open)
}

fn told(queue: &QueueInfo, open: &BTreeSet<&str>, pending: &ByQueue) -> Vec<String> {
    let name = &queue.name;
    let mut named: BTreeSet<&str> = named(queue).filter(|workflow| open.contains(workflow)).collect();
    named.extend(pending.get(name).into_iter().flatten().map(String::as_str));
    if named.is_empty() {
        return Vec::new();
    }
    let do_not_know = match queue.workers.len() {
        0 => {
            return vec![format!("queue `{name}` has open runs of {}, and no live worker", listed(&named))];
        }
        1 => "its live worker does not know".to_owned(),
        workers => format!("none of its {workers} live workers knows"),
    };
    let is_known = |workflow: &&str| {
        queue.workers.iter().any(|worker| worker.workflows.iter().any(|known| known == workflow))
    };
    let (known, unknown): (BTreeSet<&str>, BTreeSet<&str>) = named.into_iter().partition(is_known);
    let mut told = Vec::new();
    if !unknown.is_empty() {
        told.push(format!("queue `{name}` has open runs of {}, which {do_not_know}", listed(&unknown)));
    }
    // Each of these has a worker that knows it, but all runs of a shard have one owner.
    for unserved in &queue.unserved {
        let together: BTreeSet<&str> = unserved.workflows.iter().map(String::as_str).collect();
        if together.is_subset(&known) {
            let shards = counted(unserved.shards.len(), "shard");
            let all = listed(&together);
            told.push(format!(
                "queue `{name}` has {shards} with open runs of {all}, and no live worker knows all of these"
            ));
        }
    }
    told
}

/// The names, as far as people read them.
fn listed(workflows: &BTreeSet<&str>) -> String {
    let mut names: Vec<String> =
        workflows.iter().take(WORKFLOWS_MAX).map(|workflow| format!("`{workflow}`")).collect();
    if workflows.len() > WORKFLOWS_MAX {
        names.push(format!("{} more", workflows.len() - WORKFLOWS_MAX));
    }
    names.join(", ")
}
