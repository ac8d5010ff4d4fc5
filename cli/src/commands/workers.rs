//! `pgworkflows workers`: the live workers of all queues.

use chrono::{DateTime, Utc};
use clap::Args;
use pgworkflows::client::QueueInfo;
use serde_json::{Value, json};

use crate::age;
use crate::answer::Answers;
use crate::args::Global;
use crate::failure::{Code, Failure};
use crate::progress;
use crate::table;

/// Shows the live workers: what they know, and how much they have. Workers with one name and one build are one line.
#[derive(Debug, Args)]
pub(crate) struct Workers {
    /// Only workers of this queue
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
}

impl Workers {
    pub(super) async fn run(&self, global: &Global, answers: Answers) -> Result<Code, Failure> {
        let store = global.connect().await?;
        let mut queues = progress::shown("reading the workers", store.client.queues()).await?;
        if let Some(name) = &self.queue {
            queues.retain(|queue| queue.name == *name);
            if queues.is_empty() {
                return Err(Failure::unknown_queue(name, &store.place));
            }
        }
        answers.give(shown(&queues, store.now().await?), &value(&queues))
    }
}

/// The table of the workers.
fn shown(queues: &[QueueInfo], now: DateTime<Utc>) -> String {
    if queues.iter().all(|queue| queue.workers.is_empty()) {
        return "no live worker".to_owned();
    }
    let mut rows = table::table([
        "WORKER",
        "QUEUE",
        "GENERATION",
        "PROCESSORS",
        "SHARDS",
        "RUNS",
        "HEARTBEAT",
        "WORKFLOWS",
    ]);
    for queue in queues {
        for worker in &queue.workers {
            let outdated = if worker.outdated { " (outdated)" } else { "" };
            rows.add_row([
                worker.name.clone(),
                queue.name.clone(),
                format!("{}{outdated}", worker.generation),
                worker.processors.to_string(),
                worker.shards.len().to_string(),
                worker.live_runs.to_string(),
                age::ago(worker.last_heartbeat, now),
                worker.workflows.join(", "),
            ]);
        }
    }
    table::text(rows)
}

/// The workers, each with its queue.
fn value(queues: &[QueueInfo]) -> Value {
    let workers = queues.iter().flat_map(|queue| {
        queue.workers.iter().map(|worker| {
            let mut value = serde_json::to_value(worker).unwrap_or_default();
            if let Value::Object(fields) = &mut value {
                fields.insert("queue".to_owned(), queue.name.clone().into());
            }
            value
        })
    });
    json!({"workers": workers.collect::<Vec<_>>()})
}
