//! A server that crashes, and one that is restored to an older state.

use pgworkflows_core::store::{Store, StoreError};
use pgworkflows_pg_harness::Postgres;

use crate::support::*;

#[tokio::test]
async fn a_restored_server_is_noticed_by_the_next_append() {
    let server = Postgres::builder().durable().start().unwrap();
    let world = World::on(server.create_database().unwrap(), |builder| builder).await;
    let mut writer = world.writer().await;
    let run = world.run(0);
    world.submit(start(run, None, "start")).await;
    writer.append_event(run, 1).await.unwrap();
    let older = server.scratch_dir().join("older");
    server.copy_data_dir_to(&older).unwrap();
    // The first call after a restart may find that its connection was lost.
    while writer.append_event(run, 2).await.is_err() {}
    writer.append_event(run, 3).await.unwrap();
    // Other writers use transaction ids, so that the reader's snapshot is well ahead of the copy.
    for _ in 0..20 {
        world.execute("select pg_current_xact_id()").await;
    }
    assert_eq!(writer.read_texts(10).await, ["start"]);

    server.restore_from(&older).unwrap();
    let append = writer.batch().event(run, 4).done();
    let refused = until_available(async || writer.session.append(&append).await).await.unwrap_err();
    assert!(matches!(refused, StoreError::Fenced { .. }), "{refused:?}");
    assert!(refused.to_string().contains("lost commits"), "{refused}");
    assert_fenced(writer.read(10).await);
    // A new owner continues where the log ends, without a gap.
    writer.release().await;
    let mut next = world.writer().await;
    next.append_event(run, 2).await.unwrap();
    let history = &next.load(&[run]).await[0];
    assert_eq!(history.frames.iter().map(|frame| frame.position.get()).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn a_crash_of_the_server_loses_no_acknowledged_message() {
    let server = Postgres::builder().durable().start().unwrap();
    let world = World::on(server.create_database().unwrap(), |builder| builder).await;
    let mut writer = world.writer().await;
    let run = world.run(0);
    world.submit(start(run, None, "start")).await;
    assert_eq!(writer.read_texts(10).await, ["start"]);
    writer.append_event(run, 1).await.unwrap();
    let mut open = world.begin().await;
    world.store.submit_in(&mut open, &[signal(run, "never")]).await.unwrap();
    world.submit(signal(run, "kept")).await;

    server.kill().unwrap();
    world.store.submit(&[signal(run, "lost")]).await.unwrap_err();
    server.restart().unwrap();
    let page = until_available(async || writer.read(10).await).await.unwrap();
    // Whatever is still in the inbox is read again: a server that was promoted might have lost messages and their numbers.
    assert_eq!(texts(&page), ["start", "kept"]);
    // Transaction ids from before the crash may be reused: they hide no message.
    for number in 0..5 {
        let text = format!("after {number}");
        world.submit(signal(run, &text)).await;
        assert_eq!(writer.read_texts(10).await, [text]);
    }
    writer.append_event(run, 2).await.unwrap();
}
