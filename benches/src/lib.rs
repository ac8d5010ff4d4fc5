//! What the micro-benchmarks and the program `measure` share. It must not know how the engine works inside: it starts
//! runs and waits for their results, as a user's program does.
//!
//! In reading order: [`definitions`] are the workflows that are executed, [`store`] and [`workers`] what they are
//! executed on, with appends that are [`timed`] and maybe [`telemetry`]; [`histories`] are what the micro-benchmarks in `benches/` replay. The program (`src/bin/measure/`) puts
//! whole systems under load and writes `docs/performance.md`.

pub mod definitions;
pub mod histories;
pub mod store;
pub mod telemetry;
pub mod timed;
pub mod workers;

/// Why a measurement failed, for the person who asked for it.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
