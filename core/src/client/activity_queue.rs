//! Describes activity queues to users. It must not know how a store counts tasks.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::store::tasks::ActivityQueueInfo;

/// The tasks of one activity in an activity queue, as of when it was read.
///
/// A task is an attempt of an activity that any worker of the activity queue may execute. An activity queue that no worker
/// serves has `waiting` tasks and no `workers`:
///
/// ```
/// # use pgworkflows::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// let client = Client::new(pgworkflows::MemoryStore::new());
/// for tasks in client.activity_queues().await? {
///     if tasks.workers == 0 {
///         println!("nobody executes {} of queue {} since {:?}", tasks.activity, tasks.queue, tasks.waiting_since);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ActivityQueue {
    /// The activity queue's name.
    pub queue: String,
    /// The activity's name.
    pub activity: String,
    /// How many tasks wait for a worker.
    pub waiting: u64,
    /// How many tasks a worker executes.
    pub running: u64,
    /// When the oldest waiting task was enqueued, by the store's clock.
    pub waiting_since: Option<DateTime<Utc>>,
    /// How many workers serve the activity queue and know the activity.
    pub workers: u32,
    /// Why a worker could not begin one of the waiting tasks, such as an input that its code cannot read. Another worker, or
    /// the same one half a minute later, tries again.
    pub problem: Option<String>,
}

impl ActivityQueue {
    pub(super) fn new(found: ActivityQueueInfo) -> Self {
        let ActivityQueueInfo { queue, activity, waiting, claimed, waiting_since, executors, problem } =
            found;
        Self {
            queue,
            activity,
            waiting,
            running: claimed,
            waiting_since: waiting_since.map(DateTime::from),
            workers: executors,
            problem,
        }
    }
}
