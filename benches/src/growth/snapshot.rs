//! Throughput while a reader holds a snapshot open: no dead row can be cleaned away, so they pile up.

use std::time::Instant;

use sqlx::{Connection, PgConnection};

use super::{Field, Load, comparison};
use crate::Failure;
use crate::measure::Figure;

pub(super) async fn snapshot(field: &Field<'_>) -> Result<Vec<Figure>, Failure> {
    let load = Load::start(field).await?;
    let before = load.round().await?.midpoint(load.round().await?);

    let mut reader = PgConnection::connect(&field.address.url).await?;
    sqlx::query("begin isolation level repeatable read").execute(&mut reader).await?;
    sqlx::query("select pg_current_snapshot()").execute(&mut reader).await?;
    let began = Instant::now();
    let mut rates = Vec::new();
    while began.elapsed() < field.options.time || rates.len() < 2 {
        rates.push(load.round().await?);
    }
    sqlx::query("rollback").execute(&mut reader).await?;
    load.stop().await?;

    let last = rates[rates.len() - 2].midpoint(rates[rates.len() - 1]);
    let mut figures = comparison(before, last);
    figures.push(Figure::new("seconds_held", began.elapsed().as_secs_f64()));
    figures.push(Figure::new("runs_meanwhile", rates.len() as f64 * field.options.runs as f64));
    Ok(figures)
}
