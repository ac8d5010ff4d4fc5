//! `ctx.client()`: the client of an attempt of an activity. It must not know how attempts are executed.

use std::sync::Arc;

use crate::client::Client;
use crate::client::builder::ClientBuilder;
use crate::client::call::ClientShared;
use crate::workflow::activity::{ActivityContext, Services};

impl ActivityContext {
    /// A client of the worker's store, to start runs and to send them signals. All that it starts and sends has an idempotency
    /// key: that of this call, and the number of the request among those of the attempt. An attempt that is repeated makes
    /// the same requests again, and they have no second effect. If a signal of an earlier attempt has ended its run, sending it
    /// again succeeds.
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    ///
    /// #[workflow(name = "invoice")]
    /// async fn invoice(_ctx: Context, cents: u64) -> WorkflowResult<u64> {
    ///     Ok(cents)
    /// }
    ///
    /// struct Month;
    ///
    /// #[activities]
    /// impl Month {
    ///     #[activity(name = "month.close")]
    ///     async fn close(&self, ctx: &ActivityContext, customers: Vec<u64>) -> ActivityResult<u64> {
    ///         let client = ctx.client();
    ///         let mut sum = 0;
    ///         for cents in customers {
    ///             // The first attempt starts a run. Later ones find it.
    ///             sum += client.start::<invoice>(cents).await?.result().await?;
    ///         }
    ///         Ok(sum)
    ///     }
    /// }
    ///
    /// #[workflow(name = "month")]
    /// async fn month(ctx: Context, customers: Vec<u64>) -> WorkflowResult<u64> {
    ///     ctx.call(Month::CLOSE, customers).await
    /// }
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// # let store = pgworkflows::MemoryStore::new();
    /// # let builder = Worker::builder(store.clone()).workflow::<month>().workflow::<invoice>();
    /// # let worker = builder.activities(Month).build()?;
    /// # let client = Client::new(store);
    /// # let talk = async { client.start::<month>(vec![40, 2]).await?.result().await };
    /// # assert_eq!(worker.run_while(talk).await??, 42);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The requests of a call must come in the same order in every attempt. If another input follows under the same number,
    /// the start returns an error that [`Error::is_key_conflict`](crate::Error::is_key_conflict) recognises, and starts
    /// nothing. Where the order may change, set a key of your own by
    /// [`StartRun::key`](crate::client::StartRun::key). Each call of this method counts from one again, so make one client
    /// per attempt; its clones count together.
    pub fn client(&self) -> Client {
        let shared = shared_of(&self.services).of_call(self.idempotency_key());
        Client { shared: Arc::new(shared) }
    }
}

/// What the clients of all attempts share. It is made once, because it has a task that waits for results.
fn shared_of(services: &Services) -> &ClientShared {
    let made = services.client.get_or_init(|| {
        let builder = ClientBuilder::new(Arc::clone(&services.store));
        let builder =
            builder.payload_bytes_max(services.payload_bytes_max).traced_by(services.propagator.clone());
        Box::new(builder.shared_on(Arc::clone(&services.host)))
    });
    made.downcast_ref().expect("only this function makes it")
}
