//! `explore` at work: orders are counted, known order bugs are found and shortened, hidden non-determinism is found.
//! This tests the tool, on workflows whose orders can be counted by hand.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use futures::future::select_all;
use futures::{FutureExt, select_biased};
use pgworkflows_core::prelude::*;
use pgworkflows_testkit::{Arrival, Error, Mock, TestEnv, TestEnvBuilder, TestRun, explore};

use crate::definitions::{Endless, assert_says, starts};

activity!(Work, "work", u64 => u64);
activity!(Reserve, "reserve", () => ());
activity!(Charge, "charge", () => ());
activity!(Refund, "refund", () => ());
activity!(Publish, "publish", String => ());

const GO: Signal<String> = Signal::new("go");
const MINUTE: Duration = Duration::from_secs(60);

fn definition<W: Workflow>() -> TestEnvBuilder {
    let builder = TestEnv::builder().workflow::<W>().mock::<Work>(Ok);
    builder.mock::<Reserve>(Ok).mock::<Charge>(Ok).mock::<Refund>(Ok).mock::<Publish>(|_event| Ok(()))
}

/// Accepts any result of a run.
async fn anything<W: Workflow>(_: TestRun<W>) -> Result<(), Error> {
    Ok(())
}

// Executes activities concurrently, and returns the order in which they ended.
workflow!(AtOnce, "at-once", |ctx, count: u64| -> Vec<u64> {
    let mut under_way: Vec<_> = (1..=count).map(|n| ctx.activity::<Work>(n)).collect();
    let mut order = Vec::new();
    while !under_way.is_empty() {
        let (done, _, left) = select_all(under_way).await;
        order.push(done?);
        under_way = left;
    }
    Ok(order)
});

#[tokio::test]
async fn three_concurrent_activities_have_six_orders() {
    let orders = RefCell::new(BTreeSet::new());
    let explored = explore(&definition::<AtOnce>(), starts::<AtOnce>(3), async |run: TestRun<AtOnce>| {
        let order = run.result().await?;
        orders.borrow_mut().insert(order);
        Ok(())
    })
    .assert()
    .await;
    assert_eq!(orders.borrow().len(), 6);
    assert_eq!((explored.orders, explored.exhaustive, explored.random), (6, true, 0));
    assert_eq!(explored.to_string(), "6 orders, all that there are");
}

// The same, and publishes the order so far.
workflow!(AtOncePublished, "at-once-published", |ctx, count: u64| -> Vec<u64> {
    let mut under_way: Vec<_> = (1..=count).map(|n| ctx.activity::<Work>(n)).collect();
    let mut order = Vec::new();
    while !under_way.is_empty() {
        let (done, _, left) = select_all(under_way).await;
        order.push(done?);
        ctx.publish(ORDER, &order);
        under_way = left;
    }
    Ok(order)
});

const ORDER: View<Vec<u64>> = View::new("order");

#[tokio::test]
async fn publishing_adds_no_order_and_the_view_has_the_last_value_in_each() {
    let published = async |run: TestRun<AtOncePublished>| {
        let order = run.result().await?;
        assert_eq!(run.view(ORDER).await?, Some(order));
        Ok(())
    };
    let explored =
        explore(&definition::<AtOncePublished>(), starts::<AtOncePublished>(3), published).assert().await;
    assert_eq!((explored.orders, explored.exhaustive), (6, true));
}

const ADD: Update<u64, u64> = Update::new("add");

// Serves updates beside an activity, and returns what has arrived when that ends.
workflow!(ServesWhile, "serves-while", |ctx, count: u64| -> u64 {
    let sum = Shared::new(0);
    let adding = sum.clone();
    let adds = ctx.serve(ADD, async move |number| {
        adding.with(|sum| {
            *sum += number;
            *sum
        })
    });
    ctx.activity::<Work>(count).await?;
    adds.drain().await?;
    Ok(sum.with(|sum| *sum))
});

