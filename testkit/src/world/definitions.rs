//! The workflows, activities and mocks of a world, which are registered with each of its workers. It must not know the
//! settings of a worker.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use pgworkflows_core::activity::{Activities, ActivityContext, ActivityFn, ActivityResult};
use pgworkflows_core::history::{History, Replayed};
use pgworkflows_core::store::Store;
use pgworkflows_core::worker::WorkerBuilder;
use pgworkflows_core::{Activity, Error, Workflow};

use super::calls::Calls;
use crate::mock::{Mock, Mocked};

/// Workflows and activities. Clones are the same definitions.
#[derive(Clone, Default)]
pub(crate) struct Definitions {
    workflows: Vec<WorkflowDefinition>,
    activities: Vec<(&'static str, Arc<Register>)>,
    mocks: Vec<(&'static str, Arc<Register>)>,
}

#[derive(Clone, Copy)]
struct WorkflowDefinition {
    name: &'static str,
    register: fn(WorkerBuilder) -> WorkerBuilder,
    replay: fn(&History) -> Result<Replayed, pgworkflows_core::Error>,
}

/// Registers one activity with a worker.
type Register = dyn Fn(WorkerBuilder, &Arc<Calls>) -> WorkerBuilder;

impl Definitions {
    pub(crate) fn workflow<W: Workflow>(&mut self) {
        self.workflows.push(WorkflowDefinition {
            name: W::NAME,
            register: |worker| worker.workflow::<W>(),
            replay: pgworkflows_core::history::replay::<W>,
        });
    }

    /// A real activity, which all workers share.
    pub(crate) fn activity<A: Activity>(&mut self, activity: A) {
        let shared = Shared(Arc::new(activity));
        self.activities.push((A::NAME, Arc::new(move |worker, _| worker.activity(shared.clone()))));
    }

    /// Real activities that are functions, which all workers share.
    pub(crate) fn activities<A: Activities>(&mut self, activities: A) {
        for activity in Arc::new(activities).activities() {
            self.activities.push((activity.name(), registering(activity)));
        }
    }

    /// A mock that is a function.
    pub(crate) fn mock_fn(&mut self, mock: ActivityFn) {
        self.mocks.retain(|(name, _)| *name != mock.name());
        self.mocks.push((mock.name(), registering(mock)));
    }

    /// A mock of an activity, executed even if the real activity is registered as well. The last mock is used.
    pub(crate) fn mock<A: Activity>(&mut self, mock: Mock<A>) {
        let register = move |worker: WorkerBuilder, calls: &Arc<Calls>| {
            worker.activity(Mocked::new(mock.clone(), Arc::clone(calls)))
        };
        self.mocks.retain(|(name, _)| *name != A::NAME);
        self.mocks.push((A::NAME, Arc::new(register)));
    }

    /// Registers everything. The worker reports duplicates.
    pub(super) fn register(&self, mut worker: WorkerBuilder, calls: &Arc<Calls>) -> WorkerBuilder {
        for workflow in &self.workflows {
            worker = (workflow.register)(worker);
        }
        let is_mocked = |name: &str| self.mocks.iter().any(|(mocked, _)| *mocked == name);
        let real = self.activities.iter().filter(|(name, _)| !is_mocked(name));
        for (_, register) in real.chain(&self.mocks) {
            worker = register(worker, calls);
        }
        worker
    }

    pub(crate) fn knows_workflow(&self, name: &str) -> bool {
        self.workflows.iter().any(|workflow| workflow.name == name)
    }

    pub(crate) fn knows_activity(&self, name: &str) -> bool {
        self.activities.iter().chain(&self.mocks).any(|(known, _)| *known == name)
    }

    /// The names of all workflows.
    pub(crate) fn workflows(&self) -> impl Iterator<Item = &'static str> {
        self.workflows.iter().map(|workflow| workflow.name)
    }

    /// Replays a history with the code of its workflow; `None` if that workflow is not registered.
    pub(crate) fn replay(
        &self,
        workflow: &str,
        history: &History,
    ) -> Option<Result<Replayed, pgworkflows_core::Error>> {
        let definition = self.workflows.iter().find(|definition| definition.name == workflow)?;
        Some((definition.replay)(history))
    }
}

/// Registers an activity that is a function.
fn registering(activity: ActivityFn) -> Arc<Register> {
    Arc::new(move |worker, _| worker.activities(activity.clone()))
}

impl fmt::Debug for Definitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |list: &[(&'static str, Arc<Register>)]| -> Vec<&str> {
            list.iter().map(|(name, _)| *name).collect()
        };
        f.debug_struct("Definitions")
            .field("workflows", &self.workflows().collect::<Vec<_>>())
            .field("activities", &names(&self.activities))
            .field("mocks", &names(&self.mocks))
            .finish()
    }
}

/// An activity that several workers share.
struct Shared<A>(Arc<A>);

impl<A> Clone for Shared<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[async_trait]
impl<A: Activity> Activity for Shared<A> {
    const NAME: &'static str = A::NAME;
    type Input = A::Input;
    type Output = A::Output;

    async fn execute(&self, ctx: ActivityContext, input: A::Input) -> ActivityResult<A::Output> {
        self.0.execute(ctx, input).await
    }

    fn check_store(&self, store: &dyn Store) -> Result<(), Error> {
        self.0.check_store(store)
    }
}
