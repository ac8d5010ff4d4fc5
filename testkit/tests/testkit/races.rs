//! Branches of one run under `explore` and `crash_everywhere`: each order of outcomes is tried once, and a replay goes the way
//! that was gone before. The orders are counted by hand.

use std::cell::RefCell;
use std::collections::BTreeSet;

use pgworkflows_core::prelude::*;
use pgworkflows_core::select;
use pgworkflows_testkit::{Error, TestEnv, TestEnvBuilder, TestRun, crash_everywhere, explore};

use crate::definitions::starts;

activity!(Work, "work", u64 => u64);

const GO: Signal<u64> = Signal::new("go");
const MINUTE: Duration = Duration::from_secs(60);

fn definition<W: Workflow>() -> TestEnvBuilder {
    TestEnv::builder().workflow::<W>().mock::<Work>(Ok)
}

/// Explores a workflow without an input. Returns how many orders there are, and all results.
async fn explored<W: Workflow<Input = (), Output = Vec<u64>>>() -> (u64, BTreeSet<Vec<u64>>) {
    let results = RefCell::new(BTreeSet::new());
    let explored = explore(&definition::<W>(), starts::<W>(()), async |run: TestRun<W>| {
        let result = run.result().await?;
        results.borrow_mut().insert(result);
        Ok(())
    });
    let explored = explored.assert().await;
    assert!(explored.exhaustive, "{explored}");
    (explored.orders as u64, results.into_inner())
}

// Notes the order in which three branches end, of which two are open at a time.
workflow!(Each, "each", |ctx, (): ()| -> Vec<u64> {
    let order = RefCell::new(Vec::new());
    let branch = async |number| {
        let number = ctx.activity::<Work>(number).await?;
        order.borrow_mut().push(number);
        WorkflowResult::Ok(number)
    };
    assert_eq!(ctx.for_each(1..=3, branch).limit(2).await?, [1, 2, 3]);
    Ok(order.into_inner())
});

#[tokio::test]
async fn three_branches_of_which_two_are_open_at_a_time_have_four_orders() {
    let orders = [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1]].map(Vec::from);
    assert_eq!(explored::<Each>().await, (4, BTreeSet::from(orders)));
}

// Takes what two branches return, of which each makes two calls.
workflow!(Both, "both", |ctx, (): ()| -> Vec<u64> {
    let twice = async |number| {
        ctx.activity::<Work>(number).await?;
        ctx.activity::<Work>(number + 1).await
    };
    let (mut one, mut ten) = (ctx.branch(twice(1)), ctx.branch(twice(10)));
    let mut taken = Vec::new();
    loop {
        select! {
            number = &mut one => taken.push(number?),
            number = &mut ten => taken.push(number?),
            complete => break Ok(taken),
        }
    }
});

#[tokio::test]
async fn two_arms_with_two_calls_each_have_six_orders_and_two_results() {
    assert_eq!(explored::<Both>().await, (6, BTreeSet::from([vec![2, 11], vec![11, 2]])));
}

// Locks a mutex in three branches.
workflow!(Locked, "locked", |ctx, (): ()| -> Vec<u64> {
    let order = ctx.mutex("order", Vec::new());
    let branch = async |number| {
        let mut order = order.lock().await?;
        order.push(ctx.activity::<Work>(number).await?);
        WorkflowResult::Ok(())
    };
    ctx.when_all((branch(1), branch(2), branch(3))).await?;
    Ok(order.into_inner())
});

#[tokio::test]
async fn branches_that_share_a_mutex_have_one_order() {
    assert_eq!(explored::<Locked>().await, (1, BTreeSet::from([vec![1, 2, 3]])));
}

