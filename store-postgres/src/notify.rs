//! Hints between processes, sent by NOTIFY. One connection per process listens and notifies, on its own thread. No
//! caller may ever wait for this file: losing every notification must cost a poll interval and nothing else.

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

/// How many hints a slow listener may lag before it is told that it missed some.
const BACKLOG: usize = 1024;

/// How long the notifier pauses after a notification, for each hint in it. Every notification is a separate commit
/// under a database-wide lock. So a quiet system sends each hint at once, and a busy one sends many hints together.
const PAUSE_PER_HINT: Duration = Duration::from_millis(1);

/// The longest pause after a notification.
const PAUSE_MAX: Duration = Duration::from_millis(25);

/// The most bytes in a notification: the server's limit is 8,000.
const PAYLOAD_BYTES_MAX: usize = 7_900;

/// Sends hints to this process and to others, and receives theirs.
pub(crate) struct Notifier {
    hints: broadcast::Sender<Hint>,
    channel: String,
    /// `None` if notifications are switched off.
    options: Option<PgConnectOptions>,
    /// Whether that connection can also listen: it cannot if a pooler gives each transaction another server connection.
    listens: bool,
    /// Sends hints to the thread, once it has started.
    outgoing: OnceLock<mpsc::UnboundedSender<Hint>>,
}

impl Notifier {
    /// A notifier that opens no connection until it is first used.
    pub(crate) fn new(options: Option<PgConnectOptions>, listens: bool, channel: String) -> Self {
        Self { hints: broadcast::channel(BACKLOG).0, channel, options, listens, outgoing: OnceLock::new() }
    }

    /// Subscribes to hints, and starts the thread if notifications are on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Hint> {
        let receiver = self.hints.subscribe();
        self.thread();
        receiver
    }

    /// Notifies this process at once, and other processes soon.
    pub(crate) fn notify(&self, hints: impl IntoIterator<Item = Hint>) {
        for hint in hints {
            // An error means that nothing in this process listens.
            let _ = self.hints.send(hint);
            if let Some(thread) = self.thread() {
                let _ = thread.send(hint);
            }
        }
    }

    /// The channel to notify inside a caller's transaction, unless notifications are switched off.
    pub(crate) fn channel(&self) -> Option<String> {
        self.options.is_some().then(|| self.channel.clone())
    }

    fn thread(&self) -> Option<&mpsc::UnboundedSender<Hint>> {
        let options = self.options.as_ref()?;
        Some(self.outgoing.get_or_init(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            let notifier = NotifierThread {
                options: options.clone(),
                listens: self.listens,
                channel: self.channel.clone(),
                hints: self.hints.clone(),
                outgoing: receiver,
            };
            // A thread rather than a task, because a caller's runtime may end long before the store is dropped.
            let thread = std::thread::Builder::new().name("pgworkflows-notify".to_owned());
            if let Err(error) = thread.spawn(move || notifier.run()) {
                tracing::warn!(%error, "no thread for notifications: changes are found by polling alone");
            }
            sender
        }))
    }
}

/// The thread's side. It ends when the store is dropped, which closes `outgoing`.
struct NotifierThread {
    options: PgConnectOptions,
    listens: bool,
    channel: String,
    hints: broadcast::Sender<Hint>,
    outgoing: mpsc::UnboundedReceiver<Hint>,
}

