//! The methods of the context by which a workflow serves signals and updates beside its main line. It must not know when a
//! handler is polled.

use std::panic::Location;

use super::Context;
use crate::workflow::calls::serve::{Served, Serving};
use crate::workflow::calls::until::UntilFuture;

impl Context {
    /// Has a handler take the signals or the updates of a name, for as long as the returned guard lives. For an update, the
    /// handler returns the answer.
    ///
    /// The handler is polled after the main line, in the same poll. Of one name it takes one at a time, in the order of their
    /// arrival, and those of different names side by side. It may await durable calls, as the main line does. It shares state
    /// with the main line by [`Shared`](crate::workflow::Shared), and [`until`](Self::until) waits for what it changes.
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    ///
    /// const CANCEL: Update<String, bool> = Update::new("cancel");
    ///
    /// #[workflow(name = "delivery")]
    /// async fn delivery(ctx: Context, (): ()) -> WorkflowResult<Option<String>> {
    ///     let cancelled = Shared::new(None);
    ///     let state = cancelled.clone();
    ///     let _cancel = ctx.serve(CANCEL, async move |why| {
    ///         state.with(|cancelled| {
    ///             let is_first = cancelled.is_none();
    ///             cancelled.get_or_insert(why);
    ///             is_first
    ///         })
    ///     });
    ///     ctx.until(|| cancelled.with(|cancelled| cancelled.is_some())).await?;
    ///     Ok(cancelled.with(Option::take))
    /// }
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// # let store = pgworkflows::MemoryStore::new();
    /// # let worker = Worker::builder(store.clone()).workflow::<delivery>().build()?;
    /// # let client = Client::new(store);
    /// # let talk = async {
    /// let run = client.start::<delivery>(()).await?;
    /// assert!(run.update(CANCEL, "it rains".to_owned()).await?);
    /// #     run.result().await
    /// # };
    /// # assert_eq!(worker.run_while(talk).await??.as_deref(), Some("it rains"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// To register a handler is no durable call: it survives a cancellation of the run, and a run that only waits for its
    /// handlers stalls, unless its main line waits in [`until`](Self::until). When the workflow returns, handlers at work are
    /// dropped, and the clients of their updates are told so; [`Serving::drain`] waits for them.
    ///
    /// # Errors
    /// None. The run stalls if the name has a handler already, or is waited for by [`wait_for`](Self::wait_for) or
    /// [`wait_for_update`](Self::wait_for_update): it has either. It stalls as well if the handler panics, or if the content is
    /// not of the definition's type.
    #[track_caller]
    pub fn serve<D, F>(&self, definition: D, handler: F) -> Serving
    where
        D: Served,
        F: AsyncFn(D::Request) -> D::Answer + 'static,
    {
        Serving::new(&self.scope, definition, handler, Location::caller())
    }

    /// Waits until a condition of the workflow's own state is true. It is looked at when the future is first polled, and after
    /// every pass over the main line and the handlers, so it must be quick and must change nothing. See
    /// [`serve`](Self::serve) for an example.
    ///
    /// # Errors
    /// The future returns an error if the run is cancelled first. The run stalls if the condition is false, and neither a
    /// handler nor a durable call can make it true.
    #[track_caller]
    pub fn until<F: FnMut() -> bool>(&self, condition: F) -> UntilFuture<F> {
        UntilFuture::new(&self.scope, condition, Location::caller())
    }
}
