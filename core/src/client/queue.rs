//! `client.queue`: describes a queue and the workers that share it. It must not know how they share it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::client::call::ClientShared;
use crate::data::id::ShardId;
use crate::data::name::Name;
use crate::error::Error;
use crate::store::build::Build;
use crate::store::query::{LeaseDescription, QueueDescription, ShardNeeds};

/// A handle of one queue. [`Client::queue`](super::Client::queue) makes one.
#[derive(Clone)]
pub struct QueueHandle {
    pub(super) shared: Arc<ClientShared>,
    pub(super) name: String,
}

impl QueueHandle {
    /// Describes the queue as it is now: who serves it, and which of its shards.
    ///
    /// ```
    /// use pgworkflows::{Client, MemoryStore, Worker};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// let store = MemoryStore::new();
    /// let client = Client::new(store.clone());
    /// let worker = Worker::builder(store).name("worker-1").build()?;
    /// let served = async {
    ///     // Until every shard of the queue has an owner.
    ///     loop {
    ///         match client.queue("default").describe().await {
    ///             Ok(queue) if queue.free_shards == 0 => return queue,
    ///             _ => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
    ///         }
    ///     }
    /// };
    /// let queue = worker.run_while(served).await?;
    /// for worker in &queue.workers {
    ///     println!("{}: {} shards, {} runs in memory", worker.name, worker.shards.len(), worker.live_runs);
    /// }
    /// assert_eq!((queue.workers[0].name.as_str(), queue.workers[0].shards.len()), ("worker-1", 64));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// * [`Error::is_invalid`]: there is no queue of this name, because no worker or client has opened it yet.
    /// * [`Error::is_unavailable`]: the store did not answer.
    pub async fn describe(&self) -> Result<QueueInfo, Error> {
        let described = self.shared.retry(|| self.shared.store.query().describe_queue(&self.name)).await?;
        described.map(QueueInfo::new).ok_or_else(|| {
            Error::invalid(format!(
                "there is no queue `{}` yet: a worker that serves it, or a client that starts a run in it, creates it; check \
                 the name that they were given",
                self.name
            ))
        })
    }
}

impl fmt::Debug for QueueHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueHandle").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A description of a queue, as of when it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QueueInfo {
    /// The queue's name.
    pub name: String,
    /// How many shards the queue has, 1 to 4096.
    pub shard_count: u16,
    /// How many of these have no live owner. Their runs wait. A worker takes them within the time of a lease.
    pub free_shards: u16,
    /// The live workers, by name.
    pub workers: Vec<WorkerInfo>,
    /// Shards with open runs of workflows that no live worker knows all of, by those workflows: empty if all is well.
    pub unserved: Vec<UnservedShards>,
}

/// Shards of a queue with open runs that cannot all be executed, because no live worker knows all of their workflows. Runs of
/// those that the owner of a shard does not know wait. Printed, it says what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UnservedShards {
    /// The shards, ascending.
    pub shards: Vec<ShardId>,
    /// The workflows of their open runs, ascending. There may be a workflow whose last run has just ended.
    pub workflows: Vec<String>,
}

impl fmt::Display for UnservedShards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let workflows = self.workflows.iter().map(|workflow| format!("`{workflow}`"));
        match self.shards.len() {
            1 => f.write_str("1 shard has")?,
            shards => write!(f, "{shards} shards have")?,
        }
        write!(
            f,
            " open runs of {}, and no live worker of the queue knows all of these: register them with one worker, or give \
             programs with different workflows a queue each",
            workflows.collect::<Vec<_>>().join(", ")
        )
    }
}

/// A worker of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// The [name](crate::worker::WorkerBuilder::name) that the worker was given. Workers of one name and one build are shown as
    /// one.
    pub name: String,
    /// How new its code is: see [`generation`](crate::worker::WorkerBuilder::generation).
    pub generation: u64,
    /// The workflows that it knows, ascending.
    pub workflows: Vec<String>,
    /// Whether a live worker of the queue knows more workflows, or the same ones and is of a newer generation. Then this one
    /// claims no shards, and keeps at most its share of those that it has. That is the usual state of the old code during a
    /// deploy, and that of a rollback until the newer workers have stopped.
    pub outdated: bool,
    /// How many processors it has, each with a lease of its own.
    pub processors: usize,
    /// The shards that it owns, ascending.
    pub shards: Vec<ShardId>,
    /// How many runs it had in memory at its last heartbeat. Runs that wait for a signal or a deadline are not in memory.
    pub live_runs: u64,
    /// When it renewed its leases last; of several, the one that was renewed first.
    pub last_heartbeat: DateTime<Utc>,
}

