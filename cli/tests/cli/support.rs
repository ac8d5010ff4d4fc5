//! The tests' fixture: a database, a worker of small workflows, and the program. It must not know what is tested.

use std::process::{Output, Stdio};
use std::time::Duration;

use pgworkflows::client::{RunStatus, RunType};
use pgworkflows::prelude::*;
use pgworkflows::{AnyStore, Error, RunHandle};
use pgworkflows_pg_harness::{Database, Postgres};
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long a test waits for what happens soon. Only a test that fails waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What is ordered.
#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) item: u32,
}

const HOUR: Duration = Duration::from_secs(3600);

pub(crate) const APPROVE: Signal<bool> = Signal::new("approve");

/// Waits for an approval, and fails without it.
#[workflow(name = "order")]
pub(crate) async fn order(ctx: Context, order: Order) -> WorkflowResult<String> {
    if ctx.wait_for(APPROVE).await? {
        Ok(format!("item {} is sold", order.item))
    } else {
        Err(WorkflowError::new("refused", "nobody wants it"))
    }
}

pub(crate) struct Bank;

#[activities]
impl Bank {
    /// Fails, and is tried again after an hour.
    #[activity(name = "charge", retry = RetryPolicy::exponential().initial(HOUR).delay_max(HOUR))]
    async fn charge(&self, cents: u32) -> ActivityResult<()> {
        Err(ActivityError::new("io", format!("the bank refused {cents} cents")))
    }

    /// As the other, with details.
    #[activity(name = "keep", retry = RetryPolicy::exponential().initial(HOUR).delay_max(HOUR))]
    async fn keep(&self, secret: String) -> ActivityResult<()> {
        Err(ActivityError::new("io", "the bank is closed").with_details(&secret))
    }
}

/// Never gets its money.
#[workflow(name = "bill")]
pub(crate) async fn bill(ctx: Context, cents: u32) -> WorkflowResult<()> {
    ctx.call(Bank::CHARGE, cents).await
}

/// What is secret, and what its run does with it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Vault {
    pub(crate) until: String,
    pub(crate) secret: String,
}

pub(crate) const ASK: Update<String, String> = Update::new("ask");
const SHOWN: View<String> = View::new("shown");

/// Has a payload of every kind.
#[workflow(name = "vault")]
pub(crate) async fn vault(ctx: Context, Vault { until, secret }: Vault) -> WorkflowResult<String> {
    let _serving = ctx.serve(ASK, async |question: String| question);
    ctx.publish(SHOWN, &secret);
    let recorded = ctx.record("recorded", || secret.clone()).await;
    let made = secret.clone();
    ctx.step("made", move || std::future::ready(Ok(made.clone()))).await?;
    let lost = || WorkflowError::new("lost", "the key is lost").with_details(&secret);
    match &*until {
        "done" => Ok(recorded),
        "failure" => Err(lost()),
        "panic" => Err::<String, _>(lost()).map_err(|lost| panic!("{lost:?}")),
        "retry" => ctx.call(Bank::KEEP, recorded).await.map(|()| secret.clone()),
        "child" => ctx.child::<vault>(Vault { until: "signal".to_owned(), secret: recorded }).await,
        _ => ctx.wait_for(OPEN).await,
    }
}

const OPEN: Signal<String> = Signal::new("open");

/// A database, and what runs on it.
pub(crate) struct World {
    pub(crate) database: Database,
    pub(crate) client: Client,
    store: AnyStore,
}

/// A worker that stops when it is told to, or with the test.
pub(crate) struct Running {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), Error>>,
}

impl Running {
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        self.ended.await.unwrap().unwrap();
    }
}

impl World {
    /// A database with the tables.
    pub(crate) async fn new() -> Self {
        let database = Postgres::shared().create_database().unwrap();
        let store = pgworkflows::connect(database.url()).await.unwrap();
        let client = Client::builder(store.clone()).queue_shards(4).build().unwrap();
        Self { database, client, store }
    }

    /// Starts a worker that knows the workflows.
    pub(crate) fn work(&self) -> Running {
        let worker = Worker::builder(self.store.clone()).name("clerk").processors(1).queue_shards(4);
        let worker = worker
            .workflow::<order>()
            .workflow::<bill>()
            .workflow::<vault>()
            .activities(Bank)
            .build()
            .unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(worker.run_until(async {
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        }));
        Running { stop, ended }
    }

    /// Runs the program on the database.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        run(Some(self.database.url()), arguments).await
    }

    /// The JSON answer of a command that is done.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["--json"]].concat()).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        serde_json::from_str(&ran.out).unwrap()
    }

    /// Asks again and again until the answer is as expected.
    pub(crate) async fn until(&self, arguments: &[&str], expected: impl Fn(&Ran) -> bool) -> Ran {
        let asked = async {
            loop {
                let ran = self.run(arguments).await;
                if expected(&ran) {
                    return ran;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(ran) => ran,
            Err(_) => panic!("{arguments:?} is at last {:?}", self.run(arguments).await),
        }
    }
}

/// Waits until a run has a status.
pub(crate) async fn reached<W: RunType>(run: &RunHandle<W>, status: RunStatus) {
    let reached = async {
        while run.status().await.unwrap() != status {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, reached).await.is_err() {
        panic!("it is not {status}: {:?}", run.describe().await);
    }
}

/// What the program did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Checks that it failed with this code, and said all of this.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "{word} is not in {self:?}");
        }
        assert_eq!(self.out, "", "{self:?}");
    }
}

/// Runs the program with an address in its environment.
pub(crate) async fn run(url: Option<&str>, arguments: &[&str]) -> Ran {
    run_in(url, &[], arguments).await
}

/// Runs the program with an address and other variables in its environment.
pub(crate) async fn run_in(url: Option<&str>, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let mut program = Command::new(env!("CARGO_BIN_EXE_pgworkflows"));
    program.args(arguments).stdin(Stdio::null());
    for variable in ["PGWORKFLOWS_URL", "DATABASE_URL", "PGWORKFLOWS_SCHEMA", "CLICOLOR_FORCE", "NO_COLOR"] {
        program.env_remove(variable);
    }
    program.envs(variables.iter().copied());
    if let Some(url) = url {
        program.env("PGWORKFLOWS_URL", url);
    }
    let Output { status, stdout, stderr } = program.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
}
