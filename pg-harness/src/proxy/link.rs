//! The state of the network between the clients of a proxy and the server. It must not know the protocol.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// The network between the clients of a proxy and the server. A change applies to open and to new connections.
#[derive(Debug)]
pub struct Link {
    is_silent: watch::Sender<bool>,
    /// How often all connections were ended.
    ended: watch::Sender<u64>,
    latency_micros: AtomicU64,
    loses_notifications: AtomicBool,
    lost_notifications: AtomicU64,
}

impl Link {
    pub(super) fn new(latency: Duration) -> Self {
        let link = Self {
            is_silent: watch::Sender::new(false),
            ended: watch::Sender::new(0),
            latency_micros: AtomicU64::new(0),
            loses_notifications: AtomicBool::new(false),
            lost_notifications: AtomicU64::new(0),
        };
        link.set_latency(latency);
        link
    }

    /// From now on nothing passes in either direction, and no connection ends: a black hole. What was sent meanwhile
    /// arrives after [`resume`](Self::resume), as when a network retransmits.
    pub fn silence(&self) {
        self.is_silent.send_replace(true);
    }

    /// Ends a silence.
    pub fn resume(&self) {
        self.is_silent.send_replace(false);
    }

    /// Ends all open connections. What they have not delivered is lost.
    pub fn disconnect(&self) {
        self.ended.send_modify(|ended| *ended += 1);
    }

    /// Sets the time that a request and its answer take longer, each.
    pub fn set_latency(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency_micros.store(micros, Ordering::SeqCst);
    }

    /// Whether the server's notifications are lost.
    pub fn lose_notifications(&self, lose: bool) {
        self.loses_notifications.store(lose, Ordering::SeqCst);
    }

    /// How many notifications were lost.
    pub fn lost_notifications(&self) -> u64 {
        self.lost_notifications.load(Ordering::SeqCst)
    }

    /// Whether this notification is lost; counts it then.
    pub(super) fn loses_notification(&self) -> bool {
        let loses = self.loses_notifications.load(Ordering::SeqCst);
        self.lost_notifications.fetch_add(u64::from(loses), Ordering::SeqCst);
        loses
    }

    /// Waits for the end of a silence.
    pub(super) async fn flows(&self) {
        if *self.is_silent.borrow() {
            // The sender lives as long as `self`.
            drop(self.is_silent.subscribe().wait_for(|silent| !silent).await);
        }
    }

    /// Tells when all open connections are ended.
    pub(super) fn endings(&self) -> watch::Receiver<u64> {
        self.ended.subscribe()
    }

    pub(super) async fn take_time(&self) {
        let latency = Duration::from_micros(self.latency_micros.load(Ordering::SeqCst));
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
    }
}
