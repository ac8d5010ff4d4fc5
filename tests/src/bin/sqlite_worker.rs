//! A worker process on a SQLite file, the first argument, which other processes share. Its activities note in the file that is
//! the second argument. It ends when its input ends, or is killed. It must not check anything.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use pgworkflows::{SqliteStore, Worker};
use pgworkflows_tests::noted::{Note, Noted};
use pgworkflows_tests::weighed::end_of_input;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, notes] = &arguments[..] else { return Err("expected two files".into()) };
    let worker = Worker::builder(SqliteStore::open(file).await?).workflow::<Noted>();
    let worker = worker.activity(Note::to(Path::new(notes))).processors(2).lease_ttl(Duration::from_secs(1));
    worker.build()?.run_until(end_of_input()).await?;
    Ok(())
}
