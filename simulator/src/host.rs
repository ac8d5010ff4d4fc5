//! The host of a simulated worker or client: virtual time, seeded numbers, tasks of the scheduler. It must not touch a
//! real clock.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use pgworkflows_core::host::{CpuMeter, Host, ThreadFuture};
use pgworkflows_testkit::runtime::dice::Dice;
use pgworkflows_testkit::runtime::time::{Owner, Time};

use crate::thread::Thread;

/// A machine of the simulated world.
#[derive(Debug)]
pub(crate) struct SimHost {
    time: Arc<Time>,
    owner: Owner,
    dice: Mutex<Dice>,
    /// What its clock shows when the world begins.
    offset: Duration,
    /// How fast its clock runs, in millionths: never too fast, or its timers would rightly fire early.
    rate: u32,
}

impl SimHost {
    pub(crate) fn new(time: Arc<Time>, owner: Owner, mut dice: Dice) -> Arc<Self> {
        let offset = dice.time(Duration::from_micros(1), Duration::from_secs(1 << 30));
        let rate = if dice.chance(700) { 1_000_000 } else { dice.between(990_000, 1_000_000) as u32 };
        Arc::new(Self { time, owner, dice: Mutex::new(dice), offset, rate })
    }

    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }
}

impl Host for SimHost {
    fn monotonic(&self) -> Duration {
        let now = self.time.look().as_micros() * u128::from(self.rate) / 1_000_000;
        self.offset + Duration::from_micros(now as u64)
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        // Rounded up: by the own clock, no sleep ends too early.
        let scaled = (time.as_nanos().div_ceil(1000) * 1_000_000).div_ceil(u128::from(self.rate));
        // At least a microsecond, so that time passes in a loop that sleeps for no time, and the loop is found.
        Box::pin(self.time.sleep(Duration::from_micros(u64::try_from(scaled + 1).unwrap_or(u64::MAX))))
    }

    fn random(&self) -> u64 {
        self.dice.lock().unwrap_or_else(std::sync::PoisonError::into_inner).number()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.time.spawn(self.owner, task);
    }

    /// The worker would continue, but here a panic is a finding.
    fn panicked(&self, what: &str) {
        panic!("{what}")
    }

    fn cpu_meter(&self) -> CpuMeter {
        let used = self.time.used_here();
        Arc::new(move || Some(Duration::from_micros(used.as_ref()?.load(Ordering::Relaxed))))
    }

    fn thread(&self, work: ThreadFuture) -> ThreadFuture {
        Box::pin(Thread::new(&self.time, work))
    }
}
