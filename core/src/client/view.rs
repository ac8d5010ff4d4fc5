//! Views of a run, as clients read and follow them. It must not know how a run publishes them.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::stream::{BoxStream, Stream, try_unfold};
use futures::{FutureExt, StreamExt};
use serde::de::DeserializeOwned;

use crate::client::call::ClientShared;
use crate::client::handle::RunHandle;
use crate::client::run_type::RunType;
use crate::data::id::{EventSeq, RunId};
use crate::data::name::Name;
use crate::data::payload::{Decode, Payload};
use crate::error::Error;
use crate::log::event::Event;
use crate::log::wire;
use crate::log::wire::frame::FrameEvents;
use crate::store::error::StoreError;
use crate::store::query::FoundView;
use crate::store::watch::{Notice, Topic, What};
use crate::workflow::view::View;

impl<W: RunType> RunHandle<W> {
    /// Returns the newest value that the run published of this view; `None` if it has not published any. It reads the
    /// database and does not wake the run, and it works after the run's end as well. See [`RunHandle::watch`] for an
    /// example.
    ///
    /// It takes one request, and reads the value from the log by its number, however long the history is.
    ///
    /// # Errors
    /// * [`Error::is_payload`]: the value is not of the view's type.
    /// * [`Error::is_invalid`]: the view's name is empty, longer than 255 bytes, or has a control character.
    /// * [`Error::is_unknown_run`]: there is no such run.
    /// * [`Error::is_unavailable`]: the store did not answer.
    /// * Any other error: the event is damaged, or was written by a newer build. The error names the event.
    pub async fn view<T: DeserializeOwned>(&self, view: View<T>) -> Result<Option<T>, Error> {
        let name = Name::from_static(view.name());
        Ok(read_view(self.shared(), self.run_id(), &name, Payload::decode).await?.map(|(.., value)| value))
    }

    /// Follows a view: the stream returns its newest value if there is one, then each value that is newer, and ends after the
    /// end of the run. It may skip values that are replaced quickly, but never the last one.
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    ///
    /// const DONE: View<u32> = View::new("done");
    ///
    /// #[workflow(name = "batch")]
    /// async fn batch(ctx: Context, items: u32) -> WorkflowResult<()> {
    ///     for done in 1..=items {
    ///         ctx.sleep(Duration::from_millis(1)).await?;
    ///         ctx.publish(DONE, &done);
    ///     }
    ///     Ok(())
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// # let store = pgworkflows::MemoryStore::new();
    /// # let worker = Worker::builder(store.clone()).workflow::<batch>().build()?;
    /// # let client = Client::new(store);
    /// # let talk = async {
    /// let run = client.start::<batch>(3).await?;
    /// let mut changes = run.watch(DONE);
    /// let mut last = None;
    /// while let Some(done) = changes.next().await {
    ///     last = Some(done?);
    /// }
    /// assert_eq!(last, Some(3));
    /// assert_eq!(run.view(DONE).await?, Some(3)); // Also after the end.
    /// # Ok(())
    /// # };
    /// # worker.run_while(talk).await?
    /// # }
    /// ```
    ///
    /// # Errors
    /// An item may be an error: those of [`RunHandle::view`]. The stream ends after it. While the store does not answer for
    /// long, the stream waits.
    pub fn watch<T: DeserializeOwned + Send + 'static>(&self, view: View<T>) -> ViewChanges<T> {
        let name = Name::from_static(view.name());
        ViewChanges::new(Arc::clone(self.shared()), self.run_id(), name, Payload::decode)
    }
}

/// Reads the newest value of a view of the current run of a chain, with that run and the number of the event.
pub(super) async fn read_view<T>(
    shared: &ClientShared,
    run: RunId,
    name: &Name,
    decode: Decode<T>,
) -> Result<Option<(RunId, EventSeq, T)>, Error> {
    Name::check("name of a view", name).map_err(Error::invalid)?;
    let Some(found) = shared.retry(|| shared.store.query().view(run, name)).await? else {
        // A run that has published nothing has no view; a run that does not exist is an error.
        shared.describe(run).await?;
        return Ok(None);
    };
    let (current, seq) = (found.frame.run, found.seq);
    let value = value_of(found, name)
        .map_err(|problem| StoreError::corrupt(format!("view `{name}` of run {run}: {problem}")))?;
    let value = decode(&value)
        .map_err(|error| Error::payload(format!("view `{name}` of run {run}, event {seq},"), error))?;
    Ok(Some((current, seq, value)))
}