#[tokio::test]
async fn updates_arrive_in_every_order_and_are_answered_or_find_the_run_over() {
    let sums = RefCell::new(BTreeSet::new());
    let script = async |env: TestEnv| {
        let run = env.start::<ServesWhile>(1).await?;
        let client = run.handle().clone();
        env.drive(async move {
            let asks = [1, 10].map(|number| client.update(ADD, number).timeout(MINUTE));
            for answer in futures::future::join_all(asks).await {
                match answer {
                    Ok(sum) => assert!([1, 10, 11].contains(&sum), "{sum}"),
                    // Its time may be over before the store takes it.
                    Err(error) => {
                        let is_known = error.is_run_over() || error.is_update_dropped() || error.is_timeout();
                        assert!(is_known, "{error}");
                    }
                }
            }
        })
        .await?;
        Ok(run)
    };
    let explored = explore(&definition::<ServesWhile>(), script, async |run: TestRun<ServesWhile>| {
        let sum = run.result().await?;
        sums.borrow_mut().insert(sum);
        Ok(())
    });
    let explored = explored.assert().await;
    assert!(explored.orders >= 4, "{explored}");
    assert!(sums.borrow().contains(&0) && sums.borrow().contains(&11), "{:?}", sums.borrow());
}

#[tokio::test]
async fn orders_beyond_the_limit_are_drawn_with_the_seed() {
    let draw = async |seed| {
        let orders = RefCell::new(Vec::new());
        let explored = explore(&definition::<AtOnce>(), starts::<AtOnce>(6), async |run: TestRun<AtOnce>| {
            let order = run.result().await?;
            orders.borrow_mut().push(order);
            Ok(())
        })
        .orders_max(10)
        .random_orders(20)
        .seed(seed)
        .assert()
        .await;
        assert!(!explored.exhaustive);
        assert!(explored.random > 10 && explored.orders == 10 + explored.random, "{explored}");
        assert_eq!(explored.seed, seed);
        orders.into_inner()
    };
    assert_eq!(draw(1).await, draw(1).await);
    assert_ne!(draw(1).await, draw(2).await);
}

// Four things race, and the first one wins.
workflow!(Race, "race", |ctx, (): ()| -> String {
    select_biased! {
        done = ctx.activity::<Work>(7) => Ok(format!("work {}", done?)),
        woken = ctx.sleep(MINUTE) => woken.map(|()| "timer".to_owned()),
        signal = ctx.wait_for(GO) => Ok(format!("signal {}", signal?)),
    }
});

async fn race(env: TestEnv) -> Result<TestRun<Race>, Error> {
    let run = env.start::<Race>(()).await?;
    let (signalled, cancelled) = futures::join!(run.signal(GO, "go".to_owned()), run.cancel());
    signalled?;
    cancelled?;
    Ok(run)
}

#[tokio::test]
async fn activity_timer_signal_and_cancellation_each_win_the_race_once() {
    let ends = RefCell::new(Vec::new());
    let explored = explore(&definition::<Race>(), race, async |run: TestRun<Race>| {
        let end = match run.result().await {
            Ok(result) => result,
            Err(error) if error.is_run_cancelled() => "cancelled".to_owned(),
            Err(error) => return Err(error),
        };
        ends.borrow_mut().push(end);
        Ok(())
    })
    .assert()
    .await;
    let mut ends = ends.into_inner();
    ends.sort();
    ends.dedup();
    assert_eq!(ends, ["cancelled", "signal go", "timer", "work 7"]);
    assert_eq!((explored.orders, explored.exhaustive), (4, true), "what lost the race does not arrive");
}

