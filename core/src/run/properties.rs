//! Random workflows with random resolutions: whatever the code does with durable futures, the log determines the run.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{Either, LocalBoxFuture, join, select};
use futures::stream::FuturesUnordered;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::options::ActivityOptions;
use crate::data::retry::RetryPolicy;
use crate::log::event::{Event, Role};
use crate::log::past_event::PastEvent;
use crate::run::Run;
use crate::select;
use crate::testing::{RunFixture, activity, broken, deploy_broken_build, history, panic_if_broken, workflow};
use crate::workflow::calls::timeout::Durable;
use crate::workflow::context::Context;
use crate::workflow::error::{WorkflowError, WorkflowResult};
use crate::workflow::signal::Signal;
use crate::workflow::view::View;

activity!(Work, "work", |input: u64| -> u64 { Ok(input) });
activity!(Retried, "retried", retried(), |input: u64| -> u64 { Ok(input) });

fn retried() -> ActivityOptions {
    let retry = RetryPolicy::exponential().max_attempts(2);
    ActivityOptions::default().retry(retry).schedule_to_close(Duration::from_secs(4))
}

/// The plan of a random workflow.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Plan {
    Work,
    Retried,
    Step,
    Record(u8),
    Publish(u8),
    Sleep(u8),
    Wait(u8),
    WaitFor(u8, u8),
    Compensate,
    /// A compensation that is discarded after the plan.
    Discard(Box<Plan>),
    /// A round, which is dropped after some seconds.
    Round(u8),
    Fail,
    /// One after the other.
    Seq(Vec<Plan>),
    /// `when_all` over items.
    All(Vec<Plan>),
    /// `when_all` over a pair.
    Both(Box<Plan>, Box<Plan>),
    /// `join`.
    Join(Box<Plan>, Box<Plan>),
    /// The first that is ready; the other is dropped.
    Race(Box<Plan>, Box<Plan>),
    /// The first of many; the others are dropped.
    First(Vec<Plan>),
    /// What branches share, or race for.
    Branches(Branches),
    /// Continues after an error.
    Catch(Box<Plan>),
    Shield(Box<Plan>),
    /// A scope with a deadline, whose code goes on after that with another plan.
    Scope(u8, Box<Plan>, Box<Plan>),
    /// A scope, which is cancelled when another plan is done.
    Stop(Box<Plan>, Box<Plan>),
    /// A destructor that registers a compensation.
    Guard(Box<Plan>),
}

/// Plans whose parts are branches of a race, or share something.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Branches {
    /// `select!` in a loop, until both are done.
    Select(Box<Plan>, Box<Plan>),
    /// `select!` once; the other one is dropped.
    Arms(Box<Plan>, Box<Plan>),
    /// A call that is made before the plan, and awaited after it.
    Spawn(u8, Box<Plan>),
    /// `for_each` with a limit, which fails with the first error or settles.
    Each(u8, bool, Vec<Plan>),
    /// `when_all` of branches that share permits, and give up after some seconds of waiting.
    Share(u8, u8, Vec<Plan>),
    /// A race of two branches for one mutex.
    Lock(Box<Plan>, Box<Plan>),
}

const SIGNALS: [Signal<u64>; 2] = [Signal::new("red"), Signal::new("blue")];

const VIEWS: [View<u64>; 2] = [View::new("shown"), View::new("also")];

const VALUES: [&str; 2] = ["one", "two"];

workflow!(Scripted, "scripted", |ctx, plan: Plan| -> u64 {
    let seen = Rc::new(Cell::new(1));
    let result = follow(ctx, plan, Rc::clone(&seen)).await;
    panic_if_broken();
    result.map(|value| value ^ seen.get())
});

/// Registers a compensation when it is dropped.
struct Guard(Context, Rc<Cell<u64>>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.on_failure::<Work>(self.1.get());
    }
}

