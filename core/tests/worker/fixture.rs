//! The fixture: a memory store with injected faults, a client and workers, under the test's own time. It must not know what
//! is tested.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use pgworkflows::host::{CpuMeter, Host};
use pgworkflows::prelude::*;
use pgworkflows::worker::WorkerBuilder;
use pgworkflows::{Error, Timestamp, Worker};
use pgworkflows_memory::{Clock, MemoryStore};

use crate::faults::FaultRules;
use crate::logs;

/// When the store's clock begins: 2026-01-01 00:00 UTC.
const EPOCH: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// Defines a workflow.
macro_rules! workflow {
    ($name:ident, $stored:literal, |$ctx:tt, $input:tt: $in:ty| -> $out:ty $body:block) => {
        #[derive(Debug)]
        pub(crate) enum $name {}

        impl ::pgworkflows::Workflow for $name {
            const NAME: &'static str = $stored;
            type Input = $in;
            type Output = $out;

            async fn run(
                $ctx: ::pgworkflows::Context,
                $input: $in,
            ) -> ::pgworkflows::workflow::WorkflowResult<$out> $body
        }
    };
}

pub(crate) use workflow;

// A workflow that calls one activity.
workflow!(Greet, "greet", |ctx, name: String| -> String { ctx.activity::<Hello>(name).await });

#[derive(Debug)]
pub(crate) struct Hello;

#[async_trait]
impl Activity for Hello {
    const NAME: &'static str = "hello";
    type Input = String;
    type Output = String;

    async fn execute(&self, _ctx: ActivityContext, name: String) -> ActivityResult<String> {
        Ok(format!("Hello, {name}!"))
    }
}

/// The fixture of one test. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Fixture {
    pub(crate) store: MemoryStore,
    pub(crate) host: Arc<TestHost>,
    pub(crate) client: Client,
    pub(crate) faults: FaultRules,
}

impl Fixture {
    /// A fixture whose time is that of the current runtime, but `speed` times as fast.
    #[expect(clippy::disallowed_methods, reason = "this is where the test's clock comes in")]
    pub(crate) fn new(speed: u32) -> Self {
        logs::listen();
        let (began, drawn) = (tokio::time::Instant::now(), AtomicU64::new(1));
        let (panics, is_busy) = (AtomicU64::new(0), AtomicBool::new(false));
        let host = Arc::new(TestHost { began, speed, drawn, panics, is_busy });
        let faults = FaultRules::new(Arc::clone(&host) as _);
        let store =
            MemoryStore::with_faults(Arc::new(TestClock(Arc::clone(&host))), Arc::new(faults.clone()));
        let client = Client::builder(store.clone()).queue_shards(SHARDS).host(Arc::clone(&host) as _);
        Self { client: client.build().unwrap(), store, host, faults }
    }

    /// Has threads count as busy all the time. Otherwise their CPU time is not known.
    pub(crate) fn with_busy_threads(self) -> Self {
        self.host.is_busy.store(true, Ordering::Relaxed);
        self
    }

    /// A fixture under virtual time.
    pub(crate) fn virtual_time() -> Self {
        Self::new(1)
    }

    /// A worker with one processor that has `greet`. Its name identifies its log lines.
    pub(crate) fn worker(&self, name: &str) -> WorkerBuilder {
        let worker = Worker::builder(self.store.clone()).name(name).host(Arc::clone(&self.host) as _);
        worker.processors(1).queue_shards(SHARDS).workflow::<Greet>().activity(Hello)
    }

    /// Waits for the end of a worker: at most two hours of virtual time, or five minutes of accelerated time.
    #[expect(clippy::disallowed_methods, reason = "this is where the test's clock comes in")]
    pub(crate) async fn end(&self, worker: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
        let patience = Duration::from_secs(if self.host.speed == 1 { 7200 } else { 300 });
        tokio::time::timeout(patience, worker).await.expect("the worker ends in time")
    }

    /// The time since the start of the fixture.
    pub(crate) fn now(&self) -> Duration {
        self.host.monotonic()
    }

    /// Lets time pass.
    pub(crate) async fn pass(&self, time: Duration) {
        self.host.sleep(time).await;
    }

    /// A future that is ready after that time.
    pub(crate) fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        self.host.sleep(time)
    }
}

/// How many shards the queue has.
const SHARDS: u16 = 4;

/// A host whose time is that of the runtime's clock, multiplied by its speed.
#[derive(Debug)]
pub(crate) struct TestHost {
    began: tokio::time::Instant,
    speed: u32,
    drawn: AtomicU64,
    panics: AtomicU64,
    is_busy: AtomicBool,
}

impl TestHost {
    /// How many panics its workers caught.
    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is where the test's clock comes in")]
impl Host for TestHost {
    fn monotonic(&self) -> Duration {
        self.began.elapsed() * self.speed
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time / self.speed))
    }

    fn random(&self) -> u64 {
        self.drawn.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        drop(tokio::spawn(task));
    }

    fn cpu_meter(&self) -> CpuMeter {
        if !self.is_busy.load(Ordering::Relaxed) {
            return Arc::new(|| None);
        }
        let (began, speed) = (self.began, self.speed);
        Arc::new(move || Some(began.elapsed() * speed))
    }

    fn panicked(&self, _: &str) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }
}

/// The store's clock, which is the host's.
#[derive(Debug)]
struct TestClock(Arc<TestHost>);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        EPOCH.saturating_add(self.0.monotonic())
    }
}
