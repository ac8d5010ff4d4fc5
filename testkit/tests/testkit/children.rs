//! Children in the testkit: crashes make no difference to parents and children, and every order of their outcomes is played.

use std::cell::RefCell;
use std::collections::BTreeSet;

use futures::future::select_all;
use pgworkflows_core::prelude::*;
use pgworkflows_core::workflow::{Carried, ChildPolicy};
use pgworkflows_testkit::{Error, TestEnv, TestEnvBuilder, TestRun, crash_everywhere, explore};

use crate::definitions::{HOUR, starts};

activity!(Work, "work", u64 => u64);
activity!(Pack, "pack", u64 => u64);
activity!(Ship, "ship", u64 => u64);

const GO: Signal<u64> = Signal::new("go");

// Does some work, and fails if it is told so.
workflow!(Child, "child", |ctx, number: u64| -> u64 {
    let worked = ctx.activity::<Work>(number).await?;
    ctx.sleep(HOUR).await?;
    if worked == 0 { Err(WorkflowError::new("nothing", "there is nothing to do")) } else { Ok(worked) }
});

// Children with and without a key, of this queue and of another, awaited, dropped, and held to the end.
workflow!(Family, "family", |ctx, numbers: Vec<u64>| -> u64 {
    let _held = ctx.child::<Child>(7).key("held").on_parent_end(ChildPolicy::RequestAndWait).start();
    let dropped = ctx.child::<Child>(8).on_cancel(ChildPolicy::Terminate).start();
    let keyed = ctx.child::<Child>(9).key("awaited").deadline(9 * HOUR).start();
    let elsewhere = ctx.child::<Child>(11).queue("elsewhere").start();
    let sum = ctx.when_all(numbers.into_iter().map(|number| ctx.child::<Child>(number))).await;
    drop(dropped);
    let keyed = keyed.await? + elsewhere.await?;
    let last = ctx.child::<Child>(10).start();
    let told = ctx.wait_for(GO).await?;
    drop(last);
    Ok(keyed + told + sum?.into_iter().sum::<u64>())
});

/// Waits for calls, and returns the order in which they ended.
async fn in_order<F>(calls: impl Iterator<Item = F>) -> WorkflowResult<Vec<u64>>
where
    F: Future<Output = WorkflowResult<u64>> + Unpin,
{
    let (mut open, mut order) = (calls.collect::<Vec<_>>(), Vec::new());
    while !open.is_empty() {
        let (done, _, left) = select_all(open).await;
        order.push(done?);
        open = left;
    }
    Ok(order)
}

fn definition() -> TestEnvBuilder {
    TestEnv::builder().workflow::<Family>().workflow::<Child>().workflow::<Relay>().mock::<Work>(Ok)
}

#[tokio::test]
async fn crashes_make_no_difference_to_parents_and_children() {
    for numbers in [vec![1, 2], vec![1, 0]] {
        let script = async move |env: TestEnv| {
            let run = env.start::<Family>(numbers.clone()).await?;
            env.advance(2 * HOUR).await;
            run.signal(GO, 3).await?;
            env.advance(2 * HOUR).await;
            Ok(run)
        };
        let crashed = crash_everywhere(&definition(), script).assert().await;
        assert!(crashed.crash_points >= 3 * 10, "{crashed}");
    }
}

// Carries children with and without a key along, and waits for them two runs later.
workflow!(Relay, "relay", |ctx, leg: (u64, Vec<Carried<Child>>)| -> u64 {
    let (round, mut carried) = leg;
    carried.push(ctx.child::<Child>(10 * round + 1).start().carry());
    carried.push(ctx.child::<Child>(10 * round + 2).key(format!("of {round}")).start().carry());
    let told = ctx.wait_for(GO).await?;
    if round < 2 {
        ctx.continue_as_new::<Relay>((round + 1, carried)).await;
    }
    let _left = carried.pop();
    let children = carried.into_iter().map(|carried| ctx.carried::<Child>(carried));
    Ok(told + ctx.when_all(children).await?.into_iter().sum::<u64>())
});

