//! What stands between the store and the server: nothing, or a pooler, whose habits decide what a connection may be
//! used for. It asks nothing that depends on the schema.

use std::pin::pin;

use pgworkflows_core::store::StoreError;
use sqlx::Row;
use sqlx::postgres::PgConnection;
use tokio::time::timeout;

use crate::connect::{connect, place};
use crate::error::{MIXED_UP, is_mixed_up, store_error};
use crate::options::Options;

/// Who has a connection of the server for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// Each connection has one of the server to itself.
    PerConnection,
    /// A pooler gives each transaction another one, so that nothing may be kept in it.
    PerTransaction,
}

/// How often two connections are asked whom they talk to. A pooler at rest gives both the same one at once; a busy one
/// gives them others each time.
const ROUNDS: usize = 4;

/// Tells who has connections for how long.
///
/// Refuses a pooler that mixes up prepared statements, of which the options do not tell: what it executes may be
/// somebody else's statement, if that takes the same parameters. Refuses one connection at a time as well, since
/// whoever waits for the second would wait for ever.
pub(crate) async fn recognise(options: &Options) -> Result<Pooling, StoreError> {
    if !options.prepared_statements {
        return Ok(Pooling::PerTransaction);
    }
    let first = connect(&options.connect).await?;
    let (mut first, mut second) = with_second(options, first).await?;
    let mut pooling = Pooling::PerConnection;
    let mut before = None;
    for _ in 0..ROUNDS {
        let now = (ask(&mut first, 1).await?, ask(&mut second, 2).await?);
        if now.0 == now.1 || before.is_some_and(|before| before != now) {
            pooling = Pooling::PerTransaction;
        }
        before = Some(now);
    }
    Ok(pooling)
}

/// Asks, by a statement that the connection keeps prepared, for the number of the server's process.
async fn ask(connection: &mut PgConnection, number: i32) -> Result<i32, StoreError> {
    // Two texts with the same parameters and columns: what is mixed up is not noticed by its shape.
    let text = match number {
        1 => "select pg_catalog.pg_backend_pid(), 1",
        _ => "select pg_catalog.pg_backend_pid(), 2",
    };
    let row = sqlx::query(text).fetch_one(connection).await;
    match row {
        Ok(row) if row.get::<i32, _>(1) == number => Ok(row.get(0)),
        Err(error) if !is_mixed_up(&error) => Err(store_error(error)),
        Ok(_) | Err(_) => Err(StoreError::misconfigured(MIXED_UP)),
    }
}

/// Opens a second connection beside the first.
async fn with_second(
    options: &Options,
    first: PgConnection,
) -> Result<(PgConnection, PgConnection), StoreError> {
    let patience = options.call_timeout / 2;
    let mut second = pin!(connect(&options.connect));
    if let Ok(second) = timeout(patience, &mut second).await {
        return Ok((first, second?));
    }
    drop(first);
    match timeout(patience, second).await {
        Ok(Ok(_)) => Err(StoreError::misconfigured(format!(
            "{}: a second connection is answered only when the first is gone, but a client needs 2 and a worker 4 at \
             least: give the pooler a larger pool (in PgBouncer, `default_pool_size`)",
            place(&options.connect)
        ))),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let place = place(&options.connect);
            Err(StoreError::unavailable(format!(
                "{place}: no second connection came about within {patience:?}"
            )))
        }
    }
}
