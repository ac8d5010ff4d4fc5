//! Tools that test workflows and stores. They must not touch a real clock.

pub mod conformance;
pub mod sim;
