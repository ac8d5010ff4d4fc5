//! One line on a terminal that says how far everything is. It must not know what a fault is.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use pgworkflows::sqlx;

use crate::scene::Scene;

/// The line. Nothing is printed unless the output is a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    is_seen: bool,
    /// Runs that are over and runs that are open, as last heard.
    runs: (i64, i64),
}

/// How long the server may take to say how many runs there are: longer while it is down.
const PATIENCE: Duration = Duration::from_millis(300);

impl Progress {
    pub(crate) fn new() -> Self {
        Self { is_seen: std::io::stderr().is_terminal(), runs: (0, 0) }
    }

    /// Replaces the line.
    pub(crate) async fn show(&mut self, scene: &Scene, what: &str) {
        if !self.is_seen {
            return;
        }
        if let Ok(Ok(runs)) = tokio::time::timeout(PATIENCE, count(scene)).await {
            self.runs = runs;
        }
        let (over, open) = self.runs;
        eprint!("\r\x1b[K{what}; {over} runs over, {open} open, {} violations", scene.violations().len());
        // A terminal that cannot be written to shows nothing.
        let _ = std::io::stderr().flush();
    }

    /// Removes the line.
    pub(crate) fn end(&self) {
        if self.is_seen {
            eprint!("\r\x1b[K");
        }
    }
}

/// Runs that are over, and runs that are open.
async fn count(scene: &Scene) -> anyhow::Result<(i64, i64)> {
    let counts =
        "select (select count(*) from pgworkflows.closed_runs), (select count(*) from pgworkflows.open_runs)";
    Ok(sqlx::query_as(counts).fetch_one(&mut scene.connect().await?).await?)
}
