//! The promises to people who test their workflows with the testkit. No test here waits on a wall clock.

#[macro_use]
mod definitions;

mod asking;
mod assertions;
mod chains;
mod children;
mod crash_everywhere;
mod explore;
mod histories;
mod methods;
mod mocks;
mod outside;
mod races;
mod sagas;
mod stuck;
mod time;
