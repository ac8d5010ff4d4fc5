//! How much time work takes in a world: polls of workflow code, live and in replay, transfers of bytes, and waits for
//! locks. It must not know what the work is for.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pgworkflows_testkit::runtime::dice::Dice;
use pgworkflows_testkit::runtime::time::Time;

/// The costs of a world. In some worlds, all are zero.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Costs {
    /// How long one poll of workflow code takes its thread at most.
    pub(crate) poll_max: Duration,
    /// How many nanoseconds the transfer of a byte of a message or an event takes.
    byte_nanos: u64,
    /// How long a statement waits for a lock at most.
    pub(crate) lock_max: Duration,
}

/// How often a statement waits for a lock, in worlds with such waits.
pub(crate) const LOCK_WAITS_PER_MILLE: u64 = 100;

/// How many times longer the transfer of a byte takes than reading it.
const BYTE_READ: u32 = 8;

/// How long a turn of the engine lasts at most.
const TURN: Duration = Duration::from_millis(4);

/// More bytes than a world ever transfers at once.
const PAGE_BYTES: usize = 1_000_000;

impl Costs {
    /// Draws costs that let a worker renew its lease in time: within two thirds of the lease's time. So `unit` has to
    /// be a small part of that.
    pub(crate) fn draw(dice: &mut Dice, unit: Duration) -> Self {
        let mut cost = |per_mille| {
            let (is_charged, is_high) = (dice.chance(per_mille), dice.chance(400));
            let low = if is_high { unit / 2 } else { Duration::from_micros(1) };
            let cost = dice.time(low, unit);
            if is_charged { cost } else { Duration::ZERO }
        };
        // The histories of a world have less than 100 kB: their transfer takes at most one unit.
        let byte_nanos = cost(400).as_micros() as u64 / 100;
        Self { poll_max: cost(600), byte_nanos, lock_max: cost(300) }
    }

    /// How long a thread may work within one poll: a turn of the engine, which ends after the few polls that one event
    /// needs, and as much for the input that arrives meanwhile.
    pub(crate) fn turn_max(&self) -> Duration {
        2 * (TURN + self.poll_max * 4) + self.reading(PAGE_BYTES)
    }

    /// How long the transfer of these bytes takes.
    pub(crate) fn transfer(&self, bytes: usize) -> Duration {
        Duration::from_nanos(self.byte_nanos * bytes as u64)
    }

    /// How long a thread takes to read these bytes.
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
    /// Charges the polls that the code makes. Polls outside of it are free.
    pub(crate) fn charge_in<T>(self, code: impl FnOnce() -> T) -> T {
        METER.set(Some(self));
        let result = code();
        METER.set(None);
        result
    }

    fn charge(&mut self) {
        let max = self.poll_max.as_micros() as u64;
        // As if the code computed before it did anything else.
        self.time.work(Duration::from_micros(self.dice.between(max / 2, max)));
    }
}

/// The world's time in microseconds, which differs from one execution of workflow code to the next; 0 outside of a world.
pub(crate) fn moment() -> u64 {
    METER.with_borrow(|meter| meter.as_ref().map_or(0, |meter| meter.time.look().as_micros() as u64))
}

/// Workflow code whose polls are charged.
pub(crate) struct Metered<F>(pub(crate) F);

impl<F: Future + Unpin> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<F::Output> {
        METER.with_borrow_mut(|meter| meter.iter_mut().for_each(Meter::charge));
        Pin::new(&mut self.0).poll(task)
    }
}