/// Executes a plan. Everything that the code sees is mixed into `seen`, which is part of the inputs of its calls.
fn follow(ctx: Context, plan: Plan, seen: Rc<Cell<u64>>) -> LocalBoxFuture<'static, WorkflowResult<u64>> {
    Box::pin(async move {
        panic_if_broken();
        let branch = |plan: Plan| follow(ctx.clone(), plan, Rc::clone(&seen));
        let result = match plan {
            Plan::Work => ctx.activity::<Work>(seen.get()).await,
            Plan::Retried => ctx.activity::<Retried>(seen.get()).await,
            Plan::Step => ctx.step("step", || async { Ok(0) }).await,
            Plan::Record(name) => Ok(ctx.record(VALUES[usize::from(name) % 2], || seen.get()).await),
            Plan::Publish(view) => {
                ctx.publish(VIEWS[usize::from(view) % 2], &seen.get());
                Ok(1)
            }
            Plan::Sleep(secs) => ctx.sleep(Duration::from_secs(u64::from(secs))).await.map(|()| 3),
            Plan::Wait(signal) => ctx.wait_for(SIGNALS[usize::from(signal) % 2]).await,
            Plan::WaitFor(signal, secs) => {
                let wait = ctx.wait_for(SIGNALS[usize::from(signal) % 2]);
                wait.timeout(Duration::from_secs(u64::from(secs) + 1)).await
            }
            Plan::Compensate => {
                ctx.on_failure::<Retried>(seen.get());
                Ok(ctx.random())
            }
            Plan::Fail => Err(WorkflowError::new("planned", "as planned")),
            Plan::Seq(plans) => {
                let mut sum = 0_u64;
                for plan in plans {
                    sum = sum.wrapping_add(branch(plan).await?);
                }
                Ok(sum)
            }
            Plan::All(plans) => ctx.when_all(plans.into_iter().map(branch)).await.map(|all| all.len() as u64),
            Plan::Both(one, other) => {
                ctx.when_all((branch(*one), branch(*other))).await.map(|(one, other)| one ^ other)
            }
            Plan::Join(one, other) => {
                let (one, other) = join(branch(*one), branch(*other)).await;
                one.and_then(|one| other.map(|other| one.wrapping_mul(3) ^ other))
            }
            Plan::Race(one, other) => match select(branch(*one), branch(*other)).await {
                Either::Left((result, _)) | Either::Right((result, _)) => result,
            },
            Plan::First(plans) => {
                let mut pending: FuturesUnordered<_> = plans.into_iter().map(branch).collect();
                pending.next().await.unwrap_or(Ok(5))
            }
            Plan::Branches(branches) => follow_branches(&ctx, branches, &seen, &branch).await,
            plan @ (Plan::Discard(_)
            | Plan::Round(_)
            | Plan::Shield(_)
            | Plan::Scope(..)
            | Plan::Stop(..)) => follow_part(&ctx, plan, &seen, &branch).await,
            Plan::Catch(plan) => Ok(branch(*plan).await.unwrap_or(7)),
            Plan::Guard(plan) => {
                let _guard = Guard(ctx.clone(), Rc::clone(&seen));
                branch(*plan).await
            }
        };
        panic_if_broken();
        let now = ctx.now().timestamp_micros() as u64;
        let value = result.as_ref().copied().unwrap_or(11);
        seen.set(crate::data::random::mix(seen.get() ^ value ^ now) ^ ctx.random());
        result
    })
}

/// Plans of compensations and of parts that are cancelled by themselves, or are not.
async fn follow_part(
    ctx: &Context,
    plan: Plan,
    seen: &Cell<u64>,
    branch: &dyn Fn(Plan) -> LocalBoxFuture<'static, WorkflowResult<u64>>,
) -> WorkflowResult<u64> {
    match plan {
        Plan::Discard(plan) => {
            let compensation = ctx.on_failure::<Work>(seen.get());
            let result = branch(*plan).await;
            result.map(|value| value ^ u64::from(compensation.discard()))
        }
        Plan::Round(secs) => {
            let round = ctx.branch(async { Ok(ctx.compensate().await.len() as u64) });
            round.timeout(Duration::from_secs(u64::from(secs) + 1)).await
        }
        Plan::Shield(plan) => ctx.shield(branch(*plan)).await,
        Plan::Scope(secs, plan, after) => {
            let scope = ctx.scope(async {
                match branch(*plan).await {
                    Err(error) if error.is_cancelled() => branch(*after).await.and(Err(error)),
                    result => result,
                }
            });
            scope.deadline(Duration::from_secs(u64::from(secs) + 1)).await
        }
        Plan::Stop(plan, other) => {
            let scope = ctx.scope(branch(*plan));
            let handle = scope.handle();
            let stop = async {
                let done = branch(*other).await;
                done.map(|done| done ^ u64::from(handle.cancel()))
            };
            let (one, other) = join(scope, stop).await;
            one.and_then(|one| other.map(|other| one ^ other))
        }
        _ => unreachable!("it is another kind of plan"),
    }
}

