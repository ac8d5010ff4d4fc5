//! `pgworkflows completions`: what a shell needs to complete commands and options.

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde_json::json;

use crate::answer::Answers;
use crate::args::Arguments;
use crate::failure::{Code, Failure};

/// Prints the completions for a shell: put `source <(pgworkflows completions bash)` into `~/.bashrc`, say.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self, answers: Answers) -> Result<Code, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "pgworkflows", &mut script);
        let script = String::from_utf8_lossy(&script);
        answers.give(&script, &json!({"shell": self.shell.to_string(), "script": script}))
    }
}
