//! The settings by which a worker shares runs with other workers: its queue, and how new its code is. It must not know how
//! they are shared.

use crate::worker::builder::WorkerBuilder;

impl WorkerBuilder {
    /// Sets the queue that the worker serves; by default `default`. All workers of a queue should register the same
    /// workflows, or wait for runs that only some of them know: programs with different workflows need a queue each. During
    /// a deploy they may differ: see [`generation`](Self::generation).
    ///
    /// [`build`](Self::build) refuses a name that is empty, longer than 255 bytes, or contains a control character.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// let worker = Worker::builder(MemoryStore::new()).queue("emails").build()?;
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    #[must_use]
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.config.queue = name.into();
        self
    }

    /// Sets how many shards the queue has: 1 to 4,096. By default a queue is created with 64, and an existing one is served
    /// whatever it has. A queue keeps the number of shards that it was created with. It can use at most as many processors as
    /// it has shards, over all workers. A client that starts a run before the first worker begins creates the queue as well:
    /// give both the same number.
    ///
    /// [`build`](Self::build) refuses a number out of that range, and
    /// [`Worker::run_until`](crate::worker::Worker::run_until) a queue that exists with another number of shards.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// let worker = Worker::builder(MemoryStore::new()).queue_shards(128).build()?;
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    #[must_use]
    pub fn queue_shards(mut self, shards: u16) -> Self {
        self.config.queue_shards = Some(shards);
        self
    }

    /// Sets how new the worker's code is: a number such as that of a deploy, the time of a commit, or the count of commits. A
    /// greater number is newer. [`build`](Self::build) refuses more than [`i64::MAX`].
    ///
    /// Runs move only to workers of a queue that know more workflows, or that know the same ones and are not of an older
    /// generation. So what newer code has begun does not return to older code while workers of both are live. A worker of an
    /// older generation keeps its share of the shards, and claims no further ones until no newer worker is live. After a
    /// rollback, workers of the old generation take everything over when the last newer worker has stopped, or its lease has
    /// expired. To prefer the old code before that, give it a greater number than the newer code has.
    /// [`QueueHandle::describe`](crate::client::QueueHandle::describe) shows the generations.
    ///
    /// By default it is the time at which the program's file was last written, in seconds since 1970. This is the time of the
    /// build if all workers run the same file, or copies of it that keep its time, as container images do. It is not if each
    /// machine builds or downloads a file of its own: then give a number, or the machine with the latest file gets shards
    /// that it never gives to the others. It is 0 where the system does not tell the time.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// // Such as `export DEPLOY=41` in the script that starts the program.
    /// let deploy = std::env::var("DEPLOY").ok().and_then(|number| number.parse().ok());
    /// let worker = Worker::builder(MemoryStore::new()).generation(deploy.unwrap_or(0)).build()?;
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    #[must_use]
    pub fn generation(mut self, generation: u64) -> Self {
        self.generation = Some(generation);
        self
    }
}
