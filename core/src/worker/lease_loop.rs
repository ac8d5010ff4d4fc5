//! The loop of one processor's thread: claims a lease, drives a processor under it, and claims another when that one is
//! lost. It must not know what a processor does.

use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::data::limits;
use crate::error::Error;
use crate::guard::{Panic, caught, caught_in};
use crate::processor::Processor;
use crate::processor::setup::ProcessorConfig;
use crate::store::Session;
use crate::store::build::Build;
use crate::store::error::StoreError;
use crate::store::lease::{Claim, Claimed, Release};
use crate::worker::backoff::{BACKOFF_MAX, backoff};
use crate::worker::driver::{Driver, Ended};
use crate::worker::environment::Environment;
use crate::worker::input::Input;
use crate::worker::setbacks::{Loss, Setbacks, waiting_helps};

/// One processor of a worker, before it runs.
pub(super) struct LeaseLoop {
    pub(super) with: Environment,
    /// Cancelled when the processor is told to stop.
    pub(super) stop: CancellationToken,
    pub(super) config: ProcessorConfig,
    pub(super) queue: String,
    pub(super) build: Build,
    /// The most shards that it owns.
    pub(super) limit: u16,
}

/// A lease that was just claimed, and the session that claimed it.
struct ClaimedLease {
    claimed: Claimed,
    /// When the claim was sent, by the host's clock.
    at: Duration,
    session: Box<dyn Session>,
}

impl LeaseLoop {
    /// Serves until it is told to stop. Returns an error that recurred and that another lease does not cure.
    pub(super) async fn run(self, mut mailbox: mpsc::UnboundedReceiver<Input>) -> Result<(), Error> {
        self.with.meter.begin(&*self.with.host);
        let mut setbacks = Setbacks::new(self.with.host.clone(), self.with.lease_ttl);
        while let Some((loss, served)) = self.serve_a_lease(&mut mailbox).await {
            self.config.metrics.leases_lost.add(1);
            let pause = self.set_back(&mut setbacks, &loss, served)?;
            if !pause.is_zero() {
                select(pin!(self.told_to_stop(&mut mailbox)), self.with.host.sleep(pause)).await;
            }
        }
        Ok(())
    }

    /// Claims a lease and serves under it. Returns why the lease was lost and how long it was held; `None` if the processor
    /// was told to stop.
    async fn serve_a_lease(&self, mailbox: &mut mpsc::UnboundedReceiver<Input>) -> Option<(Loss, Duration)> {
        let begun = tokio::select! {
            biased;
            () = self.told_to_stop(mailbox) => return None,
            begun = self.begin() => begun,
        };
        match begun {
            Err(loss) => Some((loss, Duration::ZERO)),
            Ok(begun) => match self.drive(begun, mailbox).await {
                (Ended::ShutDown, _) => None,
                (Ended::Lost(loss), served) => Some((loss, served)),
            },
        }
    }

    /// Waits until the processor is told to stop. Drops all other input, which belongs to lost leases.
    async fn told_to_stop(&self, mailbox: &mut mpsc::UnboundedReceiver<Input>) {
        let told = async {
            while let Some(input) = mailbox.recv().await {
                if let Input::Shutdown { .. } = input {
                    return;
                }
            }
        };
        // The driver may have received the message.
        select(pin!(self.stop.cancelled()), pin!(told)).await;
    }

