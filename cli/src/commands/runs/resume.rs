//! `pgworkflows runs resume`.

use clap::Args;

use crate::answer::Answers;
use crate::connect::Connected;
use crate::failure::{Code, Failure};
use crate::target::Target;

/// Ends the pause of a run. A run that stalled or was set aside is tried again. Otherwise nothing happens.
#[derive(Debug, Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    target: Target,
}

impl Resume {
    pub(super) async fn run(&self, store: &Connected, answers: Answers) -> Result<Code, Failure> {
        super::ask(store, &self.target, answers, "to be resumed", |run| run.resume()).await
    }
}
