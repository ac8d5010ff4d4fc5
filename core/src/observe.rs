//! What operators see of a worker beside its runs: the spans around users' code, the limit of log lines, metrics. It must
//! decide nothing, and must not know who listens.

pub(crate) mod line_limit;
pub(crate) mod metrics;
pub(crate) mod propagator;
pub(crate) mod spans;
