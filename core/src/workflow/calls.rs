//! The durable calls: what a workflow's code awaits. Each has a file of its own, with what the user calls, the command
//! that it issues, and how a replay recognises it.

pub(crate) mod activity;
pub(crate) mod compensation;
pub(crate) mod future;
pub(crate) mod record;
pub(crate) mod signal;
pub(crate) mod step;
#[cfg(test)]
mod tests;
pub(crate) mod timeout;
pub(crate) mod timer;
pub(crate) mod when_all;
