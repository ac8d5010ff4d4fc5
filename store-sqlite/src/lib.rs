//! The SQLite store: a whole system of workflows in one file, without a server. It must not know any kind of event or message;
//! their contents are bytes.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), pgworkflows::Error> {
//! use pgworkflows::SqliteStore;
//!
//! # let path = std::env::temp_dir().join(format!("pgworkflows-lib-{}.db", std::process::id()));
//! let store = SqliteStore::open(&path).await?;
//! # for suffix in ["", "-wal", "-shm", "-next", "-now"] {
//! #     let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! SQLite itself is compiled in. What is acknowledged is on the disk: it survives `kill -9`, and power loss as far as the disk
//! keeps what it was told to flush.
//!
//! # Several processes
//!
//! Any number of processes of one machine may share the file: workers, clients, and programs that only look. They take turns at
//! writing, by two lock files beside the database, `….db-next` and `….db-now`, whose content does not matter. A process that dies
//! gives its turn up at once. One that is stopped (`SIGSTOP`, a debugger) in the few milliseconds of its turn holds up all others
//! until it goes on; nothing is lost.
//!
//! The file belongs on a local disk. On Linux, a network file system is refused.
//!
//! # Backups
//!
//! Copy the file with `sqlite3 runs.db ".backup copy.db"` or `vacuum into`, never with `cp` while a process has it open. A copy
//! that is put in the place of the file while no process has it open looks like a database that lost commits: all that is in the
//! copy goes on from there. A process under which the file is moved or replaced writes nothing more: its calls fail, and say so,
//! until the file is back or the process is started again.
//!
//! # What it has not
//!
//! Requests within a transaction of yours, and activities that commit their outcome with your own data: these need PostgreSQL.

mod append;
mod attributes;
mod calls;
mod chain;
mod connection;
mod deliver;
pub mod diagnosis;
mod error;
mod executors;
mod file;
mod fleet;
mod inbox;
mod lease;
mod log;
mod notice;
mod options;
mod panics;
mod place;
mod query;
mod readers;
mod recover;
mod schema;
mod sent;
mod store;
mod submit;
mod tasks;
#[cfg(test)]
mod testing;
mod transaction;
mod turn;
mod values;
mod verify;
mod watch;
mod writer;

pub use self::options::Builder;
pub use self::store::SqliteStore;
