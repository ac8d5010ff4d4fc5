//! `pgworkflows runs terminate`.

use clap::Args;

use crate::answer::Answers;
use crate::connect::Connected;
use crate::failure::{Code, Failure};
use crate::target::Target;

/// Ends a run without asking its code. Compensations are skipped.
#[derive(Debug, Args)]
pub(crate) struct Terminate {
    #[command(flatten)]
    target: Target,

    /// Why, for its history and for those who wait for it
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl Terminate {
    pub(super) async fn run(&self, store: &Connected, answers: Answers) -> Result<Code, Failure> {
        super::ask(store, &self.target, answers, "to be terminated", |run| run.terminate(&self.reason)).await
    }
}
