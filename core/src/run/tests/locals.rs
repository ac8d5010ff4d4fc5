//! Tests of local resolutions: a recorded value is made once, and every replay of its run finds it. They must not need a
//! processor.

use std::cell::Cell;
use std::rc::Rc;

use futures::future::Either;

use super::*;
use crate::log::event::Event;
use crate::log::past_event::PastEvent;

thread_local! {
    /// The number of values that the workflows of this thread have made.
    static MADE: Cell<u32> = const { Cell::new(0) };
}

/// Makes a different value each time, so that a test detects a value that is made again.
fn make() -> u32 {
    MADE.set(MADE.get() + 1);
    100 + MADE.get()
}

/// Starts a run whose values count from 101 on.
fn begin_making<W: Workflow<Input = u32>>() -> RunFixture {
    MADE.set(0);
    begin::<W>()
}

/// For every group of its history: replays the run up to that group and repeats the later resolutions. The run must log
/// the same events.
pub(super) fn crash_after_every_group<W: Workflow<Input = u32>>(fixture: &RunFixture) {
    let is_end = |index: usize| {
        fixture.log.get(index).is_none_or(|next: &PastEvent| next.event.role() == Role::Resolution)
    };
    for crash in (1..=fixture.log.len()).filter(|index| is_end(*index)) {
        let (mut run, progress) =
            replay(run_id(7), &fixture.log[..crash], &registry_of::<W>(), Takeover::default(), fixture.now);
        assert_eq!(progress.events, [], "the crash after event {crash} changes nothing");
        let mut log = fixture.log[..crash].to_vec();
        for past in &fixture.log[crash..] {
            if past.event.role() == Role::Resolution {
                log.extend(run.resolve(past.at, past.event.clone()).events);
            }
        }
        let is_adoption = |past: &&PastEvent| matches!(past.event, Event::RunAdopted { .. });
        let kinds = |log: &[PastEvent]| {
            log.iter().filter(|past| !is_adoption(past)).map(|past| past.event.name()).collect::<Vec<_>>()
        };
        assert_eq!(kinds(&log), kinds(&fixture.log), "after a crash after event {crash}");
    }
}

#[test]
fn value_is_made_once_and_found_by_every_replay() {
    workflow!(W, |ctx| {
        let first = ctx.record("first", make).await;
        ctx.activity::<Work>(first).await?;
        let second = ctx.record("second", make).await;
        ctx.sleep(SECOND).await?;
        Ok(first * 1_000 + second)
    });
    let mut run = begin_making::<W>();
    // The fixture replays the log after every group; this run also leaves memory.
    run.complete(1, &1);
    run.reload();
    run.pass(SECOND);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 value.recorded first 101
        3 activity.scheduled #1 work 101
        4 activity.completed #1 1
        5 value.recorded second 102
        6 timer.started #2 until 1s
        7 run.adopted lease 2
        8 timer.fired #2
        9 run.completed 101102
    "#]]);
    assert_eq!(MADE.get(), 2);
    crash_after_every_group::<W>(&run);
}

#[test]
fn values_of_one_name_are_distinguished_by_their_order() {
    workflow!(W, |ctx| {
        let mut sum = 0;
        for number in 0..3 {
            sum = sum * 1_000 + ctx.record("number", make).await;
            if number == 1 {
                sum += ctx.wait_for(GO).await?;
            }
        }
        Ok(sum)
    });
    let mut run = begin_making::<W>();
    run.signal("go", &0);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 value.recorded number 101
        3 value.recorded number 102
        4 signal.received go 0
        5 value.recorded number 103
        6 run.completed 101102103
    "#]]);
    crash_after_every_group::<W>(&run);
}

