//! Hostile input for everything that reads from outside. Each module has one reader, which is a function of bytes: `fuzz/` gives it
//! the bytes of a fuzzer, and the tests here a few thousand from a seed. It must not know who makes the bytes.
//!
//! A reader fails by a panic. What it refuses is no failure, if the refusal is one that the documentation lists.

pub mod command_line;
mod history;
mod lines;
pub mod log;
pub mod runs;
mod seeded;
pub mod sql;
pub mod texts;
mod words;

pub use self::seeded::seeded;

/// What stands where an address has a password. It must be in no output.
pub const SECRET: &str = "hunter2";
