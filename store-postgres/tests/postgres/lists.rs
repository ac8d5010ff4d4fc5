//! Lists of few runs among many: by which index each is read.

use std::time::Duration;

use pgworkflows_core::store::{ClosedStatus, OpenState, RunFilter, RunPage, StoreQuery};
use pgworkflows_postgres::PostgresStore;

use crate::support::*;

/// How many runs there are that are not asked for.
const MANY: u32 = 20_000;

/// How many there are of each kind that is asked for.
const FEW: u32 = 3;

/// How many runs a page has, and how often it is read.
const LIMIT: u32 = 20;
const TIMES: u32 = 12;

/// Runs as rows alone: completed ones and parked ones, and a few of another kind, the oldest of all.
async fn many_runs(world: &World) {
    let rows = |offset: u32, count: u32| {
        format!(
            "generate_series({offset} + 1, {offset} + {count}) n,
             lateral (select (lpad(to_hex((extract(epoch from now()) * 1000)::bigint - 100000 + n / 1000), 12, '0')
                              || '7000' || '8000' || lpad(to_hex(n), 12, '0'))::uuid as id) i"
        )
    };
    let closed = |status: i32, offset: u32, count: u32| {
        format!(
            "insert into pgworkflows.closed_runs (run_id, closed_at, shard, status, workflow, outcome)
             select id, now(), 0, {status}, 'order', '' from {};",
            rows(offset, count)
        )
    };
    let open = |state: i32, offset: u32, count: u32| {
        format!(
            "insert into pgworkflows.open_runs (run_id, shard, state, workflow)
             select id, 0, {state}, 'order' from {};",
            rows(offset, count)
        )
    };
    let mut sql = String::new();
    for (number, status) in [1, 2, 3, 6].into_iter().enumerate() {
        sql += &closed(status, 10 * number as u32, FEW);
    }
    for (number, state) in [0, 1, 3, 4].into_iter().enumerate() {
        sql += &open(state, 500 + 10 * number as u32, FEW);
    }
    sql += &closed(0, 1_000, MANY);
    sql += &open(2, 1_000 + MANY, MANY);
    sql += "analyze pgworkflows.closed_runs; analyze pgworkflows.open_runs;";
    world.execute(sql).await;
}

#[tokio::test]
async fn list_of_few_runs_does_not_read_many_others() {
    let world = World::new().await;
    many_runs(&world).await;
    let filters = [
        RunFilter { open: Some(true), state: Some(OpenState::Stalled), ..RunFilter::default() },
        RunFilter { open: Some(true), state: Some(OpenState::Paused), ..RunFilter::default() },
        RunFilter { open: Some(true), state: Some(OpenState::Busy), ..RunFilter::default() },
        RunFilter { open: Some(true), state: Some(OpenState::Pending), ..RunFilter::default() },
        RunFilter { open: Some(false), status: Some(ClosedStatus::Failed), ..RunFilter::default() },
        RunFilter { open: Some(false), status: Some(ClosedStatus::Cancelled), ..RunFilter::default() },
        RunFilter { open: Some(false), status: Some(ClosedStatus::Terminated), ..RunFilter::default() },
        RunFilter { open: Some(false), status: Some(ClosedStatus::TimedOut), ..RunFilter::default() },
    ];
    for filter in filters {
        let read = reads(&world, &filter, FEW).await;
        assert!(read < MANY / 10, "{read} rows and entries of indexes were read for {filter:?}");
    }
    // And the newest runs, of whatever kind
    let read = reads(&world, &RunFilter::default(), LIMIT).await;
    assert!(read < MANY / 10, "{read} rows and entries of indexes were read for the newest runs");
}

#[tokio::test]
async fn search_for_a_rare_workflow_reads_no_more_than_its_horizon_allows() {
    let world = World::new().await;
    many_runs(&world).await;
    let page = RunPage { before: None, limit: 200 };
    let rare = RunFilter { workflow: Some("rare".to_owned()), ..RunFilter::default() };
    let before = counted(&world).await;
    let store = PostgresStore::connect(world.database.url()).await.unwrap();
    for _ in 0..TIMES {
        let since = store.horizon(&rare, &page).await.unwrap();
        assert!(since.is_some());
        assert_eq!(store.list(&RunFilter { since, ..rare.clone() }, &page).await.unwrap(), []);
    }
    let read = published(&world, store, before, TIMES * page.limit).await;
    // Two tables, twice
    assert!(
        read < TIMES * page.limit * 5,
        "{read} rows and entries of indexes were read in {TIMES} searches"
    );
}

/// Lists runs, and returns how many rows and entries of indexes that read of the runs' tables.
async fn reads(world: &World, filter: &RunFilter, found: u32) -> u32 {
    let before = counted(world).await;
    let store = PostgresStore::connect(world.database.url()).await.unwrap();
    // So often that a connection may get its generic plan.
    for _ in 0..TIMES {
        let runs = store.list(filter, &RunPage { before: None, limit: LIMIT }).await.unwrap();
        assert_eq!(runs.len(), found as usize, "{filter:?}");
    }
    published(world, store, before, TIMES * found).await
}

/// How many rows and entries a store has read, which are at least so many.
async fn published(world: &World, store: PostgresStore, before: i64, least: u32) -> u32 {
    // The server publishes the statistics of a session at its end, or a little later.
    drop(store);
    for _ in 0..600 {
        let read = counted(world).await - before;
        if read >= i64::from(least) {
            return u32::try_from(read).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the server never published the statistics of the session");
}

async fn counted(world: &World) -> i64 {
    let sql = "
        select coalesce(sum(s.seq_tup_read), 0)::bigint + coalesce(sum(i.idx_tup_read), 0)::bigint
        from (select sum(seq_tup_read) as seq_tup_read from pg_stat_user_tables where relname ~ '^(open|closed)_runs') s,
             (select sum(idx_tup_read) as idx_tup_read from pg_stat_user_indexes where relname ~ '^(open|closed)_runs') i";
    sqlx::query_scalar(sql).fetch_one(&mut world.connection().await).await.unwrap()
}
