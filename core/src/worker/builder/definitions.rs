//! What a worker can execute: the workflows and activities that are registered with its builder. It must not know how
//! they are executed.

use std::sync::Arc;

use crate::worker::builder::WorkerBuilder;
use crate::workflow::Workflow;
use crate::workflow::activity::Activity;
use crate::workflow::activity_fn::Activities;

impl WorkerBuilder {
    /// Registers a workflow, so that this worker can execute its runs. Runs of an unregistered workflow wait for a worker
    /// that has it.
    ///
    /// [`build`](Self::build) refuses two workflows of one name, and a name that is empty, longer than 255 bytes, or
    /// contains a control character.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// # use pgworkflows::prelude::*;
    /// struct Noop;
    ///
    /// impl Workflow for Noop {
    ///     const NAME: &'static str = "noop";
    ///     type Input = ();
    ///     type Output = ();
    ///
    ///     async fn run(_: Context, (): ()) -> WorkflowResult<()> {
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let worker = Worker::builder(MemoryStore::new()).workflow::<Noop>().build()?;
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    #[must_use]
    pub fn workflow<W: Workflow>(mut self) -> Self {
        if let Err(problem) = self.definitions.workflow::<W>() {
            self.problem.get_or_insert(problem);
        }
        self
    }

    /// Registers an activity, with the resources that it uses. A scheduled activity that is not registered with the
    /// worker that owns its run is executed by another worker that has it.
    ///
    /// [`build`](Self::build) refuses two activities of one name, and a name that is empty, longer than 255 bytes, or
    /// contains a control character.
    ///
    /// ```
    /// # use pgworkflows::{MemoryStore, Worker};
    /// # use pgworkflows::prelude::*;
    /// struct Ping;
    ///
    /// #[async_trait]
    /// impl Activity for Ping {
    ///     const NAME: &'static str = "ping";
    ///     type Input = ();
    ///     type Output = ();
    ///
    ///     async fn execute(&self, _: ActivityContext, (): ()) -> ActivityResult<()> {
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let worker = Worker::builder(MemoryStore::new()).activity(Ping).build()?;
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    #[must_use]
    pub fn activity<A: Activity>(mut self, activity: A) -> Self {
        if let Err(problem) = self.definitions.activity(activity) {
            self.problem.get_or_insert(problem);
        }
        self
    }

    /// Registers the activities of a type with `#[activities]`, which share this value; pass an `Arc` to keep it.
    ///
    /// [`build`](Self::build) refuses what it refuses of [`activity`](Self::activity): in particular two values of one
    /// type, whose activities have the same names. Give each value a type of its own, or one value both resources.
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    /// use pgworkflows::{MemoryStore, Worker};
    ///
    /// struct Billing {
    ///     bank: String,
    /// }
    ///
    /// #[activities]
    /// impl Billing {
    ///     #[activity(name = "billing.charge")]
    ///     async fn charge(&self, cents: u64) -> ActivityResult<String> {
    ///         Ok(format!("{} charged {cents}", self.bank))
    ///     }
    /// }
    ///
    /// let billing = Billing { bank: "Acme Bank".to_owned() };
    /// let worker = Worker::builder(MemoryStore::new()).activities(billing).build()?;
    /// # Ok::<(), pgworkflows::Error>(())
    /// ```
    #[must_use]
    pub fn activities<A: Activities>(mut self, activities: A) -> Self {
        for activity in Arc::new(activities).activities() {
            if let Err(problem) = self.definitions.activity_fn(activity) {
                self.problem.get_or_insert(problem);
            }
        }
        self
    }
}
