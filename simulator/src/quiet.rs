//! A world from its beginning to its end: the disturbed phase, the quiet phase, in which every run must end, and the
//! shutdown. It must not know what disturbs a world.

use std::sync::Arc;
use std::time::Duration;

use pgworkflows_core::RunId;
use pgworkflows_testkit::runtime::time::Owner;

use crate::clients::lock;
use crate::config::Action;
use crate::cost::Meter;
use crate::faults::LATENCY_USUAL;
use crate::ledger::RunAccount;
use crate::world::World;

/// How often shards may still move in the quiet phase, because workers join that backed off before.
const SETTLING_ROUNDS: u32 = 10;

impl World {
    /// Runs the disturbed phase, the quiet phase and the shutdown.
    pub(crate) fn run(&mut self) {
        let meter = Meter {
            time: Arc::clone(&self.time),
            dice: self.dice.fork(0),
            poll_max: self.config.costs.poll_max,
        };
        meter.charge_in(|| self.pass());
    }

    fn pass(&mut self) {
        let disturbed_for = self.config.disturbed_for;
        self.run_until(disturbed_for, |_| false);
        self.calm_down();
        let is_done = |world: &Self| {
            lock(&world.promises).scripts == 0
                && (world.ledger.lock().accounts.is_quiet() || !world.abandoned().is_empty())
        };
        // No plan sleeps this long, so something happens within this time if all is well.
        let patience = self.config.lease_ttl * 60 + Duration::from_secs(600);
        let mut done = false;
        while !done && !self.is_violated() {
            let last_progress = self.ledger.lock().last_progress.max(disturbed_for);
            let now = self.time.now();
            if now > last_progress + patience {
                break;
            }
            if self.run_until(now + patience / 8, is_done) {
                done = !self.terminate(self.abandoned());
            } else {
                // Good code has resumed every run that can continue, unless nobody asked for one that was set aside.
                let (again, stuck) = self.stalled().into_iter().partition(|run| self.resumed.insert(*run));
                self.resume(again);
                // A request to pause may arrive after the last request to resume.
                self.resume(self.paused());
                self.stuck.extend(&stuck);
                self.terminate(stuck);
            }
        }
        if !done && !self.is_violated() {
            let waiting = self.unfinished();
            self.ledger.violated(format!("after a long quiet time, this has not ended: {waiting}"));
        }
        if !self.is_violated() {
            self.hand_over();
        }
        let (longest, turn_max) = (self.time.longest_turn(), self.config.costs.turn_max());
        if longest > turn_max {
            self.ledger.violated(format!(
                "a thread worked for {longest:?} without a pause, and {turn_max:?} are allowed"
            ));
        }
    }

    /// Open runs that no client knows: those started without a key whose client never got an answer. Where commits were
    /// lost, all open runs, because what they wait for may be lost.
    fn abandoned(&self) -> Vec<RunId> {
        let promises = lock(&self.promises);
        let is_known = |run: RunId| promises.runs.iter().any(|promise| promise.run == run);
        let inner = self.ledger.lock();
        let open = inner.accounts.runs.iter().filter(|(_, account)| !account.is_over);
        let is_abandoned = |(run, account): &(&RunId, &RunAccount)| {
            let is_known = is_known(account.first.unwrap_or(**run));
            !self.ended.contains(*run) && (self.config.loses_commits || !is_known)
        };
        open.filter(is_abandoned).map(|(run, _)| *run).collect()
    }

    /// Runs whose code is not polled any more, because it cannot continue or was found to be at fault.
    fn stalled(&self) -> Vec<RunId> {
        let inner = self.ledger.lock();
        let is_stuck =
            |run: &RunAccount| !run.is_over && (run.is_stalled && !run.is_suspect || run.is_set_aside);
        let stuck = inner
            .accounts
            .runs
            .iter()
            .filter(|(run, account)| is_stuck(account) && !self.ended.contains(run));
        stuck.map(|(run, _)| *run).collect()
    }

    fn paused(&self) -> Vec<RunId> {
        let inner = self.ledger.lock();
        let paused = inner.accounts.runs.iter().filter(|(_, account)| account.is_paused && !account.is_over);
        paused.map(|(run, _)| *run).collect()
    }

