//! Tests of branches of one run: how they race, what they share, and what is logged of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use expect_test::expect;
use futures::future::{FusedFuture, join, poll_immediate};

use super::{GO, SECOND, Work, begin, workflow};
use crate::data::failure::Failure;
use crate::data::retry::RetryPolicy;
use crate::select;
use crate::testing::broken;
use crate::workflow::calls::timeout::Durable;
use crate::workflow::error::{WorkflowError, WorkflowResult};

#[test]
fn arms_are_tried_in_the_written_order_and_losers_are_cancelled_before_the_body() {
    workflow!(W, |ctx| {
        // Both are ready at once, so the order decides.
        let mut one = ctx.activity::<Work>(1);
        let mut two = ctx.activity::<Work>(2);
        let all = join(&mut one, &mut two);
        assert!(poll_immediate(all).await.is_none());
        ctx.wait_for(GO).await?;
        let first = select! {
            two = &mut two => format!("two: {}", two?),
            one = &mut one => format!("one: {}", one?),
        };
        drop((one, two));
        select! {
            slept = ctx.sleep(SECOND) => slept?,
            _ = ctx.activity::<Work>(3) => {}
            _ = ctx.branch(async { ctx.activity::<Work>(4).await }) => {}
        }
        ctx.activity::<Work>(5).await?;
        Ok(first)
    });
    let mut run = begin::<W>();
    run.complete(1, &1);
    run.complete(2, &2);
    run.signal("go", &0);
    run.pass(SECOND);
    run.complete(7, &0);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 1
        3 activity.scheduled #2 work 2
        4 activity.completed #1 1
        5 activity.completed #2 2
        6 signal.received go 0
        7 timer.started #4 until 1s
        8 activity.scheduled #5 work 3
        9 activity.scheduled #6 work 4
        10 timer.fired #4
        11 activity.cancelled #5
        12 activity.cancelled #6
        13 activity.scheduled #7 work 5
        14 activity.completed #7 0
        15 run.completed "two: 2"
    "#]]);
}

#[test]
fn arm_made_within_a_loop_is_cancelled_and_made_anew_and_one_made_before_stays() {
    workflow!(W, |ctx| {
        let mut closing = ctx.sleep(3 * SECOND);
        let mut sum = 0;
        loop {
            select! {
                item = ctx.wait_for(GO) => sum += item?,
                _ = ctx.activity::<Work>(sum) => {}
                closed = &mut closing => {
                    closed?;
                    break Ok(sum.to_string());
                }
            }
        }
    });
    let mut run = begin::<W>();
    run.signal("go", &1);
    run.pass(SECOND);
    run.signal("go", &2);
    run.pass(2 * SECOND);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #2 work 0
        3 timer.started #3 until 3s
        4 signal.received go 1
        5 activity.cancelled #2
        6 activity.scheduled #5 work 1
        7 signal.received go 2
        8 activity.cancelled #5
        9 activity.scheduled #7 work 3
        10 timer.fired #3
        11 activity.cancelled #7
        12 run.completed "3"
    "#]]);
}

#[test]
fn arms_that_are_done_are_passed_over_until_all_are_complete() {
    workflow!(W, |ctx| {
        let mut one = ctx.activity::<Work>(1);
        let mut two = ctx.branch(async { ctx.activity::<Work>(2).await });
        let mut three = ctx.when_all((ctx.activity::<Work>(3), ctx.activity::<Work>(4)));
        let mut taken = Vec::new();
        loop {
            select! {
                done = &mut one => taken.push(done?),
                done = &mut two => taken.push(done?),
                done = &mut three => {
                    let (three, four) = done?;
                    taken.extend([three, four]);
                }
                complete => break,
            }
        }
        assert!(one.is_terminated() && two.is_terminated() && three.is_terminated());
        Ok(format!("{taken:?}"))
    });
    let mut run = begin::<W>();
    for id in [4, 1, 3, 2] {
        run.complete(id, &id);
    }
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 1
        3 activity.scheduled #2 work 2
        4 activity.scheduled #3 work 3
        5 activity.scheduled #4 work 4
        6 activity.completed #4 4
        7 activity.completed #1 1
        8 activity.completed #3 3
        9 activity.completed #2 2
        10 run.completed "[1, 3, 4, 2]"
    "#]]);
}

#[test]
fn select_whose_arms_are_all_done_stalls_without_complete() {
    workflow!(W, |ctx| {
        let mut one = ctx.activity::<Work>(1);
        for _ in 0..2 {
            select! { done = &mut one => _ = done? }
        }
        Ok(String::new())
    });
    let mut run = begin::<W>();
    run.complete(1, &1);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 1
        3 run.stalled: all arms of `select!` at core/src/workflow/calls/tests/races.rs:LINE are done, so none can be the first; say what to do then, by a last arm `complete => …`
        4 activity.completed #1 1
    "#]]);
}

