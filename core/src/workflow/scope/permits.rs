//! The permits of a mutex or a semaphore of a run: who holds them, and which calls wait. They are in no log, because a replay
//! takes and returns them in the same order. It must not know how a call is woken.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use crate::data::id::CommandId;
use crate::workflow::command::Source;

/// The permits of a mutex or a semaphore.
pub(crate) struct Permits {
    /// "mutex" or "semaphore".
    noun: &'static str,
    name: &'static str,
    state: RefCell<State>,
}

struct State {
    free: usize,
    next_ticket: u64,
    /// Where the permits were taken that are held.
    held: BTreeMap<u64, Source>,
    /// The calls that wait, ascending.
    waiting: VecDeque<CommandId>,
}

impl Permits {
    pub(crate) fn new(noun: &'static str, name: &'static str, free: usize) -> Self {
        let (held, waiting) = (BTreeMap::new(), VecDeque::new());
        Self { noun, name, state: RefCell::new(State { free, next_ticket: 0, held, waiting }) }
    }

    /// "mutex" or "semaphore".
    pub(crate) fn noun(&self) -> &'static str {
        self.noun
    }

    /// The name that the workflow gave it.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Takes a permit if one is free. As long as a call waits, none is.
    pub(crate) fn take(&self, source: Source) -> Option<u64> {
        let mut state = self.state.borrow_mut();
        state.free = state.free.checked_sub(1)?;
        Some(state.hold(source))
    }

    /// Notes who has the permit that was granted to a call which waited.
    pub(crate) fn take_granted(&self, source: Source) -> u64 {
        self.state.borrow_mut().hold(source)
    }

    /// The call waits for a permit.
    pub(crate) fn wait(&self, call: CommandId) {
        self.state.borrow_mut().waiting.push_back(call);
    }

    /// The call does not wait any more.
    pub(crate) fn forget(&self, call: CommandId) {
        let waiting = &mut self.state.borrow_mut().waiting;
        if let Ok(place) = waiting.binary_search(&call) {
            waiting.remove(place);
        }
    }

    /// The permit with this ticket is held no longer. It is to be passed on.
    pub(crate) fn return_ticket(&self, ticket: u64) {
        self.state.borrow_mut().held.remove(&ticket);
    }

    /// Passes a permit on to the oldest call that waits and accepts it; otherwise it is free.
    pub(crate) fn pass_on(&self, accepts: impl Fn(CommandId) -> bool) {
        loop {
            // No borrow is held while a call is woken.
            let next = self.state.borrow_mut().waiting.pop_front();
            match next {
                Some(next) if accepts(next) => return,
                Some(_) => {}
                None => {
                    self.state.borrow_mut().free += 1;
                    return;
                }
            }
        }
    }

    /// Where its permits were taken, at most three places, in words.
    pub(super) fn holders(&self) -> String {
        let state = self.state.borrow();
        if state.held.is_empty() {
            return "a future that waited for it and is not polled any more".to_owned();
        }
        let shown: Vec<String> = state.held.values().take(3).map(ToString::to_string).collect();
        let more = if state.held.len() > shown.len() { " and elsewhere" } else { "" };
        format!("the code at {}{more}", shown.join(", "))
    }
}

impl State {
    fn hold(&mut self, source: Source) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.held.insert(ticket, source);
        ticket
    }
}

impl fmt::Display for Permits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.noun, self.name)
    }
}

impl fmt::Debug for Permits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permits({self})")
    }
}

/// Two mutexes of one name are two.
impl PartialEq for Permits {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Permits {}
