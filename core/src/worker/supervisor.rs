//! Starts, watches and stops the parts of a worker, wherever they run. It must not know what a processor does.

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
use crate::worker::tasks::input::TaskInput;
use crate::worker::threads::Job;
use crate::worker::watchdog::Stuck;

/// The running parts of a worker. `L` starts a part, and `F` waits for its end: dropping the future abandons the part.
pub(super) struct Supervisor<F, L> {
    parts: Parts,
    launch: L,
    members: Vec<Member<F>>,
    processors: ProcessorHandles,
    stuck: mpsc::UnboundedReceiver<Stuck>,
    stop_heartbeat: CancellationToken,
    stop_tasks: CancellationToken,
    /// Stuck polls whose processors are not replaced.
    not_replaced: Vec<Stuck>,
}

struct Member<F> {
    role: Role,
    work: F,
}

enum Role {
    Heartbeat,
    Tasks,
    Processor(ProcessorHandle),
    /// Its thread is stuck in a poll, and another thread has taken its place.
    LeftBehind(ProcessorHandle),
}

impl<F, L> Supervisor<F, L>
where
    F: Future<Output = Result<(), Error>> + Unpin,
    L: FnMut(Job) -> Result<F, Error>,
{
    /// Starts all parts.
    pub(super) fn start(
        parts: Parts,
        task_mailbox: mpsc::UnboundedReceiver<TaskInput>,
        launch: L,
    ) -> Result<Self, Error> {
        let (report, stuck) = mpsc::unbounded_channel();
        let (processors, stop_heartbeat) = (ProcessorHandles::default(), CancellationToken::new());
        let mut supervisor = Self {
            parts,
            launch,
            members: Vec::new(),
            processors,
            stuck,
            stop_heartbeat,
            stop_tasks: CancellationToken::new(),
            not_replaced: Vec::new(),
        };
        for place in 0..supervisor.parts.config.processors {
            supervisor.start_processor(place)?;
        }
        if supervisor.parts.config.processors > 0 {
            let heartbeat = supervisor.parts.heartbeat(supervisor.processors.clone(), report);
            let stop = supervisor.stop_heartbeat.clone();
            let work = (supervisor.launch)(Job {
                name: "pgworkflows-heartbeat".to_owned(),
                work: Box::new(move || Box::pin(heartbeat.run(stop))),
                abandoned: Box::pin(async {}),
            })?;
            supervisor.members.push(Member { role: Role::Heartbeat, work });
        }
        let tasks = supervisor.parts.task_loop(supervisor.stop_tasks.clone());
        let work = (supervisor.launch)(Job {
            name: "pgworkflows-tasks".to_owned(),
            work: Box::new(move || Box::pin(tasks.run(task_mailbox))),
            abandoned: Box::pin(async {}),
        })?;
        supervisor.members.push(Member { role: Role::Tasks, work });
        Ok(supervisor)
    }

    fn start_processor(&mut self, place: usize) -> Result<(), Error> {
        let (processor, serve, mailbox) = self.parts.processor(place);
        let (host, abandoned) = (Arc::clone(&self.parts.host), processor.clone());
        let work = (self.launch)(Job {
            name: format!("pgworkflows-{place}"),
            work: Box::new(move || Box::pin(serve.run(mailbox))),
            // Nobody waits for its end any more: it hands over without a grace, unless it was told to stop before.
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

    /// Serves until `shutdown` completes, then hands over. The error is what ended the worker before that.
    pub(super) async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
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
                    Role::LeftBehind(processor) => self.left_behind_ended(&processor),
                    Role::Heartbeat | Role::Tasks | Role::Processor(_) => {
                        ended?;
                        return Err(Error::gave_up("a part of the worker ended without being told to stop"));
                    }
                },
                Some(stuck) = self.stuck.recv() => self.replace(stuck)?,
            }
        }
    }

    /// Leaves a thread that is stuck in a poll behind, and starts another one in its place, which claims the shards as soon
    /// as the old lease is released or has expired.
    fn replace(&mut self, stuck: Stuck) -> Result<(), Error> {
        // The poll may have ended since the heartbeat checked it.
        if !stuck.is_in_progress() {
            return Ok(());
        }
        if self.left_behind_count() >= limits::THREADS_LEFT_BEHIND_MAX {
            return self.leave_unreplaced(stuck);
        }
        let Stuck { processor, poll, lasting, .. } = stuck;
        tracing::error!(
            run = %poll.run, workflow = %poll.workflow, last_durable_call = poll.last_call(),
            worker = %self.worker(), processor = processor.place,
            "a workflow has not yielded for {lasting:?}, so its processor lost the lease: its thread is left behind and \
             occupies a core until the process is restarted; another serves in its place"
        );
        leave_behind(&mut self.members, &processor);
        self.parts.status.replace(processor.place);
        self.start_processor(processor.place)
    }

    fn left_behind_count(&self) -> usize {
        let is_left_behind = |member: &&Member<F>| matches!(member.role, Role::LeftBehind(_));
        self.members.iter().filter(is_left_behind).count()
    }

    /// Does not replace a stuck thread, because the limit of abandoned threads is reached. Its processor resumes when the
    /// poll ends. Returns an error if no other processor is serving.
    fn leave_unreplaced(&mut self, stuck: Stuck) -> Result<(), Error> {
        let (poll, lasting) = (&stuck.poll, stuck.lasting);
        let why = format!(
            "run {} of workflow `{}` has not yielded for {lasting:?}, last seen at {}, after {} others, whose threads each \
             occupy a core; put endless loops and blocking work into activities, and restart the process",
            poll.run,
            poll.workflow,
            poll.last_call(),
            self.left_behind_count()
        );
        tracing::error!(worker = %self.worker(), processor = stuck.processor.place, "nobody serves in its place: {why}");
        self.not_replaced.push(stuck);
        self.not_replaced.retain(Stuck::is_in_progress);
        if self.not_replaced.len() == self.parts.config.processors {
            Err(Error::gave_up(why))
        } else {
            Ok(())
        }
    }

    fn left_behind_ended(&self, processor: &ProcessorHandle) {
        self.parts.status.left_behind_ended(&processor.status);
        tracing::info!(
            worker = %self.worker(), processor = processor.place,
            "a workflow yielded at last, and the thread that was left behind in it has ended"
        );
    }

    /// Hands over, and returns when all parts have ended or the time for it is over.
    async fn stop(&mut self, grace: Duration) {
        self.processors().for_each(|processor| processor.hand_over(grace));
        // A task loop that has ended has nothing to give back.
        drop(self.parts.tasks.send(TaskInput::Shutdown { grace }));
        let patience = grace.saturating_add(limits::SHUTDOWN_HANDOVER);
        let timeout = self.parts.host.sleep(patience);
        let (members, stop_heartbeat, stop_tasks) =
            (&mut self.members, &self.stop_heartbeat, &self.stop_tasks);
        let handed_over = async {
            // The heartbeat runs until the last processor has ended: a grace may be longer than a lease.
            while members.iter().any(|member| matches!(member.role, Role::Processor(_))) {
                log_end(next_end(members).await);
            }
            stop_heartbeat.cancel();
            stop_tasks.cancel();
            while members.iter().any(|member| matches!(member.role, Role::Heartbeat | Role::Tasks)) {
                log_end(next_end(members).await);
            }
        };
        let is_late = matches!(select(pin!(handed_over), timeout).await, Either::Right(_));
        if is_late {
            self.processors().for_each(|processor| self.cut_short(processor, patience));
        }
    }

    /// Logs a processor that has not ended when the time for the shutdown is over, and cancels its attempts.
    fn cut_short(&self, handle: &ProcessorHandle, patience: Duration) {
        let (worker, processor) = (self.worker(), handle.place);
        handle.attempts.cancel();
        match handle.mark.current() {
            Some(poll) => tracing::error!(
                run = %poll.run, workflow = %poll.workflow, last_durable_call = poll.last_call(), worker, processor,
                "a workflow still has not yielded {patience:?} after the shutdown: its thread is left behind and occupies \
                 a core until the process ends; other workers take its runs over when the lease expires"
            ),
            None => tracing::warn!(
                worker,
                processor,
                "the processor could not hand over within {patience:?} of the shutdown, because the store does not answer: \
                 other workers take its runs over when the lease expires"
            ),
        }
    }

    fn processors(&self) -> impl Iterator<Item = &ProcessorHandle> {
        self.members.iter().filter_map(|member| match &member.role {
            Role::Processor(processor) => Some(processor),
            Role::Heartbeat | Role::Tasks | Role::LeftBehind(_) => None,
        })
    }

    fn worker(&self) -> &str {
        &self.parts.config.processor.worker
    }
}

/// Waits for the next part that ends.
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

/// Logs the error of a part that was told to stop.
fn log_end((_, ended): (Role, Result<(), Error>)) {
    if let Err(error) = ended {
        tracing::error!("a part of the worker failed while it stopped: {error}");
    }
}

/// Marks a processor as left behind. It ends as soon as the poll on its thread ends.
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