// Unless it is careful, it forgets that a charge may be over when the cancellation arrives.
workflow!(Checkout, "checkout", |ctx, is_careful: bool| -> () {
    let charge = async {
        if is_careful {
            let _ = ctx.on_failure::<Refund>(());
        }
        ctx.activity::<Charge>(()).await
    };
    ctx.when_all((ctx.activity::<Reserve>(()), charge)).await?;
    ctx.wait_for(GO).timeout(MINUTE).await?;
    Ok(())
});

async fn checkout(env: TestEnv, is_careful: bool) -> Result<TestRun<Checkout>, Error> {
    let run = env.start::<Checkout>(is_careful).await?;
    run.signal(GO, "go".to_owned()).await?;
    run.cancel().await?;
    Ok(run)
}

async fn cancelled_charge_is_refunded(run: TestRun<Checkout>) -> Result<(), Error> {
    let events = run.events().await?;
    let happened = |name: &str| events.iter().any(|event| event.event.name() == name);
    if happened("run.cancelled") && !run.env().activity_calls::<Charge>().is_empty() {
        assert!(!run.env().activity_calls::<Refund>().is_empty(), "charged, cancelled, and not refunded");
    }
    Ok(())
}

#[tokio::test]
async fn order_bug_is_found_with_the_shortest_order_that_shows_it() {
    let definition = definition::<Checkout>();
    let script = async |env| checkout(env, false).await;
    let failure = explore(&definition, script, cancelled_charge_is_refunded).await.unwrap_err();
    let order = [Arrival::signal("go"), Arrival::cancel()];
    assert_eq!(failure.order(), order);
    let line = r#"explore(&definition, script, check).order([Arrival::signal("go"), Arrival::cancel()]).assert().await;"#;
    assert_says(&failure, &["charged, cancelled, and not refunded", line, "run.cancelled"]);

    let again = explore(&definition, script, cancelled_charge_is_refunded).order(order).await.unwrap_err();
    assert_eq!(
        again.to_string().lines().next(),
        Some("order 1 fails: the assertion panicked: charged, cancelled, and not refunded")
    );
}

#[tokio::test]
async fn correct_workflow_passes_in_every_order() {
    let script = async |env| checkout(env, true).await;
    let explored = explore(&definition::<Checkout>(), script, cancelled_charge_is_refunded).assert().await;
    assert!(explored.exhaustive && explored.orders > 10, "{explored}");
}

// Reserves and charges, and publishes each step while the next one is in flight.
workflow!(Saga, "saga", |ctx, (): ()| -> () {
    let publish = |event: &str| ctx.activity::<Publish>(event.to_owned());
    ctx.when_all((ctx.activity::<Reserve>(()), publish("ordered"))).await?;
    let _ = ctx.on_failure::<Refund>(());
    ctx.when_all((ctx.activity::<Charge>(()), publish("reserved"))).await?;
    ctx.when_all((ctx.activity::<Work>(1).timeout(MINUTE), publish("charged"))).await?;
    Ok(())
});

async fn saga(env: TestEnv) -> Result<TestRun<Saga>, Error> {
    let run = env.start::<Saga>(()).await?;
    run.cancel().await?;
    Ok(run)
}

#[tokio::test]
async fn activity_that_is_ignored_does_not_multiply_the_orders() {
    let definition = definition::<Saga>();
    let published = RefCell::new(BTreeSet::new());
    let check = async |run: TestRun<Saga>| {
        published.borrow_mut().insert(run.env().activity_calls::<Publish>().len());
        Ok(())
    };
    let all = explore(&definition, saga, check).assert().await;
    let without = explore(&definition, saga, check).ignore::<Publish>().assert().await;
    // The cancellation arrives while the first, the second or the third activity is in flight, or too late; the timeout
    // arrives before the third is done, and then the cancellation before the refund or after it.
    assert_eq!((all.orders, without.orders), (49, 6));
    assert!(all.exhaustive && without.exhaustive);
    assert_eq!(published.into_inner(), BTreeSet::from([1, 2, 3]), "it is executed nevertheless");
}

