//! Waiting for results: one task for all, told by hints, kept going by polls.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::fake::{FIRST_SHARD, NOW, settle};
use super::{Greeting, World, spawn, world};
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

/// A run that was started by `world`'s client, and somebody who waits for it.
fn awaited(world: &World, shard: u16, random: u64) -> (RunId, JoinHandle<Result<String, Error>>) {
    let run = RunId::new(NOW, ShardId::new(FIRST_SHARD + shard).unwrap(), random);
    let handle: RunHandle<Greeting> = RunHandle::known(world.client.shared.clone(), run, false);
    (run, spawn(handle.result()))
}

fn completed(text: &str) -> Event {
    Event::RunCompleted { result: Payload::encode(text).unwrap() }
}

#[tokio::test]
async fn result_that_is_there_is_returned_at_once() {
    let world = world();
    let (run, result) = awaited(&world, 0, 1);
    world.store.close(run, &completed("hello"));
    assert_eq!(result.await.unwrap().unwrap(), "hello");
    settle().await;
    assert_eq!((world.store.closed_reads(), world.host.tasks()), (1, 0));
}

#[tokio::test]
async fn result_comes_with_its_hint() {
    let world = world();
    let (run, result) = awaited(&world, 0, 1);
    settle().await;
    world.store.close(run, &completed("hello"));
    settle().await;
    assert!(!result.is_finished());
    world.store.hint(Hint::Notice(run.shard()));
    assert_eq!(result.await.unwrap().unwrap(), "hello");
}

#[tokio::test]
async fn result_comes_with_the_poll_when_its_hint_is_lost() {
    let world = world();
    let (run, result) = awaited(&world, 0, 1);
    settle().await;
    world.store.close(run, &completed("hello"));
    world.host.advance(POLL - Duration::from_millis(1)).await;
    assert!(!result.is_finished());
    world.host.advance(Duration::from_millis(1)).await;
    assert_eq!(result.await.unwrap().unwrap(), "hello");
}

#[tokio::test]
async fn hint_that_hints_were_lost_is_as_good_as_a_poll() {
    let world = world();
    let (run, result) = awaited(&world, 0, 1);
    settle().await;
    world.store.close(run, &completed("hello"));
    // More than the channel holds, so that the client lags.
    (0..10).for_each(|_| world.store.hint(Hint::Mail(run.shard())));
    assert_eq!(result.await.unwrap().unwrap(), "hello");
}

#[tokio::test]
async fn a_thousand_waiters_ask_once() {
    let world = world();
    let waiters: Vec<_> = (0..1000).map(|number| awaited(&world, number as u16 % 64, number)).collect();
    settle().await;
    let first = world.store.closed_reads();
    assert!(first <= 2, "{first} reads");
    for (run, _) in &waiters {
        world.store.close(*run, &completed("hello"));
    }
    world.store.hint(Hint::Missed);
    for (_, result) in waiters {
        assert_eq!(result.await.unwrap().unwrap(), "hello");
    }
    assert_eq!(world.store.closed_reads(), first + 1);
    assert_eq!(world.store.state().closed_asked.last().unwrap().len(), 1000);
}

#[tokio::test]
async fn more_runs_than_one_read_holds_are_asked_for_in_several() {
    let world = world();
    let waiters: Vec<_> = (0..2500).map(|number| awaited(&world, 0, number)).collect();
    settle().await;
    world.store.state().closed_asked.clear();
    world.store.hint(Hint::Missed);
    settle().await;
    let sizes: Vec<_> = world.store.state().closed_asked.iter().map(Vec::len).collect();
    assert_eq!(sizes, [1000, 1000, 500]);
    drop(waiters);
}

#[tokio::test]
async fn answer_that_was_cut_is_asked_for_again_from_there() {
    // Given an open run, and three others whose outcomes do not fit into one answer
    let world = world();
    let waiters: Vec<_> = (0..4).map(|number| awaited(&world, 0, number)).collect();
    let runs: Vec<_> = waiters.iter().map(|(run, _)| *run).collect();
    let long = Bytes::from(vec![0; limits::PAGE_BYTES_MAX]);
    for run in [runs[0], runs[2], runs[3]] {
        world.store.close_with(run, "greeting", ClosedStatus::Completed, long.clone());
    }
    // When they are waited for
    settle().await;
    // Then each answer is followed by a question about the rest, and all are told at once
    assert_eq!(world.store.state().closed_asked, [&runs[..], &runs[2..], &runs[3..]]);
    let told: Vec<_> = waiters.iter().map(|(_, result)| result.is_finished()).collect();
    assert_eq!(told, [true, false, true, true]);
}

