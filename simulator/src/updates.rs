//! Clients that ask runs for something by updates: with keys and without, again and at the same time, whatever the runs do.
//! What they are told is compared with the histories at the end. It must not know what disturbed a run.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use futures::future::join;
use pgworkflows_core::history::Event;
use pgworkflows_core::id::MessageId;
use pgworkflows_core::{Error, RunId};
use pgworkflows_testkit::runtime::dice::Dice;

use crate::clients::{Planned, RunPromise, Script, lock};
use crate::traces::Sender;
use crate::view::RunView;
use crate::workflow::serving::{CHECKED, Reply, Request, UNCHECKED, UPDATES};

/// What a client was told of an update that it sent.
#[derive(Debug)]
pub(crate) struct AskPromise {
    /// The token of the request: it is the same whenever the update is sent again with its key.
    token: u64,
    told: Told,
}

/// The reply to an update.
#[derive(Debug)]
enum Told {
    Answered(Reply),
    Refused,
    /// The run took it, and answers it never.
    Dropped,
    /// The run was over, and told nothing.
    Over,
}

/// An update to send.
#[derive(Clone, Debug)]
struct Ask {
    /// The number of the update's name.
    name: usize,
    request: Request,
    keyed: bool,
}

/// After so many updates, a client sends them less often.
const HURRIED: u32 = 8;

impl Script {
    /// Sends some updates, or more until the run is over, if its plan waits for them.
    pub(crate) async fn update_all<W: Planned>(
        &self,
        index: usize,
        run: RunId,
        is_needed: bool,
        dice: &mut Dice,
    ) {
        let count = dice.below(4) as u32;
        // Where commits are lost, a run may wait for something else, which is lost.
        let is_needed = is_needed && !self.config.loses_commits;
        for number in 1.. {
            if number > count && !is_needed {
                return;
            }
            self.pause(dice, 6 * (1 + number / HURRIED)).await;
            let asked = self.draw(number.into(), dice);
            let (mut one, mut other) = (dice.fork(1), dice.fork(2));
            let mut client = dice.below(2) as usize;
            let mut ended = self.ask::<W>(index, run, &asked, client, &mut one).await;
            // A client that was answered asks again, or two ask at once.
            if asked.keyed && dice.chance(300) {
                // The one with a check would refuse it by itself.
                client = if asked.request.is_wrong { 1 } else { 1 - client };
                ended = self.ask::<W>(index, run, &asked, client, &mut one).await;
            } else if asked.keyed && dice.chance(300) {
                let twin = self.draw(u64::from(number) | TWIN, dice);
                let twin = Ask { keyed: true, ..twin };
                (ended, _) = join(
                    self.ask::<W>(index, run, &twin, 0, &mut one),
                    self.ask::<W>(index, run, &twin, 1, &mut other),
                )
                .await;
            }
            if ended.is_break() {
                return;
            }
        }
    }

    /// Draws an update. Tokens that differ in their lowest bits are those of an update without a key that is sent anew.
    fn draw(&self, number: u64, dice: &mut Dice) -> Ask {
        let unit = self.config.lease_ttl.as_millis() as u64;
        let token = self.number << 48 | number << TRIES_BITS;
        let millis = if dice.chance(500) { 0 } else { dice.between(1, unit) };
        let (is_dropped, is_wrong) = (dice.chance(150), dice.chance(150));
        Ask {
            name: dice.below(UPDATES.len() as u64) as usize,
            request: Request { token, millis, is_dropped, is_wrong },
            keyed: dice.chance(700),
        }
    }