#[test]
fn values_are_found_in_branches_and_races() {
    workflow!(W, |ctx| {
        let branch = async |name, secs: u32| {
            ctx.sleep(secs * SECOND).await?;
            let value = ctx.record(name, make).await;
            ctx.activity::<Work>(value).await
        };
        let (one, other) = join(branch("left", 1), branch("right", 1)).await;
        // A value is ready at its first poll, so it wins, and the other branch is never polled.
        let race = select(ctx.record("race", make), ctx.sleep(SECOND)).await;
        let Either::Left((won, _)) = race else { return Ok(0) };
        Ok(one? + other? + won)
    });
    let mut run = begin_making::<W>();
    run.pass(SECOND);
    run.complete(4, &0);
    run.reload();
    run.complete(3, &0);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 timer.started #1 until 1s
        3 timer.started #2 until 1s
        4 timer.fired #1
        5 value.recorded left 101
        6 activity.scheduled #3 work 101
        7 timer.fired #2
        8 value.recorded right 102
        9 activity.scheduled #4 work 102
        10 activity.completed #4 0
        11 run.adopted lease 2
        12 activity.completed #3 0
        13 value.recorded race 103
        14 run.completed 103
    "#]]);
    crash_after_every_group::<W>(&run);
}

#[test]
fn value_that_is_dropped_unpolled_is_not_made() {
    workflow!(W, |ctx| {
        drop(ctx.record("never", make));
        Ok(ctx.record("value", make).await)
    });
    let mut run = begin_making::<W>();
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 value.recorded value 101
        3 run.completed 101
    "#]]);
}

