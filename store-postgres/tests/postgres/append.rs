//! The append protocol: what is written, what is refused, and what a refusal leaves.

use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{AppendNo, InboxNo, MessageId, RunId};
use pgworkflows_core::store::{MessageRef, OpenRow, OpenState, StoreError, StoreQuery, UpdatedRun};
use sqlx::Connection;

use crate::support::*;

#[tokio::test]
async fn appended_events_are_read_back_as_they_were() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let (one, other) = (world.run(0), world.run(1));
    let batch = writer.batch().event(one, 1).event(one, 2).event(other, 1).opened(one, OpenState::Busy, None);
    let events = batch.append.events.clone();
    writer.append(batch).await.unwrap();
    writer.append_event(one, 3).await.unwrap();

    let histories = writer.load(&[other, one]).await;
    let runs: Vec<RunId> = histories.iter().map(|history| history.run).collect();
    let mut expected = vec![one, other];
    expected.sort();
    assert_eq!(runs, expected);
    let history = histories.iter().find(|history| history.run == one).unwrap();
    assert_eq!(history.events.len(), 3);
    for (read, written) in history.events.iter().zip(&events[..2]) {
        assert_eq!(read.seq, written.seq);
        assert_eq!(read.position, written.position);
        assert_eq!(read.name, written.name);
        assert_eq!(read.at, written.at);
        assert_eq!(read.body, written.body);
    }
    assert_eq!(world.store.history(one, Some(events[0].seq), 1).await.unwrap()[0].seq, events[1].seq);
}

#[tokio::test]
async fn fenced_append_writes_nothing() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let run = world.run(0);
    writer.append_event(run, 1).await.unwrap();
    writer.release().await;

    let refused = writer.append_event(run, 2).await;
    assert!(is_fenced(&refused), "{refused:?}");
    assert_eq!(world.count("events").await, 1);
}

#[tokio::test]
async fn repeated_append_is_applied_once() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let run = world.run(0);
    let append = writer.batch().event(run, 1).opened(run, OpenState::Busy, None).done();
    for _ in 0..3 {
        writer.session.append(&append).await.unwrap();
    }
    assert_eq!(world.count("events").await, 1);
    assert_eq!(world.count("open_runs").await, 1);
}

#[tokio::test]
async fn another_batch_under_the_same_number_is_fenced() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let run = world.run(0);
    let one = writer.batch().event(run, 1).done();
    let other = writer.batch().event(run, 1).event(run, 2).done();
    writer.session.append(&one).await.unwrap();
    let refused = writer.session.append(&other).await;
    assert!(is_fenced(&refused), "{refused:?}");
    assert_eq!(world.count("events").await, 1);
}

#[tokio::test]
async fn append_after_a_missing_one_is_fenced() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    writer.number = AppendNo::new(2);
    let refused = writer.append_event(world.run(0), 1).await;
    assert!(is_fenced(&refused), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains("lost commits"));
    assert_eq!(world.count("events").await, 0);
    // And the number was not used: no row was left.
    assert_eq!(world.count("appends").await, 1);
}

#[tokio::test]
async fn any_write_to_a_foreign_shard_is_fenced() {
    let world = World::new().await;
    let mut one = world.writer_for(TTL, 2).await;
    let other = world.writer_for(TTL, 2).await;
    let foreign = world.run(other.positions.keys().next().unwrap().get());
    let row = OpenRow { state: OpenState::Busy, wake_at: None, waiting_on: None };
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
        let refused = one.append(batch).await;
        assert!(is_fenced(&refused), "{refused:?}");
    }
    assert_eq!(world.count("events").await, 0);
    assert_eq!(world.count("open_runs").await, 0);
    assert_eq!(world.count("closed_runs").await, 0);
}

#[tokio::test]
async fn a_consumed_message_that_is_missing_is_a_conflict() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let run = world.run(0);
    world.submit(start(run, None, "Acme")).await;
    let page = writer.read(10).await.unwrap();
    let mut batch = writer.batch().event(run, 1).consumed(&page);
    let shard = run.shard();
    batch.append.consumed.push(MessageRef {
        shard,
        number: InboxNo::new(999),
        message: MessageId::from_u128(999),
    });
    let refused = writer.append(batch).await;
    assert!(is_conflict(&refused), "{refused:?}");
    assert_eq!(world.count("events").await, 0);
    assert_eq!(world.count("inbox").await, 1);

    let batch = writer.batch().event(run, 1).consumed(&page);
    writer.append(batch).await.unwrap();
    assert_eq!(world.count("inbox").await, 0);
}

