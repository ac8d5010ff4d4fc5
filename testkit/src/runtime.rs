//! One thread of virtual time: tasks, timers and numbers from a seed. Everything in this crate that executes
//! something executes it here. It must not know what a task does, and no clock but its own.

pub(crate) mod dice;
pub(crate) mod scheduler;
pub(crate) mod thread;
pub(crate) mod time;
mod trace;
