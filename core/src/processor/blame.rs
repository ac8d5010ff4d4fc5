//! The processor's part that finds the run for which the store refuses an append. A run is blamed only by contrast: its
//! group fails repeatedly, while alternating appends without it succeed. If those fail too, the store is at fault, and no
//! run. It must not know what is written.

use std::collections::BTreeMap;

use crate::data::id::RunId;
use crate::processor::group::QueuedGroup;

/// How often a group must fail alone before its run is blamed.
const FAILURES: u32 = 3;

/// How often appends without it must succeed meanwhile.
const CONTRASTS: u32 = 2;

/// How many bytes a group must have for an empty append to count as a contrast: the size of a small group is no reason
/// to fail.
const LARGE: usize = 1 << 20;

/// The cases against runs whose groups fail.
#[derive(Debug)]
pub(super) struct Blame {
    /// How many groups the next append may hold: fewer after one was refused.
    groups_max: usize,
    /// Runs whose group failed alone.
    accused: BTreeMap<RunId, Case>,
    /// Whether the next append leaves them out.
    contrast: bool,
}

/// The case against one run.
#[derive(Clone, Copy, Debug, Default)]
struct Case {
    failures: u32,
    contrasts: u32,
    /// How many bytes its group has.
    bytes: usize,
}

/// The groups that the next append takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// At most that many groups of any runs.
    Any(usize),
    /// At most that many groups of runs that are not accused; possibly none.
    Without(usize),
    /// The first group of this run.
    Alone(RunId),
}

impl Default for Blame {
    fn default() -> Self {
        Self { groups_max: usize::MAX, accused: BTreeMap::new(), contrast: false }
    }
}

impl Blame {
    /// The groups that the next append takes.
    pub(super) fn next(&self) -> Cut {
        let least = self.accused.iter().min_by_key(|(_, case)| case.failures);
        match least {
            Some((run, _)) if !self.contrast => Cut::Alone(*run),
            Some(_) => Cut::Without(self.groups_max),
            None => Cut::Any(self.groups_max),
        }
    }

    pub(super) fn is_accused(&self, run: RunId) -> bool {
        self.accused.contains_key(&run)
    }

    /// An append of these groups succeeded.
    pub(super) fn succeeded(&mut self, groups: &[QueuedGroup]) {
        self.groups_max = usize::MAX;
        if self.accused.is_empty() {
            return;
        }
        groups.iter().for_each(|group| _ = self.accused.remove(&group.run));
        for case in self.accused.values_mut() {
            let is_evidence = !groups.is_empty() || case.bytes >= LARGE;
            if self.contrast && is_evidence && case.contrasts < case.failures {
                case.contrasts += 1;
            }
        }
        self.contrast = false;
    }

    /// An append of these groups failed. Returns the run that is to blame, if any.
    pub(super) fn failed(&mut self, groups: &[QueuedGroup]) -> Option<RunId> {
        match groups {
            // Not even an empty append succeeds: no run is at fault.
            [] => {
                *self = Self::default();
                None
            }
            [group] => {
                let case = self.accused.entry(group.run).or_default();
                case.failures += 1;
                case.bytes = group.bytes();
                self.contrast = true;
                let blamed = case.failures >= FAILURES && case.contrasts >= CONTRASTS;
                blamed.then(|| self.dismiss(group.run))
            }
            groups => {
                self.groups_max = groups.len() / 2;
                None
            }
        }
    }

    /// The store will never take the content of these groups. Returns the run that is to blame, once it is alone.
    pub(super) fn refused(&mut self, groups: &[QueuedGroup]) -> Option<RunId> {
        match groups {
            [] => None,
            [group] => Some(self.dismiss(group.run)),
            groups => {
                self.groups_max = groups.len() / 2;
                None
            }
        }
    }

    fn dismiss(&mut self, run: RunId) -> RunId {
        self.accused.remove(&run);
        run
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processor::group::Group;
    use crate::testing::run_id;

    fn group(number: u64) -> QueuedGroup {
        Group::new(run_id(number))
    }

    #[test]
    fn run_is_blamed_after_three_failures_with_successes_of_others_in_between() {
        let mut blame = Blame::default();
        let (bad, good) = (group(1), group(2));
        assert_eq!(blame.failed(&[group(1), group(2), group(3)]), None);
        assert_eq!(blame.next(), Cut::Any(1), "halves");
        for _ in 0..2 {
            assert_eq!(blame.failed(std::slice::from_ref(&bad)), None);
            assert_eq!(blame.next(), Cut::Without(blame.groups_max));
            blame.succeeded(std::slice::from_ref(&good));
            assert_eq!(blame.next(), Cut::Alone(run_id(1)));
        }
        assert_eq!(blame.failed(&[bad]), Some(run_id(1)));
        assert_eq!(blame.next(), Cut::Any(usize::MAX));
    }

    #[test]
    fn no_run_is_blamed_while_nothing_succeeds() {
        let mut blame = Blame::default();
        for _ in 0..20 {
            for number in 1..=3 {
                assert_eq!(blame.failed(&[group(number)]), None);
            }
            // All runs are accused, so an empty append is tried, and fails too.
            assert_eq!(blame.failed(&[]), None);
            assert_eq!(blame.next(), Cut::Any(usize::MAX));
        }
    }

    #[test]
    fn small_groups_are_not_blamed_because_an_empty_append_succeeds() {
        let mut blame = Blame::default();
        for _ in 0..20 {
            assert_eq!(blame.failed(&[group(1)]), None);
            blame.succeeded(&[]);
            assert_eq!(blame.next(), Cut::Alone(run_id(1)));
        }
    }

    #[test]
    fn run_whose_group_succeeds_is_no_longer_accused() {
        let mut blame = Blame::default();
        assert_eq!(blame.failed(&[group(1)]), None);
        blame.succeeded(&[group(2)]);
        blame.succeeded(&[group(1)]);
        assert!(!blame.is_accused(run_id(1)));
        assert_eq!(blame.next(), Cut::Any(usize::MAX));
    }
}
