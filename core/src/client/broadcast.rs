//! `client.broadcast`: sends a signal to the runs of a workflow, page by page. It must not know how a store finds them.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::client::call::{CallKeys, ClientShared};
use crate::client::message::{content_of, keyed_message, random_message, submission};
use crate::data::limits;
use crate::data::name::Name;
use crate::data::optional_key::OptionalKey;
use crate::data::payload::Payload;
use crate::error::Error;
use crate::log::message::Message;
use crate::store::inbox::{Submission, Submitted};
use crate::store::query::{KeyPage, KeyedRun};
use crate::workflow::registry::check_name;

/// Sends a signal to the open runs of a workflow that were started with keys, in the order of the keys and page by page. Runs
/// without a key are not found.
///
/// ```
/// use pgworkflows::prelude::*;
///
/// const PRICE: Signal<u64> = Signal::new("price");
///
/// #[workflow(name = "subscription")]
/// async fn subscription(ctx: Context, (): ()) -> WorkflowResult<u64> {
///     ctx.wait_for(PRICE).await
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// let client = Client::new(pgworkflows::MemoryStore::new());
/// for key in ["acme:1", "acme:2", "acme:3", "zenith:1"] {
///     client.start::<subscription>(()).key(key).await?;
/// }
///
/// let mut broadcast = client.broadcast::<subscription, _>(PRICE, 1_999).key_prefix("acme:").page(2);
/// let first = broadcast.next_page().await?.expect("there are runs");
/// assert_eq!((first.signalled, first.position.as_str()), (2, "acme:2"));
///
/// // Another process may go on from there.
/// let rest = client.broadcast::<subscription, _>(PRICE, 1_999).key_prefix("acme:").after(first.position);
/// assert_eq!(rest.all().await?, 1);
/// # Ok(())
/// # }
/// ```
///
/// A run that is started meanwhile receives the signal if its key comes after the position. Every open run before the position
/// has received the signal at least once: a page that failed halfway is sent again as a whole. With a [`key`](Self::key) of
/// the broadcast, each run takes the signal once, however often the broadcast is repeated, and by whomever.
///
/// # Errors
/// * [`Error::is_invalid`]: the workflow's name, the signal's name, the prefix, the position or the key is longer than 255
///   bytes or has control characters; the page is empty or has more than 1000 runs; the content is larger than the client's
///   limit (2 MiB by default). Nothing was sent.
/// * [`Error::is_payload`]: the content cannot be encoded, or its own type cannot read it back.
/// * [`Error::is_unavailable`]: the store did not answer. A part of the page may have been sent. Read the page again: the
///   broadcast is still where it was.
#[must_use = "a broadcast sends its pages when they are awaited"]
pub struct Broadcast {
    shared: Arc<ClientShared>,
    signal: Name,
    content: Result<Payload, Error>,
    key: Option<String>,
    page: KeyPage,
    is_done: bool,
}

/// What one page of a [`Broadcast`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BroadcastPage {
    /// How many runs the signal was sent to.
    pub signalled: usize,
    /// How many runs with such keys are over.
    pub over: usize,
    /// The last key of the page: see [`Broadcast::after`].
    pub position: String,
}

impl Client {
    /// Sends a signal as [`Client::broadcast`] does, for a client that knows the names of the workflow and the signal but not
    /// their types.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// use serde_json::json;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// let client = Client::new(pgworkflows::MemoryStore::new());
    /// client.start_named("subscription", json!(null)).key("acme:1").await?;
    /// let broadcast = client.broadcast_named("subscription", "price", json!(1_999));
    /// assert_eq!(broadcast.key_prefix("acme:").all().await?, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`Broadcast`]. Returns an error that [`Error::is_payload`] recognises if the content is not valid CBOR or JSON, or is
    /// not of the type that the client was [told](super::ClientBuilder::signal).
    pub fn broadcast_named(
        &self,
        workflow: impl Into<Name>,
        signal: impl Into<Name>,
        content: impl Into<Payload>,
    ) -> Broadcast {
        let (shared, signal) = (Arc::clone(&self.shared), signal.into());
        let known = &shared.settings.types;
        let content = shared.check_payload(content_of(&signal), content.into(), |content| {
            known.check_signal(&signal, content)
        });
        Broadcast::new(shared, workflow.into(), signal, content)
    }
}

impl Broadcast {
    pub(super) fn typed<T: Serialize + DeserializeOwned>(
        shared: Arc<ClientShared>,
        workflow: Name,
        signal: Name,
        content: &T,
    ) -> Self {
        let content = shared.encode(content_of(&signal), content);
        Self::new(shared, workflow, signal, content)
    }

    fn new(shared: Arc<ClientShared>, workflow: Name, signal: Name, content: Result<Payload, Error>) -> Self {
        let limit = limits::BROADCAST_PAGE_RUNS;
        let page = KeyPage { workflow, prefix: String::new(), after: None, limit };
        let key = shared.call.as_ref().map(CallKeys::next);
        Self { shared, signal, content, key, page, is_done: false }
    }

