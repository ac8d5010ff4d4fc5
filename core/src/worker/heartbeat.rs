//! The heartbeat of a worker process: one request every few seconds renews all of its leases, finds work, and claims free
//! shards. It must not know what a processor does.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::{Notify, broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::data::id::LeaseId;
use crate::data::limits;
use crate::error::Error;
use crate::guard::caught_in;
use crate::host::{Host, StoreClock};
use crate::processor::handover::ShardCounts;
use crate::store::build::Build;
use crate::store::error::StoreError;
use crate::store::lease::{Claim, Heartbeat, LeaseAnswer, Release};
use crate::store::{Hint, HintKind, Queue, Session, Store};
use crate::worker::balance::{Serving, Step, step};
use crate::worker::input::{HeartbeatReply, Input};
use crate::worker::processor_handle::{ProcessorHandle, ProcessorHandles};
use crate::worker::request_watch::RequestWatch;
use crate::worker::setbacks::{Loss, waiting_helps};
use crate::worker::watchdog::{Stuck, Watchdog};

/// The heartbeat of one worker.
pub(crate) struct HeartbeatLoop {
    pub(super) store: Arc<dyn Store>,
    pub(super) host: Arc<dyn Host>,
    pub(super) clock: Arc<StoreClock>,
    pub(super) worker: String,
    pub(super) build: Build,
    /// Whether a live worker is of a better build, once a heartbeat has told.
    pub(super) outdated: Cell<Option<bool>>,
    pub(super) queue: Queue,
    pub(super) interval: Duration,
    pub(super) lease_ttl: Duration,
    pub(super) poll_warn: Duration,
    pub(super) requests: Arc<RequestWatch>,
    pub(super) processors: ProcessorHandles,
    pub(super) beat: Arc<Notify>,
    pub(super) stuck: mpsc::UnboundedSender<Stuck>,
}

/// A processor that was asked for its part of a heartbeat and has not answered.
struct PendingReply {
    processor: ProcessorHandle,
    answer: oneshot::Receiver<HeartbeatReply>,
}