async fn follow_branches(
    ctx: &Context,
    branches: Branches,
    seen: &Cell<u64>,
    branch: &dyn Fn(Plan) -> LocalBoxFuture<'static, WorkflowResult<u64>>,
) -> WorkflowResult<u64> {
    match branches {
        Branches::Select(one, other) => {
            let (mut one, mut other) = (ctx.branch(branch(*one)), ctx.branch(branch(*other)));
            let mut sum = 0_u64;
            loop {
                select! {
                    done = &mut one => sum = sum.wrapping_mul(3) ^ done?,
                    done = &mut other => sum = sum.wrapping_mul(5) ^ done?,
                    complete => break Ok(sum),
                }
            }
        }
        Branches::Arms(one, other) => select! {
            done = ctx.branch(branch(*one)) => done,
            done = ctx.branch(branch(*other)) => done.map(|done| done ^ 1),
        },
        Branches::Spawn(secs, plan) => {
            let work =
                ctx.spawn(ctx.activity::<Work>(seen.get()).timeout(Duration::from_secs(u64::from(secs))));
            let planned = branch(*plan).await?;
            Ok(work.await?.wrapping_add(planned))
        }
        Branches::Each(limit, settles, plans) => {
            let each = ctx.for_each(plans, branch).limit(usize::from(limit));
            if settles {
                each.settle().await.map(|all| all.iter().filter(|result| result.is_ok()).count() as u64)
            } else {
                each.await.map(|all| all.into_iter().fold(0, |sum, value| sum ^ value))
            }
        }
        Branches::Share(permits, secs, plans) => {
            let permits = ctx.semaphore("permits", usize::from(permits));
            let share = async |plan| {
                let _permit = permits.acquire().timeout(Duration::from_secs(u64::from(secs))).await?;
                branch(plan).await
            };
            ctx.when_all(plans.into_iter().map(share)).await.map(|all| all.len() as u64)
        }
        Branches::Lock(one, other) => {
            let mutex = ctx.mutex("mutex", 3_u64);
            let lock = async |plan| {
                let mut value = mutex.lock().await?;
                *value ^= branch(plan).await?;
                Ok(*value)
            };
            let first = select! {
                done = ctx.branch(lock(*one)) => done,
                done = ctx.branch(lock(*other)) => done,
            };
            let last = mutex.lock().await?;
            first.map(|first| first ^ *last)
        }
    }
}

