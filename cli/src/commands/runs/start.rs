//! `pgworkflows runs start`: starts a run, and looks whether its workflow can read the input.

use std::time::Duration;

use clap::Args;
use pgworkflows::client::{Json, RunInfo, RunStatus, Untyped};
use pgworkflows::{Client, RunHandle};
use serde_json::json;

use crate::answer::Answers;
use crate::attribute;
use crate::connect::Connected;
use crate::failure::{Code, Failure};
use crate::input;
use crate::progress;
use crate::situation::{Service, read_service};

/// For how long it is looked whether the run stalls at once. A worker begins a run within milliseconds.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// Starts a run. It exists, and every client can see it, when this command is done.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// The name of the workflow
    workflow: String,

    /// The input: JSON, `@file`, or `-` for the standard input
    #[arg(default_value = "null")]
    input: String,

    /// The idempotency key: a second start with it finds the same run
    #[arg(long)]
    key: Option<String>,

    /// An attribute by which the run is found; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = attribute::parse)]
    attribute: Vec<(String, String)>,

    /// The queue, which has to exist. By default, that of the workers which know the workflow
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,

    /// Starts the code of the run after so many seconds
    #[arg(long, value_name = "SECONDS")]
    delay: Option<u64>,

    /// Waits for the end of the run, and answers with its result
    #[arg(long)]
    wait: bool,

    /// With --wait: gives up after so many seconds. The run goes on
    #[arg(long, value_name = "SECONDS", requires = "wait")]
    timeout: Option<u64>,
}

impl Start {
    pub(super) async fn run(&self, store: &Connected, answers: Answers) -> Result<Code, Failure> {
        let what = format!("the input of workflow `{}`", self.workflow);
        let input = input::payload(&what, &self.input)?;
        let client = self.client(store).await?;
        let mut start = client.start_named(self.workflow.clone(), input).key(self.key.as_deref());
        for (name, value) in &self.attribute {
            start = start.attribute(name.as_str(), value);
        }
        if let Some(delay) = self.delay {
            start = start.delay(Duration::from_secs(delay));
        }
        let run = progress::shown("starting", start).await?;
        if self.wait {
            return self.give_result(&run, answers).await;
        }
        if !run.is_existing()
            && self.delay.is_none()
            && let Some(info) = check(&run).await?
        {
            let why = not_begun(&read_service(store, &info).await?, &self.workflow);
            let id = run.run_id();
            answers.note(format_args!("it has not begun yet: {why}; `pgworkflows runs why {id}` says more"));
        }
        let (id, existing) = (run.run_id(), run.is_existing());
        let text = if existing { format!("{id} (it exists already)") } else { id.to_string() };
        answers.give(text, &json!({"run_id": id, "existing": existing}))
    }

    /// A client of the queue. A name without a queue is most often mistyped, so it does not create one.
    async fn client(&self, store: &Connected) -> Result<Client, Failure> {
        let Some(name) = &self.queue else { return Ok(store.client.clone()) };
        if store.client.queues().await?.iter().all(|queue| queue.name != *name) {
            return Err(Failure::unknown_queue(name, &store.place));
        }
        Ok(Client::builder(store.store.clone()).queue(name).build()?)
    }

    async fn give_result(&self, run: &RunHandle<Untyped>, answers: Answers) -> Result<Code, Failure> {
        let mut result = run.as_type::<Json>().result();
        if let Some(timeout) = self.timeout {
            result = result.timeout(Duration::from_secs(timeout));
        }
        let result = progress::shown("waiting for the run", result).await?;
        let value = json!({"run_id": run.run_id(), "existing": run.is_existing(), "result": result});
        answers.give(&result, &value)
    }
}

/// Looks whether the run stalls in its first second, as it does if the input is not of its workflow's type, which only a worker
/// knows. Nothing is lost: code that reads the input resumes the run. Returns a run that has not begun in this time.
async fn check(run: &RunHandle<Untyped>) -> Result<Option<RunInfo>, Failure> {
    let mut pending = None;
    for _ in 0..LOOKS {
        let info = run.describe().await?;
        match info.status {
            RunStatus::Pending => {
                pending = Some(info);
                tokio::time::sleep(PAUSE).await;
            }
            RunStatus::Stalled => {
                let id = run.run_id();
                let why = info.waiting_on.unwrap_or_default();
                return Err(Failure::new(
                    Code::Failed,
                    "stalled",
                    format!(
                        "run {id} was started, but its code cannot go on: {why}. If the input is at fault, end the run \
                         with `pgworkflows runs terminate {id} --reason …` and start another one; a worker with code \
                         that reads the input resumes it"
                    ),
                ));
            }
            _ => return Ok(None),
        }
    }
    Ok(pending)
}

/// Why no worker has begun a run: most often, a name is mistyped.
fn not_begun(service: &Service, workflow: &str) -> String {
    let queue = service.queue.as_deref().unwrap_or_default();
    match (service.workers, service.knowing) {
        (0, _) => format!("no live worker serves queue `{queue}`"),
        (_, 0) => format!("no live worker of queue `{queue}` knows workflow `{workflow}`"),
        _ => format!("the workers of queue `{queue}` are busy"),
    }
}
