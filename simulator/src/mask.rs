//! The parts of a world that can be left out: disturbances, clients' scripts and injected faults, numbered in the order
//! in which the world meets them. The other parts are a smaller world of the same seed, the same one every time. It
//! must not know what a part does.

use std::collections::BTreeSet;

/// Which parts a world keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mask(Option<BTreeSet<u32>>);

impl Mask {
    /// A world with only these parts.
    pub(crate) fn only(parts: BTreeSet<u32>) -> Self {
        Self(Some(parts))
    }

    pub(crate) fn keeps(&self, part: u32) -> bool {
        self.0.as_ref().is_none_or(|parts| parts.contains(&part))
    }

    /// The parts, if some are left out.
    pub(crate) fn parts(&self) -> Option<&BTreeSet<u32>> {
        self.0.as_ref()
    }
}

/// How often a smaller set may be tried.
const TRIES_MAX: u32 = 600;

/// Shrinks the set of the numbers below `count` by leaving out smaller and smaller pieces of it, as long as `is_enough`
/// accepts the rest: delta debugging (Zeller, Hildebrandt 2002). The whole set has to be enough.
pub fn minimal_parts(count: u32, mut is_enough: impl FnMut(&BTreeSet<u32>) -> bool) -> BTreeSet<u32> {
    let mut parts: Vec<u32> = (0..count).collect();
    let mut tries = 0;
    let mut size = parts.len().div_ceil(2);
    while size > 0 && tries < TRIES_MAX {
        let mut at = 0;
        let mut smaller = false;
        while at < parts.len() && tries < TRIES_MAX {
            let end = (at + size).min(parts.len());
            let rest: BTreeSet<u32> = parts[..at].iter().chain(&parts[end..]).copied().collect();
            tries += 1;
            if is_enough(&rest) {
                parts = rest.into_iter().collect();
                smaller = true;
            } else {
                at = end;
            }
        }
        // One by one, until nothing more can be left out.
        size = if size == 1 && smaller { 1 } else { size / 2 };
    }
    parts.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needless_parts_are_left_out() {
        let needed = BTreeSet::from([3, 17, 18, 99]);
        let minimal = minimal_parts(200, |parts| parts.is_superset(&needed));
        assert_eq!(minimal, needed);
    }

    #[test]
    fn nothing_is_left_if_nothing_is_needed() {
        assert_eq!(minimal_parts(50, |_| true), BTreeSet::new());
    }

    #[test]
    fn set_that_is_needed_as_a_whole_stays_whole() {
        assert_eq!(minimal_parts(5, |parts| parts.len() == 5).len(), 5);
    }
}
