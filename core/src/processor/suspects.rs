//! The processor's part that finds a run which kills the processes that work on it: by its replay, its code, a step or an
//! activity. It must not know how any of these is executed.
//!
//! Once a shard's owners have died often enough, each run of the shard is durably marked before it is worked on, so one of
//! the runs that are marked when an owner dies is the cause. The next owner suspects them all: it holds them back, and
//! tries half of them at a time, while other runs continue under marks. If an owner dies during a trial, the next one
//! tries that half first; if it survives, the half is cleared. A run that was tried alone when its owner died gets a
//! strike; after a few it is set aside.
//!
//! Several runs may kill. The hunt ends anyway, because a suspect is only ever worked on in its trial, whichever deaths
//! occur meanwhile. Let `k` runs of the shard kill whenever they are worked on, within [`limits::TRIAL_MAX`] of the claim or
//! of the beginning of their trial, and let at most `n` runs be suspects at a time. Each death is of one of these kinds:
//!
//! 1. It was caused by a run that was no suspect, which stays one from now on: at most `k` deaths. Such a death may give a
//!    wrong strike to a run that was being tried alone.
//! 2. It was caused by a run that was tried alone, which gets a strike: at most `DEATHS_ALONE_MAX` for each killer.
//! 3. It was caused by a run that was tried with others. The next trial has at most half as many runs, and so on until a
//!    run is tried alone. This begins anew only after a death of kind 1 or after a killer was set aside.
//!
//! So once the shard is suspicious, all killers are set aside after at most `k × (2 × ⌈log₂ n⌉ + DEATHS_ALONE_MAX + 1)`
//! deaths, unless an owner hands over, which takes back the strikes of its trial. If there are more deaths than a fast
//! killer explains, trials become longer, up to [`limits::DEATH_PAID_OFF`], so slower killers are found as well.

use std::collections::{BTreeMap, BTreeSet};

use crate::data::id::{RunId, ShardId};
use crate::data::limits;
use crate::data::time::Timestamp;
use crate::processor::deaths::Deaths;
use crate::processor::group::SuspectChange;
use crate::store::lease::{ClaimedShard, Suspect, SuspectStage};

/// The suspects of a processor.
#[derive(Debug)]
pub(super) struct Suspects {
    deaths: Deaths,
    /// All marked runs and suspects except those set aside, as the store has them or will have them.
    known: BTreeMap<RunId, Suspect>,
    /// The suspects that were being tried when the last owner died. They are tried before all others.
    prime: BTreeSet<RunId>,
    /// Until when prime suspects without work are expected to have some.
    prime_until: Timestamp,
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
    /// Nobody is suspected. A shard's runs will be, once its owners have died that often.
    pub(super) fn new(deaths: u32) -> Self {
        Self {
            deaths: Deaths::new(deaths),
            known: BTreeMap::new(),
            prime: BTreeSet::new(),
            prime_until: Timestamp::default(),
            trial: None,
            died_alone: None,
            judged: BTreeSet::new(),
            aside: BTreeSet::new(),
        }
    }

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

    /// Takes the suspects of claimed shards, and returns those that are cleared. `died` says whether the last owner of a run's
    /// shard died. In the store, the others keep their marks until a trial begins. If this owner dies before that, the next
    /// one finds them as they are, and the run that killed it besides.
    pub(super) fn found(
        &mut self,
        found: Vec<Suspect>,
        died: impl Fn(RunId) -> bool,
        now: Timestamp,
    ) -> Vec<RunId> {
        let (mut tried, mut cleared) = (Vec::new(), Vec::new());
        for suspect in found {
            let Suspect { run, stage, strikes } = suspect;
            let suspicious = self.is_suspicious(run);
            // After a release, runs that are not suspects may still be marked.
            let innocent = !suspicious || stage == SuspectStage::Marked && !died(run);
            if innocent && strikes == 0 {
                cleared.push(run);
                continue;
            }
            if stage == SuspectStage::Tried && suspicious {
                tried.push(run);
            }
            // A death does not prove its cause, as slowness does, so it takes more deaths. Strikes of a run that was held may be
            // for both; then the lower limit applies.
            let was_tried = stage == SuspectStage::Tried;
            let strikes_max = if was_tried { limits::DEATHS_ALONE_MAX } else { limits::STRIKES_MAX };
            if strikes >= strikes_max {
                self.judged.insert(run);
            }
            self.known.insert(run, Suspect { stage: SuspectStage::Held, ..suspect });
        }
        if let [alone] = tried[..] {
            self.died_alone = Some(alone);
        }
        self.prime.extend(tried);
        self.prime_until = now.saturating_add(limits::TRIAL_MAX);
        cleared
    }

