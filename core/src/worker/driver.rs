//! The driver: a processor's loop as a future. It executes what the processor asks for and tells it what came
//! of it and what time it is. It decides nothing about runs, and touches the world only through the host, the
//! store's sessions and the executor, so a test can hold all three.

use std::collections::{BTreeMap, VecDeque};
use std::future::{poll_fn, ready};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::data::id::{CommandId, RunId};
use crate::data::limits;
use crate::data::time::Timestamp;
use crate::guard::shielded;
use crate::processor::Processor;
use crate::processor::effect::Effect;
use crate::run::turn::Turn;
use crate::store::switchboard::Connection;
use crate::store::{Hint, Session, Store};
use crate::worker::environment::Environment;
use crate::worker::executor::{Attempted, LeaseTrust, StartPermit, cancel};
use crate::worker::input::{Input, TickReply};
use crate::worker::requests::Requests;
use crate::worker::setbacks::Loss;
use crate::worker::stopwatch::Stopwatch;

/// Why a driver ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It was asked to, and everything that it knew is in the log.
    ShutDown,
    /// Its lease is gone, or cannot be trusted: its memory is thrown away.
    Lost(Loss),
}

pub(crate) struct Driver {
    with: Environment,
    processor: Processor,
    hints: broadcast::Receiver<Hint>,
    requests: Requests,
    /// Outcomes and starts that were not taken in yet, in the order in which they came.
    backlog: VecDeque<Input>,
    tokens: BTreeMap<(RunId, CommandId), CancellationToken>,
    /// Whether the lease can still be trusted, which the executor asks as well.
    trust: Arc<LeaseTrust>,
    /// Where clients of this process hand over starts, until a shutdown.
    connection: Option<Connection>,
    /// When the grace of a shutdown is over, by the host's clock.
    shutdown: Option<Duration>,
    lost: Option<Loss>,
    stopwatch: Stopwatch,
    /// The right to try suspects, which one processor of a process has at a time.
    trial: Option<OwnedSemaphorePermit>,
}

impl Driver {
    /// A driver for a processor whose lease was claimed by a request sent at `claimed_at`.
    pub(crate) fn new(
        with: Environment,
        processor: Processor,
        session: Box<dyn Session>,
        claimed_at: Duration,
    ) -> Self {
        let hints = with.store.hints();
        let requests = Requests::new(&with, session);
        // How long a lease may go without a renewal before its processor stops on its own.
        let stopwatch = Stopwatch::start(&*with.host, &with.meter);
        let trust = LeaseTrust::new(Arc::clone(&with.host), with.lease_ttl * 2 / 3, claimed_at);
        let connection = with.connect();
        connection.iter().for_each(|connection| connection.serve(processor.shards()));
        Self {
            with,
            processor,
            hints,
            requests,
            backlog: VecDeque::new(),
            tokens: BTreeMap::new(),
            trust: Arc::new(trust),
            connection,
            shutdown: None,
            lost: None,
            stopwatch,
            trial: None,
        }
    }

