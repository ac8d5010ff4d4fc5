//! Tests of updates in the log: how many may be unanswered, and what a replay compares. They must not need a processor.

use super::locals::crash_after_every_group;
use super::*;
use crate::data::limits;
use crate::log::reply::Reply;
use crate::testing::unchecked;
use crate::workflow::update::Update;

const ADD: Update<u32, u32> = Update::new("add");

workflow!(Adds, |ctx| {
    let mut sum = 0;
    while sum < 10 {
        let (number, answer) = ctx.wait_for_update(ADD).await?;
        sum += ctx.activity::<Work>(number).await?;
        answer.send(sum);
    }
    Ok(sum)
});

#[test]
fn answers_are_the_same_after_a_crash_at_every_group() {
    let mut run = begin::<Adds>();
    run.update("add", &4);
    run.update("add", &6);
    run.complete(2, &4);
    run.complete(4, &6);
    assert_eq!(run.run.state.updates.len(), 0);
    crash_after_every_group::<Adds>(&run);
}

#[test]
fn code_that_answers_differently_diverges() {
    workflow!(Drops, |ctx| {
        let (number, answer) = ctx.wait_for_update(ADD).await?;
        let sum = ctx.activity::<Work>(number).await?;
        drop(answer);
        drop(ctx.wait_for_update(ADD).await?);
        Ok(sum)
    });
    let mut run = begin::<Adds>();
    run.update("add", &4);
    run.complete(2, &4);
    let stalled = replay_with::<Drops>(&run);
    assert!(stalled.contains("drops update `add` (call 1)"), "{stalled}");
}

#[test]
fn update_of_a_stalled_run_waits_and_is_answered_after_the_release() {
    let mut run = begin::<Adds>();
    deploy_broken_build(false);
    let reason = "for a test".to_owned();
    let stall = run.run.stall(run.now, reason);
    run.take(stall);
    run.update("add", &4);
    assert_eq!(run.run.state.updates.len(), 1);
    run.reload();
    run.complete(2, &4);
    assert_eq!((run.run.state.updates.len(), run.run.state.stalled.clone()), (0, None));
}

#[test]
fn updates_without_a_reply_are_bounded_in_number_and_size() {
    let mut run = unchecked::<Adds>(&0);
    let (name, small) = ("add".into(), payload(&1));
    for _ in 0..limits::UPDATES_OPEN_MAX {
        assert_eq!(run.run.refusal(&name, &small), None);
        run.update("add", &1);
    }
    assert_eq!(run.run.refusal(&name, &small), Some(Reply::TooMany));
    assert!(run.run.bytes() > limits::UPDATES_OPEN_MAX * small.bytes().len());

    // A reply makes room.
    run.complete(2, &1);
    assert_eq!(run.run.refusal(&name, &small), None);

    // The largest is taken if there is no other.
    let mut run = unchecked::<Adds>(&0);
    let large = payload(&serde_bytes_of(limits::UPDATES_OPEN_BYTES_MAX + 1));
    assert!(!run.run.state.updates.is_full(&large));
    run.update("add", &1);
    assert!(run.run.state.updates.is_full(&large));
}

/// A text of that many bytes.
fn serde_bytes_of(bytes: usize) -> String {
    "x".repeat(bytes)
}

#[test]
fn run_that_compensates_takes_no_update() {
    workflow!(Fails, |ctx| {
        ctx.on_failure::<Undo>(9);
        ctx.wait_for(GO).await?;
        Err(WorkflowError::new("planned", "as planned"))
    });
    let mut run = begin::<Fails>();
    run.signal("go", &0);
    assert_eq!(run.run.refusal(&"add".into(), &payload(&1)), Some(Reply::Ending));
}
