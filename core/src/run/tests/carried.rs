//! Tests of children that a run carries along when it continues as new. They must not need a processor.

use super::*;
use crate::data::failure::Failure;
use crate::data::id::RunId;
use crate::data::outcome::Outcome;
use crate::log::event::Event;
use crate::workflow::calls::carried_child::Carried;

crate::testing::workflow!(Leaf, "leaf", |_ctx, number: u32| -> u32 { Ok(number) });

/// The children of the first run, if they were started.
type Leg = Vec<Carried<Leaf>>;

// Starts two children, continues at a signal, and waits for the second.
crate::testing::workflow!(Relay, "relay", |ctx, leg: Leg| -> u32 {
    if leg.is_empty() {
        let children: Leg = (1..=2).map(|number| ctx.child::<Leaf>(number).start().carry()).collect();
        ctx.wait_for(GO).await?;
        ctx.continue_as_new::<Relay>(children).await;
    }
    let first = ctx.wait_for(GO).await?;
    Ok(first + ctx.carried::<Leaf>(leg[1]).await?)
});

/// The children that are open according to the log.
fn children(fixture: &RunFixture) -> Vec<RunId> {
    fixture.run.state.children.iter().map(|(_, child)| child.child).collect()
}

/// A child that was started by that call ends.
fn end(fixture: &mut RunFixture, started_by: u32, child: RunId, outcome: Outcome) {
    let progress = fixture.run.child_ended(fixture.now, call(started_by), child, outcome);
    fixture.take(progress);
}

fn value(number: u32) -> Outcome {
    Outcome::Completed(payload(&number))
}

