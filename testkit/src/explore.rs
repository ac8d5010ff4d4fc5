//! Every order in which things can reach a run, tried one after the other. It must not know what the workflow does.

mod arrival;
mod orders;

pub use self::arrival::Arrival;
