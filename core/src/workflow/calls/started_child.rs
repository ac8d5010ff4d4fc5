//! The handle of a child that was started. It must not know how the child is started, or how its outcome arrives.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use futures::future::FusedFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

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
