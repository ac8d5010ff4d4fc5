//! The connections that the clients of a process share. It must not know what they are used for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::Connection;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgPool, PgPoolOptions, Postgres};
use tokio::time::Instant;

use crate::options::Options;

/// How long a client waits for a connection of the pool. While no server answers, the pool retries for this time, so
/// that clients do not notice a restart of the server.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may be idle before it is pinged. Clients retry for longer than this.
const PING_AFTER: Duration = Duration::from_secs(1);

/// How many connections are kept at hand: one that submits, and one that watches.
const AT_HAND: usize = 2;

/// A pool of connections. The ones that were used last are kept at hand, because the library's pool pings each connection that
/// it gets back, which costs as much as a short call.
pub(crate) struct Pool {
    pool: PgPool,
    hand: Mutex<Hand>,
}

#[derive(Default)]
struct Hand {
    connections: Vec<(PoolConnection<Postgres>, Instant)>,
    /// How many callers wait for a connection of the pool. None is kept from them.
    waiting: usize,
}

impl Pool {
    /// A pool that opens connections when they are needed.
    pub(crate) fn new(options: &Options) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(options.pool_size)
            .acquire_timeout(options.call_timeout.min(ACQUIRE_TIMEOUT))
            // A connection that was used just now is alive; a ping would cost every call a round trip.
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for >= PING_AFTER {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options.connect.clone());
        Self { pool, hand: Mutex::default() }
    }

    /// Takes a connection. Dropping it returns it to the pool.
    pub(crate) async fn take(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        let _waiting = {
            let mut hand = self.hand();
            if let Some((connection, since)) = hand.connections.pop()
                && since.elapsed() < PING_AFTER
            {
                return Ok(connection);
            }
            hand.waiting += 1;
            Waiting(self)
        };
        self.pool.acquire().await
    }

    /// Takes back a connection on which no answer is left unread.
    pub(crate) fn put_back(&self, connection: PoolConnection<Postgres>) {
        let mut hand = self.hand();
        if hand.waiting == 0 && hand.connections.len() < AT_HAND {
            hand.connections.push((connection, Instant::now()));
        }
    }

    /// How many connections are open.
    pub(crate) fn size(&self) -> u32 {
        self.pool.size()
    }

    fn hand(&self) -> MutexGuard<'_, Hand> {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pool {
    /// The last handle of a store may be dropped outside of a runtime, where a connection cannot be returned to its pool.
    fn drop(&mut self) {
        let hand = self.hand.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (connection, _) in hand.connections.drain(..) {
            drop(connection.leak());
        }
    }
}

/// A caller who waits for a connection of the pool.
struct Waiting<'a>(&'a Pool);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.hand().waiting -= 1;
    }
}
