//! The heartbeat of a worker process: one statement every few seconds renews all of its leases, looks for work and
//! claims free shards. It must not know what a processor does.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::data::id::LeaseId;
use crate::data::limits;
use crate::error::Error;
use crate::guard::caught_in;
use crate::host::{Host, StoreClock};
use crate::store::error::StoreError;
use crate::store::lease::{Claim, LeaseTicked, Release, Tick};
use crate::store::{Hint, Queue, Session, Store};
use crate::worker::input::{Input, TickReply};
use crate::worker::processor_handle::{ProcessorHandle, ProcessorHandles};
use crate::worker::request_watch::RequestWatch;
use crate::worker::setbacks::{Loss, waiting_helps};
use crate::worker::watchdog::{Stuck, Watchdog};

/// What the heartbeat works with.
pub(crate) struct Heartbeat {
    pub(super) store: Arc<dyn Store>,
    pub(super) host: Arc<dyn Host>,
    pub(super) clock: Arc<StoreClock>,
    pub(super) worker: String,
    pub(super) queue: Queue,
    pub(super) interval: Duration,
    pub(super) lease_ttl: Duration,
    pub(super) poll_warn: Duration,
    pub(super) requests: Arc<RequestWatch>,
    pub(super) processors: ProcessorHandles,
    pub(super) stuck: mpsc::UnboundedSender<Stuck>,
}

/// A processor that was asked for its part of a heartbeat and has not answered.
struct Asked {
    processor: ProcessorHandle,
    answer: oneshot::Receiver<TickReply>,
}

