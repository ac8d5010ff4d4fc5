//! Waiting for results: one task reads them all, after hints and at poll intervals.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::fake::{FIRST_SHARD, NOW, settle};
use super::{Fixture, Greeting, fixture, spawn};
use crate::client::handle::RunHandle;
use crate::data::failure::Failure;
use crate::data::id::{MessageId, RunId, ShardId};
use crate::data::limits;
use crate::data::outcome::Uncompensated;
use crate::data::payload::Payload;
use crate::error::Error;
use crate::log::event::Event;
use crate::log::wire;
use crate::store::Hint;
use crate::store::append::{ClosedStatus, OpenRow};
use crate::store::error::StoreError;

const POLL: Duration = Duration::from_secs(1);

/// A run of the fixture, and a task that awaits its result.
fn awaited(fixture: &Fixture, shard: u16, random: u64) -> (RunId, JoinHandle<Result<String, Error>>) {
    let run = RunId::new(NOW, ShardId::new(FIRST_SHARD + shard).unwrap(), random);
    let handle: RunHandle<Greeting> = RunHandle::known(fixture.client.shared.clone(), run, false);
    (run, spawn(handle.result()))
}

fn completed(text: &str) -> Event {
    Event::RunCompleted { result: Payload::encode(text).unwrap() }
}

#[tokio::test]
async fn available_result_is_returned_at_once() {
    let fixture = fixture();
    let (run, result) = awaited(&fixture, 0, 1);
    fixture.store.close(run, &completed("hello"));
    assert_eq!(result.await.unwrap().unwrap(), "hello");
    settle().await;
    assert_eq!((fixture.store.closed_reads(), fixture.host.tasks()), (1, 0));
}

#[tokio::test]
async fn result_arrives_with_its_hint() {
    let fixture = fixture();
    let (run, result) = awaited(&fixture, 0, 1);
    settle().await;
    fixture.store.close(run, &completed("hello"));
    settle().await;
    assert!(!result.is_finished());
    fixture.store.hint(Hint::Notice(run.shard()));
    assert_eq!(result.await.unwrap().unwrap(), "hello");
}

#[tokio::test]
async fn hint_of_a_view_reads_no_result() {
    let fixture = fixture();
    let (run, result) = awaited(&fixture, 0, 1);
    settle().await;
    fixture.store.close(run, &completed("hello"));
    fixture.store.hint(Hint::Published(run.shard()));
    settle().await;
    assert_eq!((fixture.store.closed_reads(), result.is_finished()), (1, false));
}

#[tokio::test]
async fn run_that_this_client_started_is_not_read_before_its_hint() {
    // Given a run whose start is just acknowledged
    let fixture = fixture();
    let handle = fixture.client.start::<Greeting>("Ann".to_owned()).await.unwrap();
    // When its result is awaited
    let result = spawn(handle.result());
    settle().await;
    // Then nothing is read until the run's hint
    assert_eq!(fixture.store.closed_reads(), 0);
    fixture.store.close(handle.run_id(), &completed("hello"));
    fixture.store.hint(Hint::Notice(handle.run_id().shard()));
    assert_eq!(result.await.unwrap().unwrap(), "hello");
    assert_eq!(fixture.store.closed_reads(), 1);
}

#[tokio::test]
async fn hint_that_came_before_the_wait_is_not_missed() {
    for others_wait in [false, true] {
        // Given a started run which ends before it is awaited, and possibly a waiter for whom the client takes the hint
        let fixture = fixture();
        let other = others_wait.then(|| awaited(&fixture, 0, 1));
        let handle = fixture.client.start::<Greeting>("Ann".to_owned()).await.unwrap();
        fixture.store.close(handle.run_id(), &completed("hello"));
        fixture.store.hint(Hint::Notice(handle.run_id().shard()));
        settle().await;
        // When it is awaited, then its result arrives without another hint or a poll
        let result = spawn(handle.result());
        settle().await;
        assert!(result.is_finished(), "others wait: {others_wait}");
        drop(other);
    }
}

#[tokio::test]
async fn run_that_started_a_poll_interval_ago_is_read_without_a_hint() {
    let fixture = fixture();
    let handle = fixture.client.start::<Greeting>("Ann".to_owned()).await.unwrap();
    fixture.store.close(handle.run_id(), &completed("hello"));
    fixture.host.advance(POLL).await;
    let result = spawn(handle.result());
    settle().await;
    assert!(result.is_finished());
}

