//! Numbers that look random and are the same for the same seed.

use pgworkflows_testkit::runtime::dice;

/// A stream of numbers.
#[derive(Debug)]
pub(crate) struct Dice(dice::Dice);

impl Dice {
    /// The stream of one operation of one sequence: leaving another out changes nothing in it.
    pub(crate) fn new(seed: u64, operation: u32) -> Self {
        Self(dice::Dice::new(dice::Dice::new(seed << 32 | u64::from(operation)).number()))
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound as u64) as usize
    }

    /// Whether something happens that happens so often in a hundred times.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of several.
    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.below(from.len())].clone())
    }
}
