//! Tests of rounds of compensations, which the engine executes while the workflow goes on. They must not need a processor.

use futures::future::join;

use super::locals::crash_after_every_group;
use super::*;
use crate::log::event::Event;
use crate::run::RunState;

#[test]
fn round_runs_what_is_registered_newest_first_and_returns_what_failed() {
    workflow!(W, |ctx| {
        ctx.on_failure::<Work>(1);
        ctx.on_failure::<Other>(2);
        let failed = ctx.compensate().await;
        assert_eq!(failed.iter().map(|failed| &*failed.activity).collect::<Vec<_>>(), ["other"]);
        Ok(failed.len() as u32)
    });
    let mut run = begin::<W>();
    assert_eq!(
        crate::testing::without_lines(&run.run.waiting_on().unwrap()),
        "compensation `other` at core/src/run/tests/rounds.rs:LINE"
    );
    run.fail(2, broken());
    run.complete(1, &1);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 compensation.registered #1 work 1
        3 compensation.registered #2 other 2
        4 compensations.begun #3
        5 compensation.scheduled #2
        6 compensation.failed #2: it broke (broken)
        7 compensation.scheduled #1
        8 compensation.completed #1
        9 compensations.ended #3; compensation other: it broke (broken)
        10 run.completed 1
    "#]]);
}

#[test]
fn round_with_nothing_to_do_is_ready_at_once_and_logs_nothing() {
    workflow!(W, |ctx| {
        let before = ctx.compensate().await.len();
        assert!(ctx.on_failure::<Work>(1).discard());
        let after = ctx.compensate().await.len();
        ctx.sleep(SECOND).await?;
        Ok((before + after) as u32)
    });
    let mut run = begin::<W>();
    run.pass(SECOND);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 compensation.registered #1 work 1
        3 compensation.discarded #1
        4 timer.started #2 until 1s
        5 timer.fired #2
        6 run.completed 0
    "#]]);
    crash_after_every_group::<W>(&run);
}

#[test]
fn discarded_compensation_is_not_executed_and_one_of_a_round_cannot_be_discarded() {
    workflow!(W, |ctx| {
        let (kept, sold) = (ctx.on_failure::<Work>(1), ctx.on_failure::<Other>(2));
        ctx.sleep(SECOND).await?;
        assert!(sold.discard());
        let round = ctx.spawn(ctx.compensate());
        assert!(!kept.discard(), "it belongs to the round");
        round.await;
        Err(WorkflowError::new("over", "it ends"))
    });
    let mut run = begin::<W>();
    run.pass(SECOND);
    run.complete(1, &1);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 compensation.registered #1 work 1
        3 compensation.registered #2 other 2
        4 timer.started #3 until 1s
        5 timer.fired #3
        6 compensation.discarded #2
        7 compensations.begun #4
        8 compensation.scheduled #1
        9 compensation.completed #1
        10 compensations.ended #4
        11 run.failed: it ends (over)
    "#]]);
}

#[test]
fn cancellation_does_not_end_a_round() {
    workflow!(W, |ctx| {
        ctx.on_failure::<Work>(1);
        let (failed, slept) = join(ctx.compensate(), ctx.sleep(SECOND)).await;
        assert!(slept.unwrap_err().is_cancelled());
        Ok(failed.len() as u32)
    });
    let mut run = begin::<W>();
    run.cancel();
    run.complete(1, &1);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 compensation.registered #1 work 1
        3 compensations.begun #2
        4 timer.started #3 until 1s
        5 compensation.scheduled #1
        6 cancel.requested: enough
        7 timer.cancelled #3
        8 compensation.completed #1
        9 compensations.ended #2
        10 run.completed 0
    "#]]);
}

#[test]
fn dropped_round_goes_on_and_the_end_waits_for_it_before_its_own_round() {
    workflow!(W, |ctx| {
        ctx.on_failure::<Work>(1);
        ctx.on_failure::<Other>(2);
        drop(ctx.spawn(ctx.compensate()));
        ctx.on_failure::<Undo>(3);
        ctx.sleep(SECOND).await?;
        ctx.spawn(ctx.activity::<Work>(4)).await?;
        Err(WorkflowError::new("over", "it ends"))
    });
    let mut run = begin::<W>();
    run.pass(SECOND);
    run.fail(6, broken());
    // The workflow has returned, and the compensation of the round goes on.
    assert_eq!(run.activities(), [call(2)]);
    run.fail(2, broken());
    run.reload();
    run.complete(1, &1);
    run.complete(4, &1);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 compensation.registered #1 work 1
        3 compensation.registered #2 other 2
        4 compensations.begun #3
        5 compensation.registered #4 undo 3
        6 timer.started #5 until 1s
        7 compensation.scheduled #2
        8 timer.fired #5
        9 activity.scheduled #6 work 4
        10 activity.failed #6: it broke (broken)
        11 run.ending failed: activity `work` failed: it broke (broken)
        12 compensation.failed #2: it broke (broken)
        13 compensation.scheduled #1
        14 run.adopted lease 2
        15 compensation.completed #1
        16 compensations.ended #3; compensation other: it broke (broken)
        17 compensation.scheduled #4
        18 compensation.completed #4
        19 run.failed: activity `work` failed: it broke (broken); compensation other: it broke (broken)
    "#]]);
}

