//! Hints between processes, sent by NOTIFY. One connection per process listens and notifies, on its own thread. No
//! caller may ever wait for this file: losing every notification must cost a poll interval and nothing else.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use pgworkflows_core::id::ShardId;
use pgworkflows_core::store::{Hint, HintKind, Hints, QueueHash};
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

/// For how many microseconds this process gave no hint before a call notifies within its own commit.
const QUIET_MICROS: u64 = 1_000;

/// The most bytes in a notification: the server's limit is 8,000.
const PAYLOAD_BYTES_MAX: usize = 7_900;

/// Sends hints to this process and to others, and receives theirs.
pub(crate) struct Notifier {
    hints: Hints,
    channel: String,
    /// `None` if notifications are switched off.
    options: Option<PgConnectOptions>,
    /// Whether that connection can also listen: it cannot if a pooler gives each transaction another server connection.
    listens: bool,
    /// Sends hints to the thread, once it has started.
    outgoing: OnceLock<mpsc::UnboundedSender<Hint>>,
    /// Marks this process's notifications, so that it does not receive its own hints a second time.
    tag: u32,
    /// When this process was created, and when it last gave a hint, in microseconds since then.
    born: Instant,
    last_hint: AtomicU64,
}

impl Notifier {
    /// A notifier that opens no connection until it is first used.
    pub(crate) fn new(options: Option<PgConnectOptions>, listens: bool, channel: String) -> Self {
        Self {
            hints: Hints::new(BACKLOG),
            channel,
            options,
            listens,
            outgoing: OnceLock::new(),
            tag: RandomState::new().build_hasher().finish() as u32,
            born: Instant::now(),
            last_hint: AtomicU64::new(0),
        }
    }

    /// Listens to hints of a kind, and starts the thread if notifications are on.
    pub(crate) fn listen(&self, kind: HintKind) -> broadcast::Receiver<Hint> {
        let receiver = self.hints.listen(kind);
        self.thread();
        receiver
    }

    /// The notification for these hints, if it may be part of the call that they tell of: that saves other processes a
    /// commit and a round trip. While this process gives many hints, the thread collects them instead, because a commit that
    /// notifies makes others wait.
    pub(crate) fn within_call(&self, hints: &[Hint]) -> Option<Notification> {
        self.within_call_at(hints, Instant::now())
    }

    fn within_call_at(&self, hints: &[Hint], now: Instant) -> Option<Notification> {
        let is_quiet =
            self.micros(now).saturating_sub(self.last_hint.load(Ordering::Relaxed)) >= QUIET_MICROS;
        if hints.is_empty() || self.thread().is_none() || !is_quiet {
            return None;
        }
        let outgoing = hints.iter().copied().filter_map(OutgoingHint::new).collect();
        Some(Notification { channel: self.channel.clone(), hints: Some(write(self.tag, &outgoing)) })
    }

    /// Notifies this process at once, and other processes soon unless the call has `notified` them.
    pub(crate) fn notify(&self, hints: impl IntoIterator<Item = Hint>, notified: bool) {
        for hint in hints {
            self.last_hint.store(self.micros(Instant::now()), Ordering::Relaxed);
            self.hints.send(hint);
            if !notified && let Some(thread) = self.thread() {
                let _ = thread.send(hint);
            }
        }
    }

    fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.born).as_micros()).unwrap_or(u64::MAX)
    }

    /// The notification that a caller's transaction has to send, unless notifications are switched off.
    pub(crate) fn within_transaction(&self) -> Option<Notification> {
        self.is_on().then(|| Notification { channel: self.channel.clone(), hints: None })
    }

    /// Whether notifications are sent and received.
    pub(crate) fn is_on(&self) -> bool {
        self.options.is_some()
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
                tag: self.tag,
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

/// A notification that is part of a call.
#[derive(Clone)]
pub(crate) struct Notification {
    pub(crate) channel: String,
    /// `None`: the SQL function names the shards that have mail, and notifies whether or not that makes others wait.
    pub(crate) hints: Option<String>,
}

/// The thread's side. It ends when the store is dropped, which closes `outgoing`.
struct NotifierThread {
    options: PgConnectOptions,
    listens: bool,
    channel: String,
    hints: Hints,
    outgoing: mpsc::UnboundedReceiver<Hint>,
    tag: u32,
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
                Ok(listener) => {
                    waits = backoff();
                    // Notifications that were sent before this connection listened were lost.
                    self.hints.send(Hint::Missed);
                    match self.exchange(listener).await {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            tracing::warn!(error = %lost, "the connection for notifications was lost; reconnecting");
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

    /// A listening connection.
    async fn connect(&self) -> Result<PgListener, sqlx::Error> {
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
        if self.listens {
            listener.listen(&self.channel).await?;
        }
        Ok(listener)
    }

    /// Listens and notifies until the connection is lost (`Err`) or the store is dropped (`Ok`).
    async fn exchange(&mut self, mut listener: PgListener) -> Result<(), sqlx::Error> {
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
                    let payload = write(self.tag, &std::mem::take(&mut pending));
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
                    Some(notification) => {
                        for hint in read(self.tag, notification.payload()) {
                            self.hints.send(hint);
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
    Published(ShardId),
    Tasks(QueueHash),
    Released,
}

impl OutgoingHint {
    fn new(hint: Hint) -> Option<Self> {
        match hint {
            Hint::Mail(shard) => Some(Self::Mail(shard)),
            Hint::Notice(shard) => Some(Self::Notice(shard)),
            Hint::Published(shard) => Some(Self::Published(shard)),
            Hint::Tasks(queue) => Some(Self::Tasks(queue)),
            Hint::Released => Some(Self::Released),
            // A gap concerns only the process whose connection was lost.
            Hint::Missed => None,
        }
    }
}

/// One payload for many hints, with the sender's tag: `from 9;mail 1,2;notice 7;published 7;tasks 3;released`, or `all` if that would be
/// too long.
fn write(tag: u32, hints: &BTreeSet<OutgoingHint>) -> String {
    let list = |word: &str, numbers: Vec<String>| {
        (!numbers.is_empty()).then(|| format!("{word} {}", numbers.join(",")))
    };
    let (mut mail, mut notices, mut published, mut tasks) = (vec![], vec![], vec![], vec![]);
    for hint in hints {
        match hint {
            OutgoingHint::Mail(shard) => mail.push(shard.to_string()),
            OutgoingHint::Notice(shard) => notices.push(shard.to_string()),
            OutgoingHint::Published(shard) => published.push(shard.to_string()),
            OutgoingHint::Tasks(queue) => tasks.push(queue.get().to_string()),
            OutgoingHint::Released => {}
        }
    }
    let released = hints.contains(&OutgoingHint::Released).then(|| "released".to_owned());
    let from = Some(format!("from {tag}"));
    let shards = [list("mail", mail), list("notice", notices), list("published", published)];
    let words = [from].into_iter().chain(shards).chain([list("tasks", tasks), released]);
    let payload = words.flatten().collect::<Vec<_>>().join(";");
    if payload.len() > PAYLOAD_BYTES_MAX { "all".to_owned() } else { payload }
}

/// The hints in a payload, unless the receiver with this tag sent them itself: it was told of them in `notify`. A word that
/// only a newer version knows becomes `Missed`, so that everything is looked at.
fn read(own_tag: u32, payload: &str) -> Vec<Hint> {
    let sender = payload.strip_prefix("from ").and_then(|rest| rest.split(';').next()?.parse::<u32>().ok());
    if sender == Some(own_tag) {
        return Vec::new();
    }
    let word = |word: &str| -> Option<Vec<Hint>> {
        let shards = |list: &str, hint: fn(ShardId) -> Hint| {
            list.split(',').map(|shard| Some(hint(ShardId::new(shard.parse().ok()?).ok()?))).collect()
        };
        match word.split_once(' ') {
            Some(("mail", list)) => shards(list, Hint::Mail),
            Some(("notice", list)) => shards(list, Hint::Notice),
            Some(("published", list)) => shards(list, Hint::Published),
            Some(("tasks", list)) => {
                list.split(',').map(|queue| Some(Hint::Tasks(QueueHash::new(queue.parse().ok()?)))).collect()
            }
            Some(("from", _)) => Some(vec![]),
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
        let gpu = Hint::Tasks(QueueHash::new(u32::MAX));
        let mail = [Hint::Mail(shard(1)), Hint::Mail(shard(4095))];
        let others = [Hint::Notice(shard(7)), Hint::Published(shard(8)), gpu, Hint::Released];
        let hints: Vec<Hint> = mail.into_iter().chain(others).collect();
        let outgoing = hints.iter().copied().filter_map(OutgoingHint::new).collect();
        assert_eq!(write(5, &outgoing), "from 5;mail 1,4095;notice 7;published 8;tasks 4294967295;released");
        assert_eq!(read(6, &write(5, &outgoing)), hints);
        assert_eq!(read(5, &write(5, &outgoing)), [], "its sender knows them already");
    }

    #[test]
    fn a_process_that_gives_many_hints_leaves_them_to_the_thread() {
        let mail = [Hint::Mail(ShardId::new(1).unwrap())];
        let options = PgConnectOptions::new_without_pgpass().host("localhost").port(1);
        let notifier = Notifier::new(Some(options), true, "channel".to_owned());
        let before = Instant::now();
        notifier.notify(mail, true);
        assert!(notifier.within_call_at(&mail, before).is_none());
        let later = Instant::now() + Duration::from_micros(QUIET_MICROS);
        assert!(notifier.within_call_at(&mail, later).is_some());
        assert!(notifier.within_call_at(&[], later).is_none(), "there is nothing to tell");
        let off = Notifier::new(None, true, "channel".to_owned());
        assert!(off.within_call_at(&mail, later).is_none());
    }

    #[test]
    fn a_payload_that_is_too_long_or_unknown_means_that_hints_were_missed() {
        let all = (0..4096).map(|number| OutgoingHint::Mail(ShardId::new(number).unwrap())).collect();
        assert_eq!(read(6, &write(5, &all)), [Hint::Missed]);
        assert_eq!(read(6, "mail 1;limits 3"), [Hint::Mail(ShardId::new(1).unwrap()), Hint::Missed]);
        assert_eq!(read(6, "mail 9999"), [Hint::Missed]);
    }
}