#[tokio::test]
async fn hint_asks_for_the_runs_of_its_shard_alone() {
    let world = world();
    let (one, _waits) = awaited(&world, 1, 1);
    let (_other, _waits_too) = awaited(&world, 2, 2);
    settle().await;
    world.store.state().closed_asked.clear();
    world.store.hint(Hint::Notice(ShardId::new(FIRST_SHARD + 3).unwrap()));
    world.store.hint(Hint::Mail(one.shard()));
    world.store.hint(Hint::Notice(one.shard()));
    settle().await;
    let asked = world.store.state().closed_asked.concat();
    assert_eq!(asked, [one]);
}

#[tokio::test]
async fn task_ends_when_the_last_waiter_leaves_and_comes_back_with_the_next() {
    let world = world();
    let (_, result) = awaited(&world, 0, 1);
    settle().await;
    assert_eq!(world.host.tasks(), 1);
    result.abort();
    settle().await;
    assert_eq!(world.host.tasks(), 0);
    let reads = world.store.closed_reads();
    world.host.advance(POLL).await;
    assert_eq!(world.store.closed_reads(), reads);
    let (run, result) = awaited(&world, 0, 2);
    world.store.close(run, &completed("again"));
    assert_eq!(result.await.unwrap().unwrap(), "again");
}

#[tokio::test]
async fn two_waiters_of_one_run_both_get_its_result() {
    let world = world();
    let (run, one) = awaited(&world, 0, 1);
    let (_, other) = awaited(&world, 0, 1);
    let (_, gone) = awaited(&world, 0, 1);
    settle().await;
    gone.abort();
    settle().await;
    world.store.close(run, &completed("hello"));
    world.store.hint(Hint::Notice(run.shard()));
    assert_eq!(one.await.unwrap().unwrap(), "hello");
    assert_eq!(other.await.unwrap().unwrap(), "hello");
}

#[tokio::test]
async fn store_that_is_slow_is_given_rest() {
    let world = world();
    let slow = Duration::from_millis(300);
    let (run, _waits) = awaited(&world, 0, 1);
    let gate = world.store.hold_reads();
    world.host.advance(slow).await;
    drop(gate);
    world.store.hint(Hint::Notice(run.shard()));
    settle().await;
    assert_eq!(world.store.closed_reads(), 1);
    world.host.advance(slow - Duration::from_millis(1)).await;
    assert_eq!(world.store.closed_reads(), 1);
    world.host.advance(Duration::from_millis(1)).await;
    assert_eq!(world.store.closed_reads(), 2);
}

#[tokio::test]
async fn store_that_goes_away_is_waited_for() {
    let world = world();
    for _ in 0..3 {
        world.store.state().closed_errors.push_back(StoreError::unavailable("gone"));
    }
    let (run, result) = awaited(&world, 0, 1);
    world.store.close(run, &completed("hello"));
    for _ in 0..3 {
        settle().await;
        assert!(!result.is_finished());
        world.host.advance(POLL).await;
    }
    assert_eq!(result.await.unwrap().unwrap(), "hello");
}

#[tokio::test]
async fn error_that_time_does_not_cure_reaches_those_who_wait() {
    let world = world();
    world.store.state().closed_errors.push_back(StoreError::corrupt("no such column"));
    let (_, result) = awaited(&world, 0, 1);
    let error = result.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("no such column"), "{error}");
}

#[tokio::test]
async fn runtime_that_ended_is_an_error_and_not_a_hang() {
    let world = world();
    world.host.drops_tasks.store(true, Ordering::SeqCst);
    let (_, result) = awaited(&world, 0, 1);
    let error = result.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("runtime"), "{error}");
    world.host.drops_tasks.store(false, Ordering::SeqCst);
    let (run, result) = awaited(&world, 0, 1);
    world.store.close(run, &completed("hello"));
    assert_eq!(result.await.unwrap().unwrap(), "hello");
}