#[tokio::test]
async fn an_event_number_that_was_used_is_a_conflict() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let run = world.run(0);
    writer.append_event(run, 1).await.unwrap();
    let refused = writer.append_event(run, 1).await;
    assert!(is_conflict(&refused), "{refused:?}");
    // The number of a refused append is free for another batch.
    writer.append_event(run, 2).await.unwrap();
}

#[tokio::test]
async fn update_of_a_run_that_is_not_open_is_a_conflict() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let mut batch = writer.batch();
    batch.append.updated.push(UpdatedRun { run: world.run(0), row: OpenRow::default() });
    let refused = writer.append(batch).await;
    assert!(is_conflict(&refused), "{refused:?}");
}

#[tokio::test]
async fn a_run_moves_from_open_to_closed() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let (long, short) = (world.run(0), world.run(1));
    let wake_at = Timestamp::from_micros(1_800_000_000_000_001);
    let batch = writer.batch().event(long, 1).opened(long, OpenState::Busy, None);
    writer.append(batch).await.unwrap();
    let row =
        OpenRow { state: OpenState::Parked, wake_at: Some(wake_at), waiting_on: Some("sleep".to_owned()) };
    let mut batch = writer.batch().event(long, 2);
    batch.append.updated.push(UpdatedRun { run: long, row: row.clone() });
    writer.append(batch).await.unwrap();
    let described = world.store.describe(long).await.unwrap().unwrap();
    assert_eq!((described.open, described.closed), (Some(row), None));

    // The other run begins and ends within one append.
    let batch = writer.batch().event(long, 3).closed(long).event(short, 1).closed(short);
    writer.append(batch).await.unwrap();
    for run in [long, short] {
        let described = world.store.describe(run).await.unwrap().unwrap();
        assert_eq!((described.open, described.closed), (None, Some(closed_run(run))));
    }
    assert_eq!(world.count("open_runs").await, 0);
    assert_eq!(world.closed(&[long, world.run(2), short]).await.len(), 2);
}

#[tokio::test]
async fn a_message_that_arrived_too_late_is_shown_as_undelivered() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let run = world.run(0);
    world.submit(start(run, None, "Acme")).await;
    world.submit(signal(run, "late")).await;
    let page = writer.read(1).await.unwrap();
    let batch = writer.batch().event(run, 1).closed(run).consumed(&page);
    writer.append(batch).await.unwrap();
    let page = writer.read(1).await.unwrap();
    let batch = writer.batch().undelivered(&page);
    writer.append(batch).await.unwrap();
    let described = world.store.describe(run).await.unwrap().unwrap();
    assert_eq!(described.undelivered.len(), 1);
    assert_eq!(&described.undelivered[0].body[..], b"late");
    assert_eq!(world.count("inbox").await, 0);
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
async fn an_open_transaction_with_a_key_a_start_or_a_signal_does_not_block_an_append() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let run = world.run(0);
    world.submit(start(run, Some("acme"), "Acme")).await;
    let page = writer.read(10).await.unwrap();

    let mut connection = world.connection().await;
    let mut transaction = connection.begin().await.unwrap();
    let others = [start(world.run(0), Some("other"), "Other"), signal(run, "hello")];
    world.store.submit_in(&mut transaction, &others).await.unwrap();

    let began = std::time::Instant::now();
    let batch = writer.batch().event(run, 1).consumed(&page);
    writer.append(batch).await.unwrap();
    let batch = writer.batch().event(run, 2).closed(run);
    writer.append(batch).await.unwrap();
    assert!(began.elapsed() < LOCK_TIMEOUT, "{:?}", began.elapsed());
    transaction.rollback().await.unwrap();
}

#[tokio::test]
async fn an_append_that_finds_its_lease_locked_gives_up_in_time() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let run = world.run(0);
    let mut connection = world.connection().await;
    let mut transaction = connection.begin().await.unwrap();
    sqlx::query("select from pgworkflows.leases for update").execute(&mut *transaction).await.unwrap();
    let append = writer.batch().event(run, 1).done();
    let waited = writer.session.append(&append).await;
    assert!(is_definite(&waited), "{waited:?}");
    transaction.rollback().await.unwrap();
    writer.session.append(&append).await.unwrap();
}

#[tokio::test]
async fn every_write_requires_read_committed() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let mut connection = world.connection().await;
    let database = world.database.name();
    let sql = format!("alter database {database} set default_transaction_isolation = 'repeatable read'");
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    // Open sessions keep their default; a new session gets the new one.
    writer.append_event(world.run(0), 1).await.unwrap();
    writer.session = world.session().await;
    let refused = writer.append_event(world.run(0), 1).await;
    assert!(matches!(refused, Err(StoreError::Misconfigured { .. })), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains("read committed"));
}
