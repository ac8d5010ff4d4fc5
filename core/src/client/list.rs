//! `client.list`: lists runs by workflow, parent, attributes and status, page by page. It must not know how a store finds them.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use serde::Serialize;

use crate::client::call::ClientShared;
use crate::client::info::{RunInfo, RunStatus};
use crate::data::id::RunId;
use crate::data::limits;
use crate::data::name::Name;
use crate::error::Error;
use crate::store::append::{ClosedStatus, OpenState};
use crate::store::query::{RunFilter, RunPage};
use crate::workflow::Workflow;
use crate::workflow::registry::check_name;

/// The default number of runs per page.
const PAGE_RUNS: u32 = 100;

/// Lists runs, newest first: await it for one page, or read all pages with [`ListRuns::stream`].
///
/// ```
/// # use pgworkflows::prelude::*;
/// # use pgworkflows::payload::Payload;
/// use futures::TryStreamExt;
/// use pgworkflows::client::RunStatus;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// let client = Client::new(pgworkflows::MemoryStore::new());
/// for plant in ["fern", "ivy", "moss"] {
///     client.start_named("water", Payload::encode(plant).unwrap()).await?;
/// }
/// let page = client.list().workflow("water").open().limit(2).await?;
/// let rest = client.list().workflow("water").open().before(page[1].run_id).await?;
/// assert_eq!((page.len(), rest.len()), (2, 1));
/// assert!(client.list().closed().await?.is_empty());
///
/// let pending = client.list().status(RunStatus::Pending).limit(2).stream();
/// assert_eq!(pending.try_collect::<Vec<_>>().await?.len(), 3);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// * [`Error::is_invalid`]: the limit is 0 or above 1000; or the workflow's name, or the name or the value of an attribute, is
///   empty, longer than 255 bytes, or has control characters.
/// * [`Error::is_unavailable`]: the store did not answer.
#[must_use = "a list is read when it is awaited"]
pub struct ListRuns {
    list: List,
    /// The read in progress, once it has been polled.
    reading: Option<BoxFuture<'static, Result<Vec<RunInfo>, Error>>>,
}

/// Which runs are listed.
#[derive(Clone)]
struct List {
    shared: Arc<ClientShared>,
    filter: RunFilter,
    page: RunPage,
}

impl ListRuns {
    pub(super) fn new(shared: Arc<ClientShared>) -> Self {
        let page = RunPage { before: None, limit: PAGE_RUNS };
        Self { list: List { shared, filter: RunFilter::default(), page }, reading: None }
    }

    /// Changes the list. What is being read was another one.
    fn with(mut self, change: impl FnOnce(&mut List)) -> Self {
        change(&mut self.list);
        self.reading = None;
        self
    }

    /// Lists only runs of workflow `W`. By default, runs of all workflows are listed. Replaces an earlier `workflow`.
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    ///
    /// #[workflow(name = "water")]
    /// async fn water(_ctx: Context, plant: String) -> WorkflowResult<String> {
    ///     Ok(plant)
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// let client = Client::new(pgworkflows::MemoryStore::new());
    /// let run = client.start::<water>("fern".to_owned()).await?;
    /// let open = client.list().of::<water>().open().await?;
    /// assert_eq!(open[0].run_id, run.run_id());
    /// # Ok(())
    /// # }
    /// ```
    pub fn of<W: Workflow>(self) -> Self {
        self.workflow(W::NAME)
    }

    /// Lists only runs of the workflow with this name, for a client that does not know its type. Replaces an earlier `of`.
    pub fn workflow(self, name: impl Into<String>) -> Self {
        self.with(|list| list.filter.workflow = Some(name.into()))
    }

    /// Lists only runs that are not over. Replaces an earlier `closed` or `status`.
    pub fn open(self) -> Self {
        self.with(|list| list.only(RunFilter { open: Some(true), ..RunFilter::default() }))
    }

    /// Lists only runs that are over. Replaces an earlier `open` or `status`.
    pub fn closed(self) -> Self {
        self.with(|list| list.only(RunFilter { open: Some(false), ..RunFilter::default() }))
    }