#[test]
fn completed_run_ends_after_its_round_and_without_what_was_registered_since() {
    workflow!(W, |ctx| {
        ctx.on_failure::<Work>(1);
        drop(ctx.spawn(ctx.compensate()));
        ctx.on_failure::<Undo>(3);
        Ok(7)
    });
    let mut run = begin::<W>();
    assert!(run.run.state.compensations.is_empty(), "nothing of it is executed");
    run.complete(1, &1);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 compensation.registered #1 work 1
        3 compensations.begun #2
        4 compensation.registered #3 undo 3
        5 run.ending completed 7
        6 compensation.scheduled #1
        7 compensation.completed #1
        8 compensations.ended #2
        9 run.completed 7
    "#]]);
}

#[test]
fn next_round_waits_for_the_one_that_goes_on_and_has_what_was_registered_since() {
    workflow!(W, |ctx| {
        ctx.on_failure::<Work>(1);
        drop(ctx.spawn(ctx.compensate()));
        // Empty, but it waits.
        let empty = ctx.spawn(ctx.compensate());
        ctx.on_failure::<Other>(2);
        let failed = ctx.compensate().await;
        assert!(failed.is_empty() && empty.await.is_empty());
        Ok(0)
    });
    let mut run = begin::<W>();
    run.fail(1, broken());
    run.complete(4, &1);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 compensation.registered #1 work 1
        3 compensations.begun #2
        4 compensations.begun #3
        5 compensation.registered #4 other 2
        6 compensations.begun #5
        7 compensation.scheduled #1
        8 compensation.failed #1: it broke (broken)
        9 compensations.ended #2; compensation work: it broke (broken)
        10 compensations.ended #3
        11 compensation.scheduled #4
        12 compensation.completed #4
        13 compensations.ended #5
        14 run.completed 0
    "#]]);
}

#[test]
fn too_many_open_rounds_stall() {
    workflow!(W, |ctx| {
        ctx.on_failure::<Work>(1);
        for _ in 0..9 {
            drop(ctx.spawn(ctx.compensate()));
        }
        Ok(0)
    });
    let run = begin::<W>();
    let reason = run.run.state.stalled.clone().unwrap();
    assert!(reason.contains("while 8 earlier rounds have not ended, and the limit is 8"), "{reason}");
}

#[test]
fn termination_during_a_round_names_what_it_skips() {
    workflow!(W, |ctx| {
        ctx.on_failure::<Work>(1);
        ctx.on_failure::<Other>(2);
        drop(ctx.spawn(ctx.compensate()));
        ctx.on_failure::<Undo>(3);
        ctx.wait_for(GO).await
    });
    let mut run = begin::<W>();
    run.terminate();
    let Some(Event::RunTerminated { skipped, .. }) = run.log.last().map(|past| &past.event) else { panic!() };
    assert_eq!(skipped, &["other", "work", "undo"]);
    assert_eq!(run.run.state.payload_bytes, 0);
}

#[test]
fn stalled_run_finishes_its_round_and_takes_its_end_later() {
    workflow!(W, |ctx| {
        ctx.on_failure::<Work>(1);
        ctx.on_failure::<Other>(2);
        let failed = ctx.compensate().await;
        panic_if_broken();
        Ok(failed.len() as u32)
    });
    let mut run = begin::<W>();
    deploy_broken_build(true);
    run.signal("go", &1);
    run.complete(2, &1);
    run.fail(1, broken());
    run.repair();
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 compensation.registered #1 work 1
        3 compensation.registered #2 other 2
        4 compensations.begun #3
        5 compensation.scheduled #2
        6 signal.received go 1
        7 compensation.completed #2
        8 compensation.scheduled #1
        9 compensation.failed #1: it broke (broken)
        10 run.stalled: the workflow panicked: this build is broken; deploy code that does not, and the run resumes
        11 compensations.ended #3; compensation work: it broke (broken)
        12 run.adopted lease 2
        13 run.resumed 1 released
        14 run.completed 1
    "#]]);
}

#[test]
fn code_that_begins_no_round_where_one_was_begun_stalls() {
    workflow!(Old, |ctx| {
        ctx.on_failure::<Work>(1);
        ctx.compensate().await;
        ctx.wait_for(GO).await
    });
    workflow!(New, |ctx| {
        ctx.on_failure::<Work>(1);
        ctx.wait_for(GO).await
    });
    let run = begin::<Old>();
    let stalled = replay_with::<New>(&run);
    assert!(stalled.contains("compensations.begun (call 2)"), "{stalled}");
}

#[test]
fn size_of_a_round_is_counted_until_it_ends() {
    workflow!(W, |ctx| {
        ctx.on_failure::<Work>(1);
        ctx.on_failure::<Work>(2);
        ctx.compensate().await;
        ctx.wait_for(GO).await
    });
    let mut run = begin::<W>();
    let bytes = |state: &RunState| state.payload_bytes;
    assert_eq!(bytes(&run.run.state), 2);
    run.complete(2, &1);
    assert_eq!(bytes(&run.run.state), 1);
    run.complete(1, &1);
    assert_eq!(bytes(&run.run.state), 0);
}
