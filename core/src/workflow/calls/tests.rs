//! Tests of the events that each durable call logs. They must not need a processor.

mod handlers;
mod races;
mod scopes;
mod updates;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use expect_test::expect;
use futures::future::{Either, join, select};
use futures::stream::FuturesUnordered;
use futures::{StreamExt, select_biased};

use super::timeout::Durable;
use crate::data::failure::Failure;
use crate::data::recipient::Recipient;
use crate::data::retry::RetryPolicy;
use crate::testing::{RunFixture, activity, broken};
use crate::workflow::Workflow;
use crate::workflow::error::WorkflowError;
use crate::workflow::signal::{NamedSignal, Signal};

const SECOND: Duration = Duration::from_secs(1);
const GO: Signal<u32> = Signal::new("go");

activity!(Work, "work", |input: u32| -> u32 { Ok(input) });

macro_rules! workflow {
    ($name:ident, |$ctx:ident| $body:expr) => {
        crate::testing::workflow!($name, stringify!($name), |$ctx, _: ()| -> String { $body });
    };
}

use workflow;

fn begin<W: Workflow<Input = ()>>() -> RunFixture {
    RunFixture::start::<W>(&())
}

#[test]
fn activity_is_scheduled_at_its_first_poll_and_completes() {
    workflow!(W, |ctx| {
        let never_polled = ctx.activity::<Work>(8);
        let result = ctx.activity::<Work>(9).await?;
        drop(never_polled);
        Ok(result.to_string())
    });
    let mut run = begin::<W>();
    run.complete(1, &10);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 9
        3 activity.completed #1 10
        4 run.completed "10"
    "#]]);
}

#[test]
fn failed_activity_is_an_error_with_its_cause() {
    workflow!(W, |ctx| {
        let error = ctx.activity::<Work>(9).await.unwrap_err();
        assert!(!error.is_cancelled() && !error.is_timeout());
        Ok(format!("{error:?}; is broken: {:?}", error.failure().map(|failure| failure.is("broken"))))
    });
    let mut run = begin::<W>();
    run.fail(1, broken().non_retryable());
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 9
        3 activity.failed #1: it broke (broken)
        4 run.completed "activity `work` failed: it broke (broken) (not retryable); is broken: Some(true)"
    "#]]);
}

#[test]
fn retry_times_depend_on_the_run_alone() {
    workflow!(W, |ctx| {
        let retry = RetryPolicy::exponential().max_attempts(3).non_retryable(["declined"]);
        let result = ctx.activity::<Work>(9).retry(retry.clone()).await;
        ctx.activity::<Work>(9).retry(retry).await.ok();
        Ok(result.unwrap_err().to_string())
    });
    let mut run = begin::<W>();
    for _ in 0..3 {
        run.fail(1, broken());
    }
    run.fail(2, Failure::new("declined", "the card was declined"));
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 9
        3 activity.attempt-failed #1 attempt 1: it broke (broken), again at 0.920346s
        4 activity.attempt-failed #1 attempt 2: it broke (broken), again at 1.636823s
        5 activity.failed #1: it broke (broken)
        6 activity.scheduled #2 work 9
        7 activity.failed #2: the card was declined (declined)
        8 run.completed "activity `work` failed: it broke (broken)"
    "#]]);
}

#[test]
fn schedule_to_close_ends_an_attempt_and_a_backoff() {
    workflow!(W, |ctx| {
        let call = || {
            let retry = RetryPolicy::exponential().initial(2 * SECOND);
            ctx.activity::<Work>(9).retry(retry).schedule_to_close(3 * SECOND)
        };
        let (attempt, backoff) = join(call(), call()).await;
        // An attempt that could start only after the limit is not made.
        let hopeless = call().schedule_to_close(SECOND).await;
        Ok(format!("{} | {} | {}", attempt.unwrap_err(), backoff.unwrap_err(), hopeless.unwrap_err()))
    });
    let mut run = begin::<W>();
    run.pass(SECOND);
    run.fail(2, broken());
    run.pass(2 * SECOND);
    run.fail(3, broken());
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 9
        3 activity.scheduled #2 work 9
        4 activity.attempt-failed #2 attempt 1: it broke (broken), again at 2.874885s
        5 activity.failed #1: no attempt succeeded within 3s of its scheduling (schedule_to_close) (timed-out)
        6 activity.failed #2: no attempt succeeded within 3s of its scheduling (schedule_to_close) (timed-out)
        7 activity.scheduled #3 work 9
        8 activity.failed #3: it broke (broken)
        9 run.completed "activity `work` failed: no attempt succeeded within 3s of its scheduling (schedule_to_close) (timed-out) | activity `work` failed: no attempt succeeded within 3s of its scheduling (schedule_to_close)…
    "#]]);
}

