//! What `TestEnv` promises to those who test their workflows with it. No test here waits on a wall clock.

mod assertions;
mod crash_everywhere;
mod definitions;
mod explore;
mod histories;
mod mocks;
mod outside;
mod stuck;
mod time;
