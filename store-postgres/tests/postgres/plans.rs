//! How rows are found must not hang on statistics: after a burst the tables are full of dead rows, and nobody has
//! counted them yet.

use std::time::Duration;

use pgworkflows::RunId;
use pgworkflows::store::{Load, OpenState, Store};
use sqlx::{Connection, PgConnection, Row};

use crate::support::*;

/// Enough for statements to be planned once and for all, by tables that were empty when they began.
const ROUNDS: u16 = 60;

/// Runs that come and go in each round.
const RUNS: u16 = 50;

#[tokio::test]
async fn nothing_on_the_way_of_a_run_reads_a_whole_table() {
    // Given tables in which everything that was ever written is still there, dead or alive
    let world = World::new().await;
    for table in ["open_runs", "inbox"] {
        let sql = format!("alter table pgworkflows.{table} set (autovacuum_enabled = off)");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut world.connection().await).await.unwrap();
    }
    let database = world.database.url().to_owned();
    let before = Scans::read(&database).await;

    // When many runs begin and end
    let mut writer = world.writer().await;
    for _ in 0..ROUNDS {
        let runs: Vec<RunId> = (0..RUNS).map(|number| world.run(number % 4)).collect();
        let starts: Vec<_> = runs.iter().map(|run| start(*run, None, "go")).collect();
        world.store.submit(&starts).await.unwrap();
        let page = writer.read(u32::from(RUNS)).await.unwrap();
        let begun = runs.iter().fold(writer.batch().consumed(&page), |batch, run| {
            batch.event(*run, 1).opened(*run, OpenState::Busy, None)
        });
        writer.append(begun).await.unwrap();
        assert_eq!(writer.session.load(&Load::Runs(runs.clone())).await.unwrap().len(), runs.len());
        let ended = runs.iter().fold(writer.batch(), |batch, run| batch.event(*run, 2).closed(*run));
        writer.append(ended).await.unwrap();
        assert_eq!(world.store.closed(&runs).await.unwrap().len(), runs.len());
    }

    // Then no statement read a table or an index from one end to the other, round after round
    drop((writer, world.store));
    let after = Scans::read_complete(&database).await;
    let scans = after.scans - before.scans;
    assert!(scans < i64::from(ROUNDS / 2), "{scans} scans of whole tables in {ROUNDS} rounds");
    let (entries, runs) = (after.entries - before.entries, i64::from(ROUNDS) * i64::from(RUNS));
    assert!(entries < 15 * runs, "{entries} entries of indexes were read for {runs} runs");
}

/// What the server has counted of the tables through which runs pass.
struct Scans {
    scans: i64,
    entries: i64,
    messages: i64,
}

impl Scans {
    async fn read(database: &str) -> Self {
        let mut connection = PgConnection::connect(database).await.unwrap();
        let row = sqlx::query(
            "with tables as (
                 select relid, relname, seq_scan, n_tup_ins from pg_stat_user_tables
                 where relname = any ('{open_runs, inbox}') or relname ~ '^(closed_runs|events)_'
             )
             select (select sum(seq_scan)::bigint from tables),
                    (select sum(i.idx_tup_read)::bigint from pg_stat_user_indexes i join tables using (relid)),
                    (select n_tup_ins from tables where relname = 'inbox')",
        );
        let row = row.fetch_one(&mut connection).await.unwrap();
        Self { scans: row.get(0), entries: row.get(1), messages: row.get(2) }
    }

    /// A server counts a session's doings at its end, or a little later.
    async fn read_complete(database: &str) -> Self {
        for _ in 0..600 {
            let scans = Self::read(database).await;
            if scans.messages >= i64::from(ROUNDS) * i64::from(RUNS) {
                return scans;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server never counted all messages");
    }
}
