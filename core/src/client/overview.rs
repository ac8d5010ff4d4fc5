//! `client.queues`, `queue_of` and `now`: what a tool asks that knows neither the queues nor the store's clock. It must not
//! know how queues are shared.

use chrono::{DateTime, Utc};

use crate::client::Client;
use crate::client::queue::QueueInfo;
use crate::data::id::RunId;
use crate::error::Error;
use crate::store::Queue;

impl Client {
    /// Describes every queue, ascending by name: who serves it, and which of its shards. It creates none.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// let client = pgworkflows::Client::new(pgworkflows::MemoryStore::new());
    /// assert!(client.queues().await?.is_empty() && client.now().await?.is_none());
    ///
    /// let run = client.start_named("order", serde_json::json!({"item": 7})).await?.run_id();
    /// let queue = client.queue_of(run).await?.expect("the first start created it");
    /// assert_eq!((queue.name.as_str(), queue.workers.len()), ("default", 0));
    /// assert_eq!(client.queues().await?, [queue]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::is_unavailable`]: the store did not answer.
    pub async fn queues(&self) -> Result<Vec<QueueInfo>, Error> {
        let mut described = Vec::new();
        for queue in self.read_queues().await? {
            described.push(self.queue(queue.name).describe().await?);
        }
        Ok(described)
    }

    /// Describes the queue whose workers execute a run; `None` if the run's shard belongs to no queue of this store. Whether
    /// the run exists is not checked. See [`Client::queues`] for an example.
    ///
    /// # Errors
    /// [`Error::is_unavailable`]: the store did not answer.
    pub async fn queue_of(&self, run: RunId) -> Result<Option<QueueInfo>, Error> {
        let shard = run.shard().get();
        let serves =
            |queue: &Queue| (0..queue.shard_count).contains(&shard.wrapping_sub(queue.first_shard.get()));
        match self.read_queues().await?.into_iter().find(serves) {
            Some(queue) => self.queue(queue.name).describe().await.map(Some),
            None => Ok(None),
        }
    }

    /// The time by the store's clock, which all times of runs are by; `None` if the store has no queue yet, and so no run.
    /// See [`Client::queues`] for an example.
    ///
    /// # Errors
    /// [`Error::is_unavailable`]: the store did not answer.
    pub async fn now(&self) -> Result<Option<DateTime<Utc>>, Error> {
        Ok(self.read_queues().await?.first().map(|queue| queue.now.into()))
    }

    async fn read_queues(&self) -> Result<Vec<Queue>, Error> {
        self.shared.retry(|| self.shared.store.query().queues()).await
    }
}