#[tokio::test]
async fn ignored_activity_is_retried_after_its_delay() {
    let busy = ActivityError::new("busy", "not now");
    let mock = Mock::<Publish>::fail_times(2, busy).then(|_event| Ok(()));
    let explored = explore(&definition::<Saga>().mock_with(mock), saga, async |run: TestRun<Saga>| {
        if run.result().await.is_ok() {
            assert_eq!(run.env().activity_calls::<Publish>().len(), 9);
        }
        Ok(())
    })
    .ignore::<Publish>()
    .timeouts(false)
    .assert()
    .await;
    assert!(explored.exhaustive, "{explored}");
}

#[tokio::test]
async fn unknown_activity_cannot_be_ignored() {
    let definition = TestEnv::builder().workflow::<AtOnce>().mock::<Work>(Ok);
    let script = starts::<AtOnce>(1);
    let failure = explore(&definition, script, anything).ignore::<Publish>().await.unwrap_err();
    assert!(failure.is_invalid());
    let expected = "`ignore` names activity `publish`, which is neither registered nor mocked";
    assert!(failure.to_string().starts_with(expected), "{failure}");
}

#[tokio::test]
async fn without_timeouts_time_passes_only_if_nothing_else_can_arrive() {
    let ends = RefCell::new(BTreeSet::new());
    let explored = explore(&definition::<Race>(), race, async |run: TestRun<Race>| {
        let end = run.result().await.unwrap_or_else(|error| error.to_string());
        ends.borrow_mut().insert(end);
        Ok(())
    })
    .timeouts(false)
    .assert()
    .await;
    assert_eq!((explored.orders, explored.exhaustive), (3, true));
    assert!(!ends.borrow().contains("timer"), "{ends:?}");

    // A retry is not overtaken, because nothing else is in flight.
    let definition = TestEnv::builder()
        .workflow::<Patient>()
        .mock_with(Mock::<Work>::fail_times(2, ActivityError::new("busy", "not now")).then(Ok));
    let explored = explore(&definition, starts::<Patient>(()), async |run: TestRun<Patient>| {
        assert_eq!(run.result().await?, "done");
        Ok(())
    })
    .timeouts(false)
    .assert()
    .await;
    assert_eq!((explored.orders, explored.exhaustive), (1, true));
}

#[tokio::test]
async fn line_that_plays_an_order_says_what_is_left_out() {
    let exploration = || {
        let check = async |run: TestRun<Saga>| {
            assert!(run.result().await.is_ok());
            Ok(())
        };
        explore(&definition::<Saga>(), saga, check).ignore::<Publish>().timeouts(false)
    };
    let failure = exploration().await.unwrap_err();
    let line =
        "explore(&definition, script, check).ignore::<Publish>().timeouts(false).order([Arrival::cancel()])";
    assert_says(&failure, &[line]);
    let again = exploration().order(failure.order()).await.unwrap_err();
    assert_eq!(again.order(), failure.order());
}

#[tokio::test]
async fn drawn_order_is_shortened() {
    // Two arrivals break this, and only the default order is tried before orders are drawn.
    let failure = explore(&definition::<AtOnce>(), starts::<AtOnce>(6), async |run: TestRun<AtOnce>| {
        let order = run.result().await?;
        let place = |n| order.iter().position(|other| *other == n);
        assert!(place(1) < place(6) || place(2) < place(5));
        Ok(())
    })
    .orders_max(1)
    .await
    .unwrap_err();
    let mut order = failure.order().to_vec();
    order.sort();
    assert_eq!(order, [Arrival::activity("work", 5), Arrival::activity("work", 6)]);
}

// Two concurrent steps, of which the slower is dropped, and one after them.
workflow!(Steps, "steps", |ctx, (): ()| -> u64 {
    let one = ctx.step("one", || async { Ok(1) });
    let two = ctx.step("two", || async { Ok(2) });
    let first = select_biased! {
        one = one.fuse() => one?,
        two = two.fuse() => two?,
    };
    let last: u64 = ctx.step("last", move || async move { Ok(first * 10) }).await?;
    Ok(last)
});

