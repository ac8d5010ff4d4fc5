//! Results, failures and fan-outs at their limits.

use super::tasks::completed;
use super::*;

#[test]
fn result_over_the_limit_fails_the_activity() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Works>(1, 5);
    fixture.run();
    let large = payload(&"x".repeat(limits::PAYLOAD_BYTES_MAX));
    fixture.attempts.clear();
    fixture.processor.attempt_ended(run, call(1), 1, Ok(large), fixture.now);
    fixture.run();
    expect![[r#"
        1 run.started works 5
        2 activity.scheduled #1 work 5
        3 activity.failed #1: the result of activity `work` has 2097157 bytes, and the limit is 2097152; pass a reference to the data instead, or raise `payload_bytes_max` (payload-too-large)
        4 run.failed: activity `work` failed: the result of activity `work` has 2097157 bytes, and the limit is 2097152; pass a reference to the data instead, or raise `payload_bytes_max` (payload-too-large)
    "#]].assert_eq(&fixture.history(run));
}

#[test]
fn failure_over_the_limits_is_recorded_cut() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Works>(1, 5);
    fixture.run();
    let mut failure = Failure::new("broken", "x".repeat(limits::FAILURE_TEXT_CHARS_MAX + 1));
    failure.details = Some(payload(&"x".repeat(limits::PAYLOAD_BYTES_MAX)));
    fixture.attempts.clear();
    fixture.processor.attempt_ended(run, call(1), 1, Err(failure), fixture.now);
    fixture.run();
    let history = fixture.history(run);
    assert!(history.contains("run.failed") && history.contains("… (cut)"), "{history:.300}");
    assert!(history.len() < 3 * limits::FAILURE_TEXT_CHARS_MAX, "{}", history.len());
}

#[test]
fn fan_out_over_ten_thousand_branches_takes_linear_time() {
    const COUNT: u32 = 10_000;
    let mut fixture = Fixture::new();
    let run = fixture.start::<FansOut>(1, COUNT);
    fixture.run();
    assert_eq!(fixture.attempts.len(), COUNT as usize);
    for id in (1..=COUNT).rev() {
        fixture.processor.attempt_ended(run, call(id), 1, Ok(payload(&1)), fixture.now);
    }
    fixture.run();
    assert!(fixture.history(run).trim_end().ends_with(&format!("run.completed {COUNT}")));
}

#[test]
fn retries_of_ten_thousand_branches_take_linear_time() {
    const COUNT: u32 = 10_000;
    let mut fixture = Fixture::new();
    let run = fixture.start::<RetriesMany>(1, COUNT);
    fixture.run();
    for id in 1..=COUNT {
        fixture.processor.attempt_ended(run, call(id), 1, Err(broken()), fixture.now);
    }
    fixture.attempts.clear();
    fixture.heartbeat(10 * SECOND);
    fixture.pass(2 * SECOND);
    assert_eq!(fixture.attempts.len(), COUNT as usize);
    for id in 1..=COUNT {
        fixture.processor.attempt_ended(run, call(id), 2, Ok(payload(&1)), fixture.now);
    }
    fixture.run();
    assert!(fixture.history(run).trim_end().ends_with(&format!("run.completed {COUNT}")));
}

#[test]
fn schedules_of_ten_thousand_transactions_that_expire_at_once_take_linear_time() {
    const COUNT: u32 = 10_000;
    let mut fixture = Fixture::new();
    let run = fixture.start::<PaysMany>(1, COUNT);
    fixture.run();
    let tasks: Vec<TaskId> = fixture.tasks.keys().copied().collect();
    fixture.locked.extend(&tasks);
    fixture.heartbeat(6 * SECOND);
    fixture.pass(6 * SECOND);
    assert_eq!(fixture.locked_withdrawals.len(), COUNT as usize);
    for task in tasks {
        fixture.settle(task, completed(1));
    }
    fixture.unlock();
    assert!(fixture.history(run).trim_end().ends_with(&format!("run.completed {COUNT}")));
}