#[test]
fn bodies_of_arms_return_break_and_fail_as_the_code_around_them() {
    workflow!(W, |ctx| {
        async fn value(ctx: &crate::workflow::context::Context) -> WorkflowResult<u32> {
            for round in 0..5 {
                let value = select! {
                    done = ctx.activity::<Work>(round) => match done? {
                        0 => continue,
                        1 => break,
                        other => other,
                    },
                };
                return Ok(value);
            }
            Err(WorkflowError::new("broke-off", "as planned"))
        }
        let (seven, broken, failed) = (value(&ctx).await?, value(&ctx).await, value(&ctx).await);
        Ok(format!("{seven} {} {}", broken.unwrap_err(), failed.unwrap_err()))
    });
    let mut run = begin::<W>();
    for (id, value) in [(1, 0), (2, 7), (3, 1)] {
        run.complete(id, &value);
    }
    run.fail(4, broken());
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 0
        3 activity.completed #1 0
        4 activity.scheduled #2 work 1
        5 activity.completed #2 7
        6 activity.scheduled #3 work 0
        7 activity.completed #3 1
        8 activity.scheduled #4 work 0
        9 activity.failed #4: it broke (broken)
        10 run.completed "7 as planned (broke-off) activity `work` failed: it broke (broken)"
    "#]]);
}

#[test]
fn spawned_call_is_made_at_once_and_cancelled_when_it_is_dropped() {
    workflow!(W, |ctx| {
        let kept = ctx.spawn(ctx.activity::<Work>(1).retry(RetryPolicy::none()));
        let limited = ctx.spawn(ctx.activity::<Work>(2).timeout(2 * SECOND));
        let dropped = ctx.spawn(ctx.sleep(9 * SECOND));
        let signal = ctx.spawn(ctx.wait_for(GO));
        ctx.activity::<Work>(3).await?;
        drop(dropped);
        let signal = signal.await?;
        let late = limited.await.unwrap_err();
        // What is ready at its first poll is left as it is.
        let beyond = ctx.spawn(ctx.sleep(std::time::Duration::MAX)).await.unwrap_err();
        let recorded = ctx.spawn(ctx.record("value", || 5)).await;
        let zero = ctx.spawn(ctx.sleep(SECOND).timeout(std::time::Duration::ZERO)).await.unwrap_err();
        assert!(zero.is("invalid-timeout"), "{zero}");
        Ok(format!("{} {signal} {late} {recorded} {}", kept.await?, beyond.is("invalid-deadline")))
    });
    let mut run = begin::<W>();
    run.complete(1, &7);
    run.signal("go", &8);
    run.pass(2 * SECOND);
    run.complete(6, &0);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 1
        3 activity.scheduled #2 work 2
        4 timer.started #3 until 2s
        5 timer.started #4 until 9s
        6 activity.scheduled #6 work 3
        7 activity.completed #1 7
        8 signal.received go 8
        9 timer.fired #3
        10 activity.completed #6 0
        11 value.recorded value 5
        12 timer.cancelled #4
        13 activity.cancelled #2
        14 run.completed "7 8 activity `work` did not complete within 2s (timed-out) 5 true"
    "#]]);
}

