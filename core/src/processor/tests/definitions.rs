//! The workflows and activities of the tests.

use std::sync::Arc;
use std::time::Duration;

use crate::data::child::ChildPolicy;
use crate::data::options::ActivityOptions;
use crate::data::recipient::Recipient;
use crate::data::retry::RetryPolicy;
use crate::testing::{activity, panic_if_broken, run_id};
use crate::workflow::Workflow;
use crate::workflow::calls::carried_child::Carried;
use crate::workflow::context::Context;
use crate::workflow::error::WorkflowResult;
use crate::workflow::mark::PollMark;
use crate::workflow::registry::{Definitions, Registry};
use crate::workflow::signal::Signal;
use crate::workflow::update::Update;

pub(super) const GO: Signal<u32> = Signal::new("go");

activity!(pub(super) Work, "work", |input: u32| -> u32 { Ok(input) });
activity!(pub(super) Pay, "pay", ActivityOptions::default().transactional(), |input: u32| -> u32 { Ok(input) });
activity!(pub(super) Once, "once", ActivityOptions::default().at_most_once(), |input: u32| -> u32 { Ok(input) });
activity!(pub(super) Unknown, "unknown", retried(), |input: u32| -> u32 { Ok(input) });
activity!(pub(super) Retried, "retried", retried(), |input: u32| -> u32 { Ok(input) });

fn retried() -> ActivityOptions {
    ActivityOptions::default().retry(RetryPolicy::exponential())
}

macro_rules! workflow {
    ($name:ident, $stored:literal, |$ctx:ident, $input:ident| $body:expr) => {
        crate::testing::workflow!(pub(super) $name, $stored, |$ctx, $input: u32| -> u32 { $body });
    };
}

workflow!(Works, "works", |ctx, input| ctx.activity::<Work>(input).await);
crate::testing::workflow!(pub(super) Lengths, "lengths", |ctx, text: String| -> u32 {
    ctx.activity::<Work>(text.len() as u32).await
});
workflow!(WorksOnce, "works-once", |ctx, input| ctx.activity::<Once>(input).await);
workflow!(Retries, "retries", |ctx, input| ctx.activity::<Retried>(input).await);
workflow!(RetriesInTime, "retries-in-time", |ctx, input| {
    ctx.activity::<Retried>(input).schedule_to_close(Duration::from_secs(5)).await
});
workflow!(TwoInBackOff, "two-in-back-off", |ctx, input| {
    panic_if_broken();
    let both = (ctx.activity::<Retried>(input), ctx.activity::<Retried>(input + 1));
    let (one, other) = futures::join!(both.0, both.1);
    Ok(one? + other?)
});
workflow!(CallsUnknown, "calls-unknown", |ctx, input| ctx.activity::<Unknown>(input).await);
workflow!(Steps, "steps", |ctx, input| ctx.step("step", move || async move { Ok(input) }).await);
workflow!(Waits, "waits", |ctx, _input| {
    let mut sum = 0;
    loop {
        let number = ctx.wait_for(GO).await?;
        panic_if_broken();
        sum += number;
        if number == 0 {
            return Ok(sum);
        }
    }
});
workflow!(Relays, "relays", |ctx, runs| {
    if runs > 1 {
        ctx.continue_as_new::<Relays>(runs - 1).await;
    }
    ctx.wait_for(GO).await
});
pub(super) const RAISE: Update<u32, u32> = Update::new("raise").check(|cents| match cents {
    0 => Err("a raise of nothing".into()),
    _ => Ok(()),
});
workflow!(Raises, "raises", |ctx, _input| {
    let mut sum = 0;
    while sum < 100 {
        let (cents, answer) = ctx.wait_for_update(RAISE).await?;
        sum += cents;
        answer.send(sum);
    }
    Ok(sum)
});
workflow!(Tells, "tells", |ctx, input| {
    ctx.signal(run_id(input.into()), GO, 5);
    panic_if_broken();
    ctx.signal(run_id(input.into()), GO, 0);
    ctx.wait_for(GO).await
});
workflow!(TellsNobody, "tells-nobody", |ctx, input| {
    ctx.signal(Recipient::named("waits", "nobody"), GO, input);
    ctx.wait_for(GO).await
});
workflow!(Echoes, "echoes", |ctx, input| {
    loop {
        ctx.signal(ctx.run_id(), GO, input);
        ctx.wait_for(GO).await?;
    }
});
workflow!(WorksBeside, "works-beside", |ctx, input| {
    let told = async {
        ctx.wait_for(GO).await?;
        panic_if_broken();
        Ok(())
    };
    let (worked, told) = futures::join!(ctx.activity::<Work>(input), told);
    told.and(worked)
});
workflow!(Renders, "renders", |ctx, input| ctx.activity::<Retried>(input).queue("gpu").await);
workflow!(RendersOnce, "renders-once", |ctx, input| ctx.activity::<Once>(input).queue("gpu").await);
workflow!(RendersInTime, "renders-in-time", |ctx, input| {
    ctx.activity::<Work>(input).queue("gpu").schedule_to_close(Duration::from_secs(5)).await
});
workflow!(RendersLast, "renders-last", |ctx, input| {
    let _ = ctx.on_failure::<Work>(input).queue("gpu");
    ctx.activity::<Work>(input).await
});
workflow!(Pays, "pays", |ctx, input| {
    ctx.activity::<Pay>(input).schedule_to_close(Duration::from_secs(5)).await
});
workflow!(PaysMany, "pays-many", |ctx, count| {
    let pay = |number| ctx.activity::<Pay>(number).schedule_to_close(Duration::from_secs(5));
    let all = ctx.when_all((0..count).map(pay)).await?;
    Ok(all.iter().sum())
});
workflow!(PaysAndSleeps, "pays-and-sleeps", |ctx, input| {
    let pays = ctx.activity::<Pay>(input).schedule_to_close(Duration::from_secs(5));
    let sleeps = async {
        ctx.wait_for(GO).await?;
        ctx.sleep(Duration::from_secs(1)).await
    };
    let (paid, ()) = ctx.when_all((pays, sleeps)).await?;
    Ok(paid)
});
workflow!(PaysOrWaits, "pays-or-waits", |ctx, input| {
    let paid = ctx.activity::<Pay>(input).await;
    ctx.wait_for(GO).await?;
    paid
});
// Not registered.
workflow!(Elsewhere, "elsewhere", |ctx, _input| ctx.wait_for(GO).await);
workflow!(Sleeps, "sleeps", |ctx, secs| {
    ctx.sleep(Duration::from_secs(u64::from(secs))).await?;
    Ok(secs)
});
workflow!(FansOut, "fans-out", |ctx, count| {
    let all = ctx.when_all((0..count).map(|number| ctx.activity::<Work>(number))).await?;
    Ok(all.iter().sum())
});
workflow!(RetriesMany, "retries-many", |ctx, count| {
    let all = ctx.when_all((0..count).map(|number| ctx.activity::<Retried>(number))).await?;
    Ok(all.iter().sum())
});

