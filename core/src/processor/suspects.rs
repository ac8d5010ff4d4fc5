//! The processor's part that finds a run which kills the processes that work on it: by its replay, its code, a step or an
//! activity. It must not know how any of these is executed.
//!
//! Once a shard's owners have died often enough, each run of the shard is durably marked before it is worked on. The runs
//! that are marked when the next owner dies were in progress, so the new owner suspects them. It holds suspects back and
//! tries them in halves, while all other runs continue. If an owner dies during a trial, that half stays suspect; if it
//! survives, the half is cleared. A run that was tried alone when its owner died gets a strike; after a few it is set aside.

use std::collections::{BTreeMap, BTreeSet};

use crate::data::id::RunId;
use crate::data::limits;
use crate::data::time::Timestamp;
use crate::processor::deaths::Deaths;
use crate::processor::group::SuspectChange;
use crate::store::lease::{ClaimedShard, Suspect, SuspectStage};

/// The suspects of a processor.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    deaths: Deaths,
    /// All suspects except those set aside, as the store has them or will have them.
    known: BTreeMap<RunId, Suspect>,
    /// Whether they were in progress at a death. If not, they are only marked in case of the next one.
    searching: bool,
    trial: Option<Trial>,
    /// The run that was being tried alone when the last owner died.
    died_alone: Option<RunId>,
    /// Runs with too many strikes: their histories are read without running their code.
    judged: BTreeSet<RunId>,
    /// Runs that are set aside.
    aside: BTreeSet<RunId>,
}

/// A trial in progress.
#[derive(Debug)]
struct Trial {
    runs: BTreeSet<RunId>,
    /// When it ends, even if its runs still have work to do.
    until: Timestamp,
}

/// Whether a run may be worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// After its mark is in the store.
    AfterMark(Suspect),
    /// Only in its trial.
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

    /// Whether the run may be the reason why its shard's owners keep dying.
    pub(super) fn is_suspicious(&self, run: RunId) -> bool {
        self.deaths.are_suspicious(run.shard())
    }

    /// Takes the suspects of claimed shards, and returns those that are cleared. `died` says whether the last owner died.
    pub(super) fn found(&mut self, found: Vec<Suspect>, died: bool) -> Vec<RunId> {
        let tried: Vec<RunId> = found
            .iter()
            .filter(|suspect| suspect.stage == SuspectStage::Tried && self.is_suspicious(suspect.run))
            .map(|suspect| suspect.run)
            .collect();
        let mut cleared = Vec::new();
        for mut suspect in found {
            let was_tried = std::mem::replace(&mut suspect.stage, SuspectStage::Held) == SuspectStage::Tried;
            // A run that was not in progress at a death cannot be its cause.
            let innocent = !self.is_suspicious(suspect.run) || died && !was_tried;
            if innocent && suspect.strikes == 0 {
                cleared.push(suspect.run);
                continue;
            }
            // A death leaves no evidence of its cause, so its limit is another than that of slowness.
            let strikes_max = if was_tried { limits::DEATHS_ALONE_MAX } else { limits::STRIKES_MAX };
            if suspect.strikes >= strikes_max {
                self.judged.insert(suspect.run);
            }
            self.searching |= self.is_suspicious(suspect.run);
            self.known.insert(suspect.run, suspect);
        }
        if let ([alone], true) = (&tried[..], died) {
            self.died_alone = Some(*alone);
        }
        cleared
    }

    /// Whether a run of a suspicious shard may be worked on. If it needs a mark first, it is a suspect from now on.
    pub(super) fn gate(&mut self, run: RunId) -> Gate {
        match self.known.get(&run) {
            _ if self.judged.contains(&run) => Gate::Open,
            Some(suspect) if suspect.stage == SuspectStage::Held => Gate::Closed,
            Some(_) => Gate::Open,
            None if self.searching => Gate::Open,
            None => {
                let mark = Suspect { run, stage: SuspectStage::Tried, strikes: 0 };
                self.known.insert(run, mark);
                Gate::AfterMark(mark)
            }
        }
    }

    /// Whether a trial can begin: some suspect that is held back has work to do.
    pub(super) fn wants_trial(&self, waits: impl Fn(RunId) -> bool) -> bool {
        self.trial.is_none() && self.searching && self.held().any(waits)
    }

    fn held(&self) -> impl Iterator<Item = RunId> {
        self.known.values().filter(|suspect| suspect.stage == SuspectStage::Held).map(|suspect| suspect.run)
    }

    /// Begins a trial of half of the suspects, chosen from those with work to do. Returns the marks to write first.
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
        // All suspects are written: in the store, others may still be marked as tried by the last owner.
        self.known.values().copied().collect()
    }

    /// Ends the trial if it is over. Returns the runs that are cleared.
    pub(super) fn end_trial(&mut self, now: Timestamp, is_done: impl Fn(RunId) -> bool) -> BTreeSet<RunId> {
        let Some(trial) = &self.trial else { return BTreeSet::new() };
        if now < trial.until && !trial.runs.iter().all(|run| is_done(*run)) {
            return BTreeSet::new();
        }
        let runs = self.trial.take().map(|trial| trial.runs).unwrap_or_default();
        runs.iter().for_each(|run| self.forget(*run));
        runs
    }

    /// A run is over or leaves memory: it is no longer a suspect, unless it was in progress at a death. Returns the change to
    /// write, if any.
    pub(super) fn clear(&mut self, run: RunId, over: bool) -> Option<SuspectChange> {
        if over && self.aside.remove(&run) {
            return Some(SuspectChange::Clear);
        }
        let suspect = self.known.get(&run)?;
        let marked_only = !self.searching && suspect.strikes == 0;
        if !over && !marked_only {
            return None;
        }
        self.forget(run);
        Some(SuspectChange::Clear)
    }

    /// The run is no longer a suspect.
    fn forget(&mut self, run: RunId) {
        self.known.remove(&run);
        self.searching &= !self.known.is_empty();
    }

    /// Whether a trial is in progress.
    pub(super) fn is_trying(&self) -> bool {
        self.trial.is_some()
    }

    /// Whether a run is being tried alone: if the process dies now, that run is the cause.
    pub(super) fn is_tried_alone(&self, run: RunId) -> bool {
        self.trial.as_ref().is_some_and(|trial| trial.runs.len() == 1 && trial.runs.contains(&run))
    }

    /// Whether the last owner died while it tried this run alone.
    pub(super) fn died_alone(&self, run: RunId) -> bool {
        self.died_alone == Some(run)
    }

    /// Sets a run aside. Returns the mark to write.
    pub(super) fn set_aside(&mut self, run: RunId) -> Suspect {
        let strikes = self.known.get(&run).map_or(0, |suspect| suspect.strikes);
        self.judged.remove(&run);
        self.forget(run);
        self.find_aside(run);
        Suspect { run, stage: SuspectStage::SetAside, strikes }
    }

    /// An earlier owner set this run aside.
    pub(super) fn find_aside(&mut self, run: RunId) {
        self.aside.insert(run);
    }

    /// Whether a run is set aside.
    pub(super) fn is_aside(&self, run: RunId) -> bool {
        self.aside.contains(&run)
    }

    /// Whether a run has so many strikes that its code must not run.
    pub(super) fn is_judged(&self, run: RunId) -> bool {
        self.judged.contains(&run)
    }

    /// The deaths were caused by an attempt of an activity, which is charged for them: the run's code may run again.
    pub(super) fn acquit_code(&mut self, run: RunId) {
        self.judged.remove(&run);
        if let Some(suspect) = self.known.get_mut(&run) {
            suspect.strikes = 0;
        }
    }
}

