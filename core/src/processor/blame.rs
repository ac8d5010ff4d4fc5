//! The processor's part that finds whose fault it is that the store refuses an append. A run is blamed only by contrast:
//! its group fails again and again, and appends without it, by turns with it, succeed. Where those fail as well, the
//! store is at fault, and no run. It must not know what is written.

use std::collections::BTreeMap;

use crate::data::id::RunId;
use crate::processor::group::Group;

/// How often a group must fail alone before its run is blamed.
const FAILURES: u32 = 3;

/// How often appends without it must succeed in between.
const CONTRASTS: u32 = 2;

/// From how many bytes on it tells something that an empty append succeeds: a small one fails for no reason of its own.
const LARGE: usize = 1 << 20;

/// The case against some runs.
#[derive(Debug)]
pub(super) struct Blame {
    /// How many groups the next append may hold: fewer after one was refused.
    groups_max: usize,
    /// Runs whose group failed alone.
    accused: BTreeMap<RunId, Case>,
    /// Whether the next append is to leave them out.
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

/// What the next append is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// So many groups, whosever they are.
    Any(usize),
    /// So many groups of runs that are not accused; if there are none, nothing at all.
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
    /// What the next append is to hold.
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
    pub(super) fn succeeded(&mut self, groups: &[Group]) {
        self.groups_max = usize::MAX;
        if self.accused.is_empty() {
            return;
        }
        groups.iter().for_each(|group| _ = self.accused.remove(&group.run));
        for case in self.accused.values_mut() {
            let tells = !groups.is_empty() || case.bytes >= LARGE;
            if self.contrast && tells && case.contrasts < case.failures {
                case.contrasts += 1;
            }
        }
        self.contrast = false;
    }

    /// An append of these groups failed. The run that is to blame for it, if there is one.
    pub(super) fn failed(&mut self, groups: &[Group]) -> Option<RunId> {
        match groups {
            // Nothing succeeds: there is no case against anybody.
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

    /// The store will not take the content of these groups, now or later. The run that is to blame, once it is alone.
    pub(super) fn refused(&mut self, groups: &[Group]) -> Option<RunId> {
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
    use crate::testing::run_id;

    fn group(number: u64) -> Group {
        Group::new(run_id(number))
    }

    #[test]
    fn run_is_blamed_once_it_failed_three_times_and_others_succeeded_in_between() {
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
    fn nobody_is_blamed_while_nothing_succeeds() {
        let mut blame = Blame::default();
        for _ in 0..20 {
            for number in 1..=3 {
                assert_eq!(blame.failed(&[group(number)]), None);
            }
            // All are accused, so nothing at all is tried, and fails as well.
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
    fn run_whose_group_succeeds_is_accused_no_more() {
        let mut blame = Blame::default();
        assert_eq!(blame.failed(&[group(1)]), None);
        blame.succeeded(&[group(2)]);
        blame.succeeded(&[group(1)]);
        assert!(!blame.is_accused(run_id(1)));
        assert_eq!(blame.next(), Cut::Any(usize::MAX));
    }
}
