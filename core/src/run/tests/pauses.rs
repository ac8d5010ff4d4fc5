//! Tests of runs that a client pauses. They must not need a processor.

use futures::future::join;

use super::*;

#[test]
fn paused_run_takes_what_happened_in_order_when_it_is_resumed() {
    workflow!(W, |ctx| {
        let (work, slept, signal) = join3(ctx.activity::<Work>(1), ctx.sleep(SECOND), ctx.wait_for(GO)).await;
        slept?;
        ctx.sleep(SECOND).await?;
        Ok(work? + signal?)
    });
    let mut run = begin::<W>();
    run.pause();
    assert_eq!(
        crate::testing::without_lines(&run.run.waiting_on().unwrap()),
        "a resume (paused: maintenance), activity `work` at core/src/run/tests/pauses.rs:LINE, timer until \
         2023-11-14T22:13:21.000000Z at core/src/run/tests/pauses.rs:LINE, signal `go` at \
         core/src/run/tests/pauses.rs:LINE"
    );
    run.signal("go", &2);
    run.pass(2 * SECOND);
    run.complete(1, &3);
    // A new owner keeps it paused.
    run.reload();
    assert!(run.run.state.paused.is_some() && !run.run.can_release() && !run.run.state.is_busy());
    run.unpause();
    // The second sleep began when the first was over, as if there had been no pause.
    run.pass(Duration::ZERO);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 activity.scheduled #1 work 1
        3 timer.started #2 until 1s
        4 run.paused: maintenance
        5 signal.received go 2
        6 timer.fired #2
        7 activity.completed #1 3
        8 run.adopted lease 2
        9 run.unpaused
        10 run.resumed 3 released
        11 timer.started #4 until 3s
    "#]]);
    run.pass(SECOND);
    assert!(run.is_closed());
}

#[test]
fn pause_in_which_nothing_happened_leaves_two_events() {
    workflow!(W, |ctx| ctx.wait_for(GO).await);
    let mut run = begin::<W>();
    run.pause();
    run.pause();
    run.unpause();
    run.unpause();
    run.signal("go", &2);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 run.paused: maintenance
        3 run.unpaused
        4 signal.received go 2
        5 run.completed 2
    "#]]);
}

#[test]
fn step_of_a_paused_run_begins_after_the_pause_where_no_process_has_it() {
    workflow!(W, |ctx| ctx.step("step", || async { Ok(1) }).await);
    let mut run = begin::<W>();
    run.pause();
    run.reload();
    assert!(run.steps.is_empty());
    run.unpause();
    assert_eq!(run.steps.len(), 1);
    run.complete_step(1, &7);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 run.paused: maintenance
        3 run.adopted lease 2
        4 run.unpaused
        5 step.completed #1 step 7
        6 run.completed 7
    "#]]);
}

#[test]
fn retry_of_a_paused_run_is_recorded_and_waits() {
    workflow!(W, |ctx| {
        let retry = RetryPolicy::exponential().max_attempts(2);
        ctx.activity::<Work>(1).retry(retry).await
    });
    let mut run = begin::<W>();
    run.pause();
    run.fail(1, broken());
    assert_eq!(run.run.state.wake_at(), None, "nothing begins before the run is resumed");
    run.unpause();
    assert!(run.run.state.wake_at().is_some());
}

#[test]
fn cancellation_waits_for_the_end_of_a_pause_and_termination_does_not() {
    workflow!(W, |ctx| ctx.wait_for(GO).await);
    let (mut cancelled, mut terminated) = (begin::<W>(), begin::<W>());
    for run in [&mut cancelled, &mut terminated] {
        run.pause();
        run.cancel();
        assert!(!run.is_closed());
    }
    terminated.terminate();
    cancelled.unpause();
    cancelled.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 run.paused: maintenance
        3 cancel.requested: enough
        4 run.unpaused
        5 run.resumed 1 released
        6 run.cancelled: enough
    "#]]);
    terminated.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 run.paused: maintenance
        3 cancel.requested: enough
        4 run.terminated: no more
    "#]]);
}

#[test]
fn run_that_is_paused_while_it_compensates_ends_with_what_is_under_way() {
    workflow!(W, |ctx| {
        ctx.on_failure::<Work>(1);
        ctx.on_failure::<Other>(2);
        ctx.wait_for(GO).await?;
        Err(WorkflowError::new("over", "it ends"))
    });
    let mut run = begin::<W>();
    run.signal("go", &1);
    run.pause();
    // The next one is scheduled, and the processor begins no attempt of it.
    run.complete(2, &1);
    assert!(run.run.waiting_on().unwrap().starts_with("a resume (paused: maintenance), compensation `work`"));
    run.reload();
    run.unpause();
    run.complete(1, &1);
    assert!(run.is_closed());
}

#[test]
fn round_ends_during_a_pause_and_the_code_learns_of_it_afterwards() {
    workflow!(W, |ctx| {
        ctx.on_failure::<Work>(1);
        Ok(ctx.compensate().await.len() as u32)
    });
    let mut run = begin::<W>();
    run.pause();
    run.fail(1, broken());
    run.unpause();
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 compensation.registered #1 work 1
        3 compensations.begun #2
        4 compensation.scheduled #1
        5 run.paused: maintenance
        6 compensation.failed #1: it broke (broken)
        7 compensations.ended #2; compensation work: it broke (broken)
        8 run.unpaused
        9 run.resumed 1 released
        10 run.completed 1
    "#]]);
}

