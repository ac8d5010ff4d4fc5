//! What the benchmarks measure: workflows of a given size, and their activity.

use pgworkflows::prelude::*;

/// A run of so many activities, one after the other.
#[derive(Debug)]
pub struct Activities;

impl Workflow for Activities {
    const NAME: &'static str = "activities";
    type Input = u32;
    type Output = u64;

    async fn run(ctx: Context, count: u32) -> WorkflowResult<u64> {
        let mut sum = 0;
        for number in 0..count {
            sum += ctx.activity::<Double>(u64::from(number)).await?;
        }
        Ok(sum)
    }
}

/// The activity: as cheap as can be, so that what is measured is the engine.
#[derive(Debug)]
pub struct Double;

#[async_trait]
impl Activity for Double {
    const NAME: &'static str = "double";
    type Input = u64;
    type Output = u64;

    async fn execute(&self, _ctx: ActivityContext, number: u64) -> ActivityResult<u64> {
        Ok(2 * number)
    }
}
