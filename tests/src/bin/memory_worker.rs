//! A worker process with little memory. It serves the database at `DATABASE_URL` with a budget of `MEMORY_MAX` bytes until
//! its input ends, and then prints the most memory that the process has had, in KiB. It must not check anything.

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use pgworkflows::{PostgresStore, Worker};
use pgworkflows_tests::weighed::{Weigh, Weighed, end_of_input};

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = PostgresStore::connect(&std::env::var("DATABASE_URL")?).await?;
    let budget = std::env::var("MEMORY_MAX")?.parse()?;
    let worker = Worker::builder(store).workflow::<Weighed>().activity(Weigh);
    let worker = worker.processors(1).activities_max(16).memory_max(budget);
    worker.shutdown_grace(Duration::ZERO).build()?.run_until(end_of_input()).await?;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    writeln!(std::io::stdout(), "{}", most.trim().trim_end_matches(" kB"))?;
    Ok(())
}
