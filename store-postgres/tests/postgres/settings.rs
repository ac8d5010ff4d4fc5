//! Settings of a server, a database or a session that change how SQL is read or how values are written. No statement of
//! ours may depend on one.

use bytes::Bytes;
use pgworkflows_core::Timestamp;
use pgworkflows_core::id::EventSeq;
use pgworkflows_core::store::{
    Due, Load, OpenState, Release, RunFilter, RunPage, SessionsWanted, Store, StoreQuery, Submitted, Suspect,
    SuspectStage, Unparked,
};
use pgworkflows_pg_harness::Postgres;
use pgworkflows_postgres::PostgresStore;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::*;

/// Settings, each with a value that is neither the default nor expected.
const ODD: &[(&str, &str)] = &[
    ("standard_conforming_strings", "off"),
    ("backslash_quote", "off"),
    ("search_path", "odd, pg_catalog"),
    ("DateStyle", "'SQL, DMY'"),
    ("IntervalStyle", "sql_standard"),
    ("bytea_output", "escape"),
    ("TimeZone", "'Asia/Kathmandu'"),
    ("client_encoding", "'SQL_ASCII'"),
    ("extra_float_digits", "-15"),
    ("row_security", "off"),
    ("array_nulls", "off"),
    ("quote_all_identifiers", "on"),
    ("transform_null_equals", "on"),
    ("check_function_bodies", "off"),
    ("default_transaction_deferrable", "on"),
    ("plpgsql.variable_conflict", "use_variable"),
    ("plpgsql.extra_errors", "'all'"),
    ("plpgsql.check_asserts", "off"),
    ("lc_messages", "'C'"),
    ("lc_numeric", "'C'"),
    ("client_min_messages", "error"),
    ("session_replication_role", "replica"),
    ("default_statistics_target", "1"),
    ("enable_indexscan", "off"),
    ("enable_nestloop", "off"),
];

/// A schema that precedes the server's own in an odd search path, with functions of the same names.
const SHADOWS: &str = "
    create schema odd;
    create function odd.clock_timestamp() returns timestamptz language sql as $$ select null::timestamptz $$;
    create function odd.pg_current_snapshot() returns pg_snapshot language sql as $$ select null::pg_snapshot $$;
    create function odd.pg_current_xact_id() returns xid8 language sql as $$ select null::xid8 $$;
    create function odd.current_setting(text) returns text language sql as $$ select 'odd'::text $$;
    create function odd.current_setting(text, boolean) returns text language sql as $$ select 'odd'::text $$;
    create function odd.set_config(text, text, boolean) returns text language sql as $$ select 'odd'::text $$;
    create function odd.current_database() returns name language sql as $$ select 'odd'::name $$;
    create function odd.pg_is_in_recovery() returns boolean language sql as $$ select true $$;
    create function odd.pg_backend_pid() returns int language sql as $$ select 1 $$;
    create function odd.pg_notify(text, text) returns void language sql as $$ select null::void $$;
    create function odd.pg_advisory_xact_lock(bigint) returns void language sql as $$ select null::void $$;
    create function odd.gen_random_uuid() returns uuid language sql as $$ select null::uuid $$;
    create function odd.floor(numeric) returns numeric language sql as $$ select 0::numeric $$;
    create function odd.to_timestamp(double precision) returns timestamptz
        language sql as $$ select null::timestamptz $$;
    create function odd.unnest(anyarray) returns setof anyelement language sql as $$ select null::anyelement $$;
    create aggregate odd.max(bigint) (sfunc = pg_catalog.int8smaller, stype = bigint)";

