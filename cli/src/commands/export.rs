//! `pgworkflows export`: the history of a run as a file.

use std::io::Write;

use clap::Args;
use pgworkflows::history::History;
use serde_json::json;

use crate::answer::Answers;
use crate::args::Global;
use crate::count::counted;
use crate::failure::{Code, Failure};
use crate::progress;
use crate::target::Target;

/// Writes the history of a run: to a file, or to the standard output. Keep it in your repository, so that a replay check
/// (`pgworkflows::history::replay`) tests later code against it. It has the payloads of the run.
#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    target: Target,

    /// The file. It must not exist, unless --force is given
    #[arg(long, short, value_name = "FILE")]
    output: Option<String>,

    /// Overwrites the file
    #[arg(long, requires = "output")]
    force: bool,
}

impl Export {
    pub(super) async fn run(&self, global: &Global, answers: Answers) -> Result<Code, Failure> {
        let store = global.connect().await?;
        let run = self.target.find(&store).await?;
        let id = run.run_id();
        let history = match progress::shown("reading the history", run.export()).await {
            Ok(history) => history,
            Err(error) => return Err(store.advise(id, error.into()).await),
        };
        match &self.output {
            // A history is JSON, also without `--json`.
            None => Answers { json: true, ..answers }.give("", &history),
            Some(path) => {
                let text = serde_json::to_string_pretty(&history)
                    .map_err(|error| Failure::new(Code::Failed, "io", format!("run {id}: {error}")))?;
                self.write(path, &text)?;
                self.answer(path, &history, answers)
            }
        }
    }

    /// Writes the file as a whole or not at all: beside it first.
    fn write(&self, path: &str, text: &str) -> Result<(), Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(Code::Failed, "file", format!("the file `{path}` cannot be written: {error}"))
        };
        if !self.force && std::path::Path::new(path).exists() {
            return Err(Failure::new(
                Code::Failed,
                "file",
                format!("the file `{path}` exists: name another, or --force"),
            ));
        }
        let beside = format!("{path}.{}.part", std::process::id());
        let written = std::fs::File::create_new(&beside)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&beside, path));
        written.map_err(|error| {
            drop(std::fs::remove_file(&beside));
            failed(error)
        })
    }

    fn answer(&self, path: &str, history: &History, answers: Answers) -> Result<Code, Failure> {
        let (id, events) = (history.run_id(), history.len());
        let text = format!("run {id}: {} in `{path}`", counted(events, "event"));
        answers.give(text, &json!({"run_id": id, "events": events, "file": path}))
    }
}
