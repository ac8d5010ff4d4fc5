//! Clients that send a signal to many runs at once. The promise is to all runs that had a key before.

use std::collections::BTreeSet;

use pgworkflows_core::history::Event;
use pgworkflows_core::id::MessageId;
use pgworkflows_core::{RunId, Signal};
use pgworkflows_testkit::runtime::dice::Dice;

use crate::clients::{Planned, RunPromise, Script, lock};
use crate::ledger::Accounts;
use crate::view::RunView;

/// A signal that only broadcasts send, and no plan takes.
const ANNOUNCED: Signal<u64> = Signal::new("announced");

/// A broadcast that a client finished.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Announcement {
    /// Its number, which is its key as well.
    number: u64,
    /// When it was finished, in the order of everything.
    moment: u64,
}

impl Script {
    /// Sends a broadcast to all runs of the workflow with keys, now and then.
    pub(crate) async fn announce<W: Planned>(&self, dice: &mut Dice) {
        if !dice.chance(150) {
            return;
        }
        self.pause(dice, 20).await;
        let is_meant = |run: &RunPromise| run.keyed == Some(W::NAME);
        let had_key: Vec<RunId> = {
            let promises = lock(&self.promises);
            promises.runs.iter().filter(|run| is_meant(run)).map(|run| run.run).collect()
        };
        let broadcast = self.clients[0].broadcast::<W, _>(ANNOUNCED, self.number);
        let mut broadcast = broadcast.key_prefix("run ").key(self.number.to_string()).page(2);
        loop {
            match broadcast.next_page().await {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) if error.is_unavailable() => self.pause(dice, 1).await,
                Err(error) => return self.ledger.violated(format!("a broadcast was refused: {error}")),
            }
        }
        let announcement = Announcement { number: self.number, moment: self.ledger.lock().moment };
        let runs = &mut lock(&self.promises).runs;
        let told = runs.iter_mut().filter(|run| had_key.contains(&run.run));
        told.for_each(|run| run.announced.push(announcement));
    }
}

/// Part of invariant 1: a run, or those that continued it, received a broadcast throughout which it was open, once.
pub(crate) fn check_announced(
    promise: &RunPromise,
    chain: &[&RunView],
    accounts: &Accounts,
    wrong: &mut Vec<String>,
) {
    let (run, Some(last)) = (promise.run, chain.last()) else { return };
    let over = accounts.runs[&last.run].events.last().map(|last| last.moment);
    let is_late = last.info.undelivered.iter().any(|late| late.what.contains(ANNOUNCED.name()));
    for Announcement { number, moment } in &promise.announced {
        // What a run did not take, the run that continues it logs again.
        let logged: BTreeSet<MessageId> = chain
            .iter()
            .flat_map(|seen| &seen.history)
            .filter_map(|event| match &event.event {
                Event::SignalReceived { message, signal, payload, .. } if signal == ANNOUNCED.name() => {
                    payload.decode::<u64>().is_ok_and(|token| token == *number).then_some(*message)
                }
                _ => None,
            })
            .collect();
        let was_over = over.is_some_and(|over| over <= *moment);
        if logged.len() > 1 || (logged.is_empty() && !is_late && !was_over) {
            wrong.push(format!("run {run}: broadcast {number} reached it {} times", logged.len()));
        }
    }
}
