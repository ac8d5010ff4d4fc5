//! `pgworkflows queues`: who serves the queues and the activity queues.

use chrono::{DateTime, Utc};
use clap::Args;
use pgworkflows::client::{ActivityQueue, QueueInfo};
use serde_json::json;

use crate::age;
use crate::answer::Answers;
use crate::args::Global;
use crate::failure::{Code, Failure};
use crate::progress;
use crate::table;
use crate::unserved::unserved;

/// Shows the queues and the activity queues: who serves them, and what waits.
#[derive(Debug, Args)]
pub(crate) struct Queues {
    /// Only this queue
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
}

impl Queues {
    pub(super) async fn run(&self, global: &Global, answers: Answers) -> Result<Code, Failure> {
        let store = global.connect().await?;
        let asked = async { tokio::try_join!(store.client.queues(), store.client.activity_queues()) };
        let (mut queues, mut tasks) = progress::shown("reading the queues", asked).await?;
        if let Some(name) = &self.queue {
            queues.retain(|queue| queue.name == *name);
            tasks.retain(|tasks| tasks.queue == *name);
            if queues.is_empty() && tasks.is_empty() {
                return Err(Failure::unknown_queue(name, &store.place));
            }
        }
        let problems = progress::shown("looking for open runs", unserved(&store, &queues)).await?;
        let text = shown(&queues, &problems, &tasks, store.now().await?);
        answers.give(text, &json!({"queues": queues, "activity_queues": tasks, "problems": problems}))
    }
}

/// The tables of the queues, and what keeps their runs from going on.
fn shown(queues: &[QueueInfo], problems: &[String], tasks: &[ActivityQueue], now: DateTime<Utc>) -> String {
    if queues.is_empty() && tasks.is_empty() {
        return "no queue yet: the first worker or the first start creates one".to_owned();
    }
    let mut rows = table::table(["QUEUE", "SHARDS", "WITHOUT OWNER", "WORKERS", "RUNS IN MEMORY"]);
    for queue in queues {
        let live: u64 = queue.workers.iter().map(|worker| worker.live_runs).sum();
        rows.add_row([
            queue.name.clone(),
            queue.shard_count.to_string(),
            queue.free_shards.to_string(),
            queue.workers.len().to_string(),
            live.to_string(),
        ]);
    }
    let mut parts = vec![table::text(rows)];
    if !problems.is_empty() {
        parts.push(problems.join("\n"));
    }
    if !tasks.is_empty() {
        let mut rows = table::table([
            "ACTIVITY QUEUE",
            "ACTIVITY",
            "WAITING",
            "RUNNING",
            "OLDEST",
            "WORKERS",
            "PROBLEM",
        ]);
        for tasks in tasks {
            rows.add_row([
                tasks.queue.clone(),
                tasks.activity.clone(),
                tasks.waiting.to_string(),
                tasks.running.to_string(),
                table::or_dash(tasks.waiting_since.map(|at| age::ago(at, now))),
                tasks.workers.to_string(),
                tasks.problem.as_deref().map(|problem| table::cut(problem, 80)).unwrap_or_default(),
            ]);
        }
        parts.push(table::text(rows));
    }
    parts.join("\n\n")
}
