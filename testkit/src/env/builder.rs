//! The builder of an environment. It must not start anything before `build`.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use pgworkflows_core::activity::ActivityResult;
use pgworkflows_core::worker::WorkerBuilder;
use pgworkflows_core::{Activity, Workflow};

use super::TestEnv;
use crate::error::Error;
use crate::mock::Mock;
use crate::world::{Definitions, Settings, World};

/// Builds a [`TestEnv`]. Clones build equal environments, which share only the real activities.
#[derive(Clone, Default)]
#[must_use = "an environment exists once it is built"]
pub struct TestEnvBuilder {
    definitions: Definitions,
    settings: Settings,
}

impl TestEnv {
    /// Returns a builder of an environment.
    pub fn builder() -> TestEnvBuilder {
        TestEnvBuilder::default()
    }
}

impl TestEnvBuilder {
    /// Registers a workflow.
    pub fn workflow<W: Workflow>(mut self) -> Self {
        self.definitions.workflow::<W>();
        self
    }

    /// Registers a real activity. While it waits for something real, no virtual time passes.
    pub fn activity<A: Activity>(mut self, activity: A) -> Self {
        self.definitions.activity(activity);
        self
    }

    /// Mocks an activity by a closure. The mock is executed even if the real activity is registered as well. The last
    /// mock of an activity is used, so a test can replace the mock of a shared builder.
    pub fn mock<A: Activity>(
        self,
        answer: impl Fn(A::Input) -> ActivityResult<A::Output> + Send + Sync + 'static,
    ) -> Self {
        self.mock_with(Mock::<A>::new(answer))
    }

    /// Mocks an activity by a [`Mock`], which may fail first, take time, or depend on the attempt.
    pub fn mock_with<A: Activity>(mut self, mock: Mock<A>) -> Self {
        self.definitions.mock(mock);
        self
    }

    /// Sets when the environment's clock begins; 2026-01-01 00:00 UTC by default.
    pub fn start_at(mut self, moment: DateTime<Utc>) -> Self {
        self.settings.epoch = moment.into();
        self
    }

    /// Sets the seed of run ids and of the jitter that depends on them; 0 by default.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// Changes further settings of the worker, such as its limits. The environment sets the lease and the heartbeat
    /// itself, because they decide how far time is skipped at once.
    pub fn worker(mut self, set: impl Fn(WorkerBuilder) -> WorkerBuilder + 'static) -> Self {
        let before = self.settings.worker;
        self.settings.worker = Arc::new(move |worker| set(before(worker)));
        self
    }

    /// Builds the environment.
    ///
    /// # Panics
    /// Panics if [`TestEnvBuilder::try_build`] returns an error.
    #[track_caller]
    pub fn build(self) -> TestEnv {
        match self.try_build() {
            Ok(env) => env,
            // Not in a closure, which would become the location of the panic.
            Err(error) => panic!("{error}"),
        }
    }

    /// Builds the environment.
    ///
    /// # Errors
    /// Returns [`Error::is_invalid`] if two workflows or two real activities have the same name, or a name is invalid.
    pub fn try_build(self) -> Result<TestEnv, Error> {
        let world = World::new(self.definitions, self.settings)?;
        world.start_worker()?;
        world.settle();
        Ok(TestEnv { world: Rc::new(world) })
    }

    /// The definitions for the workers of the environment.
    pub(crate) fn definitions(&self) -> &Definitions {
        &self.definitions
    }

    /// The settings that users cannot change.
    pub(crate) fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }
}

impl fmt::Debug for TestEnvBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestEnvBuilder").field("definitions", &self.definitions).finish_non_exhaustive()
    }
}
