//! A server that crashes, and one that is restored to an older state.

use pgworkflows_core::store::Store;
use pgworkflows_pg_harness::Postgres;
use pgworkflows_postgres::PostgresStore;
use sqlx::Connection;

use crate::support::*;

async fn world_on(server: &Postgres) -> World {
    let database = server.create_database().unwrap();
    let store = PostgresStore::builder(database.url()).verify_appends(false).connect().await.unwrap();
    let queue = store.queue("default", 4).await.unwrap();
    World { store, queue, database }
}

#[tokio::test]
async fn a_restored_server_is_noticed_by_the_next_append() {
    let server = Postgres::builder().durable().start().unwrap();
    let world = world_on(&server).await;
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
        let sql = "select pg_current_xact_id()";
        sqlx::query(sql).execute(&mut world.connection().await).await.unwrap();
    }
    assert_eq!(writer.read_texts(10).await, ["start"]);

    server.restore_from(&older).unwrap();
    let append = writer.batch().event(run, 4).done();
    let refused = loop {
        match writer.session.append(&append).await {
            waited if is_unavailable(&waited) => {}
            answered => break answered,
        }
    };
    assert!(is_fenced(&refused), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains("lost commits"));
    let unread = writer.read(10).await;
    assert!(is_fenced(&unread), "{unread:?}");
    // A new owner continues where the log ends, without a gap.
    writer.release().await;
    let mut heir = world.writer().await;
    heir.append_event(run, 2).await.unwrap();
    let history = &heir.load(&[run]).await[0];
    assert_eq!(history.events.iter().map(|event| event.position.get()).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn a_crash_of_the_server_loses_no_acknowledged_message() {
    let server = Postgres::builder().durable().start().unwrap();
    let world = world_on(&server).await;
    let mut writer = world.writer().await;
    let run = world.run(0);
    world.submit(start(run, None, "start")).await;
    assert_eq!(writer.read_texts(10).await, ["start"]);
    writer.append_event(run, 1).await.unwrap();
    let mut connection = world.connection().await;
    let mut open = connection.begin().await.unwrap();
    world.store.submit_in(&mut open, &[signal(run, "never")]).await.unwrap();
    world.submit(signal(run, "kept")).await;

    server.kill().unwrap();
    assert!(is_unavailable(&world.store.submit(&[signal(run, "lost")]).await));
    server.restart().unwrap();
    let page = loop {
        match writer.read(10).await {
            waited if is_unavailable(&waited) => {}
            answered => break answered.unwrap(),
        }
    };
    assert_eq!(texts(&page), ["kept"]);
    // Transaction ids from before the crash may be reused: they hide no message.
    for number in 0..5 {
        let text = format!("after {number}");
        world.submit(signal(run, &text)).await;
        assert_eq!(writer.read_texts(10).await, [text]);
    }
    writer.append_event(run, 2).await.unwrap();
}
