//! `pgworkflows runs pause`.

use clap::Args;

use crate::answer::Answers;
use crate::connect::Connected;
use crate::failure::{Code, Failure};
use crate::target::Target;

/// Pauses a run.
#[derive(Debug, Args)]
pub(crate) struct Pause {
    #[command(flatten)]
    target: Target,

    /// Why, for those who wonder what it waits for
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Pause {
    pub(super) async fn run(&self, store: &Connected, answers: Answers) -> Result<Code, Failure> {
        super::ask(store, &self.target, answers, "to be paused", |run| {
            let pause = run.pause();
            match &self.reason {
                Some(reason) => pause.reason(reason),
                None => pause,
            }
        })
        .await
    }
}
