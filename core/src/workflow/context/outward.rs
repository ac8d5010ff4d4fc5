//! The methods of the context by which a run tells others something. They wait for nothing, and must not know who listens.

use std::panic::Location;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Context;
use crate::data::recipient::Recipient;
use crate::workflow::Workflow;
use crate::workflow::calls::attribute::set_attribute;
use crate::workflow::calls::child::ChildFuture;
use crate::workflow::calls::publish::publish;
use crate::workflow::calls::send_signal::send_signal;
use crate::workflow::signal::NamedSignal;
use crate::workflow::view::View;

impl Context {
    /// Starts a run of another workflow, a *child* of this run, and waits for its outcome. The child is a run like any other:
    /// it may be served by another worker of the queue, it is in lists, and its
    /// [`describe`](crate::client::handle::RunHandle::describe) names its parent.
    ///
    /// The future returns what the child returns. If the child fails, it is an error with the child's failure as its cause, so
    /// [`CallError::of`](crate::workflow::CallError::of) and [`WorkflowError::is`](crate::workflow::WorkflowError::is) find it.
    /// A child that was cancelled is the failure `child-cancelled`, one that was terminated `child-terminated`, and one that was
    /// not over at its deadline `child-timed-out`. A child that is stalled has no outcome until it resumes.
    ///
    /// What becomes of the child when this run gives it up or ends is a [`ChildPolicy`](crate::workflow::ChildPolicy): by
    /// default, the child is asked to cancel itself, and this run does not end before it. See
    /// [`ChildFuture`](crate::workflow::ChildFuture) for the options, and
    /// [`start`](crate::workflow::DurableFuture::start) for a child that is awaited later.
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    ///
    /// #[workflow(name = "square")]
    /// async fn square(_: Context, number: u64) -> WorkflowResult<u64> {
    ///     Ok(number * number)
    /// }
    ///
    /// #[workflow(name = "sum-of-squares")]
    /// async fn sum_of_squares(ctx: Context, numbers: Vec<u64>) -> WorkflowResult<u64> {
    ///     let squares = ctx.when_all(numbers.into_iter().map(|number| ctx.child::<square>(number))).await?;
    ///     Ok(squares.into_iter().sum())
    /// }
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// # let store = pgworkflows::MemoryStore::new();
    /// # let worker = Worker::builder(store.clone()).workflow::<square>().workflow::<sum_of_squares>().build()?;
    /// # let client = Client::new(store);
    /// # let talk = async { client.start::<sum_of_squares>(vec![3, 4]).await?.result().await };
    /// # assert_eq!(worker.run_while(talk).await??, 25);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Children live in the queue of their parent. A child whose workflow no worker of the queue knows waits, visibly, as any
    /// such run.
    ///
    /// # Errors
    /// The child's failure. The run stalls if the input cannot be encoded or is over the limit of a payload (2 MiB by default).
    #[track_caller]
    pub fn child<W: Workflow>(&self, input: W::Input) -> ChildFuture<W> {
        ChildFuture::<W>::child(&self.scope, W::NAME, input, Location::caller())
    }