/// Why a run is set aside, and what to do about it.
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

    /// The suspects of a shard whose owners keep dying.
    fn of_suspicious_shard() -> Suspects {
        let shard = run_id(0).shard();
        let deaths = limits::DEATHS_BEFORE_SUSPICION;
        let mut suspects = Suspects::default();
        suspects.claimed(&[&ClaimedShard { shard, next_position: Position::FIRST, deaths, former: None }]);
        suspects
    }

    /// Counts the deaths until owners of a suspicious shard, which die whenever they work on the culprit, find it.
    fn deaths_until_found(count: u64, culprit: u64) -> u32 {
        let culprit = run_id(culprit);
        let mut store: BTreeMap<RunId, Suspect> = BTreeMap::new();
        for deaths in 1..100 {
            let mut suspects = of_suspicious_shard();
            for run in suspects.found(store.values().copied().collect(), true) {
                store.remove(&run);
            }
            if suspects.is_judged(culprit) {
                assert_eq!(suspects.judged.len(), 1, "no other run was tried alone that often");
                return deaths;
            }
            // All runs have work to do.
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
            assert!(died, "the culprit is tried, held or marked, and never cleared");
        }
        panic!("never found");
    }

    #[test]
    fn culprit_is_found_by_halves_whichever_run_it_is() {
        for culprit in [0, 1, 17, 63] {
            let deaths = deaths_until_found(64, culprit);
            assert!(
                deaths <= 1 + 6 + limits::DEATHS_ALONE_MAX + 1,
                "{deaths} deaths for run {culprit} of 64"
            );
        }
        assert_eq!(deaths_until_found(1, 0), 1 + limits::DEATHS_ALONE_MAX + 1, "the last owner judges it");
    }

    #[test]
    fn release_is_no_death_and_keeps_the_suspects() {
        let held = |number| Suspect { run: run_id(number), stage: SuspectStage::Held, strikes: 0 };
        let mut suspects = of_suspicious_shard();
        assert_eq!(suspects.found(vec![held(1), held(2)], false), []);
        assert_eq!(suspects.gate(run_id(1)), Gate::Closed);
        assert_eq!(suspects.gate(run_id(3)), Gate::Open, "other runs continue");
    }

    #[test]
    fn trial_whose_runs_never_end_is_ended_by_its_deadline() {
        let tried = Suspect { run: run_id(1), stage: SuspectStage::Tried, strikes: 0 };
        let mut suspects = of_suspicious_shard();
        suspects.found(vec![tried], true);
        suspects.begin_trial(BORN, |_| true);
        assert!(suspects.end_trial(BORN, |_| false).is_empty());
        let later = BORN.saturating_add(limits::TRIAL_MAX);
        assert_eq!(suspects.end_trial(later, |_| false).len(), 1);
        assert!(!suspects.searching);
    }

    #[test]
    fn slow_run_is_judged_by_its_strikes_even_if_no_owner_died() {
        let struck = |strikes| Suspect { run: run_id(1), stage: SuspectStage::Held, strikes };
        let mut suspects = Suspects::default();
        assert_eq!(suspects.found(vec![struck(limits::STRIKES_MAX - 1)], false), []);
        assert!(!suspects.is_judged(run_id(1)) && !suspects.searching);
        let mut suspects = Suspects::default();
        assert_eq!(suspects.found(vec![struck(limits::STRIKES_MAX)], false), []);
        assert!(suspects.is_judged(run_id(1)));
    }
}