    /// Terminates runs. Whether there were any.
    fn terminate(&mut self, runs: Vec<RunId>) -> bool {
        for run in &runs {
            self.ended.insert(*run);
            let (client, run, ledger) = (self.client.clone(), *run, Arc::clone(&self.ledger));
            self.scheduler.spawn(
                Owner::WORLD,
                Box::pin(async move {
                    match client.terminate(run, "no client knows it").await {
                        Ok(()) => {}
                        Err(error) if error.is_run_over() => {}
                        Err(error) => ledger.violated(format!("a termination was refused: {error}")),
                    }
                }),
            );
        }
        !runs.is_empty()
    }

    /// Resumes runs.
    fn resume(&mut self, runs: Vec<RunId>) {
        for run in runs {
            let (client, ledger) = (self.client.clone(), Arc::clone(&self.ledger));
            self.scheduler.spawn(
                Owner::WORLD,
                Box::pin(async move {
                    match client.resume(run).await {
                        Ok(()) => {}
                        Err(error) if error.is_run_over() => {}
                        Err(error) => ledger.violated(format!("a request to resume was refused: {error}")),
                    }
                }),
            );
        }
    }

    /// Ends all disturbances, and starts every worker.
    fn calm_down(&mut self) {
        self.time.trace("quiet", 0, || "the quiet phase begins".to_owned());
        self.faults.end();
        self.actions.clear();
        while self.store.deliver_lingering() {}
        for slot in 0..self.slots.len() {
            if let Some(life) = &self.slots[slot].life {
                self.scheduler.thaw(life.owner);
            }
            // Code that can continue is deployed everywhere.
            let code = self.config.last[slot];
            if self.slots[slot].life.as_ref().is_some_and(|life| life.code != code) {
                self.act(Action::Stop { slot });
            }
            self.act(Action::Start { slot, code });
        }
        // A slow store alone may cost a lease, and so may a death.
        if self.config.latency_max == LATENCY_USUAL && !self.config.deadly {
            let settled_at = self.store.now().saturating_add(self.config.lease_ttl * 3);
            self.ledger.lock().settled_at = Some(settled_at);
        }
    }

    /// Shuts all workers down: that leaves no run in memory, and takes no longer than allowed.
    fn hand_over(&mut self) {
        // Where leases are lost because the store is slow, there may be others in the next moment.
        let is_steady = self.config.latency_max == LATENCY_USUAL && !self.config.deadly;
        // A worker that backed off joins late. But then the shards come to rest.
        let comes_to_rest = (0..SETTLING_ROUNDS).any(|_| {
            let moved = self.ledger.lock().handovers;
            self.run_until(self.time.now() + self.config.lease_ttl * 3, |_| false);
            self.ledger.lock().handovers == moved
        });
        if is_steady && !comes_to_rest {
            self.ledger.violated("shards still move, although nothing happens".to_owned());
        }
        // No worker is started any more in the place of one that is shutting down.
        self.actions.clear();
        let live: usize = self
            .slots
            .iter()
            .filter_map(|slot| slot.life.as_ref())
            .map(|life| life.monitor.live_runs())
            .sum();
        // The first worker serves all activity queues: it finds those that were not withdrawn in time.
        if !self.ledger.lock().accounts.tasks.is_empty() {
            self.ledger.violated("tasks are left after all runs have ended".to_owned());
        }
        if live > 0 {
            self.ledger.violated(format!("{live} runs are still in memory after all runs have ended"));
        }
        if is_steady {
            let (queue_shards, now) = (self.config.queue_shards, self.store.now());
            let unbalanced = match self.config.has_annex {
                true => self.ledger.lock().accounts.unowned(2 * queue_shards),
                false => self.ledger.lock().accounts.unbalanced(queue_shards, now),
            };
            unbalanced.into_iter().for_each(|what| self.ledger.violated(what));
        }
        self.ledger.lock().settled_at = None;
        for slot in 0..self.slots.len() {
            self.act(Action::Stop { slot });
        }
        let end = self.time.now() + self.config.lease_ttl * 2 + Duration::from_secs(10);
        let is_done = |world: &Self| world.slots.iter().all(|slot| !world.is_alive(slot));
        if !self.run_until(end, is_done) {
            self.ledger.violated("a graceful shutdown with nothing to wait for did not end".to_owned());
        }
    }

    fn unfinished(&self) -> String {
        let scripts = lock(&self.promises).scripts;
        let inner = self.ledger.lock();
        let open: Vec<String> = inner
            .accounts
            .runs
            .iter()
            .filter(|(_, run)| !run.is_over)
            .map(|(id, _)| id.to_string())
            .collect();
        format!("{scripts} scripts, {} messages, runs {open:?}", inner.accounts.inbox.len())
    }
}
