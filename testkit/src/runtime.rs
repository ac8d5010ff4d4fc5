//! One thread of virtual time: tasks, timers and seeded numbers. Everything that this crate and the project's simulator
//! execute is executed here. It must not know what a task does, nor any clock but its own.
#![cfg_attr(
    not(feature = "__runtime"),
    expect(unreachable_pub, dead_code, reason = "only the simulator uses all of it")
)]

pub mod clock;
pub mod dice;
pub mod scheduler;
pub mod time;
pub mod trace;