    /// Claims a lease, however long the store is unreachable. Returns an error that waiting does not cure.
    async fn begin(&self) -> Result<ClaimedLease, Loss> {
        let host = &*self.with.host;
        let mut delays = backoff(host);
        loop {
            match caught_in(self.with.status.claim.watch(host, 0, self.claim())).await? {
                Ok(begun) => return Ok(begun),
                Err(error) if waiting_helps(&error) => {
                    host.sleep(delays.next().unwrap_or(BACKOFF_MAX)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn claim(&self) -> Result<ClaimedLease, StoreError> {
        let mut session = self.with.store.session().await?;
        let at = self.with.host.monotonic();
        let claim = Claim {
            queue: self.queue.clone(),
            lease: None,
            worker: self.config.worker.clone(),
            build: self.build.clone(),
            ttl: self.with.lease_ttl,
            limit: self.limit,
        };
        let claimed = session.claim(&claim).await?;
        self.with.clock.answered(claimed.now, &*self.with.host);
        Ok(ClaimedLease { claimed, at, session })
    }

    /// Serves under a lease until it is lost or handed over, then releases it. Returns how it ended and how long it was held.
    async fn drive(
        &self,
        begun: ClaimedLease,
        mailbox: &mut mpsc::UnboundedReceiver<Input>,
    ) -> (Ended, Duration) {
        let (lease, shards, at) = (begun.claimed.lease, begun.claimed.shards.len(), begun.at);
        tracing::info!(
            %lease, shards, worker = %self.config.worker, processor = self.with.status.place, "lease claimed"
        );
        self.with.status.lease_begins(lease, at);
        let ended = self.run_driver(begun, mailbox).await;
        self.with.status.lease_ends();
        let served = self.with.host.monotonic().saturating_sub(at);
        let at_fault = match &ended {
            Ok(Ended::Lost(Loss::Unrenewed { at_fault })) => *at_fault,
            Ok(_) | Err(_) => None,
        };
        self.release(Release { lease, at_fault }).await;
        (ended.unwrap_or_else(|panicked| Ended::Lost(panicked.into())), served)
    }

    /// Runs a driver under the lease, and catches its panics.
    async fn run_driver(
        &self,
        begun: ClaimedLease,
        mailbox: &mut mpsc::UnboundedReceiver<Input>,
    ) -> Result<Ended, Panic> {
        let mut driver = caught(|| {
            let processor = Processor::new(self.config.clone(), self.with.registry.clone(), &begun.claimed);
            Driver::new(self.with.clone(), processor, begun.session, begun.at)
        })?;
        let ended = caught_in(driver.run(mailbox)).await;
        // Not dropped while a panic unwinds: this drops user code, and a second panic would end the process.
        let dropped = caught(|| drop(driver));
        let ended = ended?;
        dropped.map(|()| ended)
    }

    /// Releases the lease's shards at once. If the store does not answer, they become free when the lease expires.
    async fn release(&self, release: Release) {
        let lease = release.lease;
        let (host, worker) = (&*self.with.host, &self.config.worker);
        let mut last = None;
        let tries = async {
            let mut delays = backoff(host);
            loop {
                let released = async { self.with.store.session().await?.release(&release).await };
                match caught_in(released).await {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => last = Some(error.to_string()),
                    Err(panicked) => {
                        host.panicked(&panicked.to_string());
                        last = Some(panicked.to_string());
                    }
                }
                host.sleep(delays.next().unwrap_or(BACKOFF_MAX)).await;
            }
        };
        let patience = limits::SHUTDOWN_HANDOVER;
        let is_late = matches!(select(pin!(tries), host.sleep(patience)).await, Either::Right(_));
        if is_late {
            let why = last.as_deref().unwrap_or("the store does not answer");
            tracing::warn!(
                %lease, %worker, processor = self.with.status.place,
                "the lease could not be released in {patience:?}; its shards become free when it expires: {why}"
            );
        }
    }

    /// Counts and logs a loss. Returns how long to back off before the next claim.
    fn set_back(&self, setbacks: &mut Setbacks, loss: &Loss, served: Duration) -> Result<Duration, Error> {
        let (host, status, worker) = (&*self.with.host, &self.with.status, &self.config.worker);
        let processor = status.place;
        if let Loss::Panicked(panicked) = &loss {
            host.panicked(&panicked.to_string());
        }
        let is_outage = matches!(loss, Loss::Unrenewed { .. })
            && status.heartbeat_is_silent(host.monotonic(), self.with.lease_ttl / 3);
        if is_outage {
            tracing::warn!(%worker, processor, ?served, "the lease is lost, because the store does not answer");
            return Ok(Duration::ZERO);
        }
        let pause = setbacks.count(loss, served);
        let in_a_row = setbacks.in_a_row();
        status.set_back(in_a_row, loss.to_string());
        let Some(pause) = pause else {
            return Err(Error::gave_up(format!(
                "processor {processor} of worker `{worker}` lost {} leases in a row to problems that waiting does not cure, \
                 the last one because of this: {loss}",
                limits::SETBACKS_MAX
            )));
        };
        if in_a_row < limits::LEASE_LOSSES_ERROR {
            tracing::warn!(
                %worker, processor, ?served, in_a_row, ?pause, "the lease is lost, recovering under another: {loss}"
            );
        } else {
            tracing::error!(
                %worker, processor, ?served, in_a_row, ?pause, "the lease is lost again and again, now because of this: {loss}"
            );
        }
        Ok(pause)
    }
}
