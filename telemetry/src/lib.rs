//! Metrics and traces of PgWorkflows for other systems: `prometheus` and `otel`, each a module behind a feature.
//! Programs use it through the features of the crate `pgworkflows`.
//!
//! It exports what [`WorkerMetrics`](pgworkflows_core::worker::WorkerMetrics) lists, and must not know single metrics.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "otel")]
pub mod otel;
#[cfg(feature = "prometheus")]
pub mod prometheus;

/// Runs the code of the guide.
#[cfg(all(doctest, feature = "otel", feature = "prometheus"))]
#[doc = include_str!("../../docs/observability.md")]
mod guide {}
