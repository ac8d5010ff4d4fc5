//! The driver: a processor's loop as a future. It executes what the processor asks for and tells it the results and the
//! time. It must not decide anything about runs, and it does I/O only through the host, the store's sessions and the
//! executor, so a test can replace all three.

mod effects;

use std::collections::VecDeque;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc};

use crate::data::id::ShardId;
use crate::data::limits;
use crate::data::time::Timestamp;
use crate::processor::Processor;
use crate::run::turn::Turn;
use crate::store::switchboard::Connection;
use crate::store::{Hint, HintKind, Session, Store};
use crate::worker::balance::Step;
use crate::worker::child_starts::ChildStarts;
use crate::worker::environment::Environment;
use crate::worker::executor::{AttemptOutcome, LeaseTrust};
use crate::worker::handed_out::HandedOut;
use crate::worker::input::{EndedStep, HeartbeatReply, Input};
use crate::worker::queue_lookups::QueueLookups;
use crate::worker::requests::Requests;
use crate::worker::setbacks::Loss;
use crate::worker::stopwatch::Stopwatch;
use crate::worker::tasks::input::TaskInput;
use crate::worker::threads::yield_now;

/// Why a driver ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It was told to stop, and everything it knew is in the log.
    ShutDown,
    /// Its lease was lost or cannot be trusted: its memory is dropped.
    Lost(Loss),
}

/// Runs one processor under one lease.
pub(crate) struct Driver {
    with: Environment,
    processor: Processor,
    hints: broadcast::Receiver<Hint>,
    requests: Requests,
    child_starts: ChildStarts,
    queue_lookups: QueueLookups,
    /// Outcomes and starts that are still to be handled, in the order of their arrival.
    backlog: VecDeque<Input>,
    /// The attempts and steps that the executor has.
    handed_out: HandedOut,
    /// Whether the lease can still be trusted; shared with the executor.
    trust: Arc<LeaseTrust>,
    /// Receives starts from clients of this process, until a shutdown.
    connection: Option<Connection>,
    /// The end of a shutdown's grace, by the host's clock.
    shutdown: Option<Duration>,
    lost: Option<Loss>,
    /// Whether the lease is to claim shards as soon as the processor is done with those before.
    claim_waits: bool,
    stopwatch: Stopwatch,
    /// The permit to try suspects, which one processor of a process holds at a time.
    trial: Option<OwnedSemaphorePermit>,
}

impl Driver {
    /// Makes a driver for a processor whose lease was claimed by a request sent at `claimed_at`.
    pub(crate) fn new(
        with: Environment,
        processor: Processor,
        session: Box<dyn Session>,
        claimed_at: Duration,
    ) -> Self {
        let hints = with.store.hints(HintKind::Mail);
        let requests = Requests::new(&with, session);
        let (child_starts, queue_lookups) = (ChildStarts::new(&with), QueueLookups::new(&with));
        let stopwatch = Stopwatch::start(&*with.host, &with.meter);
        // The processor stops by itself after two thirds of a lease without a renewal.
        let trust = LeaseTrust::new(Arc::clone(&with.host), with.lease_ttl * 2 / 3, claimed_at);
        let connection = with.connect();
        connection.iter().for_each(|connection| connection.serve(processor.kept_shards()));
        let handed_out = HandedOut::of(processor.lease());
        Self {
            with,
            processor,
            hints,
            requests,
            child_starts,
            queue_lookups,
            backlog: VecDeque::new(),
            handed_out,
            trust: Arc::new(trust),
            connection,
            shutdown: None,
            lost: None,
            claim_waits: false,
            stopwatch,
            trial: None,
        }
    }

