//! Runs that end the processes that work on them, and how they are found.

use super::*;
use crate::store::lease::SuspectStage;

const DEADLY: u32 = limits::DEATHS_BEFORE_SUSPICION;

impl Desk {
    /// Does one thing after the other until `stop` says so.
    fn run_until(&mut self, stop: impl Fn(&Self) -> bool) {
        for _ in 0..1_000 {
            if stop(self) {
                return;
            }
            if self.processor.wants_trial() {
                self.processor.begin_trial(self.now);
            } else if let Some(append) = self.processor.cut() {
                self.append(&append);
            } else if !self.processor.work(&Turn::new(self.now, &|| true)) {
                self.take_effects();
                let read = self.processor.next_read();
                read.into_iter().for_each(|read| self.answer(read));
            }
        }
        panic!("it never came to that");
    }

    fn is_tried(&self, run: RunId) -> bool {
        self.suspects.get(&run).is_some_and(|suspect| suspect.stage == SuspectStage::Tried)
    }

    fn tried(&self) -> Vec<RunId> {
        self.suspects.keys().copied().filter(|run| self.is_tried(*run)).collect()
    }

    fn runs_in_flight(&self) -> Vec<RunId> {
        self.in_flight().into_iter().map(|(run, _)| run).collect()
    }

    /// The owner dies as soon as it works on this run, until the run is set aside.
    fn kill_until_set_aside(&mut self, culprit: RunId) -> u32 {
        for deaths in 1..50 {
            let aside = |desk: &Self| {
                desk.suspects.get(&culprit).is_some_and(|suspect| suspect.stage == SuspectStage::SetAside)
            };
            let works_on = |desk: &Self| {
                desk.processor.runs.contains(culprit) && !desk.processor.runs.is_left_alone(culprit)
            };
            self.run_until(|desk| works_on(desk) || aside(desk));
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
    let mut desk = Desk::new();
    let runs: Vec<RunId> = (1..=2).map(|number| desk.start::<Works>(number, 5)).collect();
    desk.run();
    desk.take_over_without_work(DEADLY);
    // The busy runs are listed; nothing of them is read before their marks are in the store.
    let read = desk.processor.next_read().expect("the list comes first");
    desk.answer(read);
    let append = desk.processor.cut().expect("the marks");
    assert_eq!((append.suspects.len(), append.events.len()), (2, 0));
    assert!(!std::iter::from_fn(|| desk.processor.next_read()).any(|read| matches!(read, Read::Load(_))));
    desk.append(&append);
    desk.run();
    assert_eq!(desk.runs_in_flight(), runs, "both go on at the same time");
    assert_eq!(desk.tried(), runs);
    assert!(!desk.history(runs[0]).contains("attempt-started"), "nobody could be charged");
    desk.end(runs[0], 1, Ok(1));
    assert_eq!(desk.tried(), runs[1..], "what is over is no suspect");
}

#[test]
fn start_in_a_suspicious_shard_begins_after_its_mark() {
    let mut desk = Desk::new();
    desk.take_over(DEADLY);
    let run = desk.start::<Works>(1, 5);
    desk.run_until(|desk| desk.is_tried(run));
    assert_eq!(desk.log.len(), 0, "not even its start is logged");
    desk.run();
    assert_eq!(desk.runs_in_flight(), [run]);
    // A start of this process has no row to mark: its client submits it.
    let (accepted, mut is_accepted) = tokio::sync::oneshot::channel();
    let (closed, _) = tokio::sync::oneshot::channel();
    let (run, workflow) = (run_id(2), Name::from_static(Works::NAME));
    let start = crate::store::switchboard::LocalStart {
        run,
        workflow,
        input: payload(&1),
        start_at: None,
        accepted,
        closed,
    };
    desk.processor.start_local(start, desk.now);
    assert!(is_accepted.try_recv().is_err());
}

#[test]
fn what_was_under_way_at_a_death_is_tried_in_halves_while_the_rest_goes_on() {
    // Given four runs that were under way when their suspicious owner died
    let mut desk = Desk::new();
    let runs: Vec<RunId> = (1..=4).map(|number| desk.start::<Works>(number, 5)).collect();
    desk.run();
    desk.take_over(DEADLY);
    desk.take_over(DEADLY);
    // Then half of them are tried, and a new run goes on without a mark
    assert_eq!(desk.runs_in_flight(), runs[..2]);
    let other = desk.start::<Works>(5, 5);
    desk.run();
    assert!(desk.runs_in_flight().contains(&other) && !desk.suspects.contains_key(&other));
    // When the first half did no harm
    desk.end(runs[0], 1, Ok(1));
    assert_eq!(desk.runs_in_flight(), [runs[1], other], "the trial is not over");
    desk.end(runs[1], 1, Ok(1));
    // Then of the other half one is tried alone, and then the other
    assert_eq!(desk.runs_in_flight(), [runs[2], other]);
    desk.end(runs[2], 1, Ok(1));
    assert_eq!(desk.runs_in_flight(), [runs[3], other]);
    desk.end(runs[3], 1, Ok(1));
    desk.end(other, 1, Ok(1));
    assert!(desk.suspects.is_empty() && desk.rows.is_empty());
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
    .assert_eq(&(desk.history(runs[0]) + &desk.history(runs[2])));
}

#[test]
fn owner_that_dies_of_a_half_leaves_that_half_as_suspects() {
    let mut desk = Desk::new();
    let runs: Vec<RunId> = (1..=4).map(|number| desk.start::<Works>(number, 5)).collect();
    desk.run();
    desk.take_over(DEADLY);
    desk.take_over(DEADLY);
    desk.take_over(DEADLY);
    assert_eq!(desk.tried(), runs[..1], "of the half that was tried, half is tried");
    assert_eq!(desk.runs_in_flight(), [runs[0], runs[2], runs[3]], "the others did no harm");
    // A hand-over is no death, and clears nobody.
    desk.take_over(0);
    desk.take_over_without_work(DEADLY);
    desk.died = false;
    desk.run();
    assert!(desk.suspects.contains_key(&runs[0]));
}

#[test]
fn run_whose_code_ends_its_owners_is_found_set_aside_and_can_be_terminated() {
    // Given thirteen parked runs, one of which gets a signal that ends whoever takes it in
    let mut desk = Desk::new();
    let runs: Vec<RunId> = (1..=13).map(|number| desk.start::<Waits>(number, 0)).collect();
    desk.run();
    runs.iter().for_each(|run| _ = desk.signal(*run, 1));
    desk.take_over_without_work(DEADLY);
    let deaths = desk.kill_until_set_aside(runs[7]);
    // Then it is found by halves
    assert!(deaths <= 1 + 4 + limits::DEATHS_ALONE_MAX + 1, "{deaths} deaths");
    desk.run();
    let row = &desk.rows[&runs[7]];
    assert_eq!(row.state, OpenState::Stalled);
    assert!(
        row.waiting_on.as_deref().is_some_and(|on| on.contains("the run was set aside: 5 times")),
        "{row:?}"
    );
    // And all others went on
    for run in runs.iter().filter(|run| **run != runs[7]) {
        assert!(desk.history(*run).contains("signal.received go 1"), "{}", desk.history(*run));
    }
    assert_eq!(desk.suspects.len(), 1);
    // And the next owner leaves it alone as well, but ends it if it is told to
    desk.take_over(0);
    assert!(!desk.history(runs[7]).contains("signal.received"));
    desk.submit(runs[7], &Message::Terminate { reason: "it kills".to_owned() });
    desk.run();
    assert!(desk.closed.contains(&runs[7]), "{}", desk.history(runs[7]));
    assert!(desk.suspects.is_empty(), "what is over is no suspect");
}

#[test]
fn run_that_was_set_aside_goes_on_once_its_row_is_taken_away() {
    // Given a run that was set aside before it took a signal in
    let mut desk = Desk::new();
    let run = desk.start::<Waits>(1, 0);
    desk.run();
    desk.signal(run, 0);
    desk.take_over_without_work(DEADLY);
    desk.kill_until_set_aside(run);
    desk.take_over(0);
    assert_eq!(desk.rows[&run].state, OpenState::Stalled);
    // When somebody mends its code, and takes its row away from the suspects
    desk.suspects.clear();
    desk.take_over(0);
    // Then the next owner tries it again
    assert!(desk.closed.contains(&run), "{}", desk.history(run));
    assert!(desk.inbox.is_empty());
}

#[test]
fn activity_that_takes_its_process_with_it_fails_in_the_end() {
    let mut desk = Desk::new();
    let run = desk.start::<Works>(1, 5);
    desk.run();
    for _ in 0..20 {
        desk.take_over(DEADLY);
        if desk.attempts.is_empty() {
            break;
        }
    }
    assert!(desk.suspects.is_empty());
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
        20 run.failed: activity `work` failed (call-failed): the process died 5 times while it executed `work` (attempt-lost)
    "#]]
    .assert_eq(&desk.history(run));
}

#[test]
fn graceful_hand_over_charges_no_attempt() {
    let mut desk = Desk::new();
    let run = desk.start::<Works>(1, 5);
    desk.run();
    desk.take_over(DEADLY);
    desk.take_over(DEADLY);
    // The owner logged the attempt, and hands over before it ends.
    desk.take_over(0);
    desk.end(run, 1, Ok(1));
    expect![[r#"
        1 run.started works 5
        2 activity.scheduled #1 work 5
        3 run.adopted lease 3
        4 activity.attempt-started #1 attempt 1
        5 run.adopted lease 4
        6 activity.completed #1 1
        7 run.completed 1
    "#]]
    .assert_eq(&desk.history(run));
}

#[test]
fn deaths_are_paid_off_by_service_after_recovery() {
    let mut desk = Desk::new();
    desk.take_over_without_work(DEADLY + 1);
    let (now, term) = (desk.now, limits::DEATH_PAID_OFF);
    let deaths_max = |desk: &mut Desk, terms: u32| {
        desk.processor.tick(now.saturating_add(term * terms), SECOND).deaths_max
    };
    assert_eq!(deaths_max(&mut desk, 0), u32::MAX, "it has not recovered");
    desk.run();
    assert_eq!(deaths_max(&mut desk, 7), DEADLY + 1, "from now on it serves");
    assert_eq!(deaths_max(&mut desk, 8), DEADLY);
    assert!(desk.processor.suspects.is_suspicious(run_id(1)));
    assert_eq!(deaths_max(&mut desk, 9), DEADLY - 1);
    assert!(!desk.processor.suspects.is_suspicious(run_id(1)));
}