#[tokio::test]
async fn timeout_gives_up_and_the_run_goes_on() {
    let world = world();
    let run = RunId::new(NOW, ShardId::new(FIRST_SHARD).unwrap(), 1);
    let handle: RunHandle<Greeting> = RunHandle::known(world.client.shared.clone(), run, false);
    let result = spawn(handle.result().timeout(Duration::from_secs(5)));
    world.host.advance(Duration::from_secs(5)).await;
    let error = result.await.unwrap().unwrap_err();
    assert!(error.is_timeout() && error.to_string().contains("after 5s"), "{error}");
    settle().await;
    assert_eq!(world.host.tasks(), 0);
    world.store.close(run, &completed("late"));
    assert_eq!(handle.result().await.unwrap(), "late");
}

#[tokio::test]
async fn run_that_is_not_there_is_not_waited_for() {
    let world = world();
    let run = RunId::new(NOW, ShardId::new(FIRST_SHARD).unwrap(), 1);
    let handle = world.client.handle::<Greeting>(run);
    assert!(handle.result().await.unwrap_err().is_unknown_run());
    world.store.describe_as(run, "farewell", OpenRow::default());
    let error = handle.result().await.unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("`farewell`"), "{error}");
}

#[tokio::test]
async fn outcomes_become_values_and_errors() {
    let world = world();
    let failure = Failure::new("out-of-stock", "nothing is left");
    let uncompensated =
        vec![Uncompensated { activity: "refund".to_owned(), failure: Failure::new("io", "bank is closed") }];

    let (run, result) = awaited(&world, 0, 1);
    world
        .store
        .close(run, &Event::RunFailed { failure: failure.clone(), uncompensated: uncompensated.clone() });
    let error = result.await.unwrap().unwrap_err();
    assert!(error.is_run_failed());
    assert_eq!((error.failure(), error.uncompensated()), (Some(&failure), &uncompensated[..]));
    assert!(
        error.to_string().ends_with("compensation `refund` failed as well: bank is closed (io)"),
        "{error}"
    );

    let (run, result) = awaited(&world, 0, 2);
    world.store.close(run, &Event::RunCancelled { reason: Some("no need".to_owned()), uncompensated });
    let error = result.await.unwrap().unwrap_err();
    assert!(error.is_run_cancelled());
    assert_eq!((error.reason(), error.uncompensated().len()), (Some("no need"), 1));

    let (run, result) = awaited(&world, 0, 3);
    let terminated = Event::RunTerminated {
        message: MessageId::from_u128(1),
        reason: "stuck".to_owned(),
        skipped: vec!["refund".to_owned()],
    };
    world.store.close(run, &terminated);
    let error = result.await.unwrap().unwrap_err();
    assert!(error.is_run_terminated());
    assert_eq!((error.reason(), error.skipped_compensations()), (Some("stuck"), &["refund".to_owned()][..]));
}

#[tokio::test]
async fn result_that_cannot_be_read_names_run_and_workflow() {
    let world = world();
    let (run, result) = awaited(&world, 0, 1);
    world.store.close(run, &Event::RunCompleted { result: Payload::encode(&7).unwrap() });
    let error = result.await.unwrap().unwrap_err();
    assert!(error.is_payload());
    let message = error.to_string();
    assert!(message.contains("workflow `greeting`") && message.contains("String"), "{message}");

    let (run, result) = awaited(&world, 0, 2);
    world.store.close_with(run, "greeting", ClosedStatus::Completed, Bytes::from_static(b"\xff"));
    let message = result.await.unwrap().unwrap_err().to_string();
    assert!(message.contains(&run.to_string()) && message.contains("newer"), "{message}");

    let (run, result) = awaited(&world, 0, 3);
    let outcome = wire::encode_event(&completed("bye"));
    world.store.close_with(run, "farewell", ClosedStatus::Completed, outcome);
    let message = result.await.unwrap().unwrap_err().to_string();
    assert!(message.contains("`farewell`"), "{message}");
}