#[test]
fn paused_run_whose_code_cannot_follow_stalls_and_stays_paused() {
    workflow!(W, |ctx| {
        ctx.wait_for(GO).await?;
        panic_if_broken();
        ctx.wait_for(GO).await
    });
    let mut run = begin::<W>();
    run.signal("go", &1);
    run.pause();
    deploy_broken_build(true);
    run.reload();
    assert!(run.run.state.paused.is_some() && run.run.state.stalled.is_some());
    assert!(run.run.waiting_on().unwrap().starts_with("a resume (paused: maintenance), stalled: "));
    run.repair();
    run.signal("go", &2);
    run.unpause();
    assert!(run.is_closed());
}

#[test]
fn deadline_cancels_the_run_and_its_cancellation_is_a_time_out() {
    workflow!(W, |ctx| {
        ctx.on_failure::<Work>(1);
        let (shielded, waited) =
            join(ctx.shield(async { ctx.activity::<Other>(2).await }), ctx.wait_for(GO)).await;
        shielded?;
        waited
    });
    deploy_broken_build(false);
    let mut run = RunFixture::start_limited::<W>(&0, 5 * SECOND, Some(SECOND));
    run.reload();
    run.pass(5 * SECOND);
    run.complete(2, &1);
    run.fail(1, broken());
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0 deadline 5s grace_until 6s
        2 compensation.registered #1 work 1
        3 activity.scheduled #2 other 2
        4 run.adopted lease 2
        5 deadline.passed deadline 5s
        6 activity.completed #2 1
        7 run.ending cancelled
        8 compensation.scheduled #1
        9 compensation.failed #1: it broke (broken)
        10 run.timed-out deadline 5s; compensation work: it broke (broken)
    "#]]);
}

#[test]
fn grace_ends_the_run_without_its_code_whether_it_runs_has_stalled_or_is_paused() {
    workflow!(W, |ctx| {
        ctx.on_failure::<Undo>(1);
        let _ = ctx.wait_for(GO).await;
        panic_if_broken();
        ctx.wait_for(GO).await
    });
    let disturbances: [fn(&mut RunFixture); 3] = [|_| {}, |_| deploy_broken_build(true), RunFixture::pause];
    for disturb in disturbances {
        deploy_broken_build(false);
        let mut run = RunFixture::start_limited::<W>(&0, SECOND, Some(SECOND));
        disturb(&mut run);
        run.pass(SECOND);
        assert_eq!(run.run.state.wake_at(), Some(BORN.saturating_add(2 * SECOND)));
        run.pass(SECOND);
        let end = history(&run.log[run.log.len() - 1..]);
        assert!(
            end.ends_with("run.timed-out deadline 1s grace_until 2s; compensation undo left out\n"),
            "{end}"
        );
        deploy_broken_build(false);
        let examined = examine(run_id(7), &run.log, &run.registry, run.now).unwrap();
        assert_eq!(examined.divergence, None, "the code was not asked");
    }
}

#[test]
fn grace_begins_when_the_deadline_is_noticed() {
    workflow!(W, |ctx| {
        let _ = ctx.wait_for(GO).await;
        ctx.wait_for(GO).await
    });
    deploy_broken_build(false);
    let mut run = RunFixture::start_limited::<W>(&0, SECOND, Some(SECOND));
    run.now = BORN.saturating_add(60 * SECOND);
    run.pass(Duration::ZERO);
    assert_eq!(run.run.state.wake_at(), Some(BORN.saturating_add(61 * SECOND)));
}

#[test]
fn deadline_after_a_cancellation_changes_nothing() {
    workflow!(W, |ctx| {
        ctx.wait_for(GO).await.ok();
        ctx.wait_for(GO).await?;
        Err(WorkflowError::cancelled())
    });
    deploy_broken_build(false);
    let mut run = RunFixture::start_limited::<W>(&0, SECOND, None);
    run.cancel();
    run.pass(SECOND);
    run.signal("go", &1);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0 deadline 1s
        2 cancel.requested: enough
        3 deadline.passed deadline 1s
        4 signal.received go 1
        5 run.cancelled: enough
    "#]]);
}

#[test]
fn run_that_is_over_in_time_has_no_deadline() {
    workflow!(W, |ctx| ctx.wait_for(GO).await);
    deploy_broken_build(false);
    let mut run = RunFixture::start_limited::<W>(&0, SECOND, Some(SECOND));
    run.signal("go", &1);
    run.pass(5 * SECOND);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0 deadline 1s grace_until 2s
        2 signal.received go 1
        3 run.completed 1
    "#]]);
}

#[test]
fn payloads_that_wait_for_a_paused_run_count_towards_its_memory() {
    workflow!(W, |ctx| {
        ctx.wait_for(Signal::<String>::new("text")).await?;
        ctx.wait_for(GO).await
    });
    let mut run = begin::<W>();
    run.pause();
    let before = run.run.bytes();
    run.signal("text", &"x".repeat(100_000));
    assert!(run.run.bytes() > before + 100_000);
    run.reload();
    assert!(run.run.bytes() > before + 100_000);
    run.unpause();
    assert!(run.run.bytes() < before + 10_000);
    assert_eq!(run.run.state.payload_bytes, 0);
}
