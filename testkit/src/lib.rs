//! Tools that test workflows and stores. They must not touch a real clock.

mod caught;
pub mod conformance;
mod crash;
mod env;
mod error;
mod explore;
mod mock;
mod runtime;
pub mod sim;
mod timeline;
mod world;

pub use self::crash::{CrashEverywhere, CrashFailure, CrashMoment, CrashPoint, Crashed, crash_everywhere};
pub use self::env::{ActivityCall, TestEnv, TestEnvBuilder, TestRun, TestStart};
pub use self::error::Error;
pub use self::explore::{Arrival, Explore, ExploreFailure, Explored, explore};
pub use self::mock::{FailTimes, Mock};
