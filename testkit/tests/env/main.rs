//! What `TestEnv` promises to those who test their workflows with it. No test here waits on a wall clock.

mod assertions;
mod definitions;
mod histories;
mod mocks;
mod outside;
mod stuck;
mod time;