impl NotifierThread {
    fn run(mut self) {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(self.serve()),
            Err(error) => {
                tracing::warn!(%error, "no runtime for notifications: changes are found by polling alone");
            }
        }
    }

    /// Connects, and reconnects with backoff, until the store is dropped.
    async fn serve(&mut self) {
        let mut waits = backoff();
        loop {
            let lost = match self.connect().await {
                Ok((listener, backend)) => {
                    waits = backoff();
                    // Notifications that were sent before this connection listened were lost.
                    let _ = self.hints.send(Hint::Missed);
                    match self.exchange(listener, backend).await {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            tracing::debug!(error = %lost, "the connection for notifications was lost; reconnecting");
            let wait = tokio::time::sleep(waits.next().unwrap_or(RECONNECT_MAX));
            tokio::pin!(wait);
            loop {
                tokio::select! {
                    () = &mut wait => break,
                    // Hints that cannot be sent are dropped.
                    hint = self.outgoing.recv() => if hint.is_none() { return },
                }
            }
        }
    }

    /// A listening connection and its backend's process id.
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
        // `serve` reconnects, because it has to report the gap.
        listener.eager_reconnect(false);
        if !self.listens {
            return Ok((listener, 0));
        }
        let backend = sqlx::query_scalar("select pg_catalog.pg_backend_pid()").persistent(false);
        let backend: i32 = backend.fetch_one(&mut listener).await?;
        listener.listen(&self.channel).await?;
        Ok((listener, backend.cast_unsigned()))
    }

    /// Listens and notifies until the connection is lost (`Err`) or the store is dropped (`Ok`).
    async fn exchange(&mut self, mut listener: PgListener, backend: u32) -> Result<(), sqlx::Error> {
        let mut pending: BTreeSet<OutgoingHint> = BTreeSet::new();
        let mut next_notification = Instant::now();
        loop {
            tokio::select! {
                hint = self.outgoing.recv() => match hint {
                    Some(hint) => { pending.extend(OutgoingHint::new(hint)); }
                    None => return Ok(()),
                },
                () = tokio::time::sleep_until(next_notification), if !pending.is_empty() => {
                    while let Ok(hint) = self.outgoing.try_recv() {
                        pending.extend(OutgoingHint::new(hint));
                    }
                    let pause = PAUSE_PER_HINT.saturating_mul(pending.len() as u32).min(PAUSE_MAX);
                    let payload = write(&std::mem::take(&mut pending));
                    let statement = AssertSqlSafe(notify_statement(&self.channel, &payload));
                    if let Err(error) = listener.execute(statement).await {
                        if !is_notification_queue_full(&error) {
                            return Err(error);
                        }
                        // The hints are dropped: their receivers find the changes by polling.
                        tracing::warn!(
                            %error,
                            "the server's notification queue is full, because a session that listens keeps a \
                             transaction open; until that transaction ends, changes are found by polling alone"
                        );
                    }
                    next_notification = Instant::now() + pause;
                }
                received = listener.try_recv() => match received? {
                    // This process was told of its own hints in `notify`.
                    Some(notification) if notification.process_id() == backend => {}
                    Some(notification) => {
                        for hint in read(notification.payload()) {
                            let _ = self.hints.send(hint);
                        }
                    }
                    None => return Err(sqlx::Error::WorkerCrashed),
                },
            }
        }
    }
}

/// One statement without parameters, so that no pooler can confuse it with another client's. It leaves no setting on a
/// connection that a pooler may give to another client next. The commit need not be flushed to disk: a notification may
/// be lost.
fn notify_statement(channel: &str, payload: &str) -> String {
    // Safe without quoting: the channel is a checked identifier; a payload has only words, numbers and separators.
    format!(
        "select pg_catalog.set_config('synchronous_commit', 'off', true), \
         pg_catalog.pg_notify('{channel}', '{payload}')"
    )
}

/// The longest pause between two attempts to connect, and the longest time that one attempt may take.
const RECONNECT_MAX: Duration = Duration::from_secs(10);

fn backoff() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(RECONNECT_MAX)
        .without_max_times()
        .with_jitter()
        .build()
}

/// A hint to send, ordered so that hints of one kind are adjacent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum OutgoingHint {
    Mail(ShardId),
    Notice(ShardId),
    Released,
}

impl OutgoingHint {
    fn new(hint: Hint) -> Option<Self> {
        match hint {
            Hint::Mail(shard) => Some(Self::Mail(shard)),
            Hint::Notice(shard) => Some(Self::Notice(shard)),
            Hint::Released => Some(Self::Released),
            // A gap concerns only the process whose connection was lost.
            Hint::Missed => None,
        }
    }
}

/// One payload for many hints: `mail 1,2;notice 7;released`, or `all` if that would be too long.
fn write(hints: &BTreeSet<OutgoingHint>) -> String {
    let list = |word: &str, shards: Vec<String>| {
        (!shards.is_empty()).then(|| format!("{word} {}", shards.join(",")))
    };
    let mail = hints.iter().filter_map(|hint| match hint {
        OutgoingHint::Mail(shard) => Some(shard.to_string()),
        OutgoingHint::Notice(_) | OutgoingHint::Released => None,
    });
    let notices = hints.iter().filter_map(|hint| match hint {
        OutgoingHint::Notice(shard) => Some(shard.to_string()),
        OutgoingHint::Mail(_) | OutgoingHint::Released => None,
    });
    let released = hints.contains(&OutgoingHint::Released).then(|| "released".to_owned());
    let words = [list("mail", mail.collect()), list("notice", notices.collect()), released];
    let payload = words.into_iter().flatten().collect::<Vec<_>>().join(";");
    if payload.len() > PAYLOAD_BYTES_MAX { "all".to_owned() } else { payload }
}

/// The hints in a payload. A word that only a newer version knows becomes `Missed`, so that everything is looked at.
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
    fn a_payload_is_read_back_as_the_hints_it_was_written_from() {
        let shard = |number| ShardId::new(number).unwrap();
        let hints = [Hint::Mail(shard(1)), Hint::Mail(shard(4095)), Hint::Notice(shard(7)), Hint::Released];
        let outgoing = hints.into_iter().filter_map(OutgoingHint::new).collect();
        assert_eq!(write(&outgoing), "mail 1,4095;notice 7;released");
        assert_eq!(read(&write(&outgoing)), hints);
    }

    #[test]
    fn a_payload_that_is_too_long_or_unknown_means_that_hints_were_missed() {
        let all = (0..4096).map(|number| OutgoingHint::Mail(ShardId::new(number).unwrap())).collect();
        assert_eq!(read(&write(&all)), [Hint::Missed]);
        assert_eq!(read("mail 1;tasks 3"), [Hint::Mail(ShardId::new(1).unwrap()), Hint::Missed]);
        assert_eq!(read("mail 9999"), [Hint::Missed]);
    }
}