#[tokio::test]
async fn steps_arrive_as_activities_do() {
    let results = RefCell::new(BTreeSet::new());
    let explored = explore(&definition::<Steps>(), starts::<Steps>(()), async |run: TestRun<Steps>| {
        let result = run.result().await?;
        results.borrow_mut().insert(result);
        Ok(())
    })
    .assert()
    .await;
    assert_eq!(results.into_inner(), BTreeSet::from([10, 20]));
    assert_eq!((explored.orders, explored.exhaustive), (2, true), "a dropped step does not arrive");
}

// Waits for work, with three attempts and a timeout.
workflow!(Patient, "patient", |ctx, (): ()| -> String {
    let work = ctx.activity::<Work>(1).retry(RetryPolicy::exponential().initial(MINUTE).max_attempts(3));
    match work.timeout(10 * MINUTE).await {
        Ok(_) => Ok("done".to_owned()),
        Err(error) if error.is_timeout() => Ok("late".to_owned()),
        Err(error) => Err(error),
    }
});

#[tokio::test]
async fn time_overtakes_slow_attempts_and_starts_the_next_ones() {
    let definition = TestEnv::builder()
        .workflow::<Patient>()
        .mock_with(Mock::<Work>::fail_times(2, ActivityError::new("busy", "not now")).then(Ok));
    let results = RefCell::new(Vec::new());
    let explored = explore(&definition, starts::<Patient>(()), async |run: TestRun<Patient>| {
        let result = run.result().await?;
        results.borrow_mut().push(result);
        Ok(())
    })
    .assert()
    .await;
    // The timeout arrives while the first, the second or the third attempt is in flight, or the third is done.
    assert_eq!((explored.orders, explored.exhaustive), (4, true));
    assert_eq!(results.borrow().iter().filter(|result| *result == "late").count(), 3);
}

#[tokio::test]
async fn script_that_lets_time_pass_is_overtaken_by_timers() {
    let explored = explore(
        &definition::<Race>(),
        async |env: TestEnv| {
            let run = env.start::<Race>(()).await?;
            env.advance(2 * MINUTE).await;
            run.signal(GO, "late".to_owned()).await?;
            Ok(run)
        },
        async |run: TestRun<Race>| {
            assert_ne!(run.result().await?, "signal late", "the timer is due earlier");
            Ok(())
        },
    )
    .assert()
    .await;
    assert_eq!((explored.orders, explored.exhaustive), (2, true));
}

static COUNTER: AtomicU64 = AtomicU64::new(0);

// Depends on something that is not in its history.
workflow!(Hidden, "hidden", |ctx, by: String| -> () {
    match by.as_str() {
        "map" => {
            let work =
                [("reserve", 1_u64), ("charge", 2), ("work", 3), ("refund", 4), ("step", 5), ("timer", 6)];
            for name in HashMap::from(work).into_keys() {
                match name {
                    "reserve" => ctx.activity::<Reserve>(()).await?,
                    "charge" => ctx.activity::<Charge>(()).await?,
                    "work" => drop(ctx.activity::<Work>(1).await?),
                    "refund" => ctx.activity::<Refund>(()).await?,
                    "step" => ctx.step("step", || async { Ok(()) }).await?,
                    _ => ctx.sleep(MINUTE).await?,
                }
            }
        }
        "counter" => drop(ctx.activity::<Work>(COUNTER.fetch_add(1, Ordering::Relaxed)).await?),
        "branch" if COUNTER.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) => {
            ctx.activity::<Charge>(()).await?
        }
        "branch" => ctx.activity::<Refund>(()).await?,
        _ => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            ctx.activity::<Work>(now.as_nanos() as u64).await?;
        }
    }
    Ok(())
});

