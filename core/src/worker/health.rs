//! A worker's health, for readiness probes and people. It must not know how it is computed.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::data::id::RunId;

/// The health of a worker. Its `Display` form is for people; as JSON, for a readiness probe to return, it has its `status`, and
/// the `reasons` with their `kind` and fields, durations in seconds.
///
/// ```
/// use pgworkflows::worker::Health;
///
/// assert_eq!(Health::Starting.to_string(), "starting");
/// assert_eq!(serde_json::to_string(&Health::Starting).unwrap(), r#"{"status":"starting"}"#);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Health {
    /// The worker does not run yet, or some of its processors have no lease yet.
    Starting,
    /// Everything works. The worker may still own no shards, if other workers serve all of them.
    Healthy,
    /// Something does not work and may need a person.
    Unhealthy {
        /// The problems; at least one.
        reasons: Vec<HealthReason>,
    },
    /// The worker is stopping or has stopped.
    Stopped,
}

/// A problem of a worker. Its `Display` form is for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum HealthReason {
    /// The store has not answered for at least 30 seconds. The worker resumes when the store is back.
    StoreUnreachable {
        /// How long it has lasted.
        #[serde(rename = "seconds", serialize_with = "in_seconds")]
        lasting: Duration,
    },
    /// One append has not been answered for at least 30 seconds, although the store may answer other requests. The runs of
    /// that processor make no progress.
    AppendUnanswered {
        /// The processor's number, from 0.
        processor: usize,
        /// How long it has lasted.
        #[serde(rename = "seconds", serialize_with = "in_seconds")]
        lasting: Duration,
        /// How often the append was sent.
        tries: u32,
        /// How many runs the append belongs to.
        runs: usize,
    },
    /// A processor lost at least three leases in a row. Reported until it holds one for a minute and for four times
    /// [`lease_ttl`](super::WorkerBuilder::lease_ttl).
    LeaseLost {
        /// The processor's number, from 0.
        processor: usize,
        /// How many leases it lost in a row.
        in_a_row: u32,
        /// Why it lost the last one.
        why: String,
    },
    /// A poll of a workflow takes longer than [`poll_warn`](super::WorkerBuilder::poll_warn) and blocks its thread, or it
    /// has taken as long as a lease and its thread was left behind.
    NeverYields {
        /// The run that is polled.
        run: RunId,
        /// The run's workflow.
        workflow: String,
        /// How long it has lasted.
        #[serde(rename = "seconds", serialize_with = "in_seconds")]
        lasting: Duration,
    },
    /// The worker gave up: [`run_until`](super::Worker::run_until) returns this error.
    GaveUp {
        /// The error.
        why: String,
    },
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::Healthy => f.write_str("healthy"),
            Self::Stopped => f.write_str("stopped"),
            Self::Unhealthy { reasons } => {
                f.write_str("unhealthy: ")?;
                for (index, reason) in reasons.iter().enumerate() {
                    write!(f, "{}{reason}", if index == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for HealthReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StoreUnreachable { lasting } => write!(f, "the store has not answered for {lasting:?}"),
            Self::AppendUnanswered { processor, lasting, tries, runs } => write!(
                f,
                "an append of processor {processor} has not been answered for {lasting:?}, after {tries} tries; \
                 {runs} runs wait for it"
            ),
            Self::LeaseLost { processor, in_a_row, why } => {
                write!(
                    f,
                    "processor {processor} lost {in_a_row} leases in a row, the last one because: {why}"
                )
            }
            Self::NeverYields { run, workflow, lasting } => {
                write!(f, "run {run} of workflow `{workflow}` has not yielded for {lasting:?}")
            }
            Self::GaveUp { why } => f.write_str(why),
        }
    }
}

fn in_seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_as_json_has_its_reasons_as_data() {
        let reasons = vec![HealthReason::StoreUnreachable { lasting: Duration::from_millis(31_500) }];
        let json = serde_json::to_value(Health::Unhealthy { reasons }).unwrap();
        let reason = serde_json::json!({"kind": "store-unreachable", "seconds": 31.5});
        assert_eq!(json, serde_json::json!({"status": "unhealthy", "reasons": [reason]}));
    }
}
