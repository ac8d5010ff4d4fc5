//! Throughput beside somebody who writes to another table of the same database as fast as one connection can.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use sqlx::{Connection, PgConnection};

use super::{Field, comparison};
use crate::Failure;
use crate::ground::Address;
use crate::measure::Figure;

pub(super) async fn neighbour(field: &Field<'_>) -> Result<Vec<Figure>, Failure> {
    let load = field.load().await?;
    let before = load.round().await?.midpoint(load.round().await?);

    let (over, commits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writing = tokio::spawn(write(field.address.clone(), Arc::clone(&over), Arc::clone(&commits)));
    let began = Instant::now();
    let mut rates = Vec::new();
    while began.elapsed() < field.options.time() || rates.is_empty() {
        rates.push(load.round().await?);
    }
    let seconds = began.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    writing.await??;
    load.stop().await?;

    let mut figures = comparison(before, rates.iter().sum::<f64>() / rates.len() as f64);
    figures
        .push(Figure::new("neighbour_commits_per_second", commits.load(Ordering::Relaxed) as f64 / seconds));
    Ok(figures)
}

/// Ten rows of 200 bytes per commit, without a pause.
async fn write(address: Address, over: Arc<AtomicBool>, commits: Arc<AtomicU64>) -> Result<(), Failure> {
    let mut connection = PgConnection::connect(&address.url).await?;
    sqlx::query("create table if not exists neighbour (id bigint generated always as identity primary key, body text)")
        .execute(&mut connection)
        .await?;
    while !over.load(Ordering::Relaxed) {
        sqlx::query("insert into neighbour (body) select repeat('x', 200) from generate_series(1, 10)")
            .execute(&mut connection)
            .await?;
        commits.fetch_add(1, Ordering::Relaxed);
    }
    sqlx::query("drop table neighbour").execute(&mut connection).await?;
    Ok(())
}