#[tokio::test]
async fn result_arrives_with_the_poll_when_its_hint_is_lost() {
    let fixture = fixture();
    let (run, result) = awaited(&fixture, 0, 1);
    settle().await;
    fixture.store.close(run, &completed("hello"));
    fixture.host.advance(POLL - Duration::from_millis(1)).await;
    assert!(!result.is_finished());
    fixture.host.advance(Duration::from_millis(1)).await;
    assert_eq!(result.await.unwrap().unwrap(), "hello");
}

#[tokio::test]
async fn new_waiters_do_not_put_off_the_poll() {
    // Given an awaited run whose hint is lost
    let fixture = fixture();
    let (run, result) = awaited(&fixture, 0, 0);
    settle().await;
    fixture.store.close(run, &completed("hello"));
    // When another run is awaited during each read, until the poll has long been due
    let mut read = fixture.store.hold_reads();
    let mut others = vec![awaited(&fixture, 0, 1)];
    settle().await;
    for number in 2..10 {
        others.push(awaited(&fixture, 0, number));
        fixture.host.advance(POLL / 4).await;
        drop(read);
        settle().await;
        read = fixture.store.hold_reads();
        fixture.host.advance(POLL / 4).await;
    }
    // Then the poll has found its result
    assert!(result.is_finished());
}

#[tokio::test]
async fn hint_of_lost_hints_reads_all_topics() {
    let fixture = fixture();
    let (run, result) = awaited(&fixture, 0, 1);
    settle().await;
    fixture.store.close(run, &completed("hello"));
    // More than the channel holds, so that the client lags.
    (0..10).for_each(|_| fixture.store.hint(Hint::Notice(run.shard())));
    assert_eq!(result.await.unwrap().unwrap(), "hello");
}

#[tokio::test]
async fn thousand_waiters_share_one_read() {
    let fixture = fixture();
    let waiters: Vec<_> = (0..1000).map(|number| awaited(&fixture, number as u16 % 64, number)).collect();
    settle().await;
    let first = fixture.store.closed_reads();
    assert!(first <= 2, "{first} reads");
    for (run, _) in &waiters {
        fixture.store.close(*run, &completed("hello"));
    }
    fixture.store.hint(Hint::Missed);
    for (_, result) in waiters {
        assert_eq!(result.await.unwrap().unwrap(), "hello");
    }
    assert_eq!(fixture.store.closed_reads(), first + 1);
    assert_eq!(fixture.store.state().closed_asked.last().unwrap().len(), 1000);
}

#[tokio::test]
async fn awaited_runs_beyond_the_limit_take_several_reads() {
    let fixture = fixture();
    let waiters: Vec<_> = (0..2500).map(|number| awaited(&fixture, 0, number)).collect();
    settle().await;
    fixture.store.state().closed_asked.clear();
    fixture.store.hint(Hint::Missed);
    settle().await;
    let sizes: Vec<_> = fixture.store.state().closed_asked.iter().map(Vec::len).collect();
    assert_eq!(sizes, [1000, 1000, 500]);
    drop(waiters);
}

#[tokio::test]
async fn cut_answer_is_continued_by_the_next_read() {
    // Given an open run, and three others whose outcomes do not fit into one answer
    let fixture = fixture();
    let waiters: Vec<_> = (0..4).map(|number| awaited(&fixture, 0, number)).collect();
    let runs: Vec<_> = waiters.iter().map(|(run, _)| *run).collect();
    let long = Bytes::from(vec![0; limits::PAGE_BYTES_MAX]);
    for run in [runs[0], runs[2], runs[3]] {
        fixture.store.close_with(run, "greeting", ClosedStatus::Completed, long.clone());
    }
    // When they are awaited
    settle().await;
    // Then each answer is followed by a read of the rest, and all waiters get their results at once
    assert_eq!(fixture.store.state().closed_asked, [&runs[..], &runs[2..], &runs[3..]]);
    let finished: Vec<_> = waiters.iter().map(|(_, result)| result.is_finished()).collect();
    assert_eq!(finished, [true, false, true, true]);
}

