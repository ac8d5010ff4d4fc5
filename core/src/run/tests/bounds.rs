//! Tests of the limits of one poll, and of the release of waiting resolutions. They must not need a processor.

use super::*;
use crate::data::chain::RunRetry;
use crate::log::event::Event;
use crate::log::reply::Reply;
use crate::run::Progress;
use crate::run::replay::Replay;
use crate::run::turn::Turn;
use crate::testing::unchecked;

/// Replays a history and releases one waiting resolution.
fn reload_in_small_turns(fixture: &mut RunFixture) {
    let now = fixture.now;
    let small = Turn::new(now, &|| true);
    let mut replay = Replay::new(run_id(7), now);
    fixture
        .log
        .iter()
        .for_each(|past| replay.take(past.clone(), &fixture.registry).expect("the history is complete"));
    let (run, progress) = replay.finish(Takeover::default(), &small);
    fixture.run = run;
    fixture.take(progress);
}

fn release_once(fixture: &mut RunFixture) {
    let mut progress = Progress::default();
    fixture.run.release(&Turn::new(fixture.now, &|| true), &mut progress);
    fixture.take(progress);
}

#[test]
fn poll_that_asks_for_too_many_commands_stalls_and_names_the_limits() {
    workflow!(W, |ctx| {
        let count = u32::try_from(limits::DECISIONS_MAX).expect("a small number") + 1;
        ctx.when_all((0..count).map(|number| ctx.activity::<Work>(number))).await?;
        Ok(0)
    });
    let run = begin::<W>();
    let reason = run.run.state.stalled.clone().expect("it stalled");
    assert!(reason.contains("one poll has 20001 commands of"), "{reason}");
    assert!(reason.contains("the limits are 20000 commands and 67108864 bytes"), "{reason}");
    assert!(reason.contains("bounds.rs"), "{reason}");
    assert_eq!(run.log.len(), 2, "none of its commands is logged");
}

#[test]
fn poll_that_asks_for_too_many_bytes_stalls_before_they_are_in_memory() {
    activity!(Store, "store", |_: String| -> () { Ok(()) });
    workflow!(W, |ctx| {
        ctx.when_all((0..50).map(|_| ctx.activity::<Store>("x".repeat(2_000_000)))).await?;
        Ok(0)
    });
    let run = begin::<W>();
    let reason = run.run.state.stalled.clone().expect("it stalled");
    assert!(
        reason.contains("schedules activity `store` (call 34)"),
        "the first command over the limit is named: {reason}"
    );
    assert!(reason.contains("one poll has 34 commands of 68002"), "{reason}");
}

#[test]
fn poll_may_start_ten_thousand_children_with_inputs_of_three_kilobytes_and_no_larger_ones() {
    crate::testing::workflow!(Reads, "reads", |_ctx, text: String| -> u32 { Ok(text.len() as u32) });
    crate::testing::workflow!(W, "w", |ctx, bytes: u32| -> u32 {
        let text = "x".repeat(bytes as usize);
        Ok(ctx.when_all((0..10_000).map(|_| ctx.child::<Reads>(text.clone()))).await?.len() as u32)
    });
    // The guide says 3,280 bytes: with three more for the length of the text.
    let run = RunFixture::start::<W>(&3_280);
    assert_eq!((run.run.state.children.len(), run.run.state.stalled.clone()), (10_000, None));
    let run = RunFixture::start::<W>(&3_290);
    let reason = run.run.state.stalled.clone().expect("it stalled");
    assert!(reason.contains("the limits are 20000 commands and 67108864 bytes"), "{reason}");
    assert_eq!(run.log.len(), 2, "none of its commands is logged");
}

#[test]
fn as_many_calls_as_a_poll_may_make_are_cancelled_at_once() {
    workflow!(W, |ctx| {
        let count = u32::try_from(limits::DECISIONS_MAX).expect("a small number");
        ctx.when_all((0..count).map(|number| ctx.activity::<Work>(number))).await?;
        Ok(0)
    });
    let mut run = begin::<W>();
    assert_eq!(run.run.state.activities.len(), limits::DECISIONS_MAX);
    run.cancel();
    assert_eq!(run.log.len(), 1 + limits::DECISIONS_MAX + 1 + limits::DECISIONS_MAX + 1);
    assert!(run.run.state.closed.is_some(), "a cancellation does not count");
}

#[test]
fn released_run_takes_waiting_resolutions_in_turns_and_later_ones_after_them() {
    workflow!(W, |ctx| {
        let mut sum = 0;
        loop {
            let number: u32 = ctx.wait_for(GO).await?;
            panic_if_broken();
            sum += ctx.activity::<Work>(number).await?;
            if number == 0 {
                return Ok(sum);
            }
        }
    });
    // Given a stalled run for which three signals wait
    deploy_broken_build(false);
    let mut run = unchecked::<W>(&0);
    deploy_broken_build(true);
    (1..=3).for_each(|number| run.signal("go", &number));
    // When matching code takes one of them, and another signal arrives before it takes the rest
    deploy_broken_build(false);
    reload_in_small_turns(&mut run);
    run.signal("go", &0);
    assert!(run.run.state.is_busy(), "a new owner must continue it at once");
    while run.run.can_release() {
        release_once(&mut run);
    }
    // Then they are taken in order, and a replay decides the same
    for call in [2, 4, 6, 8] {
        run.complete(call, &1);
    }
    run.check();
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 run.stalled: the workflow panicked: this build is broken; deploy code that does not, and the run resumes
        3 signal.received go 1
        4 signal.received go 2
        5 signal.received go 3
        6 run.resumed 1 released
        7 activity.scheduled #2 work 1
        8 signal.received go 0
        9 run.resumed 1 released
        10 run.resumed 1 released
        11 run.resumed 1 released
        12 activity.completed #2 1
        13 activity.scheduled #4 work 2
        14 activity.completed #4 1
        15 activity.scheduled #6 work 3
        16 activity.completed #6 1
        17 activity.scheduled #8 work 0
        18 activity.completed #8 1
        19 run.completed 4
    "#]]);
}

