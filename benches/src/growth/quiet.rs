//! What a worker costs that has nothing to do: processor time, and statements.

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};

use super::Field;
use crate::Failure;
use crate::measure::{Figure, Server, cpu};
use crate::workers::Workers;

/// Until the worker has come up and every connection has told the statistics of it.
const SETTLING: Duration = Duration::from_secs(5);

pub(super) async fn idle(field: &Field<'_>) -> Result<Vec<Figure>, Failure> {
    let workers = Workers::inside(&field.ground.store, 1)?;
    let mut server = Server::connect(&field.address).await?;
    let mut statistics = PgConnection::connect(&field.address.url).await?;
    tokio::time::sleep(SETTLING).await;

    let (own, others) = (cpu("self"), server.read().await?.cpu);
    let statements = transactions(&mut statistics).await?;
    let began = Instant::now();
    tokio::time::sleep(field.options.time).await;
    let seconds = began.elapsed().as_secs_f64();
    let own = (cpu("self") - own).as_secs_f64();
    let others = (server.read().await?.cpu - others).as_secs_f64();
    // One of them was the question itself.
    let statements = transactions(&mut statistics).await?.saturating_sub(statements + 1);
    workers.stop().await?;

    Ok(vec![
        Figure::new("worker_cpu_percent", 100.0 * own / seconds),
        Figure::new("server_cpu_percent", 100.0 * others / seconds),
        Figure::new("statements_per_minute", 60.0 * statements as f64 / seconds),
    ])
}

/// Transactions of this database so far. A statement of a worker that is idle is one transaction.
async fn transactions(connection: &mut PgConnection) -> Result<u64, Failure> {
    let count: i64 = sqlx::query_scalar(
        "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()",
    )
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(count)?)
}