/// The value in the event that the store found.
fn value_of(found: FoundView, name: &str) -> Result<Payload, String> {
    let mut events = FrameEvents::new(found.frame);
    while let Some(stored) = events.next_stored() {
        let stored = stored?;
        if stored.seq != found.seq {
            continue;
        }
        return match wire::decode_event(stored.kind, &stored.body) {
            Ok(Event::ViewPublished { view, value }) if view == name => Ok(value),
            Ok(other) => Err(format!("event {} is {other:#}", found.seq)),
            Err(error) => Err(format!(
                "event {}, `{}`, cannot be read: {error}; use the build that wrote it, or a newer one",
                found.seq, stored.kind
            )),
        };
    }
    Err(format!("event {} is not in the frame that was found for it", found.seq))
}

/// The changes of a view: a stream, made by [`RunHandle::watch`](RunHandle::watch), which has an example.
pub struct ViewChanges<T> {
    name: Name,
    run: RunId,
    changes: BoxStream<'static, Result<T, Error>>,
}

impl<T: Send + 'static> ViewChanges<T> {
    pub(super) fn new(shared: Arc<ClientShared>, run: RunId, name: Name, decode: Decode<T>) -> Self {
        let watcher = Arc::clone(&shared.watcher);
        let closed = async move { watcher.wait(Topic { run, what: What::Closed }, None).await }.boxed();
        let view = name.clone();
        let seen = Seen { shared, run, view, value: None, published: None, closed, is_over: false };
        let changes = try_unfold(seen, move |seen| seen.next(decode)).boxed();
        Self { name, run, changes }
    }

    /// The next change; `None` after the end of the run. To drop the future loses nothing. See
    /// [`RunHandle::watch`](RunHandle::watch) for an example.
    ///
    /// # Errors
    /// Those of [`RunHandle::view`](RunHandle::view). After an error there is no further change.
    pub async fn next(&mut self) -> Option<Result<T, Error>> {
        self.changes.next().await
    }
}

impl<T> Stream for ViewChanges<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.changes.as_mut().poll_next(task)
    }
}

impl<T> fmt::Debug for ViewChanges<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewChanges")
            .field("view", &self.name)
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

/// What a watcher has seen of a run.
struct Seen {
    shared: Arc<ClientShared>,
    /// The run that was the current one of its chain when that was last asked for.
    run: RunId,
    /// The name of the view.
    view: Name,
    /// The event with the value that was returned last, and its run.
    value: Option<(RunId, EventSeq)>,
    /// The last event that is known to have published a view, of whatever name.
    published: Option<EventSeq>,
    /// The wait for the run's end. It lasts from change to change, so that the store is not asked for the end at each change.
    closed: BoxFuture<'static, Result<Notice, Error>>,
    /// Whether the run was over before the value was read.
    is_over: bool,
}

impl Seen {
    /// Waits for a value that was not returned yet.
    async fn next<T>(mut self, decode: Decode<T>) -> Result<Option<(T, Self)>, Error> {
        loop {
            if let Some((run, seq, value)) = read_view(&self.shared, self.run, &self.view, decode).await?
                && self.value != Some((run, seq))
            {
                self.value = Some((run, seq));
                if run == self.run {
                    self.published = self.published.max(Some(seq));
                }
                return Ok(Some((value, self)));
            }
            if self.is_over {
                return Ok(None);
            }
            self.wait().await?;
        }
    }

    /// Waits until the run publishes any view, or ends.
    async fn wait(&mut self) -> Result<(), Error> {
        let published = Topic { run: self.run, what: What::Published { after: self.published } };
        let notice = tokio::select! {
            biased;
            notice = self.shared.watcher.wait(published, None) => notice?,
            notice = &mut self.closed => notice?,
        };
        match notice {
            Notice::Published { seq: Notice::CONTINUED, .. } => {
                self.run = self.shared.describe_current(self.run).await?.run_id;
                self.published = None;
            }
            Notice::Published { seq, .. } => self.published = Some(seq),
            // What it published last was committed with its end, or before, and is still to be read.
            Notice::Closed(_) | Notice::Replied(_) => self.is_over = true,
        }
        Ok(())
    }
}
