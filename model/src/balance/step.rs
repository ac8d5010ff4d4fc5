//! The steps of the model.

use crate::balance::{Balance, Guard, Health, Lease, State};

/// What can happen next. Leases are named by their age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Another lease joins the queue.
    Join,
    /// A lease learns at its heartbeat how many shards it should own.
    Heartbeat(usize),
    /// A lease hands over what it has too many of, or claims what is free.
    Act(usize),
    /// A lease is released.
    Leave(usize),
    /// The process of a lease dies, or is blocked.
    Fail(usize),
    /// The lease of a failed process runs out, and is fenced.
    RunOut(usize),
}

impl Step {
    /// Takes the step. `None` if it cannot be taken now.
    pub(super) fn take(self, model: &Balance, state: &mut State) -> Option<()> {
        match self {
            Self::Join => {
                state.left.leases = state.left.leases.checked_sub(1)?;
                state.leases.push(Lease { health: Health::Well, owned: 0, decided: None });
            }
            Self::Heartbeat(lease) => {
                let decided = decide(model, state, lease)?;
                state.leases[lease].decided = Some(decided);
            }
            Self::Act(lease) => {
                let free = state.free(&model.bounds);
                let acting = &mut state.leases[lease];
                let goal = acting.decided.take()?;
                acting.owned = goal.min(acting.owned + free);
            }
            Self::Leave(lease) => {
                if state.leases[lease].health != Health::Well {
                    return None;
                }
                state.left.leaves = state.left.leaves.checked_sub(1)?;
                state.leases[lease] = OVER;
            }
            Self::Fail(lease) => {
                if state.leases[lease].health != Health::Well {
                    return None;
                }
                state.left.failures = state.left.failures.checked_sub(1)?;
                state.leases[lease].health = Health::Failed;
                state.leases[lease].decided = None;
            }
            Self::RunOut(lease) => {
                if state.leases[lease].health != Health::Failed
                    || !model.guards.has(Guard::OnlyProgressRenews)
                {
                    return None;
                }
                state.leases[lease] = OVER;
            }
        }
        Some(())
    }
}

const OVER: Lease = Lease { health: Health::Over, owned: 0, decided: None };

/// How many shards a lease decides to own, unless it stays as it is.
fn decide(model: &Balance, state: &State, lease: usize) -> Option<u8> {
    let Lease { health: Health::Well, owned, decided: None } = state.leases[lease] else { return None };
    let share = share(model, state, lease);
    let free = state.free(&model.bounds);
    let is_greedy = !model.guards.has(Guard::ClaimsUpToItsShare);
    if owned > share {
        Some(share)
    } else if free > 0 && (owned < share || is_greedy) {
        Some(if is_greedy { model.bounds.shards } else { share })
    } else {
        None
    }
}

/// Every lease owns the mean, rounded down, and the first ones own one more.
fn share(model: &Balance, state: &State, lease: usize) -> u8 {
    let shares =
        |other: &&Lease| other.health != Health::Over || !model.guards.has(Guard::OnlyValidLeasesShare);
    let members = u8::try_from(state.leases.iter().filter(shares).count()).expect("few leases");
    let (mean, remainder) = (model.bounds.shards / members, model.bounds.shards % members);
    let rank = |index: usize| {
        let has_more = state.leases[index].owned > mean && model.guards.has(Guard::MoreComesFirst);
        (!has_more, index)
    };
    let is_before = |index: &usize| shares(&&state.leases[*index]) && rank(*index) < rank(lease);
    let place = (0..state.leases.len()).filter(is_before).count();
    let has_place = place < usize::from(remainder) || !model.guards.has(Guard::RemainderHasPlaces);
    mean + u8::from(remainder > 0 && has_place)
}

impl Step {
    /// The step in words.
    pub(super) fn tell(self) -> String {
        match self {
            Self::Join => "a lease joins".to_owned(),
            Self::Heartbeat(lease) => format!("a heartbeat tells lease {lease} its share"),
            Self::Act(lease) => format!("lease {lease} hands over or claims"),
            Self::Leave(lease) => format!("lease {lease} is released"),
            Self::Fail(lease) => format!("the process of lease {lease} dies or is blocked"),
            Self::RunOut(lease) => format!("lease {lease} runs out"),
        }
    }
}