fn plan() -> impl Strategy<Value = Plan> {
    let leaf = prop_oneof![
        4 => Just(Plan::Work),
        2 => Just(Plan::Retried),
        2 => Just(Plan::Step),
        2 => (0..2_u8).prop_map(Plan::Record),
        2 => (0..2_u8).prop_map(Plan::Publish),
        2 => (0..6_u8).prop_map(Plan::Sleep),
        2 => (0..2_u8).prop_map(Plan::Wait),
        2 => (0..2_u8, 0..6_u8).prop_map(|(signal, secs)| Plan::WaitFor(signal, secs)),
        1 => Just(Plan::Compensate),
        1 => (0..6_u8).prop_map(Plan::Round),
        1 => Just(Plan::Fail),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let many = || prop::collection::vec(inner.clone(), 0..4);
        let one = || inner.clone().prop_map(Box::new);
        prop_oneof![
            3 => many().prop_map(Plan::Seq),
            2 => many().prop_map(Plan::All),
            1 => (one(), one()).prop_map(|(one, other)| Plan::Both(one, other)),
            1 => (one(), one()).prop_map(|(one, other)| Plan::Join(one, other)),
            2 => (one(), one()).prop_map(|(one, other)| Plan::Race(one, other)),
            1 => many().prop_map(Plan::First),
            9 => prop_oneof![
                2 => (one(), one()).prop_map(|(one, other)| Branches::Select(one, other)),
                1 => (one(), one()).prop_map(|(one, other)| Branches::Arms(one, other)),
                1 => (1..6_u8, one()).prop_map(|(secs, plan)| Branches::Spawn(secs, plan)),
                2 => (1..4_u8, any::<bool>(), many()).prop_map(|(limit, settles, plans)| Branches::Each(limit, settles, plans)),
                2 => (1..3_u8, 1..6_u8, many()).prop_map(|(permits, secs, plans)| Branches::Share(permits, secs, plans)),
                1 => (one(), one()).prop_map(|(one, other)| Branches::Lock(one, other)),
            ]
            .prop_map(Plan::Branches),
            1 => one().prop_map(Plan::Discard),
            2 => one().prop_map(Plan::Shield),
            1 => (0..6_u8, one(), one()).prop_map(|(secs, plan, after)| Plan::Scope(secs, plan, after)),
            1 => (one(), one()).prop_map(|(plan, other)| Plan::Stop(plan, other)),
            1 => one().prop_map(Plan::Catch),
            1 => one().prop_map(Plan::Guard),
        ]
    })
}

/// An event that a test causes for a run.
#[derive(Clone, Debug)]
enum Stimulus {
    Attempt {
        pick: u8,
        good: bool,
    },
    Step {
        pick: u8,
        good: bool,
    },
    Pass(u8),
    Signal(u8),
    Cancel,
    Lost(u8),
    Reload,
    Pause,
    Unpause,
    /// A build is deployed whose code panics.
    Break,
    /// The build that wrote the history is deployed again.
    Repair,
}

fn stimulus() -> impl Strategy<Value = Stimulus> {
    prop_oneof![
        8 => (any::<u8>(), prop::bool::weighted(0.8)).prop_map(|(pick, good)| Stimulus::Attempt { pick, good }),
        4 => (any::<u8>(), prop::bool::weighted(0.8)).prop_map(|(pick, good)| Stimulus::Step { pick, good }),
        4 => (0..8_u8).prop_map(Stimulus::Pass),
        4 => (0..2_u8).prop_map(Stimulus::Signal),
        1 => Just(Stimulus::Cancel),
        1 => any::<u8>().prop_map(Stimulus::Lost),
        2 => Just(Stimulus::Reload),
        1 => Just(Stimulus::Pause),
        1 => Just(Stimulus::Unpause),
        1 => Just(Stimulus::Break),
        1 => Just(Stimulus::Repair),
    ]
}

fn pick<T: Copy>(items: &[T], pick: u8) -> Option<T> {
    (!items.is_empty()).then(|| items[usize::from(pick) % items.len()])
}

fn apply(fixture: &mut RunFixture, stimulus: &Stimulus) {
    if fixture.is_closed() {
        return;
    }
    let steps: Vec<u32> = fixture.steps.keys().map(|id| id.get()).collect();
    let activities: Vec<u32> = fixture.activities().into_iter().map(|id| id.get()).collect();
    match *stimulus {
        Stimulus::Attempt { pick: at, good } => match pick(&activities, at) {
            Some(id) if good => fixture.complete(id, &u64::from(id)),
            Some(id) => fixture.fail(id, broken()),
            None => {}
        },
        Stimulus::Step { pick: at, good } => match pick(&steps, at) {
            Some(id) if good => fixture.complete_step(id, &u64::from(id)),
            Some(id) => fixture.fail_step(id, broken()),
            None => {}
        },
        Stimulus::Pass(secs) => fixture.pass(Duration::from_secs(u64::from(secs))),
        Stimulus::Signal(signal) => fixture.signal(SIGNALS[usize::from(signal)].name(), &u64::from(signal)),
        Stimulus::Cancel => {
            if fixture.run.state.cancel.is_none() && fixture.run.state.ending.is_none() {
                fixture.cancel();
            }
        }
        Stimulus::Lost(at) => {
            if let Some(id) = pick(&fixture.activities(), at) {
                let progress =
                    fixture.run.attempt_lost(fixture.now, id, crate::data::limits::ATTEMPTS_LOST_MAX);
                fixture.take(progress);
            }
        }
        Stimulus::Reload => fixture.reload(),
        Stimulus::Pause => fixture.pause(),
        Stimulus::Unpause => fixture.unpause(),
        // The run in memory still has the old build, until it is reloaded.
        Stimulus::Break => deploy_broken_build(true),
        Stimulus::Repair => repair(fixture),
    }
}

