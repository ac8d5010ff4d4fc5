//! A world from its beginning to its end: the disturbed phase, then the quiet one in which everything must end, then the
//! hand-over. It must not know what disturbs a world.

use std::sync::Arc;
use std::time::Duration;

use pgworkflows_core::RunId;
use pgworkflows_testkit::runtime::time::Owner;

use crate::clients::lock;
use crate::cost::Meter;
use crate::faults::LATENCY_USUAL;
use crate::ledger::RunAccount;
use crate::nature::Action;
use crate::world::World;

impl World {
    /// Runs the disturbed phase, then the quiet one, then hands everything over.
    pub(crate) fn run(&mut self) {
        let meter = Meter {
            time: Arc::clone(&self.time),
            dice: self.dice.fork(0),
            poll_max: self.nature.costs.poll_max,
        };
        meter.charge_in(|| self.pass());
    }

    fn pass(&mut self) {
        let disturbed_for = self.nature.disturbed_for;
        self.run_until(disturbed_for, |_| false);
        self.calm_down();
        let is_done = |world: &Self| {
            lock(&world.promises).scripts == 0
                && (world.ledger.lock().book.is_quiet() || !world.orphans().is_empty())
        };
        // No plan sleeps as long as this, so something happens in between as long as all is well.
        let patience = self.nature.lease_ttl * 60 + Duration::from_secs(600);
        let mut done = false;
        while !done && !self.is_violated() {
            let last_progress = self.ledger.lock().last_progress.max(disturbed_for);
            let now = self.time.now();
            if now > last_progress + patience {
                break;
            }
            if self.run_until(now + patience / 8, is_done) {
                done = !self.terminate(self.orphans());
            } else {
                // Good code has adopted everything that can go on.
                let stuck = self.stalled();
                self.stuck.extend(&stuck);
                self.terminate(stuck);
            }
        }
        if !done && !self.is_violated() {
            let waiting = self.unfinished();
            self.ledger.violated(format!("after a long time of quiet, this has not ended: {waiting}"));
        }
        if !self.is_violated() {
            self.hand_over();
        }
        let (longest, turn_max) = (self.time.longest_turn(), self.nature.costs.turn_max());
        if longest > turn_max {
            self.ledger.violated(format!("a thread did not look up from {longest:?} of work"));
        }
    }

    /// Runs that are open and that nobody cares for: those of starts without a key whose fate their client never
    /// learned, and all where commits were lost, for what they wait for may be lost.
    fn orphans(&self) -> Vec<RunId> {
        let promises = lock(&self.promises);
        let is_cared_for = |run: &RunId| promises.runs.iter().any(|promise| promise.run == *run);
        let inner = self.ledger.lock();
        let open = inner.book.runs.iter().filter(|(_, account)| !account.is_over).map(|(run, _)| *run);
        open.filter(|run| !self.ended.contains(run) && (self.nature.forgetful || !is_cared_for(run)))
            .collect()
    }

    /// Runs whose code is not asked any more, because it cannot go on or was found to be at fault.
    fn stalled(&self) -> Vec<RunId> {
        let inner = self.ledger.lock();
        let is_stuck = |run: &RunAccount| !run.is_over && (run.is_stalled || run.is_set_aside);
        let stuck =
            inner.book.runs.iter().filter(|(run, account)| is_stuck(account) && !self.ended.contains(run));
        stuck.map(|(run, _)| *run).collect()
    }

    /// Terminates runs. Whether there were any.
    fn terminate(&mut self, runs: Vec<RunId>) -> bool {
        for run in &runs {
            self.ended.insert(*run);
            let (client, run, ledger) = (self.client.clone(), *run, Arc::clone(&self.ledger));
            self.scheduler.spawn(
                Owner::WORLD,
                Box::pin(async move {
                    match client.terminate(run, "nobody cares for it").await {
                        Ok(()) => {}
                        Err(error) if error.is_run_over() => {}
                        Err(error) => ledger.violated(format!("a termination was refused: {error}")),
                    }
                }),
            );
        }
        !runs.is_empty()
    }

    /// Ends all disturbances, and has every worker there.
    fn calm_down(&mut self) {
        self.time.trace("quiet", 0, || "the quiet phase begins".to_owned());
        self.faults.end();
        self.actions.clear();
        while self.store.deliver_lingering() {}
        for slot in 0..self.slots.len() {
            if let Some(life) = &self.slots[slot].life {
                self.scheduler.thaw(life.owner);
            }
            // Code that can go on is deployed everywhere.
            if self.slots[slot].life.as_ref().is_some_and(|life| life.broken) {
                self.act(Action::Stop { slot });
            }
            self.act(Action::Start { slot, broken: false });
        }
        // Where the store is slow, a lease may be lost for no other reason, and so it is by a death.
        if self.nature.latency_max == LATENCY_USUAL && !self.nature.deadly {
            let settled_at = self.store.now().saturating_add(self.nature.lease_ttl * 3);
            self.ledger.lock().settled_at = Some(settled_at);
        }
    }

    /// A graceful shutdown of all workers leaves nothing in memory and takes no longer than it says.
    fn hand_over(&mut self) {
        let settle = self.time.now() + self.nature.lease_ttl * 2;
        self.run_until(settle, |_| false);
        // Nobody is started any more in the place of one that is on its way out.
        self.actions.clear();
        let live: usize = self
            .slots
            .iter()
            .filter_map(|slot| slot.life.as_ref())
            .map(|life| life.monitor.live_runs())
            .sum();
        if live > 0 {
            self.ledger.violated(format!("{live} runs are still in memory after all have ended"));
        }
        self.ledger.lock().settled_at = None;
        for slot in 0..self.slots.len() {
            self.act(Action::Stop { slot });
        }
        let end = self.time.now() + self.nature.lease_ttl * 2 + Duration::from_secs(10);
        let is_done = |world: &Self| world.slots.iter().all(|slot| !world.is_alive(slot));
        if !self.run_until(end, is_done) {
            self.ledger.violated("a graceful shutdown with nothing to wait for did not end".to_owned());
        }
    }

    fn unfinished(&self) -> String {
        let scripts = lock(&self.promises).scripts;
        let inner = self.ledger.lock();
        let open: Vec<String> =
            inner.book.runs.iter().filter(|(_, run)| !run.is_over).map(|(id, _)| id.to_string()).collect();
        format!("{scripts} scripts, {} messages, runs {open:?}", inner.book.inbox.len())
    }
}