// A bit of everything, over several rounds.
workflow!(Everything, "everything", |ctx, (): ()| -> Vec<u64> {
    let spawned = ctx.spawn(ctx.activity::<Work>(7));
    let mut closing = ctx.sleep(10 * MINUTE);
    let gpus = ctx.semaphore("gpus", 2);
    let mut taken = Vec::new();
    loop {
        select! {
            number = ctx.wait_for(GO) => taken.push(number?),
            slept = ctx.sleep(4 * MINUTE) => {
                slept?;
                let hold = async |number| {
                    let _gpu = gpus.acquire().timeout(MINUTE).await?;
                    ctx.activity::<Work>(number).await
                };
                let held = ctx.for_each(20..25, hold).limit(3).settle().await?;
                taken.extend(held.into_iter().flatten());
            }
            closed = &mut closing => break closed?,
        }
    }
    let step = ctx.step_with("last", taken.clone(), |taken| async move { Ok(taken.len() as u64) });
    taken.extend([spawned.await?, step.await?]);
    Ok(taken)
});

#[tokio::test]
async fn crashes_make_no_difference_to_branches_of_a_run() {
    async fn script(env: TestEnv) -> Result<TestRun<Everything>, Error> {
        let run = env.start::<Everything>(()).await?;
        run.signal(GO, 3).await?;
        env.advance(9 * MINUTE).await;
        run.signal(GO, 4).await?;
        Ok(run)
    }

    let once: Vec<u64> = vec![20, 21, 22, 23, 24];
    let expected = [vec![3], once.clone(), once, vec![4, 7, 12]].concat();
    assert_eq!(script(definition::<Everything>().build()).await.unwrap().result().await.unwrap(), expected);
    let crashed = crash_everywhere(&definition::<Everything>(), script).assert().await;
    assert!(crashed.crash_points > 3 * 12, "{crashed}");
}

// Branches of which one fails while others hold permits, wait for them, or have not begun.
workflow!(Failing, "failing", |ctx, (): ()| -> Vec<u64> {
    let permits = ctx.semaphore("permits", 2);
    let mut taken = Vec::new();
    for round in 0..2 {
        let branch = async |number: u64| {
            let _permit = permits.acquire().await?;
            let number = ctx.activity::<Work>(10 * round + number).await?;
            if number % 10 == 2 { Err(WorkflowError::new("planned", "as planned")) } else { Ok(number) }
        };
        let all = ctx.for_each(1..=4, branch).limit(3).await;
        assert!(all.is_err());
        taken.push(round);
    }
    // All permits are back.
    let both = async |number| {
        let _permit = permits.acquire().await?;
        ctx.activity::<Work>(number).await
    };
    taken.extend(ctx.when_all((both(98), both(99))).await.map(|(one, other)| [one, other])?);
    Ok(taken)
});

#[tokio::test]
async fn permits_of_branches_that_a_failure_drops_are_returned_in_every_order() {
    let (orders, results) = explored::<Failing>().await;
    assert!(orders > 4, "{orders}");
    assert_eq!(results, BTreeSet::from([vec![0, 1, 98, 99]]));
    crash_everywhere(&definition::<Failing>(), starts::<Failing>(())).assert().await;
}

// Races with `&mut` arms in a loop, while a branch that the race drops holds a permit, and another waits for it.
workflow!(Dropped, "dropped", |ctx, (): ()| -> Vec<u64> {
    let permits = ctx.semaphore("permits", 1);
    let hold = async |number| {
        let _permit = permits.acquire().await?;
        ctx.activity::<Work>(number).await
    };
    let mut patient = ctx.branch(hold(1));
    let spawned = ctx.spawn(ctx.activity::<Work>(50));
    let mut taken = Vec::new();
    for round in 0..2 {
        select! {
            number = &mut patient => taken.push(number?),
            number = ctx.branch(hold(10 + round)) => taken.push(number?),
            number = ctx.activity::<Work>(20 + round) => taken.push(number?),
            complete => break,
        }
    }
    drop((spawned, patient));
    taken.push(hold(30).await?);
    Ok(taken)
});

#[tokio::test]
async fn permits_of_arms_that_a_race_drops_are_returned_in_every_order() {
    let (orders, results) = explored::<Dropped>().await;
    assert!(orders > 4, "{orders}");
    assert!(results.iter().all(|taken| taken.len() == 3 && taken[2] == 30), "{results:?}");
    crash_everywhere(&definition::<Dropped>(), starts::<Dropped>(())).assert().await;
}
