//! Hints between processes, by NOTIFY: one connection per process that listens and rings, on a thread of its own.
//! Losing every notification must cost a poll interval and nothing else, so nothing here is ever waited for.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use pgworkflows_core::id::ShardId;
use pgworkflows_core::store::Hint;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{AssertSqlSafe, Executor};
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

use crate::error::is_notification_queue_full;

/// How many hints a slow listener may be behind before it is told that it missed some.
const BACKLOG: usize = 1024;

/// How long the bell rests after a notification, for each hint in it: a notification is a commit of its own under a
/// lock of the whole database. Where little happens, everything is told at once; where much happens, much at a time.
const REST_PER_HINT: Duration = Duration::from_millis(1);

/// How long it rests at most.
const REST_MAX: Duration = Duration::from_millis(25);

/// How many bytes a notification may have: the server's limit is 8,000.
const PAYLOAD_BYTES_MAX: usize = 7_900;

/// What other processes are told, and what they tell.
pub(crate) struct Bell {
    hints: broadcast::Sender<Hint>,
    channel: String,
    /// `None` if notifications are switched off.
    options: Option<PgConnectOptions>,
    /// Whether that connection can listen as well: it cannot if a pooler gives it another server each time.
    listens: bool,
    /// To the thread, once there is one.
    rings: OnceLock<mpsc::UnboundedSender<Hint>>,
}

impl Bell {
    /// A bell that opens nothing before it is used.
    pub(crate) fn new(options: Option<PgConnectOptions>, listens: bool, channel: String) -> Self {
        Self { hints: broadcast::channel(BACKLOG).0, channel, options, listens, rings: OnceLock::new() }
    }

    /// Listens.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Hint> {
        let receiver = self.hints.subscribe();
        self.thread();
        receiver
    }

    /// Tells this process at once, and others soon.
    pub(crate) fn ring(&self, hints: impl IntoIterator<Item = Hint>) {
        for hint in hints {
            // Nobody may be listening here.
            let _ = self.hints.send(hint);
            if let Some(thread) = self.thread() {
                let _ = thread.send(hint);
            }
        }
    }

    /// The channel to ring within somebody else's transaction, unless notifications are switched off.
    pub(crate) fn channel(&self) -> Option<String> {
        self.options.is_some().then(|| self.channel.clone())
    }

    fn thread(&self) -> Option<&mpsc::UnboundedSender<Hint>> {
        let options = self.options.as_ref()?;
        Some(self.rings.get_or_init(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            let line = Line {
                options: options.clone(),
                listens: self.listens,
                channel: self.channel.clone(),
                hints: self.hints.clone(),
                rings: receiver,
            };
            // A thread, because a caller's runtime may end long before the store does.
            let thread = std::thread::Builder::new().name("pgworkflows-bell".to_owned());
            if let Err(error) = thread.spawn(move || line.run()) {
                tracing::warn!(%error, "no thread for notifications: everything is found by polling alone");
            }
            sender
        }))
    }
}

/// The thread's side. It ends when the store is dropped, and with it the sender of rings.
struct Line {
    options: PgConnectOptions,
    listens: bool,
    channel: String,
    hints: broadcast::Sender<Hint>,
    rings: mpsc::UnboundedReceiver<Hint>,
}

