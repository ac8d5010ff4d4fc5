//! What it costs a world to let time pass, counted in polls, so the speed of the machine does not matter.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pgworkflows_core::prelude::*;
use pgworkflows_memory::{Fact, Fault, FaultPoint, Faults};

use super::{Definitions, HEARTBEAT_INTERVAL, Settings, World};

/// Sleeps.
struct Sleeps;

impl Workflow for Sleeps {
    const NAME: &'static str = "sleeps";
    type Input = Duration;
    type Output = ();

    async fn run(ctx: Context, time: Duration) -> WorkflowResult<()> {
        ctx.sleep(time).await
    }
}

/// Counts leases, and disturbs nothing.
#[derive(Debug, Default)]
struct Leases(AtomicUsize);

impl Faults for Leases {
    fn at(&self, _: &FaultPoint<'_>) -> Fault {
        Fault::Proceed
    }

    fn happened(&self, fact: &Fact, _now: pgworkflows_core::Timestamp) {
        if let Fact::Claimed { .. } = fact {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A year.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// How many polls a run takes that sleeps for `time`, on a worker that keeps its lease.
fn polls(time: Duration) -> u64 {
    let leases = Arc::new(Leases::default());
    let mut definitions = Definitions::default();
    definitions.workflow::<Sleeps>();
    let faults = Some(Arc::clone(&leases) as Arc<dyn Faults>);
    let world = World::new(definitions, Settings { faults, ..Settings::default() }).unwrap();
    world.start_worker().unwrap();

    let result = async { world.client().start::<Sleeps>(time).await?.result().await };
    futures::executor::block_on(world.drive(result)).unwrap().unwrap();

    assert_eq!(world.elapsed(), time, "neither early nor late");
    assert_eq!(leases.0.load(Ordering::Relaxed), 1, "the first lease is kept");
    world.scheduler.borrow().polls
}

#[test]
fn sleep_of_a_century_costs_hardly_more_than_a_sleep_of_a_week() {
    // Given parked runs: without skipping, there would be 7 and 36,500 heartbeats
    let (week, century) = (polls(7 * HEARTBEAT_INTERVAL), polls(100 * YEAR));
    assert!(century <= 2 * week, "{century} polls, and {week} for a week");
}

#[test]
fn sleep_until_the_last_year_of_the_calendar_renews_the_lease_twice_a_century() {
    let polls = polls(7_970 * YEAR);
    assert!(polls <= 5 * 2 * 80, "{polls} polls");
}
