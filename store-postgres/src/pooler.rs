//! Recognises a pooler between the store and the server, since its mode decides what a connection may be used for. It
//! must not know the schema.

use std::pin::pin;

use pgworkflows_core::store::StoreError;
use sqlx::Row;
use sqlx::postgres::PgConnection;
use tokio::time::timeout;

use crate::connect::{connect, describe_address};
use crate::error::{MIXED_UP, is_mixed_up, store_error};
use crate::options::Options;

/// How long a client keeps its connection of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// As long as its own connection.
    PerConnection,
    /// For one transaction. A pooler gives the next one another connection, so nothing may be kept in it.
    PerTransaction,
}

/// How often two connections are asked for their backend. An idle pooler in transaction mode gives both the same
/// backend at once; a busy one gives them different backends each time.
const ROUNDS: usize = 4;

/// Finds out how long connections of the server are kept.
///
/// Refuses a pooler that mixes up prepared statements if the options allow them: it could execute another client's
/// statement that has the same parameters. Also refuses a pooler that gives one connection at a time, because waiting
/// for the second one would never end.
pub(crate) async fn recognise(options: &Options) -> Result<Pooling, StoreError> {
    if !options.prepared_statements {
        return Ok(Pooling::PerTransaction);
    }
    let first = connect(&options.connect).await?;
    let (mut first, mut second) = open_second(options, first).await?;
    let mut pooling = Pooling::PerConnection;
    let mut before = None;
    for _ in 0..ROUNDS {
        let now = (backend_pid(&mut first, 1).await?, backend_pid(&mut second, 2).await?);
        if now.0 == now.1 || before.is_some_and(|before| before != now) {
            pooling = Pooling::PerTransaction;
        }
        before = Some(now);
    }
    Ok(pooling)
}

/// Asks for the backend's process id, by a statement that the connection keeps prepared.
async fn backend_pid(connection: &mut PgConnection, number: i32) -> Result<i32, StoreError> {
    // Two texts with the same parameters and columns, so that a mix-up shows only in the second column.
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

/// Opens a second connection while the first is open.
async fn open_second(
    options: &Options,
    first: PgConnection,
) -> Result<(PgConnection, PgConnection), StoreError> {
    let wait = options.call_timeout / 2;
    let mut second = pin!(connect(&options.connect));
    if let Ok(second) = timeout(wait, &mut second).await {
        return Ok((first, second?));
    }
    drop(first);
    match timeout(wait, second).await {
        Ok(Ok(_)) => Err(StoreError::misconfigured(format!(
            "{}: a second connection opens only after the first is closed, but a client needs at least 2 and a worker \
             at least 4: give the pooler a larger pool (in PgBouncer, `default_pool_size`)",
            describe_address(&options.connect)
        ))),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let address = describe_address(&options.connect);
            Err(StoreError::unavailable(format!(
                "{address}: no second connection could be opened within {wait:?}"
            )))
        }
    }
}
