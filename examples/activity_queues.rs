//! Activity queues: activities that other machines execute, and several that follow each other to the same machine.
//!
//! `cargo run --example activity_queues`

#![expect(clippy::print_stdout, reason = "this program shows what happens")]

use std::collections::HashSet;

use pgworkflows::prelude::*;
use tokio::sync::Mutex;

/// The queue of the machines with a graphics card.
const GPU: &str = "gpu";

/// A machine, and the files on its disk.
struct Machine {
    name: &'static str,
    files: Mutex<HashSet<String>>,
}

#[activities]
impl Machine {
    /// Returns the queue that leads to this machine alone.
    #[activity(name = "machine.download", queue = GPU, start_to_close = Duration::from_secs(60))]
    async fn download(&self, ctx: &ActivityContext, film: String) -> ActivityResult<String> {
        self.files.lock().await.insert(film);
        ctx.worker_queue().await
    }

    #[activity(name = "machine.render", start_to_close = Duration::from_secs(600))]
    async fn render(&self, film: String) -> ActivityResult<String> {
        match self.files.lock().await.contains(&film) {
            true => Ok(format!("{film} was rendered by {}", self.name)),
            false => Err(ActivityError::fatal("no-file", format!("{} does not have {film}", self.name))),
        }
    }
}

#[workflow(name = "film")]
async fn film(ctx: Context, film: String) -> WorkflowResult<String> {
    loop {
        let machine = ctx.call(Machine::DOWNLOAD, film.clone()).await?;
        match ctx.call(Machine::RENDER, film.clone()).queue(machine).await {
            Err(error) if error.is("worker-lost") => {} // That machine is gone, and so is the file: begin anew.
            rendered => return rendered,
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), pgworkflows::Error> {
    let store = pgworkflows::connect("memory:").await?;
    // Usually processes of their own. The owner of the runs has no machine; each machine renders two films at a time.
    let owner = Worker::builder(store.clone()).workflow::<film>().build()?;
    for name in ["machine A", "machine B"] {
        let machine = Machine { name, files: Mutex::default() };
        let machine = Worker::builder(store.clone()).name(name).activities(machine).activity_queue(GPU, 2);
        tokio::spawn(machine.build()?.run());
    }
    let client = Client::new(store);
    owner.run_while(show(&client)).await?
}

async fn show(client: &Client) -> Result<(), pgworkflows::Error> {
    for title in ["Dawn", "Dusk", "Noon"] {
        println!("{}", client.start::<film>(title.to_owned()).await?.result().await?);
    }
    Ok(())
}