    /// Lists only runs with this status. Replaces an earlier `open`, `closed` or `status`.
    pub fn status(self, status: RunStatus) -> Self {
        let (state, ended) = match status {
            RunStatus::Pending => (Some(OpenState::Pending), None),
            RunStatus::Running => (Some(OpenState::Busy), None),
            RunStatus::Waiting => (Some(OpenState::Parked), None),
            RunStatus::Stalled => (Some(OpenState::Stalled), None),
            RunStatus::Paused => (Some(OpenState::Paused), None),
            RunStatus::Completed => (None, Some(ClosedStatus::Completed)),
            RunStatus::Failed => (None, Some(ClosedStatus::Failed)),
            RunStatus::Cancelled => (None, Some(ClosedStatus::Cancelled)),
            RunStatus::Terminated => (None, Some(ClosedStatus::Terminated)),
            RunStatus::Continued => (None, Some(ClosedStatus::Continued)),
            RunStatus::Retried => (None, Some(ClosedStatus::Retried)),
            RunStatus::TimedOut => (None, Some(ClosedStatus::TimedOut)),
        };
        let open = Some(!status.is_over());
        self.with(|list| list.only(RunFilter { open, state, status: ended, ..RunFilter::default() }))
    }

    /// Lists only runs that this run started as its [children](crate::Context::child), and the runs that continue these: however
    /// many others there are, they are found by an index. Each run of a chain has its own children.
    ///
    /// ```
    /// use futures::TryStreamExt;
    /// use pgworkflows::prelude::*;
    ///
    /// #[workflow(name = "page")]
    /// async fn page(_ctx: Context, number: u32) -> WorkflowResult<u32> {
    ///     Ok(number)
    /// }
    ///
    /// #[workflow(name = "book")]
    /// async fn book(ctx: Context, pages: u32) -> WorkflowResult<usize> {
    ///     Ok(ctx.when_all((0..pages).map(|number| ctx.child::<page>(number))).await?.len())
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// # let store = pgworkflows::MemoryStore::new();
    /// # let worker = Worker::builder(store.clone()).workflow::<page>().workflow::<book>().build()?;
    /// # let client = Client::new(store);
    /// # let talk = async {
    /// let book = client.start::<book>(3).await?;
    /// book.result().await?;
    /// let pages: Vec<_> = client.list().parent(book.run_id()).closed().stream().try_collect().await?;
    /// assert_eq!(pages.len(), 3);
    /// assert!(pages.iter().all(|page| page.parent == Some(book.run_id())));
    /// # Ok(())
    /// # };
    /// # worker.run_while(talk).await?
    /// # }
    /// ```
    pub fn parent(self, run: RunId) -> Self {
        self.with(|list| list.filter.parent = Some(run))
    }

    /// Lists only runs with this value of an [attribute](crate::client::StartRun::attribute): however many others there are, they are
    /// found by an index. Of a list by several attributes, runs have all of them, and the index is that of the first name.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # use pgworkflows::payload::Payload;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// let client = Client::new(pgworkflows::MemoryStore::new());
    /// for stage in ["packed", "shipped", "shipped"] {
    ///     let start = client.start_named("order", Payload::encode("x").unwrap());
    ///     start.attribute("customer", "42").attribute("stage", stage).await?;
    /// }
    /// let of_customer = || client.list().attribute("customer", "42");
    /// assert_eq!(of_customer().await?.len(), 3);
    /// assert_eq!(of_customer().attribute("stage", "shipped").await?.len(), 2);
    /// assert_eq!(of_customer().attribute("stage", "lost").await?.len(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn attribute(self, name: impl Into<Name>, value: impl Into<String>) -> Self {
        self.with(|list| list.filter.attributes.set(name.into(), Some(value.into())))
    }

    /// Lists only runs that were started before this run. Pass the last run of a page to get the next page.
    pub fn before(self, run: RunId) -> Self {
        self.with(|list| list.page.before = Some(run))
    }

    /// Sets the number of runs per page: 1 to 1000, 100 by default.
    pub fn limit(self, runs: u32) -> Self {
        self.with(|list| list.page.limit = runs)
    }

    /// Reads a page, and looks at no more than so many of the newest open runs, and of those that are over: there is no index of
    /// workflows, so to find all runs of a rare one takes a look at every run. [`FoundRuns::next`] says where to go on.
    ///
    /// Lists that an index serves are not limited: those of a parent, by one attribute alone, and by a status other than waiting and
    /// completed. Of a list by attributes and something else, only runs with the first attribute count.
    ///
    /// ```
    /// # use pgworkflows::prelude::*;
    /// # use pgworkflows::payload::Payload;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pgworkflows::Error> {
    /// let client = Client::new(pgworkflows::MemoryStore::new());
    /// for workflow in ["rare", "frequent", "frequent"] {
    ///     client.start_named(workflow, Payload::encode("x").unwrap()).await?;
    ///     # tokio::time::sleep(Duration::from_millis(2)).await;
    /// }
    /// let rare = || client.list().workflow("rare");
    /// let found = rare().search(2).await?;
    /// assert!(found.runs.is_empty(), "it is not among the newest two");
    /// let found = rare().before(found.next.expect("there are older ones")).search(2).await?;
    /// assert_eq!((found.runs.len(), found.next), (1, None));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`ListRuns`].
    pub async fn search(self, runs: u32) -> Result<FoundRuns, Error> {
        self.list.search(runs).await
    }

    /// Streams all runs of the list, and reads each page when it is needed. Runs that start or end meanwhile may be
    /// missing; no run appears twice. See [`ListRuns`] for an example.
    ///
    /// # Errors
    /// The stream yields the errors of [`ListRuns`], and ends after one.
    pub fn stream(self) -> BoxStream<'static, Result<RunInfo, Error>> {
        let pages = stream::try_unfold(Some(self.list), |list| async move {
            let Some(mut list) = list else { return Ok::<_, Error>(None) };
            let runs = list.read().await?;
            let full = runs.len() >= list.page.limit as usize;
            let next = runs.last().filter(|_| full).map(|last| last.run_id).map(|last| {
                list.page.before = Some(last);
                list
            });
            Ok(Some((stream::iter(runs.into_iter().map(Ok)), next)))
        });
        pages.try_flatten().boxed()
    }
}

