//! What cannot be a workflow.

#![allow(unused, reason = "nothing here is executed")]

use pgworkflows::prelude::*;

#[workflow]
async fn without_name(ctx: Context) -> WorkflowResult<()> {
    Ok(())
}

#[workflow(name = "options", retry = 3)]
async fn options(ctx: Context) -> WorkflowResult<()> {
    Ok(())
}

#[workflow(name = "sync")]
fn is_sync(ctx: Context) -> WorkflowResult<()> {
    Ok(())
}

#[workflow(name = "generic")]
async fn generic<T>(ctx: Context, input: T) -> WorkflowResult<()> {
    Ok(())
}

#[workflow(name = "without-context")]
async fn without_context() -> WorkflowResult<()> {
    Ok(())
}

#[workflow(name = "borrowed-context")]
async fn borrowed_context(ctx: &Context) -> WorkflowResult<()> {
    Ok(())
}

#[workflow(name = "borrowed-input")]
async fn borrowed_input(ctx: Context, name: &str) -> WorkflowResult<()> {
    Ok(())
}

#[workflow(name = "two-inputs")]
async fn two_inputs(ctx: Context, name: String, age: u32) -> WorkflowResult<()> {
    Ok(())
}

#[workflow(name = "borrowed-part")]
async fn borrowed_part(ctx: Context, names: Vec<&str>) -> WorkflowResult<()> {
    Ok(())
}

#[workflow(name = "no-function")]
struct NoFunction;

struct Shop;

impl Shop {
    #[workflow(name = "method")]
    async fn method(&self, ctx: Context) -> WorkflowResult<()> {
        Ok(())
    }
}

#[workflow(name = "no-result")]
async fn no_result(ctx: Context) {}

fn main() {}
