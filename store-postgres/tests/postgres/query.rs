//! The reads of people: lists, descriptions and views.

use pgworkflows_core::store::{ClosedStatus, OpenState, RunDescription, RunFilter, RunPage, StoreQuery};
use sqlx::Row;

use crate::support::*;

#[tokio::test]
async fn a_row_that_only_a_newer_version_understands_hides_no_other() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let [open, strange, closed, ended] = [0, 1, 2, 3].map(|shard| world.run(shard));
    let mut batch = writer.batch();
    for run in [open, strange] {
        batch = batch.event(run, 1).opened(run, OpenState::Busy, None);
    }
    for run in [closed, ended] {
        batch = batch.event(run, 1).closed(run);
    }
    writer.append(batch).await.unwrap();
    let mut connection = world.connection().await;
    for (table, column, run) in [("open_runs", "state", strange), ("closed_runs", "status", ended)] {
        execute(
            &mut connection,
            format!("update pgworkflows.{table} set {column} = 99 where run_id = '{run}'"),
        )
        .await;
    }

    let page = RunPage { before: None, limit: 10 };
    let mut runs = world.store.list(&RunFilter::default(), &page).await.unwrap();
    runs.sort_by_key(|run| run.run.shard());
    let state = |run: &RunDescription| run.open.as_ref().map(|row| row.state);
    assert_eq!([state(&runs[0]), state(&runs[1])], [Some(OpenState::Busy), Some(OpenState::Stalled)]);
    let over = world.closed(&[closed, ended]).await;
    let status = |of| over.iter().find(|run| run.run == of).map(|run| run.status);
    assert_eq!([status(closed), status(ended)], [Some(ClosedStatus::Completed), Some(ClosedStatus::Failed)]);
}

#[tokio::test]
async fn views_show_runs_and_histories_in_words() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    let (open, closed) = (world.run(0), world.run(1));
    let batch = writer.batch().event(open, 1).opened(open, OpenState::Parked, None);
    let batch = batch.event(closed, 1).closed(closed);
    writer.append(batch).await.unwrap();
    let rows = sqlx::query("select status, abs(extract(epoch from started_at - clock_timestamp())) < 60 from pgworkflows.runs order by 1")
        .fetch_all(&mut world.connection().await)
        .await
        .unwrap();
    let states: Vec<(String, bool)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(states, [("completed".to_owned(), true), ("waiting".to_owned(), true)]);
    assert_eq!(world.count("history").await, 2);
}
