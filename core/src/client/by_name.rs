//! Updates and views for clients that know names and no types. It must not know how these are sent and read.

use std::sync::Arc;

use crate::client::handle::RunHandle;
use crate::client::run_type::{RunType, Untyped};
use crate::client::update::UpdateRun;
use crate::client::view::{ViewChanges, read_view};
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::error::Error;

impl<W: RunType> RunHandle<W> {
    /// Sends an update as [`RunHandle::update`] does, for a client that knows its name but not its types: with a request that is
    /// usually JSON. The answer is a [`Payload`], to write as JSON or to [decode](Payload::decode).
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    /// use serde_json::json;
    ///
    /// #[workflow(name = "flight")]
    /// async fn flight(ctx: Context, free: u32) -> WorkflowResult<u32> {
    ///     ctx.publish(View::new("free"), &free);
    ///     let (seats, answer) = ctx.wait_for_update(Update::<u32, bool>::new("book")).await?;
    ///     answer.send(seats <= free);
    ///     Ok(free - seats)
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// # let store = pgworkflows::MemoryStore::new();
    /// # let worker = Worker::builder(store.clone()).workflow::<flight>().build()?;
    /// # let client = Client::new(store);
    /// # let talk = async {
    /// let run = client.start_named("flight", json!(100)).key("LH 7").await?;
    /// let refused = run.update_named("book", json!("two")).await.unwrap_err();
    /// assert!(refused.is_update_refused()); // It is not of the update's type.
    ///
    /// let booked = run.update_named("book", json!(2)).key("booking:7").await?;
    /// assert_eq!(booked.to_json().unwrap(), json!(true));
    /// let free = run.view_named("free").await?.expect("it was published");
    /// assert_eq!(free.to_json().unwrap(), json!(100));
    /// # Ok(())
    /// # };
    /// # worker.run_while(talk).await?
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`UpdateRun`]. Only the run knows the types and the check of the update: it refuses a request of another type.
    pub fn update_named(&self, update: impl Into<Name>, request: impl Into<Payload>) -> UpdateRun<Payload> {
        UpdateRun::named(Arc::clone(self.shared()), self.run_id(), update.into(), request.into())
    }

    /// Returns the newest value of a view as [`RunHandle::view`] does, for a client that knows the view's name but not its type,
    /// as a [`Payload`], to write as JSON or to decode. See [`RunHandle::update_named`] for an example.
    ///
    /// # Errors
    /// See [`RunHandle::view`].
    pub async fn view_named(&self, view: impl Into<Name>) -> Result<Option<Payload>, Error> {
        let name = view.into();
        Ok(read_view(self.shared(), self.run_id(), &name, Untyped::decode).await?.map(|(.., value)| value))
    }

    /// Follows a view as [`RunHandle::watch`] does, for a client that knows the view's name but not its type.
    ///
    /// # Errors
    /// See [`RunHandle::watch`].
    pub fn watch_named(&self, view: impl Into<Name>) -> ViewChanges<Payload> {
        ViewChanges::new(Arc::clone(self.shared()), self.run_id(), view.into(), Untyped::decode)
    }
}
