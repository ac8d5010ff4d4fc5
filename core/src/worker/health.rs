//! A worker's health, for readiness probes and people. It must not know how it is found out.

use std::fmt;
use std::time::Duration;

use crate::data::id::RunId;

/// How a worker is doing. Its `Display` form is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It does not run yet, or not all of its processors have a lease yet.
    Starting,
    /// All of it works. That its processors own shards is not said: those of a worker that stands by own none.
    Healthy,
    /// Something does not work, and may need a person.
    Unhealthy {
        /// What; at least one.
        reasons: Vec<HealthReason>,
    },
    /// It was told to stop, or has ended.
    Stopped,
}

/// What is wrong with a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HealthReason {
    /// The store has not answered for 30 seconds or more. The worker goes on when it is back.
    StoreUnreachable {
        /// For how long.
        lasting: Duration,
    },
    /// One append has not been answered for as long, although the store may answer otherwise: what its processor serves
    /// stands still.
    AppendUnanswered {
        /// The processor's number, from 0 on.
        processor: usize,
        /// For how long.
        lasting: Duration,
        /// How often it was sent.
        tries: u32,
        /// How many runs it is about.
        runs: usize,
    },
    /// A processor lost three leases or more in a row. Said until it held one for a minute, and for four times the length
    /// of a lease.
    LeaseLost {
        /// The processor's number, from 0 on.
        processor: usize,
        /// How many, in a row.
        in_a_row: u32,
        /// Why, the last time.
        why: String,
    },
    /// A poll of a workflow takes longer than [`poll_warn`](super::WorkerBuilder::poll_warn), so that its thread does
    /// nothing else; or it took as long as a lease lasts, and its thread was left behind.
    NeverYields {
        /// Whose poll it is.
        run: RunId,
        /// The run's workflow.
        workflow: String,
        /// For how long.
        lasting: Duration,
    },
    /// The worker gave up: [`run_until`](super::Worker::run_until) ends with this error.
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
