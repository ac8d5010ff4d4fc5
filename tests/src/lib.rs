//! What end-to-end tests need: the environment of a test (a store, a client, workers that can be stopped or killed),
//! and what it observes (effects of activities, log lines, histories). It uses the library as its users do.

mod definitions;
mod directory;
mod env;
mod logs;
pub mod noted;
mod observe;
mod outage;
pub mod weighed;
mod workers;

pub use self::definitions::ActivityFn;
pub use self::directory::Directory;
pub use self::env::{Backend, Env, check};
pub use self::logs::{Logs, logs};
pub use self::observe::{
    DEADLINE, Gate, Journal, assert_contains, count, event_text, eventually, history_text, logged, reached,
    stall_reason,
};
pub use self::outage::Outage;
pub use self::workers::{KillableWorker, RunningWorker};
pub use pgworkflows_testkit::interceptor::{Interceptor, intercept};
