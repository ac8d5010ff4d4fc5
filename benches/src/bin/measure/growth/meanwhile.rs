//! Throughput while another client does something, against the same time before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pgworkflows_benches::Failure;
use sqlx::PgConnection;

use super::database::{GrowingDatabase, Load, comparison};
use crate::figures::Figure;

/// While a reader holds a snapshot open: no dead row can be vacuumed, so they pile up.
pub(super) async fn snapshot(database: &GrowingDatabase, seconds: u64) -> Result<Vec<Figure>, Failure> {
    let load = database.load().await?;
    // As long as with the snapshot, because checkpoints and vacuums run in both.
    let before = rates(&load, seconds).await?;

    let mut reader = database.connect().await?;
    sqlx::query("begin isolation level repeatable read").execute(&mut reader).await?;
    sqlx::query("select pg_current_snapshot()").execute(&mut reader).await?;
    let began = Instant::now();
    let meanwhile = rates(&load, seconds).await?;
    let seconds = began.elapsed().as_secs_f64();
    sqlx::query("rollback").execute(&mut reader).await?;
    load.stop().await?;

    // The second half, when most dead rows have piled up.
    let late = |rates: &[f64]| mean(&rates[rates.len() / 2..]);
    let mut figures = comparison(late(&before), late(&meanwhile));
    figures.push(Figure::new("seconds_held", seconds));
    figures.push(Figure::new("runs_meanwhile", meanwhile.len() as f64 * database.runs as f64));
    Ok(figures)
}

/// While one connection writes to another table of the same database as fast as it can.
pub(super) async fn neighbour(database: &GrowingDatabase, seconds: u64) -> Result<Vec<Figure>, Failure> {
    let load = database.load().await?;
    let before = rates(&load, 0).await?;

    let over = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn(write(database.connect().await?, Arc::clone(&over)));
    let began = Instant::now();
    let meanwhile = rates(&load, seconds).await?;
    let seconds = began.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    let commits = writing.await??;
    load.stop().await?;

    let mut figures = comparison(mean(&before), mean(&meanwhile));
    figures.push(Figure::new("neighbour_commits_per_second", f64::from(commits) / seconds));
    Ok(figures)
}

/// Commits ten rows of 200 bytes at a time, without a pause. Returns how many times.
async fn write(mut connection: PgConnection, over: Arc<AtomicBool>) -> Result<u32, Failure> {
    sqlx::query("create table if not exists neighbour (id bigint generated always as identity primary key, body text)")
        .execute(&mut connection)
        .await?;
    let mut commits = 0;
    while !over.load(Ordering::Relaxed) {
        sqlx::query("insert into neighbour (body) select repeat('x', 200) from generate_series(1, 10)")
            .execute(&mut connection)
            .await?;
        commits += 1;
    }
    sqlx::query("drop table neighbour").execute(&mut connection).await?;
    Ok(commits)
}

/// The rate of each round of load: rounds for `seconds` seconds, and at least two.
async fn rates(load: &Load, seconds: u64) -> Result<Vec<f64>, Failure> {
    let began = Instant::now();
    let mut rates = Vec::new();
    while began.elapsed() < Duration::from_secs(seconds) || rates.len() < 2 {
        rates.push(load.round().await?);
    }
    Ok(rates)
}

fn mean(rates: &[f64]) -> f64 {
    rates.iter().sum::<f64>() / rates.len() as f64
}