    /// Whether a run of a suspicious shard may be worked on. If it needs a mark first, it has one from now on.
    pub(super) fn gate(&mut self, run: RunId) -> Gate {
        match self.known.get(&run) {
            _ if self.judged.contains(&run) => Gate::Open,
            Some(suspect) if suspect.stage == SuspectStage::Held => Gate::Closed,
            Some(_) => Gate::Open,
            None => {
                let mark = Suspect { run, stage: SuspectStage::Marked, strikes: 0 };
                self.known.insert(run, mark);
                Gate::AfterMark(mark)
            }
        }
    }

    /// Whether a trial can begin: some suspect that is held back has work to do.
    pub(super) fn wants_trial(&self, waits: impl Fn(RunId) -> bool) -> bool {
        self.trial.is_none() && self.held().any(waits)
    }

    fn held(&self) -> impl Iterator<Item = RunId> {
        self.known.values().filter(|suspect| suspect.stage == SuspectStage::Held).map(|suspect| suspect.run)
    }

    /// Begins a trial of half of the prime suspects, or of half of the others if there is no prime suspect. Returns the marks
    /// to write first.
    pub(super) fn begin_trial(&mut self, now: Timestamp, waits: impl Fn(RunId) -> bool) -> Vec<Suspect> {
        let (prime, others): (Vec<RunId>, Vec<RunId>) = self.held().partition(|run| self.prime.contains(run));
        let half = |group: Vec<RunId>| (group.len().div_ceil(2), group);
        let (count, group) = if prime.iter().any(|run| waits(*run)) {
            half(prime)
        } else if prime.is_empty() || now >= self.prime_until {
            half(others)
        } else {
            // If this trial ends in a death, its runs replace the prime suspects. That must count: a run alone gets a strike.
            (1, others)
        };
        let runs: BTreeSet<RunId> = group.into_iter().filter(|run| waits(*run)).take(count).collect();
        let alone = runs.len() == 1;
        // Those that are held back come first: in the store, some may still be marked as tried by the last owner.
        let mut marks: Vec<Suspect> =
            self.known.values().filter(|known| !runs.contains(&known.run)).copied().collect();
        for run in &runs {
            if let Some(suspect) = self.known.get_mut(run) {
                suspect.stage = SuspectStage::Tried;
                suspect.strikes += u32::from(alone);
                marks.push(*suspect);
            }
        }
        let longest = limits::TRIAL_MAX * (self.deaths.most() / limits::DEATHS_PER_TRIAL_MAX).max(1);
        self.trial = Some(Trial { runs, until: now.saturating_add(longest.min(limits::DEATH_PAID_OFF)) });
        marks
    }

    /// Ends the trial if it is over. Its runs are suspects no more; those in memory continue under a mark.
    pub(super) fn end_trial(
        &mut self,
        now: Timestamp,
        is_done: impl Fn(RunId) -> bool,
        is_in_memory: impl Fn(RunId) -> bool,
    ) -> Vec<(RunId, SuspectChange)> {
        let is_over = |trial: &mut Trial| now >= trial.until || trial.runs.iter().all(|run| is_done(*run));
        let Some(Trial { runs, .. }) = self.trial.take_if(is_over) else { return Vec::new() };
        let change = |run| {
            self.forget(run);
            if !is_in_memory(run) {
                return (run, SuspectChange::Clear);
            }
            let mark = Suspect { run, stage: SuspectStage::Marked, strikes: 0 };
            self.known.insert(run, mark);
            (run, SuspectChange::Mark(mark))
        };
        runs.into_iter().map(change).collect()
    }

