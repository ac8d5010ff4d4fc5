//! `pgworkflows runs retry`.

use clap::Args;

use crate::answer::Answers;
use crate::connect::Connected;
use crate::failure::{Code, Failure};
use crate::target::Target;

/// Has the attempts of a run's activities that are in back-off begin at once. Otherwise nothing happens.
#[derive(Debug, Args)]
pub(crate) struct Retry {
    #[command(flatten)]
    target: Target,
}

impl Retry {
    pub(super) async fn run(&self, store: &Connected, answers: Answers) -> Result<Code, Failure> {
        let asked = "its attempts in back-off are to begin now";
        super::ask(store, &self.target, answers, asked, |run| run.retry_now()).await
    }
}