impl Line {
    fn run(mut self) {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(self.serve()),
            Err(error) => {
                tracing::warn!(%error, "no runtime for notifications: everything is found by polling alone");
            }
        }
    }

    /// Connects again and again, until the store is gone.
    async fn serve(&mut self) {
        let mut waits = backoff();
        loop {
            let lost = match self.connect().await {
                Ok((listener, backend)) => {
                    waits = backoff();
                    // What was sent while nobody listened is lost.
                    let _ = self.hints.send(Hint::Missed);
                    match self.converse(listener, backend).await {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            tracing::debug!(error = %lost, "the connection for notifications was lost; connecting again");
            let wait = tokio::time::sleep(waits.next().unwrap_or(RECONNECT_MAX));
            tokio::pin!(wait);
            loop {
                tokio::select! {
                    () = &mut wait => break,
                    // Rings that nobody can hear are dropped.
                    ring = self.rings.recv() => if ring.is_none() { return },
                }
            }
        }
    }

    /// A listening connection and the number of its backend.
    async fn connect(&self) -> Result<(PgListener, u32), sqlx::Error> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(RECONNECT_MAX)
            .connect_with(self.options.clone())
            .await?;
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.ignore_pool_close_event(true);
        // This loop reconnects by itself, to be able to say so.
        listener.eager_reconnect(false);
        if !self.listens {
            return Ok((listener, 0));
        }
        let backend = sqlx::query_scalar("select pg_catalog.pg_backend_pid()").persistent(false);
        let backend: i32 = backend.fetch_one(&mut listener).await?;
        listener.listen(&self.channel).await?;
        Ok((listener, backend.cast_unsigned()))
    }

    /// Listens and rings until the connection is lost (`Err`) or the store is gone (`Ok`).
    async fn converse(&mut self, mut listener: PgListener, backend: u32) -> Result<(), sqlx::Error> {
        let mut pending: BTreeSet<Ring> = BTreeSet::new();
        let mut next_ring = Instant::now();
        loop {
            tokio::select! {
                ring = self.rings.recv() => match ring {
                    Some(hint) => { pending.extend(Ring::new(hint)); }
                    None => return Ok(()),
                },
                () = tokio::time::sleep_until(next_ring), if !pending.is_empty() => {
                    while let Ok(hint) = self.rings.try_recv() {
                        pending.extend(Ring::new(hint));
                    }
                    let rest = REST_PER_HINT.saturating_mul(pending.len() as u32).min(REST_MAX);
                    let payload = write(&std::mem::take(&mut pending));
                    let ring = AssertSqlSafe(ring_statement(&self.channel, &payload));
                    if let Err(error) = listener.execute(ring).await {
                        if !is_notification_queue_full(&error) {
                            return Err(error);
                        }
                        // A hint less: what it told of is found by polling.
                        tracing::warn!(
                            %error,
                            "the server's queue of notifications is full: some session listens and stays in a \
                             transaction; until that ends, everything is found by polling alone"
                        );
                    }
                    next_ring = Instant::now() + rest;
                }
                heard = listener.try_recv() => match heard? {
                    // What this process rang itself, it has been told already.
                    Some(heard) if heard.process_id() == backend => {}
                    Some(heard) => {
                        for hint in read(heard.payload()) {
                            let _ = self.hints.send(hint);
                        }
                    }
                    None => return Err(sqlx::Error::WorkerCrashed),
                },
            }
        }
    }
}

/// One statement without parameters, which no pooler can mix up with another's, and which leaves nothing set in a
/// connection that may serve somebody else next. A notification writes a commit record, but nobody needs it on disk.
fn ring_statement(channel: &str, payload: &str) -> String {
    // Safe without quoting: the channel is a checked identifier, and a payload has words, numbers and commas.
    format!(
        "select pg_catalog.set_config('synchronous_commit', 'off', true), \
         pg_catalog.pg_notify('{channel}', '{payload}')"
    )
}

/// The longest pause between two attempts to connect, and the longest that one may take.
const RECONNECT_MAX: Duration = Duration::from_secs(10);

fn backoff() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(RECONNECT_MAX)
        .without_max_times()
        .with_jitter()
        .build()
}

/// A hint on its way, in the order in which hints of one kind stand together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ring {
    Mail(ShardId),
    Notice(ShardId),
    Released,
}

impl Ring {
    fn new(hint: Hint) -> Option<Self> {
        match hint {
            Hint::Mail(shard) => Some(Self::Mail(shard)),
            Hint::Notice(shard) => Some(Self::Notice(shard)),
            Hint::Released => Some(Self::Released),
            // That something was missed is everybody's own business.
            Hint::Missed => None,
        }
    }
}

/// One payload for many rings: `mail 1,2;notice 7;released`, or `all` where that would be too long.
fn write(rings: &BTreeSet<Ring>) -> String {
    let list = |word: &str, shards: Vec<String>| {
        (!shards.is_empty()).then(|| format!("{word} {}", shards.join(",")))
    };
    let mail = rings.iter().filter_map(|ring| match ring {
        Ring::Mail(shard) => Some(shard.to_string()),
        Ring::Notice(_) | Ring::Released => None,
    });
    let notices = rings.iter().filter_map(|ring| match ring {
        Ring::Notice(shard) => Some(shard.to_string()),
        Ring::Mail(_) | Ring::Released => None,
    });
    let released = rings.contains(&Ring::Released).then(|| "released".to_owned());
    let words = [list("mail", mail.collect()), list("notice", notices.collect()), released];
    let payload = words.into_iter().flatten().collect::<Vec<_>>().join(";");
    if payload.len() > PAYLOAD_BYTES_MAX { "all".to_owned() } else { payload }
}

/// The hints of a payload. What a newer version says and this one does not understand means: look at everything.
fn read(payload: &str) -> Vec<Hint> {
    let word = |word: &str| -> Option<Vec<Hint>> {
        let shards = |list: &str, hint: fn(ShardId) -> Hint| {
            list.split(',').map(|shard| Some(hint(ShardId::new(shard.parse().ok()?).ok()?))).collect()
        };
        match word.split_once(' ') {
            Some(("mail", list)) => shards(list, Hint::Mail),
            Some(("notice", list)) => shards(list, Hint::Notice),
            None if word == "released" => Some(vec![Hint::Released]),
            _ => None,
        }
    };
    payload.split(';').flat_map(|part| word(part).unwrap_or_else(|| vec![Hint::Missed])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_says_what_was_rung() {
        let shard = |number| ShardId::new(number).unwrap();
        let hints = [Hint::Mail(shard(1)), Hint::Mail(shard(4095)), Hint::Notice(shard(7)), Hint::Released];
        let rings = hints.into_iter().filter_map(Ring::new).collect();
        assert_eq!(write(&rings), "mail 1,4095;notice 7;released");
        assert_eq!(read(&write(&rings)), hints);
    }

    #[test]
    fn too_long_or_unknown_a_payload_means_that_hints_were_missed() {
        let all = (0..4096).map(|number| Ring::Mail(ShardId::new(number).unwrap())).collect();
        assert_eq!(read(&write(&all)), [Hint::Missed]);
        assert_eq!(read("mail 1;tasks 3"), [Hint::Mail(ShardId::new(1).unwrap()), Hint::Missed]);
        assert_eq!(read("mail 9999"), [Hint::Missed]);
    }
}
