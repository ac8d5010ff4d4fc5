//! Mocks of activities. They know an attempt and its input, and must not know the worker.

use std::fmt;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use pgworkflows_core::Activity;
use pgworkflows_core::activity::{ActivityContext, ActivityError, ActivityResult};

use crate::world::Calls;

/// A mock of the activity `A`. It has no mutable state, so it behaves the same in every environment: its answer may
/// depend on the input, on the attempt, and on how many attempts there were before.
///
/// ```
/// use pgworkflows::prelude::*;
/// use pgworkflows_testkit::{Mock, TestEnv};
/// # struct Charge;
/// # #[async_trait]
/// # impl Activity for Charge {
/// #     const NAME: &'static str = "charge";
/// #     type Input = u64;
/// #     type Output = String;
/// #     async fn execute(&self, _: ActivityContext, _: u64) -> ActivityResult<String> { unreachable!() }
/// # }
///
/// let declined = ActivityError::new("card-declined", "no funds");
/// let builder = TestEnv::builder()
///     .mock_with(Mock::<Charge>::fail_times(2, declined).then(|cents| Ok(format!("charged {cents}"))));
/// # let _ = builder;
/// ```
pub struct Mock<A: Activity> {
    answer: Arc<Answer<A>>,
}

/// The function that answers an attempt. The calls tell which attempt of the activity it is.
type Answer<A> = dyn Fn(ActivityContext, <A as Activity>::Input, &Arc<Calls>) -> Answered<A> + Send + Sync;

type Answered<A> = BoxFuture<'static, ActivityResult<<A as Activity>::Output>>;

impl<A: Activity> Mock<A> {
    fn make(
        answer: impl Fn(ActivityContext, A::Input, &Arc<Calls>) -> Answered<A> + Send + Sync + 'static,
    ) -> Self {
        Self { answer: Arc::new(answer) }
    }

    /// Answers each attempt with the result of `answer` for its input.
    pub fn new(answer: impl Fn(A::Input) -> ActivityResult<A::Output> + Send + Sync + 'static) -> Self {
        Self::with_context(move |_, input| answer(input))
    }

    /// Like [`Mock::new`], for an answer that depends on the attempt: its number, its run, the time.
    pub fn with_context(
        answer: impl Fn(&ActivityContext, A::Input) -> ActivityResult<A::Output> + Send + Sync + 'static,
    ) -> Self {
        Self::future(move |ctx, input| ready(answer(&ctx, input)))
    }

    /// Answers each attempt with the output of a future, which may sleep in virtual time ([`ActivityContext::sleep`])
    /// or wait for something real.
    pub fn future<F>(answer: impl Fn(ActivityContext, A::Input) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ActivityResult<A::Output>> + Send + 'static,
    {
        Self::make(move |ctx, input, _| Box::pin(answer(ctx, input)))
    }

    /// Answers the attempts with these results, in the order in which the attempts begin. An attempt without a result
    /// fails with the type `mock-exhausted`.
    pub fn results(results: impl IntoIterator<Item = ActivityResult<A::Output>>) -> Self
    where
        A::Output: Clone + Sync,
    {
        let results: Vec<_> = results.into_iter().collect();
        Self::make(move |ctx, _, calls| {
            let number = calls.number(A::NAME, &ctx);
            let result = results.get(number).cloned();
            let count = results.len();
            let missing = move || {
                let message = format!(
                    "the mock of activity `{}` has {count} results, and this is its attempt {}; give it more",
                    A::NAME,
                    number + 1
                );
                Err(ActivityError::non_retryable(ActivityError::new("mock-exhausted", message)))
            };
            Box::pin(ready(result.unwrap_or_else(missing)))
        })
    }

    /// Fails the first `times` attempts of every call with `error`. [`FailTimes::then`] answers the following attempts.
    pub fn fail_times(times: u32, error: ActivityError) -> FailTimes<A> {
        FailTimes { times, error, activity: std::marker::PhantomData }
    }

    /// Takes that much virtual time before each answer.
    #[must_use]
    pub fn takes(self, time: Duration) -> Self {
        Self::make(move |ctx, input, calls| {
            let (answer, calls) = (Arc::clone(&self.answer), Arc::clone(calls));
            Box::pin(async move {
                ctx.sleep(time).await;
                answer(ctx, input, &calls).await
            })
        })
    }
}

impl<A: Activity> Clone for Mock<A> {
    fn clone(&self) -> Self {
        Self { answer: Arc::clone(&self.answer) }
    }
}

impl<A: Activity> fmt::Debug for Mock<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mock({:?})", A::NAME)
    }
}

/// A mock that fails first; see [`Mock::fail_times`].
#[must_use = "call `then` to get a mock"]
pub struct FailTimes<A: Activity> {
    times: u32,
    error: ActivityError,
    activity: std::marker::PhantomData<fn() -> A>,
}

impl<A: Activity> FailTimes<A> {
    /// Answers the following attempts.
    pub fn then(
        self,
        answer: impl Fn(A::Input) -> ActivityResult<A::Output> + Send + Sync + 'static,
    ) -> Mock<A> {
        Mock::with_context(
            move |ctx, input| {
                if ctx.attempt() <= self.times { Err(self.error.clone()) } else { answer(input) }
            },
        )
    }
}

impl<A: Activity> fmt::Debug for FailTimes<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FailTimes({:?}, {})", A::NAME, self.times)
    }
}

/// A mock as the activity that a worker executes.
pub(crate) struct Mocked<A: Activity> {
    mock: Mock<A>,
    calls: Arc<Calls>,
}

impl<A: Activity> Mocked<A> {
    pub(crate) fn new(mock: Mock<A>, calls: Arc<Calls>) -> Self {
        Self { mock, calls }
    }
}

#[async_trait]
impl<A: Activity> Activity for Mocked<A> {
    const NAME: &'static str = A::NAME;
    type Input = A::Input;
    type Output = A::Output;

    async fn execute(&self, ctx: ActivityContext, input: A::Input) -> ActivityResult<A::Output> {
        (self.mock.answer)(ctx, input, &self.calls).await
    }
}
