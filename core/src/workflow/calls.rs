//! The durable calls, which a workflow's code awaits. Each file holds one call: what the user calls, the command that it
//! issues, and how a replay recognises it. It must not know how commands are executed.

pub(crate) mod activity;
pub(crate) mod attribute;
pub(crate) mod branch;
pub(crate) mod carried_child;
pub(crate) mod child;
pub(crate) mod compensate;
pub(crate) mod compensation;
pub(crate) mod continue_as_new;
pub(crate) mod for_each;
pub(crate) mod future;
pub(crate) mod mutex;
pub(crate) mod publish;
pub(crate) mod record;
pub(crate) mod scope;
pub(crate) mod scoped;
pub(crate) mod select;
pub(crate) mod semaphore;
pub(crate) mod send_signal;
pub(crate) mod serve;
pub(crate) mod signal;
pub(crate) mod spawn;
pub(crate) mod started_child;
pub(crate) mod step;
#[cfg(test)]
mod tests;
pub(crate) mod timeout;
pub(crate) mod timer;
pub(crate) mod until;
pub(crate) mod update;
pub(crate) mod when_all;
