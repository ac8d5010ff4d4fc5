//! What people need of a store: descriptions, lists and histories. No processor reads through it.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use crate::data::id::{EventSeq, RunId};
use crate::data::time::Timestamp;
use crate::store::append::{ClosedRun, OpenRow};
use crate::store::error::StoreError;
use crate::store::history::EventRecord;

/// The reads for people.
#[async_trait]
pub trait StoreQuery: fmt::Debug + Send + Sync {
    /// What there is to say of one run.
    async fn describe(&self, run: RunId) -> Result<Option<RunDescription>, StoreError>;

    /// The run that was started under a key.
    async fn find(&self, workflow: &str, key: &str) -> Result<Option<RunId>, StoreError>;

    /// Runs, the newest first.
    async fn list(&self, filter: &RunFilter, page: &RunPage) -> Result<Vec<RunDescription>, StoreError>;

    /// A run's events behind `after`, by `seq`, `limit` of them at most.
    async fn history(
        &self,
        run: RunId,
        after: Option<EventSeq>,
        limit: u32,
    ) -> Result<Vec<EventRecord>, StoreError>;
}

/// What there is to say of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDescription {
    /// The run.
    pub run: RunId,
    /// Its workflow's name.
    pub workflow: String,
    /// Its start's key.
    pub key: Option<String>,
    /// Its row while it is open.
    pub open: Option<OpenRow>,
    /// How it ended, once it is over. Exactly one of `open` and `closed` is there.
    pub closed: Option<ClosedRun>,
    /// Messages that came too late, the oldest first.
    pub undelivered: Vec<Undelivered>,
}

/// A message that was accepted, but whose run was over when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// What it said, for core alone to read.
    pub body: Bytes,
    /// When it was given up.
    pub at: Timestamp,
}

/// Which runs to list: all that match every field that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Of this workflow.
    pub workflow: Option<String>,
    /// Open ones (`true`) or those that are over (`false`).
    pub open: Option<bool>,
    /// In this state, for open ones.
    pub state: Option<super::OpenState>,
    /// That ended this way.
    pub status: Option<super::ClosedStatus>,
}

/// Which part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPage {
    /// Only runs born before this one: the last of the page before.
    pub before: Option<RunId>,
    /// How many at most, at least 1.
    pub limit: u32,
}
