//! The append protocol: what is written, what is refused, and what a refusal leaves.

use pgworkflows_core::id::{InboxNo, MessageId};
use pgworkflows_core::store::{MessageRef, OpenRow, OpenState, StoreError, UpdatedRun};

use crate::support::*;

#[tokio::test]
async fn any_write_to_a_foreign_shard_is_fenced() {
    let world = World::new().await;
    let mut one = world.writer_for(TTL, 2).await;
    let other = world.writer_for(TTL, 2).await;
    let foreign = world.run(other.positions.keys().next().unwrap().get());
    let row = OpenRow { state: OpenState::Busy, wake_at: None, waiting_on: None, waits: None };
    let mut updated = one.batch();
    updated.append.updated.push(UpdatedRun { run: foreign, row });
    let mut consumed = one.batch();
    consumed.append.consumed.push(MessageRef {
        shard: foreign.shard(),
        number: InboxNo::new(1),
        message: MessageId::from_u128(1),
    });
    for batch in [
        one.batch().event(foreign, 1),
        one.batch().opened(foreign, OpenState::Busy, None),
        one.batch().closed(foreign),
        updated,
        consumed,
    ] {
        assert_fenced(one.append(batch).await);
    }
    assert_eq!(world.count("frames").await, 0);
    assert_eq!(world.count("open_runs").await, 0);
    assert_eq!(world.count("closed_runs").await, 0);
}

#[tokio::test]
async fn an_event_number_that_was_used_is_a_conflict() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let run = world.run(0);
    writer.append_event(run, 1).await.unwrap();
    assert_conflict(writer.append_event(run, 1).await);
    // The number of a refused append is free for another batch.
    writer.append_event(run, 2).await.unwrap();
}

#[tokio::test]
async fn update_of_a_run_that_is_not_open_is_a_conflict() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let mut batch = writer.batch();
    batch.append.updated.push(UpdatedRun { run: world.run(0), row: OpenRow::default() });
    assert_conflict(writer.append(batch).await);
}

#[tokio::test]
async fn content_that_the_server_refuses_leaves_the_number_free() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let run = world.run(0);
    let mut batch = writer.batch().event(run, 1).opened(run, OpenState::Busy, None);
    batch.append.opened[0].workflow = "with a NUL: \0".into();
    let refused = writer.append(batch).await;
    assert!(matches!(refused, Err(StoreError::LimitExceeded { .. })), "{refused:?}");
    writer.append_event(run, 1).await.unwrap();
}

#[tokio::test]
async fn old_append_numbers_are_trimmed_but_never_the_last_two() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    for _ in 0..1999 {
        let batch = writer.batch();
        writer.append(batch).await.unwrap();
    }
    let last = writer.batch().done();
    writer.session.append(&last).await.unwrap();
    assert_eq!(world.count("appends").await, 2);
    writer.session.append(&last).await.unwrap();
}

#[tokio::test]
async fn append_that_finds_its_lease_locked_gives_up() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let append = writer.batch().event(world.run(0), 1).done();
    let transaction = world.lock_leases().await;
    assert_not_written(writer.session.append(&append).await);
    transaction.rollback().await.unwrap();
    writer.session.append(&append).await.unwrap();
}

#[tokio::test]
async fn every_write_requires_read_committed() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    world.alter_database("set default_transaction_isolation = 'repeatable read'").await;
    // Open sessions keep the old default.
    writer.append_event(world.run(0), 1).await.unwrap();
    writer.session = world.session().await;
    assert_misconfigured(writer.append_event(world.run(0), 1).await, &["read committed"]);
}
