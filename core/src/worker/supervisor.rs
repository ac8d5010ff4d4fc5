//! A worker at work: its parts, started, watched and stopped, wherever they run. It must not know what a processor does.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::{Either, select};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::data::limits;
use crate::error::Error;
use crate::worker::parts::Parts;
use crate::worker::processor_handle::{ProcessorHandle, ProcessorHandles};
use crate::worker::threads::Job;
use crate::worker::watchdog::Stuck;

/// The parts of a worker at work. `L` is what starts one, and `F` what waits for its end: dropping that abandons it.
pub(super) struct Supervisor<F, L> {
    parts: Parts,
    launch: L,
    members: Vec<Member<F>>,
    processors: ProcessorHandles,
    stuck: mpsc::UnboundedReceiver<Stuck>,
    stop_heartbeat: CancellationToken,
    /// Those in whose place nobody serves.
    given_up: Vec<Stuck>,
}

struct Member<F> {
    role: Role,
    work: F,
}

enum Role {
    Heartbeat,
    Processor(ProcessorHandle),
    /// Its thread is stuck in a poll, and another has its place.
    LeftBehind(ProcessorHandle),
}

impl<F, L> Supervisor<F, L>
where
    F: Future<Output = Result<(), Error>> + Unpin,
    L: FnMut(Job) -> Result<F, Error>,
{
    /// Starts all parts.
    pub(super) fn start(parts: Parts, launch: L) -> Result<Self, Error> {
        let (report, stuck) = mpsc::unbounded_channel();
        let (processors, stop_heartbeat) = (ProcessorHandles::default(), CancellationToken::new());
        let mut supervisor = Self {
            parts,
            launch,
            members: Vec::new(),
            processors,
            stuck,
            stop_heartbeat,
            given_up: Vec::new(),
        };
        for place in 0..supervisor.parts.config.processors {
            supervisor.start_processor(place)?;
        }
        let heartbeat = supervisor.parts.heartbeat(supervisor.processors.clone(), report);
        let stop = supervisor.stop_heartbeat.clone();
        let work = (supervisor.launch)(Job {
            name: "pgworkflows-heartbeat".to_owned(),
            work: Box::new(move || Box::pin(heartbeat.run(stop))),
            abandoned: Box::pin(async {}),
        })?;
        supervisor.members.push(Member { role: Role::Heartbeat, work });
        Ok(supervisor)
    }

    fn start_processor(&mut self, place: usize) -> Result<(), Error> {
        let (processor, serve, mailbox) = self.parts.processor(place);
        let (host, abandoned) = (Arc::clone(&self.parts.host), processor.clone());
        let work = (self.launch)(Job {
            name: format!("pgworkflows-{place}"),
            work: Box::new(move || Box::pin(serve.run(mailbox))),
            // Hands over without a grace, unless it has been told to and nobody waits for it to finish.
            abandoned: Box::pin(async move {
                if !abandoned.stop.is_cancelled() {
                    abandoned.hand_over(Duration::ZERO);
                    host.sleep(limits::SHUTDOWN_HANDOVER).await;
                }
            }),
        })?;
        self.members.push(Member { role: Role::Processor(processor), work });
        let mut processors: Vec<ProcessorHandle> = self.processors().cloned().collect();
        processors.sort_unstable_by_key(|processor| processor.place);
        self.processors.set(processors);
        Ok(())
    }

    /// Serves until `shutdown` is ready, then hands everything over. The error is what ended it before that.
    pub(super) async fn work(mut self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let served = self.serve_until(shutdown).await;
        if let Err(error) = &served {
            tracing::error!(worker = %self.worker(), "the worker gives up: {error}");
            self.parts.status.give_up(error.to_string());
        }
        self.parts.status.stop();
        self.stop(self.parts.config.shutdown_grace).await;
        served
    }

    async fn serve_until(&mut self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => return Ok(()),
                (role, ended) = next_end(&mut self.members) => match role {
                    Role::LeftBehind(processor) => self.came_back(&processor),
                    Role::Heartbeat | Role::Processor(_) => {
                        ended?;
                        return Err(Error::gave_up("a part of the worker ended, and nobody had told it to"));
                    }
                },
                Some(stuck) = self.stuck.recv() => self.replace(stuck)?,
            }
        }
    }

    /// Leaves a thread that does not come back from a poll behind, and starts another in its place: that one claims the
    /// shards as soon as the old lease has expired.
    fn replace(&mut self, stuck: Stuck) -> Result<(), Error> {
        // It may have come back since the heartbeat looked.
        if !stuck.goes_on() {
            return Ok(());
        }
        if self.left_behind() >= limits::THREADS_LEFT_BEHIND_MAX {
            return self.give_up_place(stuck);
        }
        let Stuck { processor, poll, lasting, .. } = stuck;
        tracing::error!(
            run = %poll.run, workflow = %poll.workflow, last_durable_call = poll.last_call(),
            worker = %self.worker(), processor = processor.place,
            "a workflow has not yielded for {lasting:?}, so its processor's lease is gone: its thread is left behind, and \
             occupies a core until the process is restarted; another serves in its place"
        );
        leave_behind(&mut self.members, &processor);
        self.parts.status.replace(processor.place);
        self.start_processor(processor.place)
    }

    fn left_behind(&self) -> usize {
        let is_left_behind = |member: &&Member<F>| matches!(member.role, Role::LeftBehind(_));
        self.members.iter().filter(is_left_behind).count()
    }

    /// Too many threads are left behind already: nobody serves in the place of this one, until it comes back by itself.
    /// The error is that none is left that serves.
    fn give_up_place(&mut self, stuck: Stuck) -> Result<(), Error> {
        let (poll, lasting) = (&stuck.poll, stuck.lasting);
        let why = format!(
            "run {} of workflow `{}` has not yielded for {lasting:?}, last seen at {}, as {} others before it, and their \
             threads occupy as many cores; put endless loops and blocking work into activities, and restart the process",
            poll.run,
            poll.workflow,
            poll.last_call(),
            self.left_behind()
        );
        tracing::error!(worker = %self.worker(), processor = stuck.processor.place, "nobody serves in its place: {why}");
        self.given_up.push(stuck);
        self.given_up.retain(Stuck::goes_on);
        if self.given_up.len() == self.parts.config.processors { Err(Error::gave_up(why)) } else { Ok(()) }
    }

    fn came_back(&self, processor: &ProcessorHandle) {
        self.parts.status.came_back(&processor.status);
        tracing::info!(
            worker = %self.worker(), processor = processor.place,
            "the thread that was left behind in a workflow has come back and ended"
        );
    }

    /// Hands everything over, and returns when all parts have ended, or when the time for it is over.
    async fn stop(&mut self, grace: Duration) {
        self.processors().for_each(|processor| processor.hand_over(grace));
        let patience = grace.saturating_add(limits::SHUTDOWN_HANDOVER);
        let rest = self.parts.host.sleep(patience);
        let (members, stop_heartbeat) = (&mut self.members, &self.stop_heartbeat);
        let handed_over = async {
            // Heartbeats go on until the last processor is done: a grace may be longer than a lease.
            while members.iter().any(|member| matches!(member.role, Role::Processor(_))) {
                told_end(next_end(members).await);
            }
            stop_heartbeat.cancel();
            while members.iter().any(|member| matches!(member.role, Role::Heartbeat)) {
                told_end(next_end(members).await);
            }
        };
        let is_late = matches!(select(pin!(handed_over), rest).await, Either::Right(_));
        if is_late {
            self.processors().for_each(|processor| self.cut_short(processor, patience));
        }
    }

    /// Tells of a processor that is not done when the time for a shutdown is over.
    fn cut_short(&self, handle: &ProcessorHandle, patience: Duration) {
        let (worker, processor) = (self.worker(), handle.place);
        handle.attempts.cancel();
        match handle.mark.current() {
            Some(poll) => tracing::error!(
                run = %poll.run, workflow = %poll.workflow, last_durable_call = poll.last_call(), worker, processor,
                "a workflow still has not yielded {patience:?} after the shutdown: its thread is left behind, and occupies \
                 a core until the process ends; its runs are free for others when the lease expires"
            ),
            None => tracing::warn!(
                worker,
                processor,
                "the processor could not hand over within {patience:?} of the shutdown, as the store does not answer: \
                 its runs are free for others when the lease expires"
            ),
        }
    }

    fn processors(&self) -> impl Iterator<Item = &ProcessorHandle> {
        self.members.iter().filter_map(|member| match &member.role {
            Role::Processor(processor) => Some(processor),
            Role::Heartbeat | Role::LeftBehind(_) => None,
        })
    }

    fn worker(&self) -> &str {
        &self.parts.config.processor.worker
    }
}

/// The next part that ends, and how.
async fn next_end<F>(members: &mut Vec<Member<F>>) -> (Role, Result<(), Error>)
where
    F: Future<Output = Result<(), Error>> + Unpin,
{
    poll_fn(|task| {
        for index in 0..members.len() {
            if let Poll::Ready(ended) = Pin::new(&mut members[index].work).poll(task) {
                return Poll::Ready((members.remove(index).role, ended));
            }
        }
        Poll::Pending
    })
    .await
}

/// A part that was told to stop has ended.
fn told_end((_, ended): (Role, Result<(), Error>)) {
    if let Err(error) = ended {
        tracing::error!("while the worker stops: {error}");
    }
}

/// The processor of that processor is another's from now on. It ends as soon as its thread comes back.
fn leave_behind<F>(members: &mut [Member<F>], processor: &ProcessorHandle) {
    processor.hand_over(Duration::ZERO);
    processor.attempts.cancel();
    for member in members {
        if let Role::Processor(there) = &member.role
            && there.place == processor.place
        {
            member.role = Role::LeftBehind(processor.clone());
        }
    }
}
