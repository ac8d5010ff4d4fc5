//! A workflow whose activities note in a file that they were executed, for worker processes that are killed. It must not know
//! what is tested.

use std::io::Write;
use std::path::{Path, PathBuf};

use pgworkflows::prelude::*;

/// Has two activities with a short pause between them, and returns the sum of their results.
#[derive(Debug)]
pub enum Noted {}

impl Workflow for Noted {
    const NAME: &'static str = "noted";
    type Input = u32;
    type Output = u32;

    async fn run(ctx: Context, number: u32) -> WorkflowResult<u32> {
        let first = ctx.activity::<Note>((number, 1)).await?;
        ctx.sleep(Duration::from_millis(20)).await?;
        let second = ctx.activity::<Note>((number, 2)).await?;
        Ok(first + second)
    }
}

/// Notes the number of its run and its own, and returns their sum.
#[derive(Debug)]
pub struct Note {
    path: PathBuf,
}

impl Note {
    /// An activity that notes in this file.
    pub fn to(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }
}

#[async_trait]
impl Activity for Note {
    const NAME: &'static str = "note";
    type Input = (u32, u32);
    type Output = u32;

    async fn execute(&self, _ctx: ActivityContext, (run, number): (u32, u32)) -> ActivityResult<u32> {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.path)?;
        // In one write, so that no two processes mix their lines.
        file.write_all(format!("{run}.{number}\n").as_bytes())?;
        Ok(run + number)
    }
}
