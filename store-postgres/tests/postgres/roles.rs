//! Roles: what each may do with every object of the schema, and that it suffices for its work.

use expect_test::expect_file;
use pgworkflows_core::Client;
use pgworkflows_core::client::RunStatus;
use pgworkflows_pg_harness::Database;
use pgworkflows_postgres::{InTransaction, PostgresStore};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::engine::{self, Greeting, WORD};
use crate::sql::Caller;
use crate::support::*;

/// A role that can log in and is a member of one of the schema's roles. It is dropped at the end.
struct Login {
    role: String,
    url: String,
    owner: String,
}

impl Login {
    async fn new(world: &World, of: &str) -> Self {
        let role = format!("{of}_{}", world.database.name());
        world.execute(PostgresStore::roles_sql("pgworkflows").unwrap()).await;
        world.execute(format!("create role {role} login in role pgworkflows_{of}")).await;
        Self { url: url_as(&role, &world.database), role, owner: world.database.url().to_owned() }
    }

    async fn store(&self) -> PostgresStore {
        PostgresStore::builder(&self.url).lock_timeout(LOCK_TIMEOUT).connect().await.unwrap()
    }

    async fn end(self) {
        let mut connection = PgConnection::connect(&self.owner).await.unwrap();
        execute(&mut connection, format!("drop owned by {0}; drop role {0}", self.role)).await;
    }
}

async fn lines(database: &Database, sql: &str) -> String {
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let lines: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.unwrap();
    lines.join("\n")
}

/// A database with a schema whose roles were made twice, as after an upgrade.
async fn with_roles() -> World {
    let world = World::new().await;
    for _ in 0..2 {
        world.execute(PostgresStore::roles_sql("pgworkflows").unwrap()).await;
    }
    world
}

/// The rights of workers, clients, readers and everybody: the first letters of what they may do.
#[tokio::test]
async fn every_role_has_exactly_its_rights_to_every_table_and_view() {
    let world = with_roles().await;
    let tables = "
        select rtrim(format('%-18s %s', c.relname, string_agg(format('%-6s', coalesce(p.letters, '-')), ' ' order by r.place)))
        from pg_class c
        cross join unnest(array['pgworkflows_worker', 'pgworkflows_client', 'pgworkflows_reader', 'public'])
            with ordinality as r (role, place)
        cross join lateral (
            select string_agg(left(p, 1), '' order by n) as letters
            from unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'Trigger'])
                with ordinality as u (p, n)
            where has_table_privilege(r.role, c.oid, p)
        ) p
        where c.relnamespace = 'pgworkflows'::regnamespace and c.relkind in ('r', 'p', 'v') and not c.relispartition
        group by c.relname order by c.relname";
    expect_file!["roles/tables.txt"].assert_eq(&lines(&world.database, tables).await);
}

/// Who may execute each function.
#[tokio::test]
async fn every_role_has_exactly_its_rights_to_every_function() {
    let world = with_roles().await;
    let functions = "
        select format('%-18s %s',
                      p.proname || case when p.proname = 'claim_tasks' then '/' || p.pronargs else '' end,
                      coalesce((select string_agg(split_part(r, '_', 2), ' ')
                                from unnest(array['pgworkflows_worker', 'pgworkflows_client', 'pgworkflows_reader']) r
                                where has_function_privilege(r, p.oid, 'execute')), 'nobody'))
               || case when has_function_privilege('public', p.oid, 'execute') then ' public' else '' end
               || case when p.prosecdef then ', with the rights of the owner' else '' end
        from pg_proc p where p.pronamespace = 'pgworkflows'::regnamespace order by p.proname, p.pronargs";
    expect_file!["roles/functions.txt"].assert_eq(&lines(&world.database, functions).await);
}

#[tokio::test]
async fn roles_have_no_other_rights_and_the_owner_owns_everything() {
    let world = with_roles().await;
    // Partitions are reached through their parents only, and numbers are drawn by inserts only
    let others = "
        select distinct c.relname from pg_class c
        cross join unnest(array['pgworkflows_worker', 'pgworkflows_client', 'pgworkflows_reader', 'public']) r
        where c.relnamespace = 'pgworkflows'::regnamespace and (
            c.relispartition and c.relkind = 'r' and has_table_privilege(r, c.oid, 'select, insert, update, delete, truncate')
            or c.relkind = 'S' and has_sequence_privilege(r, c.oid, 'usage, select, update'))";
    assert_eq!(lines(&world.database, others).await, "");
    let schema = "
        select concat_ws(' ', r, case when has_schema_privilege(r, 'pgworkflows', 'usage') then 'usage' end,
                         case when has_schema_privilege(r, 'pgworkflows', 'create') then 'create' end)
        from unnest(array['pgworkflows_worker', 'pgworkflows_client', 'pgworkflows_reader', 'public']) r";
    let expected = "pgworkflows_worker usage\npgworkflows_client usage\npgworkflows_reader usage\npublic";
    assert_eq!(lines(&world.database, schema).await, expected);
    // And everything is the owner's
    let foreign = "
        select c.relname::text from pg_class c
        where c.relnamespace = 'pgworkflows'::regnamespace and c.relowner <> 'pgworkflows_owner'::regrole
        union all
        select p.proname from pg_proc p
        where p.pronamespace = 'pgworkflows'::regnamespace and p.proowner <> 'pgworkflows_owner'::regrole";
    assert_eq!(lines(&world.database, foreign).await, "");
}