impl Heartbeat {
    /// Sends heartbeats until it is told to stop. The error is one that recurred and that waiting does not cure.
    pub(super) async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            error = self.beat_on() => Err(error),
        }
    }

    async fn beat_on(&self) -> Error {
        let mut hints = self.store.hints();
        let (mut session, mut asked) = (None, Vec::new());
        let mut watchdog = Watchdog::new(self.interval, self.poll_warn, self.lease_ttl);
        let mut failures = 0;
        loop {
            let turn = self.turn(&mut session, &mut watchdog, &mut asked);
            let failed = match caught_in(turn).await {
                Ok(Ok(())) => None,
                // The watch on its requests has logged it.
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
                        "the heartbeat of worker `{}` failed {failures} times in a row, last because of this: {failed}",
                        self.worker
                    ));
                }
            } else {
                failures = 0;
            }
            let pause = self.host.sleep(self.interval);
            tokio::select! {
                biased;
                () = released(&mut hints) => {}
                () = pause => {}
            }
        }
    }

    /// One heartbeat, with a look at what does not answer.
    async fn turn(
        &self,
        session: &mut Option<Box<dyn Session>>,
        watchdog: &mut Watchdog,
        asked: &mut Vec<Asked>,
    ) -> Result<(), StoreError> {
        let processors = self.processors.get();
        let replies = self.ask(&processors, asked).await;
        for stuck in watchdog.look(self.host.monotonic(), &processors) {
            self.give_up_on(session, stuck).await;
        }
        self.requests.watch(&*self.host, 0, self.beat(session, &processors, replies)).await
    }

    /// A poll has gone on for as long as a lease lasts. Its run gets the strike that its processor cannot give it, and the
    /// shards are free for another.
    async fn give_up_on(&self, session: &mut Option<Box<dyn Session>>, stuck: Stuck) {
        if let (Some(session), Some(lease)) = (session, stuck.processor.status.lease()) {
            let release = Release { lease, at_fault: stuck.at_fault };
            if let Err(error) = session.release(&release).await {
                tracing::warn!(%lease, "the lease of a stuck processor could not be released: {error}");
            }
        }
        // A worker that is about to end replaces nothing.
        drop(self.stuck.send(stuck));
    }

    /// Asks every processor for its part, unless it owes an answer. One that does not answer makes no progress: its lease
    /// is not renewed. An answer that comes late, because a poll took long, is good for the next heartbeat.
    async fn ask(
        &self,
        processors: &[ProcessorHandle],
        asked: &mut Vec<Asked>,
    ) -> Vec<(ProcessorHandle, TickReply)> {
        asked.retain(|asked| processors.iter().any(|processor| processor.is_same(&asked.processor)));
        for processor in processors {
            let (reply, answer) = oneshot::channel();
            let tick = Input::Tick { ttl: self.lease_ttl, reply };
            let owes = asked.iter().any(|asked| processor.is_same(&asked.processor));
            if !owes && processor.mailbox.send(tick).is_ok() {
                asked.push(Asked { processor: processor.clone(), answer });
            }
        }
        let (mut replies, mut owed) = (Vec::new(), Vec::new());
        let mut patience = self.host.sleep(self.interval / 4);
        for mut asked in asked.drain(..) {
            tokio::select! {
                biased;
                // One that has no lease lets the question go.
                reply = &mut asked.answer => replies.extend(reply.ok().map(|reply| (asked.processor, reply))),
                () = &mut patience => {
                    patience = Box::pin(std::future::ready(()));
                    owed.push(asked);
                }
            }
        }
        *asked = owed;
        replies
    }

    async fn beat(
        &self,
        session: &mut Option<Box<dyn Session>>,
        processors: &[ProcessorHandle],
        replies: Vec<(ProcessorHandle, TickReply)>,
    ) -> Result<(), StoreError> {
        let session = match session {
            Some(session) => session,
            None => session.insert(self.store.session().await?),
        };
        let sent = self.host.monotonic();
        let leases = replies.iter().map(|(_, reply)| reply.tick.clone()).collect();
        let ticked = session.tick(&Tick { queue: self.queue.name.clone(), leases }).await?;
        self.clock.answered(ticked.now, &*self.host);
        let mut held = Vec::new();
        let mut unserved = false;
        for ((processor, reply), answer) in replies.into_iter().zip(ticked.leases) {
            if answer.held {
                held.push((reply.shards, processor.place, answer.lease));
                unserved |= usize::from(answer.shards) > reply.shards;
            }
            tell(&processor, reply, answer, sent);
        }
        if ticked.claimable > 0 || unserved {
            self.claim(session, processors, held).await?;
        }
        Ok(())
    }

    /// Claims free shards for the processors that have the fewest.
    async fn claim(
        &self,
        session: &mut Box<dyn Session>,
        processors: &[ProcessorHandle],
        mut held: Vec<(usize, usize, LeaseId)>,
    ) -> Result<(), StoreError> {
        held.sort_unstable();
        for (_, place, lease) in held {
            let claim = Claim {
                queue: self.queue.name.clone(),
                lease: Some(lease),
                worker: self.worker.clone(),
                ttl: self.lease_ttl,
                limit: shards_each(&self.queue, processors.len()),
            };
            match session.claim(&claim).await {
                Ok(claimed) => drop(processors[place].mailbox.send(Input::Claimed(claimed))),
                // Its processor learns of that by its own append or by the next heartbeat.
                Err(StoreError::Fenced { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn tell(processor: &ProcessorHandle, reply: TickReply, answer: LeaseTicked, sent: Duration) {
    let input = Input::Ticked { asked: reply.tick, answer, sent };
    // A processor that is gone needs no answer.
    drop(processor.mailbox.send(input));
}

/// How many shards a processor owns at most, if its process serves the whole queue.
pub(crate) fn shards_each(queue: &Queue, processors: usize) -> u16 {
    let processors = u16::try_from(processors.max(1)).unwrap_or(u16::MAX);
    queue.shard_count.div_ceil(processors)
}

/// Waits until somebody frees shards.
async fn released(hints: &mut broadcast::Receiver<Hint>) {
    loop {
        match hints.recv().await {
            Ok(Hint::Released) => return,
            Ok(Hint::Mail(_) | Hint::Notice(_) | Hint::Missed) => {}
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}