fn repair(fixture: &mut RunFixture) {
    deploy_broken_build(false);
    if fixture.run.state.stalled.is_some() {
        fixture.reload();
    }
}

/// Resolves everything that the run waits for, until it is over.
fn drain(fixture: &mut RunFixture) {
    repair(fixture);
    fixture.unpause();
    for _ in 0..200 {
        for at in 0..=255 {
            if fixture.activities().is_empty() {
                break;
            }
            apply(fixture, &Stimulus::Attempt { pick: at, good: true });
        }
        while !fixture.steps.is_empty() {
            apply(fixture, &Stimulus::Step { pick: 0, good: true });
        }
        apply(fixture, &Stimulus::Pass(7));
        apply(fixture, &Stimulus::Signal(0));
        apply(fixture, &Stimulus::Signal(1));
        if fixture.is_closed() {
            return;
        }
    }
    panic!("the run does not end:\n{}", history(&fixture.log));
}

/// The log of a run that took the same resolutions and never left memory or met a broken build.
fn undisturbed(fixture: &RunFixture) -> Vec<PastEvent> {
    let mut log = Vec::new();
    let mut run: Option<Run> = None;
    for past in &fixture.log {
        // A resolution that arrived during a stall may find the undisturbed run over.
        let over = run.as_ref().is_some_and(|run| run.state.ending.is_some() || run.state.closed.is_some());
        let progress = match (&past.event, &mut run) {
            (started @ Event::RunStarted { .. }, _) => {
                let (begun, progress) =
                    Run::start(fixture.run.state.id, past.at, started.clone(), &fixture.registry);
                run = Some(begun);
                progress
            }
            (event, Some(run)) if event.role() == Role::Resolution && !over => {
                run.resolve(past.at, event.clone())
            }
            _ => continue,
        };
        log.extend(progress.events);
    }
    log
}

fn decisions(log: &[PastEvent]) -> Vec<&Event> {
    let decided = log.iter().map(|past| &past.event).filter(|event| event.role() == Role::Decision);
    // The engine decides the terminal event after compensations, and whether it must wait for a round.
    let ending = log.iter().any(|past| matches!(past.event, Event::RunEnding { .. }));
    let rounds = log.iter().any(|past| matches!(past.event, Event::CompensationsBegun { .. }));
    let is_end = |event: &Event| {
        (ending || rounds) && event.is_terminal() || rounds && matches!(event, Event::RunEnding { .. })
    };
    decided.filter(|event| !is_end(event)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// The fixture checks the fold, the replay, the stored form and the terminal event after every group.
    #[test]
    fn log_determines_the_run_whatever_happens(plan in plan(), stimuli in prop::collection::vec(stimulus(), 0..40)) {
        deploy_broken_build(false);
        let mut fixture = RunFixture::start::<Scripted>(&plan);
        for stimulus in &stimuli {
            apply(&mut fixture, stimulus);
        }
        drain(&mut fixture);
        let undisturbed = undisturbed(&fixture);
        prop_assert_eq!(
            decisions(&undisturbed), decisions(&fixture.log),
            "stalls or replays changed a decision\n{}---\n{}", history(&undisturbed), history(&fixture.log)
        );
    }
}