#[test]
fn carried_children_are_those_of_the_successor_and_its_own_calls_come_after_them() {
    let mut run = RunFixture::start::<Relay>(&Vec::new());
    let [one, other] = children(&run)[..] else { panic!("it has two children") };
    run.signal("go", &0);
    assert_eq!(run.run.state.children.len(), 0);
    run.go_on();
    assert_eq!(children(&run), [one, other]);
    run.reload();
    run.signal("go", &10);
    // The message names the call of the first run, and the child.
    end(&mut run, 2, other, value(5));
    let text = run.new_events().replace(&one.to_string(), "ONE").replace(&other.to_string(), "OTHER");
    expect![[r#"
        1 run.started relay ["ONE", "OTHER"] chain number 2 carried 2
        2 child.carried #1 leaf
        3 child.carried #2 leaf
        4 messages.known messages 1
        5 run.resumed 3 released
        6 run.adopted lease 2
        7 signal.received go 10
        8 child.completed #2 5
        9 run.ending completed 15
    "#]]
    .assert_eq(&text);

    // The child that nothing took is asked to cancel itself, and awaited.
    end(&mut run, 1, one, Outcome::Cancelled);
    assert!(run.new_events().ends_with("run.completed 15\n"));
}

#[test]
fn message_of_another_child_with_the_same_call_changes_nothing() {
    let mut run = RunFixture::start::<Relay>(&Vec::new());
    let [one, other] = children(&run)[..] else { panic!("it has two children") };
    run.signal("go", &0);
    run.go_on();
    run.new_events();
    for (started_by, child) in [(1, run_id(99)), (2, run_id(99)), (7, run_id(99))] {
        end(&mut run, started_by, child, value(5));
    }
    assert_eq!(run.new_events(), "");
    // Twice the same.
    end(&mut run, 1, one, value(3));
    end(&mut run, 1, one, value(4));
    assert_eq!(run.new_events().matches("child.completed").count(), 1);
    assert_eq!(children(&run), [other]);
}

#[test]
fn outcome_that_waits_for_code_that_is_over_goes_along() {
    // Given a stalled run with a signal that makes its code continue as new, and with outcomes after that signal
    let mut run = RunFixture::start::<Relay>(&Vec::new());
    let [one, other] = children(&run)[..] else { panic!("it has two children") };
    let stalled = run.run.stall(run.now, "for a test".to_owned());
    run.take(stalled);
    run.signal("go", &0);
    end(&mut run, 1, one, Outcome::Failed(Failure::new("planned", "as planned")));
    end(&mut run, 2, other, value(5));
    run.reload();
    let text = run.new_events();
    assert!(text.contains("run.continued"), "{text}");
    run.go_on();
    let text = run.new_events();
    assert!(text.contains("child.failed #1: as planned (planned)"), "{text}");
    assert!(text.contains("child.completed #2 5"), "{text}");
    run.signal("go", &1);
    assert!(run.new_events().ends_with("run.completed 6\n"));
}

#[test]
fn child_goes_along_until_a_run_takes_it() {
    crate::testing::workflow!(Long, "long", |ctx, (left, child): (u32, Option<Carried<Leaf>>)| -> u32 {
        let child = child.unwrap_or_else(|| ctx.child::<Leaf>(1).start().carry());
        ctx.wait_for(GO).await?;
        if left == 0 {
            return ctx.carried::<Leaf>(child).await;
        }
        ctx.continue_as_new::<Long>((left - 1, Some(child))).await
    });
    let mut run = RunFixture::start::<Long>(&(3, None));
    let [child] = children(&run)[..] else { panic!("it has a child") };
    for round in 0..3 {
        run.signal("go", &0);
        if round == 1 {
            // The run after the next has it as an event.
            assert_eq!(run.new_events().matches("child.carried").count(), 1);
        }
        run.go_on();
    }
    run.signal("go", &0);
    end(&mut run, 1, child, value(8));
    assert!(run.new_events().ends_with("run.completed 8\n"));
}

#[test]
fn child_that_is_not_carried_is_asked_at_the_continuation_and_a_carried_one_is_not() {
    crate::testing::workflow!(Mixed, "mixed", |ctx, leg: Leg| -> u32 {
        let _held = ctx.child::<Leaf>(1).start();
        let carried = ctx.child::<Leaf>(2).start().carry();
        ctx.wait_for(GO).await?;
        drop(leg);
        ctx.continue_as_new::<Mixed>(vec![carried]).await
    });
    let mut run = RunFixture::start::<Mixed>(&Vec::new());
    let [held, carried] = children(&run)[..] else { panic!("it has two children") };
    let progress = run.run.resolve(run.now, {
        let signal = crate::data::name::Name::from_static("go");
        let message = crate::data::id::MessageId::from_u128(77);
        Event::SignalReceived { message, signal, payload: payload(&0), key: None, sender: None, trace: None }
    });
    let asked: Vec<RunId> = progress.requests.iter().map(|request| request.child).collect();
    assert_eq!(asked, [held]);
    let successor = progress.successor.as_ref().expect("it continues");
    let goes_along = successor.events.iter().any(|past| match &past.event {
        Event::ChildCarried { child, .. } => *child == carried,
        _ => false,
    });
    assert!(goes_along);
    run.take(progress);
}

#[test]
fn child_that_was_not_carried_to_this_run_is_a_failure_that_names_it() {
    crate::testing::workflow!(Other2, "other", |_ctx, number: u32| -> u32 { Ok(number) });
    crate::testing::workflow!(Asks, "asks", |ctx, leg: Option<Leg>| -> Vec<bool> {
        let asked = match leg {
            Some(leg) => leg,
            None => {
                let child = ctx.child::<Leaf>(1).start().carry();
                ctx.continue_as_new::<Asks>(Some(vec![child])).await
            }
        };
        let mut told = Vec::new();
        // Another workflow's child, and then twice its own; the second time while the first still has it.
        let alien: Carried<Other2> = ctx.child::<Other2>(1).start().carry();
        let of_other: Carried<Leaf> = unchecked(&alien);
        told.push(is_unknown(&ctx.carried::<Leaf>(of_other).await, of_other.id()));
        let first = ctx.carried::<Leaf>(asked[0]);
        told.push(is_unknown(&ctx.carried::<Leaf>(asked[0]).await, asked[0].id()));
        first.await?;
        told.push(is_unknown(&ctx.carried::<Leaf>(asked[0]).await, asked[0].id()));
        // One that never was.
        let nobody: Carried<Leaf> = of_run(run_id(99));
        told.push(is_unknown(&ctx.carried::<Leaf>(nobody).await, nobody.id()));
        drop(ctx.carried::<Other2>(alien));
        Ok(told)
    });
    fn is_unknown(outcome: &Result<u32, WorkflowError>, child: RunId) -> bool {
        let names_it = format!("run {child} is no child of workflow `leaf` that was carried to this run");
        outcome
            .as_ref()
            .is_err_and(|error| error.is("unknown-child") && error.to_string().contains(&names_it))
    }
    fn of_run(run: RunId) -> Carried<Leaf> {
        serde_json::from_value(serde_json::json!(run)).expect("it is stored as an id")
    }
    fn unchecked(carried: &Carried<Other2>) -> Carried<Leaf> {
        of_run(carried.id())
    }
    let mut run = RunFixture::start::<Asks>(&None);
    run.go_on();
    let child = children(&run)[0];
    end(&mut run, 1, child, value(1));
    let alien = children(&run)[0];
    end(&mut run, 2, alien, Outcome::Cancelled);
    let text = run.new_events();
    assert!(text.contains("run.completed [true, true, true, true]"), "{text}");
}

#[test]
fn cancellation_reaches_a_child_again_that_a_run_has_taken_and_none_that_it_carries() {
    crate::testing::workflow!(Takes, "takes", |ctx, leg: Leg| -> u32 {
        if leg.is_empty() {
            let children: Leg = (1..=2).map(|number| ctx.child::<Leaf>(number).start().carry()).collect();
            ctx.continue_as_new::<Takes>(children).await;
        }
        let taken = ctx.carried::<Leaf>(leg[0]).await;
        // The call was cancelled, and later ones work.
        let number = ctx.wait_for(GO).await?;
        taken.map(|taken| taken + number)
    });
    let mut run = RunFixture::start::<Takes>(&Vec::new());
    run.go_on();
    run.cancel();
    let text = run.new_events();
    assert_eq!(text.matches("child.cancel-requested #1").count(), 1, "{text}");
    assert!(!text.contains("cancel-requested #2"), "{text}");
}

#[test]
fn cancellation_that_found_no_call_finds_the_child_that_is_taken() {
    crate::testing::workflow!(Latched, "latched", |ctx, leg: Leg| -> u32 {
        if leg.is_empty() {
            let child = ctx.child::<Leaf>(1).start().carry();
            ctx.continue_as_new::<Latched>(vec![child]).await;
        }
        ctx.shield(ctx.wait_for(GO)).await?;
        ctx.carried::<Leaf>(leg[0]).await
    });
    let mut run = RunFixture::start::<Latched>(&Vec::new());
    run.go_on();
    run.cancel();
    run.new_events();
    run.signal("go", &0);
    assert!(run.new_events().contains("child.cancel-requested #1"));
    let child = children(&run)[0];
    end(&mut run, 1, child, Outcome::Cancelled);
    assert!(run.new_events().contains("run.cancelled"));
}

#[test]
fn run_that_carries_too_many_children_or_too_much_stalls_when_it_continues() {
    crate::testing::workflow!(Many, "many", |ctx, count: u32| -> u32 {
        let children: Leg = (0..count).map(|number| ctx.child::<Leaf>(number).start().carry()).collect();
        ctx.continue_as_new::<Many>(children.len() as u32).await
    });
    let max = limits::CHILDREN_CARRIED_MAX as u32;
    let run = crate::testing::unchecked::<Many>(&(max + 1));
    let stalled = run.run.state.stalled.clone().expect("it carries too many");
    assert!(stalled.contains("carries 1001 children along, and the limit is 1000"), "{stalled}");
    let run = crate::testing::unchecked::<Many>(&max);
    assert_eq!(run.successor().events.len() as u32, max + 1);

    crate::testing::workflow!(Large, "large", |ctx, count: u32| -> u32 {
        let children: Leg = (0..count).map(|number| ctx.child::<Leaf>(number).start().carry()).collect();
        ctx.wait_for(GO).await?;
        ctx.continue_as_new::<Large>(children.len() as u32).await
    });
    let mut run = crate::testing::unchecked::<Large>(&33);
    for (number, child) in children(&run).into_iter().enumerate() {
        end(&mut run, number as u32 + 1, child, Outcome::Completed(payload(&"x".repeat(1 << 20))));
    }
    run.signal("go", &0);
    let stalled = run.run.state.stalled.clone().expect("it carries too much");
    assert!(stalled.contains("children along whose outcomes have"), "{stalled}");
}

#[test]
fn child_whose_outcome_was_taken_and_one_that_was_given_up_can_be_carried_no_more() {
    crate::testing::workflow!(Late, "late", |ctx, leg: Option<Leg>| -> Vec<bool> {
        let Some(leg) = leg else {
            let mut taken = ctx.child::<Leaf>(1).start();
            (&mut taken).await?;
            // Its call is cancelled, and nothing is left to wait for.
            let left = ctx.child::<Leaf>(2).on_cancel(crate::data::child::ChildPolicy::Leave).start();
            let _: Result<u32, _> = ctx.wait_for(GO).await;
            ctx.continue_as_new::<Late>(Some(vec![taken.carry(), left.carry()])).await
        };
        let taken = ctx.carried::<Leaf>(leg[0]).await.unwrap_err();
        let left = ctx.carried::<Leaf>(leg[1]).await.unwrap_err();
        Ok(vec![taken.is("unknown-child"), left.is("child-cancelled")])
    });
    let mut run = RunFixture::start::<Late>(&None);
    let child = children(&run)[0];
    end(&mut run, 1, child, value(1));
    run.cancel();
    run.go_on();
    let text = run.new_events();
    assert!(text.contains("run.completed [true, true]"), "{text}");
}

#[test]
fn another_attempt_of_the_whole_run_has_no_child_of_the_one_before() {
    crate::testing::workflow!(Retries, "retries", |ctx, leg: Leg| -> u32 {
        if leg.is_empty() {
            let child = ctx.child::<Leaf>(1).start().carry();
            ctx.continue_as_new::<Retries>(vec![child]).await;
        }
        ctx.carried::<Leaf>(leg[0]).await
    });
    let policy = crate::data::chain::RunRetry::first(RetryPolicy::exponential());
    let mut run =
        RunFixture::start_retried::<Retries>(registry_of::<Retries>(), payload(&Leg::new()), None, policy);
    run.go_on();
    let child = children(&run)[0];
    end(&mut run, 1, child, Outcome::Failed(Failure::new("planned", "as planned")));
    assert!(run.new_events().contains("run.retried"));
    run.go_on();
    run.pass(2 * SECOND);
    let text = run.new_events();
    assert!(text.contains("unknown-child") && text.contains("run.failed"), "{text}");
}