#[tokio::test]
async fn hint_reads_only_the_runs_of_its_shard() {
    let fixture = fixture();
    let (one, _waits) = awaited(&fixture, 1, 1);
    let (_other, _waits_too) = awaited(&fixture, 2, 2);
    settle().await;
    fixture.store.state().closed_asked.clear();
    fixture.store.hint(Hint::Notice(ShardId::new(FIRST_SHARD + 3).unwrap()));
    fixture.store.hint(Hint::Mail(one.shard()));
    fixture.store.hint(Hint::Notice(one.shard()));
    settle().await;
    let asked = fixture.store.state().closed_asked.concat();
    assert_eq!(asked, [one]);
}

#[tokio::test]
async fn task_ends_with_the_last_waiter_and_restarts_with_the_next() {
    let fixture = fixture();
    let (_, result) = awaited(&fixture, 0, 1);
    settle().await;
    assert_eq!(fixture.host.tasks(), 1);
    result.abort();
    settle().await;
    assert_eq!(fixture.host.tasks(), 0);
    let reads = fixture.store.closed_reads();
    fixture.host.advance(POLL).await;
    assert_eq!(fixture.store.closed_reads(), reads);
    let (run, result) = awaited(&fixture, 0, 2);
    fixture.store.close(run, &completed("again"));
    assert_eq!(result.await.unwrap().unwrap(), "again");
}

#[tokio::test]
async fn two_waiters_of_one_run_both_get_its_result() {
    let fixture = fixture();
    let (run, one) = awaited(&fixture, 0, 1);
    let (_, other) = awaited(&fixture, 0, 1);
    let (_, dropped) = awaited(&fixture, 0, 1);
    settle().await;
    dropped.abort();
    settle().await;
    fixture.store.close(run, &completed("hello"));
    fixture.store.hint(Hint::Notice(run.shard()));
    assert_eq!(one.await.unwrap().unwrap(), "hello");
    assert_eq!(other.await.unwrap().unwrap(), "hello");
}

#[tokio::test]
async fn slow_store_gets_pauses_between_reads() {
    let fixture = fixture();
    let slow = Duration::from_millis(300);
    let (run, _waits) = awaited(&fixture, 0, 1);
    let gate = fixture.store.hold_reads();
    fixture.host.advance(slow).await;
    drop(gate);
    fixture.store.hint(Hint::Notice(run.shard()));
    settle().await;
    assert_eq!(fixture.store.closed_reads(), 1);
    fixture.host.advance(slow - Duration::from_millis(1)).await;
    assert_eq!(fixture.store.closed_reads(), 1);
    fixture.host.advance(Duration::from_millis(1)).await;
    assert_eq!(fixture.store.closed_reads(), 2);
}

#[tokio::test]
async fn client_that_has_rested_reads_at_once_after_a_hint() {
    // Given a client whose last read took 100 ms and ended 100 ms ago
    let fixture = fixture();
    let gate = fixture.store.hold_reads();
    let (run, result) = awaited(&fixture, 0, 1);
    settle().await;
    fixture.host.advance(Duration::from_millis(100)).await;
    drop(gate);
    settle().await;
    fixture.host.advance(Duration::from_millis(100)).await;
    // When the run ends, then no more time passes before its result arrives
    fixture.store.close(run, &completed("hello"));
    fixture.store.hint(Hint::Notice(run.shard()));
    settle().await;
    assert!(result.is_finished());
}

#[tokio::test]
async fn result_arrives_after_the_store_was_unavailable() {
    let fixture = fixture();
    for _ in 0..3 {
        fixture.store.state().closed_errors.push_back(StoreError::unavailable("connection lost"));
    }
    let (run, result) = awaited(&fixture, 0, 1);
    fixture.store.close(run, &completed("hello"));
    for _ in 0..3 {
        settle().await;
        assert!(!result.is_finished());
        fixture.host.advance(POLL).await;
    }
    assert_eq!(result.await.unwrap().unwrap(), "hello");
}

#[tokio::test]
async fn permanent_error_reaches_the_waiters() {
    let fixture = fixture();
    fixture.store.state().closed_errors.push_back(StoreError::corrupt("no such column"));
    let (_, result) = awaited(&fixture, 0, 1);
    let error = result.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("no such column"), "{error}");
}

#[tokio::test]
async fn runtime_that_ended_is_an_error_and_not_a_hang() {
    let fixture = fixture();
    fixture.host.drops_tasks.store(true, Ordering::SeqCst);
    let (_, result) = awaited(&fixture, 0, 1);
    let error = result.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("runtime"), "{error}");
    fixture.host.drops_tasks.store(false, Ordering::SeqCst);
    let (run, result) = awaited(&fixture, 0, 1);
    fixture.store.close(run, &completed("hello"));
    assert_eq!(result.await.unwrap().unwrap(), "hello");
}