impl QueueInfo {
    fn new(described: QueueDescription) -> Self {
        let QueueDescription { name, shard_count, leases, needs } = described;
        let owned: usize = leases.iter().map(|lease| lease.shards.len()).sum();
        let free_shards = shard_count.saturating_sub(u16::try_from(owned).unwrap_or(u16::MAX));
        let builds: Vec<Build> = leases.iter().map(|lease| lease.build.clone()).collect();
        let mut workers: BTreeMap<(String, u64, BTreeSet<Name>), WorkerInfo> = BTreeMap::new();
        for lease in leases {
            let LeaseDescription { worker, build, shards, live_runs, renewed_at, .. } = lease;
            let last_heartbeat = DateTime::<Utc>::from(renewed_at);
            let key = (worker.clone(), build.generation, build.workflows.clone());
            let info = workers.entry(key).or_insert_with(|| WorkerInfo {
                name: worker,
                generation: build.generation,
                outdated: builds.iter().any(|other| other.outdates(&build)),
                workflows: build.workflows.into_iter().map(String::from).collect(),
                processors: 0,
                shards: Vec::new(),
                live_runs: 0,
                last_heartbeat,
            });
            info.processors += 1;
            info.shards.extend(shards);
            info.live_runs += u64::from(live_runs);
            info.last_heartbeat = info.last_heartbeat.min(last_heartbeat);
        }
        let mut workers: Vec<WorkerInfo> = workers.into_values().collect();
        workers.iter_mut().for_each(|worker| worker.shards.sort_unstable());
        Self { name, shard_count, free_shards, workers, unserved: unserved(needs, &builds) }
    }
}

/// The shards that need more than any of these builds knows, by what they need.
fn unserved(needs: Vec<ShardNeeds>, builds: &[Build]) -> Vec<UnservedShards> {
    let mut unserved: BTreeMap<Vec<Name>, Vec<ShardId>> = BTreeMap::new();
    for ShardNeeds { shard, workflows } in needs {
        if !builds.iter().any(|build| build.knows(&workflows)) {
            unserved.entry(workflows).or_default().push(shard);
        }
    }
    let words = |workflows: Vec<Name>| workflows.into_iter().map(String::from).collect();
    unserved
        .into_iter()
        .map(|(workflows, shards)| UnservedShards { shards, workflows: words(workflows) })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::data::id::LeaseId;
    use crate::testing::BORN;

    fn shard(number: u16) -> ShardId {
        ShardId::new(number).expect("the number is small")
    }

    fn described(leases: Vec<LeaseDescription>, needs: Vec<ShardNeeds>) -> QueueInfo {
        QueueInfo::new(QueueDescription { name: "default".to_owned(), shard_count: 7, leases, needs })
    }

    #[test]
    fn builds_of_workers_are_compared_with_each_other_and_with_what_shards_need() {
        // Given workers of one name: of two generations, one that knows more, and one that knows something else
        let lease = |generation, workflows: &[&str]| LeaseDescription {
            lease: LeaseId::FIRST,
            worker: "w".to_owned(),
            build: Build { generation, workflows: workflows.iter().map(|name| (*name).into()).collect() },
            shards: Vec::new(),
            live_runs: 0,
            renewed_at: BORN,
        };
        let leases = vec![
            lease(1, &["a"]),
            lease(2, &["a"]),
            lease(1, &["a", "b"]),
            lease(1, &["c"]),
            lease(1, &["c"]),
        ];
        // And shards with open runs of workflows
        let needs = |number, workflows: &[&str]| ShardNeeds {
            shard: shard(number),
            workflows: workflows.iter().map(|name| (*name).into()).collect(),
        };
        let needs =
            vec![needs(1, &["a", "b"]), needs(2, &["b", "c"]), needs(4, &["b", "c"]), needs(5, &["d"])];
        let info = described(leases, needs);

        // Then each build is shown once, and which of them are outdated
        let shown: Vec<_> = info
            .workers
            .iter()
            .map(|worker| (worker.generation, worker.workflows.join(" "), worker.processors, worker.outdated))
            .collect();
        let line = |generation, workflows: &str, processors, outdated| {
            (generation, workflows.to_owned(), processors, outdated)
        };
        assert_eq!(
            shown,
            [line(1, "a", 1, true), line(1, "a b", 1, false), line(1, "c", 2, false), line(2, "a", 1, true)]
        );
        // And which shards nobody can serve
        let [two, other] = &info.unserved[..] else { panic!("{info:?}") };
        assert_eq!(
            (&two.shards[..], &two.workflows[..]),
            (&[shard(2), shard(4)][..], &["b", "c"].map(String::from)[..])
        );
        assert_eq!(other.workflows, ["d"]);
        assert!(two.to_string().contains("`b`, `c`") && two.to_string().contains("a queue each"), "{two}");
    }

    #[test]
    fn leases_of_one_worker_are_shown_together() {
        let lease = |worker: &str, shards: [u16; 2], live_runs, after| LeaseDescription {
            lease: LeaseId::FIRST,
            worker: worker.to_owned(),
            build: Build::default(),
            shards: shards.map(shard).to_vec(),
            live_runs,
            renewed_at: BORN.saturating_add(Duration::from_secs(after)),
        };
        let leases = vec![lease("b", [4, 5], 1, 0), lease("a", [6, 7], 20, 9), lease("a", [1, 2], 300, 3)];
        let info = described(leases, Vec::new());
        assert_eq!(info.free_shards, 1);
        let [a, b] = &info.workers[..] else { panic!("{info:?}") };
        assert_eq!((a.name.as_str(), a.processors, a.live_runs), ("a", 2, 320));
        assert_eq!(a.shards, [1, 2, 6, 7].map(shard));
        assert_eq!((b.processors, b.shards.len(), b.live_runs), (1, 2, 1));
        assert_eq!((a.last_heartbeat - b.last_heartbeat).num_seconds(), 3, "the first of its two");
    }
}
