//! How an environment is put together. What is wrong is reported when it is built.

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

/// Puts a [`TestEnv`] together. Clones build environments that are alike and have nothing in common but the real
/// activities.
#[derive(Clone, Default)]
#[must_use = "an environment is there when it is built"]
pub struct TestEnvBuilder {
    definitions: Definitions,
    settings: Settings,
}

impl TestEnvBuilder {
    /// Registers a workflow.
    pub fn workflow<W: Workflow>(mut self) -> Self {
        self.definitions.workflow::<W>();
        self
    }

    /// Registers a real activity. It may await real things: no time is skipped meanwhile.
    pub fn activity<A: Activity>(mut self, activity: A) -> Self {
        self.definitions.activity(activity);
        self
    }

    /// Has a closure answer for an activity. A mock is executed even where the real activity is registered as well,
    /// and the last mock of an activity stands: a test changes what the builder that it shares with others says.
    pub fn mock<A: Activity>(
        self,
        answer: impl Fn(A::Input) -> ActivityResult<A::Output> + Send + Sync + 'static,
    ) -> Self {
        self.mock_with(Mock::<A>::new(answer))
    }

    /// Has a [`Mock`] answer for an activity: one that fails at first, takes time, or knows its attempt.
    pub fn mock_with<A: Activity>(mut self, mock: Mock<A>) -> Self {
        self.definitions.mock(mock);
        self
    }

    /// When the environment's clock begins; on 2026-01-01 00:00 UTC unless told otherwise.
    pub fn start_at(mut self, moment: DateTime<Utc>) -> Self {
        self.settings.epoch = moment.into();
        self
    }

    /// Where run ids, and the jitter that follows from them, come from: other numbers, other ids.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// Further settings of the worker, its limits for example. Its lease and its heartbeat are the environment's own,
    /// whatever is said of them here: they decide how far time is skipped at once.
    pub fn worker(mut self, set: impl Fn(WorkerBuilder) -> WorkerBuilder + 'static) -> Self {
        let before = self.settings.worker;
        self.settings.worker = Arc::new(move |worker| set(before(worker)));
        self
    }

    /// The environment.
    ///
    /// # Panics
    /// Where [`TestEnvBuilder::try_build`] has an error.
    #[track_caller]
    pub fn build(self) -> TestEnv {
        match self.try_build() {
            Ok(env) => env,
            // Not in a closure, which would be the place of the panic.
            Err(error) => panic!("{error}"),
        }
    }

    /// The environment.
    ///
    /// # Errors
    /// [`Error::is_invalid`] if two workflows or two real activities have one name, or a name cannot be.
    pub fn try_build(self) -> Result<TestEnv, Error> {
        let world = World::new(self.definitions, self.settings)?;
        world.start_worker()?;
        world.settle();
        Ok(TestEnv { world: Rc::new(world) })
    }

    /// What workers of the environment will know.
    pub(crate) fn definitions(&self) -> &Definitions {
        &self.definitions
    }

    /// What a user cannot set.
    pub(crate) fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }
}

impl fmt::Debug for TestEnvBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestEnvBuilder").field("definitions", &self.definitions).finish_non_exhaustive()
    }
}