#[tokio::test]
async fn no_setting_of_a_session_changes_what_a_statement_means() {
    for (name, value) in ODD {
        // Given a database whose sessions have one odd setting
        let database = Postgres::shared().create_database().unwrap();
        let mut admin = PgConnection::connect(database.url()).await.unwrap();
        let odd = format!("alter database {} set {name} = {value}", database.name());
        execute(&mut admin, SHADOWS).await;
        execute(&mut admin, odd).await;
        // Then the schema is created, found to be up to date, and works
        drop(PostgresStore::connect(database.url()).await.unwrap_or_else(|error| panic!("{name}: {error}")));
        let world = World::on(database, |builder| builder.migrate(false).verify_appends(true)).await;
        work(&world, &format!("set {name} = {value}")).await;
        // And so does the schema that a person creates from the script
        let mut connection = world.connection().await;
        execute(&mut connection, format!("set {name} = {value}")).await;
        let printed = PostgresStore::migrations_sql("printed").unwrap();
        execute(&mut connection, printed).await;
        let printed = PostgresStore::builder(world.database.url()).schema("printed").migrate(false);
        printed.connect().await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// Makes every call of a store, and checks that values are read back as they were written. The user's own connection
/// has the odd setting too, whatever the driver sets when it connects.
pub(crate) async fn work(world: &World, odd: &str) {
    world.store.check_room(SessionsWanted { least: 1, most: 1 }).await.unwrap();
    // A start, a signal in a user's transaction, and a read of both
    let mut writer = world.writer().await;
    let run = world.run(1);
    world.submit(start(run, Some("a\\'b"), "start \\ '")).await;
    let mut connection = world.connection().await;
    sqlx::raw_sql(AssertSqlSafe(odd.to_owned())).execute(&mut connection).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    world.store.submit_in(&mut transaction, &[signal(run, "\\x41")]).await.unwrap();
    transaction.commit().await.unwrap();
    let page = writer.read(10).await.unwrap();
    assert_eq!(texts(&page), ["start \\ '", "\\x41"]);
    assert_eq!(
        world.submit(start(world.run(1), Some("a\\'b"), "start \\ '")).await,
        Submitted::Existing(run)
    );

    // An append for a run born in an old partition, and its history
    let old = world.run_born(2, Timestamp::from_micros(1_600_000_000_000_001));
    let wake_at = Timestamp::from_micros(world.queue.now.as_micros() + 1);
    let batch = writer.batch().event(run, 1).updated(run, OpenState::Busy).consumed(&page).event(old, 1);
    let mut batch = batch.opened(old, OpenState::Parked, Some(wake_at));
    let suspect = Suspect { run, stage: SuspectStage::Tried, strikes: 1 };
    batch.append.suspects = vec![suspect];
    let appended = writer.append(batch).await.unwrap();
    assert!(appended.now >= world.queue.now);
    let load = Load { runs: vec![old], after: None, bytes: usize::MAX };
    let frame = world.store.load(&load).await.unwrap().histories[0].frames[0].clone();
    assert_eq!((frame.seq, frame.count, frame.body), (EventSeq::FIRST, 1, Bytes::from("event 1")));
    assert_eq!(frame.at, Timestamp::from_micros(1_700_000_000_123_456));
    let histories = writer.load(&[run, old]).await;
    assert_eq!(histories.iter().map(|history| history.run).collect::<Vec<_>>(), [old, run]);

    // The suspect, the busy runs, a deadline, the lists, and the end of a run
    let claimed = writer.session.claim(&claim(Some(writer.lease), TTL, 4)).await.unwrap();
    assert_eq!(claimed.suspects, [suspect]);
    let unparked = Unparked { shards: vec![run.shard(), old.shard()], after: None, limit: 9 };
    assert_eq!(writer.session.unparked(&unparked).await.unwrap().runs, [run]);
    let due = Due { shards: vec![old.shard()], after: None, until: Timestamp::MAX_DEADLINE, limit: 9 };
    let due = writer.session.due_runs(&due).await.unwrap();
    assert_eq!((due.runs[0].wake_at, due.runs[0].run), (wake_at, old));
    assert!(heartbeat(&mut writer, Some(TTL)).await.leases[0].held);
    let batch = writer.batch().event(run, 2).closed(run);
    writer.append(batch).await.unwrap();
    let runs = world.store.list(&RunFilter::default(), &RunPage { before: None, limit: 9 }).await.unwrap();
    assert_eq!(runs.iter().map(|run| run.run).collect::<Vec<_>>(), [run, old]);
    assert_eq!(runs[0].closed.as_ref().unwrap().closed_at, Timestamp::from_micros(1_700_000_000_654_321));
    let states: Vec<(String, bool)> =
        sqlx::query_as("select status, started_at is not null from pgworkflows.runs order by 1")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert_eq!(states, [("completed".to_owned(), true), ("waiting".to_owned(), true)]);

    // And a release, with the run that the next owner has to suspect
    let release = Release { lease: writer.lease, at_fault: Some(old) };
    writer.session.release(&release).await.unwrap();
    let claimed = world.session().await.claim(&claim(None, TTL, 4)).await.unwrap();
    let suspects: Vec<_> = claimed.suspects.iter().map(|suspect| (suspect.run, suspect.strikes)).collect();
    assert_eq!(suspects, [(old, 1)]);
}
