//! Pseudo-random numbers: the same seed gives the same numbers.

use pgworkflows_testkit::runtime::dice;

/// A stream of numbers.
#[derive(Debug)]
pub(crate) struct Dice(dice::Dice);

impl Dice {
    /// The numbers of one operation of one sequence. They do not depend on other operations.
    pub(crate) fn new(seed: u64, operation: u32) -> Self {
        Self(dice::Dice::new(dice::Dice::new(seed << 32 | u64::from(operation)).number()))
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound as u64) as usize
    }

    /// Whether an event of that probability happens.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these, unless there are none.
    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.below(from.len())].clone())
    }
}
