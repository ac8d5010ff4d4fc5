//! The heart of a worker process: one statement every few seconds renews all of its leases, looks for work and
//! claims free shards. Its watchdog names workflow code that never yields.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::input::{Input, TickReply};
use crate::host::{Host, StoreClock};
use crate::id::LeaseId;
use crate::run::PollMark;
use crate::store::{Claim, Hint, LeaseTicked, Queue, Session, Store, StoreError, Tick};

/// One processor, as the heart sees it.
pub(crate) struct Beat {
    pub(crate) mailbox: mpsc::UnboundedSender<Input>,
    pub(crate) mark: Arc<PollMark>,
}

/// What the heart works with.
pub(crate) struct Heart {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) clock: Arc<StoreClock>,
    pub(crate) worker: String,
    pub(crate) queue: Queue,
    pub(crate) interval: Duration,
    pub(crate) lease_ttl: Duration,
    pub(crate) poll_warn: Duration,
    pub(crate) processors: Vec<Beat>,
}

/// A poll that was going on at the last beat.
type Suspect = Option<(u64, Duration, bool)>;

impl Heart {
    /// Beats until the sender of `stop` is gone or says so.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut hints = self.store.hints();
        let mut session = None;
        let mut suspects: Vec<Suspect> = vec![None; self.processors.len()];
        while !*stop.borrow() {
            let replies = self.ask().await;
            self.watch(&mut suspects);
            match self.beat(&mut session, replies).await {
                Ok(()) => {}
                Err(error) => tracing::warn!("a heartbeat failed, again in {:?}: {error}", self.interval),
            }
            let pause = self.host.sleep(self.interval);
            tokio::select! {
                biased;
                changed = stop.changed() => if changed.is_err() { return },
                () = released(&mut hints) => {}
                () = pause => {}
            }
        }
    }

    /// Asks every processor for its part. One that does not answer makes no progress: its lease is not renewed.
    async fn ask(&self) -> Vec<(usize, TickReply)> {
        let mut asked = Vec::new();
        for (index, processor) in self.processors.iter().enumerate() {
            let (reply, answer) = oneshot::channel();
            let tick = Input::Tick { ttl: self.lease_ttl, reply };
            if processor.mailbox.send(tick).is_ok() {
                asked.push((index, answer));
            }
        }
        let mut replies = Vec::new();
        let mut patience = self.host.sleep(self.interval / 4);
        for (index, answer) in asked {
            tokio::select! {
                biased;
                Ok(reply) = answer => replies.push((index, reply)),
                () = &mut patience => patience = Box::pin(std::future::ready(())),
            }
        }
        replies
    }

    async fn beat(
        &self,
        session: &mut Option<Box<dyn Session>>,
        replies: Vec<(usize, TickReply)>,
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
        for ((index, reply), answer) in replies.into_iter().zip(ticked.leases) {
            if answer.held {
                held.push((reply.shards, index, answer.lease));
                unserved |= usize::from(answer.shards) > reply.shards;
            }
            self.tell(index, reply, answer, sent);
        }
        if ticked.claimable > 0 || unserved {
            self.claim(session, held).await?;
        }
        Ok(())
    }

    fn tell(&self, index: usize, reply: TickReply, answer: LeaseTicked, sent: Duration) {
        let input = Input::Ticked { asked: reply.tick, answer, sent };
        // A processor that is gone needs no answer.
        drop(self.processors[index].mailbox.send(input));
    }

    /// Claims free shards for the processors that have the fewest.
    async fn claim(
        &self,
        session: &mut Box<dyn Session>,
        mut held: Vec<(usize, usize, LeaseId)>,
    ) -> Result<(), StoreError> {
        held.sort_unstable();
        for (_, index, lease) in held {
            let claim = Claim {
                queue: self.queue.name.clone(),
                lease: Some(lease),
                worker: self.worker.clone(),
                ttl: self.lease_ttl,
                limit: shards_each(&self.queue, self.processors.len()),
            };
            match session.claim(&claim).await {
                Ok(claimed) => drop(self.processors[index].mailbox.send(Input::Claimed(claimed))),
                // Its processor learns of that by its own append or by the next heartbeat.
                Err(StoreError::Fenced { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Names polls that take too long, each once.
    fn watch(&self, suspects: &mut [Suspect]) {
        let now = self.host.monotonic();
        for (processor, suspect) in self.processors.iter().zip(suspects) {
            let Some(polling) = processor.mark.current() else {
                *suspect = None;
                continue;
            };
            match suspect {
                Some((number, since, named)) if *number == polling.number => {
                    let lasted = now.saturating_sub(*since);
                    if lasted >= self.poll_warn && !std::mem::replace(named, true) {
                        let source = polling.source.map(ToString::to_string);
                        tracing::error!(
                            run = %polling.run, workflow = %polling.workflow,
                            last_durable_call = source.as_deref().unwrap_or("none yet"),
                            "a workflow has not yielded for {lasted:?}: its processor's lease is not renewed. \
                             Put blocking work and endless loops into activities"
                        );
                    }
                }
                _ => *suspect = Some((polling.number, now, false)),
            }
        }
    }
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
            Ok(Hint::Mail(_) | Hint::Closed(_) | Hint::Missed) => {}
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}