/// What [`ListRuns::search`] found.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct FoundRuns {
    /// The runs, the newest first.
    pub runs: Vec<RunInfo>,
    /// There may be older runs of the list: pass it to [`ListRuns::before`]. `None` if there are none. Its
    /// [birth](RunId::born) says how far the search went.
    pub next: Option<RunId>,
}

impl List {
    async fn search(mut self, runs: u32) -> Result<FoundRuns, Error> {
        self.check()?;
        if !is_by_index(&self.filter) {
            let (query, page) = (self.shared.store.query(), RunPage { limit: runs, ..self.page.clone() });
            self.filter.since = self.shared.retry(|| query.horizon(&self.filter, &page)).await?;
        }
        let runs = self.read().await?;
        let is_full = runs.len() >= self.page.limit as usize;
        let next = if is_full { runs.last().map(|last| last.run_id) } else { self.filter.since };
        Ok(FoundRuns { runs, next })
    }

    /// Replaces which runs of the workflow, the parent or the attributes are listed.
    fn only(&mut self, filter: RunFilter) {
        let RunFilter { workflow, parent, attributes, .. } = std::mem::take(&mut self.filter);
        self.filter = RunFilter { workflow, parent, attributes, ..filter };
    }

    fn check(&self) -> Result<(), Error> {
        if let Some(workflow) = &self.filter.workflow {
            check_name("workflow", workflow)?;
        }
        self.filter.attributes.check_all().map_err(Error::invalid)?;
        if !(1..=limits::LIST_RUNS_MAX).contains(&self.page.limit) {
            return Err(Error::invalid(format!(
                "a page of {} runs was requested; request 1 to {} per page, and more with `before` or `stream`",
                self.page.limit,
                limits::LIST_RUNS_MAX
            )));
        }
        Ok(())
    }

    async fn read(&self) -> Result<Vec<RunInfo>, Error> {
        self.check()?;
        let query = self.shared.store.query();
        let found = self.shared.retry(|| query.list(&self.filter, &self.page)).await?;
        Ok(found.into_iter().map(RunInfo::new).collect())
    }
}

/// Whether the store finds the runs of a list by an index that has little else.
fn is_by_index(filter: &RunFilter) -> bool {
    let RunFilter { workflow, parent, attributes, open, state, status, since: _ } = filter;
    let by_nothing_else = workflow.is_none() && open.is_none() && state.is_none() && status.is_none();
    if !attributes.is_empty() {
        return attributes.len() == 1 && parent.is_none() && by_nothing_else;
    }
    parent.is_some()
        || state.is_some_and(|state| state != OpenState::Parked)
        || status.is_some_and(|status| status != ClosedStatus::Completed)
        || workflow.is_none() && state.is_none() && status.is_none()
}

impl Clone for ListRuns {
    /// A list with the same filters, which has not been read yet.
    fn clone(&self) -> Self {
        Self { list: self.list.clone(), reading: None }
    }
}

impl Future for ListRuns {
    type Output = Result<Vec<RunInfo>, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { list, reading } = self.get_mut();
        let begin = || {
            let list = list.clone();
            Box::pin(async move { list.read().await }) as _
        };
        reading.get_or_insert_with(begin).as_mut().poll(context)
    }
}

impl fmt::Debug for ListRuns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListRuns")
            .field("filter", &self.list.filter)
            .field("page", &self.list.page)
            .finish_non_exhaustive()
    }
}
