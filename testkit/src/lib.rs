//! Tools that test workflows and stores. They must not touch a real clock.

pub mod conformance;
mod explore;
pub mod sim;

pub use self::explore::Arrival;
