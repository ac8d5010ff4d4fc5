//! How a workflow ended, and which of its compensations failed. It must not know the workflow.

use super::failure::Failure;
use super::payload::Payload;

/// What a workflow returned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// A value.
    Completed(Payload),
    /// An error.
    Failed(Failure),
    /// The cancellation that was requested.
    Cancelled,
}

/// A compensation that failed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uncompensated {
    /// The activity's name.
    pub activity: String,
    /// Why its last attempt failed.
    pub failure: Failure,
}
