//! `pgworkflows dev`: a playground without a server and without a worker: a store in a file, and a look at it.

use clap::Args;
use serde_json::json;

use crate::answer::Answers;
use crate::args::Global;
use crate::commands::top::Top;
use crate::connect::Migrate;
use crate::failure::{Code, Failure};
use crate::shell;

/// Makes a store in a SQLite file, if it is not there yet, says how to use it, and shows it on a terminal as `top` does. It executes
/// no workflow: start your program with the same address. If an address is given, and no file, it shows that store instead, and
/// changes nothing.
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// The file; by default pgworkflows.db, if no address is given
    #[arg(long, value_name = "FILE")]
    file: Option<String>,

    #[command(flatten)]
    top: Top,
}

impl Dev {
    pub(super) async fn run(&self, global: &Global, answers: Answers) -> Result<Code, Failure> {
        // The environment may name the database of a production, which is looked at, and no more.
        let (url, migrate) = match (&self.file, global.own_url()) {
            (None, Some(url)) => (url, Migrate::No),
            (file, _) => {
                let file = file.as_deref().unwrap_or("pgworkflows.db");
                // Absolute, because the other shell may be elsewhere.
                let path = std::path::absolute(file).unwrap_or_else(|_| file.into());
                (format!("sqlite:{}", path.display()), Migrate::Yes)
            }
        };
        let store = global.clone().at(url.clone()).open(migrate).await?;
        // Only the address of a file is known to have no password.
        let shown = if url.starts_with("sqlite:") { url.as_str() } else { "…" };
        let text = format!(
            "The runs are in {}. In another shell:\n\n  \
             export PGWORKFLOWS_URL={}\n  \
             pgworkflows runs start hello '\"Ada\"' --key hello:1\n  \
             pgworkflows runs why --workflow hello --key hello:1\n\n\
             A program executes them with `pgworkflows::connect({shown:?})` and a worker that knows workflow `hello`.",
            store.place,
            shell::word(shown)
        );
        answers.give(text, &json!({"url": shown}))?;
        if answers.json || !answers.streams.are_on_a_terminal() {
            return Ok(Code::Done);
        }
        // What was said stays above the screen, which is another one.
        self.top.show_on_terminal(&store).await
    }
}
