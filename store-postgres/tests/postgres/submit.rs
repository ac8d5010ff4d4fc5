//! Submitting messages: answers, keys, and transactions of the caller.

use pgworkflows_core::RunId;
use pgworkflows_core::store::{Store, StoreError, StoreQuery, Submitted};
use pgworkflows_pg_harness::Postgres;
use pgworkflows_postgres::PostgresStore;
use sqlx::postgres::PgListener;
use sqlx::{Connection, PgConnection};

use crate::support::*;

#[tokio::test]
async fn a_batch_is_answered_one_by_one_and_kept_in_order() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let (one, other) = (world.run(2), world.run(1));
    let batch = [
        start(one, Some("a"), "1"),
        signal(one, "2"),
        start(world.run(0), Some("a"), "1"),
        signal(world.run(3), "unknown"),
        start(other, None, "3"),
        signal(one, "4"),
    ];
    assert_eq!(
        world.store.submit(&batch).await.unwrap(),
        [
            Submitted::Accepted,
            Submitted::Accepted,
            Submitted::Existing(one),
            Submitted::UnknownRun,
            Submitted::Accepted,
            Submitted::Accepted,
        ]
    );
    assert_eq!(writer.read_texts(10).await, ["1", "2", "3", "4"]);
    assert!(world.store.submit(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_start_in_a_transaction_exists_if_and_when_it_commits() {
    let world = World::new().await;
    let run = world.run(0);
    let mut connection = world.connection().await;
    let mut transaction = connection.begin().await.unwrap();
    let start = [start(run, Some("acme"), "Acme")];
    world.store.submit_in(&mut transaction, &start).await.unwrap();
    transaction.rollback().await.unwrap();
    assert!(world.store.describe(run).await.unwrap().is_none());
    assert!(world.store.find("trial", "acme").await.unwrap().is_none());

    let mut transaction = connection.begin().await.unwrap();
    assert_eq!(world.store.submit_in(&mut transaction, &start).await.unwrap(), [Submitted::Accepted]);
    assert!(world.store.describe(run).await.unwrap().is_none());
    transaction.commit().await.unwrap();
    assert!(world.store.describe(run).await.unwrap().is_some());
}

#[tokio::test]
async fn many_starts_in_one_transaction_need_no_subtransactions() {
    // Given a transaction with many starts, of which some are repeated
    let world = World::new().await;
    let mut transaction = world.begin().await;
    let starts: Vec<_> = (0..4).map(|shard| start(world.run(shard), None, "1")).collect();
    for start in [&starts[..], &starts[..]].concat() {
        assert_eq!(world.store.submit_in(&mut transaction, &[start]).await.unwrap(), [Submitted::Accepted]);
    }
    transaction.commit().await.unwrap();

    // Then one transaction wrote all of their rows
    let sql = "select count(*), count(distinct xmin::text) from pgworkflows.open_runs";
    let (rows, writers): (i64, i64) =
        sqlx::query_as(sql).fetch_one(&mut world.connection().await).await.unwrap();
    assert_eq!((rows, writers), (4, 1));
}

#[tokio::test]
async fn a_batch_for_every_possible_shard_notifies_in_a_transaction() {
    let world = World::new().await;
    let run = |shard| world.run(shard);
    let starts: Vec<_> = (0..4096).map(|shard| start(run(shard), None, "1")).collect();
    let mut listener = PgListener::connect(world.database.url()).await.unwrap();
    listener.listen("pgworkflows_hints").await.unwrap();
    let mut transaction = world.begin().await;
    let answers = world.store.submit_in(&mut transaction, &starts).await.unwrap();
    assert!(answers.iter().all(|answer| *answer == Submitted::Accepted));
    transaction.commit().await.unwrap();
    let mut hinted = Vec::new();
    while hinted.len() < 4096 {
        let payload = listener.recv().await.unwrap().payload().to_owned();
        let shards = payload.strip_prefix("mail ").unwrap();
        hinted.extend(shards.split(',').map(|shard| shard.parse::<u16>().unwrap()));
    }
    hinted.sort_unstable();
    assert!(hinted.into_iter().eq(0..4096));
}

#[tokio::test]
async fn a_connection_in_another_encoding_is_refused_before_it_garbles_a_key() {
    let world = World::new().await;
    let mut connection = world.connection().await;
    execute(&mut connection, "set client_encoding = 'LATIN1'").await;
    let start = [start(world.run(0), Some("größe"), "1")];
    let answer = world.store.submit_in(&mut connection, &start).await;
    assert_misconfigured(answer, &["client_encoding is `LATIN1`"]);
    assert_eq!(world.count("run_keys").await, 0);
}

#[tokio::test]
async fn simultaneous_starts_under_one_key_make_one_run() {
    let world = World::new().await;
    let starts = (0..8).map(|_| world.submit(start(world.run(0), Some("acme"), "Acme")));
    let answers = futures::future::join_all(starts).await;
    let run = world.store.find("trial", "acme").await.unwrap().unwrap();
    assert_eq!(answers.iter().filter(|answer| **answer == Submitted::Accepted).count(), 1);
    assert_eq!(answers.iter().filter(|answer| **answer == Submitted::Existing(run)).count(), 7);
}

#[tokio::test]
async fn a_start_waits_for_a_key_of_an_open_transaction_until_the_timeout() {
    let world = World::new().await;
    let mut connection = world.connection().await;
    execute(&mut connection, "set application_name = 'checkout'").await;
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut connection).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    let first = [start(world.run(0), Some("acme"), "Acme")];
    world.store.submit_in(&mut transaction, &first).await.unwrap();
    // Alone, and among others that wait for the same key but do not hold it.
    for others in [0, 3] {
        let second = async || world.store.submit(&[start(world.run(0), Some("acme"), "Acme")]).await;
        for waited in futures::future::join_all((0..=others).map(|_| second())).await {
            let error = waited.unwrap_err();
            assert!(matches!(error, StoreError::Held { .. }), "{error:?}");
            let holder =
                format!("process {pid} of the server, application `checkout`, user `postgres`, since ");
            for words in ["key `acme` of workflow `trial`", &holder] {
                assert!(error.to_string().contains(words), "{error}");
            }
        }
    }
    transaction.commit().await.unwrap();
    let third = [start(world.run(0), Some("acme"), "Acme")];
    assert_eq!(world.store.submit(&third).await.unwrap(), [Submitted::Existing(first[0].run)]);
}

#[tokio::test]
async fn a_key_held_by_a_prepared_transaction_is_named_with_it() {
    let server = Postgres::builder().setting("max_prepared_transactions", "1").start().unwrap();
    let database = server.create_database().unwrap();
    // A transaction that has notified cannot be prepared.
    let builder = PostgresStore::builder(database.url()).lock_timeout(LOCK_TIMEOUT).notifications(false);
    let store = builder.connect().await.unwrap();
    let queue = store.queue("default", 4).await.unwrap();
    let run = || RunId::new(queue.now, queue.first_shard, unique());
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    execute(&mut connection, "begin").await;
    store.submit_in(&mut connection, &[start(run(), Some("acme"), "Acme")]).await.unwrap();
    execute(&mut connection, "prepare transaction 'forgotten'").await;
    let error = store.submit(&[start(run(), Some("acme"), "Acme")]).await.unwrap_err();
    assert!(error.to_string().contains("the prepared transaction `forgotten`"), "{error}");
    execute(&mut connection, "rollback prepared 'forgotten'").await;
}

#[tokio::test]
async fn a_key_held_by_another_role_is_named_as_far_as_it_may_be_seen() {
    let world = World::new().await;
    // Given a role that may use the schema, and cannot see other sessions
    let role = format!("guest_{}", world.database.name());
    let mut connection = world.connection().await;
    execute(
        &mut connection,
        format!(
            "create role {role} login; grant usage on schema pgworkflows to {role};
             grant all on all tables in schema pgworkflows to {role};
             grant execute on all functions in schema pgworkflows to {role}"
        ),
    )
    .await;
    let url = url_as(&role, &world.database);
    let guest = PostgresStore::builder(&url).lock_timeout(LOCK_TIMEOUT).connect().await.unwrap();
    // When a superuser's transaction holds the key
    let mut transaction = connection.begin().await.unwrap();
    let held = [start(world.run(0), Some("acme"), "Acme")];
    world.store.submit_in(&mut transaction, &held).await.unwrap();
    let error = guest.submit(&[start(world.run(0), Some("acme"), "Acme")]).await.unwrap_err();
    // Then the error still names the process
    assert!(matches!(error, StoreError::Held { .. }), "{error:?}");
    assert!(error.to_string().contains(" of the server"), "{error}");
    transaction.rollback().await.unwrap();
    drop(guest);
    execute(&mut connection, format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test]
async fn message_that_gets_its_reply_while_it_arrives_again_is_not_delivered_again() {
    // Given a message that an append is about to take, with a reply
    let world = World::new().await;
    let mut writer = world.writer().await;
    let run = world.run(0);
    let refused = signal(run, "refused");
    world.store.submit(&[start(run, None, "1"), refused.clone()]).await.unwrap();
    let message = sqlx::types::Uuid::from_u128(refused.message.as_u128());
    let mut connection = world.connection().await;
    let mut append = connection.begin().await.unwrap();
    for sql in [
        "insert into pgworkflows.replies (run_id, message_id, body)
         select run_id, message_id, 'no' from pgworkflows.inbox where message_id = $1 and not opens",
        "delete from pgworkflows.inbox where message_id = $1 and not opens",
    ] {
        sqlx::query(sql).bind(message).execute(&mut *append).await.unwrap();
    }

    // When it arrives again before the append commits, then it waits for that, and is accepted
    let again = tokio::spawn({
        let (store, refused) = (world.store.clone(), refused.clone());
        async move { store.submit(&[refused]).await.unwrap() }
    });
    let waiting = "select count(*) from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut world.connection().await).await.unwrap() == 0 {
        assert!(!again.is_finished(), "it waits for the append");
        tokio::task::yield_now().await;
    }
    append.commit().await.unwrap();
    assert_eq!(again.await.unwrap(), [Submitted::Accepted]);
    assert_eq!(writer.read_texts(10).await, ["1"]);
}
