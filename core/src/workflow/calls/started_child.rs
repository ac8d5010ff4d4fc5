//! The handle of a child that was started. It must not know how the child is started, or how its outcome arrives.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use futures::future::FusedFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::carried_child::CarriedChild;
use super::child::ChildCall;
use super::future::DurableFuture;
use super::send_signal::send_signal;
use crate::data::id::RunId;
use crate::data::recipient::Recipient;
use crate::workflow::Workflow;
use crate::workflow::error::WorkflowResult;
use crate::workflow::signal::NamedSignal;

/// A child that was started: it can be signalled, and its outcome can be awaited. As a future, it is that outcome. See
/// [`ChildFuture::start`](DurableFuture::start).
pub type Child<W> = StartedChild<<W as Workflow>::Input, <W as Workflow>::Output>;

/// A started child, by the types of its input and its output: see [`Child`].
#[must_use = "dropping a child gives it up"]
pub struct StartedChild<I, O> {
    pub(super) run: RunId,
    pub(super) future: DurableFuture<ChildCall<I, O>>,
}

impl<I, O> StartedChild<I, O> {
    /// The child's id.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # async fn workflow<Ship: Workflow<Input = u64, Output = ()>>(ctx: Context) -> WorkflowResult<()> {
    /// let ship = ctx.child::<Ship>(7).start();
    /// ctx.publish(View::new("shipment"), &ship.id().to_string());
    /// ship.await
    /// # }
    /// ```
    pub fn id(&self) -> RunId {
        self.run
    }

    /// Sends a signal to the child, as [`Context::signal`](crate::workflow::context::Context::signal) does. See
    /// [`start`](DurableFuture::start) for an example. A signal that is sent before a child with a key is started comes back,
    /// and is kept as undelivered of this run: give such a child what it needs in its input, or wait for something first.
    #[track_caller]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "takes its content by value, as `Context::signal` does"
    )]
    pub fn signal<T: Serialize + DeserializeOwned>(&self, signal: impl Into<NamedSignal<T>>, content: T) {
        let to = Recipient::Run(self.run);
        send_signal(&self.future.site().scope, to, signal.into().into_name(), &content, Location::caller());
    }

    /// Carries the child along: it is for a run that [continues](crate::Context::continue_as_new) this one. A value in that
    /// run's input says which child it is, and [`Context::carried`](crate::Context::carried) leads from there to its outcome.
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    /// use pgworkflows::workflow::Carried;
    ///
    /// #[workflow(name = "audit")]
    /// async fn audit(ctx: Context, month: u32) -> WorkflowResult<u32> {
    ///     ctx.sleep(Duration::from_millis(1)).await?;
    ///     Ok(100 * month)
    /// }
    ///
    /// /// Closes one month in each of its runs, while the month before is audited.
    /// #[workflow(name = "ledger")]
    /// async fn ledger(ctx: Context, (month, before): (u32, Option<Carried<audit>>)) -> WorkflowResult<u32> {
    ///     let next = ctx.child::<audit>(month).start();
    ///     let audited = match before {
    ///         Some(before) => ctx.carried::<audit>(before).await?,
    ///         None => 0,
    ///     };
    ///     if month == 3 {
    ///         return Ok(audited + next.await?);
    ///     }
    ///     ctx.continue_as_new::<ledger>((month + 1, Some(next.carry()))).await
    /// }
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// # let store = pgworkflows::MemoryStore::new();
    /// # let worker = Worker::builder(store.clone()).workflow::<audit>().workflow::<ledger>().build()?;
    /// # let client = Client::new(store);
    /// # let talk = async { client.start::<ledger>((1, None)).await?.result().await };
    /// # assert_eq!(worker.run_while(talk).await??, 500);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A carried child goes along with every run that continues the chain, until one of them takes it. The end of a run that is
    /// continued asks nothing of it, and a cancellation does not reach it. However the chain ends before it is taken, the child's
    /// [`on_parent_end`](DurableFuture::on_parent_end) is carried out, as if the last run held it.
    ///
    /// # Errors
    /// None. A run stalls that continues with more than 1,000 carried children, or with outcomes of more than 32 MiB that it has
    /// and has not taken. A child whose outcome was taken cannot be carried: nothing is left of it.
    pub fn carry(self) -> CarriedChild<I, O> {
        if let Some(handle) = self.future.into_handle() {
            handle.carry();
        }
        CarriedChild::new(self.run)
    }

    /// The future of the child's outcome: what awaiting the handle itself returns.
    pub fn result(self) -> DurableFuture<ChildCall<I, O>> {
        self.future
    }
}

impl<I, O> Future for StartedChild<I, O>
where
    I: Serialize + DeserializeOwned,
    O: DeserializeOwned,
{
    type Output = WorkflowResult<O>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.future).poll(task)
    }
}

impl<I, O> FusedFuture for StartedChild<I, O>
where
    I: Serialize + DeserializeOwned,
    O: DeserializeOwned,
{
    fn is_terminated(&self) -> bool {
        self.future.is_terminated()
    }
}

impl<I, O> fmt::Debug for StartedChild<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Child({} in {:?})", self.run, self.future)
    }
}