#[tokio::test]
async fn timeout_ends_the_wait_and_not_the_run() {
    let fixture = fixture();
    let run = RunId::new(NOW, ShardId::new(FIRST_SHARD).unwrap(), 1);
    let handle: RunHandle<Greeting> = RunHandle::known(fixture.client.shared.clone(), run, false);
    let result = spawn(handle.result().timeout(Duration::from_secs(5)));
    fixture.host.advance(Duration::from_secs(5)).await;
    let error = result.await.unwrap().unwrap_err();
    assert!(error.is_timeout() && error.to_string().contains("after 5s"), "{error}");
    settle().await;
    assert_eq!(fixture.host.tasks(), 0);
    fixture.store.close(run, &completed("late"));
    assert_eq!(handle.result().await.unwrap(), "late");
}

#[tokio::test]
async fn unknown_run_is_not_awaited() {
    let fixture = fixture();
    let run = RunId::new(NOW, ShardId::new(FIRST_SHARD).unwrap(), 1);
    let handle = fixture.client.handle::<Greeting>(run);
    assert!(handle.result().await.unwrap_err().is_unknown_run());
    fixture.store.describe_as(run, "farewell", OpenRow::default());
    let error = handle.result().await.unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("`farewell`"), "{error}");
}

#[tokio::test]
async fn outcomes_become_values_and_errors() {
    let fixture = fixture();
    let failure = Failure::new("out-of-stock", "nothing is left");
    let uncompensated =
        vec![Uncompensated { activity: "refund".to_owned(), failure: Failure::new("io", "bank is closed") }];

    let (run, result) = awaited(&fixture, 0, 1);
    fixture
        .store
        .close(run, &Event::RunFailed { failure: failure.clone(), uncompensated: uncompensated.clone() });
    let error = result.await.unwrap().unwrap_err();
    assert!(error.is_run_failed());
    assert_eq!((error.failure(), error.uncompensated()), (Some(&failure), &uncompensated[..]));
    assert!(
        error.to_string().ends_with("compensation `refund` failed as well: bank is closed (io)"),
        "{error}"
    );

    let (run, result) = awaited(&fixture, 0, 2);
    fixture.store.close(run, &Event::RunCancelled { reason: Some("no need".to_owned()), uncompensated });
    let error = result.await.unwrap().unwrap_err();
    assert!(error.is_run_cancelled());
    assert_eq!((error.reason(), error.uncompensated().len()), (Some("no need"), 1));

    let (run, result) = awaited(&fixture, 0, 3);
    let terminated = Event::RunTerminated {
        message: MessageId::from_u128(1),
        reason: "stuck".to_owned(),
        skipped: vec!["refund".to_owned()],
    };
    fixture.store.close(run, &terminated);
    let error = result.await.unwrap().unwrap_err();
    assert!(error.is_run_terminated());
    assert_eq!((error.reason(), error.skipped_compensations()), (Some("stuck"), &["refund".to_owned()][..]));
}

#[tokio::test]
async fn result_that_cannot_be_read_names_run_and_workflow() {
    let fixture = fixture();
    let (run, result) = awaited(&fixture, 0, 1);
    fixture.store.close(run, &Event::RunCompleted { result: Payload::encode(&7).unwrap() });
    let error = result.await.unwrap().unwrap_err();
    assert!(error.is_payload());
    let message = error.to_string();
    assert!(message.contains("workflow `greeting`") && message.contains("String"), "{message}");

    let (run, result) = awaited(&fixture, 0, 2);
    fixture.store.close_with(run, "greeting", ClosedStatus::Completed, Bytes::from_static(b"\xff"));
    let message = result.await.unwrap().unwrap_err().to_string();
    assert!(message.contains(&run.to_string()) && message.contains("newer"), "{message}");

    let (run, result) = awaited(&fixture, 0, 3);
    let outcome = wire::encode_event(&completed("bye"));
    fixture.store.close_with(run, "farewell", ClosedStatus::Completed, outcome);
    let message = result.await.unwrap().unwrap_err().to_string();
    assert!(message.contains("`farewell`"), "{message}");
}
