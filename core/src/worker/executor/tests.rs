//! Facts about attempts of hostile code: each is answered, and its slot is free for the next.

use std::fmt;
use std::panic::panic_any;
use std::task::{Wake, Waker};

use async_trait::async_trait;
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
use crate::workflow::activity::Activity;
use crate::workflow::command::StepTask;
use crate::workflow::error::{ActivityError, ActivityResult};
use crate::workflow::mark::PollMark;
use crate::workflow::registry::Definitions;

/// Panics when it is dropped: also when it was thrown itself, and whoever caught it drops it.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("while it was dropped");
    }
}

/// Content whose implementations panic.
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

/// An error whose cause cannot be asked for.
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

/// An activity that does what its test says.
struct Does<F>(F);

#[async_trait]
impl<F> Activity for Does<F>
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

/// An activity whose input cannot be read.
struct Reads;

#[async_trait]
impl Activity for Reads {
    const NAME: &'static str = "does";
    type Input = Hostile;
    type Output = ();

    async fn execute(&self, _: ActivityContext, _: Hostile) -> ActivityResult<()> {
        Ok(())
    }
}

/// An executor of one attempt at a time.
fn executor() -> Executor {
    Executor::new(Arc::new(SystemHost::current()), Arc::default(), 1)
}

fn permit(executor: &Executor) -> StartPermit {
    let host = Arc::clone(&executor.host);
    let trust = LeaseTrust::new(Arc::clone(&host), Duration::from_secs(600), host.monotonic());
    StartPermit { token: CancellationToken::new(), trust: Arc::new(trust) }
}

fn begin<A: Activity>(executor: &Executor, activity: A) -> oneshot::Receiver<Attempted> {
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
    };
    let (reply, answer) = oneshot::channel();
    executor.execute(&registry, attempt, permit(executor), |attempted| drop(reply.send(attempted)));
    answer
}

async fn answer<T>(answer: oneshot::Receiver<T>) -> T {
    answer.await.expect("an answer, whatever the user's code does")
}

#[tokio::test]
async fn panic_while_an_input_is_read_is_answered() {
    let executor = executor();
    for _ in 0..2 {
        match answer(begin(&executor, Reads)).await {
            Attempted::Unreadable(problem) => {
                assert!(problem.contains("the input of activity `does` panicked"), "{problem}");
            }
            Attempted::Ended(result) => panic!("{result:?}"),
        }
    }
}

#[tokio::test]
async fn attempt_is_answered_wherever_its_code_panics() {
    type Deed = fn(ActivityContext) -> ActivityResult<Hostile>;
    let deeds: [(Deed, &str); 6] = [
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
    for (deed, words) in deeds {
        match answer(begin(&executor, Does(deed))).await {
            Attempted::Ended(Err(failure)) => {
                assert_eq!(failure.type_name, "panic");
                assert!(failure.retryable);
                assert!(failure.message.starts_with(words), "{failure}");
            }
            Attempted::Ended(Ok(result)) => panic!("{words}: {result:?}"),
            Attempted::Unreadable(problem) => panic!("{words}: {problem}"),
        }
    }
}

#[tokio::test]
async fn step_is_answered_wherever_its_code_panics() {
    type Deed = fn() -> ActivityResult<()>;
    let deeds: [(Deed, &str); 3] = [
        (|| panic!("at once"), "at once"),
        (|| panic_any(Bomb), "without a message"),
        (|| Err(Hostile)?, "while it was shown"),
    ];
    let executor = executor();
    for (deed, words) in deeds {
        for within in [false, true] {
            // The closure panics, or the future that it makes; and what the closure holds panics when it is dropped.
            let held = Bomb;
            let task: StepTask = Box::new(move || {
                let _held = &held;
                let made = (!within).then(deed);
                Box::pin(async move {
                    let done = made.unwrap_or_else(deed);
                    done.map(|()| unreachable!("no deed succeeds")).map_err(ActivityError::into_failure)
                })
            });
            let step = StepRequest {
                id: CommandId::FIRST,
                name: Name::from_static("step"),
                source: std::panic::Location::caller(),
                retry: RetryPolicy::none(),
                task: Guarded::new(task),
            };
            let (reply, ended) = oneshot::channel();
            let permit = permit(&executor);
            executor.execute_step(RunId::from_u128(1), Name::from_static("tested"), step, permit, |result| {
                drop(reply.send(result))
            });
            let failure = answer(ended).await.unwrap_err();
            assert!(failure.message.starts_with(words), "{failure}");
        }
    }
}

#[tokio::test]
async fn work_that_is_given_up_may_panic_when_it_is_dropped() {
    // Given work that waits, and panics when it is dropped
    let bomb = Bomb;
    let mut work = Work::new(async move {
        let _held = bomb;
        pending::<()>().await;
    });
    assert!(futures::poll!(&mut work).is_pending());
    // When it is dropped, nobody else is hit
    drop(work);
}

#[tokio::test]
async fn waker_that_panics_when_a_cancellation_comes_hits_nobody() {
    struct Alarm;

    impl Wake for Alarm {
        fn wake(self: Arc<Self>) {
            panic!("somebody was woken");
        }
    }

    let token = CancellationToken::new();
    let mut heard = Box::pin(token.cancelled());
    let waker = Waker::from(Arc::new(Alarm));
    assert!(heard.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    cancel(&token);
    assert!(token.is_cancelled());
}
