//! A workflow whose inputs and results are as large as a test wants, and what a worker process of it needs. It must not know
//! what is tested.

use pgworkflows::prelude::*;
use serde::{Deserialize, Serialize};

/// Hands its text to an activity, and returns the length of the text that it gets back.
#[derive(Debug)]
pub enum Weighed {}

/// The input of [`Weighed`], and of its activity.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Weight {
    /// A text.
    pub text: String,
    /// The length of the text to return.
    pub returned: usize,
}

impl Workflow for Weighed {
    const NAME: &'static str = "weighed";
    type Input = Weight;
    type Output = usize;

    async fn run(ctx: Context, weight: Weight) -> WorkflowResult<usize> {
        Ok(ctx.activity::<Weigh>(weight).await?.len())
    }
}

/// Returns a text.
#[derive(Debug)]
pub struct Weigh;

#[async_trait]
impl Activity for Weigh {
    const NAME: &'static str = "weigh";
    type Input = Weight;
    type Output = String;

    async fn execute(&self, _ctx: ActivityContext, weight: Weight) -> ActivityResult<String> {
        Ok("x".repeat(weight.returned))
    }
}

/// Waits until nobody holds the other end of this process's input any more.
pub async fn end_of_input() {
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        // Whatever the input is, it ends.
        drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
        drop(ended);
    });
    drop(end.await);
}