    /// Sends only to runs whose keys begin with this. See [`Broadcast`] for an example.
    pub fn key_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.page.prefix = prefix.into();
        self
    }

    /// Sets the idempotency key of the signals, of 1 to 255 bytes without control characters: each run takes the first signal
    /// with this name and key, and drops the others. See [`SendSignal::key`](crate::client::SendSignal::key).
    /// `None` changes nothing: see [`OptionalKey`].
    pub fn key(mut self, key: impl Into<OptionalKey>) -> Self {
        self.key = key.into().into_text().or(self.key);
        self
    }

    /// Sets how many runs a page has at most: 1 to 1000, 100 by default. See [`Broadcast`] for an example.
    pub fn page(mut self, runs: u32) -> Self {
        self.page.limit = runs;
        self
    }

    /// Goes on after this key, the [`position`](BroadcastPage::position) of a page. See [`Broadcast`] for an example.
    pub fn after(mut self, position: impl Into<String>) -> Self {
        self.page.after = Some(position.into());
        self
    }

    /// The last key of the last page that was sent.
    pub fn position(&self) -> Option<&str> {
        self.page.after.as_deref()
    }

    /// Sends the next page; `None` after the last one. Each page is in the runs' inboxes when this returns, and a page that
    /// fails may be read again. See [`Broadcast`] for an example and errors.
    ///
    /// # Errors
    /// See [`Broadcast`].
    pub async fn next_page(&mut self) -> Result<Option<BroadcastPage>, Error> {
        self.check()?;
        if self.is_done {
            return Ok(None);
        }
        let query = self.shared.store.query();
        let found = self.shared.retry(|| query.keyed_runs(&self.page)).await?;
        let Some(position) = found.last().map(|last| last.key.clone()) else {
            self.is_done = true;
            return Ok(None);
        };
        let signalled = self.send(&found).await?;
        self.is_done = found.len() < self.page.limit as usize;
        self.page.after = Some(position.clone());
        Ok(Some(BroadcastPage { signalled, over: found.len() - signalled, position }))
    }

    /// Sends all pages, and returns how many runs the signal was sent to. After an error, nothing says how far it came: use
    /// [`next_page`](Self::next_page) where that matters.
    ///
    /// # Errors
    /// See [`Broadcast`].
    pub async fn all(mut self) -> Result<usize, Error> {
        let mut signalled = 0;
        while let Some(page) = self.next_page().await? {
            signalled += page.signalled;
        }
        Ok(signalled)
    }

    fn check(&mut self) -> Result<(), Error> {
        check_name("workflow", &self.page.workflow)?;
        check_name("signal", &self.signal)?;
        let texts = [("key", &self.key), ("position", &self.page.after)];
        texts
            .into_iter()
            .filter_map(|(what, text)| Some((what, text.as_deref()?)))
            .try_for_each(|(what, text)| check_name(what, text))?;
        if !self.page.prefix.is_empty() {
            check_name("key prefix", &self.page.prefix)?;
        }
        if !(1..=limits::LIST_RUNS_MAX).contains(&self.page.limit) {
            return Err(Error::invalid(format!(
                "a broadcast has pages of {} runs; give `page` 1 to {}",
                self.page.limit,
                limits::LIST_RUNS_MAX
            )));
        }
        if self.content.is_ok() {
            return Ok(());
        }
        let again = Error::invalid(format!("the content of signal `{}` was refused before", self.signal));
        std::mem::replace(&mut self.content, Err(again)).map(drop)
    }

    /// Sends the signal to the open runs of a page, in transactions of limited size. Returns how many took it.
    async fn send(&self, found: &[KeyedRun]) -> Result<usize, Error> {
        let Ok(payload) = &self.content else { return Ok(0) };
        let body = Message::Signal {
            signal: self.signal.clone(),
            payload: payload.clone(),
            key: self.key.clone(),
            trace: self.shared.trace(),
        };
        let to = |keyed: &KeyedRun| {
            let message = match &self.key {
                Some(key) => keyed_message(keyed.run, &self.signal, key),
                None => random_message(&self.shared),
            };
            submission(message, keyed.run, &body)
        };
        let submissions: Vec<Submission> = found.iter().filter(|keyed| keyed.is_open).map(to).collect();
        let bytes = submissions.first().map_or(1, |first| first.body.len().max(1));
        let count = (limits::CLIENT_BATCH_BYTES_MAX / bytes).clamp(1, limits::CLIENT_BATCH_MAX);
        let mut signalled = 0;
        for batch in submissions.chunks(count) {
            let answers = self.shared.retry(|| self.shared.store.submit(batch)).await?;
            signalled += answers.iter().filter(|answer| **answer == Submitted::Accepted).count();
        }
        Ok(signalled)
    }
}

impl fmt::Debug for Broadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast")
            .field("signal", &self.signal)
            .field("key", &self.key)
            .field("page", &self.page)
            .finish_non_exhaustive()
    }
}