    /// Serves the processor until it is shut down or its lease is lost. After that it can only be dropped.
    pub(crate) async fn run(&mut self, mailbox: &mut mpsc::UnboundedReceiver<Input>) -> Ended {
        loop {
            // Before anything is begun: an acknowledgement that was waited for beyond the lease has effects, but
            // whoever took over has seen to them.
            self.check_lease();
            if let Some(loss) = self.lost.take() {
                return Ended::Lost(loss);
            }
            let busy = self.turn(mailbox);
            if self.is_handed_over() {
                return Ended::ShutDown;
            }
            let pause: BoxFuture<'_, ()> = if busy {
                // Whatever else is at hand: the thread's reactor has its turn as well.
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
                input = mailbox.recv() => match input {
                    Some(input) => self.take(input),
                    None => return Ended::ShutDown,
                },
                hint = self.hints.recv() => self.hinted(hint),
                () = pause => {}
            }
        }
    }

    /// Works on runs for a while, then looks after all the rest. Whether there is more to work on at once.
    fn turn(&mut self, mailbox: &mut mpsc::UnboundedReceiver<Input>) -> bool {
        let began = self.with.host.monotonic();
        let until = began + limits::TURN;
        let host = Arc::clone(&self.with.host);
        let over = || host.monotonic() >= until;
        let turn = Turn::new(self.now(), &over);
        // What must not wait is answered as it comes.
        while let Ok(input) = mailbox.try_recv() {
            self.take(input);
        }
        let busy = self.work(&turn);
        self.stopwatch.note(host.monotonic().saturating_sub(began), self.processor.worked_on());
        self.try_suspects(turn.now);
        // Cutting an append may release effects that wait for nothing else, and effects may be dropped: in this order
        // nothing that is ready waits for the next turn.
        self.requests.append(&mut self.processor);
        for effect in self.processor.take_effects() {
            self.execute(effect);
        }
        self.requests.read(&mut self.processor);
        self.requests.close_unused();
        self.with.gauge.set(self.processor.live_runs(), self.processor.next_deadline());
        busy
    }

    /// Begins a trial of suspects if no other processor of this process tries some, and lets others try theirs after it.
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

    /// Takes in what came and has the processor work, by turns, until nothing is left to do or the turn is over. Whether
    /// it was that.
    fn work(&mut self, turn: &Turn<'_>) -> bool {
        loop {
            let input = self.backlog.pop_front();
            let taken = input.is_some();
            input.into_iter().for_each(|input| self.take_in(input, turn.now));
            // Who takes over does what is not done any more.
            let worked = self.shutdown.is_none() && self.processor.work(turn);
            if !taken && !worked {
                return false;
            }
            if turn.is_over() {
                return true;
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.with.clock.now(&*self.with.host).unwrap_or(Timestamp::MIN)
    }

    /// How long there is nothing to do unless something comes.
    fn pause(&self) -> Duration {
        let monotonic = self.with.host.monotonic();
        let now = self.now();
        // A shutdown fires none.
        let deadline = self.processor.next_deadline().filter(|_| self.shutdown.is_none());
        let deadline = deadline.map(|at| at.saturating_since(now));
        let lease = self.trust.rest();
        // Once the grace is over, only the append under way is waited for, and that wakes by itself.
        let shutdown = self.shutdown.filter(|end| *end > monotonic).map(|end| end - monotonic);
        // Another processor may let go of its right to try suspects, or a trial of its own be over.
        let trial = (self.processor.wants_trial() || self.processor.is_trying()).then_some(TRIAL_GLANCE);
        [deadline, shutdown, self.requests.rest(), trial].into_iter().flatten().fold(lease, Duration::min)
    }

    fn check_lease(&mut self) {
        if self.trust.rest().is_zero() {
            let at_fault = self.stopwatch.at_fault(&*self.with.host, &self.with.meter);
            self.lose(Loss::Unrenewed { at_fault });
        }
    }

    fn lose(&mut self, loss: Loss) {
        self.lost.get_or_insert(loss);
    }

    /// Answers what must not wait, and keeps the rest for its turn.
    fn take(&mut self, input: Input) {
        match input {
            Input::Tick { ttl, reply } => {
                let tick = self.processor.tick(self.now(), ttl);
                // The heartbeat that asked may have stopped waiting.
                drop(reply.send(TickReply { tick, shards: self.processor.shard_count() }));
            }
            Input::Ticked { asked, answer, sent } if answer.lease == self.processor.lease() => {
                if answer.held {
                    self.trust.renewed(sent);
                    self.stopwatch = Stopwatch::start(&*self.with.host, &self.with.meter);
                    self.processor.ticked(&asked, &answer);
                } else {
                    self.lose(Loss::Fenced("by another worker, or the store lost commits".to_owned()));
                }
            }
            Input::Claimed(claimed) if claimed.lease == self.processor.lease() => {
                self.processor.claimed(&claimed);
                self.connection.iter().for_each(|connection| connection.serve(self.processor.shards()));
            }
            // It is about a lease that this process held before.
            Input::Ticked { .. } | Input::Claimed(_) => {}
            Input::Shutdown { grace } => {
                self.connection = None;
                self.requests.stop_reading();
                let end = self.with.host.monotonic() + grace;
                self.shutdown = Some(self.shutdown.map_or(end, |earlier| earlier.min(end)));
            }
            Input::AttemptEnded { .. } | Input::StepEnded { .. } | Input::Start(_) => {
                self.backlog.push_back(input);
            }
        }
    }

    /// Takes an outcome or a start in.
    fn take_in(&mut self, input: Input, now: Timestamp) {
        match input {
            Input::AttemptEnded { lease, run, id, attempt, attempted } if lease == self.processor.lease() => {
                self.tokens.remove(&(run, id));
                match attempted {
                    Attempted::Ended(result) => self.processor.attempt_ended(run, id, attempt, result, now),
                    Attempted::Unreadable(problem) => {
                        self.processor.attempt_impossible(run, id, problem, now)
                    }
                }
            }
            Input::StepEnded { lease, run, id, step, result } if lease == self.processor.lease() => {
                self.tokens.remove(&(run, id));
                self.processor.step_ended(run, id, step, result, now);
            }
            Input::Start(start) if self.connection.is_some() => self.processor.start_local(start, now),
            // The outcome is of a lease that this process held before; the start's client submits it.
            Input::AttemptEnded { .. } | Input::StepEnded { .. } | Input::Start(_) => {}
            Input::Tick { .. } | Input::Ticked { .. } | Input::Claimed(_) | Input::Shutdown { .. } => {}
        }
    }

    fn hinted(&mut self, hint: Result<Hint, broadcast::error::RecvError>) {
        match hint {
            Ok(Hint::Mail(shard)) if !self.processor.owns(shard) => {}
            Ok(Hint::Notice(_) | Hint::Released) => {}
            Ok(Hint::Mail(_) | Hint::Missed) | Err(_) => self.processor.has_mail(),
        }
    }

    fn execute(&mut self, effect: Effect) {
        match effect {
            // Who takes over begins what is not begun here any more.
            Effect::Execute(_) | Effect::ExecuteStep { .. } if self.shutdown.is_some() => {}
            Effect::Execute(attempt) => {
                let (lease, run, id, number) =
                    (self.processor.lease(), attempt.run, attempt.id, attempt.attempt);
                let (permit, outbox) = (self.permit(run, id), self.with.outbox.clone());
                self.with.executor.execute(&self.with.registry, attempt, permit, move |attempted| {
                    drop(outbox.send(Input::AttemptEnded { lease, run, id, attempt: number, attempted }));
                });
            }
            Effect::ExecuteStep { run, workflow, step } => {
                let (lease, id, name) = (self.processor.lease(), step.id, step.name.clone());
                let (permit, outbox) = (self.permit(run, id), self.with.outbox.clone());
                self.with.executor.execute_step(run, workflow, step, permit, move |result| {
                    drop(outbox.send(Input::StepEnded { lease, run, id, step: name, result }));
                });
            }
            Effect::Abort { run, id } => {
                if let Some(token) = self.tokens.remove(&(run, id)) {
                    cancel(&token);
                }
            }
            // Who waited may have given up. Waking is code of theirs.
            Effect::Accept { accepted } => shielded("a waker", || _ = accepted.send(())),
            Effect::Tell { notice, watcher } => shielded("a waker", || _ = watcher.send(*notice)),
        }
    }

    fn permit(&mut self, run: RunId, id: CommandId) -> StartPermit {
        let token = self.with.attempts.child_token();
        self.tokens.insert((run, id), token.clone());
        StartPermit { token, trust: Arc::clone(&self.trust) }
    }

    /// Whether a shutdown has nothing left to wait for.
    fn is_handed_over(&self) -> bool {
        let Some(end) = self.shutdown else { return false };
        let waited = self.tokens.is_empty() || self.with.host.monotonic() >= end;
        waited && self.backlog.is_empty() && self.processor.is_flushed()
    }
}

impl Drop for Driver {
    /// Nobody takes the outcomes of what is still running.
    fn drop(&mut self) {
        self.tokens.values().for_each(cancel);
        self.with.gauge.set(0, None);
    }
}

/// Has everything else that is ready go first.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|task| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        task.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// How often it is looked at whether suspects can be tried, or were.
const TRIAL_GLANCE: Duration = Duration::from_millis(100);
