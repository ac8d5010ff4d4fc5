//! The durable calls, which a workflow's code awaits. Each file holds one call: what the user calls, the command that it
//! issues, and how a replay recognises it. It must not know how commands are executed.

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
