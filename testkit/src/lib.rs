//! Tools that test workflows and stores. They must not touch a real clock.

pub mod conformance;
mod env;
mod error;
mod mock;
mod replay;
mod runtime;
pub mod sim;
mod world;

pub use expect_test::{Expect, ExpectFile, expect, expect_file};

pub use self::env::{ActivityCall, Snapshot, TestEnv, TestEnvBuilder, TestRun, TestStart};
pub use self::error::Error;
pub use self::mock::{FailTimes, Mock};
pub use self::replay::{ReplayCheck, parse_history, read_history, replay, replay_dir, write_history};
