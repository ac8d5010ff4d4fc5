//! The builder of an environment. It must not start anything before `build`.

use std::fmt;
use std::future::ready;
use std::rc::Rc;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use pgworkflows_core::activity::{
    Activities, ActivityContext, ActivityDef, ActivityFailure, ActivityFn, ActivityResult,
};
use pgworkflows_core::payload::Positional;
use pgworkflows_core::worker::WorkerBuilder;
use pgworkflows_core::{Activity, Workflow};
use serde::Serialize;
use serde::de::DeserializeOwned;

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

    /// Registers the real activities of a type with `#[activities]`. While one waits for something real, no virtual
    /// time passes.
    pub fn activities<A: Activities>(mut self, activities: A) -> Self {
        self.definitions.activities(activities);
        self
    }

    /// Mocks an activity by its definition, with a closure that gets the tuple of its arguments. It replaces what
    /// [`mock`](Self::mock) replaces.
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    /// use pgworkflows_testkit::{Error, TestEnv};
    ///
    /// struct Billing;
    ///
    /// #[activities]
    /// impl Billing {
    ///     #[activity(name = "billing.charge")]
    ///     async fn charge(&self, payment: String, cents: u64) -> ActivityResult<String> {
    ///         panic!("no test charges {cents} cents for {payment}")
    ///     }
    /// }
    ///
    /// #[workflow(name = "order")]
    /// async fn order(ctx: Context, cents: u64) -> WorkflowResult<String> {
    ///     ctx.call(Billing::CHARGE, ("p-1".to_owned(), cents)).await
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// let env = TestEnv::builder()
    ///     .workflow::<order>()
    ///     .mock_fn(Billing::CHARGE, |(payment, cents)| Ok(format!("{payment}: {cents}")))
    ///     .build();
    /// assert_eq!(env.start::<order>(500).await?.result().await?, "p-1: 500");
    /// assert_eq!(env.calls_of(Billing::CHARGE)[0].input, ("p-1".to_owned(), 500));
    /// # Ok(())
    /// # }
    /// ```
    pub fn mock_fn<Args, O, E>(
        self,
        activity: ActivityDef<Args, O, E>,
        answer: impl Fn(Args) -> Result<O, E> + Send + Sync + 'static,
    ) -> Self
    where
        Args: Send + 'static,
        Positional<Args>: DeserializeOwned,
        O: Serialize + DeserializeOwned + Send + 'static,
        E: ActivityFailure + Send,
    {
        self.mock_fn_with(activity, move |_, arguments| ready(answer(arguments)))
    }

    /// Mocks an activity by its definition, with a closure that makes a future of the attempt and the arguments. It may
    /// fail the first attempts, and sleep in virtual time ([`ActivityContext::sleep`]).
    ///
    /// ```
    /// # use pgworkflows::activity::ActivityDef;
    /// # use pgworkflows::prelude::*;
    /// # use pgworkflows_testkit::TestEnv;
    /// const CHARGE: ActivityDef<(u64,), u64> = ActivityDef::new("charge");
    ///
    /// let builder = TestEnv::builder().mock_fn_with(CHARGE, |ctx, (cents,)| async move {
    ///     ctx.sleep(Duration::from_secs(60)).await;
    ///     if ctx.attempt() < 3 { Err(ActivityError::new("busy", "not yet")) } else { Ok(cents) }
    /// });
    /// # let _ = builder;
    /// ```
    pub fn mock_fn_with<Args, O, E, Fut>(
        mut self,
        activity: ActivityDef<Args, O, E>,
        answer: impl Fn(ActivityContext, Args) -> Fut + Send + Sync + 'static,
    ) -> Self
    where
        Args: Send + 'static,
        Positional<Args>: DeserializeOwned,
        O: Serialize + DeserializeOwned + Send + 'static,
        E: ActivityFailure,
        Fut: Future<Output = Result<O, E>> + Send + 'static,
    {
        self.definitions.mock_fn(ActivityFn::new(activity, answer));
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