#[test]
fn new_owner_continues_a_release() {
    workflow!(W, |ctx| {
        let mut sum = 0;
        for _ in 0..3 {
            sum += ctx.wait_for(GO).await?;
            panic_if_broken();
        }
        Ok(sum)
    });
    deploy_broken_build(false);
    let mut run = unchecked::<W>(&0);
    deploy_broken_build(true);
    (1..=3).for_each(|number| run.signal("go", &number));
    deploy_broken_build(false);
    reload_in_small_turns(&mut run);
    // The run stalls again in the middle, and another build takes over.
    deploy_broken_build(true);
    release_once(&mut run);
    deploy_broken_build(false);
    reload_in_small_turns(&mut run);
    reload_in_small_turns(&mut run);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 run.stalled: the workflow panicked: this build is broken; deploy code that does not, and the run resumes
        3 signal.received go 1
        4 signal.received go 2
        5 signal.received go 3
        6 run.resumed 1 released
        7 run.stalled: the workflow panicked: this build is broken; deploy code that does not, and the run resumes
        8 run.resumed 1 released
        9 run.resumed 1 released
        10 run.completed 6
    "#]]);
}

#[test]
fn step_whose_outcome_waits_is_not_executed_again() {
    workflow!(W, |ctx| {
        let step = ctx.step("once", || async { Ok(1) });
        let signals = async {
            ctx.wait_for(GO).await?;
            panic_if_broken();
            ctx.wait_for(GO).await
        };
        let (value, signal) = join(step, signals).await;
        Ok(value? + signal?)
    });
    // Given a stalled run, for which a signal and then the outcome of its step wait
    let mut run = unchecked::<W>(&0);
    deploy_broken_build(true);
    run.signal("go", &1);
    run.complete_step(1, &1);
    deploy_broken_build(false);
    // When a worker that takes it over releases the signal only
    reload_in_small_turns(&mut run);
    assert!(run.run.can_release());
    // Then the worker does not execute the step, whose outcome is in the log
    assert!(run.steps.is_empty(), "{:?}", run.steps);
    release_once(&mut run);
    run.signal("go", &2);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 run.stalled: the workflow panicked: this build is broken; deploy code that does not, and the run resumes
        3 signal.received go 1
        4 step.completed #1 once 1
        5 run.resumed 1 released
        6 run.resumed 1 released
        7 signal.received go 2
        8 run.completed 3
    "#]]);
}

/// Sends signals that no code takes, of two million bytes each.
fn send_large(run: &mut RunFixture, count: usize) {
    let text = "x".repeat(2_000_000);
    (0..count).for_each(|_| run.signal("other", &text));
}

#[test]
fn run_that_would_leave_too_much_to_its_successor_stalls_before_it_continues() {
    workflow!(W, |ctx| {
        ctx.activity::<Work>(1).await?;
        ctx.continue_as_new::<W>(1).await
    });
    for (count, continues) in [(33, true), (34, false)] {
        deploy_broken_build(false);
        let mut run = unchecked::<W>(&0);
        send_large(&mut run, count);
        run.complete(1, &0);
        assert_eq!(run.is_closed(), continues);
        let reason = run.run.state.stalled.clone().unwrap_or_default();
        let words = "continues as new while 34 signals and updates of 68004";
        assert_eq!(reason.contains(words), !continues, "{reason}");
    }
}

#[test]
fn run_that_would_leave_too_much_to_its_next_attempt_stalls_and_does_not_if_there_is_none() {
    workflow!(W, |ctx| {
        ctx.activity::<Work>(1).await?;
        Err(std::io::Error::other("locked"))?
    });
    for (attempts, stalls) in [(2, true), (1, false)] {
        deploy_broken_build(false);
        let policy = RunRetry::first(RetryPolicy::exponential().max_attempts(attempts));
        let mut run = RunFixture::start_retried::<W>(registry_of::<W>(), payload(&0), None, policy);
        run.check_no_more();
        send_large(&mut run, 34);
        run.complete(1, &0);
        assert_eq!((run.is_closed(), run.run.state.stalled.is_some()), (!stalls, stalls));
    }
}

#[test]
fn what_arrives_after_the_end_of_the_code_has_as_much_room() {
    workflow!(W, |ctx| {
        ctx.on_failure::<Undo>(1);
        Err(std::io::Error::other("locked"))?
    });
    let policy = RunRetry::first(RetryPolicy::exponential().max_attempts(2));
    let mut run = RunFixture::start_retried::<W>(registry_of::<W>(), payload(&0), None, policy);
    run.check_no_more();
    let text = payload(&"x".repeat(2_000_000));
    send_large(&mut run, 33);
    assert!(run.run.has_no_room_for(&text) && !run.run.has_no_room_for(&payload(&1)));
    assert_eq!(run.run.refusal(&"add".into(), &text), Some(Reply::TooMany));
    run.complete(1, &0);
    let left =
        run.successor().events.iter().filter(|past| matches!(past.event, Event::SignalReceived { .. }));
    assert_eq!(left.count(), 33);
}