impl HeartbeatLoop {
    /// Sends heartbeats until it is told to stop. Returns an error that recurred and that waiting does not cure.
    pub(super) async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            error = self.send_heartbeats() => Err(error),
        }
    }

    async fn send_heartbeats(&self) -> Error {
        let mut hints = self.store.hints(HintKind::Released);
        let (mut session, mut pending) = (None, Vec::new());
        let mut watchdog = Watchdog::new(self.interval, self.poll_warn, self.lease_ttl);
        let (mut failures, mut next_expiry) = (0, None);
        loop {
            let round = self.round(&mut session, &mut watchdog, &mut pending);
            let failed = match caught_in(round).await {
                Ok(Ok(until_expiry)) => {
                    next_expiry = until_expiry;
                    None
                }
                // The request watch has logged it.
                Ok(Err(error)) if waiting_helps(&error) => None,
                Ok(Err(error)) => Some(Loss::from(error)),
                Err(panicked) => {
                    self.host.panicked(&panicked.to_string());
                    Some(Loss::from(panicked))
                }
            };
            if let Some(failed) = failed {
                failures += 1;
                session = None;
                tracing::error!(worker = %self.worker, failures, "a heartbeat failed: {failed}");
                if failures == limits::SETBACKS_MAX {
                    return Error::gave_up(format!(
                        "the heartbeat of worker `{}` failed {failures} times in a row, the last time because of this: {failed}",
                        self.worker
                    ));
                }
            } else {
                failures = 0;
            }
            let pause = self.host.sleep(self.pause(next_expiry.take()));
            tokio::select! {
                biased;
                () = released(&mut hints) => {}
                () = self.beat.notified() => {}
                () = pause => {}
            }
        }
    }

    /// How long to wait for the next heartbeat, if no other lease expires before that: its shards are taken over at once.
    fn pause(&self, next_expiry: Option<Duration>) -> Duration {
        let jitter = limits::TAKEOVER_JITTER.mul_f64(self.host.random() as f64 / u64::MAX as f64);
        next_expiry.map_or(self.interval, |left| self.interval.min(left + jitter))
    }

    /// One round: asks the processors for their parts, checks for stuck polls, and sends the heartbeat. Returns how long it
    /// takes until the next lease of another worker expires, if there is one.
    async fn round(
        &self,
        session: &mut Option<Box<dyn Session>>,
        watchdog: &mut Watchdog,
        pending: &mut Vec<PendingReply>,
    ) -> Result<Option<Duration>, StoreError> {
        let processors = self.processors.get();
        let replies = self.ask(&processors, pending).await;
        for stuck in watchdog.check(self.host.monotonic(), &processors) {
            self.release_stuck(session, stuck).await;
        }
        self.requests.watch(&*self.host, 0, self.send(session, &processors, replies)).await
    }

    /// A poll has taken as long as a lease lasts. Releases the lease, so that another processor gets the shards and the run
    /// gets the strike that its own processor cannot give it.
    async fn release_stuck(&self, session: &mut Option<Box<dyn Session>>, stuck: Stuck) {
        if let (Some(session), Some(lease)) = (session, stuck.processor.status.lease()) {
            let release = Release { lease, at_fault: stuck.at_fault };
            if let Err(error) = session.release(&release).await {
                tracing::warn!(%lease, "the lease of a stuck processor could not be released: {error}");
            }
        }
        // A worker that is about to end replaces no thread.
        drop(self.stuck.send(stuck));
    }

    /// Asks every processor for its part, unless its last reply is still pending. A processor that does not reply makes no
    /// progress, so its lease is not renewed. A reply that a long poll delays is used for the next heartbeat.
    async fn ask(
        &self,
        processors: &[ProcessorHandle],
        pending: &mut Vec<PendingReply>,
    ) -> Vec<(ProcessorHandle, HeartbeatReply)> {
        pending.retain(|asked| processors.iter().any(|processor| processor.is_same(&asked.processor)));
        for processor in processors {
            let (reply, answer) = oneshot::channel();
            let due = Input::HeartbeatDue { ttl: self.lease_ttl, reply };
            let is_pending = pending.iter().any(|asked| processor.is_same(&asked.processor));
            if !is_pending && processor.mailbox.send(due).is_ok() {
                pending.push(PendingReply { processor: processor.clone(), answer });
            }
        }
        let (mut replies, mut unanswered) = (Vec::new(), Vec::new());
        let mut patience = self.host.sleep(self.interval / 4);
        for mut asked in pending.drain(..) {
            tokio::select! {
                biased;
                // A processor without a lease drops the request.
                reply = &mut asked.answer => replies.extend(reply.ok().map(|reply| (asked.processor, reply))),
                () = &mut patience => {
                    patience = Box::pin(std::future::ready(()));
                    unanswered.push(asked);
                }
            }
        }
        *pending = unanswered;
        replies
    }

    /// Sends the heartbeat, and hands its answers to the processors.
    async fn send(
        &self,
        session: &mut Option<Box<dyn Session>>,
        processors: &[ProcessorHandle],
        replies: Vec<(ProcessorHandle, HeartbeatReply)>,
    ) -> Result<Option<Duration>, StoreError> {
        let session = match session {
            Some(session) => session,
            None => session.insert(self.store.session().await?),
        };
        let sent = self.host.monotonic();
        let leases = replies.iter().map(|(_, reply)| reply.lease_heartbeat.clone()).collect();
        let answer = session.heartbeat(&Heartbeat { queue: self.queue.name.clone(), leases }).await?;
        self.clock.answered(answer.now, &*self.host);
        if let Some(lease) = answer.leases.iter().find(|lease| lease.standing.members > 0) {
            self.note_outdated(lease.standing.outdated);
        }
        let limit = shards_each(&self.queue, processors.len());
        let mut claims = Vec::new();
        for ((processor, reply), lease) in replies.into_iter().zip(&answer.leases) {
            let step = next_step(&reply, lease, limit);
            if let (Step::Claim(limit), true) = (step, lease.held) {
                claims.push((lease.shards, processor.clone(), lease.lease, limit));
            }
            let (asked, misplaced) = (Box::new(reply.lease_heartbeat), answer.misplaced.clone());
            let input = Input::HeartbeatAnswered { asked, answer: *lease, misplaced, sent, step };
            // A processor that has ended needs no answer.
            drop(processor.mailbox.send(input));
        }
        // Those that own the fewest claim first.
        claims.sort_by_key(|(owned, processor, ..)| (*owned, processor.place));
        for (_, processor, lease, limit) in claims {
            self.claim(session, &processor, lease, limit).await?;
        }
        Ok(answer.next_expiry)
    }

    /// Logs when the worker's build becomes outdated, and when it no longer is. A worker that begins so was deployed after a
    /// better one: that is no usual deploy.
    fn note_outdated(&self, outdated: bool) {
        let before = self.outdated.replace(Some(outdated));
        let (worker, queue, generation) = (&self.worker, &self.queue.name, self.build.generation);
        match (before, outdated) {
            (None, true) => tracing::warn!(
                %worker, %queue, generation,
                "a live worker of the queue is of a newer generation, or knows more workflows: this worker claims no shards \
                 before that one has stopped. To roll back at once, give this one a greater generation than that one has"
            ),
            (Some(false), true) => tracing::info!(
                %worker, %queue, generation,
                "a worker of a newer generation has joined, or one that knows more workflows: this worker keeps its share of \
                 the shards, and claims no further ones"
            ),
            (Some(true), false) => tracing::info!(
                %worker, %queue, generation,
                "no worker of a newer generation is live any more, and none that knows more workflows: this worker claims \
                 shards again"
            ),
            (None | Some(false), false) | (Some(true), true) => {}
        }
    }

    /// Claims shards for a processor, until its lease owns that many.
    async fn claim(
        &self,
        session: &mut Box<dyn Session>,
        processor: &ProcessorHandle,
        lease: LeaseId,
        limit: u16,
    ) -> Result<(), StoreError> {
        let claim = Claim {
            queue: self.queue.name.clone(),
            lease: Some(lease),
            worker: self.worker.clone(),
            build: self.build.clone(),
            ttl: self.lease_ttl,
            limit,
        };
        match session.claim(&claim).await {
            Ok(claimed) => drop(processor.mailbox.send(Input::Claimed(claimed))),
            // Its processor learns this from its own append or the next heartbeat.
            Err(StoreError::Fenced { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// What a lease does about its share of the queue's shards.
fn next_step(reply: &HeartbeatReply, lease: &LeaseAnswer, limit: u16) -> Step {
    let ShardCounts { owned: served, going, recovering } = reply.shards;
    step(&lease.standing, &Serving { limit, owned: lease.shards, served, going, recovering })
}

/// The most shards that a processor owns, even if its process serves the whole queue: its other processors may be about to
/// begin.
pub(crate) fn shards_each(queue: &Queue, processors: usize) -> u16 {
    let processors = u16::try_from(processors.max(1)).unwrap_or(u16::MAX);
    queue.shard_count.div_ceil(processors)
}

/// Waits until a worker releases shards, and takes all hints that came since: the next heartbeat answers them all.
async fn released(hints: &mut broadcast::Receiver<Hint>) {
    loop {
        match hints.recv().await {
            Ok(Hint::Released) => {
                while matches!(hints.try_recv(), Ok(_) | Err(TryRecvError::Lagged(_))) {}
                return;
            }
            Ok(Hint::Mail(_) | Hint::Notice(_) | Hint::Published(_) | Hint::Tasks(_) | Hint::Missed) => {}
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}
