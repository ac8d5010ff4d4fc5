//! Tests of operations that are not durable: each is detected where it is made, whatever else the workflow waits for.
//! They must not need a processor.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use expect_test::expect;
use futures::future::{join, pending, select};
use tokio::runtime::{Builder, Handle, Runtime};

use super::{GO, SECOND, begin};
use crate::testing::RunFixture;
use crate::workflow::error::WorkflowError;

/// The reason of the run's stall.
#[track_caller]
fn diagnosis(run: &RunFixture) -> String {
    run.run.state.stalled.clone().expect("the run is stalled").into()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what a user should not do")]
fn timeout_of_tokio_around_a_durable_call_stalls() {
    workflow!(W, |ctx| {
        ctx.sleep(SECOND).await?;
        match tokio::time::timeout(Duration::from_millis(200), ctx.wait_for(GO)).await {
            Ok(word) => word,
            Err(_) => Ok(0),
        }
    });
    let mut run = begin::<W>();
    run.pass(SECOND);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 timer.started #1 until 1s
        3 run.stalled: workflow `workflow` uses a tokio timer (at core/src/run/tests/durable.rs:LINE, after its durable call at core/src/run/tests/durable.rs:LINE), which is not durable: use `ctx.sleep`, or `.timeout(…)` on a durable call; deploy code that does, and the run resumes
        4 timer.fired #1
    "#]]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what a user should not do")]
