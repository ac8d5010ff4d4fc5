//! Appends that are refused, or fail again and again: the run at fault stalls, and its neighbours go on.

use super::*;

impl Desk {
    /// Some turns of a driver, with a store that fails on what it must.
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
            let attempt = self.attempts.remove(&(*run, call(1))).expect("it is under way");
            self.processor.attempt_ended(*run, call(1), attempt.attempt, Ok(payload(&9)), self.now);
        }
    }
}

fn completes(append: &Append, number: u64) -> bool {
    let of = |event: &crate::store::append::NewEvent| event.run == run_id(number);
    append.events.iter().any(|event| of(event) && event.name.as_str() == "activity.completed")
}

#[test]
fn run_whose_append_keeps_failing_stalls_and_its_neighbours_go_on() {
    // Given a store that cannot meet what one of six runs writes
    let mut desk = Desk::new();
    let runs: Vec<RunId> = (1..=6).map(|number| desk.start::<Works>(number, 5)).collect();
    desk.run();
    desk.fails = |append| completes(append, 3);
    desk.complete_all(&runs);
    for number in 7..=9 {
        desk.start::<Works>(number, 5);
        desk.turns(10);
    }
    // Then the others go on, and it stalls and says what the store said
    assert_eq!(desk.closed.len(), 5);
    let row = &desk.rows[&runs[2]];
    assert_eq!(row.state, OpenState::Stalled);
    let waiting_on = row.waiting_on.as_deref().unwrap_or_default();
    assert!(waiting_on.contains("the store refuses what the run writes: statement timeout"), "{waiting_on}");
    assert_eq!(desk.in_flight().len(), 3);
    // And loses nothing: the next owner goes on.
    desk.fails = |_| false;
    desk.take_over(0);
    desk.end(runs[2], 1, Ok(9));
    assert!(desk.closed.contains(&runs[2]));
}

#[test]
fn nobody_stalls_while_all_appends_fail() {
    let mut desk = Desk::new();
    let runs: Vec<RunId> = (1..=6).map(|number| desk.start::<Works>(number, 5)).collect();
    desk.run();
    desk.fails = |_| true;
    desk.complete_all(&runs);
    desk.turns(200);
    assert_eq!(desk.closed.len(), 0);
    // When the store is back
    desk.fails = |_| false;
    desk.turns(20);
    // Then all go on as if nothing had been
    assert_eq!(desk.closed, runs.iter().copied().collect());
    assert!(desk.history(runs[0]).ends_with("3 activity.completed #1 9\n4 run.completed 9\n"));
}

#[test]
fn what_fails_only_together_is_written_in_parts() {
    let mut desk = Desk::new();
    let runs: Vec<RunId> = (1..=6).map(|number| desk.start::<Works>(number, 5)).collect();
    desk.run();
    desk.fails = |append| append.events.len() > 4;
    desk.complete_all(&runs);
    desk.turns(40);
    assert_eq!(desk.closed, runs.into_iter().collect());
}

#[test]
fn refused_append_is_bisected_and_only_the_run_at_fault_stalls() {
    let mut desk = Desk::new();
    desk.refuses = |event| event.name.as_str() == "activity.completed" && event.run == run_id(3);
    let runs: Vec<RunId> = (1..=5).map(|number| desk.start::<Works>(number, 5)).collect();
    desk.run();
    for run in &runs {
        let attempt = desk.attempts.remove(&(*run, call(1))).expect("it is under way");
        desk.processor.attempt_ended(*run, call(1), attempt.attempt, Ok(payload(&9)), desk.now);
    }
    desk.run();
    assert_eq!(desk.rows.keys().copied().collect::<Vec<_>>(), [runs[2]]);
    assert_eq!(desk.rows[&runs[2]].state, OpenState::Stalled);
    assert_eq!((desk.processor.live_runs(), desk.attempts.len()), (0, 0));
    // Nothing more is written for it here, and nothing is lost: the next owner goes on.
    desk.signal(runs[2], 1);
    desk.run();
    assert_eq!(desk.inbox.len(), 1);
    desk.refuses = |_| false;
    desk.take_over(0);
    desk.end(runs[2], 1, Ok(9));
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
    .assert_eq(&(desk.history(runs[1]) + &desk.history(runs[2])));
}

#[test]
fn run_at_fault_has_its_other_activities_aborted_and_not_begun_again() {
    let mut desk = Desk::new();
    desk.refuses = |event| event.name.as_str() == "activity.completed";
    let run = desk.start::<FansOut>(1, 3);
    desk.run();
    desk.end(run, 2, Ok(1));
    assert_eq!(desk.in_flight(), []);
    assert_eq!(desk.rows[&run].state, OpenState::Stalled);
}