#[tokio::test]
async fn crashes_make_no_difference_to_children_that_are_carried_along() {
    let script = async |env: TestEnv| {
        let run = env.start::<Relay>((0, Vec::new())).await?;
        for number in 1..=3 {
            env.advance(HOUR / 2).await;
            run.signal(GO, number).await?;
        }
        env.advance(2 * HOUR).await;
        Ok(run)
    };
    let run = script(definition().build()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), 3 + 1 + 2 + 11 + 12 + 21);
    let crashed = crash_everywhere(&definition(), script).assert().await;
    assert!(crashed.crash_points >= 3 * 12, "{crashed}");
}

// Carries its children along at once, and returns the order in which they ended.
workflow!(Later, "later", |ctx, leg: Vec<Carried<Worker>>| -> Vec<u64> {
    if leg.is_empty() {
        let children = (1..=3).map(|number| ctx.child::<Worker>(number).start().carry()).collect();
        ctx.sleep(HOUR).await?;
        ctx.continue_as_new::<Later>(children).await;
    }
    in_order(leg.into_iter().map(|carried| ctx.carried::<Worker>(carried))).await
});

#[tokio::test]
async fn outcomes_of_carried_children_are_played_in_every_order_before_and_after_the_continuation() {
    let definition = TestEnv::builder().workflow::<Later>().workflow::<Worker>();
    let definition = definition.mock::<Work>(Ok).mock::<Pack>(Ok).mock::<Ship>(Ok);
    let orders = RefCell::new(BTreeSet::new());
    let explored =
        explore(&definition, starts::<Later>(Vec::new()), async |run: TestRun<Later>| -> Result<(), Error> {
            let order = run.result().await?;
            orders.borrow_mut().insert(order);
            Ok(())
        })
        .assert()
        .await;
    assert_eq!(orders.borrow().len(), 6, "{explored}");
}

// Works twice, as two runs.
workflow!(Twice, "twice", |ctx, leg: (u64, bool)| -> u64 {
    let (number, is_last) = leg;
    let worked =
        if is_last { ctx.activity::<Pack>(number).await? } else { ctx.activity::<Work>(number).await? };
    if is_last {
        return Ok(worked);
    }
    ctx.continue_as_new::<Twice>((number, true)).await
});

workflow!(Waits, "waits", |ctx, number: u64| -> u64 {
    let (child, own) =
        ctx.when_all((ctx.child::<Twice>((number, false)), ctx.activity::<Ship>(number))).await?;
    ctx.sleep(HOUR).await?;
    Ok(child + own)
});

#[tokio::test]
async fn child_that_continues_as_new_is_played_to_the_end_of_its_chain() {
    let definition = TestEnv::builder().workflow::<Waits>().workflow::<Twice>();
    let definition = definition.mock::<Work>(Ok).mock::<Pack>(Ok).mock::<Ship>(Ok);
    let explored =
        explore(&definition, starts::<Waits>(4), async |run: TestRun<Waits>| -> Result<(), Error> {
            assert_eq!(run.result().await?, 8);
            Ok(())
        })
        .assert()
        .await;
    assert!(explored.exhaustive, "{explored}");
}

// Returns the order in which its children ended.
workflow!(Race, "race", |ctx, count: u64| -> Vec<u64> {
    in_order((1..=count).map(|number| ctx.child::<Worker>(number))).await
});

// An arrival is named by its activity and its call, so each child has an activity of its own.
workflow!(Worker, "worker", |ctx, number: u64| -> u64 {
    match number {
        1 => ctx.activity::<Work>(number).await,
        2 => ctx.activity::<Pack>(number).await,
        _ => ctx.activity::<Ship>(number).await,
    }
});

#[tokio::test]
async fn outcomes_of_children_are_played_in_every_order() {
    let definition = TestEnv::builder().workflow::<Race>().workflow::<Worker>();
    let definition = definition.mock::<Work>(Ok).mock::<Pack>(Ok).mock::<Ship>(Ok);
    let orders = RefCell::new(BTreeSet::new());
    let explored = explore(&definition, starts::<Race>(3), async |run: TestRun<Race>| -> Result<(), Error> {
        let order = run.result().await?;
        orders.borrow_mut().insert(order);
        Ok(())
    })
    .assert()
    .await;
    assert_eq!(orders.borrow().len(), 6, "{explored}");
    assert!(explored.exhaustive, "{explored}");
}
