//! The clients of a simulated world: each run has a script that starts it, sends it signals, may cancel it, and asks
//! for its result. The promises to the clients are recorded for the checks.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, join4, join5};
use pgworkflows_core::activity::RetryPolicy;
use pgworkflows_core::client::Request;
use pgworkflows_core::{Client, Error, RunHandle, RunId, Workflow};
use pgworkflows_memory::MemoryStore;
use pgworkflows_testkit::runtime::dice::Dice;
use pgworkflows_testkit::runtime::time::Time;

use crate::announce::Announcement;
use crate::config::WorldConfig;
use crate::ledger::Ledger;
use crate::plan::{Op, Planner};
use crate::traces::Sender;
use crate::updates::AskPromise;
use crate::workflow::{PlanWorkflow, Summary, signal_at};

/// The promises to all clients.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    pub(crate) runs: Vec<RunPromise>,
    /// How many scripts have not ended.
    pub(crate) scripts: usize,
}

/// A run whose start was acknowledged.
#[derive(Debug)]
pub(crate) struct RunPromise {
    pub(crate) run: RunId,
    /// The number of its script.
    pub(crate) number: u64,
    pub(crate) plan: Op,
    /// Its workflow, if it was started with a key.
    pub(crate) keyed: Option<&'static str>,
    /// How many attempts of the whole run there are at most.
    pub(crate) attempts_max: u32,
    /// For each signal, the acknowledged tokens in the order in which they were sent.
    pub(crate) signals: [Vec<u64>; 2],
    /// The updates that were sent, with their replies.
    pub(crate) updates: Vec<AskPromise>,
    /// The broadcasts that were finished after it had its key.
    pub(crate) announced: Vec<Announcement>,
    pub(crate) cancelled: bool,
    pub(crate) terminated: bool,
    /// The result that the client was told.
    pub(crate) result: Option<Result<Summary, String>>,
}

/// A run that was started.
struct Started<W: Planned> {
    handle: RunHandle<W>,
    keyed: bool,
    /// For each signal, the tokens that were sent with a start.
    signals: [Vec<u64>; 2],
}

/// A workflow that executes a plan.
pub(crate) trait Planned: Workflow<Input = Op, Output = Summary> {}
impl<W: Workflow<Input = Op, Output = Summary>> Planned for W {}

/// How many runs of a deadly world may end the process of their worker.
const DEADLY_MAX: u64 = 3;

/// One run's script.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) clients: [Client; 2],
    pub(crate) store: MemoryStore,
    pub(crate) time: Arc<Time>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) promises: Arc<Mutex<Promises>>,
    pub(crate) number: u64,
    pub(crate) config: WorldConfig,
}

