//! Tests of one run: stalls, replays, cancellation, endings, lost attempts. They must not need a processor or a store.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use expect_test::expect;
use futures::future::{join, join3, pending, select};

use crate::data::limits;
use crate::data::options::ActivityOptions;
use crate::data::retry::RetryPolicy;
use crate::log::event::Role;
use crate::run::replay::{Takeover, examine, replay};
use crate::testing::{
    BORN, RunFixture, activity, broken, call, deploy_broken_build, history, panic_if_broken, payload,
    registry_of, run_id,
};
use crate::workflow::Workflow;
use crate::workflow::context::Context;
use crate::workflow::error::WorkflowError;
use crate::workflow::signal::Signal;

const SECOND: Duration = Duration::from_secs(1);
const GO: Signal<u32> = Signal::new("go");

activity!(Work, "work", |input: u32| -> u32 { Ok(input) });
activity!(Other, "other", |input: u32| -> u32 { Ok(input) });
activity!(
    Undo,
    "undo",
    ActivityOptions::default().retry(RetryPolicy::exponential().max_attempts(2)),
    |input: u32| -> u32 { Ok(input) }
);
activity!(Once, "once", ActivityOptions::default().at_most_once(), |input: u32| -> u32 { Ok(input) });

macro_rules! workflow {
    ($name:ident, |$ctx:ident| $body:expr) => {
        crate::testing::workflow!($name, "workflow", |$ctx, _: u32| -> u32 { $body });
    };
}

mod borders;
mod bounds;
mod carried;
mod chains;
mod durable;
mod locals;
mod pauses;
mod rounds;
mod updates;
mod views;

fn begin<W: Workflow<Input = u32>>() -> RunFixture {
    deploy_broken_build(false);
    RunFixture::start::<W>(&0)
}

/// Replays a history with other code, and returns what that logs and waits for.
fn replay_with<W: Workflow>(fixture: &RunFixture) -> String {
    let (run, progress) =
        replay(run_id(7), &fixture.log, &registry_of::<W>(), Takeover::default(), fixture.now);
    let logged = history(&progress.events);
    format!("{logged}{}\n", crate::testing::without_lines(&run.waiting_on().unwrap_or_default()))
}

// Stalls.

