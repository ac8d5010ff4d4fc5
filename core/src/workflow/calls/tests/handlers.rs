//! Tests of handlers: what they log beside the main line, and when they end.

use super::*;
use crate::testing::without_lines;
use crate::workflow::shared::Shared;
use crate::workflow::update::Update;

const ADD: Update<u32, u32> = Update::new("add");
const STOP: Signal<u32> = Signal::new("stop");

/// Why a run stalled.
fn stall(run: &RunFixture) -> String {
    without_lines(run.run.state.stalled.as_deref().expect("the run is stalled"))
}

#[test]
fn handlers_take_one_arrival_of_a_name_at_a_time_and_those_of_other_names_beside_it() {
    workflow!(W, |ctx| {
        let sum = Shared::new(0);
        let (adding, stopped) = (sum.clone(), Shared::new(false));
        let (inner, stopping) = (ctx.clone(), stopped.clone());
        let _add = ctx.serve(ADD, async move |number| {
            let worked = inner.activity::<Work>(number).await.unwrap_or_default();
            adding.with(|sum| {
                *sum += worked;
                *sum
            })
        });
        let _stop = ctx.serve(STOP, async move |_| stopping.with(|stopped| *stopped = true));
        ctx.until(|| stopped.with(|stopped| *stopped)).await?;
        Ok(sum.with(|sum| *sum).to_string())
    });
    let mut run = begin::<W>();
    run.update("add", &4);
    run.update("add", &6);
    run.reload();
    // The second update waits for the first one.
    run.complete(3, &4);
    run.signal("stop", &0);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 update.received add 4
        3 activity.scheduled #3 work 4
        4 update.received add 6
        5 run.adopted lease 2
        6 activity.completed #3 4
        7 update.replied #2 add 4
        8 activity.scheduled #5 work 6
        9 signal.received stop 0
        10 activity.cancelled #5
        11 update.dropped #4 add
        12 run.completed "4"
    "#]]);
}

#[test]
fn main_line_is_polled_first_then_handlers_in_the_order_of_their_arrivals() {
    const ONE: Signal<u32> = Signal::new("one");
    const OTHER: Signal<u32> = Signal::new("other");
    workflow!(W, |ctx| {
        let go = Shared::new(false);
        let handler = |name: u32| {
            let (ctx, go) = (ctx.clone(), go.clone());
            async move |number: u32| {
                ctx.until(|| go.with(|go| *go)).await.ok();
                ctx.activity::<Work>(name + number).await.ok();
            }
        };
        let (_one, _other) = (ctx.serve(ONE, handler(100)), ctx.serve(OTHER, handler(200)));
        ctx.wait_for(GO).await?;
        go.with(|go| *go = true);
        ctx.activity::<Work>(1).await?;
        Ok("done".to_owned())
    });
    let mut run = begin::<W>();
    run.signal("other", &2);
    run.signal("one", &3);
    run.reload();
    run.signal("go", &0);
    run.complete(4, &0);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 signal.received other 2
        3 signal.received one 3
        4 run.adopted lease 2
        5 signal.received go 0
        6 activity.scheduled #4 work 1
        7 activity.scheduled #5 work 202
        8 activity.scheduled #6 work 103
        9 activity.completed #4 0
        10 activity.cancelled #5
        11 activity.cancelled #6
        12 run.completed "done"
    "#]]);
}

