//! The methods of the context by which a run that lives long keeps its history short. They must not know how a successor
//! begins.

use std::panic::Location;

use super::Context;
use crate::workflow::Workflow;
use crate::workflow::calls::carried_child::Carried;
use crate::workflow::calls::continue_as_new::ContinueAsNew;
use crate::workflow::calls::started_child::Child;

impl Context {
    /// Ends this run, and has a new run of the same workflow and key go on with this input and a history of its own. The end of
    /// the one and the beginning of the other are one commit.
    ///
    /// The future is never ready, so nothing after it is executed. Once it was polled, the run ends at the end of that poll,
    /// and nothing can take that back: not a `select!` that another branch wins, nor a drop of the future. Open calls are
    /// dropped, which cancels them.
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    ///
    /// const ITEM: Signal<u64> = Signal::new("item");
    ///
    /// /// Adds up ten numbers, however many runs that takes.
    /// #[workflow(name = "sum")]
    /// async fn sum(ctx: Context, state: (u32, u64)) -> WorkflowResult<u64> {
    ///     let (count, sum) = state;
    ///     if count == 10 {
    ///         return Ok(sum);
    ///     }
    ///     let item = ctx.wait_for(ITEM).await?;
    ///     ctx.continue_as_new::<sum>((count + 1, sum + item)).await
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// # let store = pgworkflows::MemoryStore::new();
    /// # let worker = Worker::builder(store.clone()).workflow::<sum>().build()?;
    /// # let client = Client::new(store);
    /// # let talk = async {
    /// let run = client.start::<sum>((0, 0)).await?;
    /// for item in 1..=10 {
    ///     run.signal(ITEM, item).await?;
    /// }
    /// // The handle follows the chain of runs.
    /// assert_eq!(run.result().await?, 55);
    /// assert_eq!(run.describe().await?.chain.map(|chain| chain.number), Some(11));
    /// # Ok(())
    /// # };
    /// # worker.run_while(talk).await?
    /// # }
    /// ```
    ///
    /// Signals that the run has not taken go along, in their order. Signals and requests that are sent to any run of the chain
    /// reach the current one, and a key of a signal is recognised for a day, among the last 1,000 messages. Attributes go
    /// along; values of views belong to the run that published them. Children get what their `on_parent_end` says, except for those that are
    /// [carried](crate::workflow::StartedChild::carry) along.
    ///
    /// # Errors
    /// None. The run stalls if the input cannot be encoded or is over the limit of a payload (2 MiB by default), if `W` is
    /// another workflow than the run's own, or if a compensation is registered or a round is open, which the successor would not
    /// run; if it carries too many children; or if signals and updates that it has not taken have more than 64 MiB together.
    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "takes its input by value, as a start does")]
    pub fn continue_as_new<W: Workflow>(&self, input: W::Input) -> ContinueAsNew {
        ContinueAsNew::new::<W>(&self.scope, &input, Location::caller())
    }

    /// A child that a predecessor of this run has [carried](crate::workflow::StartedChild::carry) along. Awaiting it returns the
    /// child's outcome, at once if the child has ended meanwhile. See `carry` for an example.
    ///
    /// From now on it is a child as one that this run has started, with the options of its start: it can be signalled, dropping
    /// it gives it up, and it may be carried again.
    ///
    /// # Errors
    /// As of [`child`](Self::child). If the run has no such child, because it was not carried along the chain, is a child of
    /// another run or of another workflow, or was asked for before, the outcome is the failure `unknown-child`. So it is in another
    /// [attempt](Self::attempt) of a run that failed: that failure was the end of the run that had the child.
    #[track_caller]
    pub fn carried<W: Workflow>(&self, carried: Carried<W>) -> Child<W> {
        Child::<W>::carried(&self.scope, W::NAME, carried, Location::caller())
    }

    /// Which attempt of the whole run this is, from 1 on: see [`StartRun::retry`](crate::client::StartRun::retry). It is 1 without a
    /// retry policy.
    pub fn attempt(&self) -> u32 {
        self.scope.attempt()
    }

    /// The number of the event that the workflow is reacting to: how long its history is. It is the same in every replay, so
    /// it may decide when a run [continues as new](Self::continue_as_new). At 10,000 events the worker logs a warning, and at
    /// 50,000 the run stalls, by default.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// const ITEM: Signal<u64> = Signal::new("item");
    ///
    /// #[workflow(name = "collect")]
    /// async fn collect(ctx: Context, mut sum: u64) -> WorkflowResult<u64> {
    ///     loop {
    ///         sum += ctx.wait_for(ITEM).await?;
    ///         if ctx.history_len() > 5_000 {
    ///             ctx.continue_as_new::<collect>(sum).await;
    ///         }
    ///     }
    /// }
    /// ```
    pub fn history_len(&self) -> u32 {
        self.scope.history_len()
    }
}
