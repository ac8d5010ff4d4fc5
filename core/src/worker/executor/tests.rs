//! Attempts of hostile code: each gets an answer, and its slot becomes free for the next.

use std::fmt;
use std::panic::panic_any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::oneshot;

use super::*;
use crate::data::id::CommandId;
use crate::data::name::Name;
use crate::data::options::ActivityOptions;
use crate::data::retry::RetryPolicy;
use crate::data::time::Timestamp;
use crate::guard::{Guarded, Work};
use crate::host::SystemHost;
use crate::testing::activity;
use crate::workflow::activity::Activity;
use crate::workflow::command::StepTask;
use crate::workflow::error::{ActivityError, ActivityResult};
use crate::workflow::mark::PollMark;
use crate::workflow::registry::Definitions;

/// Panics when it is dropped, even if it is the payload of a caught panic.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("while it was dropped");
    }
}

/// A value whose trait implementations panic.
#[derive(Debug)]
struct Hostile;

impl Serialize for Hostile {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("while it was encoded")
    }
}

impl<'de> Deserialize<'de> for Hostile {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic_any(Bomb)
    }
}

impl fmt::Display for Hostile {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("while it was shown")
    }
}

impl std::error::Error for Hostile {}

/// An error whose `source` panics.
#[derive(Debug)]
struct Groundless;

impl fmt::Display for Groundless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("groundless")
    }
}

impl std::error::Error for Groundless {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        panic!("while its cause was asked for")
    }
}

/// An activity that calls a function of its test.
struct CallsBack<F>(F);

#[async_trait]
impl<F> Activity for CallsBack<F>
where
    F: Fn(ActivityContext) -> ActivityResult<Hostile> + Send + Sync + 'static,
{
    const NAME: &'static str = "does";
    type Input = u8;
    type Output = Hostile;

    async fn execute(&self, ctx: ActivityContext, _: u8) -> ActivityResult<Hostile> {
        (self.0)(ctx)
    }
}

// Its input panics when it is decoded.
activity!(HostileInput, "does", |_: Hostile| -> () { Ok(()) });

/// An executor with one slot.
fn executor() -> Executor {
    executor_with(MemoryBudget::new(usize::MAX))
}

fn executor_with(memory: MemoryBudget) -> Executor {
    executor_of(Services::of_tests(), memory)
}

fn executor_of(services: Services, memory: MemoryBudget) -> Executor {
    Executor::new(services, Slots::new(1, Arc::default()), memory, CurrentExecutor::default())
}

fn permit(executor: &Executor) -> StartPermit {
    let host = Arc::clone(&executor.0.services.host);
    let trust = LeaseTrust::new(Arc::clone(&host), Duration::from_secs(600), host.monotonic());
    StartPermit { cancellation: Cancellation::default(), trust: Arc::new(trust), ticket: None }
}

fn begin<A: Activity>(executor: &Executor, activity: A) -> oneshot::Receiver<AttemptOutcome> {
    let mut definitions = Definitions::default();
    definitions.activity(activity).unwrap();
    let registry = Registry::new(Arc::new(definitions), Arc::new(PollMark::default()));
    let attempt = Attempt {
        run: RunId::from_u128(1),
        id: CommandId::FIRST,
        attempt: 1,
        activity: Name::from_static(A::NAME),
        input: Payload::encode(&1).unwrap(),
        options: ActivityOptions::default(),
        workflow: Name::from_static("tested"),
        key: None,
        scheduled_at: Timestamp::from_micros(0),
        trace: None,
    };
    let (reply, answer) = oneshot::channel();
    executor.execute(&registry, Box::new(attempt), permit(executor), |outcome| drop(reply.send(outcome)));
    answer
}

fn begin_step(executor: &Executor, task: StepTask) -> oneshot::Receiver<AttemptResult> {
    let step = StepRequest {
        id: CommandId::FIRST,
        name: Name::from_static("step"),
        source: std::panic::Location::caller(),
        retry: RetryPolicy::none(),
        task: Guarded::new(task),
    };
    let (reply, ended) = oneshot::channel();
    let permit = permit(executor);
    let (run, workflow, step) = (RunId::from_u128(1), Name::from_static("tested"), Box::new(step));
    let step = StepOf { run, workflow, tag: StepTag::default(), step };
    executor.execute_step(step, permit, |result, _room| drop(reply.send(result)));
    ended
}

async fn answer<T>(answer: oneshot::Receiver<T>) -> T {
    answer.await.expect("an answer, whatever user code does")
}

#[tokio::test]
async fn panic_while_an_input_is_read_is_answered() {
    let executor = executor();
    for _ in 0..2 {
        match answer(begin(&executor, HostileInput)).await {
            AttemptOutcome::Unreadable(problem) => {
                assert!(problem.contains("the input of activity `does` panicked"), "{problem}");
            }
            AttemptOutcome::Ended(result, _) => panic!("{result:?}"),
            AttemptOutcome::Settled => panic!("it has no task"),
        }
    }
}

