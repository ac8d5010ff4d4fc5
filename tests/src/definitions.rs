//! Short forms of workflows and activities, because every test defines its own.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use pgworkflows::activity::{ActivityContext, ActivityResult};

/// What an activity executes: a closure of the test.
pub struct ActivityFn<I, O>(
    Arc<dyn Fn(ActivityContext, I) -> BoxFuture<'static, ActivityResult<O>> + Send + Sync>,
);

impl<I, O> ActivityFn<I, O> {
    /// An activity that calls this closure.
    pub fn new<F: Future<Output = ActivityResult<O>> + Send + 'static>(
        execute: impl Fn(ActivityContext, I) -> F + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |ctx, input| Box::pin(execute(ctx, input))))
    }

    /// An activity that calls this closure with a clone of the state.
    pub fn with<S: Clone + Send + Sync + 'static, F: Future<Output = ActivityResult<O>> + Send + 'static>(
        state: S,
        execute: impl Fn(S, ActivityContext, I) -> F + Send + Sync + 'static,
    ) -> Self {
        Self::new(move |ctx, input| execute(state.clone(), ctx, input))
    }

    /// Calls the closure.
    pub fn call(&self, ctx: ActivityContext, input: I) -> BoxFuture<'static, ActivityResult<O>> {
        (self.0)(ctx, input)
    }
}

impl<I, O> fmt::Debug for ActivityFn<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActivityFn")
    }
}

/// `workflow!(Greet, "greet", |ctx: Context, name: String| -> WorkflowResult<String> { … });`
#[macro_export]
macro_rules! workflow {
    ($name:ident, $stored:literal, |$ctx:ident: Context, $input:tt: $in:ty| -> WorkflowResult<$out:ty> $code:block) => {
        #[derive(Debug)]
        pub(crate) enum $name {}

        impl ::pgworkflows::Workflow for $name {
            const NAME: &'static str = $stored;
            type Input = $in;
            type Output = $out;

            async fn run(
                $ctx: ::pgworkflows::Context,
                $input: Self::Input,
            ) -> ::pgworkflows::workflow::WorkflowResult<Self::Output> {
                $code
            }
        }
    };
}

/// `activity!(Charge, "charge", String => u32);` defines an activity that is registered as
/// `Charge(ActivityFn::new(|ctx, input| async { … }))`.
#[macro_export]
macro_rules! activity {
    ($name:ident, $stored:literal, $in:ty => $out:ty) => {
        #[derive(Debug)]
        pub(crate) struct $name($crate::ActivityFn<$in, $out>);

        #[::async_trait::async_trait]
        impl ::pgworkflows::Activity for $name {
            const NAME: &'static str = $stored;
            type Input = $in;
            type Output = $out;

            async fn execute(
                &self,
                ctx: ::pgworkflows::activity::ActivityContext,
                input: Self::Input,
            ) -> ::pgworkflows::activity::ActivityResult<Self::Output> {
                self.0.call(ctx, input).await
            }
        }
    };
}
