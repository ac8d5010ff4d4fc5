//! Throughput while a reader holds a snapshot open: no dead row can be cleaned away, so they pile up. It is compared with
//! as long a time before without one, for checkpoints and vacuums come in both.

use std::time::Instant;

use sqlx::{Connection, PgConnection};

use super::{Field, Load, comparison};
use crate::Failure;
use crate::measure::Figure;

pub(super) async fn snapshot(field: &Field<'_>) -> Result<Vec<Figure>, Failure> {
    let load = field.load().await?;
    let before = rates(field, &load).await?;

    let mut reader = PgConnection::connect(&field.address.url).await?;
    sqlx::query("begin isolation level repeatable read").execute(&mut reader).await?;
    sqlx::query("select pg_current_snapshot()").execute(&mut reader).await?;
    let began = Instant::now();
    let meanwhile = rates(field, &load).await?;
    let seconds = began.elapsed().as_secs_f64();
    sqlx::query("rollback").execute(&mut reader).await?;
    load.stop().await?;

    let mut figures = comparison(late(&before), late(&meanwhile));
    figures.push(Figure::new("seconds_held", seconds));
    figures.push(Figure::new("runs_meanwhile", meanwhile.len() as f64 * field.options.runs as f64));
    Ok(figures)
}

/// The rate of each round, for as long as the question says.
async fn rates(field: &Field<'_>, load: &Load) -> Result<Vec<f64>, Failure> {
    let began = Instant::now();
    let mut rates = Vec::new();
    while began.elapsed() < field.options.time() || rates.len() < 2 {
        rates.push(load.round().await?);
    }
    Ok(rates)
}

/// The mean of the second half, when most has piled up.
fn late(rates: &[f64]) -> f64 {
    let late = &rates[rates.len() / 2..];
    late.iter().sum::<f64>() / late.len() as f64
}
