//! `pgworkflows runs cancel`.

use clap::Args;
use pgworkflows::client::{RunInfo, RunStatus};

use crate::answer::Answers;
use crate::connect::Connected;
use crate::failure::{Code, Failure};
use crate::target::Target;

/// Asks a run to cancel itself.
#[derive(Debug, Args)]
pub(crate) struct Cancel {
    #[command(flatten)]
    target: Target,

    /// Why, for its history and for those who wait for it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Cancel {
    pub(super) async fn run(&self, store: &Connected, answers: Answers) -> Result<Code, Failure> {
        super::ask(store, &self.target, answers, "asked to cancel itself", |run| {
            let cancel = run.cancel();
            match &self.reason {
                Some(reason) => cancel.reason(reason),
                None => cancel,
            }
        })
        .await?;
        let RunInfo { run_id, status, .. } = super::describe(store, &self.target).await?;
        if matches!(status, RunStatus::Stalled | RunStatus::Paused) {
            answers.note(format_args!(
                "the run is {status}, and cancels itself when its code goes on; `pgworkflows runs terminate {run_id} --reason …` \
                 ends it at once"
            ));
        }
        Ok(Code::Done)
    }
}
