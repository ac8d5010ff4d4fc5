//! The methods of the context with which a workflow does several things at a time. It must not know how they are done.

use std::future::Future;
use std::panic::Location;
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Context;
use crate::workflow::call_error::BranchError;
use crate::workflow::calls::branch::BranchFuture;
use crate::workflow::calls::for_each::ForEach;
use crate::workflow::calls::mutex::Mutex;
use crate::workflow::calls::scope::ScopeFuture;
use crate::workflow::calls::semaphore::Semaphore;
use crate::workflow::calls::spawn::Spawn;
use crate::workflow::calls::step::StepFuture;
use crate::workflow::calls::when_all::{Branches, WhenAll};
use crate::workflow::error::ActivityResult;

impl Context {
    /// Makes a durable future of a part of the workflow: for an arm of [`select!`](crate::select), which may be awaited
    /// by `&mut` in a loop, and for a [`timeout`](crate::workflow::Durable::timeout) over several calls.
    ///
    /// The code is executed only while the branch is awaited. Dropping it cancels all that it waits for.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn workflow<Pack: Activity<Input = u32, Output = ()>, Ship: Activity<Input = u32, Output = ()>>(
    /// #     ctx: Context, order: u32,
    /// # ) -> WorkflowResult<()> {
    /// let sent = ctx.branch(async {
    ///     ctx.activity::<Pack>(order).await?;
    ///     ctx.activity::<Ship>(order).await
    /// });
    /// sent.timeout(Duration::from_secs(3600)).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// The future returns what the code returns.
    #[track_caller]
    pub fn branch<'a, T>(&self, code: impl Future<Output = T> + 'a) -> BranchFuture<'a, T> {
        BranchFuture::new(&self.scope, code, Location::caller())
    }

    /// Shields a part of the workflow from cancellations, for what must not be left half done. The calls that open while it
    /// is polled are not resolved by a cancellation of the run, nor by one of a [`scope`](Self::scope) around it.
    ///
    /// A cancellation that finds no other open call is not lost: the first call that is made outside of the shield is
    /// cancelled instead, before it asks for anything. Calls after that one work normally.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn workflow<Debit: Activity<Input = u64, Output = ()>, Credit: Activity<Input = u64, Output = ()>>(
    /// #     ctx: Context, cents: u64,
    /// # ) -> WorkflowResult<()> {
    /// ctx.shield(async {
    ///     ctx.activity::<Debit>(cents).await?;
    ///     ctx.activity::<Credit>(cents).await
    /// })
    /// .await?;
    /// ctx.sleep(Duration::from_secs(60)).await // If the run was cancelled meanwhile, this is a cancellation.
    /// # }
    /// ```
    ///
    /// A [`timeout`](crate::workflow::Durable::timeout) of the shield is outside of it: its timer is cancelled, and drops the
    /// code. Put a timeout within. A call whose future leaves the shield stays shielded.
    ///
    /// # Errors
    /// The future returns what the code returns.
    #[track_caller]
    pub fn shield<'a, T>(&self, code: impl Future<Output = T> + 'a) -> BranchFuture<'a, T> {
        BranchFuture::shielded(&self.scope, code, Location::caller())
    }

    /// Makes a part of the workflow that is cancelled by itself: at its [`deadline`](ScopeFuture::deadline), or by its
    /// [`handle`](ScopeFuture::handle). Then everything that its code waits for, and that is not
    /// [shielded](Self::shield), resolves to a cancellation; if there is nothing, the next call that the code makes does. Calls
    /// after that work normally, so that the code can clean up. The rest of the workflow goes on.
    ///
    /// A call belongs to the scope in whose poll it opens. One whose future leaves the scope is cancelled with it as long as
    /// the scope is not over, and with the run.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn workflow<Hold: Activity<Input = u32, Output = ()>, Free: Activity<Input = u32, Output = ()>>(
    /// #     ctx: Context, seat: u32,
    /// # ) -> WorkflowResult<bool> {
    /// const PAID: Signal<()> = Signal::new("paid");
    /// let reserved = ctx.scope(async {
    ///     ctx.activity::<Hold>(seat).await?;
    ///     let paid = ctx.wait_for(PAID).await;
    ///     if paid.is_err() {
    ///         ctx.activity::<Free>(seat).await?;
    ///     }
    ///     paid
    /// });
    /// match reserved.deadline(Duration::from_secs(600)).await {
    ///     Err(error) if error.is_timeout() => Ok(false),
    ///     reserved => reserved.map(|()| true),
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// The future returns what the code returns. If that is a cancellation, and only this scope was cancelled, the error is
    /// one whose [`WorkflowError::is_timeout`](crate::workflow::WorkflowError::is_timeout) is true after the deadline, and one
    /// of type `scope-cancelled` after the handle: the run itself was not cancelled.
    #[track_caller]
    pub fn scope<'a, T, E: BranchError>(
        &self,
        code: impl Future<Output = Result<T, E>> + 'a,
    ) -> ScopeFuture<'a, T, E> {
        ScopeFuture::new(&self.scope, code, Location::caller())
    }

    /// Makes a durable call at once, and returns its future, to be awaited later. **Dropping the future before it is ready
    /// cancels the call.**
    ///
    /// It takes the future of an activity, a step, a timer or a signal, with all its options set, also with a
    /// [`timeout`](crate::workflow::Durable::timeout). A recorded value is made when it is awaited.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn workflow<Print: Activity<Input = u32, Output = ()>, Pay: Activity<Input = u32, Output = ()>>(
    /// #     ctx: Context, order: u32,
    /// # ) -> WorkflowResult<()> {
    /// let printed = ctx.spawn(ctx.activity::<Print>(order)); // It is printed while the payment is made.
    /// ctx.activity::<Pay>(order).await?;
    /// printed.await
    /// # }
    /// ```
    ///
    /// # Errors
    /// The future returns the errors of the call. An option that is set afterwards stalls the run.
    #[must_use = "dropping the future cancels the call; await it later"]
    pub fn spawn<F: Spawn>(&self, mut call: F) -> F {
        call.open_now();
        call
    }

    /// Waits until every branch is done, then returns all their values, or the first error by position. An error of one
    /// branch does not cancel the others.
    ///
    /// Takes a tuple of up to eight futures, or an iterator of futures of one type. When a
    /// [`timeout`](crate::workflow::calls::timeout::Durable::timeout) runs out, the open branches are cancelled:
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn workflow(ctx: Context) -> WorkflowResult<()> {
    /// let naps = (1..=3).map(|seconds| ctx.sleep(Duration::from_secs(seconds)));
    /// let result = ctx.when_all(naps).timeout(Duration::from_secs(2)).await;
    /// assert!(result.is_err_and(|error| error.is_timeout()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The future returns the first branch's error by position, if any branch fails.
    pub fn when_all<M, B: Branches<M>>(&self, branches: B) -> WhenAll<M, B> {
        WhenAll::new(Rc::clone(&self.scope), branches)
    }

    /// Executes a branch for each item and returns their values in the order of the items. If a branch fails, its error is
    /// returned at once and the others are cancelled; [`settle`](ForEach::settle) waits for all instead, and returns all
    /// results.
    ///
    /// [`limit`](ForEach::limit) bounds how many branches are open at a time; the closure is called for an item when its
    /// branch begins. A branch is polled only if something happened to it, so that the work is proportional to the
    /// number of items.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn workflow<Resize: Activity<Input = String, Output = u64>>(ctx: Context, images: Vec<String>) -> WorkflowResult<u64> {
    /// let sizes = ctx.for_each(images, |image| ctx.activity::<Resize>(image)).limit(20).await?;
    /// Ok(sizes.into_iter().sum())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The future returns the first error of a branch in time; if two branches fail at once, that of the one that was
    /// woken first. If the run is cancelled, no further branch begins, and it returns the cancellation.
    #[track_caller]
    pub fn for_each<I, F, B, T, E>(&self, items: I, branch: F) -> ForEach<I::IntoIter, F, B>
    where
        I: IntoIterator,
        F: FnMut(I::Item) -> B,
        B: Future<Output = Result<T, E>>,
        E: BranchError,
    {
        ForEach::new(&self.scope, items.into_iter(), branch, Location::caller())
    }

    /// Makes a value that one branch of this run uses at a time, over as many awaits as it needs. The name is for people:
    /// the run's waits and diagnoses show it. Nothing is logged, and other runs do not see it.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn workflow<Book: Activity<Input = u64, Output = u64>>(ctx: Context) -> WorkflowResult<u64> {
    /// let balance = ctx.mutex("balance", 100_u64);
    /// let book = async |cents: u64| {
    ///     let mut balance = balance.lock().await?;
    ///     *balance -= ctx.activity::<Book>(cents.min(*balance)).await?; // No other branch sees the balance meanwhile.
    ///     Ok(())
    /// };
    /// ctx.when_all((book(70), book(50))).await?;
    /// Ok(balance.into_inner())
    /// # }
    /// ```
    pub fn mutex<T>(&self, name: &'static str, value: T) -> Mutex<T> {
        Mutex::new(&self.scope, name, value)
    }

    /// Makes a number of permits that the branches of this run share, at least 1. The name is for people, as that of a
    /// [`mutex`](Self::mutex). See the example of [`Semaphore::acquire`].
    ///
    /// # Errors
    /// The run stalls if the number is zero.
    #[track_caller]
    pub fn semaphore(&self, name: &'static str, permits: usize) -> Semaphore {
        if permits == 0 {
            let at = Location::caller();
            let problem = "has no permits, so that none could be acquired; give at least 1";
            self.scope.fault(format!("semaphore `{name}` at {at} {problem}"));
        }
        Semaphore::new(&self.scope, "semaphore", name, permits)
    }

    /// Executes a [`step`](Self::step) whose closure takes an input, which is cloned for each attempt.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn load(url: &str) -> ActivityResult<String> { Ok(url.to_owned()) }
    /// # async fn workflow(ctx: Context, url: String) -> WorkflowResult<String> {
    /// ctx.step_with("load", url, |url| async move { load(&url).await })
    ///     .retry(RetryPolicy::exponential().max_attempts(3))
    ///     .await
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`step`](Self::step).
    #[track_caller]
    pub fn step_with<I, T, F, Fut>(
        &self,
        name: &'static str,
        input: I,
        mut make: F,
    ) -> StepFuture<T, impl FnMut() -> Fut + Send + 'static + use<I, T, F, Fut>>
    where
        I: Clone + Send + 'static,
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnMut(I) -> Fut + Send + 'static,
        Fut: Future<Output = ActivityResult<T>> + Send + 'static,
    {
        self.step(name, move || make(input.clone()))
    }
}
