//! Tools that test workflows and stores. They must not touch a real clock.
//!
//! For workflows there is [`TestEnv`]: the real engine in memory, under a clock that the test owns, with mocks of
//! activities; and [`replay`], which compares recorded histories with today's code. The guide is
//! `docs/testing-workflows.md`. For stores there is `conformance`, behind the feature of that name.

mod caught;
#[cfg(feature = "conformance")]
pub mod conformance;
mod crash;
mod env;
mod error;
mod explore;
#[cfg(feature = "__runtime")]
pub mod interceptor;
mod mock;
mod replay;
#[cfg(feature = "__runtime")]
pub mod runtime;
#[cfg(not(feature = "__runtime"))]
mod runtime;
mod world;

/// Runs the code of the guide, which tests the trial workflow of `pgworkflows_examples`.
#[cfg(doctest)]
#[doc = include_str!("../../docs/testing-workflows.md")]
mod guide {}

/// Runs the code of the guide to the language of workflows, whose examples have tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/writing-workflows.md")]
mod language_guide {}

/// Runs the code of the guide to errors.
#[cfg(doctest)]
#[doc = include_str!("../../docs/errors-and-compensation.md")]
mod errors_guide {}

/// Runs the code of the guide to workers.
#[cfg(doctest)]
#[doc = include_str!("../../docs/workers-and-scaling.md")]
mod workers_guide {}

/// Runs the code of the guide for those who come from another system.
#[cfg(doctest)]
#[doc = include_str!("../../docs/migrating.md")]
mod migration_guide {}

pub use expect_test::{Expect, ExpectFile, expect, expect_file};

pub use self::crash::{CrashEverywhere, CrashFailure, CrashMoment, CrashPoint, Crashed, crash_everywhere};
pub use self::env::{ActivityCall, Snapshot, TestEnv, TestEnvBuilder, TestRun, TestStart};
pub use self::error::Error;
pub use self::explore::{Arrival, Explore, ExploreFailure, Explored, explore};
pub use self::mock::{FailTimes, Mock};
pub use self::replay::{ReplayCheck, parse_history, read_history, replay, replay_dir, write_history};
