//! `pgworkflows runs why`: says in plain words why a run does not go on. The words are in [`crate::why`].

use clap::Args;

use crate::answer::Answers;
use crate::connect::Connected;
use crate::failure::{Code, Failure};
use crate::situation::Situation;
use crate::target::Target;
use crate::why::explain;

/// Says in plain words what a run waits for, since when and at which line of its code, what failed last, when it is tried again,
/// and what would wake it.
#[derive(Debug, Args)]
pub(crate) struct Why {
    #[command(flatten)]
    target: Target,
}

impl Why {
    pub(super) async fn run(&self, store: &Connected, answers: Answers) -> Result<Code, Failure> {
        let info = super::describe(store, &self.target).await?;
        let explanation = explain(&Situation::read(store, info).await?);
        answers.give(&explanation, &explanation)
    }
}
