//! Reading the inbox by snapshots: no message is skipped, doubled or overtaken.

use pgworkflows_core::RunId;
use sqlx::PgConnection;

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
async fn two_signals_of_a_client_are_never_swapped_across_pages() {
    let (world, mut writer, run) = with_run().await;
    // The client's first signal takes the lowest number, and commits after the first page.
    let mut transaction = world.begin().await;
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
async fn server_whose_transaction_ids_are_lower_than_the_cursor_has_lost_commits() {
    let (_world, mut writer, _) = with_run().await;
    let cursor = String::from_utf8(writer.cursor.0.to_vec()).unwrap();
    let [server, snapshot, greatest] = cursor.split('|').collect::<Vec<_>>()[..] else { panic!("{cursor}") };
    let mut snapshot = snapshot.split(':').map(|id| id.parse::<u64>().unwrap_or(0)).collect::<Vec<_>>();
    snapshot[1] += 1_000_000;
    writer.cursor.0 = format!("{server}|{}:{}:|{greatest}", snapshot[0], snapshot[1]).into();
    assert_fenced(writer.read(10).await);
}

#[tokio::test]
async fn a_transaction_id_reused_after_a_crash_hides_no_message() {
    let (world, mut writer, run) = with_run().await;
    world.submit(signal(run, "a")).await;
    // As if the transaction that wrote it had ended before the cursor's snapshot was taken.
    let last = "(select max(number) from pgworkflows.inbox)";
    world.execute(format!("update pgworkflows.inbox set xid = '3'::xid8 where number = {last}")).await;
    assert_eq!(writer.read_texts(10).await, ["a"]);
    assert!(writer.read_texts(10).await.is_empty());
}

#[tokio::test]
async fn standby_that_lost_numbers_and_uses_them_again_hides_no_message() {
    // Given a message whose number and transaction id were used before, by the server that failed
    let (world, mut writer, run) = with_run().await;
    for text in ["a", "b"] {
        world.submit(signal(run, text)).await;
    }
    assert_eq!(writer.read_texts(10).await, ["a", "b"]);
    let last = "(select max(number) from pgworkflows.inbox)";
    world.execute(format!("update pgworkflows.inbox set xid = '3'::xid8 where number = {last}")).await;
    assert!(writer.read_texts(10).await.is_empty());
    // When the cursor comes from another server
    let cursor = String::from_utf8(writer.cursor.0.to_vec()).unwrap();
    let (_, of_that_server) = cursor.split_once('|').unwrap();
    writer.cursor.0 = format!("1|{of_that_server}").into();
    // Then the heartbeat finds it, and it is read
    assert!(heartbeat(&mut writer, None).await.leases[0].mail);
    assert_eq!(writer.read_texts(10).await, ["start", "a", "b"]);
    assert!(writer.read_texts(10).await.is_empty());
}
