//! Sessions: lost connections and calls that were cut short.

use std::time::Duration;

use pgworkflows_core::store::Store;

use crate::support::*;

const KILL_OTHERS: &str = "
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()";

#[tokio::test]
async fn a_connection_killed_between_calls_causes_one_error() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    world.execute(KILL_OTHERS).await;
    let append = writer.batch().event(world.run(0), 1).done();
    assert_outcome_unknown(writer.session.append(&append).await);
    writer.session.append(&append).await.unwrap();
    assert_eq!(world.count("frames").await, 1);
}

#[tokio::test]
async fn an_append_whose_connection_is_killed_during_the_call_is_applied_once() {
    let world = World::with(|builder| builder.lock_timeout(Duration::from_secs(10))).await;
    let mut writer = world.writer().await;
    let append = writer.batch().event(world.run(0), 1).done();
    // The append waits for its lease's row while its connection is killed.
    let mut transaction = world.lock_leases().await;
    let killer = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        execute(&mut transaction, KILL_OTHERS).await;
        transaction.rollback().await.unwrap();
    };
    let (lost, ()) = tokio::join!(writer.session.append(&append), killer);
    assert_outcome_unknown(lost);
    writer.session.append(&append).await.unwrap();
    writer.session.append(&append).await.unwrap();
    assert_eq!(world.count("frames").await, 1);
}

#[tokio::test]
async fn an_append_that_the_server_cancels_definitely_wrote_nothing() {
    let world = World::with(|builder| builder.lock_timeout(Duration::from_secs(10))).await;
    let mut writer = world.writer().await;
    let run = world.run(0);
    world.alter_database("set statement_timeout = '300ms'").await;
    // A new session has a short statement timeout, and the lease's row is locked for longer.
    writer.session = world.session().await;
    let transaction = world.lock_leases().await;
    let append = writer.batch().event(run, 1).done();
    assert_not_written(writer.session.append(&append).await);
    transaction.rollback().await.unwrap();
    world.alter_database("reset statement_timeout").await;
    writer.session = world.session().await;
    assert_eq!(world.count("frames").await, 0);
    // So another batch may use the same number.
    let other = writer.batch().event(run, 1).event(run, 2);
    writer.append(other).await.unwrap();
}

#[tokio::test]
async fn a_call_that_was_cut_short_does_not_poison_the_session() {
    let world = World::with(|builder| builder.lock_timeout(Duration::from_secs(10))).await;
    let mut writer = world.writer().await;
    let append = writer.batch().event(world.run(0), 1).done();
    let transaction = world.lock_leases().await;
    let cut = tokio::time::timeout(Duration::from_millis(100), writer.session.append(&append)).await;
    assert!(cut.is_err());
    // The next answer belongs to the next call.
    assert!(writer.read_texts(10).await.is_empty());
    transaction.rollback().await.unwrap();
    // The call that was cut short may still be applied: a retry is safe.
    writer.session.append(&append).await.unwrap();
    assert_eq!(world.count("frames").await, 1);
}

#[tokio::test]
async fn submissions_that_were_cut_short_do_not_poison_the_pool() {
    let world = World::with(|builder| builder.pool_size(1).lock_timeout(Duration::from_secs(10))).await;
    let mut transaction = world.begin().await;
    let start_under_key = || start(world.run(0), Some("acme"), "Acme");
    world.store.submit_in(&mut transaction, &[start_under_key()]).await.unwrap();
    for _ in 0..5 {
        let starts = [start_under_key()];
        let cut = tokio::time::timeout(Duration::from_millis(30), world.store.submit(&starts)).await;
        assert!(cut.is_err());
    }
    transaction.rollback().await.unwrap();
    world.store.submit(&[start(world.run(0), None, "Other")]).await.unwrap();
}

#[tokio::test]
async fn a_call_that_is_never_answered_is_given_up() {
    let world = World::with(|builder| {
        builder.lock_timeout(Duration::from_secs(1)).call_timeout(Duration::from_millis(1100))
    })
    .await;
    let mut writer = world.writer().await;
    // No lock timeout applies here: the append polls until it may continue.
    let sql = "
        create table public.held ();
        insert into public.held default values;
        create function public.hold() returns trigger language plpgsql as $$
        begin
            while exists (select from public.held) loop
                perform pg_sleep(0.02);
            end loop;
            return new;
        end $$;
        create trigger hold before insert on pgworkflows.appends for each row execute function public.hold()";
    world.execute(sql).await;
    let append = writer.batch().event(world.run(0), 1).done();
    assert_outcome_unknown(writer.session.append(&append).await);
    // The outcome was unknown indeed: the append is written later.
    world.execute("delete from public.held").await;
    while writer.session.append(&append).await.is_err() {}
    assert_eq!(world.count("frames").await, 1);
}
