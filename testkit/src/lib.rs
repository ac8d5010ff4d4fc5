//! Tools that test workflows and stores. They must not touch a real clock.

pub mod conformance;
mod env;
mod error;
mod mock;
mod runtime;
pub mod sim;
mod world;

pub use self::env::{ActivityCall, TestEnv, TestEnvBuilder, TestRun, TestStart};
pub use self::error::Error;
pub use self::mock::{FailTimes, Mock};
