//! Runs that kill the processes that work on them, and how they are found.

use super::local::local_start;
use super::*;
use crate::store::lease::SuspectStage;

const DEADLY: u32 = limits::DEATHS_BEFORE_SUSPICION;

impl Fixture {
    /// Does one piece of work after the other until `stop` returns true.
    pub(super) fn run_until(&mut self, stop: impl Fn(&Self) -> bool) {
        for _ in 0..1_000 {
            if stop(self) {
                return;
            }
            if self.processor.wants_trial() {
                self.processor.begin_trial(self.now);
            } else {
                self.proceed_without_trial();
            }
        }
        panic!("the condition was never met");
    }

    /// Does the next piece of work other than to begin a trial.
    pub(super) fn proceed_without_trial(&mut self) {
        if let Some(append) = self.processor.cut() {
            self.append(&append);
        } else if !self.processor.work(&Turn::new(self.now, &|| true)) {
            self.take_effects();
            let read = self.processor.next_read();
            read.into_iter().for_each(|read| self.answer(read));
        }
    }

    pub(super) fn is_at(&self, run: RunId, stage: SuspectStage) -> bool {
        self.suspects.get(&run).is_some_and(|suspect| suspect.stage == stage)
    }

    pub(super) fn at(&self, stage: SuspectStage) -> Vec<RunId> {
        self.suspects.keys().copied().filter(|run| self.is_at(*run, stage)).collect()
    }

    fn runs_in_flight(&self) -> Vec<RunId> {
        self.in_flight().into_iter().map(|(run, _)| run).collect()
    }

    /// Each owner dies as soon as it works on one of these runs, until they are set aside. Returns the number of deaths.
    pub(super) fn kill_until_set_aside(&mut self, killers: &[RunId]) -> u32 {
        for deaths in 1..100 {
            let aside =
                |fixture: &Self| killers.iter().all(|run| fixture.is_at(*run, SuspectStage::SetAside));
            let works_on = |fixture: &Self, run: &RunId| {
                fixture.processor.runs.contains(*run) && !fixture.processor.runs.is_left_alone(*run)
            };
            let dies = |fixture: &Self| killers.iter().any(|run| works_on(fixture, run));
            self.run_until(|fixture| dies(fixture) || aside(fixture));
            if aside(self) {
                return deaths;
            }
            self.take_over_without_work(DEADLY);
        }
        panic!("never set aside");
    }
}

#[test]
fn suspicious_owner_marks_a_run_before_it_works_on_it_and_clears_it_after() {
    let mut fixture = Fixture::new();
    let runs: Vec<RunId> = (1..=2).map(|number| fixture.start::<Works>(number, 5)).collect();
    fixture.run();
    fixture.take_over_without_work(DEADLY);
    // The busy runs are listed; their histories are not read before their marks are in the store.
    let read = fixture.processor.next_read().expect("the list comes first");
    fixture.answer(read);
    let append = fixture.processor.cut().expect("the marks");
    assert_eq!((append.suspects.len(), append.frames.len()), (2, 0));
    assert!(
        !std::iter::from_fn(|| fixture.processor.next_read()).any(|read| matches!(read, StoreRead::Load(_)))
    );
    fixture.append(&append);
    fixture.run();
    assert_eq!(fixture.runs_in_flight(), runs, "both proceed at the same time");
    assert_eq!(fixture.at(SuspectStage::Marked), runs);
    assert!(!fixture.history(runs[0]).contains("attempt-started"), "no attempt could be charged");
    fixture.end(runs[0], 1, Ok(1));
    assert_eq!(fixture.at(SuspectStage::Marked), runs[1..], "a run that is over needs no mark");
}

#[test]
fn start_in_a_suspicious_shard_begins_after_its_mark() {
    let mut fixture = Fixture::new();
    fixture.take_over(DEADLY);
    let run = fixture.start::<Works>(1, 5);
    fixture.run_until(|fixture| fixture.is_at(run, SuspectStage::Marked));
    assert_eq!(fixture.log.len(), 0, "not even its start is in the log");
    fixture.run();
    assert_eq!(fixture.runs_in_flight(), [run]);
    // A local start has no row to mark: its client submits it.
    let (start, mut local) = local_start(run_id(2), Works::NAME, 1);
    fixture.processor.start_local(start, fixture.now);
    assert!(local.accepted.try_recv().is_err());
}