#[tokio::test]
async fn nothing_is_granted_to_everybody_without_roles() {
    let world = World::new().await;
    let granted = "
        select p.proname::text from pg_proc p
        where p.pronamespace = 'pgworkflows'::regnamespace and has_function_privilege('public', p.oid, 'execute')
        union all
        select c.relname from pg_class c
        where c.relnamespace = 'pgworkflows'::regnamespace and c.relkind in ('r', 'p', 'v')
          and has_table_privilege('public', c.oid, 'select, insert, update, delete, truncate, references, trigger')";
    assert_eq!(lines(&world.database, granted).await, "");
}

#[tokio::test]
async fn functions_of_a_user_in_the_same_schema_stay_as_they_are() {
    let database = pgworkflows_pg_harness::Postgres::shared().create_database().unwrap();
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    execute(&mut connection, "create schema pgworkflows; create function pgworkflows.mine() returns int language sql as 'select 1'").await;
    PostgresStore::connect(database.url()).await.unwrap();
    let granted = "select has_function_privilege('public', 'pgworkflows.mine()', 'execute')::text";
    assert_eq!(lines(&database, granted).await, "true");
}

#[tokio::test]
async fn worker_does_its_work_as_a_worker_and_cannot_change_the_log() {
    let world = World::new().await;
    let login = Login::new(&world, "worker").await;
    engine::runs_complete(&login.store().await, 2).await;
    let mut sql = Caller::at(&login.url).await;
    for statement in
        ["update TABLE set run_id = run_id", "delete from TABLE", "truncate TABLE", "drop table TABLE"]
    {
        for table in ["frames", "closed_runs", "links", "replies", "undelivered"] {
            let statement = statement.replace("TABLE", &format!("pgworkflows.{table}"));
            assert_eq!(refused(&mut sql, &statement).await, "42501", "{statement}");
        }
    }
    login.end().await;
}

async fn refused(sql: &mut Caller, statement: &str) -> String {
    let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
    let error = statement.execute(&mut sql.0).await.unwrap_err();
    error.as_database_error().unwrap().code().unwrap().into_owned()
}

