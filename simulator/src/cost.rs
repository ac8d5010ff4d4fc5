//! What work costs in a world: the polls of workflow code, live and in replay, the bytes that are moved, and waits for
//! locks. It must not know what the work is for.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pgworkflows_testkit::runtime::dice::Dice;
use pgworkflows_testkit::runtime::time::Time;

/// The prices of a world. All of them are zero in some.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Costs {
    /// What one poll of workflow code takes its thread at most.
    pub(crate) poll_max: Duration,
    /// How many nanoseconds a byte of a message or an event is under way.
    byte_nanos: u64,
    /// How long a statement waits for a lock at most.
    pub(crate) lock_max: Duration,
}

/// How often, of a thousand times, a statement waits for a lock where any does.
pub(crate) const LOCKED: u64 = 100;

/// How much more costly it is to have a byte under way than to read it.
const BYTE_READ: u32 = 8;

/// What the engine's own turns last at most.
const TURN: Duration = Duration::from_millis(4);

/// More than a world ever moves at once.
const PAGE_BYTES: usize = 1_000_000;

impl Costs {
    /// Prices that a worker can pay which looks up from its work in time. Its lease goes without a renewal for two thirds
    /// of its time at most, so `unit` is to be a small part of that.
    pub(crate) fn draw(dice: &mut Dice, unit: Duration) -> Self {
        let mut price = |per_mille| {
            let (is_charged, is_high) = (dice.chance(per_mille), dice.chance(400));
            let low = if is_high { unit / 2 } else { Duration::from_micros(1) };
            let price = dice.time(low, unit);
            if is_charged { price } else { Duration::ZERO }
        };
        // The histories of a world have less than 100 kB: all of them at once take a unit.
        let byte_nanos = price(400).as_micros() as u64 / 100;
        Self { poll_max: price(600), byte_nanos, lock_max: price(300) }
    }

    /// How long a thread may work before it looks up: a turn of the engine's, which ends after the poll that it is in, or
    /// the few that one event makes necessary; and as much for what comes to hand meanwhile.
    pub(crate) fn turn_max(&self) -> Duration {
        2 * (TURN + self.poll_max * 3) + self.reading(PAGE_BYTES)
    }

    /// How long these bytes are under way.
    pub(crate) fn transfer(&self, bytes: usize) -> Duration {
        Duration::from_nanos(self.byte_nanos * bytes as u64)
    }

    /// How long a thread computes that reads these bytes.
    pub(crate) fn reading(&self, bytes: usize) -> Duration {
        self.transfer(bytes) / BYTE_READ
    }
}

/// Charges the polls of workflow code to the threads that make them.
pub(crate) struct Meter {
    pub(crate) time: Arc<Time>,
    pub(crate) dice: Dice,
    pub(crate) poll_max: Duration,
}

thread_local! {
    static METER: RefCell<Option<Meter>> = const { RefCell::new(None) };
}

impl Meter {
    /// Charges what some code polls. Whatever is polled outside of it is free.
    pub(crate) fn charge_in<T>(self, code: impl FnOnce() -> T) -> T {
        METER.set(Some(self));
        let result = code();
        METER.set(None);
        result
    }

    fn charge(&mut self) {
        let max = self.poll_max.as_micros() as u64;
        // As if the code computed first, and then did what it does.
        self.time.work(Duration::from_micros(self.dice.between(max / 2, max)));
    }
}

/// Workflow code whose polls cost something.
pub(crate) struct Costly<F>(pub(crate) F);

impl<F: Future + Unpin> Future for Costly<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<F::Output> {
        METER.with_borrow_mut(|meter| meter.iter_mut().for_each(Meter::charge));
        Pin::new(&mut self.0).poll(task)
    }
}
