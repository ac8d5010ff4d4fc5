//! Tests of runs that continue others: by continue-as-new, and by retries of whole runs. They must not need a processor.

use super::*;
use crate::data::chain::RunRetry;

/// Waits for a signal, and continues with the sum, until it is 10.
macro_rules! sum {
    ($ctx:ident, $sum:ident) => {{
        if $sum >= 10 {
            return Ok($sum);
        }
        let next = $ctx.wait_for(GO).await?;
        $ctx.continue_as_new::<Sum>($sum + next).await
    }};
}

crate::testing::workflow!(Sum, "sum", |ctx, sum: u32| -> u32 { sum!(ctx, sum) });

#[test]
fn successor_begins_with_the_input_and_is_released_once_it_is_in_the_log() {
    let mut run = RunFixture::start::<Sum>(&1);
    let first = run.run.state.id;
    run.signal("go", &4);
    assert!(run.new_events().ends_with(&format!("3 run.continued successor {}\n", run.successor().run)));

    run.go_on();
    run.assert_logged(&expect![[r#"
        1 run.started sum 5 chain number 2
        2 messages.known messages 1
        3 run.resumed 1 released
    "#]]);
    let link = run.run.state.chain.as_deref().unwrap();
    assert_eq!((link.first, link.predecessor, link.number), (first, first, 2));
    assert_eq!(run.run.state.id.shard(), first.shard());
    run.reload();
    run.signal("go", &6);
    run.go_on();
    assert_eq!(run.run.state.chain.as_deref().unwrap().first, first);
    run.assert_logged(&expect![[r#"
        1 run.started sum 11 chain number 3
        2 messages.known messages 2
        3 run.resumed 1 released
        4 run.completed 11
    "#]]);
}

#[test]
fn signals_that_no_call_has_taken_go_along_in_their_order() {
    workflow!(W, |ctx| {
        ctx.activity::<Work>(1).await?;
        ctx.wait_for(GO).await?;
        ctx.continue_as_new::<Sum2>(0).await
    });
    crate::testing::workflow!(Sum2, "workflow", |_ctx, sum: u32| -> u32 { Ok(sum) });
    let mut run = begin::<W>();
    for number in 1..=3 {
        run.signal("go", &number);
    }
    run.signal("other", &9);
    run.complete(1, &0);
    run.go_on();
    let text = run.new_events();
    let signals: Vec<&str> = text.lines().filter(|line| line.contains("signal.received")).collect();
    assert_eq!(signals, ["3 signal.received go 2", "4 signal.received go 3", "5 signal.received other 9"]);
}

#[test]
fn continuation_cannot_be_taken_back_and_cancels_open_calls() {
    workflow!(W, |ctx| {
        let work = ctx.spawn(ctx.activity::<Work>(1));
        ctx.wait_for(GO).await?;
        {
            let next = ctx.continue_as_new::<W>(7);
            let mut next = std::pin::pin!(next);
            // Polled once, and dropped.
            assert!(futures::poll!(next.as_mut()).is_pending());
        }
        ctx.on_failure::<Undo>(1);
        drop(work);
        Err(WorkflowError::from(crate::data::failure::Failure::new("late", "too late")))?
    });
    let mut run = begin::<W>();
    run.signal("go", &0);
    assert!(run.new_events().contains("activity.cancelled #1"));
    assert_eq!(run.run.state.closed, Some(crate::store::append::ClosedStatus::Continued));
    run.check();
}

#[test]
fn continuation_as_another_workflow_or_with_compensations_stalls_the_run() {
    workflow!(Other1, |ctx| {
        ctx.wait_for(GO).await?;
        ctx.continue_as_new::<Sum>(1).await
    });
    let mut run = begin::<Other1>();
    run.signal("go", &1);
    assert!(run.new_events().contains("a run continues as its own workflow"));
    assert!(!run.is_closed());

    workflow!(Compensated, |ctx| {
        ctx.on_failure::<Undo>(1);
        ctx.wait_for(GO).await?;
        ctx.continue_as_new::<Compensated>(1).await
    });
    let mut run = begin::<Compensated>();
    run.signal("go", &1);
    assert!(run.new_events().contains("while 1 of its compensations are registered"));
    assert!(!run.is_closed());
}

#[test]
fn handler_may_continue_its_run() {
    workflow!(W, |ctx| {
        let inner = ctx.clone();
        let _serving = ctx.serve(GO, async move |_number: u32| {
            inner.continue_as_new::<W>(1).await;
        });
        ctx.activity::<Work>(1).await
    });
    let mut run = begin::<W>();
    run.signal("go", &0);
    let text = run.new_events();
    assert!(text.contains("run.continued"), "{text}");
    run.go_on();
    assert!(run.new_events().contains("activity.scheduled #1 work 1"));
}

#[test]
fn length_of_the_history_is_the_same_live_in_a_replay_and_at_a_release() {
    thread_local!(static SEEN: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) });
    workflow!(W, |ctx| {
        let look = |ctx: &Context| SEEN.with_borrow_mut(|seen| seen.push(ctx.history_len()));
        look(&ctx);
        for _ in 0..3 {
            ctx.wait_for(GO).await?;
            panic_if_broken();
            look(&ctx);
        }
        Ok(0)
    });
    let take = || SEEN.with_borrow_mut(std::mem::take);
    let mut run = unchecked_begin::<W>();
    take();
    run.signal("go", &1);
    assert_eq!(take(), [2]);
    deploy_broken_build(true);
    run.signal("go", &2);
    take();
    deploy_broken_build(false);
    // The stall is event 3, so the signal is event 4, when it is released as well.
    run.reload();
    assert_eq!(take(), [1, 2, 4]);
    run.reload();
    assert_eq!(take(), [1, 2, 4]);
    run.signal("go", &3);
    // Two adoptions and a release precede it.
    assert_eq!(take(), [run.run.state.event_count() - 1]);
}

#[test]
fn run_that_failed_is_tried_again_after_its_compensations() {
    workflow!(W, |ctx| {
        if ctx.attempt() < 3 {
            ctx.on_failure::<Work>(ctx.attempt());
            Err(std::io::Error::other("locked"))?;
        }
        Ok(ctx.attempt())
    });
    let mut run = retried::<W>(RetryPolicy::exponential().max_attempts(3));
    run.signal("go", &5);
    assert_eq!(run.run.refusal(&"add".into(), &payload(&6)), None, "the next attempt may answer it");
    run.update("add", &6);
    run.complete(1, &0);
    let text = run.new_events();
    assert!(text.contains("7 compensation.completed #1\n8 run.retried"), "{text}");
    run.go_on();
    let text = run.new_events();
    assert!(text.contains("signal.received go 5") && text.contains("update.received add 6"), "{text}");
    run.pass(SECOND);
    run.complete(1, &0);
    run.go_on();
    run.pass(2 * SECOND);
    assert!(run.new_events().ends_with("run.completed 3\n"));
}

#[test]
fn signals_that_were_not_taken_reach_the_next_attempt_although_changed_code_cannot_tell_which() {
    workflow!(W, |ctx| {
        ctx.activity::<Work>(1).await?;
        ctx.wait_for(GO).await?;
        ctx.on_failure::<Undo>(1);
        Err(std::io::Error::other("locked"))?
    });
    workflow!(Changed, |ctx| ctx.activity::<Other>(1).await);
    // Given a run whose code took one of its signals and failed, and another signal and an update that came later
    let mut run = retried::<W>(RetryPolicy::exponential().max_attempts(2));
    (1..=3).for_each(|number| run.signal("go", &number));
    run.complete(1, &0);
    run.signal("go", &4);
    run.update("add", &5);
    // When a worker with other code executes its compensations
    run.registry = registry_of::<Changed>();
    run.reload();
    run.complete(3, &0);
    // Then the next attempt has all that was not taken, in order
    expect![[r#"
        1 run.started workflow 0 at 0.906577s chain number 2 run_retry 2
        2 messages.known messages 1
        3 signal.received go 2
        4 signal.received go 3
        5 signal.received go 4
        6 update.received add 5
    "#]]
    .assert_eq(&history(&run.successor().events));
}

#[test]
fn run_is_not_tried_again_after_its_last_attempt_or_when_it_is_cancelled() {
    workflow!(W, |ctx| {
        ctx.on_failure::<Work>(0);
        Err(std::io::Error::other("locked"))?
    });
    let mut run = retried::<W>(RetryPolicy::exponential().max_attempts(2));
    run.complete(1, &0);
    run.go_on();
    run.pass(SECOND);
    run.complete(1, &0);
    assert_eq!(run.run.state.closed, Some(crate::store::append::ClosedStatus::Failed));

    let mut run = retried::<W>(RetryPolicy::exponential());
    run.cancel();
    run.complete(1, &0);
    assert_eq!(run.run.state.closed, Some(crate::store::append::ClosedStatus::Failed));

    let final_one = RetryPolicy::exponential().non_retryable(["std::io::error::Error"]);
    let mut run = retried::<W>(final_one);
    run.complete(1, &0);
    assert_eq!(run.run.state.closed, Some(crate::store::append::ClosedStatus::Failed));
}

fn retried<W: Workflow>(policy: RetryPolicy) -> RunFixture {
    deploy_broken_build(false);
    RunFixture::start_retried::<W>(registry_of::<W>(), payload(&0), None, RunRetry::first(policy))
}

fn unchecked_begin<W: Workflow<Input = u32>>() -> RunFixture {
    deploy_broken_build(false);
    crate::testing::unchecked::<W>(&0)
}