pub(crate) fn lock(promises: &Mutex<Promises>) -> MutexGuard<'_, Promises> {
    promises.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Script {
    /// Plays the script to its end. Where workers differ, every second run is of the other workflow.
    pub(crate) async fn play(self, dice: Dice) {
        if self.config.fleets && self.number % 2 == 1 {
            self.play_as::<PlanWorkflow<false, true>>(dice).await;
        } else {
            self.play_as::<PlanWorkflow>(dice).await;
        }
    }

    async fn play_as<W: Planned>(self, mut dice: Dice) {
        let deadly = self.is_deadly();
        let (config, retries) = (&self.config, self.attempts_max() > 1);
        let mut planner =
            Planner { dice: &mut dice, config, ops_left: 12, deadly, compensates: true, retries };
        let plan = planner.plan();
        self.pause(&mut dice, 10).await;
        if let Some(Started { handle, keyed, signals }) = self.start::<W>(&plan, &mut dice).await {
            let run = handle.run_id();
            let sent = signals.each_ref().map(|tokens| tokens.len() as u64);
            let index = {
                let mut promises = lock(&self.promises);
                promises.runs.push(RunPromise {
                    run,
                    number: self.number,
                    plan: plan.clone(),
                    keyed: keyed.then_some(W::NAME),
                    attempts_max: self.attempts_max(),
                    signals,
                    updates: Vec::new(),
                    announced: Vec::new(),
                    cancelled: false,
                    terminated: false,
                    result: None,
                });
                promises.runs.len() - 1
            };
            let (mut left, mut right, mut end) = (dice.fork(1), dice.fork(2), dice.fork(3));
            let (mut again, mut now, mut all, mut halt, mut updates) =
                (dice.fork(4), dice.fork(5), dice.fork(6), dice.fork(7), dice.fork(8));
            // Another attempt of the whole run is not given the signals that the one before it took.
            let takes = [0, 1].map(|signal| plan.takes(signal) * u64::from(self.attempts_max()));
            let requests = join5(
                self.send_all(index, run, 0, sent[0]..takes[0], &mut left),
                self.send_all(index, run, 1, sent[1]..takes[1], &mut right),
                self.end(index, handle, &mut end),
                self.resume(run, &mut again),
                self.retry_now(run, &mut now),
            );
            let updates = self.update_all::<W>(index, run, plan.needs_updates(), &mut updates);
            join4(requests, self.announce::<W>(&mut all), self.halt(run, &mut halt), updates).await;
        }
        lock(&self.promises).scripts -= 1;
    }

    /// Whether its run may end the process of its worker.
    fn is_deadly(&self) -> bool {
        self.config.deadly && self.number < DEADLY_MAX
    }

    /// How often its whole run is tried.
    fn attempts_max(&self) -> u32 {
        if self.number % 4 == 2 { 3 } else { 1 }
    }

    pub(crate) async fn pause(&self, dice: &mut Dice, units: u32) {
        let time = dice.time(Duration::from_millis(1), self.config.lease_ttl * units);
        self.time.sleep(time).await;
    }

    /// Starts the run, however long that takes; `None` if the start is refused. Some starts bring their first signal along.
    async fn start<W: Planned>(&self, plan: &Op, dice: &mut Dice) -> Option<Started<W>> {
        // Without a key, the same plan may be started twice.
        let keyed = dice.chance(600) || self.is_deadly();
        let key = keyed.then(|| format!("run {}", self.number));
        let delay = dice.chance(150).then(|| dice.time(Duration::from_millis(1), self.config.lease_ttl * 5));
        let twice = key.is_some() && dice.chance(300);
        let follows = [0, 1].map(|signal| plan.takes(signal) > 0 && dice.chance(400));
        let mut signals = [Vec::new(), Vec::new()];
        let mut tries = 0;
        let handle = loop {
            tries += 1;
            // A start whose outcome is unknown may have sent its signal, so the next one sends another.
            let token = follows[0].then_some(tries);
            match self.start_once::<W>(0, plan, key.as_ref(), delay, token).await {
                Ok(handle) => {
                    signals[0].extend(token);
                    break handle;
                }
                Err(error) if error.is_unavailable() => self.pause(dice, 1).await,
                // An earlier try has started it.
                Err(error) if error.is_run_over() && tries > 1 => return None,
                Err(error) => {
                    self.ledger.violated(format!("a start was refused: {error}"));
                    return None;
                }
            }
        };
        if twice {
            self.pause(dice, 5).await;
            let token = follows[1].then_some(1);
            match self.start_once::<W>(1, plan, key.as_ref(), delay, token).await {
                Ok(other) if other.run_id() == handle.run_id() || self.config.loses_commits => {
                    signals[1].extend(token);
                }
                Ok(other) => self.ledger.violated(format!(
                    "one key started two runs, {} and {}",
                    handle.run_id(),
                    other.run_id()
                )),
                Err(error) if error.is_unavailable() => {}
                Err(error) if error.is_run_over() && token.is_some() => {}
                Err(error) => self.ledger.violated(format!("a second start with a key was refused: {error}")),
            }
        }
        Some(Started { handle, keyed, signals })
    }

    async fn start_once<W: Planned>(
        &self,
        client: usize,
        plan: &Op,
        key: Option<&String>,
        delay: Option<Duration>,
        token: Option<u64>,
    ) -> Result<RunHandle<W>, Error> {
        let mut start = self.clients[client].start::<W>(plan.clone());
        if let Some(key) = key {
            start = start.key(key);
        }
        if let Some(delay) = delay {
            start = start.delay(delay);
        }
        if let Some(token) = token {
            start = start.with_signal(signal_at(client), token);
        }
        if self.attempts_max() > 1 {
            let delay = self.config.lease_ttl / 4;
            let policy = RetryPolicy::exponential().initial(delay).delay_max(delay * 2);
            start = start.retry(policy.max_attempts(self.attempts_max()));
        }
        if self.number % 8 == 5 {
            // About as long as the run takes.
            start = start.deadline(self.config.lease_ttl * 8).grace(self.config.lease_ttl * 4);
        }
        Sender::Start(self.number).sends(start.into_future()).await
    }

    /// Sends the signals with these numbers, one after another.
    async fn send_all(&self, index: usize, run: RunId, signal: usize, numbers: Range<u64>, dice: &mut Dice) {
        let burst = dice.chance(300);
        for number in numbers {
            if !burst {
                self.pause(dice, 10).await;
            }
            let keyed = dice.chance(500);
            let mut tries = 0;
            loop {
                tries += 1;
                // Without a key, a signal whose outcome is unknown is not sent again; another signal is.
                let token = number << 32 | if keyed { 0 } else { tries };
                match Sender::Signal(signal, token).sends(self.send(run, signal, token, keyed, dice)).await {
                    Ok(()) => {
                        lock(&self.promises).runs[index].signals[signal].push(token);
                        break;
                    }
                    Err(error) if error.is_unavailable() => self.pause(dice, 1).await,
                    Err(error) if error.is_run_over() => return,
                    Err(error) if error.is_unknown_run() && self.config.loses_commits => return,
                    Err(error) => return self.ledger.violated(format!("a signal was refused: {error}")),
                }
            }
        }
    }

    async fn send(
        &self,
        run: RunId,
        signal: usize,
        token: u64,
        keyed: bool,
        dice: &mut Dice,
    ) -> Result<(), Error> {
        let client = &self.clients[signal];
        let mut request = client.signal(run, signal_at(signal), token);
        if keyed {
            request = request.key(token.to_string());
        }
        if !dice.chance(150) {
            return request.await;
        }
        // In a transaction of the caller, which takes a number now and commits later.
        let prepared = request.prepare().await?;
        let mut transaction = self.store.begin();
        let answers = transaction.submit(std::slice::from_ref(prepared.submission())).await?;
        self.pause(dice, 2).await;
        transaction.commit()?;
        prepared.answered(answers[0])
    }

    /// Resumes some runs, whatever they do, once or several times.
    async fn resume(&self, run: RunId, dice: &mut Dice) {
        while dice.chance(if self.config.deadly { 600 } else { 150 }) {
            self.pause(dice, 40).await;
            match self.clients[1].resume(run).await {
                Ok(()) => {}
                Err(error) if error.is_unavailable() => {}
                Err(error) if error.is_run_over() => return,
                Err(error) if error.is_unknown_run() && self.config.loses_commits => return,
                Err(error) => self.ledger.violated(format!("a request to resume was refused: {error}")),
            }
        }
    }

    /// Pauses some runs for a while, once or several times.
    async fn halt(&self, run: RunId, dice: &mut Dice) {
        while dice.chance(250) {
            self.pause(dice, 20).await;
            match self.clients[0].pause(run).await {
                Ok(()) => {}
                Err(error) if error.is_unavailable() => {}
                Err(error) if error.is_run_over() => return,
                Err(error) if error.is_unknown_run() && self.config.loses_commits => return,
                Err(error) => self.ledger.violated(format!("a request to pause was refused: {error}")),
            }
            self.pause(dice, 20).await;
            loop {
                match self.clients[0].resume(run).await {
                    Ok(()) => break,
                    Err(error) if error.is_unavailable() => self.pause(dice, 1).await,
                    Err(error) if error.is_run_over() => return,
                    Err(error) if error.is_unknown_run() && self.config.loses_commits => return,
                    Err(error) => {
                        return self.ledger.violated(format!("a request to resume was refused: {error}"));
                    }
                }
            }
        }
    }

    /// Asks for the next attempts of some runs, whether they are in back-off or not, once or several times.
    async fn retry_now(&self, run: RunId, dice: &mut Dice) {
        while dice.chance(300) {
            self.pause(dice, 4).await;
            match self.clients[0].retry_now(run).await {
                Ok(()) => {}
                Err(error) if error.is_unavailable() => {}
                Err(error) if error.is_run_over() => return,
                Err(error) if error.is_unknown_run() && self.config.loses_commits => return,
                Err(error) => self.ledger.violated(format!("a request to retry was refused: {error}")),
            }
        }
    }

    /// Cancels or terminates some runs, and waits for the result of others.
    async fn end<W: Planned>(&self, index: usize, handle: RunHandle<W>, dice: &mut Dice) {
        if dice.chance(200) {
            self.pause(dice, 20).await;
            let terminate = dice.chance(300);
            let request: BoxFuture<'_, Result<(), Error>> = if terminate {
                Box::pin(async { handle.terminate("the script says so").await })
            } else {
                Box::pin(async { handle.cancel().await })
            };
            match request.await {
                Ok(()) if terminate => lock(&self.promises).runs[index].terminated = true,
                Ok(()) => lock(&self.promises).runs[index].cancelled = true,
                Err(error) if error.is_unavailable() || error.is_run_over() => {}
                Err(error) if error.is_unknown_run() && self.config.loses_commits => {}
                Err(error) => {
                    self.ledger.violated(format!("a cancellation or termination was refused: {error}"))
                }
            }
        }
        if dice.chance(500) && !self.config.loses_commits {
            let result = handle.result().await;
            if let Err(error) = &result
                && !(error.is_run_failed()
                    || error.is_run_cancelled()
                    || error.is_run_terminated()
                    || error.is_run_timed_out())
            {
                self.ledger.violated(format!("a result was refused: {error}"));
            }
            lock(&self.promises).runs[index].result = Some(result.map_err(|error| error.to_string()));
        }
    }
}
