//! `pgworkflows runs signal`.

use clap::Args;
use serde_json::json;

use crate::answer::Answers;
use crate::connect::Connected;
use crate::failure::{Code, Failure};
use crate::input;
use crate::progress;
use crate::target::Target;

/// Sends a signal to a run. It is durable when this command is done; the run takes it when its code waits for it.
///
/// The content is JSON, `@file`, or `-` for the standard input; `null` if it is left out.
#[derive(Debug, Args)]
#[command(override_usage = "pgworkflows runs signal <RUN> <SIGNAL> [JSON]\n       \
                            pgworkflows runs signal --workflow <NAME> --key <KEY> <SIGNAL> [JSON]")]
pub(crate) struct Signal {
    /// The run's id or its beginning, the signal's name, and its content. Without the id if --key names the run
    #[arg(required = true, num_args = 1..=3, value_names = ["RUN", "SIGNAL", "JSON"])]
    words: Vec<String>,

    /// Instead of the id: the key with which the run was started
    #[arg(long, requires = "workflow")]
    key: Option<String>,

    /// The workflow of the run with the key
    #[arg(long, requires = "key", value_name = "NAME")]
    workflow: Option<String>,

    /// The idempotency key of the signal: a second one with it is ignored
    #[arg(long, value_name = "KEY")]
    signal_key: Option<String>,
}

impl Signal {
    pub(super) async fn run(&self, store: &Connected, answers: Answers) -> Result<Code, Failure> {
        let (target, signal, content) = self.parts()?;
        let content = input::payload(&format!("the content of signal `{signal}`"), content)?;
        let run = target.find(store).await?;
        let id = run.run_id();
        let send = run.signal_named(signal.to_owned(), content).key(self.signal_key.as_deref());
        if let Err(error) = progress::shown("sending", send).await {
            return Err(store.advise(id, error.into()).await);
        }
        answers
            .give(format!("run {id}: signal `{signal}` was sent"), &json!({"run_id": id, "signal": signal}))
    }

    /// The run, the signal's name, and its content.
    fn parts(&self) -> Result<(Target, &str, &str), Failure> {
        let mut words = self.words.iter();
        let run = if self.key.is_some() { None } else { words.next().cloned() };
        let target = Target { run, key: self.key.clone(), workflow: self.workflow.clone() };
        let Some(signal) = words.next() else {
            return Err(Failure::usage("name the signal: `pgworkflows runs signal <RUN> <SIGNAL> [JSON]`"));
        };
        let content = words.next().map_or("null", String::as_str);
        match words.next() {
            Some(more) => Err(Failure::usage(format!("`{more}` is too much: --key names the run already"))),
            None => Ok((target, signal, content)),
        }
    }
}
