//! `client.list`: lists runs by workflow and status, page by page. It must not know how a store finds them.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use crate::client::call::ClientShared;
use crate::client::info::{RunInfo, RunStatus};
use crate::data::id::RunId;
use crate::data::limits;
use crate::error::Error;
use crate::store::append::{ClosedStatus, OpenState};
use crate::store::query::{RunFilter, RunPage};
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
/// * [`Error::is_invalid`]: the limit is 0 or above 1000, or the workflow's name is empty, longer than 255 bytes, or has
///   control characters.
/// * [`Error::is_unavailable`]: the store did not answer.
#[derive(Clone)]
#[must_use = "a list is read when it is awaited"]
pub struct ListRuns {
    shared: Arc<ClientShared>,
    filter: RunFilter,
    page: RunPage,
}

impl ListRuns {
    pub(super) fn new(shared: Arc<ClientShared>) -> Self {
        Self { shared, filter: RunFilter::default(), page: RunPage { before: None, limit: PAGE_RUNS } }
    }

    /// Lists only runs of the workflow with this name. By default, runs of all workflows are listed.
    pub fn workflow(mut self, name: impl Into<String>) -> Self {
        self.filter.workflow = Some(name.into());
        self
    }

    /// Lists only runs that are not over. Replaces an earlier `closed` or `status`.
    pub fn open(mut self) -> Self {
        self.filter = RunFilter { workflow: self.filter.workflow, open: Some(true), ..RunFilter::default() };
        self
    }

    /// Lists only runs that are over. Replaces an earlier `open` or `status`.
    pub fn closed(mut self) -> Self {
        self.filter = RunFilter { workflow: self.filter.workflow, open: Some(false), ..RunFilter::default() };
        self
    }

    /// Lists only runs with this status. Replaces an earlier `open`, `closed` or `status`.
    pub fn status(mut self, status: RunStatus) -> Self {
        let (state, ended) = match status {
            RunStatus::Pending => (Some(OpenState::Pending), None),
            RunStatus::Running => (Some(OpenState::Busy), None),
            RunStatus::Waiting => (Some(OpenState::Parked), None),
            RunStatus::Stalled => (Some(OpenState::Stalled), None),
            RunStatus::Completed => (None, Some(ClosedStatus::Completed)),
            RunStatus::Failed => (None, Some(ClosedStatus::Failed)),
            RunStatus::Cancelled => (None, Some(ClosedStatus::Cancelled)),
            RunStatus::Terminated => (None, Some(ClosedStatus::Terminated)),
        };
        let workflow = self.filter.workflow;
        self.filter = RunFilter { workflow, open: Some(!status.is_over()), state, status: ended };
        self
    }

    /// Lists only runs that were started before this run. Pass the last run of a page to get the next page.
    pub fn before(mut self, run: RunId) -> Self {
        self.page.before = Some(run);
        self
    }

    /// Sets the number of runs per page: 1 to 1000, 100 by default.
    pub fn limit(mut self, runs: u32) -> Self {
        self.page.limit = runs;
        self
    }

    /// Streams all runs of the list, and reads each page when it is needed. Runs that start or end meanwhile may be
    /// missing; no run appears twice. See [`ListRuns`] for an example.
    ///
    /// # Errors
    /// The stream yields the errors of [`ListRuns`], and ends after one.
    pub fn stream(self) -> BoxStream<'static, Result<RunInfo, Error>> {
        let pages = stream::try_unfold(Some(self), |list| async move {
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

    async fn read(&self) -> Result<Vec<RunInfo>, Error> {
        if let Some(workflow) = &self.filter.workflow {
            check_name("workflow", workflow)?;
        }
        if !(1..=limits::LIST_RUNS_MAX).contains(&self.page.limit) {
            return Err(Error::invalid(format!(
                "a page of {} runs was requested; request 1 to {} per page, and more with `before` or `stream`",
                self.page.limit,
                limits::LIST_RUNS_MAX
            )));
        }
        let query = self.shared.store.query();
        let found = self.shared.retry(|| query.list(&self.filter, &self.page)).await?;
        Ok(found.into_iter().map(RunInfo::new).collect())
    }
}

impl IntoFuture for ListRuns {
    type Output = Result<Vec<RunInfo>, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.read().await })
    }
}

impl fmt::Debug for ListRuns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListRuns")
            .field("filter", &self.filter)
            .field("page", &self.page)
            .finish_non_exhaustive()
    }
}
