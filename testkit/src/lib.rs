//! Tools that test workflows and stores. They must not touch a real clock.

mod caught;
pub mod conformance;
mod crash;
mod env;
mod error;
mod explore;
mod mock;
mod replay;
mod runtime;
pub mod sim;
mod world;

pub use expect_test::{Expect, ExpectFile, expect, expect_file};

pub use self::crash::{CrashEverywhere, CrashFailure, CrashMoment, CrashPoint, Crashed, crash_everywhere};
pub use self::env::{ActivityCall, Snapshot, TestEnv, TestEnvBuilder, TestRun, TestStart};
pub use self::error::Error;
pub use self::explore::{Arrival, Explore, ExploreFailure, Explored, explore};
pub use self::mock::{FailTimes, Mock};
pub use self::replay::{ReplayCheck, parse_history, read_history, replay, replay_dir, write_history};
