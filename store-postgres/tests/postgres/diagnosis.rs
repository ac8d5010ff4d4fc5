//! What an examination finds: one test for each check that can be made to fail here. The limits of the others are tested beside
//! them.

use pgworkflows_pg_harness::{PoolMode, Postgres as Server};
use pgworkflows_postgres::PostgresStore;
use pgworkflows_postgres::diagnosis::{Check, Finding, Verdict};

use crate::pooler::Pooled;
use crate::support::*;

async fn examine(url: &str) -> Vec<Finding> {
    PostgresStore::builder(url).diagnose().await.unwrap()
}

fn of(findings: &[Finding], check: Check) -> &Finding {
    let found = findings.iter().find(|finding| finding.check == check);
    found.unwrap_or_else(|| panic!("{check} is not in {findings:#?}"))
}

/// Examines the database, and expects this of a check.
async fn expect(url: &str, check: Check, verdict: Verdict, words: &[&str]) {
    let findings = examine(url).await;
    let finding = of(&findings, check);
    assert_eq!(finding.verdict, verdict, "{finding:?}");
    for word in words {
        let said = format!("{} {}", finding.found, finding.advice.as_deref().unwrap_or_default());
        assert!(said.contains(word), "`{word}` is not in {finding:?}");
    }
}

#[tokio::test]
async fn healthy_database_has_one_good_finding_for_each_check() {
    let world = World::new().await;
    let findings = examine(world.database.url()).await;
    assert_eq!(findings.iter().map(|finding| finding.check).collect::<Vec<_>>(), Check::ALL);
    for finding in findings.iter().filter(|finding| finding.check != Check::Durability) {
        assert_eq!((finding.verdict, &finding.advice), (Verdict::Ok, &None), "{finding:?}");
    }
    // The test's server need not survive a crash.
    let durability = of(&findings, Check::Durability);
    assert!(durability.verdict == Verdict::Warning && durability.found.contains("fsync"), "{durability:?}");
}

#[tokio::test]
async fn server_that_does_not_answer_is_the_only_finding_and_has_no_password() {
    let findings = examine("postgres://app:secret@127.0.0.1:1/app").await;
    assert_eq!(findings.len(), 1);
    assert_eq!((findings[0].check, findings[0].verdict), (Check::Connection, Verdict::Wrong));
    assert!(findings[0].found.contains("127.0.0.1:1 as user `app`"), "{findings:?}");
    assert!(!format!("{findings:?}").contains("secret"), "{findings:?}");
    let world = World::new().await;
    let url = world.database.url().replace(world.database.name(), "nowhere");
    expect(&url, Check::Connection, Verdict::Wrong, &["there is no such database"]).await;
}

#[tokio::test]
async fn encoding_that_refuses_texts_is_wrong() {
    let world = World::new().await;
    let name = format!("{}_latin", world.database.name());
    world.execute(format!("create database {name} encoding 'LATIN1' template template0")).await;
    let url = world.database.url().replace(world.database.name(), &name);
    expect(&url, Check::Server, Verdict::Wrong, &["LATIN1", "create a new database"]).await;
    world.execute(format!("drop database {name} with (force)")).await;
}

