//! Workers whose store, workflows or threads misbehave: what they log, how long they retry, and how they end. Time is
//! virtual, or accelerated where the worker needs its own threads.

mod budget;
mod faults;
mod fixture;
mod limits;
mod logs;

mod fleets;
mod lines;
mod losses;
mod observed;
mod panics;
mod sessions;
mod shutdown;
mod stuck;
mod unanswered;
