//! Connections that the clients, or the transactions, of a process share. It must not know what they are used for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, Postgres};
use sqlx::{Connection, Error};
use tokio::time::Instant;

use crate::connect::{is_standby, standby_refused};
use crate::error::timed_out;
use crate::options::Options;

/// How long a client waits for a connection of the pool. While no server answers, the pool retries for this time, so
/// that clients do not notice a restart of the server.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a transaction waits for a connection, unless its own time is over before. Others may have all of them.
const TRANSACTION_PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// How long a connection may be idle before it is pinged. Clients retry for longer than this.
const PING_AFTER: Duration = Duration::from_secs(1);

/// How many connections are kept at hand: one that submits, and one that watches.
const AT_HAND: usize = 2;

/// For how long. Then a connection returns to the library's pool, which replaces old ones.
const AT_HAND_FOR: Duration = Duration::from_secs(600);

/// A pool of connections. The ones that were used last are kept at hand, because the library's pool pings each connection that
/// it gets back, which costs as much as a short call.
pub(crate) struct Pool {
    pool: PgPool,
    acquire_timeout: Duration,
    /// The option that sets how many connections there are.
    option: &'static str,
    hand: Mutex<Hand>,
    /// Whether the last connection that was opened led to a standby.
    found_standby: Arc<AtomicBool>,
}

#[derive(Default)]
struct Hand {
    /// With the time since which each is idle.
    connections: Vec<(Taken, Instant)>,
    /// How many callers wait for a connection of the pool. None is kept from them.
    waiting: usize,
}

impl Pool {
    /// A pool for the calls of clients.
    pub(crate) fn for_clients(options: &Options) -> Self {
        let acquire_timeout = options.call_timeout.min(ACQUIRE_TIMEOUT);
        Self::new(options.connect.clone(), "pool_size", options.pool_size, acquire_timeout)
    }

    /// A pool for transactions in which code of the user runs.
    pub(crate) fn for_transactions(options: &Options) -> Self {
        let mut connect = options.connect.clone();
        if !options.prepared_statements {
            connect = connect.statement_cache_capacity(0);
        }
        Self::new(connect, "transactions_max", options.transactions_max, TRANSACTION_PATIENCE)
    }

    /// A pool that opens connections when they are needed.
    fn new(connect: PgConnectOptions, option: &'static str, size: u32, acquire_timeout: Duration) -> Self {
        let found_standby = Arc::new(AtomicBool::new(false));
        let finds_standby = Arc::clone(&found_standby);
        let pool = PgPoolOptions::new()
            .max_connections(size)
            .acquire_timeout(acquire_timeout)
            // The address may lead to a standby while another one is promoted. A connection would stay there, so the
            // pool closes it and tries again.
            .after_connect(move |connection, _| {
                let finds_standby = Arc::clone(&finds_standby);
                Box::pin(async move {
                    let found = is_standby(connection).await?;
                    finds_standby.store(found, Ordering::Relaxed);
                    if found { Err(Error::protocol("the server is a standby")) } else { Ok(()) }
                })
            })
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
            .connect_lazy_with(connect);
        Self { pool, acquire_timeout, option, hand: Mutex::default(), found_standby }
    }

    /// Takes a connection for a call.
    pub(crate) async fn take(&self) -> Result<Taken, Error> {
        let _waiting = loop {
            match self.pop_or_wait() {
                Ok((mut taken, since)) => {
                    if since.elapsed() < PING_AFTER || self.is_alive(&mut taken).await {
                        return Ok(taken);
                    }
                }
                Err(waiting) => break waiting,
            }
        };
        match self.pool.acquire().await {
            Ok(connection) => Ok(Taken::new(connection)),
            Err(Error::PoolTimedOut) => Err(self.no_connection()),
            Err(error) => Err(error),
        }
    }

    /// Why no connection was available in time.
    fn no_connection(&self) -> Error {
        if self.found_standby.load(Ordering::Relaxed) {
            return timed_out(&standby_refused(&self.pool.connect_options()));
        }
        timed_out(&format!(
            "no connection of the pool was available within {:?}: of {} (`{}`), {} are open or being opened",
            self.acquire_timeout,
            self.pool.options().get_max_connections(),
            self.option,
            self.pool.size()
        ))
    }

    /// Takes a connection at hand. If there is none, the caller waits for one of the pool.
    fn pop_or_wait(&self) -> Result<(Taken, Instant), Waiting<'_>> {
        let mut hand = self.hand();
        let at_hand = hand.connections.pop();
        at_hand.ok_or_else(|| {
            hand.waiting += 1;
            Waiting(self)
        })
    }

    /// Pings a connection that was idle. The network may have lost it silently.
    async fn is_alive(&self, taken: &mut Taken) -> bool {
        let Some(connection) = taken.connection() else { return false };
        tokio::time::timeout(self.acquire_timeout, connection.ping()).await.is_ok_and(|answer| answer.is_ok())
    }

    /// Takes back a connection after a call.
    pub(crate) fn put_back(&self, taken: Taken) {
        let mut hand = self.hand();
        if hand.waiting == 0 && hand.connections.len() < AT_HAND && taken.since.elapsed() < AT_HAND_FOR {
            hand.connections.push((taken, Instant::now()));
        } else {
            drop(hand);
            Self::release(taken);
        }
    }

    /// Gives a connection back to the library's pool from which it came.
    pub(crate) fn release(mut taken: Taken) {
        drop(taken.connection.take());
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
        for (mut taken, _) in hand.connections.drain(..) {
            drop(taken.connection.take().map(PoolConnection::leak));
        }
    }
}

/// A connection during a call. It is closed unless it is put back: a transaction may be open on it, or the network may have
/// lost it silently, which the library's pool would wait to find out for as long as TCP retries.
pub(crate) struct Taken {
    connection: Option<PoolConnection<Postgres>>,
    /// When it was taken from the library's pool.
    since: Instant,
}

impl Taken {
    /// A connection that was just taken from the library's pool.
    pub(crate) fn new(connection: PoolConnection<Postgres>) -> Self {
        Self { connection: Some(connection), since: Instant::now() }
    }

    pub(crate) fn connection(&mut self) -> Option<&mut PgConnection> {
        self.connection.as_deref_mut()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.close_on_drop();
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
