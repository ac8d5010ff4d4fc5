//! An agent that refunds an invoice after a person has approved it. The model is a fake one.
//!
//! ```sh
//! cargo run --release --example llm_agent               # asks you, at the terminal
//! cargo run --release --example llm_agent -- approve    # or `refuse`: decides for you
//! ```
//!
//! The conversation is in the file `llm_agent.db`, or in the database of `DATABASE_URL`: kill this program while it asks, and
//! start it again.

#![expect(clippy::print_stdout, reason = "this program talks with its user")]

mod agent;
mod model;
mod tools;

use std::io::IsTerminal;
use std::sync::Arc;

use pgworkflows::prelude::*;
use pgworkflows::{Error, RunHandle};

use self::agent::{DECIDE, Decision, LEAVE, Message, REQUEST, Request, Session, TRANSCRIPT, support_agent};
use self::model::{Brain, FakeModel};
use self::tools::Office;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::var("DATABASE_URL").unwrap_or_else(|_| "sqlite:llm_agent.db".to_owned());
    let store = pgworkflows::connect(&url).await?;
    let worker = Worker::builder(store.clone())
        .workflow::<support_agent>()
        .activities(Brain { model: Arc::new(FakeModel) })
        .activities(Office)
        .lease_ttl(Duration::from_secs(2))
        .build()?;
    let client = Client::new(store);
    worker.run_while(talk(&client)).await?
}

/// Begins a conversation, or continues the one that is open, up to its end.
async fn talk(client: &Client) -> Result<(), Error> {
    let run = match client.list().of::<support_agent>().open().limit(1).await?.first() {
        Some(open) => client.handle(open.run_id),
        None => client.start::<support_agent>(Session::new("I was charged twice.")).await?,
    };
    println!("run {}", run.run_id());
    tokio::try_join!(show(&run), decide(&run))?;
    Ok(())
}

/// Prints what is new in the conversation. Ends it when the model has nothing more to do.
async fn show(run: &RunHandle<support_agent>) -> Result<(), Error> {
    let mut printed = 0;
    let mut changes = run.watch(TRANSCRIPT);
    while let Some(transcript) = changes.next().await.transpose()? {
        for message in transcript.iter().skip(printed) {
            println!("  {message:?}");
        }
        printed = transcript.len();
        if let Some(Message::Model(_)) = transcript.last() {
            run.signal(LEAVE, ()).key("the user has left").await?;
        }
    }
    println!("the last answer: {}", run.result().await?);
    Ok(())
}

/// Decides what the agent asks for.
async fn decide(run: &RunHandle<support_agent>) -> Result<(), Error> {
    let mut changes = run.watch(REQUEST);
    while let Some(request) = changes.next().await.transpose()? {
        let Some(request) = request else { continue };
        let approved = ask(&request).await;
        let counts = run.update(DECIDE, Decision { request: request.number, approved }).await?;
        println!(
            "{}{}",
            if approved { "approved" } else { "refused" },
            if counts { "" } else { ", too late" }
        );
    }
    Ok(())
}

/// Asks the person at the terminal, unless the program's argument decides. Without a terminal, nothing is approved.
async fn ask(request: &Request) -> bool {
    println!("may the agent do this? {:?}", request.tool);
    match std::env::args().nth(1).as_deref() {
        Some(decision) => decision == "approve",
        None if !std::io::stdin().is_terminal() => false,
        None => {
            println!("type `yes` to approve it:");
            let line = tokio::task::spawn_blocking(|| std::io::stdin().lines().next());
            matches!(line.await, Ok(Some(Ok(line))) if line.trim() == "yes")
        }
    }
}
