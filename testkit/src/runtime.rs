//! One thread of virtual time: tasks, timers and numbers from a seed. Everything in this crate that executes
//! something executes it here, and so does the project's simulator. It must not know what a task does, and no clock but
//! its own.
#![cfg_attr(
    not(feature = "__runtime"),
    expect(unreachable_pub, dead_code, reason = "only the simulator sees it, and uses all of it")
)]

pub mod clock;
pub mod dice;
pub mod scheduler;
pub mod time;
pub mod trace;
