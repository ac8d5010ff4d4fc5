//! The processor's part that finds the run which ends the processes that work on it: by its replay, its code, a step or
//! an activity. It must not know how any of these is done.
//!
//! Once a shard's owners have died often enough, a run of it is marked, durably, before it is worked on. What is marked
//! when the next owner dies was under way, so it is what that owner's successor suspects. Suspects are held back and
//! tried in halves, while everything else goes on: whoever dies of a half leaves the half as suspects, and a half that
//! was tried without a death is cleared. A run that was tried alone and died gets a strike; after some it is set aside.

use std::collections::{BTreeMap, BTreeSet};

use crate::data::id::RunId;
use crate::data::limits;
use crate::data::time::Timestamp;
use crate::processor::deaths::Deaths;
use crate::processor::group::SuspectChange;
use crate::store::lease::{ClaimedShard, Suspect, SuspectStage};

/// Who is under suspicion.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    deaths: Deaths,
    /// All suspects but those that are set aside, as the store has them or will have them.
    known: BTreeMap<RunId, Suspect>,
    /// Whether they were under way at a death. If not, they are marked for the next one.
    hunting: bool,
    trial: Option<Trial>,
    /// The run that was being tried alone when the last owner died.
    died_alone: Option<RunId>,
    /// Runs that have too many strikes: their histories are looked at without their code.
    judged: BTreeSet<RunId>,
    /// Runs that are set aside.
    aside: BTreeSet<RunId>,
}

/// A trial under way.
#[derive(Debug)]
struct Trial {
    runs: BTreeSet<RunId>,
    /// When it is over, whatever is still going on.
    until: Timestamp,
}

/// Whether a run may be worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// Once its mark is in the store.
    AfterMark(Suspect),
    /// Once its turn comes.
    Closed,
}

impl Suspects {
    /// Shards were claimed whose last owner may have died.
    pub(super) fn claimed(&mut self, fresh: &[&ClaimedShard]) {
        self.deaths.claimed(fresh.iter().map(|claimed| (claimed.shard, claimed.deaths)));
    }

    /// Pays off deaths by service: [`Deaths::pay_off`].
    pub(super) fn pay_off_deaths(&mut self, now: Timestamp, recovering: bool) -> u32 {
        self.deaths.pay_off(now, recovering)
    }

    /// Whether the run may be what its shard's owners keep dying of.
    pub(super) fn is_suspicious(&self, run: RunId) -> bool {
        self.deaths.are_suspicious(run.shard())
    }

    /// Takes in the suspects of shards that were claimed, and says which are none any more. `died` says whether the last
    /// owner did.
    pub(super) fn found(&mut self, found: Vec<Suspect>, died: bool) -> Vec<RunId> {
        let tried: Vec<RunId> = found
            .iter()
            .filter(|suspect| suspect.stage == SuspectStage::Tried && self.is_suspicious(suspect.run))
            .map(|suspect| suspect.run)
            .collect();
        let mut cleared = Vec::new();
        for mut suspect in found {
            let was_tried = std::mem::replace(&mut suspect.stage, SuspectStage::Held) == SuspectStage::Tried;
            // Who was not under way at a death is no cause of it.
            let innocent = !self.is_suspicious(suspect.run) || died && !was_tried;
            if innocent && suspect.strikes == 0 {
                cleared.push(suspect.run);
                continue;
            }
            // Of a death there is no witness.
            let strikes_max = if was_tried { limits::DEATHS_ALONE_MAX } else { limits::STRIKES_MAX };
            if suspect.strikes >= strikes_max {
                self.judged.insert(suspect.run);
            }
            self.hunting |= self.is_suspicious(suspect.run);
            self.known.insert(suspect.run, suspect);
        }
        if let ([alone], true) = (&tried[..], died) {
            self.died_alone = Some(*alone);
        }
        cleared
    }

    /// Whether a run of a suspicious shard may be worked on. One that needs a mark for that is a suspect from now on.
    pub(super) fn gate(&mut self, run: RunId) -> Gate {
        match self.known.get(&run) {
            _ if self.judged.contains(&run) => Gate::Open,
            Some(suspect) if suspect.stage == SuspectStage::Held => Gate::Closed,
            Some(_) => Gate::Open,
            None if self.hunting => Gate::Open,
            None => {
                let mark = Suspect { run, stage: SuspectStage::Tried, strikes: 0 };
                self.known.insert(run, mark);
                Gate::AfterMark(mark)
            }
        }
    }