#[test]
fn handlers_that_are_registered_later_take_what_has_arrived_in_order() {
    const ONE: Signal<u32> = Signal::new("one");
    const OTHER: Signal<u32> = Signal::new("other");
    workflow!(W, |ctx| {
        let taken = Shared::new(Vec::new());
        let take = || {
            let taken = taken.clone();
            async move |number: u32| taken.with(|taken| taken.push(number))
        };
        // A handler whose guard is gone takes nothing of what arrives then.
        drop(ctx.serve(ONE, take()));
        ctx.wait_for(GO).await?;
        let (one, other) = (ctx.serve(ONE, take()), ctx.serve(OTHER, take()));
        ctx.wait_for(GO).await?;
        drop(one);
        ctx.wait_for(GO).await?;
        let one = ctx.serve(ONE, take());
        ctx.wait_for(GO).await?;
        drop((one, other));
        Ok(format!("{:?}", taken.with(|taken| taken.clone())))
    });
    let mut run = begin::<W>();
    for (name, number) in [("one", 1), ("other", 2), ("one", 3), ("go", 0), ("other", 4), ("one", 5)] {
        run.signal(name, &number);
    }
    run.reload();
    for (name, number) in [("go", 0), ("one", 6), ("other", 7), ("one", 8), ("go", 0), ("go", 0)] {
        run.signal(name, &number);
    }
    let history = run.new_events();
    assert!(history.contains("run.completed \"[1, 2, 3, 4, 5, 7, 6, 8]\""), "{history}");
}

#[test]
fn condition_is_looked_at_in_the_poll_that_registers_the_first_handler() {
    workflow!(Drains, |ctx| {
        ctx.wait_for(GO).await?;
        let adds = ctx.serve(ADD, async |number| number);
        adds.drain().await?;
        Ok("drained".to_owned())
    });
    workflow!(Waits, |ctx| {
        ctx.wait_for(GO).await?;
        let added = Shared::new(0);
        let adding = added.clone();
        let _add = ctx.serve(ADD, async move |number| {
            adding.with(|added| {
                *added = number;
                number
            })
        });
        ctx.until(|| added.with(|added| *added > 0)).await?;
        Ok("added".to_owned())
    });
    // Given an update that arrived before there was any handler
    for mut run in [begin::<Drains>(), begin::<Waits>()] {
        run.update("add", &4);
        run.reload();
        // When the code registers one and waits for what it does
        run.signal("go", &0);
        // Then nothing else needs to happen
        assert!(run.is_closed(), "{}", run.new_events());
    }
}

#[test]
fn waker_that_outlives_its_handler_wakes_nothing() {
    // Given a handler whose waker is kept when it is done
    workflow!(W, |ctx| {
        let kept = Shared::new(None::<std::task::Waker>);
        let (inner, keeping) = (ctx.clone(), kept.clone());
        let _add = ctx.serve(ADD, async move |number| {
            poll_fn(|task| {
                keeping.with(|kept| _ = kept.get_or_insert_with(|| task.waker().clone()));
                Poll::Ready(())
            })
            .await;
            inner.activity::<Work>(number).await.unwrap_or_default()
        });
        loop {
            ctx.wait_for(GO).await?;
            kept.with(|kept| kept.as_ref().inspect(|waker| waker.wake_by_ref()).is_some());
        }
    });
    let mut run = begin::<W>();
    run.update("add", &4);
    run.complete(3, &4);
    // When it wakes, while another handler is at work
    run.update("add", &5);
    run.signal("go", &0);
    run.complete(5, &5);
    // Then nothing has happened
    assert_eq!(run.run.state.stalled, None);
    let history = run.new_events();
    assert_eq!(history.matches("update.replied").count(), 2, "{history}");
}