fn timer_of_tokio_beside_a_durable_call_stalls_at_its_own_line() {
    thread_local!(static LINE: Cell<u32> = const { Cell::new(0) });
    workflow!(W, |ctx| {
        let nap = async {
            LINE.set(line!() + 1);
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        select(ctx.wait_for(GO), pin!(nap)).await;
        Ok(0)
    });
    let diagnosis = diagnosis(&begin::<W>());
    let line = format!("(at core/src/run/tests/durable.rs:{}:", LINE.get());
    assert!(diagnosis.contains(&line), "{line} {diagnosis}");
}

#[test]
fn socket_stalls() {
    workflow!(W, |ctx| {
        let listen = async { drop(tokio::net::TcpListener::bind("127.0.0.1:0").await) };
        select(ctx.wait_for(GO), pin!(listen)).await;
        Ok(0)
    });
    let diagnosis = diagnosis(&begin::<W>());
    assert!(diagnosis.contains("opens a tokio socket, pipe or process (at "), "{diagnosis}");
    assert!(diagnosis.contains("after its durable call at core/src/run/tests/durable.rs:"), "{diagnosis}");
    assert!(diagnosis.contains("do that in an activity or a step"), "{diagnosis}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what a user should not do")]
fn spawned_task_stalls_and_is_not_executed() {
    static EXECUTED: AtomicBool = AtomicBool::new(false);
    workflow!(W, |ctx| {
        // The code does not wait for the task
        drop(tokio::spawn(async { EXECUTED.store(true, Ordering::SeqCst) }));
        ctx.wait_for(GO).await
    });
    let mut run = begin::<W>();
    run.assert_logged(&expect![[r#"
        1 run.stalled: workflow `workflow` spawns a tokio task (after its durable call at core/src/run/tests/durable.rs:LINE), which is not durable: use `ctx.when_all` or a combinator of `futures` for branches of the workflow, and an activity or a step for everything else; deploy code that does, and the run resumes
        2 run.started workflow 0
    "#]]);
    assert!(!EXECUTED.load(Ordering::SeqCst));
}

#[test]
fn work_for_a_blocking_thread_stalls_at_its_line_and_is_not_executed() {
    static EXECUTED: AtomicBool = AtomicBool::new(false);
    workflow!(W, |ctx| {
        let work = tokio::task::spawn_blocking(|| EXECUTED.store(true, Ordering::SeqCst));
        select(ctx.wait_for(GO), work).await;
        Ok(0)
    });
    let mut run = begin::<W>();
    run.assert_logged(&expect![[r#"
        1 run.stalled: workflow `workflow` uses a blocking thread of tokio (at core/src/run/tests/durable.rs:LINE, before its first durable call), which is not durable: do that in an activity or a step; deploy code that does, and the run resumes
        2 run.started workflow 0
    "#]]);
    assert!(!EXECUTED.load(Ordering::SeqCst));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what a user should not do")]
fn task_spawned_by_one_run_is_not_blamed_on_another() {
    thread_local!(static SPAWNS: Cell<bool> = const { Cell::new(true) });
    workflow!(W, |ctx| {
        if SPAWNS.get() {
            drop(tokio::spawn(pending::<()>()));
        }
        ctx.wait_for(GO).await
    });
    // Given a run that stalls because it spawned a task that never ends
    let mut run = begin::<W>();
    assert!(diagnosis(&run).contains("spawns a tokio task"));
    // When code that does not spawn replays it in the same processor
    SPAWNS.set(false);
    run.reload();
    // Then it resumes
    run.signal("go", &1);
    assert!(run.is_closed());
}

#[test]
fn channels_and_locks_between_the_branches_of_a_workflow_work() {
    workflow!(W, |ctx| {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let (reply, answer) = tokio::sync::oneshot::channel();
        let total = Rc::new(tokio::sync::Mutex::new(0));
        let produce = async {
            for _ in 0..3 {
                let word = ctx.wait_for(GO).await?;
                sender.send(word).await?;
            }
            drop(sender);
            *total.lock().await += answer.await?;
            Ok::<_, WorkflowError>(())
        };
        let consume = async {
            let mut count = 0;
            while let Some(word) = receiver.recv().await {
                let mut total = total.lock().await;
                ctx.sleep(SECOND).await?;
                *total += word;
                count += 1;
            }
            reply.send(100 * count).expect("the other branch waits");
            Ok::<_, WorkflowError>(())
        };
        let (produced, consumed) = join(produce, consume).await;
        produced.and(consumed)?;
        Ok(*total.lock().await)
    });
    let mut run = begin::<W>();
    (1..=3).for_each(|word| run.signal("go", &word));
    run.pass(5 * SECOND);
    assert!(run.new_events().ends_with("run.completed 306\n"));
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the runtime of the driver, in use")]
async fn outer_runtime_is_not_affected_by_workflows() {
    // Given a driver's runtime, and workflows that stall in it because of something that is not durable
    workflow!(Spawns, |ctx| {
        drop(tokio::spawn(pending::<()>()));
        ctx.wait_for(GO).await
    });
    workflow!(Naps, |_ctx| {
        tokio::time::sleep(SECOND).await;
        Ok(0)
    });
    // or because they leave another runtime entered over an await
    static OTHER: LazyLock<Runtime> = LazyLock::new(|| Builder::new_current_thread().build().unwrap());
    workflow!(Enters, |ctx| {
        let _entered = OTHER.enter();
        ctx.wait_for(GO).await
    });
    let around = Handle::current().id();
    assert!(diagnosis(&begin::<Spawns>()).contains("spawns a tokio task"));
    assert!(diagnosis(&begin::<Naps>()).contains("uses a tokio timer"));
    assert!(diagnosis(&begin::<Enters>()).contains("holds the guard of `Handle::enter` over an await"));
    // Then the driver's timers and tasks work as before
    assert_eq!(Handle::current().id(), around);
    tokio::time::sleep(Duration::from_millis(1)).await;
    tokio::spawn(async {}).await.expect("a task of the driver's own");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what a user should not do")]
fn task_spawned_while_a_run_leaves_memory_is_not_executed() {
    static EXECUTED: AtomicBool = AtomicBool::new(false);
    struct SpawnOnDrop;
    impl Drop for SpawnOnDrop {
        fn drop(&mut self) {
            drop(tokio::spawn(async { EXECUTED.store(true, Ordering::SeqCst) }));
        }
    }
    workflow!(W, |ctx| {
        let _held = SpawnOnDrop;
        ctx.wait_for(GO).await
    });
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        drop(begin::<W>());
        tokio::task::yield_now().await;
    });
    assert!(!EXECUTED.load(Ordering::SeqCst));
}