    /// Sends a signal to a run: to one with a known id, or to the [`Recipient`] with a key. The run may be of any workflow
    /// and queue, and may be this one.
    ///
    /// There is nothing to await. The signal leaves with the append that records this decision, so it is sent exactly once,
    /// whatever crashes, and never by a poll that is not recorded. Signals that a run sends to another are received in
    /// the order of sending.
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    ///
    /// const PAID: Signal<u64> = Signal::new("paid");
    ///
    /// #[workflow(name = "payment")]
    /// async fn payment(ctx: Context, order: pgworkflows::RunId) -> WorkflowResult<()> {
    ///     ctx.sleep(Duration::from_millis(1)).await?;
    ///     ctx.signal(order, PAID, 1_999);
    ///     Ok(())
    /// }
    ///
    /// #[workflow(name = "order")]
    /// async fn order(ctx: Context, (): ()) -> WorkflowResult<u64> {
    ///     ctx.wait_for(PAID).await
    /// }
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// # let store = pgworkflows::MemoryStore::new();
    /// # let worker = Worker::builder(store.clone()).workflow::<order>().workflow::<payment>().build()?;
    /// # let client = Client::new(store);
    /// # let talk = async {
    /// let run = client.start::<order>(()).await?;
    /// client.start::<payment>(run.run_id()).await?;
    /// assert_eq!(run.result().await?, 1_999);
    /// # Ok(())
    /// # };
    /// # worker.run_while(talk).await?
    /// # }
    /// ```
    ///
    /// If the run that receives the signal is over, the signal is kept as
    /// [`undelivered`](crate::client::RunInfo::undelivered) of that run. If there is no such run when the signal is sent, it
    /// is kept as undelivered of this run, and the worker logs a warning. A signal that the run which receives it never
    /// waits for stays in its buffer until its end.
    ///
    /// # Errors
    /// None. The run stalls if the content cannot be encoded or is over the limit of a payload (2 MiB by default), or if the
    /// name of the signal, or the workflow or key of the recipient, is empty, longer than 255 bytes or has control
    /// characters. Runs that wake each other without an end stall at the limit of a history.
    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "takes its content by value, as `activity` does")]
    pub fn signal<T: Serialize + DeserializeOwned>(
        &self,
        to: impl Into<Recipient>,
        signal: impl Into<NamedSignal<T>>,
        content: T,
    ) {
        send_signal(&self.scope, to.into(), signal.into().into_name(), &content, Location::caller());
    }

    /// Publishes a value of a view of this run, for whoever asks for it: clients read the newest by
    /// [`RunHandle::view`](crate::client::handle::RunHandle::view), without waking the run, and also after its end.
    ///
    /// It does nothing but set the view, so it is not awaited. The value is logged with everything that the code asks for
    /// before it waits next, or returns. Of several values of one view until then, only the last is logged.
    ///
    /// A replay passes over it, so this call may be added to, or removed from, a workflow that has open runs. What a replayed
    /// part of the code publishes is not logged: the view changes as soon as the run goes on and publishes.
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    ///
    /// const STAGE: View<String> = View::new("stage");
    /// const APPROVED: Signal<bool> = Signal::new("approved");
    ///
    /// #[workflow(name = "approval")]
    /// async fn approval(ctx: Context, document: String) -> WorkflowResult<bool> {
    ///     ctx.publish(STAGE, &format!("{document} waits for its reviewer"));
    ///     let approved = ctx.wait_for(APPROVED).await?;
    ///     ctx.publish(STAGE, &"reviewed".to_owned());
    ///     Ok(approved)
    /// }
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// # let store = pgworkflows::MemoryStore::new();
    /// # let worker = Worker::builder(store.clone()).workflow::<approval>().build()?;
    /// # let client = Client::new(store);
    /// # let talk = async {
    /// #     let run = client.start::<approval>("the contract".to_owned()).await?;
    /// #     let waits = run.watch(STAGE).next().await;
    /// #     assert_eq!(waits.transpose()?.as_deref(), Some("the contract waits for its reviewer"));
    /// #     run.signal(APPROVED, true).await?;
    /// #     run.result().await?;
    /// #     assert_eq!(run.view(STAGE).await?.as_deref(), Some("reviewed"));
    /// #     Ok(())
    /// # };
    /// # worker.run_while(talk).await?
    /// # }
    /// ```
    ///
    /// Each value that is logged counts as one event of the run's history.
    ///
    /// # Errors
    /// None. The run stalls if the name is no valid one, if the value cannot be encoded and decoded again, if it has more than
    /// 64 KiB (or than the limit of a payload), or if the code publishes more than 100 views before it waits.
    #[track_caller]
    pub fn publish<T: Serialize + DeserializeOwned>(&self, view: View<T>, value: &T) {
        publish(&self.scope, view, value, Location::caller());
    }

    /// Sets an attribute of this run, by which people find it: see [`StartRun::attribute`](crate::client::StartRun::attribute), and
    /// [`ListRuns::attribute`](crate::client::ListRuns::attribute).
    ///
    /// As a [view](Self::publish), it is not awaited, is logged with everything that the code asks for before it waits next, and is
    /// passed over by a replay, so this call may be added to, or removed from, a workflow that has open runs. A run that
    /// continues this one begins with its attributes.
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    ///
    /// #[workflow(name = "order")]
    /// async fn order(ctx: Context, item: String) -> WorkflowResult<()> {
    ///     ctx.set_attribute("item", item);
    ///     ctx.set_attribute("stage", "packing");
    ///     ctx.sleep(Duration::from_millis(1)).await?;
    ///     ctx.remove_attribute("stage");
    ///     Ok(())
    /// }
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// # let store = pgworkflows::MemoryStore::new();
    /// # let worker = Worker::builder(store.clone()).workflow::<order>().build()?;
    /// # let client = Client::new(store);
    /// # let talk = async {
    /// #     client.start::<order>("chair".to_owned()).await?.result().await?;
    /// #     client.list().attribute("item", "chair").await
    /// # };
    /// # let chairs = worker.run_while(talk).await??;
    /// # assert_eq!((chairs.len(), chairs[0].attributes.len()), (1, 1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// None. The run stalls if the name or the value is empty, longer than 255 bytes or has control characters, if the run
    /// would have more than 32 attributes, or if the code sets or removes more than 100 before it waits.
    #[track_caller]
    pub fn set_attribute(&self, name: &str, value: impl Into<String>) {
        set_attribute(&self.scope, name, Some(value.into()), Location::caller());
    }

    /// Removes an attribute of this run, if it has it. See [`set_attribute`](Self::set_attribute).
    #[track_caller]
    pub fn remove_attribute(&self, name: &str) {
        set_attribute(&self.scope, name, None, Location::caller());
    }
}
