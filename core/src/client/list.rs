//! `client.list`: runs by what they are doing, page by page. It must not know how a store finds them.

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

/// How many runs a page holds unless told otherwise.
const PAGE_RUNS: u32 = 100;

/// A list of runs, the newest first: await it for one page, or take them all from [`ListRuns::stream`].
///
/// ```
/// # use pgworkflows::{Client, Error};
/// # use pgworkflows::client::RunStatus;
/// async fn print_stalled(client: &Client) -> Result<(), Error> {
///     for run in client.list().workflow("reminder").status(RunStatus::Stalled).await? {
///         println!("{}: {}", run.run_id, run.waiting_on.unwrap_or_default());
///     }
///     Ok(())
/// }
/// ```
///
/// # Errors
/// [`Error::is_invalid`] for a limit of 0 or above 1000 and for a name that no workflow can have,
/// [`Error::is_unavailable`].
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

    /// Only runs of the workflow of that name.
    pub fn workflow(mut self, name: impl Into<String>) -> Self {
        self.filter.workflow = Some(name.into());
        self
    }

    /// Only runs that are not over.
    pub fn open(mut self) -> Self {
        self.filter = RunFilter { workflow: self.filter.workflow, open: Some(true), ..RunFilter::default() };
        self
    }

    /// Only runs that are over.
    pub fn closed(mut self) -> Self {
        self.filter = RunFilter { workflow: self.filter.workflow, open: Some(false), ..RunFilter::default() };
        self
    }

    /// Only runs with that status. Replaces `open` and `closed`.
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

    /// Only runs that were started before this one: the last of the page before.
    pub fn before(mut self, run: RunId) -> Self {
        self.page.before = Some(run);
        self
    }

    /// How many runs a page holds: 1 to 1000, 100 unless told otherwise.
    pub fn limit(mut self, runs: u32) -> Self {
        self.page.limit = runs;
        self
    }

    /// All runs of the list, read page by page as they are asked for. Runs that start or end meanwhile may or may
    /// not be seen; none is seen twice.
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
                "a page of {} runs was asked for; ask for 1 to {}, and for more by `before` or `stream`",
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
