//! Reading the inbox by snapshots: no message is skipped, doubled or overtaken.

use pgworkflows_core::RunId;
use sqlx::{Connection, PgConnection};

use crate::support::*;

/// A fixture with one open run whose start was read.
async fn with_run() -> (World, Writer, RunId) {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let run = world.run(0);
    world.submit(start(run, None, "start")).await;
    assert_eq!(writer.read_texts(10).await, ["start"]);
    (world, writer, run)
}

async fn submit_in(world: &World, connection: &mut PgConnection, run: RunId, text: &str) {
    world.store.submit_in(connection, &[signal(run, text)]).await.unwrap();
}

#[tokio::test]
async fn every_message_is_read_once() {
    let (world, mut writer, run) = with_run().await;
    assert!(writer.read_texts(10).await.is_empty());
    world.submit(signal(run, "a")).await;
    world.submit(signal(run, "b")).await;
    assert_eq!(writer.read_texts(10).await, ["a", "b"]);
    assert!(writer.read_texts(10).await.is_empty());
}

#[tokio::test]
async fn a_new_owner_reads_all_waiting_messages() {
    let (world, mut writer, run) = with_run().await;
    world.submit(signal(run, "a")).await;
    writer.release().await;
    let mut writer = world.writer().await;
    assert_eq!(writer.read_texts(10).await, ["start", "a"]);
}

#[tokio::test]
async fn a_low_number_that_commits_late_is_not_skipped() {
    let (world, mut writer, run) = with_run().await;
    let mut connection = world.connection().await;
    let mut transaction = connection.begin().await.unwrap();
    submit_in(&world, &mut transaction, run, "early number").await;
    world.submit(signal(run, "late number")).await;
    assert_eq!(writer.read_texts(10).await, ["late number"]);
    assert!(writer.read_texts(10).await.is_empty());
    transaction.commit().await.unwrap();
    assert_eq!(writer.read_texts(10).await, ["early number"]);
    assert!(writer.read_texts(10).await.is_empty());
}

#[tokio::test]
async fn two_signals_of_a_client_are_never_swapped() {
    let (world, mut writer, run) = with_run().await;
    let mut connection = world.connection().await;
    let mut transaction = connection.begin().await.unwrap();
    submit_in(&world, &mut transaction, run, "first").await;
    // Another client's message, so that the reader's snapshot is ahead of the open transaction.
    world.submit(signal(run, "other")).await;
    assert_eq!(writer.read_texts(10).await, ["other"]);
    transaction.commit().await.unwrap();
    world.submit(signal(run, "second")).await;
    assert_eq!(writer.read_texts(10).await, ["first", "second"]);
}

#[tokio::test]
async fn two_signals_of_a_client_are_not_swapped_across_pages() {
    let (world, mut writer, run) = with_run().await;
    // The client's first signal takes the lowest number, and commits after the first page.
    let mut connection = world.connection().await;
    let mut transaction = connection.begin().await.unwrap();
    submit_in(&world, &mut transaction, run, "first").await;
    for text in ["x1", "x2", "x3", "x4"] {
        world.submit(signal(run, text)).await;
    }
    let page = writer.read(2).await.unwrap();
    assert_eq!((texts(&page), page.more), (vec!["x1".to_owned(), "x2".to_owned()], true));
    transaction.commit().await.unwrap();
    world.submit(signal(run, "second")).await;
    // The client's second signal has the greatest number and is visible, but belongs to a later read.
    let page = writer.read(2).await.unwrap();
    assert_eq!((texts(&page), page.more), (vec!["x3".to_owned(), "x4".to_owned()], true));
    assert_eq!(writer.read_texts(2).await, ["first", "second"]);
}

#[tokio::test]
async fn a_first_read_in_pages_uses_one_snapshot_too() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let run = world.run(0);
    world.submit(start(run, None, "start")).await;
    let mut connection = world.connection().await;
    let mut transaction = connection.begin().await.unwrap();
    submit_in(&world, &mut transaction, run, "first").await;
    world.submit(signal(run, "x1")).await;
    assert_eq!(writer.read_texts(1).await, ["start"]);
    transaction.commit().await.unwrap();
    world.submit(signal(run, "second")).await;
    assert_eq!(writer.read_texts(1).await, ["x1"]);
    assert_eq!(writer.read_texts(9).await, ["first", "second"]);
}

#[tokio::test]
async fn messages_of_many_shards_come_in_the_order_of_their_numbers() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let mut expected = Vec::new();
    for number in 0..20 {
        let text = number.to_string();
        world.submit(start(world.run(number % 4), None, &text)).await;
        expected.push(text);
    }
    let mut read = Vec::new();
    loop {
        let page = writer.read(3).await.unwrap();
        read.extend(texts(&page));
        if !page.more {
            break;
        }
    }
    assert_eq!(read, expected);
}

#[tokio::test]
async fn a_message_that_was_rolled_back_is_never_read() {
    let (world, mut writer, run) = with_run().await;
    let mut connection = world.connection().await;
    let mut transaction = connection.begin().await.unwrap();
    submit_in(&world, &mut transaction, run, "never").await;
    assert!(writer.read_texts(10).await.is_empty());
    transaction.rollback().await.unwrap();
    assert!(writer.read_texts(10).await.is_empty());
}

#[tokio::test]
async fn a_server_whose_transactions_are_behind_the_cursor_has_lost_commits() {
    let (_world, mut writer, _) = with_run().await;
    let cursor = String::from_utf8(writer.cursor.0.to_vec()).unwrap();
    let (snapshot, greatest) = cursor.split_once('|').unwrap();
    let mut snapshot = snapshot.split(':').map(|id| id.parse::<u64>().unwrap_or(0)).collect::<Vec<_>>();
    snapshot[1] += 1_000_000;
    writer.cursor.0 = format!("{}:{}:|{greatest}", snapshot[0], snapshot[1]).into();
    let refused = writer.read(10).await;
    assert!(is_fenced(&refused), "{refused:?}");
}

#[tokio::test]
async fn a_transaction_id_reused_after_a_crash_hides_no_message() {
    let (world, mut writer, run) = with_run().await;
    world.submit(signal(run, "a")).await;
    // As if the transaction that wrote it had ended before the cursor's snapshot was taken.
    sqlx::query("update pgworkflows.inbox set xid = '3'::xid8 where number = (select max(number) from pgworkflows.inbox)")
        .execute(&mut world.connection().await)
        .await
        .unwrap();
    assert_eq!(writer.read_texts(10).await, ["a"]);
    assert!(writer.read_texts(10).await.is_empty());
}