    /// Sends an update until there is a reply, or the client loses its patience. Breaks if the run is over, or not known any
    /// more.
    async fn ask<W: Planned>(
        &self,
        index: usize,
        run: RunId,
        ask: &Ask,
        client: usize,
        dice: &mut Dice,
    ) -> ControlFlow<()> {
        let Ask { name, mut request, keyed } = ask.clone();
        let handle = self.clients[client].handle::<W>(run);
        let update = [CHECKED, UNCHECKED][client][name];
        for tries in 1.. {
            // Without a key, it is not sent again after an outcome that is not known; another one is.
            request.token += u64::from(!keyed);
            let mut asked = handle.update(update, request.clone());
            asked = asked.timeout(dice.time(self.config.lease_ttl, self.config.lease_ttl * 20));
            if keyed {
                asked = asked.key(request.token.to_string());
            }
            let told = match Sender::Update(request.token).sends(asked.into_future()).await {
                Ok(reply) => Told::Answered(reply),
                Err(error) if error.is_unavailable() => {
                    self.pause(dice, 1).await;
                    continue;
                }
                Err(error) if error.is_timeout() && keyed && tries < TRIES_MAX => continue,
                Err(error) if error.is_timeout() => return ControlFlow::Continue(()),
                Err(error) if error.is_unknown_run() && self.config.loses_commits => {
                    return ControlFlow::Break(());
                }
                Err(error) => match told(&error) {
                    Some(told) => told,
                    None => {
                        self.ledger.violated(format!("an update was not accepted: {error}"));
                        return ControlFlow::Break(());
                    }
                },
            };
            if client == 0 && matches!(told, Told::Refused) {
                // The client itself refuses it, and the other one may have sent it.
                return ControlFlow::Continue(());
            }
            let ends = matches!(told, Told::Over);
            lock(&self.promises).runs[index].updates.push(AskPromise { token: request.token, told });
            return if ends { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        }
        ControlFlow::Break(())
    }
}

/// What an error tells of an update, if it is a reply.
fn told(error: &Error) -> Option<Told> {
    if error.is_update_refused() {
        Some(Told::Refused)
    } else if error.is_update_dropped() {
        Some(Told::Dropped)
    } else if error.is_run_over() {
        Some(Told::Over)
    } else {
        None
    }
}

/// Marks the numbers of updates that two clients send at once.
const TWIN: u64 = 1 << 15;

/// How many bits of a token count the tries of an update without a key.
const TRIES_BITS: u32 = 16;

/// How often a client asks again with a key.
const TRIES_MAX: u32 = 5;

/// What the histories of a chain say of updates.
#[derive(Default)]
struct Updates {
    /// The messages that carried a request, by its token.
    received: BTreeMap<u64, BTreeSet<MessageId>>,
    /// The replies, by the message: `None` if the update was dropped.
    replies: BTreeMap<MessageId, Vec<Option<Reply>>>,
}

/// Part of invariants 1 and 3: an accepted update gets one reply, which is what its client was told; with a key it is one update,
/// whatever is repeated; and one that was refused is in no history.
pub(crate) fn check_updates(promise: &RunPromise, chain: &[&RunView], wrong: &mut Vec<String>) {
    let run = promise.run;
    let updates = updates_of(chain, wrong);
    for (token, messages) in &updates.received {
        if messages.len() > 1 {
            wrong.push(format!("run {run}: update {token} was received {} times", messages.len()));
        }
    }
    for (message, replies) in &updates.replies {
        if replies.len() > 1 {
            wrong.push(format!("run {run}: message {message:?} has the replies {replies:?}"));
        }
    }
    for AskPromise { token, told } in &promise.updates {
        let received = updates.received.get(token);
        let replies: Vec<&Option<Reply>> = received
            .into_iter()
            .flatten()
            .filter_map(|message| updates.replies.get(message))
            .flatten()
            .collect();
        let is_true = match told {
            Told::Answered(reply) => matches!(*replies, [Some(own)] if own == reply),
            // The end of the run is the reply as well, and there may be none of a run that was over when the message was read.
            Told::Dropped => replies.iter().all(|reply| reply.is_none()),
            Told::Refused | Told::Over => received.is_none(),
        };
        if !is_true {
            wrong.push(format!(
                "run {run}: the client of update {token} was told {told:?}, but it was received in {received:?} and has \
                 the replies {replies:?}"
            ));
        }
    }
}

/// Reads the updates of a chain. What a run has not answered, and not dropped, goes along to the one that continues it, and
/// nothing else does.
fn updates_of(chain: &[&RunView], wrong: &mut Vec<String>) -> Updates {
    let mut updates = Updates::default();
    let mut left: Option<BTreeSet<MessageId>> = None;
    for seen in chain {
        let run = seen.run;
        let mut open: BTreeSet<MessageId> = BTreeSet::new();
        for event in &seen.history {
            match &event.event {
                Event::UpdateReceived { message, request, .. } => {
                    let token = request.decode::<Request>().map_or(0, |request| request.token);
                    updates.received.entry(token).or_default().insert(*message);
                    open.insert(*message);
                    if updates.replies.contains_key(message) {
                        wrong.push(format!("run {run}: update {token} was received after its reply"));
                    }
                    left.iter_mut().for_each(|left| _ = left.remove(message));
                }
                Event::UpdateReplied { message, answer, .. } => {
                    open.remove(message);
                    updates.replies.entry(*message).or_default().push(answer.decode().ok());
                }
                Event::UpdateDropped { message, .. } => {
                    open.remove(message);
                    updates.replies.entry(*message).or_default().push(None);
                }
                _ => {}
            }
        }
        if let Some(lost) = left.filter(|left| !left.is_empty()) {
            wrong.push(format!("run {run} continues another, and lost its updates {lost:?}"));
        }
        left = Some(open);
    }
    updates
}
