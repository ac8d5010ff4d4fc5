//! Tests of the events that updates log.

use super::*;
use crate::log::event::Event;
use crate::workflow::update::Update;

const ADD: Update<u32, u32> = Update::new("add");

#[test]
fn update_is_taken_at_the_poll_and_answered_by_the_call_that_took_it() {
    workflow!(W, |ctx| {
        let (mut sum, mut held) = (0, None);
        while sum < 10 {
            let (number, answer) = ctx.wait_for_update(ADD).await?;
            sum += number;
            // The first update is answered after the second one.
            match held.replace(answer) {
                Some(earlier) => earlier.send(sum),
                None => ctx.activity::<Work>(number).await.map(drop)?,
            }
        }
        held.into_iter().for_each(|answer| answer.send(sum));
        Ok(sum.to_string())
    });
    let mut run = begin::<W>();
    run.update("add", &4);
    run.update("add", &6);
    run.reload();
    run.complete(2, &0);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 update.received add 4
        3 activity.scheduled #2 work 4
        4 update.received add 6
        5 run.adopted lease 2
        6 activity.completed #2 0
        7 update.replied #1 add 10
        8 update.replied #3 add 10
        9 run.completed "10"
    "#]]);
}

#[test]
fn dropped_answer_is_logged_wherever_it_is_dropped() {
    workflow!(Drops, |ctx| {
        let (_, answer) = ctx.wait_for_update(ADD).await?;
        drop(answer);
        // The race is lost with the update that it took.
        let (_, held) = ctx.wait_for_update(ADD).await?;
        let timer = ctx.sleep(SECOND);
        let holds = Box::pin(async move {
            ctx.wait_for(GO).await.ok();
            held.send(0);
        });
        select(timer, holds).await;
        Ok("done".to_owned())
    });
    let mut run = begin::<Drops>();
    run.update("add", &1);
    run.update("add", &2);
    run.pass(SECOND);
    run.assert_logged(&expect![[r#"
        1 run.started Drops
        2 update.received add 1
        3 update.dropped #1 add
        4 update.received add 2
        5 timer.started #3 until 1s
        6 timer.fired #3
        7 update.dropped #2 add
        8 run.completed "done"
    "#]]);
}

#[test]
fn wait_for_an_update_ends_by_a_cancellation_or_a_timeout_and_loses_none() {
    workflow!(W, |ctx| {
        assert!(ctx.wait_for_update(ADD).timeout(SECOND).await.unwrap_err().is_timeout());
        assert!(ctx.wait_for_update(ADD).await.unwrap_err().is_cancelled());
        let (number, answer) = ctx.wait_for_update(ADD).await?;
        answer.send(number);
        Ok(number.to_string())
    });
    let mut run = begin::<W>();
    run.pass(SECOND);
    run.cancel();
    run.signal("add", &9);
    run.update("add", &1);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 timer.started #2 until 1s
        3 timer.fired #2
        4 cancel.requested: enough
        5 signal.received add 9
        6 update.received add 1
        7 update.replied #4 add 1
        8 run.completed "1"
    "#]]);
}

#[test]
fn request_of_another_type_stalls_a_run_that_had_not_named_the_update_before() {
    workflow!(W, |ctx| {
        ctx.wait_for(GO).await?;
        let (number, answer) = ctx.wait_for_update(ADD).await?;
        answer.send(number);
        Ok(number.to_string())
    });
    let mut run = begin::<W>();
    run.update("add", &"four");
    run.signal("go", &1);
    run.assert_logged(&expect![[r#"
        1 run.started W
        2 update.received add "four"
        3 run.stalled: the request of update `add`: 5 bytes of CBOR are not a u32: invalid type: string, expected integer; deploy code that can read it, and the run resumes
        4 signal.received go 1
    "#]]);
}

#[test]
fn check_refuses_what_it_sees_once_the_code_has_named_the_update_and_logs_nothing() {
    const CHECKED: Update<u32, u32> = Update::new("add").check(|number| match number {
        0 => Err("nothing to add".into()),
        1 => panic!("one is too few"),
        _ => Ok(()),
    });
    workflow!(W, |ctx| {
        ctx.wait_for(GO).await?;
        let (number, answer) = ctx.wait_for_update(CHECKED).await?;
        answer.send(number);
        Ok(number.to_string())
    });
    let refusal = |run: &RunFixture, request: &dyn erased::Request| {
        let refusal = run.run.refusal(&"add".into(), &request.payload());
        refusal.map(|reply| format!("{reply:?}"))
    };
    let mut run = begin::<W>();
    assert_eq!(refusal(&run, &0), None, "the code has not named it");
    run.signal("go", &1);
    let logged = run.log.len();
    assert_eq!(refusal(&run, &0).unwrap(), "Refused(\"nothing to add\")");
    let panicked = refusal(&run, &1).unwrap();
    assert!(panicked.contains("the check of update `add` panicked: one is too few"), "{panicked}");
    let of_another_type = refusal(&run, &"two").unwrap();
    assert!(of_another_type.contains("the request is not of the update's type"), "{of_another_type}");
    assert_eq!(refusal(&run, &2), None);
    assert_eq!(run.log.len(), logged);
    // The check that panicked has harmed nothing.
    run.update("add", &2);
    assert!(matches!(run.log.last().unwrap().event, Event::RunCompleted { .. }));
}

/// Requests of several types.
mod erased {
    use crate::data::payload::Payload;
    use crate::testing::payload;

    pub(super) trait Request {
        fn payload(&self) -> Payload;
    }

    impl<T: serde::Serialize> Request for T {
        fn payload(&self) -> Payload {
            payload(self)
        }
    }
}