#[tokio::test]
async fn isolation_and_time_limits_that_cannot_work_are_wrong_with_the_setting_to_change() {
    let world = World::new().await;
    world.alter_database("set default_transaction_isolation = 'serializable'").await;
    let words = ["`serializable`", "default_transaction_isolation = 'read committed'"];
    expect(world.database.url(), Check::Settings, Verdict::Wrong, &words).await;
    world.alter_database("reset default_transaction_isolation").await;
    world.alter_database("set statement_timeout = '100ms'").await;
    expect(world.database.url(), Check::Settings, Verdict::Wrong, &["`statement_timeout`", "100ms"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pooler_that_mixes_up_statements_is_wrong_and_one_without_notifications_warned_of() {
    let Some(pooled) = Pooled::new(PoolMode::Transaction, 5) else { return };
    PostgresStore::connect(pooled.direct_url()).await.unwrap();
    let findings = PostgresStore::builder(&pooled.url()).prepared_statements(false).diagnose().await.unwrap();
    let pooler = of(&findings, Check::Pooler);
    assert!(
        pooler.verdict == Verdict::Warning && pooler.found.contains("no notification arrives"),
        "{pooler:?}"
    );
    let direct =
        PostgresStore::builder(&pooled.url()).prepared_statements(false).listen_url(pooled.direct_url());
    assert_eq!(of(&direct.diagnose().await.unwrap(), Check::Pooler).verdict, Verdict::Ok);
}

#[tokio::test]
async fn tables_that_are_missing_or_newer_are_wrong() {
    let database = Server::shared().create_database().unwrap();
    expect(database.url(), Check::Schema, Verdict::Wrong, &["lacks 6 of 6", "pgworkflows migrate"]).await;
    let world = World::new().await;
    world
        .execute("insert into pgworkflows.migrations (number, name, checksum) values (99, 'next', '')")
        .await;
    expect(world.database.url(), Check::Schema, Verdict::Wrong, &["newer version", "99 (next)"]).await;
    // What needs the tables is left out.
    let last = examine(world.database.url()).await.pop().unwrap();
    assert_eq!(last.check, Check::Schema);
}

#[tokio::test]
async fn rights_that_a_user_lacks_are_named() {
    let world = World::new().await;
    let role = format!("reader_{}", world.database.name());
    world.execute(format!("create role {role} login")).await;
    let url = url_as(&role, &world.database);
    expect(&url, Check::Rights, Verdict::Wrong, &[&role, "may not read schema `pgworkflows`"]).await;
    world.execute(format!("grant usage on schema pgworkflows to {role}")).await;
    expect(&url, Check::Rights, Verdict::Wrong, &["may not read appends, "]).await;
    world.execute(format!("grant select on all tables in schema pgworkflows to {role}")).await;
    expect(&url, Check::Rights, Verdict::Warning, &["may look, and not work", "delete on appends", " more"])
        .await;
    world.execute(format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test]
async fn roles_of_the_schema_have_the_rights_that_are_examined() {
    let world = World::new().await;
    world.execute(PostgresStore::roles_sql("pgworkflows").unwrap()).await;
    for (of, verdict, found) in [
        ("worker", Verdict::Ok, "may read and write"),
        ("client", Verdict::Warning, "may start runs and send messages, and not execute them: it lacks "),
        ("reader", Verdict::Warning, "may look, and not work: it lacks "),
    ] {
        let role = format!("{of}_{}", world.database.name());
        world.execute(format!("create role {role} login in role pgworkflows_{of}")).await;
        let url = url_as(&role, &world.database);
        expect(&url, Check::Rights, verdict, &[&role, found]).await;
        expect(&url, Check::Partitions, Verdict::Ok, &["are there"]).await;
        world.execute(format!("drop owned by {role}; drop role {role}")).await;
    }
}

#[tokio::test]
async fn partitions_that_are_missing_are_named() {
    let world = World::new().await;
    let detach = |number: u32| {
        format!(
            "do $$
             declare
                 v_width bigint := (select partition_width_seconds from pgworkflows.settings);
                 v_low   bigint := (extract(epoch from clock_timestamp())::bigint / v_width + {number}) * v_width;
             begin
                 execute format('alter table pgworkflows.links detach partition pgworkflows.%I',
                                'links_' || to_char(to_timestamp(v_low) at time zone 'utc', 'YYYYMMDD'));
             end
             $$"
        )
    };
    world.execute(detach(1)).await;
    let url = world.database.url();
    expect(url, Check::Partitions, Verdict::Warning, &["of soon are missing: links_", "heartbeat"]).await;
    world.execute(detach(0)).await;
    expect(url, Check::Partitions, Verdict::Wrong, &["of now are missing: links_"]).await;
}

#[tokio::test]
async fn table_that_vacuum_does_not_clean_is_named() {
    let world = World::new().await;
    world.execute("alter table pgworkflows.undelivered set (autovacuum_enabled = off)").await;
    let url = world.database.url();
    expect(url, Check::Vacuum, Verdict::Warning, &["`undelivered`", "autovacuum is off for it"]).await;
    world
        .execute(
            "insert into pgworkflows.undelivered (run_id, number, message_id, body)
             select gen_random_uuid(), n, gen_random_uuid(), '' from generate_series(1, 60000) n;
             delete from pgworkflows.undelivered;
             select pg_stat_force_next_flush()",
        )
        .await;
    expect(url, Check::Vacuum, Verdict::Warning, &["`undelivered` has 60000 dead rows beside 0 live"]).await;
}

#[tokio::test]
async fn server_without_autovacuum_is_wrong() {
    let server = Server::builder().setting("autovacuum", "off").start().unwrap();
    let database = server.create_database().unwrap();
    PostgresStore::connect(database.url()).await.unwrap();
    expect(database.url(), Check::Vacuum, Verdict::Wrong, &["autovacuum is off"]).await;
}

#[tokio::test]
async fn server_that_runs_out_of_connections_is_warned_of() {
    let server = Server::builder().setting("max_connections", "10").start().unwrap();
    let database = server.create_database().unwrap();
    let store = PostgresStore::connect(database.url()).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(pgworkflows_core::store::Store::session(&store).await.unwrap());
    }
    for _ in 0..3 {
        open.push(pgworkflows_core::store::Store::session(&store).await.unwrap());
    }
    let findings = examine(database.url()).await;
    // Of the ten, three are for superusers, as which the test connects.
    let connections = findings.iter().find(|finding| finding.check == Check::Connections);
    let refused = findings.iter().any(|finding| finding.verdict == Verdict::Wrong);
    assert!(refused || connections.is_some_and(|found| found.verdict == Verdict::Warning), "{findings:#?}");
}

#[tokio::test]
async fn leases_that_expired_with_shards_are_wrong_if_runs_need_them() {
    let world = World::new().await;
    let writer = world.writer_for(TTL, 4).await;
    world.execute("update pgworkflows.leases set expires_at = now() - interval '90 s'").await;
    let url = world.database.url();
    let words = ["died or stopped answering 9", "with 4 shards, 0 of which", "start a worker"];
    expect(url, Check::Leases, Verdict::Warning, &words).await;
    world.execute("insert into pgworkflows.shard_needs (shard, workflow) values (1, 'order')").await;
    expect(url, Check::Leases, Verdict::Wrong, &["1 of which have or had open runs"]).await;
    drop(writer);
}