#[tokio::test]
async fn hidden_choice_is_found() {
    for by in ["map", "counter", "branch", "clock"] {
        let script = starts::<Hidden>(by.to_owned());
        let failure = explore(&definition::<Hidden>(), script, anything).await.unwrap_err();
        assert!(failure.is_nondeterministic(), "{by}: {failure}");
        let text = failure.to_string();
        assert!(text.contains("depends on something that its history does not hold"), "{by}: {text}");
        // If only an input changes, the replay does not diverge, but the second play has another history.
        let is_divergent = matches!(by, "map" | "branch");
        assert_eq!(text.contains("its replay diverges"), is_divergent, "{by}: {text}");
        assert_eq!(text.contains("led to another history. An event was `2 "), !is_divergent, "{by}: {text}");
    }
}

static DRAWN: AtomicU64 = AtomicU64::new(0);

// Draws a number in a step, where that is allowed.
workflow!(Draws, "draws", |ctx, (): ()| -> u64 {
    let drawn = ctx.step("draw", || async { Ok(DRAWN.fetch_add(1, Ordering::Relaxed)) }).await?;
    ctx.activity::<Work>(drawn).await
});

#[tokio::test]
async fn step_with_a_different_outcome_each_time_is_no_hidden_choice() {
    let script = starts::<Draws>(());
    let explored = explore(&definition::<Draws>(), script, anything).assert().await;
    assert_eq!((explored.orders, explored.exhaustive), (1, true));
}

workflow!(Records, "records", |ctx, (): ()| -> u64 {
    let drawn = ctx.record("drawn", || DRAWN.fetch_add(1, Ordering::Relaxed)).await;
    ctx.sleep(Duration::from_secs(1 + drawn % 5)).await?;
    Ok(drawn)
});

#[tokio::test]
async fn recorded_value_that_differs_each_time_is_no_hidden_choice() {
    explore(&definition::<Records>(), starts::<Records>(()), anything).assert().await;
}

// Panics if the signal is unexpected.
workflow!(Broken, "broken", |ctx, (): ()| -> () {
    let go = ctx.wait_for(GO).await?;
    assert_eq!(go, "go");
    Ok(())
});

#[tokio::test]
async fn run_that_stalls_is_a_failure() {
    let script = async |env: TestEnv| {
        let run = env.start::<Broken>(()).await?;
        run.signal(GO, "x".repeat(3)).await?;
        Ok(run)
    };
    let failure = explore(&definition::<Broken>(), script, anything).await.unwrap_err();
    assert_says(&failure, &["the run stalls: the workflow panicked"]);
    assert!(!failure.is_nondeterministic());
}

#[tokio::test]
async fn run_that_waits_forever_is_judged_as_it_waits() {
    let script = starts::<Broken>(());
    let check = async |run: TestRun<Broken>| {
        let waits = run.describe().await?.waiting_on;
        assert_eq!(waits.as_deref().map(|waits| waits.contains("`go`")), Some(true), "{waits:?}");
        Ok(())
    };
    let explored = explore(&definition::<Broken>(), script, check).assert().await;
    assert_eq!((explored.orders, explored.exhaustive), (1, true));
}

#[tokio::test]
async fn endless_run_is_an_error_that_names_the_limit() {
    let script = starts::<Endless>(());
    let failure = explore(&definition::<Endless>(), script, anything).arrivals_max(5).await.unwrap_err();
    assert_says(&failure, &["after 5 arrivals the run is not over", "raise `arrivals_max`"]);
}

#[tokio::test]
async fn activity_that_polls_forever_does_not_hang() {
    let never = Mock::<Work>::future(|ctx: ActivityContext, _| async move {
        loop {
            ctx.sleep(MINUTE).await;
        }
    });
    let definition = TestEnv::builder().workflow::<AtOnce>().mock_with(never);
    let script = starts::<AtOnce>(1);
    let check = async |run: TestRun<AtOnce>| {
        run.assert_waiting_on_activity::<Work>();
        Ok(())
    };
    let explored = explore(&definition, script, check).assert().await;
    assert_eq!((explored.orders, explored.exhaustive), (1, true));
}