#[test]
fn impossible_options_stall_and_name_the_line() {
    workflow!(W, |ctx| {
        ctx.activity::<Work>(9).start_to_close(Duration::ZERO).await?;
        Ok(String::new())
    });
    workflow!(Step, |ctx| {
        ctx.step("one", || async { Ok(()) }).retry(RetryPolicy::none().max_attempts(0)).await?;
        Ok(String::new())
    });
    workflow!(Undo, |ctx| {
        ctx.on_failure::<Work>(1).retry(RetryPolicy::none().max_attempts(0));
        Ok(String::new())
    });
    let mut all = begin::<W>().new_events();
    all += &begin::<Step>().new_events();
    all += &begin::<Undo>().new_events();
    expect![[r#"
        1 run.stalled: activity `work` at core/src/workflow/calls/tests.rs:LINE start_to_close is zero; give the time that the activity may take, or none
        2 run.started W
        1 run.stalled: step `one` at core/src/workflow/calls/tests.rs:LINE max_attempts is 0; the first attempt counts, so give at least 1
        2 run.started Step
        1 run.stalled: the compensation at core/src/workflow/calls/tests.rs:LINE max_attempts is 0; the first attempt counts, so give at least 1
        2 run.started Undo
    "#]].assert_eq(&all);
}

#[test]
fn loser_of_a_race_is_cancelled_and_its_late_outcome_is_ignored() {
    workflow!(W, |ctx| {
        let race = select(ctx.activity::<Work>(1), ctx.sleep(SECOND)).await;
        let won = matches!(race, Either::Left(_));
        drop(race);
        let race = select(ctx.activity::<Work>(2), ctx.sleep(SECOND)).await;
        let lost = matches!(race, Either::Right(_));
        drop(race);
        ctx.wait_for(GO).await?;
        Ok(format!("{won} {lost}"))
    });
    let mut run = begin::<W>();
    run.complete(1, &1);
    run.pass(SECOND);
    run.complete(3, &1);
    run.signal("go", &0);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 1
        3 timer.started #2 until 1s
        4 activity.completed #1 1
        5 timer.cancelled #2
        6 activity.scheduled #3 work 2
        7 timer.started #4 until 1s
        8 timer.fired #4
        9 activity.cancelled #3
        10 signal.received go 0
        11 run.completed "true true"
    "#]]);
}

#[test]
fn dropped_step_leaves_no_event() {
    workflow!(W, |ctx| {
        let mut step = ctx.step("slow", || async { Ok(1) });
        let mut go = ctx.wait_for(GO);
        select_biased! {
            _ = step => {}
            _ = go => {}
        }
        drop(step);
        ctx.wait_for(GO).await?;
        Ok("done".to_owned())
    });
    let mut run = begin::<W>();
    assert_eq!(run.steps.len(), 1);
    run.signal("go", &0);
    assert_eq!(run.steps.len(), 0);
    run.signal("go", &0);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 signal.received go 0
        3 signal.received go 0
        4 run.completed "done"
    "#]]);
}

#[test]
fn step_outcomes_are_logged_with_their_names() {
    workflow!(W, |ctx| {
        let (good, bad) = join(
            ctx.step("good", || async { Ok(1) }),
            ctx.step("bad", || async { Ok(2) }).retry(RetryPolicy::exponential()),
        )
        .await;
        Ok(format!("{:?} {}", good?, bad.unwrap_err()))
    });
    let mut run = begin::<W>();
    run.fail_step(2, broken());
    run.complete_step(1, &7);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 step.failed #2 bad: it broke (broken)
        3 step.completed #1 good 7
        4 run.completed "7 step `bad` failed: it broke (broken)"
    "#]]);
}

#[test]
fn timers_fire_at_their_deadline_and_a_past_one_at_once() {
    workflow!(W, |ctx| {
        let began = ctx.now();
        ctx.sleep(60 * SECOND).await?;
        let slept = ctx.now() - began;
        ctx.sleep_until(began).await?;
        ctx.sleep_until(chrono::DateTime::<chrono::Utc>::MIN_UTC).await?;
        let beyond = ctx.sleep_until(chrono::DateTime::<chrono::Utc>::MAX_UTC).await.unwrap_err();
        let overflow = ctx.sleep(Duration::MAX).await.unwrap_err();
        ctx.sleep(Duration::ZERO).await?;
        Ok(format!("{}s; {beyond}; {overflow}", slept.num_seconds()))
    });
    let mut run = begin::<W>();
    run.pass(59 * SECOND);
    run.pass(SECOND);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 timer.started #1 until 1m
        3 timer.fired #1
        4 timer.started #2 until 1m
        5 timer.fired #2
        6 timer.started #3 until 1m
        7 timer.fired #3
        8 timer.started #4 until 1m
        9 timer.fired #4
        10 run.completed "60s; a timer until +262142-12-31T23:59:59.999999Z is beyond 9999-12-31T23:59:59.000000Z, the last possible deadline (invalid-deadline); a timer of 18446744073709551615.999999999s is beyond 9999-12-31…
    "#]]);
}

#[test]
fn timeouts_drop_what_they_wait_for() {
    workflow!(W, |ctx| {
        let late = ctx.activity::<Work>(1).timeout(SECOND).await.unwrap_err();
        let in_time = ctx.activity::<Work>(2).timeout(SECOND).await?;
        let zero = ctx.wait_for(GO).timeout(Duration::ZERO).await.unwrap_err();
        let overflow = ctx.wait_for(GO).timeout(Duration::MAX).await.unwrap_err();
        assert!(late.is_timeout() && !zero.is_timeout());
        Ok(format!("{late}; {in_time}; {zero}; {overflow}"))
    });
    let mut run = begin::<W>();
    run.pass(SECOND);
    run.complete(3, &5);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 1
        3 timer.started #2 until 1s
        4 timer.fired #2
        5 activity.cancelled #1
        6 activity.scheduled #3 work 2
        7 timer.started #4 until 2s
        8 activity.completed #3 5
        9 timer.cancelled #4
        10 run.completed "activity `work` did not complete within 1s (timed-out); 5; the timeout of signal `go` is zero; give the time to wait (invalid-timeout); a timer of 18446744073709551615.999999999s is beyond 9999-12-31…
    "#]]);
}

#[test]
fn timeout_of_when_all_cancels_the_branches_that_are_open() {
    workflow!(W, |ctx| {
        let both = (ctx.activity::<Work>(1), ctx.activity::<Work>(2));
        let late = ctx.when_all(both).timeout(SECOND).await.unwrap_err();
        let many = (3..6).map(|input| ctx.activity::<Work>(input));
        let in_time = ctx.when_all(many).timeout(2 * SECOND).await?;
        let never = ctx.when_all([ctx.wait_for(GO)]).timeout(2 * SECOND).timeout(SECOND).await.unwrap_err();
        assert!(late.is_timeout() && never.is_timeout());
        Ok(format!("{late}; {in_time:?}; {never}"))
    });
    let mut run = begin::<W>();
    run.complete(2, &7);
    run.pass(SECOND);
    for id in [4, 5, 6] {
        run.complete(id, &id);
    }
    run.pass(SECOND);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 1
        3 activity.scheduled #2 work 2
        4 timer.started #3 until 1s
        5 activity.completed #2 7
        6 timer.fired #3
        7 activity.cancelled #1
        8 activity.scheduled #4 work 3
        9 activity.scheduled #5 work 4
        10 activity.scheduled #6 work 5
        11 timer.started #7 until 3s
        12 activity.completed #4 4
        13 activity.completed #5 5
        14 activity.completed #6 6
        15 timer.cancelled #7
        16 timer.started #9 until 3s
        17 timer.started #10 until 2s
        18 timer.fired #10
        19 timer.cancelled #9
        20 run.completed "a branch of `when_all` did not complete within 1s (timed-out); [4, 5, 6]; a branch of `when_all` did not complete within 1s (timed-out)"
    "#]]);
}

#[test]
fn buffered_signals_are_taken_first_in_first_out_without_an_event() {
    workflow!(W, |ctx| {
        ctx.activity::<Work>(1).await?;
        let (one, two) = (ctx.wait_for(GO).await?, ctx.wait_for(GO).timeout(SECOND).await?);
        let three = ctx.wait_for(GO).await?;
        Ok(format!("{one} {two} {three}"))
    });
    let mut run = begin::<W>();
    run.signal("go", &1);
    run.signal("other", &0);
    run.signal("go", &2);
    run.complete(1, &0);
    run.signal("go", &3);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 1
        3 signal.received go 1
        4 signal.received other 0
        5 signal.received go 2
        6 activity.completed #1 0
        7 signal.received go 3
        8 run.completed "1 2 3"
    "#]]);
}

#[test]
fn dropped_waiter_loses_no_signal() {
    workflow!(W, |ctx| {
        // One event wakes both, and the waiter is dropped before it is polled again.
        let mut waiter = ctx.wait_for(GO);
        let first = poll_fn(|task| Poll::Ready(Pin::new(&mut waiter).poll(task))).await;
        assert!(first.is_pending());
        ctx.activity::<Work>(1).await?;
        drop(waiter);
        Ok(ctx.wait_for(GO).await?.to_string())
    });
    let mut run = begin::<W>();
    run.signal("go", &4);
    run.complete(2, &0);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #2 work 1
        3 signal.received go 4
        4 activity.completed #2 0
        5 run.completed "4"
    "#]]);
}

#[test]
fn signal_skips_a_waiter_that_is_not_polled() {
    workflow!(W, |ctx| {
        let mut held = ctx.wait_for(GO);
        let first = poll_fn(|task| Poll::Ready(Pin::new(&mut held).poll(task))).await;
        assert!(first.is_pending());
        // `when_all` polls only the branches that were woken.
        let polled = ctx.when_all(vec![ctx.wait_for(GO)]).await?;
        Ok(format!("{polled:?} {}", held.await?))
    });
    let mut run = begin::<W>();
    run.signal("go", &1);
    run.signal("go", &2);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 signal.received go 1
        3 signal.received go 2
        4 run.completed "[1] 2"
    "#]]);
}

#[test]
fn when_all_waits_for_all_and_returns_the_first_failure_by_position() {
    workflow!(W, |ctx| {
        let items = ctx.when_all((0..3).map(|number| ctx.activity::<Work>(number))).await;
        let tuple = ctx.when_all((ctx.activity::<Work>(3), ctx.sleep(SECOND), ctx.wait_for(GO))).await;
        let empty =
            ctx.when_all(Vec::<crate::workflow::calls::activity::ActivityFuture<Work>>::new()).await?;
        let nested =
            ctx.when_all((ctx.when_all([ctx.activity::<Work>(4)]), ctx.step("s", || async { Ok(()) })));
        let (nested, ()) = nested.await?;
        Ok(format!("{}; {:?}; {empty:?}; {nested:?}", items.unwrap_err().failure().unwrap().clone(), tuple?))
    });
    let mut run = begin::<W>();
    run.fail(3, Failure::new("third", "the third failed"));
    run.fail(2, Failure::new("second", "the second failed"));
    run.complete(1, &0);
    run.signal("go", &5);
    run.complete(4, &6);
    run.pass(SECOND);
    run.complete_step(8, &());
    run.complete(7, &8);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 0
        3 activity.scheduled #2 work 1
        4 activity.scheduled #3 work 2
        5 activity.failed #3: the third failed (third)
        6 activity.failed #2: the second failed (second)
        7 activity.completed #1 0
        8 activity.scheduled #4 work 3
        9 timer.started #5 until 1s
        10 signal.received go 5
        11 activity.completed #4 6
        12 timer.fired #5
        13 activity.scheduled #7 work 4
        14 step.completed #8 s
        15 activity.completed #7 8
        16 run.completed "activity `work` failed: the second failed (second); (6, (), 5); []; [8]"
    "#]]);
}

#[test]
fn completion_of_one_of_many_branches_polls_only_that_branch() {
    thread_local!(static POLLS: Cell<usize> = const { Cell::new(0) });
    struct Counted<F>(F);
    impl<F: Future + Unpin> Future for Counted<F> {
        type Output = F::Output;
        fn poll(mut self: Pin<&mut Self>, task: &mut std::task::Context<'_>) -> Poll<F::Output> {
            POLLS.set(POLLS.get() + 1);
            Pin::new(&mut self.0).poll(task)
        }
    }
    workflow!(W, |ctx| {
        let all = ctx.when_all((0..1000).map(|number| Counted(ctx.activity::<Work>(number)))).await?;
        Ok(all.len().to_string())
    });
    let mut run = crate::testing::unchecked::<W>(&());
    for id in (1..=999).rev() {
        let before = POLLS.get();
        run.complete(id, &0);
        assert_eq!(POLLS.get() - before, 1, "the completion of call {id} polled others");
    }
    run.complete(1000, &0);
    assert!(run.is_closed());
}

#[test]
fn unordered_futures_that_yield_to_themselves_are_polled_until_quiet() {
    workflow!(W, |ctx| {
        let mut pending: FuturesUnordered<_> = (0..3).map(|number| ctx.activity::<Work>(number)).collect();
        let mut results = Vec::new();
        while let Some(result) = pending.next().await {
            results.push(result?);
            yield_to_itself().await;
        }
        Ok(format!("{results:?}"))
    });
    let mut run = begin::<W>();
    run.complete(2, &2);
    run.complete(3, &3);
    run.complete(1, &1);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 0
        3 activity.scheduled #2 work 1
        4 activity.scheduled #3 work 2
        5 activity.completed #2 2
        6 activity.completed #3 3
        7 activity.completed #1 1
        8 run.completed "[2, 3, 1]"
    "#]]);
}

/// Wakes itself and is pending once.
async fn yield_to_itself() {
    let mut yielded = false;
    poll_fn(|task| match std::mem::replace(&mut yielded, true) {
        true => Poll::Ready(()),
        false => {
            task.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

#[test]
fn compensation_options_may_be_set_until_the_next_await() {
    workflow!(W, |ctx| {
        let undo = ctx.on_failure::<Work>(1).retry(RetryPolicy::exponential().max_attempts(2));
        ctx.sleep(SECOND).await?;
        let _late = undo.start_to_close(SECOND);
        Ok(String::new())
    });
    let mut run = begin::<W>();
    run.pass(SECOND);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 compensation.registered #1 work 1
        3 timer.started #2 until 1s
        4 run.stalled: the compensation at core/src/workflow/calls/tests.rs:LINE its options are set after an await; set them where it is registered
        5 timer.fired #2
    "#]]);
}

#[test]
fn time_random_numbers_and_ids_are_the_same_in_every_replay() {
    workflow!(W, |ctx| {
        let before = (ctx.now(), ctx.random(), ctx.uuid());
        ctx.wait_for(GO).await?;
        ctx.activity::<Work>(ctx.random() as u32).await?;
        Ok(format!("{before:?} {}", ctx.uuid()))
    });
    let mut run = begin::<W>();
    run.pass(SECOND);
    run.signal("go", &0);
    run.reload();
    run.complete(2, &0);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 signal.received go 0
        3 activity.scheduled #2 work 834736921
        4 run.adopted lease 2
        5 activity.completed #2 0
        6 run.completed "(2023-11-14T22:13:20Z, 11992353071355107946, 94beae17-463f-4603-a577-da04ccb1a52a) f2d6f961-a948-4b24-900a-ac499cf5a436"
    "#]]);
}

#[test]
fn undecodable_values_stall_until_code_can_read_them() {
    workflow!(W, |ctx| {
        ctx.activity::<Work>(1).await?;
        Ok(String::new())
    });
    let mut run = begin::<W>();
    run.complete(1, &"no number");
    workflow!(S, |ctx| {
        ctx.wait_for(GO).await?;
        Ok(String::new())
    });
    let mut signalled = begin::<S>();
    signalled.signal("go", &"no number");
    expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 1
        3 run.stalled: the result of activity `work`: 10 bytes of CBOR are not a u32: invalid type: string, expected integer; deploy code that can read it, and the run resumes
        4 activity.completed #1 "no number"
        1 run.started S
        2 run.stalled: the content of signal `go`: 10 bytes of CBOR are not a u32: invalid type: string, expected integer; deploy code that can read it, and the run resumes
        3 signal.received go "no number"
    "#]].assert_eq(&(run.new_events() + &signalled.new_events()));
}

#[test]
fn error_of_the_users_own_type_ends_the_run() {
    workflow!(W, |_ctx| {
        let number: u32 = "ten".parse()?;
        Ok(number.to_string())
    });
    workflow!(Own, |_ctx| Err(WorkflowError::new("out-of-stock", "no more").with_details(&3)));
    expect![[r#"
        1 run.started W
        2 run.failed: invalid digit found in string (core::num::error::ParseIntError)
        1 run.started Own
        2 run.failed: no more (out-of-stock)
    "#]]
    .assert_eq(&(begin::<W>().new_events() + &begin::<Own>().new_events()));
}

#[test]
fn option_set_after_the_first_poll_stalls_and_names_both_lines() {
    workflow!(W, |ctx| {
        let mut work = ctx.activity::<Work>(1);
        // The future is polled before its last option is set.
        assert!(futures::poll!(&mut work).is_pending());
        let result = work.retry(RetryPolicy::exponential()).await?;
        Ok(result.to_string())
    });
    let mut run = begin::<W>();
    run.assert_logged(&expect![[r#"
        1 run.stalled: activity `work` at core/src/workflow/calls/tests.rs:LINE an option is set at core/src/workflow/calls/tests.rs:LINE, after its first poll; set all options before the future is polled
        2 run.started W
    "#]]);
}

#[test]
fn option_of_a_step_set_after_its_end_stalls() {
    workflow!(W, |ctx| {
        let mut step = ctx.step("quick", || async { Ok(1) });
        let first = (&mut step).await?;
        drop(step.retry(RetryPolicy::exponential()));
        Ok(first.to_string())
    });
    let mut run = begin::<W>();
    run.complete_step(1, &1);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 run.stalled: step `quick` at core/src/workflow/calls/tests.rs:LINE an option is set at core/src/workflow/calls/tests.rs:LINE, after its first poll; set all options before the future is polled
        3 step.completed #1 quick 1
    "#]]);
}

#[test]
fn sent_signal_is_logged_and_needs_no_answer() {
    workflow!(W, |ctx| {
        ctx.signal(Recipient::named("order", "order:7"), GO, 7);
        ctx.signal(ctx.run_id(), NamedSignal::new(format!("go-{}", 8)), 8);
        Ok(ctx.wait_for(NamedSignal::<u32>::new("go-8")).await?.to_string())
    });
    let mut run = begin::<W>();
    run.signal("go-8", &8);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 signal.sent #1 to run `order:7` of `order` go 7
        3 signal.sent #2 to a run go-8 8
        4 signal.received go-8 8
        5 run.completed "8"
    "#]]);
}

#[test]
fn signal_that_cannot_be_sent_or_awaited_stalls_the_run() {
    workflow!(Nameless, |ctx| {
        ctx.signal(ctx.run_id(), NamedSignal::new(""), 7);
        Ok(String::new())
    });
    workflow!(Keyless, |ctx| {
        ctx.signal(Recipient::named("order", "a\nb"), GO, 7);
        Ok(String::new())
    });
    workflow!(Huge, |ctx| {
        ctx.signal(ctx.run_id(), NamedSignal::new("huge"), vec![7_u8; 3 << 20]);
        Ok(String::new())
    });
    workflow!(Waits, |ctx| Ok(ctx.wait_for(NamedSignal::<u32>::new("x".repeat(300))).await?.to_string()));
    for (run, expected) in [
        (begin::<Nameless>(), "the signal \"\" is empty"),
        (begin::<Keyless>(), "the key \"a\\nb\" contains a control character"),
        (begin::<Huge>(), "the content of signal `huge` has "),
        (begin::<Waits>(), "has 300 bytes, and the limit is 255"),
    ] {
        let reason = run.run.state.stalled.clone().expect("the run stalled");
        assert!(reason.contains(expected), "{reason}");
    }
}

#[test]
fn child_with_an_option_out_of_its_range_stalls_the_run_and_says_why() {
    crate::testing::workflow!(Other, "other", |ctx, _: ()| -> String {
        ctx.sleep(SECOND).await?;
        Ok(String::new())
    });
    macro_rules! stall_of {
        ($($option:tt)+) => {{
            workflow!(W, |ctx| ctx.child::<Other>(())$($option)+.await);
            let run = begin::<W>();
            assert_eq!(run.log.len(), 2, "nothing is logged but the stall and the start");
            run.run.state.stalled.clone().expect("it stalled")
        }};
    }
    for (reason, words) in [
        (stall_of!(.deadline(Duration::ZERO)), "the deadline of the child is 0ns; give more than zero"),
        (
            stall_of!(.grace(SECOND)),
            "the child has a grace without a deadline; set the `deadline` that it follows",
        ),
        (stall_of!(.queue("")), "child `other` at core/src/workflow/calls/tests.rs"),
        (stall_of!(.queue("two\nlines")), "queue"),
        (stall_of!(.key("")), "key"),
    ] {
        assert!(reason.contains(words), "{words}: {reason}");
    }
}

#[test]
fn child_has_the_deadline_of_its_call() {
    crate::testing::workflow!(Other, "other", |ctx, _: ()| -> String {
        ctx.sleep(SECOND).await?;
        Ok(String::new())
    });
    workflow!(W, |ctx| ctx.child::<Other>(()).deadline(2 * SECOND).grace(SECOND).await);
    let run = begin::<W>();
    let text = crate::testing::history(&run.log);
    assert!(text.contains("child.started #1 other") && text.contains("deadline 2s grace_until 3s"), "{text}");
}