    /// Runs the processor until it is shut down or its lease is lost. After that the driver can only be dropped.
    pub(crate) async fn run(&mut self, mailbox: &mut mpsc::UnboundedReceiver<Input>) -> Ended {
        loop {
            // Checked before anything begins: an append that was acknowledged after the lease expired has effects, but the
            // new owner executes those.
            self.check_lease();
            if let Some(loss) = self.lost.take() {
                return Ended::Lost(loss);
            }
            let busy = self.turn(mailbox);
            if self.is_handed_over() {
                return Ended::ShutDown;
            }
            let pause: BoxFuture<'_, ()> = if busy {
                // Gives the thread's reactor a turn, too.
                yield_now().await;
                Box::pin(ready(()))
            } else {
                self.with.host.sleep(self.pause())
            };
            tokio::select! {
                biased;
                done = self.requests.done() => {
                    if let Err(error) = self.requests.answer(done, &mut self.processor) {
                        self.lose(error.into());
                    }
                }
                child = self.child_starts.done() => {
                    self.processor.child_submitted(&child.start, child.answer, self.with.now());
                }
                runs = self.queue_lookups.done() => self.processor.queues_known(runs),
                input = mailbox.recv() => match input {
                    Some(input) => self.receive(input),
                    None => return Ended::ShutDown,
                },
                hint = self.hints.recv() => self.hinted(hint),
                () = pause => {}
            }
        }
    }

    /// Works on runs for a bounded time, then sends requests and executes effects. Returns whether more work is ready.
    fn turn(&mut self, mailbox: &mut mpsc::UnboundedReceiver<Input>) -> bool {
        let began = self.with.host.monotonic();
        let until = began + limits::TURN;
        let host = Arc::clone(&self.with.host);
        let over = || host.monotonic() >= until;
        let turn = Turn::new(self.now(), &over);
        // Heartbeats and shutdowns are handled first.
        while let Ok(input) = mailbox.try_recv() {
            self.receive(input);
        }
        let busy = self.work(&turn);
        self.stopwatch.note(host.monotonic().saturating_sub(began), self.processor.worked_on());
        self.try_suspects(turn.now);
        self.hand_out(turn.now);
        // Cutting an append may release effects: in this order, no effect that is ready waits for the next turn.
        self.requests.append(&mut self.processor);
        let effects = self.processor.take_effects();
        self.execute_all(effects, turn.now);
        self.requests.read(&mut self.processor);
        self.requests.close_unused();
        self.claim_if_done();
        self.processor.publish_memory(turn.now);
        self.processor.pass_line_limit(turn.now);
        self.with.executor.pass_line_limit();
        let (shards, runs) = (self.processor.kept_shards().count(), self.processor.live_runs());
        self.with.gauge.set(shards, runs, self.processor.next_deadline());
        busy
    }

    /// Has a heartbeat sent, and with it a claim that waits, as soon as the processor can serve more shards.
    fn claim_if_done(&mut self) {
        if self.claim_waits {
            let shards = self.processor.shard_counts();
            self.claim_waits = shards.recovering || shards.going > 0;
            if !self.claim_waits {
                self.with.beat.notify_one();
            }
        }
    }

    /// Begins a trial of suspects unless another processor of this process has one, and lets others try after its end.
    fn try_suspects(&mut self, now: Timestamp) {
        if !self.processor.is_trying() {
            self.trial = None;
            if self.processor.wants_trial() {
                self.trial = Arc::clone(&self.with.trials).try_acquire_owned().ok();
                if self.trial.is_some() {
                    self.processor.begin_trial(now);
                }
            }
        }
    }

    /// Alternately handles some inputs of the backlog and has the processor work, until nothing is left to do or the turn is
    /// over. Returns whether the turn is over.
    fn work(&mut self, turn: &Turn<'_>) -> bool {
        loop {
            let mut handled = 0;
            while handled < INPUTS_PER_WORK
                && !self.processor.has_much_to_write()
                && let Some(input) = self.backlog.pop_front()
            {
                self.handle(input, turn.now);
                handled += 1;
                if turn.is_over() {
                    return true;
                }
            }
            // After a shutdown, the next owner does the rest.
            let worked = self.shutdown.is_none() && self.processor.work(turn);
            if handled == 0 && !worked {
                return false;
            }
            if turn.is_over() {
                return true;
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.with.now()
    }

    /// How long there is nothing to do unless an input arrives.
    fn pause(&self) -> Duration {
        let monotonic = self.with.host.monotonic();
        let now = self.now();
        // A shutdown fires no deadlines.
        let deadline = self.processor.next_deadline().filter(|_| self.shutdown.is_none());
        let deadline = deadline.map(|at| at.saturating_since(now));
        let lease = self.trust.remaining();
        let ends = |end| [end, end + limits::SHUTDOWN_FLUSH];
        let ends = self.shutdown.into_iter().flat_map(ends).filter(|end| *end > monotonic);
        let shutdown = ends.min().map(|end| end - monotonic);
        // Another processor may release the permit to try suspects, or a trial of this one may be over.
        let trial =
            (self.processor.wants_trial() || self.processor.is_trying()).then_some(TRIAL_CHECK_INTERVAL);
        let drain = self.processor.next_drain_end().map(|at| at.saturating_since(now));
        [deadline, drain, shutdown, self.requests.backoff_left(), trial]
            .into_iter()
            .flatten()
            .fold(lease, Duration::min)
    }

    fn check_lease(&mut self) {
        if self.trust.remaining().is_zero() {
            let at_fault = self.stopwatch.at_fault(&*self.with.host, &self.with.meter);
            self.lose(Loss::Unrenewed { at_fault });
        }
    }

    fn lose(&mut self, loss: Loss) {
        self.lost.get_or_insert(loss);
    }

    /// Handles an input that must not wait, and adds others to the backlog.
    fn receive(&mut self, input: Input) {
        match input {
            Input::HeartbeatDue { ttl, reply } => {
                let lease_heartbeat = self.processor.heartbeat(self.now(), ttl);
                // The heartbeat that asked may have stopped waiting.
                let shards = self.processor.shard_counts();
                drop(reply.send(HeartbeatReply { lease_heartbeat, shards }));
            }
            Input::HeartbeatAnswered { asked, answer, misplaced, sent, step }
                if answer.lease == self.processor.lease() =>
            {
                if answer.held {
                    self.trust.renewed(sent);
                    self.stopwatch = Stopwatch::start(&*self.with.host, &self.with.meter);
                    self.processor.heartbeat_answered(&asked, &answer);
                    self.with.queues.forget_missing();
                    self.take_step(step, &misplaced);
                } else {
                    self.lose(Loss::Fenced("by another worker, or the store lost commits".to_owned()));
                }
            }
            Input::Claimed(claimed) if claimed.lease == self.processor.lease() => {
                if let Some(shard) = self.processor.claimed_again(&claimed) {
                    self.lose(Loss::Fenced(format!(
                        "shard {shard} was lost and claimed again: the store lost commits"
                    )));
                    return;
                }
                self.processor.claimed(&claimed);
                self.serve_kept();
            }
            // It belongs to an earlier lease of this processor.
            Input::HeartbeatAnswered { .. } | Input::Claimed(_) => {}
            Input::Shutdown { grace } => {
                self.connection = None;
                self.requests.stop_reading();
                self.child_starts.stop();
                self.queue_lookups.stop();
                let end = self.with.host.monotonic() + grace;
                self.shutdown = Some(self.shutdown.map_or(end, |earlier| earlier.min(end)));
            }
            Input::AttemptEnded { .. } | Input::StepEnded { .. } | Input::Start { .. } => {
                self.backlog.push_back(input);
            }
        }
    }

    /// Does what the heartbeat decided about the lease's share of the shards, and about those that it does not know how to
    /// serve. The heartbeat claims shards by itself.
    fn take_step(&mut self, step: Step, misplaced: &[ShardId]) {
        self.claim_waits = step == Step::Wait;
        if self.shutdown.is_some() || misplaced.is_empty() && !matches!(step, Step::Keep(_)) {
            return;
        }
        let (now, hands_out) = (self.with.now(), self.with.task_executor.get().is_some());
        let becomes_task = |run, call| hands_out && self.handed_out.has(run, call);
        self.processor.leave_to_knowing(misplaced, becomes_task, now);
        if let Step::Keep(count) = step {
            self.processor.keep(usize::from(count), becomes_task, now);
        }
        self.serve_kept();
    }

    /// Receives starts for the shards that stay.
    fn serve_kept(&self) {
        self.connection.iter().for_each(|connection| connection.serve(self.processor.kept_shards()));
    }

    /// Handles an outcome or a start.
    fn handle(&mut self, input: Input, now: Timestamp) {
        match input {
            Input::AttemptEnded { lease, run, id, attempt, handed } if lease == self.processor.lease() => {
                match self.handed_out.end_attempt(run, id, handed) {
                    Some(AttemptOutcome::Ended(result, _room)) => {
                        self.processor.attempt_ended(run, id, attempt, result, now);
                    }
                    Some(AttemptOutcome::Unreadable(problem)) => {
                        self.processor.attempt_impossible(run, id, problem, now);
                    }
                    // Only tasks are settled by their attempts.
                    Some(AttemptOutcome::Settled) | None => {}
                }
            }
            Input::StepEnded { lease, run, id, handed, ended }
                if lease == self.processor.lease() && self.handed_out.end_step(run, id, handed) =>
            {
                let EndedStep { step, result, room: _room } = *ended;
                self.processor.step_ended(run, id, step, result, now);
            }
            Input::Start { start, room: _room } if self.connection.is_some() => {
                self.processor.start_local(*start, now);
            }
            // The outcome belongs to an earlier lease, or is not wanted; the start's client submits it to the inbox instead.
            Input::AttemptEnded { .. } | Input::StepEnded { .. } | Input::Start { .. } => {}
            Input::HeartbeatDue { .. }
            | Input::HeartbeatAnswered { .. }
            | Input::Claimed(_)
            | Input::Shutdown { .. } => {}
        }
    }

    /// Takes a hint, and all that came since.
    fn hinted(&mut self, hint: Result<Hint, RecvError>) {
        let mut next = hint.ok().unwrap_or(Hint::Missed);
        loop {
            match next {
                Hint::Notice(_) | Hint::Published(_) | Hint::Tasks(_) | Hint::Released => {}
                Hint::Mail(shard) => self.processor.has_mail_of(shard),
                Hint::Missed => self.processor.has_mail(),
            }
            next = match self.hints.try_recv() {
                Ok(hint) => hint,
                Err(TryRecvError::Lagged(_)) => Hint::Missed,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            };
        }
    }

    /// Whether a shutdown has nothing left to wait for, or has waited long enough for the last append: the release of the
    /// lease settles whether that is applied.
    fn is_handed_over(&self) -> bool {
        let Some(end) = self.shutdown else { return false };
        let now = self.with.host.monotonic();
        let is_over = self.handed_out.is_empty() || now >= end;
        if is_over && self.backlog.is_empty() && self.processor.is_flushed() {
            return true;
        }
        let is_late = now >= end + limits::SHUTDOWN_FLUSH;
        if is_late {
            let status = &self.with.status;
            tracing::warn!(
                lease = %self.processor.lease(), worker = %status.worker, processor = status.place,
                "the last append is still unanswered: the lease is released without it, and the next owners of its shards \
                 find in the log whether it was applied"
            );
        }
        is_late
    }
}

impl Drop for Driver {
    /// Cancels the attempts and steps that are still running, because their outcomes are not taken any more.
    fn drop(&mut self) {
        let interrupted = self.handed_out.cancel_all();
        if !interrupted.is_empty() {
            drop(self.with.tasks.send(TaskInput::Interrupted(interrupted)));
        }
        self.with.gauge.set(0, 0, None);
    }
}

/// How many inputs are handled for each piece of the processor's work: mostly only one of the two kinds has any.
const INPUTS_PER_WORK: usize = 8;

/// How often a driver checks whether a trial of suspects can begin or is over.
const TRIAL_CHECK_INTERVAL: Duration = Duration::from_millis(100);