#[test]
fn workflow_that_returns_drops_its_handlers_and_drain_waits_for_them() {
    macro_rules! adds {
        ($name:ident, |$serving:ident| $end:expr) => {
            workflow!($name, |ctx| {
                let inner = ctx.clone();
                let $serving =
                    ctx.serve(ADD, async move |number| inner.activity::<Work>(number).await.unwrap_or(0));
                ctx.wait_for(GO).await?;
                let () = $end;
                Ok("done".to_owned())
            });
        };
    }
    adds!(Returns, |_serving| ());
    adds!(Drains, |serving| serving.drain().await?);
    let mut run = begin::<Returns>();
    run.update("add", &4);
    run.update("add", &5);
    run.signal("go", &0);
    run.assert_logged(&expect![[r#"
        1 run.started Returns
        2 update.received add 4
        3 activity.scheduled #3 work 4
        4 update.received add 5
        5 signal.received go 0
        6 activity.cancelled #3
        7 update.dropped #2 add
        8 run.completed "done"
    "#]]);
    let mut run = begin::<Drains>();
    run.update("add", &4);
    run.update("add", &5);
    run.signal("go", &0);
    run.complete(3, &4);
    run.reload();
    run.complete(6, &5);
    run.assert_logged(&expect![[r#"
        1 run.started Drains
        2 update.received add 4
        3 activity.scheduled #3 work 4
        4 update.received add 5
        5 signal.received go 0
        6 activity.completed #3 4
        7 update.replied #2 add 4
        8 activity.scheduled #6 work 5
        9 run.adopted lease 2
        10 activity.completed #6 5
        11 update.replied #5 add 5
        12 run.completed "done"
    "#]]);
}

#[test]
fn dropped_guard_takes_no_more_and_lets_the_handler_at_work_finish() {
    workflow!(W, |ctx| {
        let inner = ctx.clone();
        let serving = ctx.serve(ADD, async move |number| inner.activity::<Work>(number).await.unwrap_or(0));
        ctx.wait_for(GO).await?;
        drop(serving);
        // The name is free again.
        let (number, answer) = ctx.wait_for_update(ADD).await?;
        answer.send(number);
        ctx.wait_for(GO).await?;
        Ok("done".to_owned())
    });
    let mut run = begin::<W>();
    run.update("add", &4);
    run.update("add", &5);
    run.signal("go", &0);
    run.complete(3, &40);
    run.signal("go", &0);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 update.received add 4
        3 activity.scheduled #3 work 4
        4 update.received add 5
        5 signal.received go 0
        6 update.replied #4 add 5
        7 activity.completed #3 40
        8 update.replied #2 add 40
        9 signal.received go 0
        10 run.completed "done"
    "#]]);
}

#[test]
fn registration_survives_a_cancellation_which_ends_the_wait_for_a_condition() {
    workflow!(W, |ctx| {
        let _serving = ctx.serve(ADD, async |number| number + 1);
        assert!(ctx.until(|| false).await.unwrap_err().is_cancelled());
        ctx.wait_for(GO).await?;
        Ok("cleaned up".to_owned())
    });
    let mut run = begin::<W>();
    run.update("add", &1);
    run.cancel();
    run.update("add", &2);
    run.signal("go", &0);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 update.received add 1
        3 update.replied #2 add 2
        4 cancel.requested: enough
        5 update.received add 2
        6 update.replied #4 add 3
        7 signal.received go 0
        8 run.completed "cleaned up"
    "#]]);
}

#[test]
fn name_has_either_a_handler_or_waits() {
    workflow!(Twice, |ctx| {
        let _one = ctx.serve(ADD, async |number| number);
        let _other = ctx.serve(ADD, async |number| number);
        Ok(ctx.wait_for(GO).await?.to_string())
    });
    workflow!(WaitsToo, |ctx| {
        let _serving = ctx.serve(GO, async |_| ());
        Ok(ctx.wait_for(GO).await?.to_string())
    });
    workflow!(ServesToo, |ctx| {
        let waits = ctx.spawn(ctx.wait_for(GO));
        let _serving = ctx.serve(GO, async |_| ());
        Ok(waits.await?.to_string())
    });
    // A signal and an update of one name are apart.
    workflow!(Apart, |ctx| {
        let _serving = ctx.serve(Update::<u32, u32>::new("go"), async |number| number);
        Ok(ctx.wait_for(GO).await?.to_string())
    });
    expect!["the handler at core/src/workflow/calls/tests/handlers.rs:LINE update `add` has a handler already, of core/src/workflow/calls/tests/handlers.rs:LINE drop its guard before"].assert_eq(&stall(&begin::<Twice>()));
    expect!["signal `go` at core/src/workflow/calls/tests/handlers.rs:LINE it has a handler, of core/src/workflow/calls/tests/handlers.rs:LINE a name has either a handler or waits; drop the handler's guard before, or use another name"].assert_eq(&stall(&begin::<WaitsToo>()));
    expect!["the handler at core/src/workflow/calls/tests/handlers.rs:LINE signal `go` is waited for at core/src/workflow/calls/tests/handlers.rs:LINE a name has either a handler or waits; end the wait before, or use another name"].assert_eq(&stall(&begin::<ServesToo>()));
    assert_eq!(begin::<Apart>().run.state.stalled, None);
}

#[test]
fn run_that_waits_for_its_handlers_alone_stalls_unless_it_waits_for_a_condition() {
    workflow!(Served, |ctx| {
        let _serving = ctx.serve(ADD, async |number| number);
        ctx.until(|| false).await?;
        Ok(String::new())
    });
    workflow!(Elsewhere, |ctx| {
        let _serving = ctx.serve(ADD, async |number| number);
        std::future::pending::<()>().await;
        Ok(String::new())
    });
    workflow!(Unserved, |ctx| {
        ctx.until(|| false).await?;
        Ok(String::new())
    });
    let run = begin::<Served>();
    assert_eq!(run.run.state.stalled, None);
    assert!(run.run.waiting_on().unwrap().starts_with("a condition at"));
    assert!(stall(&begin::<Elsewhere>()).contains("waits for something that is not durable"));
    assert!(stall(&begin::<Unserved>()).contains("that nothing can make true"));
}

#[test]
fn handler_that_panics_stalls_its_run_and_the_update_waits_for_a_better_build() {
    workflow!(Works, |ctx| {
        let _serving = ctx.serve(ADD, async |number: u32| {
            crate::testing::panic_if_broken();
            number
        });
        Ok(ctx.wait_for(GO).await?.to_string())
    });
    crate::testing::deploy_broken_build(true);
    let mut run = begin::<Works>();
    run.update("add", &3);
    assert!(stall(&run).contains("this build is broken"), "{}", stall(&run));
    run.repair();
    run.assert_logged(&expect![[r#"
        1 run.started Works
        2 run.stalled: the workflow panicked: this build is broken; deploy code that does not, and the run resumes
        3 update.received add 3
        4 run.adopted lease 2
        5 run.resumed 1 released
        6 update.replied #2 add 3
    "#]]);
}

#[test]
fn handler_that_never_ends_holds_up_its_name_alone_and_ends_with_the_run() {
    workflow!(W, |ctx| {
        let inner = ctx.clone();
        let _serving = ctx.serve(ADD, async move |number| {
            inner.until(|| false).await.ok();
            number
        });
        Ok(ctx.wait_for(GO).await?.to_string())
    });
    let mut run = begin::<W>();
    run.update("add", &1);
    run.update("add", &2);
    run.signal("go", &7);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 update.received add 1
        3 update.received add 2
        4 signal.received go 7
        5 update.dropped #2 add
        6 run.completed "7"
    "#]]);
}

#[test]
fn conditions_that_make_each_other_true_are_all_seen_in_one_poll() {
    workflow!(W, |ctx| {
        let step = Shared::new(0);
        let stage = |from: u32| {
            let (ctx, step) = (ctx.clone(), step.clone());
            async move {
                ctx.until(|| step.with(|step| *step == from)).await?;
                step.with(|step| *step += 1);
                Ok::<_, WorkflowError>(())
            }
        };
        let (second, first) = (stage(2), stage(1));
        let begins = async {
            ctx.wait_for(GO).await?;
            step.with(|step| *step = 1);
            Ok::<_, WorkflowError>(())
        };
        let (second, (first, begins)) = join(second, join(first, begins)).await;
        second.and(first).and(begins)?;
        Ok(step.with(|step| *step).to_string())
    });
    let mut run = begin::<W>();
    run.signal("go", &0);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 signal.received go 0
        3 run.completed "3"
    "#]]);
}
