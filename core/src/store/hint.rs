//! Hints: reasons to poll early. It must not know who polls.

use tokio::sync::broadcast;

use crate::data::id::ShardId;
use crate::store::tasks::QueueHash;

/// A reason to poll early. If every hint is lost, reactions are late by at most a poll interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hint {
    /// The shard has a new message.
    Mail(ShardId),
    /// There is a new [`Notice`](crate::store::watch::Notice) about a run of the shard.
    Notice(ShardId),
    /// A run of the shard published a view, or replied to a message.
    Published(ShardId),
    /// An activity queue has new tasks.
    Tasks(QueueHash),
    /// Shards became free.
    Released,
    /// Hints may have been lost: poll everything.
    Missed,
}

/// The kinds of hints to which somebody listens. [`Hint::Missed`] reaches all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HintKind {
    /// [`Hint::Mail`], for processors.
    Mail,
    /// [`Hint::Notice`] and [`Hint::Published`], for clients.
    Notice,
    /// [`Hint::Tasks`], for executors of tasks.
    Tasks,
    /// [`Hint::Released`], for heartbeats.
    Released,
}

/// Passes hints on to the listeners of a process. Each kind has a channel of its own, because a hint wakes all who listen to
/// its channel.
#[derive(Clone, Debug)]
pub struct Hints {
    mail: broadcast::Sender<Hint>,
    notices: broadcast::Sender<Hint>,
    tasks: broadcast::Sender<Hint>,
    released: broadcast::Sender<Hint>,
}

impl Hints {
    /// Keeps up to `kept` hints of each kind for a slow listener. One that lags further is told that it missed some.
    pub fn new(kept: usize) -> Self {
        let channel = || broadcast::Sender::new(kept);
        Self { mail: channel(), notices: channel(), tasks: channel(), released: channel() }
    }

    /// Listens to the hints of a kind that are sent from now on.
    pub fn listen(&self, kind: HintKind) -> broadcast::Receiver<Hint> {
        match kind {
            HintKind::Mail => self.mail.subscribe(),
            HintKind::Notice => self.notices.subscribe(),
            HintKind::Tasks => self.tasks.subscribe(),
            HintKind::Released => self.released.subscribe(),
        }
    }

    /// Whether anybody listens to hints of any kind.
    pub fn has_listeners(&self) -> bool {
        let channels = [&self.mail, &self.notices, &self.tasks, &self.released];
        channels.iter().any(|channel| channel.receiver_count() > 0)
    }

    /// Sends a hint to everybody who listens to its kind.
    pub fn send(&self, hint: Hint) {
        let channels: &[_] = match hint {
            Hint::Mail(_) => &[&self.mail],
            Hint::Notice(_) | Hint::Published(_) => &[&self.notices],
            Hint::Tasks(_) => &[&self.tasks],
            Hint::Released => &[&self.released],
            Hint::Missed => &[&self.mail, &self.notices, &self.tasks, &self.released],
        };
        for channel in channels {
            // An error means that nobody listens.
            drop(channel.send(hint));
        }
    }
}