#[tokio::test]
async fn attempt_is_answered_wherever_its_code_panics() {
    type Code = fn(ActivityContext) -> ActivityResult<Hostile>;
    let cases: [(Code, &str); 6] = [
        (|_| panic!("at once"), "at once (at core/src/worker/executor/tests.rs:"),
        (|_| panic_any(Bomb), "without a message"),
        (
            |_| {
                let _held = Bomb;
                Ok(Hostile)
            },
            "while it was dropped",
        ),
        (|_| Ok(Hostile), "while it was encoded"),
        (|_| Err(Hostile)?, "while it was shown"),
        (|_| Err(Groundless)?, "while its cause was asked for"),
    ];
    let executor = executor();
    for (code, words) in cases {
        match answer(begin(&executor, CallsBack(code))).await {
            AttemptOutcome::Ended(Err(failure), _) => {
                assert_eq!(failure.type_name, "panic");
                assert!(failure.retryable);
                assert!(failure.message.starts_with(words), "{failure}");
            }
            AttemptOutcome::Ended(Ok(result), _) => panic!("{words}: {result:?}"),
            AttemptOutcome::Unreadable(problem) => panic!("{words}: {problem}"),
            AttemptOutcome::Settled => panic!("{words}: it has no task"),
        }
    }
}

#[tokio::test]
async fn step_is_answered_wherever_its_code_panics() {
    type Code = fn() -> ActivityResult<()>;
    let cases: [(Code, &str); 3] = [
        (|| panic!("at once"), "at once"),
        (|| panic_any(Bomb), "without a message"),
        (|| Err(Hostile)?, "while it was shown"),
    ];
    let executor = executor();
    for (code, words) in cases {
        for within in [false, true] {
            // The closure or its future panics, and a value held by the closure panics when it is dropped.
            let held = Bomb;
            let task: StepTask = Box::new(move || {
                let _held = &held;
                let made = (!within).then(code);
                Box::pin(async move {
                    let done = made.unwrap_or_else(code);
                    done.map(|()| unreachable!("no case succeeds")).map_err(ActivityError::into_failure)
                })
            });
            let ended = begin_step(&executor, task);
            let failure = answer(ended).await.unwrap_err();
            assert!(failure.message.starts_with(words), "{failure}");
        }
    }
}

/// A host whose clock is moved by its test.
#[derive(Debug)]
struct StillHost {
    system: SystemHost,
    nanos: AtomicU64,
}

impl Host for StillHost {
    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        self.system.sleep(time)
    }

    fn random(&self) -> u64 {
        self.system.random()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.system.spawn(task);
    }
}

#[tokio::test]
async fn steps_wait_for_as_long_as_steps_took_before() {
    // Given one slot
    let host = Arc::new(StillHost { system: SystemHost::current(), nanos: AtomicU64::default() });
    let services = Services { host: Arc::clone(&host) as Arc<dyn Host>, ..Services::of_tests() };
    let executor = executor_of(services, MemoryBudget::new(usize::MAX));
    let step = |takes: Duration| {
        let host = Arc::clone(&host);
        let task: StepTask = Box::new(move || {
            host.nanos.fetch_add(takes.as_nanos() as u64, Ordering::Relaxed);
            Box::pin(async { Ok(Payload::encode(&()).expect("a unit")) })
        });
        begin_step(&executor, task)
    };
    // When nothing is known about steps, then others should not wait for two of them
    let (first, second) = (step(Duration::from_millis(1)), step(Duration::from_millis(1)));
    assert!(executor.is_overfull());
    answer(first).await.unwrap();
    answer(second).await.unwrap();
    // When they turn out to be cheap, then others may wait for some
    let steps = [(); 8].map(|()| step(limits::OVERFLOW_WAIT * 10));
    assert!(!executor.is_overfull());
    for step in steps {
        answer(step).await.unwrap();
    }
    // When they turn out not to be, then not
    let _steps = [(); 2].map(|()| step(Duration::ZERO));
    assert!(executor.is_overfull());
}

#[tokio::test]
async fn outcome_keeps_its_slot_until_there_is_room_in_memory() {
    activity!(Answers, "does", |input: u8| -> u8 { Ok(input) });
    // Given a memory that is used up, and another outcome on its way
    let memory = MemoryBudget::new(1_000);
    let executor = executor_with(memory.clone());
    let other = memory.take_for_outcome(1_000).await;
    // When an attempt ends, then its outcome waits with its slot
    let mut ended = begin(&executor, Answers);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(ended.try_recv().is_err());
    assert_eq!(executor.slots().room_for_tasks(), 0);
    // And goes on as soon as there is room
    drop(other);
    assert!(matches!(answer(ended).await, AttemptOutcome::Ended(Ok(_), _)));
    assert_eq!(executor.slots().room_for_tasks(), 1);
}

#[tokio::test]
async fn panic_while_abandoned_work_is_dropped_is_caught() {
    // Given pending work that panics when it is dropped
    let bomb = Bomb;
    let mut work = Work::new(async move {
        let _held = bomb;
        pending::<()>().await;
    });
    assert!(futures::poll!(&mut work).is_pending());
    // When it is dropped, then the panic does not reach the test
    drop(work);
}

#[tokio::test]
async fn panic_of_a_waker_during_a_cancellation_is_caught() {
    struct PanickingWaker;

    impl Wake for PanickingWaker {
        fn wake(self: Arc<Self>) {
            panic!("it was woken");
        }
    }

    let cancellation = Cancellation::default();
    let mut heard = Box::pin(cancellation.cancelled());
    let waker = Waker::from(Arc::new(PanickingWaker));
    assert!(heard.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    cancel(&cancellation);
    assert!(cancellation.is_cancelled());
}
