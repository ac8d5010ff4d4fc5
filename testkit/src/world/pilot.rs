//! Who leads a world where it does not go by itself. It must not know what a world is made of.

use std::fmt;

use super::World;

/// Leads a world: is told of every poll, and asked whenever no task is woken.
pub(crate) trait Pilot: fmt::Debug {
    /// A task was polled.
    fn polled(&self, _world: &World) {}

    /// No task is woken.
    fn rested(&self, _world: &World) -> Turn {
        Turn::TimePasses
    }
}

/// What comes next in a world in which no task is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Time passes if that brings anything, as it does without a pilot.
    TimePasses,
    /// The pilot woke a task.
    GoesOn,
    /// Nothing, even if time could bring something.
    Ends,
}
