//! Short forms for workflows and activities, since every promise brings its own.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use pgworkflows::activity::{ActivityContext, ActivityResult};

/// What an activity of a test does: the test hands it in.
pub struct Act<I, O>(Arc<dyn Fn(ActivityContext, I) -> BoxFuture<'static, ActivityResult<O>> + Send + Sync>);

impl<I, O> Act<I, O> {
    /// An activity that does this.
    pub fn new<F: Future<Output = ActivityResult<O>> + Send + 'static>(
        act: impl Fn(ActivityContext, I) -> F + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |ctx, input| Box::pin(act(ctx, input))))
    }

    /// Does it.
    pub fn call(&self, ctx: ActivityContext, input: I) -> BoxFuture<'static, ActivityResult<O>> {
        (self.0)(ctx, input)
    }
}

impl<I, O> fmt::Debug for Act<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Act")
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

/// `activity!(Charge, "charge", String => u32);` makes an activity that is registered as
/// `Charge::that(|ctx, input| async { … })`.
#[macro_export]
macro_rules! activity {
    ($name:ident, $stored:literal, $in:ty => $out:ty) => {
        #[derive(Debug)]
        pub(crate) struct $name($crate::Act<$in, $out>);

        impl $name {
            pub(crate) fn that<
                F: Future<Output = ::pgworkflows::activity::ActivityResult<$out>> + Send + 'static,
            >(
                act: impl Fn(::pgworkflows::activity::ActivityContext, $in) -> F + Send + Sync + 'static,
            ) -> Self {
                Self($crate::Act::new(act))
            }
        }

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