workflow!(Parent, "parent", |ctx, input| ctx.child::<Waits>(input).await);
workflow!(KeyedParent, "keyed-parent", |ctx, input| ctx.child::<Waits>(input).key("k").await);
workflow!(ParentOfChain, "parent-of-chain", |ctx, input| ctx.child::<CountsDown>(input).await);
workflow!(CountsDown, "counts-down", |ctx, input| {
    match input {
        0 => Ok(7),
        _ => ctx.continue_as_new::<CountsDown>(input - 1).await,
    }
});
workflow!(LeavesKeyed, "leaves-keyed", |ctx, policy| {
    if policy > 3 {
        return ctx.wait_for(GO).await;
    }
    let _child = ctx.child::<Waits>(0).key("k").on_parent_end(policy_of(policy)).start();
    ctx.continue_as_new::<LeavesKeyed>(4).await
});
workflow!(GivesUpKeyed, "gives-up-keyed", |ctx, policy| {
    if policy <= 3 {
        let child =
            ctx.child::<Waits>(0).key("k").on_cancel(policy_of(policy)).on_parent_end(ChildPolicy::Leave);
        let child = child.start();
        ctx.wait_for(GO).await?;
        drop(child);
        ctx.wait_for(GO).await?;
        ctx.continue_as_new::<GivesUpKeyed>(4).await;
    }
    ctx.wait_for(GO).await
});
workflow!(KeyedParentBeside, "keyed-parent-beside", |ctx, input| {
    let told = async {
        ctx.wait_for(GO).await?;
        panic_if_broken();
        Ok(())
    };
    let (child, told) = futures::join!(ctx.child::<Waits>(input).key("k"), told);
    told.and(child)
});
workflow!(ContinuesKeyed, "continues-keyed", |ctx, policy| {
    if policy <= 3 {
        let _child = ctx.child::<Waits>(0).key("k").on_parent_end(policy_of(policy)).start();
        ctx.wait_for(GO).await?;
        ctx.continue_as_new::<ContinuesKeyed>(4).await
    }
    ctx.wait_for(GO).await
});
// The rounds that are left, and the child that the first run has started, with a key or without.
pub(super) type Leg = (u32, Option<Carried<Waits>>);
crate::testing::workflow!(pub(super) Carries, "carries", |ctx, leg: Leg| -> u32 { carry::<Carries>(ctx, leg, None).await });
crate::testing::workflow!(pub(super) CarriesKeyed, "carries-keyed", |ctx, leg: Leg| -> u32 {
    carry::<CarriesKeyed>(ctx, leg, Some("k")).await
});

