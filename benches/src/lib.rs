//! How fast it is: what the benchmarks and the load programs share. It must not know how the engine works inside;
//! it starts runs and waits for their results, as a user's program does.
//!
//! In reading order: [`arguments`] and [`options`] say what to measure, [`definitions`] and [`workload`] are what is
//! executed, [`ground`] and [`workers`] what it is executed on, [`drive`] starts the runs, [`measure`] counts what
//! they cost, [`load`] puts that together and [`report`] prints it. [`histories`] and [`appends`] are what the
//! micro-benchmarks below `benches/` work on.

pub mod appends;
pub mod arguments;
pub mod definitions;
pub mod drive;
pub mod ground;
pub mod histories;
pub mod load;
pub mod measure;
pub mod options;
pub mod report;
pub mod workers;
pub mod workload;

/// Why a measurement came to nothing, for the person who asked for it.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
