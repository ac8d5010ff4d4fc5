//! Tests of the borders of user code: wherever it panics, the run stalls with a diagnosis and the engine continues. They
//! must not need a processor.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::panic::panic_any;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Wake, Waker};

use expect_test::expect;
use futures::FutureExt;
use futures::future::{join, pending, select};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{GO, SECOND, begin};
use crate::testing::RunFixture;
use crate::workflow::Workflow;
use crate::workflow::calls::timer::TimerFuture;
use crate::workflow::signal::Signal;

/// Panics when it is dropped, also as the payload of a caught panic.
struct PanicOnDrop;

impl Drop for PanicOnDrop {
    fn drop(&mut self) {
        panic!("while it was dropped");
    }
}

/// A user's value whose trait implementations panic.
#[derive(Debug)]
struct PanickingValue;

impl Serialize for PanickingValue {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("while it was encoded")
    }
}

impl<'de> Deserialize<'de> for PanickingValue {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("while it was decoded")
    }
}

impl fmt::Display for PanickingValue {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("while it was shown")
    }
}

impl std::error::Error for PanickingValue {}

/// An error whose `Display` returns an error.
#[derive(Debug)]
struct UndisplayableError;

impl fmt::Display for UndisplayableError {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Err(fmt::Error)
    }
}

impl std::error::Error for UndisplayableError {}

/// Starts a run of a workflow that panics after a signal, and returns the reason of the stall.
#[track_caller]
fn diagnosis_of<W: Workflow<Input = u32>>() -> String {
    let mut run = begin::<W>();
    assert_eq!(run.run.state.stalled, None);
    run.signal("go", &1);
    let names: Vec<_> = run.log.iter().map(|past| past.event.name().to_string()).collect();
    assert_eq!(names, ["run.started", "run.stalled", "signal.received"]);
    run.run.state.stalled.clone().expect("the run is stalled").into()
}

#[track_caller]
fn assert_panics<W: Workflow<Input = u32>>(words: &str) {
    let diagnosis = diagnosis_of::<W>();
    assert!(diagnosis.starts_with(&format!("the workflow panicked: {words}")), "{diagnosis}");
}

#[test]
fn panic_is_named_with_its_line() {
    workflow!(W, |ctx| {
        let word = ctx.wait_for(GO).await?;
        panic!("what is {word}?")
    });
    let line = line!() - 2;
    assert_panics::<W>(&format!("what is 1? (at core/src/run/tests/borders.rs:{line}:"));
}

#[test]
fn panic_whose_payload_panics_when_it_is_dropped_stalls() {
    workflow!(W, |ctx| {
        ctx.wait_for(GO).await?;
        panic_any(PanicOnDrop)
    });
    assert_panics::<W>("without a message");
}

#[test]
fn panic_in_the_drop_of_what_a_workflow_held_stalls() {
    workflow!(W, |ctx| {
        let _held = PanicOnDrop;
        ctx.wait_for(GO).await
    });
    assert_panics::<W>("while it was dropped");
}

#[test]
fn panic_while_a_value_is_encoded_stalls() {
    crate::testing::workflow!(W, "workflow", |ctx, _: u32| -> PanickingValue {
        ctx.wait_for(GO).await?;
        Ok(PanickingValue)
    });
    assert_panics::<W>("while it was encoded");
}

#[test]
fn panic_while_a_signal_is_decoded_stalls() {
    workflow!(W, |ctx| {
        let PanickingValue = ctx.wait_for(Signal::new("go")).await?;
        Ok(0)
    });
    assert_panics::<W>("while it was decoded");
}

#[test]
fn panic_while_an_input_is_decoded_stalls_before_the_start() {
    crate::testing::workflow!(W, "workflow", |_, _: PanickingValue| -> () { Ok(()) });
    let registry = crate::testing::registry_of::<W>();
    let run = RunFixture::start_with::<W>(registry, crate::testing::payload(&0), None);
    let diagnosis = run.run.state.stalled.expect("the run is stalled");
    assert!(diagnosis.contains("the workflow panicked: while it was decoded"), "{diagnosis}");
}

#[test]
fn panic_while_an_error_is_shown_stalls() {
    workflow!(Shown, |ctx| {
        ctx.wait_for(GO).await?;
        Err(PanickingValue)?
    });
    assert_panics::<Shown>("while it was shown");

    workflow!(Silent, |ctx| {
        ctx.wait_for(GO).await?;
        Err(UndisplayableError)?
    });
    assert_panics::<Silent>("a Display implementation returned an error");
}

#[test]
fn panic_of_a_waker_stalls() {
    struct PanickingWaker;

    impl Wake for PanickingWaker {
        fn wake(self: Arc<Self>) {
            panic!("the waker was called");
        }
    }

    workflow!(W, |ctx| {
        let mut word = pin!(ctx.wait_for(GO));
        poll_fn(|_| {
            let waker = Waker::from(Arc::new(PanickingWaker));
            word.as_mut().poll(&mut TaskContext::from_waker(&waker))
        })
        .await
    });
    assert_panics::<W>("the waker was called");
}

#[test]
fn waker_whose_drop_drops_a_durable_future_works() {
    thread_local!(static HELD: RefCell<Option<TimerFuture>> = const { RefCell::new(None) });

    struct DropHeldTimer;

    impl Wake for DropHeldTimer {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for DropHeldTimer {
        fn drop(&mut self) {
            drop(HELD.take());
        }
    }

    workflow!(W, |ctx| {
        let (mut timer, mut word) = (ctx.sleep(SECOND), ctx.wait_for(GO));
        let opened = poll_fn(|task| Poll::Ready(timer.poll_unpin(task).is_pending())).await;
        HELD.set(opened.then_some(timer));
        poll_fn(|task| {
            // The next poll drops the last clone of this waker.
            let dropper = Waker::from(Arc::new(DropHeldTimer));
            assert!(word.poll_unpin(&mut TaskContext::from_waker(&dropper)).is_pending());
            drop(dropper);
            word.poll_unpin(task)
        })
        .await
    });
    let mut run = begin::<W>();
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 timer.started #1 until 1s
        3 timer.cancelled #1
    "#]]);
}

#[test]
fn panic_while_a_run_leaves_memory_is_caught() {
    workflow!(W, |ctx| {
        let _held = PanicOnDrop;
        let (word, ()) = join(ctx.wait_for(GO), pending()).await;
        word
    });
    drop(begin::<W>());
}

#[test]
fn step_whose_closure_panics_when_it_is_dropped_is_cancelled() {
    workflow!(W, |ctx| {
        let held = PanicOnDrop;
        let step = ctx.step("never", move || {
            let _held = &held;
            async { Ok(1) }
        });
        select(step, ctx.wait_for(GO)).await;
        Ok(0)
    });
    // The step is requested, but not executed before the run is over
    let mut run = begin::<W>();
    run.signal("go", &1);
    assert!(run.is_closed());
}