#[tokio::test]
async fn limit_of_zero_is_refused() {
    let exploration = || explore(&definition::<Race>(), race, anything);
    for (failure, name) in [
        (exploration().orders_max(0).await.unwrap_err(), "orders_max"),
        (exploration().arrivals_max(0).await.unwrap_err(), "arrivals_max"),
    ] {
        assert!(failure.is_invalid());
        assert_eq!(
            failure.to_string(),
            format!("`{name}` is 0, so nothing would be explored; set it to at least 1")
        );
    }
}

#[tokio::test]
async fn order_that_does_not_fit_says_what_was_possible() {
    let exploration = || explore(&definition::<Race>(), race, anything);
    let failure = exploration().order([Arrival::activity("walk", 1)]).await.unwrap_err();
    assert!(failure.is_invalid());
    let expected = "after 0 arrivals Arrival::activity(\"walk\", 1) should arrive, but only one of \
                    [Arrival::activity(\"work\", 1), Arrival::signal(\"go\"), Arrival::cancel(), Arrival::time()] can";
    assert_says(&failure, &[expected]);

    let failure = exploration().order([Arrival::cancel(), Arrival::time()]).await.unwrap_err();
    assert_says(&failure, &["nothing more can arrive"]);
}

#[tokio::test]
async fn script_that_starts_no_run_or_two_is_refused() {
    let none = async |_: TestEnv| Err(Error::from("no".parse::<pgworkflows_core::RunId>().unwrap_err()));
    let failure = explore::<Race, _, _>(&definition::<Race>(), none, anything).await.unwrap_err();
    assert_says(&failure, &["the script failed: `no` is not a run id"]);

    let two = async |env: TestEnv| {
        env.start::<Race>(()).await?;
        env.start::<Race>(()).await
    };
    let failure = explore(&definition::<Race>(), two, anything).await.unwrap_err();
    assert_says(&failure, &["the script started 2 runs"]);
}

// Signals itself while an activity is under way.
workflow!(TellsItself, "tells-itself", |ctx, (): ()| -> String {
    ctx.signal(ctx.run_id(), GO, "told".to_owned());
    let mut work = ctx.activity::<Work>(1);
    let mut told = ctx.wait_for(GO);
    Ok(select_biased! {
        worked = work => format!("{} before the signal", worked?),
        told = told => told?,
    })
});

#[tokio::test]
async fn signal_of_a_run_arrives_before_or_after_its_activity() {
    let results = RefCell::new(BTreeSet::new());
    explore(&definition::<TellsItself>(), starts::<TellsItself>(()), async |run: TestRun<TellsItself>| {
        let result = run.result().await?;
        results.borrow_mut().insert(result);
        Ok(())
    })
    .assert()
    .await;
    let both = ["1 before the signal", "told"].map(str::to_owned);
    assert_eq!(*results.borrow(), BTreeSet::from(both));
}

#[tokio::test]
async fn signal_of_a_client_arrives_after_what_its_run_sent_before() {
    let script = async |env: TestEnv| {
        let run = env.start::<TellsItself>(()).await?;
        run.signal(GO, "told by a client".to_owned()).await?;
        Ok(run)
    };
    let results = RefCell::new(BTreeSet::new());
    explore(&definition::<TellsItself>(), script, async |run: TestRun<TellsItself>| {
        let result = run.result().await?;
        results.borrow_mut().insert(result);
        Ok(())
    })
    .assert()
    .await;
    let all = ["1 before the signal", "told", "told by a client"].map(str::to_owned);
    assert!(results.borrow().is_subset(&BTreeSet::from(all)));
    assert!(results.borrow().contains("told"));
}