    /// Whether a trial can begin: a suspect that is held back has something to do.
    pub(super) fn wants_trial(&self, waits: impl Fn(RunId) -> bool) -> bool {
        self.trial.is_none() && self.hunting && self.held().any(waits)
    }

    fn held(&self) -> impl Iterator<Item = RunId> {
        self.known.values().filter(|suspect| suspect.stage == SuspectStage::Held).map(|suspect| suspect.run)
    }

    /// Begins a trial of half of them, out of those that have something to do. What the store has to know first.
    pub(super) fn begin_trial(&mut self, now: Timestamp, waits: impl Fn(RunId) -> bool) -> Vec<Suspect> {
        let half = self.held().count().div_ceil(2);
        let runs: BTreeSet<RunId> = self.held().filter(|run| waits(*run)).take(half).collect();
        let alone = runs.len() == 1;
        for run in &runs {
            if let Some(suspect) = self.known.get_mut(run) {
                suspect.stage = SuspectStage::Tried;
                suspect.strikes += u32::from(alone);
            }
        }
        self.trial = Some(Trial { runs, until: now.saturating_add(limits::TRIAL_MAX) });
        // The others as well: in the store they may stand as those that the last owner died of.
        self.known.values().copied().collect()
    }

    /// The runs that are cleared because their trial is over.
    pub(super) fn end_trial(&mut self, now: Timestamp, is_done: impl Fn(RunId) -> bool) -> BTreeSet<RunId> {
        let Some(trial) = &self.trial else { return BTreeSet::new() };
        if now < trial.until && !trial.runs.iter().all(|run| is_done(*run)) {
            return BTreeSet::new();
        }
        let runs = self.trial.take().map(|trial| trial.runs).unwrap_or_default();
        runs.iter().for_each(|run| self.forget(*run));
        runs
    }

    /// A run is over, or leaves memory: then it is no suspect, unless it was under way at a death. What the store has to
    /// know of that.
    pub(super) fn clear(&mut self, run: RunId, over: bool) -> Option<SuspectChange> {
        if over && self.aside.remove(&run) {
            return Some(SuspectChange::Clear);
        }
        let suspect = self.known.get(&run)?;
        let marked_only = !self.hunting && suspect.strikes == 0;
        if !over && !marked_only {
            return None;
        }
        self.forget(run);
        Some(SuspectChange::Clear)
    }

    /// The run is no suspect any more.
    fn forget(&mut self, run: RunId) {
        self.known.remove(&run);
        self.hunting &= !self.known.is_empty();
    }

    /// Whether a trial is under way.
    pub(super) fn is_trying(&self) -> bool {
        self.trial.is_some()
    }

    /// Whether a run is being tried alone: if the process dies now, it is that run's doing.
    pub(super) fn is_tried_alone(&self, run: RunId) -> bool {
        self.trial.as_ref().is_some_and(|trial| trial.runs.len() == 1 && trial.runs.contains(&run))
    }

    /// Whether the last owner died while it tried this run alone.
    pub(super) fn died_alone(&self, run: RunId) -> bool {
        self.died_alone == Some(run)
    }

    /// Sets a run aside. What the store has to know of that.
    pub(super) fn set_aside(&mut self, run: RunId) -> Suspect {
        let strikes = self.known.get(&run).map_or(0, |suspect| suspect.strikes);
        self.judged.remove(&run);
        self.forget(run);
        self.find_aside(run);
        Suspect { run, stage: SuspectStage::SetAside, strikes }
    }

    /// A run was set aside by an owner before.
    pub(super) fn find_aside(&mut self, run: RunId) {
        self.aside.insert(run);
    }

    /// Whether a run is set aside.
    pub(super) fn is_aside(&self, run: RunId) -> bool {
        self.aside.contains(&run)
    }

    /// Whether a run has so many strikes that its code must not be asked.
    pub(super) fn is_judged(&self, run: RunId) -> bool {
        self.judged.contains(&run)
    }

    /// What the run died of alone was an attempt of an activity, which is charged for it: its code may be asked again.
    pub(super) fn acquit_code(&mut self, run: RunId) {
        self.judged.remove(&run);
        if let Some(suspect) = self.known.get_mut(&run) {
            suspect.strikes = 0;
        }
    }
}