#[test]
fn value_made_after_two_stalls_is_found_again() {
    workflow!(W, |ctx| {
        let mut seen = 0;
        for turn in 0..4 {
            seen += ctx.wait_for(GO).await?;
            panic_if_broken();
            if turn % 2 == 1 {
                seen += ctx.record("value", make).await;
            }
            ctx.activity::<Work>(seen).await.ok();
        }
        Ok(seen)
    });
    let mut run = begin_making::<W>();
    // Given a stalled run with waiting resolutions
    deploy_broken_build(true);
    run.signal("go", &1);
    for number in 1..4 {
        run.signal("go", &number);
    }
    // When matching code takes them, and its activity completes while the run is stalled again
    run.repair();
    deploy_broken_build(true);
    run.complete(2, &0);
    run.repair();
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 run.stalled: the workflow panicked: this build is broken; deploy code that does not, and the run resumes
        3 signal.received go 1
        4 signal.received go 1
        5 signal.received go 2
        6 signal.received go 3
        7 run.adopted lease 2
        8 run.resumed 4 released
        9 activity.scheduled #2 work 1
        10 run.stalled: the workflow panicked: this build is broken; deploy code that does not, and the run resumes
        11 activity.completed #2 0
        12 run.adopted lease 3
        13 run.resumed 1 released
        14 value.recorded value 101
        15 activity.scheduled #4 work 103
    "#]]);
    // Then a replay finds each value where it was made
    run.reload();
    run.assert_logged(&expect![[r#""#]]);
}

#[test]
fn each_poll_that_makes_values_gets_its_own_resume_in_a_release() {
    workflow!(W, |ctx| {
        let mut seen = 0;
        for turn in 0..5 {
            seen += ctx.wait_for(GO).await?;
            panic_if_broken();
            if turn == 2 || turn == 3 {
                seen += ctx.record("value", make).await;
            }
        }
        ctx.sleep(SECOND).await?;
        Ok(seen)
    });
    let mut run = begin_making::<W>();
    deploy_broken_build(true);
    for number in 0..5 {
        run.signal("go", &number);
    }
    run.repair();
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 run.stalled: the workflow panicked: this build is broken; deploy code that does not, and the run resumes
        3 signal.received go 0
        4 signal.received go 1
        5 signal.received go 2
        6 signal.received go 3
        7 signal.received go 4
        8 run.adopted lease 2
        9 run.resumed 2 released
        10 run.resumed 1 released
        11 value.recorded value 101
        12 run.resumed 1 released
        13 value.recorded value 102
        14 run.resumed 1 released
        15 timer.started #6 until 1s
    "#]]);
    run.reload();
    run.pass(SECOND);
    run.assert_logged(&expect![[r#"
        16 run.adopted lease 3
        17 timer.fired #6
        18 run.completed 213
    "#]]);
}

#[test]
fn value_made_by_a_poll_that_stalls_is_made_again() {
    workflow!(W, |ctx| {
        let value = ctx.record("value", make).await;
        panic_if_broken();
        Ok(value)
    });
    MADE.set(0);
    deploy_broken_build(true);
    let mut run = RunFixture::start::<W>(&0);
    run.repair();
    run.assert_logged(&expect![[r#"
        1 run.stalled: the workflow panicked: this build is broken; deploy code that does not, and the run resumes
        2 run.started workflow 0
        3 run.adopted lease 2
        4 run.resumed 1 released
        5 value.recorded value 102
        6 run.completed 102
    "#]]);
}

// What stalls.

#[test]
fn code_that_records_what_its_log_does_not_hold_diverges() {
    workflow!(Before, |ctx| {
        let value = ctx.record("value", make).await;
        ctx.activity::<Work>(value).await
    });
    workflow!(After, |ctx| {
        let value = ctx.record("value", make).await;
        let more = ctx.record("more", make).await;
        ctx.activity::<Work>(value + more).await
    });
    workflow!(Renamed, |ctx| {
        let value = ctx.record("other", make).await;
        ctx.activity::<Work>(value).await
    });
    workflow!(Later, |ctx| {
        let value = ctx.record("value", make).await;
        let worked = ctx.activity::<Work>(value).await?;
        Ok(worked + ctx.record("last", make).await)
    });
    let mut run = begin_making::<Before>();
    expect![[r#"
        4 run.stalled: run 018bcfe5-6800-7003-8000-000000000007 of workflow `workflow` cannot be replayed: event 3 of the log is activity.scheduled `work` (call 1), but the code records value `more` at core/src/run/tests/locals.rs:LINE. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes. If the code has not changed, it decides by chance: use `pgworkflows::select!` instead of `tokio::select!` and `futures::select!`, and the context for times and random numbers
        stalled: run 018bcfe5-6800-7003-8000-000000000007 of workflow `workflow` cannot be replayed: event 3 of the log is activity.scheduled `work` (call 1), but the code records value `more` at core/src/run/tests/locals.rs:LINE. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes. If the code has not changed, it decides by chance: use `pgworkflows::select!` instead of `tokio::select!` and `futures::select!`, and the context for times and random numbers
        4 run.stalled: run 018bcfe5-6800-7003-8000-000000000007 of workflow `workflow` cannot be replayed: event 2 of the log is value.recorded `value`, but the code records value `other` at core/src/run/tests/locals.rs:LINE. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes. If the code has not changed, it decides by chance: use `pgworkflows::select!` instead of `tokio::select!` and `futures::select!`, and the context for times and random numbers
        stalled: run 018bcfe5-6800-7003-8000-000000000007 of workflow `workflow` cannot be replayed: event 2 of the log is value.recorded `value`, but the code records value `other` at core/src/run/tests/locals.rs:LINE. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes. If the code has not changed, it decides by chance: use `pgworkflows::select!` instead of `tokio::select!` and `futures::select!`, and the context for times and random numbers
    "#]].assert_eq(&(replay_with::<After>(&run) + &replay_with::<Renamed>(&run)));
    run.complete(1, &1);
    // The run is over, but the code would continue: a tool reports that, a worker does not poll it.
    let examined =
        examine(run_id(7), &run.log, &registry_of::<Later>(), run.now).expect("its history is complete");
    let divergence = examined.divergence.expect("they diverge");
    expect!["event 5 of the log is run.completed, but the code records value `last` at core/src/run/tests/locals.rs:LINE"].assert_eq(&crate::testing::without_lines(&divergence.to_string()));
}

#[test]
fn code_that_does_not_ask_for_what_its_log_holds_diverges() {
    workflow!(Before, |ctx| {
        ctx.record("value", make).await;
        ctx.record("value", make).await;
        ctx.activity::<Work>(1).await
    });
    workflow!(Fewer, |ctx| {
        ctx.record("value", make).await;
        ctx.activity::<Work>(1).await
    });
    workflow!(None, |ctx| ctx.wait_for(GO).await);
    let run = begin_making::<Before>();
    expect![[r#"
        5 run.stalled: run 018bcfe5-6800-7003-8000-000000000007 of workflow `workflow` cannot be replayed: event 3 of the log is value.recorded `value`, but the code does not ask for it; it schedules activity `work` (call 1) at core/src/run/tests/locals.rs:LINE. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes. If the code has not changed, it decides by chance: use `pgworkflows::select!` instead of `tokio::select!` and `futures::select!`, and the context for times and random numbers
        stalled: run 018bcfe5-6800-7003-8000-000000000007 of workflow `workflow` cannot be replayed: event 3 of the log is value.recorded `value`, but the code does not ask for it; it schedules activity `work` (call 1) at core/src/run/tests/locals.rs:LINE. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes. If the code has not changed, it decides by chance: use `pgworkflows::select!` instead of `tokio::select!` and `futures::select!`, and the context for times and random numbers
        5 run.stalled: run 018bcfe5-6800-7003-8000-000000000007 of workflow `workflow` cannot be replayed: event 2 of the log is value.recorded `value`, but the code does not ask for it; it waits for signal `go` at core/src/run/tests/locals.rs:LINE. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes. If the code has not changed, it decides by chance: use `pgworkflows::select!` instead of `tokio::select!` and `futures::select!`, and the context for times and random numbers
        stalled: run 018bcfe5-6800-7003-8000-000000000007 of workflow `workflow` cannot be replayed: event 2 of the log is value.recorded `value`, but the code does not ask for it; it waits for signal `go` at core/src/run/tests/locals.rs:LINE. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes. If the code has not changed, it decides by chance: use `pgworkflows::select!` instead of `tokio::select!` and `futures::select!`, and the context for times and random numbers
    "#]].assert_eq(&(replay_with::<Fewer>(&run) + &replay_with::<None>(&run)));
}

#[test]
fn values_of_two_names_may_be_swapped_within_a_poll() {
    workflow!(Before, |ctx| {
        let one = ctx.record("one", make).await;
        let two = ctx.record("two", make).await;
        ctx.activity::<Work>(one * 1_000 + two).await
    });
    workflow!(After, |ctx| {
        let two = ctx.record("two", make).await;
        let one = ctx.record("one", make).await;
        assert_eq!((one, two), (101, 102), "each is found by its name");
        ctx.activity::<Work>(one * 1_000 + two).await
    });
    let run = begin_making::<Before>();
    expect![[r#"
        activity `work` at core/src/run/tests/locals.rs:LINE
    "#]]
    .assert_eq(&replay_with::<After>(&run));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it is what workflow code must not do")]
fn closure_that_panics_or_uses_the_context_or_a_timer_stalls() {
    workflow!(Panics, |ctx| Ok(ctx.record("value", || panic!("no value today")).await));
    workflow!(UsesContext, |ctx| Ok(ctx.record("value", || ctx.random() as u32).await));
    workflow!(Nests, |ctx| {
        let inner = || futures::FutureExt::now_or_never(ctx.record("inner", make)).unwrap_or(0);
        Ok(ctx.record("outer", inner).await)
    });
    workflow!(UsesTimer, |ctx| {
        let wait = || drop(tokio::time::sleep(SECOND));
        ctx.record("value", wait).await;
        Ok(0)
    });
    let reason =
        |run: RunFixture| run.run.state.stalled.clone().map(|reason| crate::testing::without_lines(&reason));
    let runs = [begin::<Panics>(), begin::<UsesContext>(), begin::<Nests>(), begin::<UsesTimer>()];
    let reasons = runs.map(reason);
    expect![[r#"
        [
            Some(
                "the workflow panicked: no value today (at core/src/run/tests/locals.rs:LINE); deploy code that does not, and the run resumes",
            ),
            Some(
                "the workflow records value `value` at core/src/run/tests/locals.rs:LINE with a closure that uses the workflow's context, but a replay does not call the closure; call the context before, and use its result in the closure",
            ),
            Some(
                "the workflow records value `outer` at core/src/run/tests/locals.rs:LINE with a closure that uses the workflow's context, but a replay does not call the closure; call the context before, and use its result in the closure",
            ),
            Some(
                "workflow `workflow` uses a tokio timer (at core/src/run/tests/locals.rs:LINE, after its durable call at core/src/run/tests/locals.rs:LINE), which is not durable: use `ctx.sleep`, or `.timeout(…)` on a durable call; deploy code that does, and the run resumes",
            ),
        ]
    "#]].assert_debug_eq(&reasons);
}

#[test]
fn value_that_cannot_be_stored_or_read_stalls() {
    workflow!(TooLarge, |ctx| Ok(ctx.record("value", || "x".repeat(3 << 20)).await.len() as u32));
    workflow!(Text, |ctx| {
        let text = ctx.record("value", || "text".to_owned()).await;
        ctx.activity::<Work>(text.len() as u32).await
    });
    workflow!(Number, |ctx| {
        let number = ctx.record("value", make).await;
        ctx.activity::<Work>(number).await
    });
    let too_large = begin::<TooLarge>().run.state.stalled.clone().expect("it stalled");
    expect![[r#"
        value `value` has 3145733 bytes, and the limit is 2097152; pass a reference to the data instead, or raise `payload_bytes_max`
        4 run.stalled: run 018bcfe5-6800-7003-8000-000000000007 of workflow `workflow` cannot be replayed: value `value`: 5 bytes of CBOR are not a u32: invalid type: string, expected integer; deploy code that can read it, and the run resumes. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes
        stalled: run 018bcfe5-6800-7003-8000-000000000007 of workflow `workflow` cannot be replayed: value `value`: 5 bytes of CBOR are not a u32: invalid type: string, expected integer; deploy code that can read it, and the run resumes. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes
    "#]].assert_eq(&format!("{too_large}\n{}", replay_with::<Number>(&begin::<Text>())));
}

#[test]
fn poll_that_records_too_much_stalls_and_names_the_limits() {
    workflow!(Many, |ctx| {
        for _ in 0..=limits::DECISIONS_MAX {
            ctx.record("value", || 1).await;
        }
        Ok(0)
    });
    workflow!(Large, |ctx| {
        for _ in 0..50 {
            ctx.record("value", || "x".repeat(2_000_000)).await;
        }
        Ok(0)
    });
    let reason =
        |run: RunFixture| run.run.state.stalled.clone().map(|reason| crate::testing::without_lines(&reason));
    expect![[r#"
        [
            Some(
                "the workflow asks for too much at once: with what it records value `value` at core/src/run/tests/locals.rs:LINE, one poll has 20001 commands of 1300065 bytes, and the limits are 20000 commands and 67108864 bytes; wait for something before more is asked for, or pass references instead of the data",
            ),
            Some(
                "the workflow asks for too much at once: with what it records value `value` at core/src/run/tests/locals.rs:LINE, one poll has 34 commands of 68002346 bytes, and the limits are 20000 commands and 67108864 bytes; wait for something before more is asked for, or pass references instead of the data",
            ),
        ]
    "#]].assert_debug_eq(&[begin::<Many>(), begin::<Large>()].map(reason));
}

#[test]
fn value_need_not_be_send_and_its_closure_may_borrow() {
    workflow!(W, |ctx| {
        let (text, shared) = ("borrowed".to_owned(), Rc::new(Cell::new(1)));
        let length = ctx.record("length", || text.len() as u32 + shared.replace(2)).await;
        Ok(length + shared.get())
    });
    let mut run = begin::<W>();
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 value.recorded length 9
        3 run.completed 11
    "#]]);
}