#[test]
fn stall_is_logged_before_the_resolution_and_its_decisions_are_discarded() {
    workflow!(W, |ctx| {
        struct CompensateOnDrop(Context);
        impl Drop for CompensateOnDrop {
            fn drop(&mut self) {
                self.0.on_failure::<Undo>(99);
            }
        }
        ctx.wait_for(GO).await?;
        let _guard = CompensateOnDrop(ctx.clone());
        let work = ctx.activity::<Work>(1);
        let (worked, ()) = join(work, async { panic_if_broken() }).await;
        let more = ctx.wait_for(GO).await?;
        ctx.sleep(SECOND).await?;
        Ok(worked? + more)
    });
    let mut run = begin::<W>();
    deploy_broken_build(true);
    run.signal("go", &1);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 run.stalled: the workflow panicked: this build is broken; deploy code that does not, and the run resumes
        3 signal.received go 1
    "#]]);
    // Later resolutions wait with their times.
    run.pass(5 * SECOND);
    run.signal("go", &2);
    assert_eq!(run.run.state.waiting.len(), 2);
    // A reload by the same build logs nothing.
    run.reload();
    run.assert_logged(&expect![[r#"
        4 signal.received go 2
    "#]]);
    run.repair();
    run.complete(2, &3);
    run.pass(SECOND);
    run.assert_logged(&expect![[r#"
        5 run.adopted lease 2
        6 run.resumed 2 released
        7 activity.scheduled #2 work 1
        8 activity.completed #2 3
        9 timer.started #4 until 6s
        10 timer.fired #4
        11 compensation.registered #5 undo 99
        12 run.completed 5
    "#]]);
}

#[test]
fn stall_of_the_start_comes_before_the_start() {
    workflow!(W, |ctx| {
        panic_if_broken();
        ctx.wait_for(GO).await
    });
    deploy_broken_build(true);
    let mut run = RunFixture::start::<W>(&0);
    run.signal("go", &4);
    run.repair();
    run.assert_logged(&expect![[r#"
        1 run.stalled: the workflow panicked: this build is broken; deploy code that does not, and the run resumes
        2 run.started workflow 0
        3 signal.received go 4
        4 run.adopted lease 2
        5 run.resumed 2 released
        6 run.completed 4
    "#]]);
}

#[test]
fn undecodable_input_stalls_the_start() {
    workflow!(W, |ctx| ctx.wait_for(GO).await);
    let mut run = RunFixture::start_with::<W>(registry_of::<W>(), payload(&"text"), None);
    run.assert_logged(&expect![[r#"
        1 run.stalled: the input of workflow `workflow`: 5 bytes of CBOR are not a u32: invalid type: string, expected integer; deploy code that can read it, and the run resumes
        2 run.started workflow "text"
    "#]]);
}

#[test]
fn release_stops_where_the_code_stalls_again() {
    workflow!(W, |ctx| {
        for _ in 0..4 {
            let number = ctx.wait_for(GO).await?;
            if number == 3 {
                panic_if_broken();
            }
            ctx.on_failure::<Undo>(number);
            if number == 1 {
                panic_if_broken();
            }
        }
        Ok(0)
    });
    let mut run = begin::<W>();
    deploy_broken_build(true);
    for number in 1..=4 {
        run.signal("go", &number);
    }
    // A better build, which still cannot take the third signal.
    workflow!(Better, |ctx| {
        for _ in 0..4 {
            let number = ctx.wait_for(GO).await?;
            if number == 3 {
                panic_if_broken();
            }
            ctx.on_failure::<Undo>(number);
        }
        Ok(0)
    });
    run.registry = registry_of::<Better>();
    run.reload();
    assert_eq!(run.run.state.waiting.len(), 2);
    run.repair();
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 run.stalled: the workflow panicked: this build is broken; deploy code that does not, and the run resumes
        3 signal.received go 1
        4 signal.received go 2
        5 signal.received go 3
        6 signal.received go 4
        7 run.adopted lease 2
        8 run.resumed 2 released
        9 compensation.registered #2 undo 1
        10 compensation.registered #4 undo 2
        11 run.stalled: the workflow panicked: this build is broken; deploy code that does not, and the run resumes
        12 run.adopted lease 3
        13 run.resumed 2 released
        14 compensation.registered #6 undo 3
        15 compensation.registered #8 undo 4
        16 run.completed 0
    "#]]);
}

#[test]
fn outcome_of_a_step_that_a_queued_resolution_drops_is_ignored() {
    workflow!(W, |ctx| {
        let race = select(ctx.step("slow", || async { Ok(1) }), ctx.wait_for(GO)).await;
        panic_if_broken();
        drop(race);
        ctx.wait_for(GO).await
    });
    let mut run = begin::<W>();
    deploy_broken_build(true);
    run.signal("go", &1);
    run.complete_step(1, &1);
    run.repair();
    run.signal("go", &2);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 run.stalled: the workflow panicked: this build is broken; deploy code that does not, and the run resumes
        3 signal.received go 1
        4 step.completed #1 slow 1
        5 run.adopted lease 2
        6 run.resumed 2 released
        7 signal.received go 2
        8 run.completed 2
    "#]]);
}

#[test]
fn outcome_logged_before_its_activity_is_cancelled_is_ignored() {
    workflow!(W, |ctx| {
        let race = select(ctx.activity::<Work>(1), ctx.wait_for(GO)).await;
        panic_if_broken();
        drop(race);
        ctx.wait_for(GO).await
    });
    let mut run = begin::<W>();
    deploy_broken_build(true);
    run.signal("go", &1);
    run.complete(1, &1);
    run.repair();
    run.signal("go", &2);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 activity.scheduled #1 work 1
        3 run.stalled: the workflow panicked: this build is broken; deploy code that does not, and the run resumes
        4 signal.received go 1
        5 activity.completed #1 1
        6 run.adopted lease 2
        7 run.resumed 2 released
        8 activity.cancelled #1
        9 signal.received go 2
        10 run.completed 2
    "#]]);
}

#[test]
fn code_that_waits_for_nothing_durable_stalls() {
    workflow!(W, |ctx| {
        ctx.wait_for(GO).await?;
        pending::<()>().await;
        Ok(0)
    });
    let mut run = begin::<W>();
    run.signal("go", &1);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 run.stalled: workflow `workflow` waits for something that is not durable, such as a tokio timer or a channel; use `ctx.sleep`, `ctx.wait_for`, or put it into an activity or a step
        3 signal.received go 1
    "#]]);
}

#[test]
fn code_that_is_woken_from_outside_stalls() {
    thread_local!(static OUTSIDE: RefCell<Vec<std::task::Waker>> = const { RefCell::new(Vec::new()) });
    workflow!(W, |ctx| {
        let outside = std::future::poll_fn(|task| {
            OUTSIDE.with_borrow_mut(|wakers| wakers.push(task.waker().clone()));
            std::task::Poll::<u32>::Pending
        });
        select(ctx.wait_for(GO), outside).await;
        Ok(0)
    });
    let mut run = begin::<W>();
    // The waker of the run, and those of the fixture's replays.
    OUTSIDE.take().iter().for_each(std::task::Waker::wake_by_ref);
    run.signal("go", &1);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 run.stalled: workflow `workflow` was woken from outside the engine: it waits for something that is not durable, such as a tokio timer or a channel; use `ctx.sleep`, `ctx.wait_for`, or put it into an activity or a step
        3 signal.received go 1
    "#]]);
}

#[test]
fn panic_in_a_destructor_stalls() {
    struct PanicOnDrop;
    impl Drop for PanicOnDrop {
        fn drop(&mut self) {
            panic_if_broken();
        }
    }
    workflow!(W, |ctx| {
        let _guard = PanicOnDrop;
        ctx.wait_for(GO).await
    });
    let mut run = begin::<W>();
    deploy_broken_build(true);
    run.signal("go", &1);
    run.repair();
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 run.stalled: the workflow panicked: this build is broken; deploy code that does not, and the run resumes
        3 signal.received go 1
        4 run.adopted lease 2
        5 run.resumed 1 released
        6 run.completed 1
    "#]]);
}

#[test]
fn payload_over_the_limit_stalls_the_call_that_has_it() {
    activity!(Big, "big", |_: String| -> () { Ok(()) });
    workflow!(W, |ctx| {
        ctx.activity::<Big>("x".repeat(limits::PAYLOAD_BYTES_MAX)).await?;
        Ok(0)
    });
    begin::<W>().assert_logged(&expect![[r#"
        1 run.stalled: the input of activity `big` has 2097157 bytes, and the limit is 2097152; pass a reference to the data instead, or raise `payload_bytes_max`
        2 run.started workflow 0
    "#]]);
}

#[test]
fn payload_that_its_own_type_cannot_read_stalls_the_call_that_has_it() {
    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(tag = "type")]
    enum Price {
        Exact { cents: u128 },
    }
    activity!(Pay, "pay", |_: Price| -> () { Ok(()) });
    workflow!(W, |ctx| {
        ctx.activity::<Pay>(Price::Exact { cents: 1 }).await?;
        Ok(0)
    });
    begin::<W>().assert_logged(&expect![[r#"
        1 run.stalled: the input of activity `pay`: a pgworkflows_core::run::tests::payload_that_its_own_type_cannot_read_stalls_the_call_that_has_it::Price can be encoded, but not be read again: u128 is not supported; `cents`: it has 128 bits, which serde cannot read within `tag`, `untagged` or `flatten`: use 64 bits or a text there
        2 run.started workflow 0
    "#]]);
}

// Replays by other code.

#[test]
fn mismatch_names_the_recorded_event_and_what_the_code_did() {
    workflow!(W, |ctx| {
        ctx.activity::<Work>(1).await?;
        ctx.sleep(SECOND).await?;
        Ok(0)
    });
    workflow!(OtherName, |ctx| ctx.activity::<Other>(1).await);
    workflow!(OtherKind, |ctx| {
        ctx.sleep(SECOND).await?;
        Ok(0)
    });
    workflow!(More, |ctx| {
        join(ctx.activity::<Work>(1), ctx.activity::<Work>(2)).await.0?;
        Ok(0)
    });
    workflow!(Less, |ctx| {
        ctx.activity::<Work>(1).await?;
        ctx.wait_for(GO).await
    });
    workflow!(Returns, |ctx| ctx.activity::<Work>(1).await);
    workflow!(LongerAtTheEnd, |ctx| {
        ctx.activity::<Work>(1).await?;
        join(ctx.sleep(SECOND), ctx.activity::<Work>(2)).await.0?;
        Ok(0)
    });
    workflow!(OtherInput, |ctx| {
        ctx.activity::<Work>(2).retry(RetryPolicy::exponential()).await?;
        ctx.sleep(2 * SECOND).await?;
        Ok(0)
    });
    let mut run = begin::<W>();
    run.complete(1, &1);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 activity.scheduled #1 work 1
        3 activity.completed #1 1
        4 timer.started #2 until 1s
    "#]]);
    let all = [
        replay_with::<OtherName>(&run),
        replay_with::<OtherKind>(&run),
        replay_with::<More>(&run),
        replay_with::<Less>(&run),
        replay_with::<Returns>(&run),
        replay_with::<LongerAtTheEnd>(&run),
        replay_with::<OtherInput>(&run),
    ];
    let all = all.concat().replace(&run_id(7).to_string(), "RUN");
    expect![[r#"
        5 run.stalled: run RUN of workflow `workflow` cannot be replayed: event 2 of the log is activity.scheduled `work` (call 1), but the code schedules activity `other` (call 1) at core/src/run/tests.rs:LINE. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes. If the code has not changed, it decides by chance: use `pgworkflows::select!` instead of `tokio::select!` and `futures::select!`, and the context for times and random numbers
        stalled: run RUN of workflow `workflow` cannot be replayed: event 2 of the log is activity.scheduled `work` (call 1), but the code schedules activity `other` (call 1) at core/src/run/tests.rs:LINE. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes. If the code has not changed, it decides by chance: use `pgworkflows::select!` instead of `tokio::select!` and `futures::select!`, and the context for times and random numbers
        5 run.stalled: run RUN of workflow `workflow` cannot be replayed: event 2 of the log is activity.scheduled `work` (call 1), but the code starts a timer (call 1) at core/src/run/tests.rs:LINE. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes. If the code has not changed, it decides by chance: use `pgworkflows::select!` instead of `tokio::select!` and `futures::select!`, and the context for times and random numbers
        stalled: run RUN of workflow `workflow` cannot be replayed: event 2 of the log is activity.scheduled `work` (call 1), but the code starts a timer (call 1) at core/src/run/tests.rs:LINE. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes. If the code has not changed, it decides by chance: use `pgworkflows::select!` instead of `tokio::select!` and `futures::select!`, and the context for times and random numbers
        5 run.stalled: run RUN of workflow `workflow` cannot be replayed: event 3 of the log is activity.completed (call 1), but the code schedules activity `work` (call 2) at core/src/run/tests.rs:LINE. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes. If the code has not changed, it decides by chance: use `pgworkflows::select!` instead of `tokio::select!` and `futures::select!`, and the context for times and random numbers
        stalled: run RUN of workflow `workflow` cannot be replayed: event 3 of the log is activity.completed (call 1), but the code schedules activity `work` (call 2) at core/src/run/tests.rs:LINE. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes. If the code has not changed, it decides by chance: use `pgworkflows::select!` instead of `tokio::select!` and `futures::select!`, and the context for times and random numbers
        5 run.stalled: run RUN of workflow `workflow` cannot be replayed: event 4 of the log is timer.started (call 2), but the code waits for signal `go` at core/src/run/tests.rs:LINE. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes. If the code has not changed, it decides by chance: use `pgworkflows::select!` instead of `tokio::select!` and `futures::select!`, and the context for times and random numbers
        stalled: run RUN of workflow `workflow` cannot be replayed: event 4 of the log is timer.started (call 2), but the code waits for signal `go` at core/src/run/tests.rs:LINE. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes. If the code has not changed, it decides by chance: use `pgworkflows::select!` instead of `tokio::select!` and `futures::select!`, and the context for times and random numbers
        5 run.stalled: run RUN of workflow `workflow` cannot be replayed: event 4 of the log is timer.started (call 2), but the code returns a value. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes. If the code has not changed, it decides by chance: use `pgworkflows::select!` instead of `tokio::select!` and `futures::select!`, and the context for times and random numbers
        stalled: run RUN of workflow `workflow` cannot be replayed: event 4 of the log is timer.started (call 2), but the code returns a value. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes. If the code has not changed, it decides by chance: use `pgworkflows::select!` instead of `tokio::select!` and `futures::select!`, and the context for times and random numbers
        5 run.stalled: run RUN of workflow `workflow` cannot be replayed: the code schedules activity `work` (call 3) at core/src/run/tests.rs:LINE, and the log ends before that. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes. If the code has not changed, it decides by chance: use `pgworkflows::select!` instead of `tokio::select!` and `futures::select!`, and the context for times and random numbers
        stalled: run RUN of workflow `workflow` cannot be replayed: the code schedules activity `work` (call 3) at core/src/run/tests.rs:LINE, and the log ends before that. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes. If the code has not changed, it decides by chance: use `pgworkflows::select!` instead of `tokio::select!` and `futures::select!`, and the context for times and random numbers
        timer until 2023-11-14T22:13:22.000000Z at core/src/run/tests.rs:LINE
    "#]].assert_eq(&all);
}

#[test]
fn step_outcome_needs_a_step_of_that_id_and_name() {
    workflow!(W, |ctx| {
        ctx.step("one", || async { Ok(1) }).await?;
        ctx.wait_for(GO).await
    });
    workflow!(Renamed, |ctx| {
        ctx.step("two", || async { Ok(1) }).await?;
        ctx.wait_for(GO).await
    });
    let mut run = begin::<W>();
    run.complete_step(1, &1);
    let all = replay_with::<Renamed>(&run).replace(&run_id(7).to_string(), "RUN");
    expect![[r#"
        3 run.stalled: run RUN of workflow `workflow` cannot be replayed: the log contains an outcome of step `one` (call 1), but the code asked for no such step; it waits for step `two` at core/src/run/tests.rs:LINE. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes
        stalled: run RUN of workflow `workflow` cannot be replayed: the log contains an outcome of step `one` (call 1), but the code asked for no such step; it waits for step `two` at core/src/run/tests.rs:LINE. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes
    "#]].assert_eq(&all);
}

#[test]
fn unknown_workflow_stalls_a_replay_and_loses_nothing() {
    workflow!(W, |ctx| ctx.wait_for(GO).await);
    crate::testing::workflow!(Unrelated, "unrelated", |_, _: ()| -> () { Ok(()) });
    let run = begin::<W>();
    let all = replay_with::<Unrelated>(&run).replace(&run_id(7).to_string(), "RUN");
    expect![[r#"
        2 run.stalled: run RUN of workflow `workflow` cannot be replayed: this worker does not know workflow `workflow`. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes
        stalled: run RUN of workflow `workflow` cannot be replayed: this worker does not know workflow `workflow`. Deploy the code that wrote this history, or change the workflow in a way that old histories can follow; then the run resumes
    "#]].assert_eq(&all);
}

// Cancellation.

#[test]
fn cancellation_resolves_open_calls_in_the_order_of_their_ids_and_later_calls_work() {
    workflow!(W, |ctx| {
        let order = Rc::new(RefCell::new(Vec::new()));
        let note = |number: u32, cancelled: bool| {
            assert!(cancelled);
            order.borrow_mut().push(number);
        };
        let timer = async { note(2, ctx.sleep(SECOND).await.unwrap_err().is_cancelled()) };
        let work = async { note(1, ctx.activity::<Work>(1).await.unwrap_err().is_cancelled()) };
        let step = async { note(3, ctx.step("s", || async { Ok(1) }).await.unwrap_err().is_cancelled()) };
        join3(work, timer, step).await;
        let noted = order.borrow().len() as u32;
        let wait = ctx.activity::<Work>(noted).await?;
        ctx.sleep(SECOND).await?;
        ctx.on_failure::<Undo>(wait);
        Err(WorkflowError::cancelled())
    });
    let mut run = begin::<W>();
    run.cancel();
    assert_eq!(run.steps.len(), 0);
    run.complete(4, &4);
    run.pass(SECOND);
    run.fail(6, broken());
    run.fail(6, broken());
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 activity.scheduled #1 work 1
        3 timer.started #2 until 1s
        4 cancel.requested: enough
        5 activity.cancelled #1
        6 timer.cancelled #2
        7 activity.scheduled #4 work 3
        8 activity.completed #4 4
        9 timer.started #5 until 1s
        10 timer.fired #5
        11 compensation.registered #6 undo 4
        12 run.ending cancelled
        13 compensation.scheduled #6
        14 activity.attempt-failed #6 attempt 1: it broke (broken), again at 1.82557s
        15 compensation.failed #6: it broke (broken)
        16 run.cancelled: enough; compensation undo: it broke (broken)
    "#]]);
}

#[test]
fn cancelled_run_may_still_complete_or_fail() {
    workflow!(Completes, |ctx| Ok(ctx.wait_for(GO).await.unwrap_or(7)));
    workflow!(Fails, |ctx| {
        let error = ctx.wait_for(GO).await.unwrap_err();
        Err(WorkflowError::new("sorry", error.to_string()))
    });
    let mut completes = begin::<Completes>();
    completes.cancel();
    let mut fails = begin::<Fails>();
    fails.cancel();
    expect![[r#"
        1 run.started workflow 0
        2 cancel.requested: enough
        3 run.completed 7
        1 run.started workflow 0
        2 cancel.requested: enough
        3 run.failed: the run was cancelled (sorry)
    "#]]
    .assert_eq(&(completes.new_events() + &fails.new_events()));
}

#[test]
fn run_that_is_cancelled_before_its_delayed_start_never_begins() {
    workflow!(W, |_ctx| Ok(1));
    let delayed = || RunFixture::start_at::<W>(&0, Some(BORN.saturating_add(SECOND)));
    let mut run = delayed();
    run.pass(SECOND);
    let mut cancelled = delayed();
    cancelled.signal("go", &1);
    cancelled.reload();
    cancelled.cancel();
    expect![[r#"
        1 run.started workflow 0 at 1s
        2 timer.fired #0
        3 run.completed 1
        1 run.started workflow 0 at 1s
        2 signal.received go 1
        3 run.adopted lease 2
        4 cancel.requested: enough
        5 run.cancelled: enough
    "#]]
    .assert_eq(&(run.new_events() + &cancelled.new_events()));
}

// Endings.

#[test]
fn compensations_run_newest_first_even_after_one_has_failed() {
    workflow!(W, |ctx| {
        ctx.on_failure::<Undo>(1);
        ctx.on_failure::<Work>(2);
        ctx.on_failure::<Undo>(3).retry(RetryPolicy::none());
        ctx.activity::<Work>(1).await
    });
    let mut run = begin::<W>();
    run.fail(4, broken());
    run.fail(3, broken());
    run.reload();
    run.complete(2, &0);
    run.fail(1, broken());
    run.complete(1, &0);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 compensation.registered #1 undo 1
        3 compensation.registered #2 work 2
        4 compensation.registered #3 undo 3
        5 activity.scheduled #4 work 1
        6 activity.failed #4: it broke (broken)
        7 run.ending failed: activity `work` failed: it broke (broken)
        8 compensation.scheduled #3
        9 compensation.failed #3: it broke (broken)
        10 compensation.scheduled #2
        11 run.adopted lease 2
        12 compensation.completed #2
        13 compensation.scheduled #1
        14 activity.attempt-failed #1 attempt 1: it broke (broken), again at 0.920346s
        15 compensation.completed #1
        16 run.failed: activity `work` failed: it broke (broken); compensation undo: it broke (broken)
    "#]]);
}

#[test]
fn completed_run_compensates_nothing() {
    workflow!(W, |ctx| {
        ctx.on_failure::<Undo>(1);
        ctx.wait_for(GO).await
    });
    let mut run = begin::<W>();
    run.signal("go", &1);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 compensation.registered #1 undo 1
        3 signal.received go 1
        4 run.completed 1
    "#]]);
}

#[test]
fn calls_that_are_open_when_the_code_returns_are_cancelled() {
    workflow!(W, |ctx| {
        let mut held = ctx.activity::<Work>(1);
        let mut wait = ctx.wait_for(GO);
        select(&mut held, &mut wait).await;
        Ok(1)
    });
    let mut run = begin::<W>();
    run.signal("go", &1);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 activity.scheduled #1 work 1
        3 signal.received go 1
        4 activity.cancelled #1
        5 run.completed 1
    "#]]);
}

#[test]
fn termination_names_the_compensations_that_it_skips() {
    workflow!(W, |ctx| {
        ctx.on_failure::<Undo>(1);
        ctx.on_failure::<Work>(2);
        ctx.wait_for(GO).await?;
        Err(WorkflowError::new("planned", "as planned"))
    });
    let mut before = begin::<W>();
    before.terminate();
    let mut during = begin::<W>();
    during.signal("go", &1);
    during.terminate();
    expect![[r#"
        1 run.started workflow 0
        2 compensation.registered #1 undo 1
        3 compensation.registered #2 work 2
        4 run.terminated: no more; compensation work left out; compensation undo left out
        1 run.started workflow 0
        2 compensation.registered #1 undo 1
        3 compensation.registered #2 work 2
        4 signal.received go 1
        5 run.ending failed: as planned (planned)
        6 compensation.scheduled #2
        7 run.terminated: no more; compensation work left out; compensation undo left out
    "#]]
    .assert_eq(&(before.new_events() + &during.new_events()));
}

// Attempts.

#[test]
fn lost_attempts_have_their_own_budget() {
    workflow!(W, |ctx| ctx.activity::<Work>(1).await);
    let mut run = begin::<W>();
    for _ in 0..limits::ATTEMPTS_LOST_MAX {
        let progress = run.run.attempt_started(run.now, call(1), 1);
        run.take(progress);
        let progress = run.run.attempt_lost(run.now, call(1), limits::ATTEMPTS_LOST_MAX);
        run.take(progress);
    }
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 activity.scheduled #1 work 1
        3 activity.attempt-started #1 attempt 1
        4 activity.attempt-lost #1 attempt 1
        5 activity.attempt-started #1 attempt 1
        6 activity.attempt-lost #1 attempt 1
        7 activity.attempt-started #1 attempt 1
        8 activity.attempt-lost #1 attempt 1
        9 activity.attempt-started #1 attempt 1
        10 activity.attempt-lost #1 attempt 1
        11 activity.attempt-started #1 attempt 1
        12 activity.attempt-lost #1 attempt 1
        13 activity.failed #1: the process died 5 times while it executed `work` (attempt-lost)
        14 run.failed: activity `work` failed: the process died 5 times while it executed `work` (attempt-lost)
    "#]]);
}

#[test]
fn lost_attempt_fails_an_activity_that_may_run_only_once() {
    workflow!(W, |ctx| ctx.activity::<Once>(1).await);
    let mut run = begin::<W>();
    let progress = run.run.attempt_started(run.now, call(1), 1);
    run.take(progress);
    let progress = run.run.attempt_lost(run.now, call(1), limits::ATTEMPTS_LOST_MAX);
    run.take(progress);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 activity.scheduled #1 once 1
        3 activity.attempt-started #1 attempt 1
        4 activity.failed #1: the process died while it executed `once`, which may run only once (attempt-lost)
        5 run.failed: activity `once` failed: the process died while it executed `once`, which may run only once (attempt-lost)
    "#]]);
}

// Leaving memory.

#[test]
fn run_that_leaves_memory_decides_nothing() {
    thread_local!(static DROPS: Cell<u32> = const { Cell::new(0) });
    struct CompensateOnDrop(Context);
    impl Drop for CompensateOnDrop {
        fn drop(&mut self) {
            DROPS.set(DROPS.get() + 1);
            self.0.on_failure::<Undo>(1);
        }
    }
    workflow!(W, |ctx| {
        let _guard = CompensateOnDrop(ctx.clone());
        join3(ctx.activity::<Work>(1), ctx.sleep(SECOND), ctx.step("s", || async { Ok(1) })).await.0
    });
    let mut run = begin::<W>();
    let before = DROPS.get();
    run.reload();
    assert!(DROPS.get() > before, "the code was dropped");
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 activity.scheduled #1 work 1
        3 timer.started #2 until 1s
    "#]]);
}