    /// A run is over or leaves memory: it loses its mark, but stays a suspect unless it is over. Returns the change to write,
    /// if any.
    pub(super) fn clear(&mut self, run: RunId, over: bool) -> Option<SuspectChange> {
        if over && self.aside.remove(&run) {
            return Some(SuspectChange::Clear);
        }
        if !over && self.known.get(&run)?.stage != SuspectStage::Marked {
            return None;
        }
        self.forget(run).then_some(SuspectChange::Clear)
    }

    /// The run is no longer a suspect. Returns whether it was known.
    fn forget(&mut self, run: RunId) -> bool {
        self.prime.remove(&run);
        self.known.remove(&run).is_some()
    }

    /// Whether a trial of a run of this shard is in progress. Then the shard must stay: if its next owner died, nobody would
    /// know which run was tried.
    pub(super) fn tries_in(&self, shard: ShardId) -> bool {
        self.trial.as_ref().is_some_and(|trial| trial.runs.iter().any(|run| run.shard() == shard))
    }

    /// These shards go to another owner, which finds their suspects in the store.
    pub(super) fn leave(&mut self, shards: &BTreeSet<ShardId>) {
        let is_staying = |run: &RunId| !shards.contains(&run.shard());
        self.known.retain(|run, _| is_staying(run));
        self.prime.retain(is_staying);
        self.judged.retain(is_staying);
        self.aside.retain(is_staying);
        self.died_alone = self.died_alone.filter(is_staying);
        self.deaths.leave(shards);
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

    /// The run may be worked on again, and has no strikes any more. Returns the change to write, if it was set aside.
    pub(super) fn resume(&mut self, run: RunId) -> Option<SuspectChange> {
        self.aside.remove(&run).then_some(SuspectChange::Clear)
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
         while it worked on this run alone. Mend its code, then resume it (`RunHandle::resume`): it gets as many tries \
         again. It can be terminated at any time"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::data::id::{ClaimId, Position};
    use crate::testing::{BORN, run_id};

    /// The suspects of a shard whose owners keep dying.
    fn of_suspicious_shard() -> Suspects {
        let shard = run_id(0).shard();
        let deaths = limits::DEATHS_BEFORE_SUSPICION;
        let mut suspects = Suspects::new(limits::DEATHS_BEFORE_SUSPICION);
        suspects.claimed(&[&ClaimedShard {
            shard,
            claim: ClaimId::FIRST,
            next_position: Position::FIRST,
            deaths,
            former: None,
            needs: Vec::new(),
        }]);
        suspects
    }

    /// What an owner of a suspicious shard does next.
    #[derive(Clone, Copy, Debug)]
    enum Next {
        /// A run has work to do.
        Arrival,
        /// The first change that waits is in the store.
        Commit,
        BeginTrial,
        EndTrial,
        /// A run in progress kills the owner.
        Death,
    }

    /// A suspicious shard whose owners die of the runs `0..killers` of `runs`.
    struct Hunt {
        killers: BTreeSet<RunId>,
        runs: Vec<RunId>,
        store: BTreeMap<RunId, Suspect>,
        suspects: Suspects,
        arrived: usize,
        changes: VecDeque<(RunId, SuspectChange)>,
        /// The runs that this owner works on.
        in_progress: BTreeSet<RunId>,
    }

    impl Hunt {
        fn new(runs: u64, killers: &[u64]) -> Self {
            Self {
                killers: killers.iter().copied().map(run_id).collect(),
                runs: (0..runs).map(run_id).collect(),
                store: BTreeMap::new(),
                suspects: of_suspicious_shard(),
                arrived: 0,
                changes: VecDeque::new(),
                in_progress: BTreeSet::new(),
            }
        }

        fn take_over(&mut self) {
            self.suspects = of_suspicious_shard();
            let (aside, found): (Vec<_>, Vec<_>) =
                self.store.values().partition(|suspect| suspect.stage == SuspectStage::SetAside);
            aside.into_iter().for_each(|suspect: Suspect| self.suspects.find_aside(suspect.run));
            let cleared = self.suspects.found(found, |_| true, BORN);
            self.changes = cleared.into_iter().map(|run| (run, SuspectChange::Clear)).collect();
            (self.arrived, self.in_progress) = (0, BTreeSet::new());
        }

        fn is_held(&self, run: RunId) -> bool {
            self.runs[..self.arrived].contains(&run) && !self.in_progress.contains(&run)
        }

        /// Everything that may occur now.
        fn possible(&self) -> Vec<Next> {
            let trial = self.suspects.trial.as_ref().map(|trial| &trial.runs);
            let ends =
                |runs: &BTreeSet<RunId>| runs.is_disjoint(&self.killers) && runs.is_subset(&self.in_progress);
            let possible = [
                (Next::Arrival, self.arrived < self.runs.len()),
                (Next::Commit, !self.changes.is_empty()),
                (Next::BeginTrial, self.suspects.wants_trial(|run| self.is_held(run))),
                (Next::EndTrial, trial.is_some_and(ends)),
                (Next::Death, !self.killers.is_disjoint(&self.in_progress)),
            ];
            possible.into_iter().filter(|(_, possible)| *possible).map(|(next, _)| next).collect()
        }

        fn proceed(&mut self, next: Next) {
            match next {
                Next::Arrival => {
                    let run = self.runs[self.arrived];
                    self.arrived += 1;
                    if self.suspects.is_aside(run) {
                    } else if self.suspects.is_judged(run) {
                        let mark = self.suspects.set_aside(run);
                        self.changes.push_back((run, SuspectChange::Mark(mark)));
                    } else if let Gate::AfterMark(mark) = self.suspects.gate(run) {
                        self.changes.push_back((run, SuspectChange::Mark(mark)));
                    }
                }
                Next::Commit => match self.changes.pop_front() {
                    Some((run, SuspectChange::Mark(mark))) => {
                        self.store.insert(run, mark);
                        if matches!(mark.stage, SuspectStage::Marked | SuspectStage::Tried) {
                            self.in_progress.insert(run);
                        }
                    }
                    Some((run, SuspectChange::Clear)) => _ = self.store.remove(&run),
                    None => {}
                },
                Next::BeginTrial => {
                    let (runs, in_progress) = (&self.runs[..self.arrived], &self.in_progress);
                    let is_held = |run| runs.contains(&run) && !in_progress.contains(&run);
                    let marks = self.suspects.begin_trial(BORN, is_held);
                    self.changes.extend(marks.into_iter().map(|mark| (mark.run, SuspectChange::Mark(mark))));
                }
                Next::EndTrial => self.changes.extend(self.suspects.end_trial(BORN, |_| true, |_| false)),
                Next::Death => self.take_over(),
            }
        }

        fn set_aside(&self) -> BTreeSet<RunId> {
            let aside = self.store.values().filter(|suspect| suspect.stage == SuspectStage::SetAside);
            aside.map(|suspect| suspect.run).collect()
        }

        /// Counts the deaths until exactly the killers are set aside. `choose` picks one of the possible steps.
        fn deaths(mut self, mut choose: impl FnMut(&[Next]) -> usize) -> u32 {
            let mut deaths = 0;
            while self.set_aside() != self.killers {
                let possible = self.possible();
                let next = possible[choose(&possible)];
                deaths += u32::from(matches!(next, Next::Death));
                self.proceed(next);
                assert!(deaths < 1_000, "the hunt never ends");
            }
            deaths
        }
    }

    #[test]
    fn killer_is_found_by_halves_whichever_run_it_is() {
        // Owners die as late as they can.
        let last = |possible: &[Next]| {
            let harmless = possible.iter().position(|next| !matches!(next, Next::Death));
            harmless.unwrap_or(0)
        };
        for killer in [0, 1, 17, 63] {
            let deaths = Hunt::new(64, &[killer]).deaths(last);
            assert!(deaths <= 1 + 6 + limits::DEATHS_ALONE_MAX, "{deaths} deaths for run {killer} of 64");
        }
        assert_eq!(Hunt::new(1, &[0]).deaths(last), 1 + limits::DEATHS_ALONE_MAX);
    }

    proptest! {
        #[test]
        fn all_killers_are_set_aside_after_a_bounded_number_of_deaths_in_any_order(
            runs in 1..16_u64,
            killers in 1..5_u64,
            stride in 1..16_u64,
            choices in proptest::collection::vec(any::<usize>(), 1..200),
        ) {
            // Strides and counts that meet the same run again have fewer killers.
            let killers: BTreeSet<u64> = (0..killers).map(|number| number * stride % runs).collect();
            let killers: Vec<u64> = killers.into_iter().collect();
            let mut choices = choices.iter().cycle();
            let choose = |possible: &[Next]| choices.next().map_or(0, |choice| choice % possible.len());
            let deaths = Hunt::new(runs, &killers).deaths(choose);
            let halvings = runs.next_power_of_two().ilog2();
            let bound = killers.len() as u32 * (2 * halvings + limits::DEATHS_ALONE_MAX + 1);
            prop_assert!(deaths <= bound, "{} deaths, and the bound is {}", deaths, bound);
        }
    }

    #[test]
    fn release_is_no_death_and_keeps_the_suspects() {
        let held = |number| Suspect { run: run_id(number), stage: SuspectStage::Held, strikes: 0 };
        let mut suspects = of_suspicious_shard();
        let marked = Suspect { stage: SuspectStage::Marked, ..held(3) };
        assert_eq!(suspects.found(vec![held(1), held(2), marked], |_| false, BORN), [run_id(3)]);
        assert_eq!(suspects.gate(run_id(1)), Gate::Closed);
        assert_eq!(suspects.gate(run_id(3)), Gate::AfterMark(marked), "other runs continue");
    }

    #[test]
    fn trial_whose_runs_never_end_is_ended_by_its_deadline() {
        let tried = Suspect { run: run_id(1), stage: SuspectStage::Tried, strikes: 0 };
        let mut suspects = of_suspicious_shard();
        suspects.found(vec![tried], |_| true, BORN);
        suspects.begin_trial(BORN, |_| true);
        assert!(suspects.end_trial(BORN, |_| false, |_| true).is_empty());
        let later = BORN.saturating_add(limits::TRIAL_MAX);
        let changes = suspects.end_trial(later, |_| false, |_| true);
        let marked = |change| {
            matches!(change, SuspectChange::Mark(Suspect { stage: SuspectStage::Marked, strikes: 0, .. }))
        };
        assert!(changes.len() == 1 && marked(changes[0].1), "it stays in progress: {changes:?}");
        assert!(!suspects.wants_trial(|_| true));
    }

    #[test]
    fn slow_run_is_judged_by_its_strikes_even_if_no_owner_died() {
        let struck = |strikes| Suspect { run: run_id(1), stage: SuspectStage::Held, strikes };
        let mut suspects = Suspects::new(limits::DEATHS_BEFORE_SUSPICION);
        assert!(suspects.found(vec![struck(limits::STRIKES_MAX - 1)], |_| false, BORN).is_empty());
        assert!(!suspects.is_judged(run_id(1)));
        let mut suspects = Suspects::new(limits::DEATHS_BEFORE_SUSPICION);
        assert!(suspects.found(vec![struck(limits::STRIKES_MAX)], |_| false, BORN).is_empty());
        assert!(suspects.is_judged(run_id(1)));
    }
}