#[tokio::test]
async fn client_does_its_work_as_a_client_and_writes_to_no_table() {
    let world = World::new().await;
    let login = Login::new(&world, "client").await;
    let store = login.store().await;
    let client =
        Client::builder(store.clone()).poll_interval(std::time::Duration::from_millis(50)).build().unwrap();
    let mut sql = Caller::at(&login.url).await;
    let talk = async {
        // By itself, with a key, in a transaction, and in SQL
        let mut runs = vec![client.start::<Greeting>("Ada".to_owned()).await.unwrap()];
        runs.push(client.start::<Greeting>("Ada".to_owned()).key("a").await.unwrap());
        let mut connection = PgConnection::connect(&login.url).await.unwrap();
        let mut transaction = connection.begin().await.unwrap();
        runs.push(client.start::<Greeting>("Ada".to_owned()).in_transaction(&mut transaction).await.unwrap());
        transaction.commit().await.unwrap();
        let run = sql.run(r#"pgworkflows.start('greeting', '"Ada"', key => 'b')"#).await;
        runs.push(client.handle::<Greeting>(run));
        for run in &runs {
            run.signal(WORD, "Hello".to_owned()).await.unwrap();
            assert_eq!(run.result().await.unwrap(), "Hello, Ada!");
            assert_eq!(run.status().await.unwrap(), RunStatus::Completed);
            assert!(run.history().await.unwrap().len() > 3);
        }
        assert_eq!(client.list().await.unwrap().len(), 4);
        assert!(client.find::<Greeting>("a").await.unwrap().is_some());
        assert_eq!(client.queue("default").describe().await.unwrap().shard_count, 4);
        assert_eq!(sql.json(&format!("pgworkflows.result('{run}')")).await["result"], "Hello, Ada!");
        for call in [
            "signal('RUN', 'go')",
            "cancel('RUN')",
            "terminate('RUN', '')",
            "pause('RUN')",
            "resume('RUN')",
            "retry_now('RUN')",
            "update('RUN', 'go')",
        ] {
            let call = format!("pgworkflows.{}", call.replace("RUN", &run.to_string()));
            assert_eq!(sql.refused(&call).await.code, "PW104", "{call}");
        }
        sql.text("pgworkflows.create_queue('other')").await;
        sql.text("pgworkflows.start('greeting', queue => 'other')").await;
    };
    engine::worker(&world.store, 1).run_until(talk).await.unwrap();
    for statement in [
        "delete from pgworkflows.inbox",
        "insert into pgworkflows.inbox default values",
        "delete from pgworkflows.open_runs",
        "update pgworkflows.run_keys set key = 'c'",
        "do $$ begin lock table pgworkflows.inbox; end $$",
        "select pgworkflows.claim_tasks(1, 'q')",
        "select pgworkflows.complete_task('t')",
        "select pgworkflows.release(1, null, '1s')",
        "select from pgworkflows.leases for update",
        "create table pgworkflows.mine ()",
    ] {
        assert_eq!(refused(&mut sql, statement).await, "42501", "{statement}");
    }
    drop((store, client));
    login.end().await;
}

#[tokio::test]
async fn reader_reads_everything_and_writes_nothing() {
    let world = World::new().await;
    let login = Login::new(&world, "reader").await;
    let run = Caller::new(&world).await.run(r#"pgworkflows.start('greeting', '"Ada"', key => 'a')"#).await;
    let mut sql = Caller::at(&login.url).await;
    for expression in [
        "select count(*) from pgworkflows.runs",
        "select count(*) from pgworkflows.history",
        "select count(*) from pgworkflows.views",
        "select count(*) from pgworkflows.activity_queues",
        "select count(*) from pgworkflows.inbox",
        "select count(*) from pgworkflows.changes(0::smallint, 0, 10)",
        "pgworkflows.run_of('greeting', 'a')",
        &*format!("pgworkflows.status('{run}')"),
        &*format!("pgworkflows.result('{run}')"),
        &*format!("pgworkflows.reply('{run}', '{run}')"),
    ] {
        sql.try_text(expression).await.unwrap();
    }
    // A client in Rust can read as well
    let client = Client::new(login.store().await);
    assert_eq!(client.list().await.unwrap()[0].run_id, run);
    assert_eq!(
        client.find::<Greeting>("a").await.unwrap().unwrap().status().await.unwrap(),
        RunStatus::Pending
    );
    assert!(client.start::<Greeting>("Ada".to_owned()).await.unwrap_err().is_misconfigured());
    for statement in [
        &*format!("select pgworkflows.signal('{run}', 'go')"),
        &*format!("select pgworkflows.cancel('{run}')"),
        "select pgworkflows.start('greeting')",
        "select pgworkflows.create_queue('q')",
        "select pgworkflows.make_partition(0, '1s')",
        "select pgworkflows.submit(null, null, null, null, null, null, null, null, null, null, null, null, false)",
        "delete from pgworkflows.runs",
        "delete from pgworkflows.frames",
    ] {
        assert_ne!(refused(&mut sql, statement).await, "", "{statement}");
    }
    drop(client);
    login.end().await;
}

#[tokio::test]
async fn owner_without_other_rights_migrates_and_serves() {
    let database = pgworkflows_pg_harness::Postgres::shared().create_database().unwrap();
    let role = format!("owner_{}", database.name());
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    execute(
        &mut connection,
        format!(
            "create role {role} login createrole; grant create on database {0} to {role}",
            database.name()
        ),
    )
    .await;
    // Given a schema of a role that is no superuser, which makes the roles of a schema of its own name
    let schema = format!("s_{}", database.name());
    let url = url_as(&role, &database);
    let store = PostgresStore::builder(&url).schema(&schema).connect().await.unwrap();
    let mut own = PgConnection::connect(&url).await.unwrap();
    execute(&mut own, PostgresStore::roles_sql(&schema).unwrap()).await;
    // Then it goes on as a member of the owner
    engine::runs_complete(&store, 1).await;
    drop(store);
    let roles = ["owner", "worker", "client", "reader"].map(|of| format!("{schema}_{of}")).join(", ");
    execute(&mut connection, format!("drop owned by {roles}, {role} cascade; drop role {roles}, {role}"))
        .await;
}
