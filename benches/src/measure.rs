//! What is counted while a load goes on, and the figures that are made of it. It must not know the load.

mod distribution;
mod process;
mod server;

use std::time::Duration;

pub use self::distribution::Distribution;
pub use self::process::{cpu, peak_memory};
pub use self::server::{Rows, Server, ServerReading};

/// A number with its name and unit.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What it tells, with its unit where that is not a plain count.
    pub name: String,
    /// The number.
    pub value: f64,
}

impl Figure {
    /// A figure.
    pub fn new(name: impl Into<String>, value: f64) -> Self {
        Self { name: name.into(), value }
    }
}

/// Milliseconds.
pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