#[test]
fn runs_in_progress_at_a_death_are_tried_in_halves_while_others_continue() {
    // Given four runs that were in progress when an owner of their suspicious shard died
    let mut fixture = Fixture::new();
    let runs: Vec<RunId> = (1..=4).map(|number| fixture.start::<Works>(number, 5)).collect();
    fixture.run();
    fixture.take_over(DEADLY);
    fixture.take_over(DEADLY);
    // Then half of them are tried, and a new run proceeds under its mark
    assert_eq!(fixture.runs_in_flight(), runs[..2]);
    let other = fixture.start::<Works>(5, 5);
    fixture.run();
    assert!(fixture.runs_in_flight().contains(&other) && fixture.is_at(other, SuspectStage::Marked));
    // When the first half does no harm
    fixture.end(runs[0], 1, Ok(1));
    assert_eq!(fixture.runs_in_flight(), [runs[1], other], "the trial is not over");
    fixture.end(runs[1], 1, Ok(1));
    // Then the runs of the other half are tried one at a time
    assert_eq!(fixture.runs_in_flight(), [runs[2], other]);
    fixture.end(runs[2], 1, Ok(1));
    assert_eq!(fixture.runs_in_flight(), [runs[3], other]);
    fixture.end(runs[3], 1, Ok(1));
    fixture.end(other, 1, Ok(1));
    assert!(fixture.suspects.is_empty() && fixture.rows.is_empty());
    expect![[r#"
        1 run.started works 5
        2 activity.scheduled #1 work 5
        3 run.adopted lease 3
        4 activity.completed #1 1
        5 run.completed 1
        1 run.started works 5
        2 activity.scheduled #1 work 5
        3 run.adopted lease 3
        4 activity.attempt-started #1 attempt 1
        5 activity.completed #1 1
        6 run.completed 1
    "#]]
    .assert_eq(&(fixture.history(runs[0]) + &fixture.history(runs[2])));
}

#[test]
fn half_that_was_tried_at_a_death_is_tried_first() {
    let mut fixture = Fixture::new();
    let runs: Vec<RunId> = (1..=4).map(|number| fixture.start::<Works>(number, 5)).collect();
    fixture.run();
    fixture.take_over(DEADLY);
    fixture.take_over(DEADLY);
    fixture.take_over(DEADLY);
    assert_eq!(fixture.at(SuspectStage::Tried), runs[..1], "half of the half that was tried");
    assert_eq!(fixture.runs_in_flight(), runs[..1], "one of the others may kill as well");
    // A handover is not a death, and clears no suspect.
    fixture.take_over(0);
    fixture.take_over_without_work(DEADLY);
    fixture.died = false;
    fixture.run();
    assert!(fixture.suspects.contains_key(&runs[0]));
}

#[test]
fn run_whose_code_kills_its_owners_is_found_set_aside_and_can_be_terminated() {
    // Given thirteen parked runs, and a signal to one of them that kills its owners
    let mut fixture = Fixture::new();
    let runs: Vec<RunId> = (1..=13).map(|number| fixture.start::<Waits>(number, 0)).collect();
    fixture.run();
    runs.iter().for_each(|run| _ = fixture.signal(*run, 1));
    fixture.take_over_without_work(DEADLY);
    let deaths = fixture.kill_until_set_aside(&runs[7..8]);
    // Then it is found by halves
    assert!(deaths <= 1 + 4 + limits::DEATHS_ALONE_MAX + 1, "{deaths} deaths");
    fixture.run();
    let row = &fixture.rows[&runs[7]];
    assert_eq!(row.state, OpenState::Stalled);
    assert!(
        row.waiting_on.as_deref().is_some_and(|on| on.contains("the run was set aside: 5 times")),
        "{row:?}"
    );
    // And all others continued
    for run in runs.iter().filter(|run| **run != runs[7]) {
        assert!(fixture.history(*run).contains("signal.received go 1"), "{}", fixture.history(*run));
    }
    assert_eq!(fixture.suspects.len(), 1);
    // And the next owner leaves it alone, too, but can terminate it, and gives up the signal
    fixture.take_over(0);
    assert!(!fixture.history(runs[7]).contains("signal.received") && fixture.inbox.len() == 1);
    fixture.submit(runs[7], &Message::Terminate { reason: "it kills".to_owned(), parent: None });
    fixture.run();
    assert!(fixture.inbox.is_empty());
    assert!(fixture.closed.contains(&runs[7]), "{}", fixture.history(runs[7]));
    assert!(fixture.suspects.is_empty(), "a run that is over is no suspect");
}

#[test]
fn runs_that_kill_beside_each_other_are_all_set_aside() {
    // Given parked runs, a signal to each, and three of them that kill their owner as soon as it works on them
    let mut fixture = Fixture::new();
    let runs: Vec<RunId> = (1..=6).map(|number| fixture.start::<Waits>(number, 0)).collect();
    fixture.run();
    runs.iter().for_each(|run| _ = fixture.signal(*run, 1));
    let killers = [runs[1], runs[2], runs[4]];
    // When owners follow each other
    fixture.take_over_without_work(DEADLY);
    fixture.kill_until_set_aside(&killers);
    fixture.run();
    // Then exactly these are set aside
    assert_eq!(fixture.at(SuspectStage::SetAside), killers);
    for run in runs.iter().filter(|run| !killers.contains(run)) {
        assert!(fixture.history(*run).contains("signal.received go 1"), "{}", fixture.history(*run));
    }
}

#[test]
fn run_that_kills_beside_a_suspect_that_is_held_back_becomes_a_suspect() {
    // Given a suspect that was being tried alone when its owner died
    let mut fixture = Fixture::new();
    let suspect = fixture.start::<Works>(1, 5);
    fixture.run();
    fixture.take_over(DEADLY);
    fixture.take_over(DEADLY);
    assert_eq!(fixture.at(SuspectStage::Tried), [suspect]);
    // When the next owner works on another run before its first trial, and dies
    fixture.take_over_without_work(DEADLY);
    let other = fixture.start::<Works>(2, 5);
    while !fixture.processor.runs.contains(other) {
        // Another processor of the process has a trial in progress, so this one begins none.
        fixture.proceed_without_trial();
    }
    assert_eq!(fixture.at(SuspectStage::Marked), [other]);
    fixture.take_over_without_work(DEADLY);
    // Then the owner after it tries one alone after the other
    fixture.run();
    assert_eq!(fixture.runs_in_flight(), [suspect]);
    fixture.end(suspect, 1, Ok(1));
    assert_eq!((fixture.runs_in_flight(), fixture.at(SuspectStage::Tried)), (vec![other], vec![other]));
}

#[test]
fn activity_that_kills_its_process_fails_in_the_end() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Works>(1, 5);
    fixture.run();
    for _ in 0..20 {
        fixture.take_over(DEADLY);
        if fixture.attempts.is_empty() {
            break;
        }
    }
    assert!(fixture.suspects.is_empty());
    expect![[r#"
        1 run.started works 5
        2 activity.scheduled #1 work 5
        3 run.adopted lease 3
        4 activity.attempt-started #1 attempt 1
        5 run.adopted lease 4
        6 activity.attempt-lost #1 attempt 1
        7 activity.attempt-started #1 attempt 1
        8 run.adopted lease 5
        9 activity.attempt-lost #1 attempt 1
        10 activity.attempt-started #1 attempt 1
        11 run.adopted lease 6
        12 activity.attempt-lost #1 attempt 1
        13 activity.attempt-started #1 attempt 1
        14 run.adopted lease 7
        15 activity.attempt-lost #1 attempt 1
        16 activity.attempt-started #1 attempt 1
        17 run.adopted lease 8
        18 activity.attempt-lost #1 attempt 1
        19 activity.failed #1: the process died 5 times while it executed `work` (attempt-lost)
        20 run.failed: activity `work` failed: the process died 5 times while it executed `work` (attempt-lost)
    "#]]
    .assert_eq(&fixture.history(run));
}

#[test]
fn graceful_handover_charges_no_attempt() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Works>(1, 5);
    fixture.run();
    fixture.take_over(DEADLY);
    fixture.take_over(DEADLY);
    // The owner logged the attempt, and hands over before it ends.
    fixture.take_over(0);
    fixture.end(run, 1, Ok(1));
    expect![[r#"
        1 run.started works 5
        2 activity.scheduled #1 work 5
        3 run.adopted lease 3
        4 activity.attempt-started #1 attempt 1
        5 run.adopted lease 4
        6 activity.completed #1 1
        7 run.completed 1
    "#]]
    .assert_eq(&fixture.history(run));
}

#[test]
fn deaths_are_paid_off_by_service_after_recovery() {
    let mut fixture = Fixture::new();
    fixture.take_over_without_work(DEADLY + 1);
    let (now, period) = (fixture.now, limits::DEATH_PAID_OFF);
    let deaths_max = |fixture: &mut Fixture, periods: u32| {
        fixture.processor.heartbeat(now.saturating_add(period * periods), SECOND).deaths_max
    };
    assert_eq!(deaths_max(&mut fixture, 0), u32::MAX, "it has not recovered");
    fixture.run();
    assert_eq!(deaths_max(&mut fixture, 7), DEADLY + 1, "it serves from now on");
    assert_eq!(deaths_max(&mut fixture, 8), DEADLY);
    assert!(fixture.processor.suspects.is_suspicious(run_id(1)));
    assert_eq!(deaths_max(&mut fixture, 9), DEADLY - 1);
    assert!(!fixture.processor.suspects.is_suspicious(run_id(1)));
}