/// Starts a child, carries it along for some rounds, each of which a signal ends, and waits for it.
async fn carry<W: Workflow<Input = Leg>>(ctx: Context, leg: Leg, key: Option<&str>) -> WorkflowResult<u32> {
    let (left, carried) = leg;
    let carried = carried.unwrap_or_else(|| {
        let child = ctx.child::<Waits>(0);
        let child = if let Some(key) = key { child.key(key) } else { child };
        child.start().carry()
    });
    if left == 0 {
        return ctx.carried::<Waits>(carried).await;
    }
    ctx.wait_for(GO).await?;
    ctx.continue_as_new::<W>((left - 1, Some(carried))).await
}
workflow!(ParentElsewhere, "parent-elsewhere", |ctx, input| ctx.child::<Waits>(input).queue("gpu").await);
workflow!(RendersThenAsks, "renders-then-asks", |ctx, input| {
    let _: Result<u32, _> = ctx.activity::<Once>(input).queue("gpu").await;
    ctx.child::<Waits>(input).queue("gpu").await
});
workflow!(ParentOfUnknown, "parent-of-unknown", |ctx, input| ctx.child::<Elsewhere>(input).await);
workflow!(DropsChild, "drops-child", |ctx, policy| {
    let child = ctx.child::<Waits>(0).on_cancel(policy_of(policy)).start();
    ctx.wait_for(GO).await?;
    drop(child);
    ctx.wait_for(GO).await
});
workflow!(EndsBefore, "ends-before", |ctx, policy| {
    let _child = ctx.child::<CleansUp>(0).on_parent_end(policy_of(policy)).start();
    ctx.wait_for(GO).await
});
workflow!(CleansUp, "cleans-up", |ctx, _input| {
    let _: Result<u32, _> = ctx.wait_for(GO).await;
    ctx.wait_for(GO).await
});

fn policy_of(number: u32) -> ChildPolicy {
    ChildPolicy::ALL[number as usize]
}

pub(super) fn registry() -> Registry {
    let mut definitions = Definitions::default();
    let registered = definitions
        .workflow::<Works>()
        .and_then(|()| definitions.workflow::<WorksOnce>())
        .and_then(|()| definitions.workflow::<Lengths>())
        .and_then(|()| definitions.workflow::<TwoInBackOff>())
        .and_then(|()| definitions.workflow::<Retries>())
        .and_then(|()| definitions.workflow::<RetriesInTime>())
        .and_then(|()| definitions.workflow::<CallsUnknown>())
        .and_then(|()| definitions.workflow::<Steps>())
        .and_then(|()| definitions.workflow::<Waits>())
        .and_then(|()| definitions.workflow::<Relays>())
        .and_then(|()| definitions.workflow::<Raises>())
        .and_then(|()| definitions.workflow::<Tells>())
        .and_then(|()| definitions.workflow::<TellsNobody>())
        .and_then(|()| definitions.workflow::<Echoes>())
        .and_then(|()| definitions.workflow::<WorksBeside>())
        .and_then(|()| definitions.workflow::<Sleeps>())
        .and_then(|()| definitions.workflow::<FansOut>())
        .and_then(|()| definitions.workflow::<RetriesMany>())
        .and_then(|()| definitions.workflow::<Renders>())
        .and_then(|()| definitions.workflow::<RendersOnce>())
        .and_then(|()| definitions.workflow::<RendersInTime>())
        .and_then(|()| definitions.workflow::<RendersLast>())
        .and_then(|()| definitions.workflow::<Pays>())
        .and_then(|()| definitions.workflow::<PaysMany>())
        .and_then(|()| definitions.workflow::<PaysAndSleeps>())
        .and_then(|()| definitions.workflow::<PaysOrWaits>())
        .and_then(|()| definitions.workflow::<Parent>())
        .and_then(|()| definitions.workflow::<KeyedParent>())
        .and_then(|()| definitions.workflow::<ParentElsewhere>())
        .and_then(|()| definitions.workflow::<RendersThenAsks>())
        .and_then(|()| definitions.workflow::<LeavesKeyed>())
        .and_then(|()| definitions.workflow::<GivesUpKeyed>())
        .and_then(|()| definitions.workflow::<KeyedParentBeside>())
        .and_then(|()| definitions.workflow::<ContinuesKeyed>())
        .and_then(|()| definitions.workflow::<Carries>())
        .and_then(|()| definitions.workflow::<CarriesKeyed>())
        .and_then(|()| definitions.workflow::<ParentOfChain>())
        .and_then(|()| definitions.workflow::<CountsDown>())
        .and_then(|()| definitions.workflow::<ParentOfUnknown>())
        .and_then(|()| definitions.workflow::<DropsChild>())
        .and_then(|()| definitions.workflow::<EndsBefore>())
        .and_then(|()| definitions.workflow::<CleansUp>())
        .and_then(|()| definitions.activity(Pay))
        .and_then(|()| definitions.activity(Work))
        .and_then(|()| definitions.activity(Once))
        .and_then(|()| definitions.activity(Retried));
    registered.expect("the names differ");
    Registry::new(Arc::new(definitions), Arc::new(PollMark::default()))
}
