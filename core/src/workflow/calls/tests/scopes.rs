//! Tests of shields, scopes and the latch of a cancellation. They must not need a processor.

use super::*;
use crate::workflow::error::WorkflowResult;

/// What a call returned, in a word.
fn word<T>(result: WorkflowResult<T>) -> String {
    match result {
        Ok(_) => "done".to_owned(),
        Err(error) if error.is_cancelled() => "cancelled".to_owned(),
        Err(error) if error.is_timeout() => "timed out".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// A run that is asked to cancel itself as soon as its code waits.
fn begin_cancelled<W: Workflow<Input = ()>>() -> RunFixture {
    let mut run = begin::<W>();
    run.cancel();
    run
}

#[test]
fn shielded_call_goes_on_and_the_next_call_outside_is_cancelled_without_being_issued() {
    workflow!(W, |ctx| {
        let shielded = word(ctx.shield(async { ctx.activity::<Work>(1).await }).await);
        let first = word(ctx.activity::<Work>(2).await);
        let second = word(ctx.activity::<Work>(3).await);
        Ok(format!("{shielded}, {first}, {second}"))
    });
    let mut run = begin_cancelled::<W>();
    run.complete(1, &1);
    run.complete(2, &1);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 1
        3 cancel.requested: enough
        4 activity.completed #1 1
        5 activity.scheduled #2 work 3
        6 activity.completed #2 1
        7 run.completed "done, cancelled, done"
    "#]]);
}

#[test]
fn child_that_is_started_after_the_shield_is_cancelled_without_being_issued() {
    crate::testing::workflow!(Other, "other", |ctx, _: ()| -> String {
        ctx.sleep(SECOND).await?;
        Ok(String::new())
    });
    workflow!(W, |ctx| {
        let shielded = word(ctx.shield(async { ctx.activity::<Work>(1).await }).await);
        let child = ctx.child::<Other>(()).start();
        let second = word(ctx.activity::<Work>(2).await);
        Ok(format!("{shielded}, {}, {second}", word(child.await)))
    });
    let mut run = begin_cancelled::<W>();
    run.complete(1, &1);
    run.complete(2, &1);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 1
        3 cancel.requested: enough
        4 activity.completed #1 1
        5 activity.scheduled #2 work 2
        6 activity.completed #2 1
        7 run.completed "done, cancelled, done"
    "#]]);
}

#[test]
fn cancellation_that_finds_a_call_outside_of_the_shield_is_not_latched() {
    workflow!(W, |ctx| {
        let shielded = ctx.shield(async { ctx.activity::<Work>(1).await });
        let (shielded, outside) = join(shielded, ctx.wait_for(GO)).await;
        let next = word(ctx.sleep(SECOND).await);
        Ok(format!("{}, {}, {next}", word(shielded), word(outside)))
    });
    let mut run = begin_cancelled::<W>();
    run.complete(1, &1);
    run.pass(SECOND);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 1
        3 cancel.requested: enough
        4 activity.completed #1 1
        5 timer.started #3 until 1s
        6 timer.fired #3
        7 run.completed "done, cancelled, done"
    "#]]);
}

#[test]
fn every_kind_of_call_takes_a_latched_cancellation_and_what_waits_for_nothing_does_not() {
    workflow!(W, |ctx| {
        let mutex = ctx.mutex("mutex", 0);
        let mut words = Vec::new();
        for round in 0..6 {
            let stop = ctx.scope(async {
                ctx.shield(ctx.sleep(SECOND)).await?;
                // None of these waits.
                ctx.record("value", || 1).await;
                ctx.on_failure::<Work>(0).discard();
                let guard = mutex.lock().await?;
                let result = match round {
                    0 => word(ctx.activity::<Work>(1).await),
                    1 => word(ctx.step("step", || async { Ok(()) }).await),
                    2 => word(ctx.sleep(SECOND).await),
                    3 => word(ctx.wait_for(GO).await),
                    4 => word(mutex.lock().await),
                    _ => word(ctx.spawn(ctx.activity::<Work>(1)).await),
                };
                drop(guard);
                ctx.activity::<Work>(2).wait_for_outcome().await?;
                Ok::<_, WorkflowError>(result)
            });
            assert!(stop.handle().cancel());
            let cancelled = word(ctx.shield(stop).await);
            words.push(cancelled);
        }
        Ok(words.join(", "))
    });
    let mut run = begin::<W>();
    for round in 0..6 {
        run.pass(SECOND);
        run.complete(3 * round + 3, &1);
    }
    let last = run.log.last().map(|past| past.event.to_string());
    assert_eq!(last.as_deref(), Some(r#"run.completed "done, done, done, done, done, done""#));
    let text = run.new_events();
    assert!(!text.contains("work 1") && !text.contains("step.completed"), "{text}");
}

#[test]
fn deadline_cancels_what_the_scope_waits_for_and_its_code_may_clean_up() {
    workflow!(W, |ctx| {
        let scope = ctx.scope(async {
            let work = ctx.activity::<Work>(1).await;
            ctx.activity::<Work>(2).await?;
            work
        });
        let (scoped, outside) = join(scope.deadline(SECOND), ctx.sleep(3 * SECOND)).await;
        Ok(format!("{}, {}", scoped.unwrap_err(), word(outside)))
    });
    let mut run = begin::<W>();
    run.pass(2 * SECOND);
    run.complete(4, &1);
    run.pass(SECOND);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 1
        3 timer.started #2 until 1s
        4 timer.started #3 until 3s
        5 timer.fired #2
        6 activity.cancelled #1
        7 activity.scheduled #4 work 2
        8 activity.completed #4 1
        9 timer.fired #3
        10 run.completed "the scope at core/src/workflow/calls/tests/scopes.rs:LINE was not done within its deadline of 1s (timed-out), done"
    "#]]);
}

#[test]
fn scope_that_is_done_in_time_cancels_its_timer() {
    workflow!(W, |ctx| {
        let scope = ctx.scope(async { ctx.activity::<Work>(1).await }).deadline(SECOND);
        Ok(scope.await?.to_string())
    });
    let mut run = begin::<W>();
    run.complete(1, &1);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 1
        3 timer.started #2 until 1s
        4 activity.completed #1 1
        5 timer.cancelled #2
        6 run.completed "1"
    "#]]);
}

#[test]
fn handle_cancels_a_scope_from_elsewhere_once() {
    workflow!(W, |ctx| {
        let scope = ctx.scope(async { ctx.activity::<Work>(1).await });
        let handle = scope.handle();
        let stop = async {
            ctx.wait_for(GO).await?;
            Ok::<_, WorkflowError>((handle.cancel(), handle.cancel()))
        };
        let (scoped, stopped) = join(scope, stop).await;
        assert_eq!(stopped?, (true, false));
        assert!(!handle.cancel(), "it is over");
        Ok(scoped.unwrap_err().failure().unwrap().type_name.clone())
    });
    let mut run = begin::<W>();
    run.signal("go", &1);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 1
        3 signal.received go 1
        4 activity.cancelled #1
        5 run.completed "scope-cancelled"
    "#]]);
}

#[test]
fn handle_that_outlives_the_scope_and_calls_that_leave_it_do_no_harm() {
    workflow!(W, |ctx| {
        let (mut work, mut sleep) = (None, None);
        let scope = ctx.scope(async {
            work = Some(ctx.spawn(ctx.activity::<Work>(1)));
            Ok::<_, WorkflowError>(())
        });
        let handle = scope.handle();
        scope.deadline(SECOND).await?;
        let dropped = ctx.scope(async { Ok::<_, WorkflowError>(()) });
        let unused = dropped.handle();
        drop(dropped);
        assert!(!handle.cancel() && !unused.cancel());
        ctx.shield(async { sleep = Some(ctx.spawn(ctx.sleep(SECOND))) }).await;
        let (work, sleep) = join(work.unwrap(), sleep.unwrap()).await;
        Ok(format!("{}, {}", word(work), word(sleep)))
    });
    let mut run = begin::<W>();
    // The run's cancellation reaches the one that left a scope, and not the one that left a shield.
    run.cancel();
    run.pass(SECOND);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 1
        3 timer.started #2 until 1s
        4 cancel.requested: enough
        5 activity.cancelled #1
        6 timer.fired #2
        7 run.completed "cancelled, done"
    "#]]);
}

#[test]
fn scope_within_a_shield_is_cancelled_by_itself_only_wherever_it_was_made() {
    workflow!(W, |ctx| {
        let scope = ctx.scope(async { ctx.activity::<Work>(1).await }).deadline(SECOND);
        let scoped = word(ctx.shield(scope).await);
        let next = word(ctx.sleep(SECOND).await);
        Ok(format!("{scoped}, {next}"))
    });
    let mut run = begin_cancelled::<W>();
    run.pass(SECOND);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 1
        3 timer.started #2 until 1s
        4 cancel.requested: enough
        5 timer.fired #2
        6 activity.cancelled #1
        7 run.completed "timed out, cancelled"
    "#]]);
}

#[test]
fn shield_within_a_scope_outlasts_its_deadline_which_the_next_call_takes() {
    workflow!(W, |ctx| {
        let scope = ctx.scope(async {
            ctx.shield(async { ctx.activity::<Work>(1).await }).await?;
            let next = word(ctx.wait_for(GO).await);
            let after = word(ctx.sleep(SECOND).await);
            Ok::<_, WorkflowError>(format!("{next}, {after}"))
        });
        scope.deadline(SECOND).await
    });
    let mut run = begin::<W>();
    run.pass(2 * SECOND);
    run.complete(1, &1);
    run.pass(SECOND);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 1
        3 timer.started #2 until 1s
        4 timer.fired #2
        5 activity.completed #1 1
        6 timer.started #3 until 3s
        7 timer.fired #3
        8 run.completed "cancelled, done"
    "#]]);
}

#[test]
fn cancellation_of_the_run_passes_through_a_scope_and_its_deadline() {
    workflow!(W, |ctx| {
        let scope = ctx.scope(async { ctx.activity::<Work>(1).await });
        let scoped = word(scope.deadline(SECOND).await);
        // A run that is cancelled stays cancelled, even if a scope's deadline passes meanwhile.
        let late = ctx.scope(async { ctx.sleep(3 * SECOND).await });
        Ok(format!("{scoped}, {}", word(late.deadline(SECOND).await)))
    });
    let mut run = begin_cancelled::<W>();
    run.pass(2 * SECOND);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 1
        3 timer.started #2 until 1s
        4 cancel.requested: enough
        5 activity.cancelled #1
        6 timer.cancelled #2
        7 timer.started #3 until 3s
        8 timer.started #4 until 1s
        9 timer.fired #4
        10 timer.cancelled #3
        11 run.completed "cancelled, timed out"
    "#]]);
}

#[test]
fn cancellation_of_the_run_is_not_taken_for_the_deadline_that_follows() {
    workflow!(W, |ctx| {
        let scope = ctx.scope(async {
            let first = ctx.activity::<Work>(1).await;
            assert_eq!(word(ctx.activity::<Work>(2).await), "cancelled");
            first
        });
        Ok(word(scope.deadline(2 * SECOND).await))
    });
    let mut run = begin_cancelled::<W>();
    run.pass(2 * SECOND);
    let last = run.log.last().map(|past| past.event.to_string());
    assert_eq!(last.as_deref(), Some(r#"run.completed "cancelled""#));
}

#[test]
fn deadline_of_zero_or_beyond_all_times_is_an_error_and_a_late_one_stalls() {
    workflow!(W, |ctx| {
        let mut words = Vec::new();
        for limit in [Duration::ZERO, Duration::MAX] {
            let scope = ctx.scope(async { ctx.sleep(SECOND).await }).deadline(limit);
            words.push(scope.await.unwrap_err().failure().unwrap().type_name.clone());
        }
        let mut late = ctx.scope(async { ctx.sleep(SECOND).await });
        let polled = futures::poll!(&mut late);
        assert!(polled.is_pending());
        ctx.signal(ctx.run_id(), GO, 1);
        drop(late.deadline(SECOND));
        Ok(words.join(", "))
    });
    let run = begin::<W>();
    let reason = run.run.state.stalled.clone().unwrap();
    assert!(reason.contains("after its first poll; set it before the future is polled"), "{reason}");
    workflow!(Refused, |ctx| {
        let mut words = Vec::new();
        for limit in [Duration::ZERO, Duration::MAX] {
            let scope = ctx.scope(async { ctx.sleep(SECOND).await }).deadline(limit);
            words.push(scope.await.unwrap_err().failure().unwrap().type_name.clone());
        }
        Ok(words.join(", "))
    });
    begin::<Refused>().assert_logged(&expect![[r#"
        1 run.started Refused
        2 run.completed "invalid-deadline, invalid-deadline"
    "#]]);
}

#[test]
fn branches_of_a_cancelled_scope_begin_no_further_and_its_clean_up_does() {
    workflow!(W, |ctx| {
        let scope = ctx.scope(async {
            let each = ctx.for_each(1..=4, |item| ctx.activity::<Work>(item)).limit(1).await;
            assert_eq!(word(each), "cancelled");
            ctx.for_each([5, 6], |item| ctx.activity::<Work>(item)).limit(1).await
        });
        let outside = ctx.for_each([7, 8], |item| ctx.activity::<Work>(item)).limit(1);
        let (scoped, outside) = join(scope.deadline(SECOND), outside).await;
        Ok(format!("{}, {}", word(scoped), word(outside)))
    });
    let mut run = begin::<W>();
    run.pass(SECOND);
    for id in [3, 4, 5, 6] {
        run.complete(id, &1);
    }
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 activity.scheduled #1 work 1
        3 timer.started #2 until 1s
        4 activity.scheduled #3 work 7
        5 timer.fired #2
        6 activity.cancelled #1
        7 activity.scheduled #4 work 5
        8 activity.completed #3 1
        9 activity.scheduled #5 work 8
        10 activity.completed #4 1
        11 activity.scheduled #6 work 6
        12 activity.completed #5 1
        13 activity.completed #6 1
        14 run.completed "done, done"
    "#]]);
}

#[test]
fn timeout_around_a_shield_is_cancelled_and_one_within_is_not() {
    workflow!(W, |ctx| {
        let within = ctx.shield(ctx.activity::<Work>(1).timeout(SECOND));
        let within = word(within.await);
        assert_eq!(word(ctx.sleep(SECOND).await), "cancelled");
        Ok(within)
    });
    workflow!(Around, |ctx| {
        let around = ctx.shield(ctx.activity::<Work>(1)).timeout(SECOND);
        Ok(word(around.await))
    });
    let (mut within, mut around) = (begin::<W>(), begin::<Around>());
    within.cancel();
    within.complete(1, &1);
    around.cancel();
    let last = |run: &RunFixture| run.log.last().map(|past| past.event.to_string());
    assert_eq!(last(&within).as_deref(), Some(r#"run.completed "done""#));
    assert_eq!(last(&around).as_deref(), Some(r#"run.completed "cancelled""#));
}