/// Why nothing more is done for a run that is set aside.
pub(super) fn why_set_aside(strikes: u32) -> String {
    format!(
        "the run was set aside: {strikes} times its owner died, or lost its lease to a poll or replay that took too long, \
         while it worked on this run alone. Mend its code, then delete its row from the table `suspects`: the next owner \
         of its shard tries it again. It can be terminated at any time"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::id::Position;
    use crate::testing::{BORN, run_id};

    /// An owner of a shard whose owners keep dying.
    fn of_suspicious_shard() -> Suspects {
        let shard = run_id(0).shard();
        let deaths = limits::DEATHS_BEFORE_SUSPICION;
        let mut suspects = Suspects::default();
        suspects.claimed(&[&ClaimedShard { shard, next_position: Position::FIRST, deaths, former: None }]);
        suspects
    }

    /// Owners of one suspicious shard who die whenever they work on the culprit.
    fn deaths_until_found(count: u64, culprit: u64) -> u32 {
        let culprit = run_id(culprit);
        let mut store: BTreeMap<RunId, Suspect> = BTreeMap::new();
        for deaths in 1..100 {
            let mut suspects = of_suspicious_shard();
            for run in suspects.found(store.values().copied().collect(), true) {
                store.remove(&run);
            }
            if suspects.is_judged(culprit) {
                assert_eq!(suspects.judged.len(), 1, "nobody else was tried alone so often");
                return deaths;
            }
            // All runs have something to do. Those that need no mark are worked on at once.
            let mut died = false;
            for run in (0..count).map(run_id) {
                if let Gate::AfterMark(mark) = suspects.gate(run) {
                    store.insert(run, mark);
                    died |= run == culprit;
                }
            }
            while !died && suspects.wants_trial(|_| true) {
                store.extend(suspects.begin_trial(BORN, |_| true).into_iter().map(|mark| (mark.run, mark)));
                died = store.get(&culprit).is_some_and(|mark| mark.stage == SuspectStage::Tried);
                if !died {
                    for run in suspects.end_trial(BORN, |_| true) {
                        store.remove(&run);
                    }
                }
            }
            assert!(died, "the culprit is tried, held or marked, and never let go");
        }
        panic!("never found");
    }

    #[test]
    fn culprit_is_found_by_halves_whoever_it_is() {
        for culprit in [0, 1, 17, 63] {
            let deaths = deaths_until_found(64, culprit);
            assert!(
                deaths <= 1 + 6 + limits::DEATHS_ALONE_MAX + 1,
                "{deaths} deaths for run {culprit} of 64"
            );
        }
        assert_eq!(deaths_until_found(1, 0), 1 + limits::DEATHS_ALONE_MAX + 1, "the last one is its judge");
    }

    #[test]
    fn release_is_no_death_and_keeps_the_suspects() {
        let held = |number| Suspect { run: run_id(number), stage: SuspectStage::Held, strikes: 0 };
        let mut suspects = of_suspicious_shard();
        assert_eq!(suspects.found(vec![held(1), held(2)], false), []);
        assert_eq!(suspects.gate(run_id(1)), Gate::Closed);
        assert_eq!(suspects.gate(run_id(3)), Gate::Open, "the others go on");
    }

    #[test]
    fn trial_that_never_ends_is_over_in_the_end() {
        let tried = Suspect { run: run_id(1), stage: SuspectStage::Tried, strikes: 0 };
        let mut suspects = of_suspicious_shard();
        suspects.found(vec![tried], true);
        suspects.begin_trial(BORN, |_| true);
        assert!(suspects.end_trial(BORN, |_| false).is_empty());
        let later = BORN.saturating_add(limits::TRIAL_MAX);
        assert_eq!(suspects.end_trial(later, |_| false).len(), 1);
        assert!(!suspects.hunting);
    }

    #[test]
    fn strikes_of_a_slow_run_judge_it_in_a_shard_that_nobody_died_of() {
        let struck = |strikes| Suspect { run: run_id(1), stage: SuspectStage::Held, strikes };
        let mut suspects = Suspects::default();
        assert_eq!(suspects.found(vec![struck(limits::STRIKES_MAX - 1)], false), []);
        assert!(!suspects.is_judged(run_id(1)) && !suspects.hunting);
        let mut suspects = Suspects::default();
        assert_eq!(suspects.found(vec![struck(limits::STRIKES_MAX)], false), []);
        assert!(suspects.is_judged(run_id(1)));
    }
}
