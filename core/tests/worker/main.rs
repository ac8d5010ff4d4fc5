//! A worker whose store, workflows or threads misbehave: what it says, how long it tries, and how it ends. Time is
//! virtual, or many times as fast where threads of their own are needed.

mod faults;
mod fixture;
mod limits;
mod logs;

mod lines;
mod losses;
mod panics;
mod sessions;
mod shutdown;
mod stuck;
mod unanswered;