#[test]
fn option_set_after_a_call_was_spawned_stalls() {
    workflow!(W, |ctx| {
        let spawned = ctx.spawn(ctx.activity::<Work>(1));
        spawned.retry(RetryPolicy::exponential()).await?;
        Ok(String::new())
    });
    workflow!(Limit, |ctx| {
        let mut all = ctx.for_each(0..3, |number| ctx.activity::<Work>(number));
        assert!(poll_immediate(&mut all).await.is_none());
        all.limit(2).await?;
        Ok(String::new())
    });
    workflow!(Zero, |ctx| {
        ctx.for_each(0..3, |number| ctx.activity::<Work>(number)).limit(0).await?;
        Ok(String::new())
    });
    workflow!(NoPermits, |ctx| {
        drop(ctx.semaphore("gpus", 0).acquire().await?);
        Ok(String::new())
    });
    let logged = [begin::<W>(), begin::<Limit>(), begin::<Zero>(), begin::<NoPermits>()];
    let logged: String = logged.map(|mut run| run.new_events()).concat();
    expect![[r#"
        1 run.stalled: activity `work` at core/src/workflow/calls/tests/races.rs:LINE an option is set at core/src/workflow/calls/tests/races.rs:LINE, after its first poll; set all options before the future is polled
        2 run.started W
        1 run.stalled: the limit of `for_each` at core/src/workflow/calls/tests/races.rs:LINE is set at core/src/workflow/calls/tests/races.rs:LINE, after its first poll; set it before the future is polled
        2 run.started Limit
        1 run.stalled: the limit of `for_each` at core/src/workflow/calls/tests/races.rs:LINE is set at core/src/workflow/calls/tests/races.rs:LINE, to zero, so that no branch could begin; give at least 1
        2 run.started Zero
        1 run.stalled: semaphore `gpus` at core/src/workflow/calls/tests/races.rs:LINE has no permits, so that none could be acquired; give at least 1
        2 run.started NoPermits
    "#]].assert_eq(&logged);
}

#[test]
fn for_each_keeps_to_its_limit_and_fails_with_the_first_error_in_time() {
    workflow!(W, |ctx| {
        let call = |number| ctx.activity::<Work>(number);
        let all = ctx.for_each(0..4, call).limit(2).await?;
        let error = ctx.for_each(10..15, call).limit(3).await.unwrap_err();
        let none = ctx.for_each(0..0, call).await?;
        Ok(format!("{all:?} {error} {none:?}"))
    });
    let mut run = begin::<W>();
    for id in [2, 1, 4, 3] {
        run.complete(id, &id);
    }
    run.complete(6, &0);
    run.fail(7, broken());
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 0
        3 activity.scheduled #2 work 1
        4 activity.completed #2 2
        5 activity.scheduled #3 work 2
        6 activity.completed #1 1
        7 activity.scheduled #4 work 3
        8 activity.completed #4 4
        9 activity.completed #3 3
        10 activity.scheduled #5 work 10
        11 activity.scheduled #6 work 11
        12 activity.scheduled #7 work 12
        13 activity.completed #6 0
        14 activity.scheduled #8 work 13
        15 activity.failed #7: it broke (broken)
        16 activity.cancelled #8
        17 activity.cancelled #5
        18 run.completed "[1, 2, 3, 4] activity `work` failed: it broke (broken) []"
    "#]]);
}

#[test]
fn settled_branches_all_end_and_their_results_are_in_the_order_of_the_items() {
    workflow!(W, |ctx| {
        let call = |number| ctx.activity::<Work>(number);
        let results = ctx.for_each([1, 2, 3], call).limit(2).settle().await?;
        let results: Vec<String> = results
            .into_iter()
            .map(|result| result.map_or_else(|error| error.to_string(), |value| value.to_string()))
            .collect();
        let late = ctx.for_each([4, 5], call).limit(1).settle().timeout(SECOND).await.unwrap_err();
        Ok(format!("{results:?} {late}"))
    });
    let mut run = begin::<W>();
    run.fail(1, Failure::new("first", "the first failed"));
    run.complete(3, &33);
    run.complete(2, &22);
    run.pass(SECOND);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 1
        3 activity.scheduled #2 work 2
        4 activity.failed #1: the first failed (first)
        5 activity.scheduled #3 work 3
        6 activity.completed #3 33
        7 activity.completed #2 22
        8 activity.scheduled #4 work 4
        9 timer.started #5 until 1s
        10 timer.fired #5
        11 activity.cancelled #4
        12 run.completed "[\"activity `work` failed: the first failed (first)\", \"22\", \"33\"] a branch of `for_each` at core/src/workflow/calls/tests/races.rs:LINE did not complete within 1s (timed-out)"
    "#]]);
}

#[test]
fn cancelled_run_begins_no_further_branch() {
    workflow!(W, |ctx| {
        let error =
            ctx.for_each(0..9, |number| ctx.activity::<Work>(number)).limit(2).settle().await.unwrap_err();
        assert!(error.is_cancelled());
        // A clean-up after the cancellation is executed as a whole.
        let undone = ctx.for_each(20..23, |number| ctx.activity::<Work>(number)).limit(2).settle().await?;
        assert_eq!(undone.len(), 3);
        Err(error)
    });
    // Branches that wait for their outcomes keep them.
    workflow!(Waits, |ctx| {
        let call = |number| ctx.activity::<Work>(number).wait_for_outcome();
        let all = ctx.for_each(0..2, call).limit(2).settle().await?;
        assert!(all.iter().all(Result::is_ok));
        let error = ctx.branch(async { ctx.for_each(0..3, call).limit(1).await.unwrap_err() });
        Err(error.await)
    });
    let mut run = begin::<W>();
    run.cancel();
    for id in 3..=5 {
        run.complete(id, &id);
    }
    let mut waits = begin::<Waits>();
    waits.complete(1, &1);
    waits.cancel();
    waits.complete(2, &2);
    let mut late = begin::<Waits>();
    late.complete(1, &1);
    late.complete(2, &2);
    late.cancel();
    late.complete(3, &3);
    expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 0
        3 activity.scheduled #2 work 1
        4 cancel.requested: enough
        5 activity.cancelled #1
        6 activity.cancelled #2
        7 activity.scheduled #3 work 20
        8 activity.scheduled #4 work 21
        9 activity.completed #3 3
        10 activity.scheduled #5 work 22
        11 activity.completed #4 4
        12 activity.completed #5 5
        13 run.cancelled: enough
        1 run.started Waits
        2 activity.scheduled #1 work 0
        3 activity.scheduled #2 work 1
        4 activity.completed #1 1
        5 cancel.requested: enough
        6 activity.completed #2 2
        7 activity.scheduled #3 work 0
        1 run.started Waits
        2 activity.scheduled #1 work 0
        3 activity.scheduled #2 work 1
        4 activity.completed #1 1
        5 activity.completed #2 2
        6 activity.scheduled #3 work 0
        7 cancel.requested: enough
        8 activity.completed #3 3
        9 run.cancelled: enough
    "#]]
    .assert_eq(&(run.new_events() + &waits.new_events() + &late.new_events()));
}

#[test]
fn ten_thousand_branches_are_polled_in_linear_time() {
    thread_local!(static POLLS: Cell<usize> = const { Cell::new(0) });
    const BRANCHES: u32 = 10_000;
    const LIMIT: usize = 100;
    async fn counted<T>(future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|task| {
            POLLS.set(POLLS.get() + 1);
            future.as_mut().poll(task)
        })
        .await
    }
    workflow!(Each, |ctx| {
        let all =
            ctx.for_each(0..BRANCHES, |number| counted(ctx.activity::<Work>(number))).limit(LIMIT).await?;
        Ok(all.len().to_string())
    });
    workflow!(Plain, |ctx| {
        let all = (0..BRANCHES).map(|number| counted(ctx.activity::<Work>(number)));
        Ok(futures::future::join_all(all).await.len().to_string())
    });
    let polls_after_the_start = |mut run: crate::testing::RunFixture| {
        POLLS.set(0);
        for id in 1..=BRANCHES {
            run.complete(id, &0);
        }
        assert!(run.is_closed());
        POLLS.get()
    };
    // A branch is polled when it begins and when it is done, as the futures of `join_all` are, which all begin at once.
    let each = polls_after_the_start(crate::testing::unchecked::<Each>(&()));
    let plain = polls_after_the_start(crate::testing::unchecked::<Plain>(&()));
    let branches = BRANCHES as usize;
    assert_eq!((each, plain), (2 * branches - LIMIT, branches));
}

#[test]
fn mutex_is_given_to_whoever_waits_longest_and_nothing_of_it_is_logged() {
    workflow!(W, |ctx| {
        let order = ctx.mutex("order", Vec::new());
        let branch = async |number: u32| -> WorkflowResult<()> {
            let mut order = order.lock().await?;
            order.push(number);
            ctx.activity::<Work>(number).await?;
            Ok(())
        };
        ctx.when_all((branch(1), branch(2), branch(3))).await?;
        Ok(format!("{:?}", order.into_inner()))
    });
    let mut run = begin::<W>();
    assert_eq!(
        run.run
            .waiting_on()
            .unwrap()
            .matches("mutex `order` at core/src/workflow/calls/tests/races.rs")
            .count(),
        2
    );
    run.complete(1, &0);
    run.reload();
    run.complete(4, &0);
    run.complete(5, &0);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 1
        3 activity.completed #1 0
        4 activity.scheduled #4 work 2
        5 run.adopted lease 2
        6 activity.completed #4 0
        7 activity.scheduled #5 work 3
        8 activity.completed #5 0
        9 run.completed "[1, 2, 3]"
    "#]]);
}

#[test]
fn permit_that_is_granted_to_a_dropped_branch_goes_to_the_next() {
    workflow!(W, |ctx| {
        let permits = ctx.semaphore("gpus", 1);
        let log = Rc::new(RefCell::new(Vec::new()));
        let hold = async |number: u32| -> WorkflowResult<()> {
            let _permit = permits.acquire().await?;
            ctx.activity::<Work>(number).await?;
            log.borrow_mut().push(number);
            Ok(())
        };
        // The end of the first branch grants its permit to the second one, which is dropped in the same poll.
        let race = async {
            select! {
                held = ctx.branch(hold(1)) => held,
                held = ctx.branch(hold(2)) => held,
            }
        };
        let timed = async {
            let late = permits.acquire().timeout(SECOND).await.unwrap_err();
            assert!(late.is_timeout(), "{late}");
            hold(3).await
        };
        ctx.when_all((race, timed)).await?;
        Ok(format!("{:?}", log.borrow()))
    });
    let mut run = begin::<W>();
    run.pass(SECOND);
    run.complete(1, &0);
    run.complete(6, &0);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 1
        3 timer.started #4 until 1s
        4 timer.fired #4
        5 activity.completed #1 0
        6 activity.scheduled #6 work 3
        7 activity.completed #6 0
        8 run.completed "[1, 3]"
    "#]]);
}

#[test]
fn cancellation_ends_waits_for_a_mutex_and_the_permit_is_not_lost() {
    workflow!(W, |ctx| {
        let mutex = ctx.mutex("one", ());
        let branch = async |number: u32| -> WorkflowResult<()> {
            let _guard = mutex.lock().await?;
            ctx.activity::<Work>(number).await?;
            Ok(())
        };
        let both = ctx.for_each([1, 2], branch).settle().await;
        let guard = mutex.lock().await?; // It was returned.
        ctx.activity::<Work>(3).await?;
        drop(guard);
        both.map(|_| String::new())
    });
    let mut run = begin::<W>();
    run.cancel();
    run.complete(3, &0);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 1
        3 cancel.requested: enough
        4 activity.cancelled #1
        5 activity.scheduled #3 work 3
        6 activity.completed #3 0
        7 run.cancelled: enough
    "#]]);
}

#[test]
fn deadlock_and_a_mutex_locked_twice_stall_and_name_all_lines() {
    workflow!(Deadlock, |ctx| {
        let (one, two) = (ctx.mutex("one", ()), ctx.semaphore("two", 1));
        let there = async {
            let _one = one.lock().await?;
            ctx.activity::<Work>(1).await?;
            let _two = two.acquire().await?;
            Ok(())
        };
        let back = async {
            let _two = two.acquire().await?;
            ctx.activity::<Work>(2).await?;
            let _one = one.lock().await?;
            Ok(())
        };
        ctx.when_all((there, back)).await?;
        Ok(String::new())
    });
    workflow!(Twice, |ctx| {
        let mutex = ctx.mutex("accounts", 1);
        let first = mutex.lock().await?;
        ctx.activity::<Work>(1).await?;
        let second = mutex.lock().await?;
        Ok(format!("{first:?} {second:?}"))
    });
    let mut deadlock = begin::<Deadlock>();
    deadlock.complete(1, &0);
    deadlock.complete(2, &0);
    let mut twice = begin::<Twice>();
    twice.complete(1, &0);
    expect![[r#"
        1 run.started Deadlock
        2 activity.scheduled #1 work 1
        3 activity.scheduled #2 work 2
        4 activity.completed #1 0
        5 run.stalled: workflow `Deadlock` is deadlocked: its branches wait for each other, and for nothing else (2 waits: semaphore `two` is waited for at core/src/workflow/calls/tests/races.rs:LINE, and the code at core/src/workflow/calls/tests/races.rs:LINE has it; mutex `one` is waited for at core/src/workflow/calls/tests/races.rs:LINE, and the code at core/src/workflow/calls/tests/races.rs:LINE has it); take mutexes and permits in the same order everywhere, and take none twice in one branch
        6 activity.completed #2 0
        1 run.started Twice
        2 activity.scheduled #1 work 1
        3 run.stalled: workflow `Twice` waits for mutex `accounts` at core/src/workflow/calls/tests/races.rs:LINE for ever, because the code at core/src/workflow/calls/tests/races.rs:LINE has it and nothing else of the run can continue: a branch that asks for it twice waits for itself; drop the first guard before (`drop(guard)`)
        4 activity.completed #1 0
    "#]].assert_eq(&(deadlock.new_events() + &twice.new_events()));
}

#[test]
fn step_with_an_input_gets_a_clone_for_each_attempt() {
    workflow!(W, |ctx| {
        let names = vec!["Ada".to_owned()];
        let count = ctx.step_with("count", names, |names| async move { Ok(names.len()) });
        Ok(count.retry(RetryPolicy::exponential().max_attempts(2)).await?.to_string())
    });
    let mut run = begin::<W>();
    run.complete_step(1, &1_u32);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 step.completed #1 count 1
        3 run.completed "1"
    "#]]);
}
