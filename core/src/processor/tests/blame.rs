//! Appends that are refused or fail repeatedly: the run at fault stalls, and its neighbours continue.

use super::*;

impl Fixture {
    /// Some turns of a driver, with a store that fails the appends of the test.
    fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.work();
            if let Some(append) = self.processor.cut() {
                if (self.fails)(&append) {
                    self.processor.declined(Declined::Failed, "statement timeout");
                } else {
                    self.append(&append);
                }
            }
            self.take_effects();
            if let Some(read) = self.processor.next_read() {
                self.answer(read);
            }
        }
    }

    fn complete_all(&mut self, runs: &[RunId]) {
        for run in runs {
            let attempt = self.attempts.remove(&(*run, call(1))).expect("it is in progress");
            self.processor.attempt_ended(*run, call(1), attempt.attempt, Ok(payload(&9)), self.now);
        }
    }
}

fn completes(append: &Append, number: u64) -> bool {
    events(append).iter().any(|(run, event)| *run == run_id(number) && is_completion(event))
}

fn is_completion(event: &Event) -> bool {
    matches!(event, Event::ActivityCompleted { .. })
}

#[test]
fn run_whose_append_keeps_failing_stalls_and_its_neighbours_continue() {
    // Given a store that fails the writes of one of six runs
    let mut fixture = Fixture::new();
    let runs: Vec<RunId> = (1..=6).map(|number| fixture.start::<Works>(number, 5)).collect();
    fixture.run();
    fixture.fails = |append| completes(append, 3);
    fixture.complete_all(&runs);
    for number in 7..=9 {
        fixture.start::<Works>(number, 5);
        fixture.turns(10);
    }
    // Then the others continue, and this run stalls with the error of the store
    assert_eq!(fixture.closed.len(), 5);
    let row = &fixture.rows[&runs[2]];
    assert_eq!(row.state, OpenState::Stalled);
    let waiting_on = row.waiting_on.as_deref().unwrap_or_default();
    assert!(waiting_on.contains("the store refuses what the run writes: statement timeout"), "{waiting_on}");
    assert_eq!(fixture.in_flight().len(), 3);
    // And nothing is lost: the next owner resumes the run
    fixture.fails = |_| false;
    fixture.take_over(0);
    fixture.end(runs[2], 1, Ok(9));
    assert!(fixture.closed.contains(&runs[2]));
}

#[test]
fn no_run_stalls_while_all_appends_fail() {
    let mut fixture = Fixture::new();
    let runs: Vec<RunId> = (1..=6).map(|number| fixture.start::<Works>(number, 5)).collect();
    fixture.run();
    fixture.fails = |_| true;
    fixture.complete_all(&runs);
    fixture.turns(200);
    assert_eq!(fixture.closed.len(), 0);
    // When the store is back
    fixture.fails = |_| false;
    fixture.turns(20);
    // Then all runs continue as if nothing had happened
    assert_eq!(fixture.closed, runs.iter().copied().collect());
    assert!(fixture.history(runs[0]).ends_with("3 activity.completed #1 9\n4 run.completed 9\n"));
}

#[test]
fn groups_that_fail_only_together_are_written_in_parts() {
    let mut fixture = Fixture::new();
    let runs: Vec<RunId> = (1..=6).map(|number| fixture.start::<Works>(number, 5)).collect();
    fixture.run();
    fixture.fails = |append| events(append).len() > 4;
    fixture.complete_all(&runs);
    fixture.turns(40);
    assert_eq!(fixture.closed, runs.into_iter().collect());
}

#[test]
fn refused_append_is_bisected_and_only_the_run_at_fault_stalls() {
    let mut fixture = Fixture::new();
    fixture.refuses = |run, event| run == run_id(3) && is_completion(event);
    let runs: Vec<RunId> = (1..=5).map(|number| fixture.start::<Works>(number, 5)).collect();
    fixture.run();
    for run in &runs {
        let attempt = fixture.attempts.remove(&(*run, call(1))).expect("it is in progress");
        fixture.processor.attempt_ended(*run, call(1), attempt.attempt, Ok(payload(&9)), fixture.now);
    }
    fixture.run();
    assert_eq!(fixture.rows.keys().copied().collect::<Vec<_>>(), [runs[2]]);
    assert_eq!(fixture.rows[&runs[2]].state, OpenState::Stalled);
    assert_eq!((fixture.processor.live_runs(), fixture.attempts.len()), (0, 0));
    // Nothing more is written for it here, and nothing is lost: the next owner resumes the run.
    fixture.signal(runs[2], 1);
    fixture.run();
    assert_eq!(fixture.inbox.len(), 1);
    fixture.refuses = |_, _| false;
    fixture.take_over(0);
    fixture.end(runs[2], 1, Ok(9));
    expect![[r#"
        1 run.started works 5
        2 activity.scheduled #1 work 5
        3 activity.completed #1 9
        4 run.completed 9
        1 run.started works 5
        2 activity.scheduled #1 work 5
        3 run.stalled: the store refuses what the run writes: it is too large
        4 run.adopted lease 2
        5 run.resumed 0 released
        6 signal.received go 1
        7 activity.completed #1 9
        8 run.completed 9
    "#]]
    .assert_eq(&(fixture.history(runs[1]) + &fixture.history(runs[2])));
}

#[test]
fn other_activities_of_a_run_at_fault_are_aborted_and_not_begun_again() {
    let mut fixture = Fixture::new();
    fixture.refuses = |_, event| is_completion(event);
    let run = fixture.start::<FansOut>(1, 3);
    fixture.run();
    fixture.end(run, 2, Ok(1));
    assert_eq!(fixture.in_flight(), []);
    assert_eq!(fixture.rows[&run].state, OpenState::Stalled);
}
