//! How a workflow ended, and which of its compensations failed. It must not know the workflow.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

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

/// Writes `status`, and the `result` or the `failure`.
impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut outcome = serializer.serialize_struct("Outcome", 2)?;
        let status = match self {
            Self::Completed(_) => "completed",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        };
        outcome.serialize_field("status", status)?;
        match self {
            Self::Completed(result) => outcome.serialize_field("result", result)?,
            Self::Failed(failure) => outcome.serialize_field("failure", failure)?,
            Self::Cancelled => {}
        }
        outcome.end()
    }
}

/// A compensation that failed for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Uncompensated {
    /// The activity's name.
    pub activity: String,
    /// Why its last attempt failed.
    pub failure: Failure,
}
