//! Hints: those of this process at once, those of other processes from the file. It must not know who polls.
//!
//! A commit that changes something of interest writes one row for the other processes. Whether any other connection committed is
//! told by a counter in shared memory (`pragma data_version`), which is asked every few milliseconds while somebody listens.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::Thread;
use std::time::Duration;

use pgworkflows_core::id::ShardId;
use pgworkflows_core::store::{Hint, HintKind, Hints, QueueHash, StoreError};
use tokio::runtime::Runtime;
use tokio::sync::broadcast;

use crate::connection::{Connection, sql};
use crate::file::File;
use crate::panics::caught;
use crate::transaction::Transaction;
use crate::values::get;

/// How many hints a slow listener may lag before it misses some.
const HINTS_KEPT: usize = 1024;

/// How often the file is asked whether somebody else committed.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// How long a failure to ask is waited out.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How many rows are kept for other processes: those of at least two seconds.
const ROWS_KEPT: i64 = 4096;

/// After how many rows of its own a process deletes old ones.
const ROWS_DELETED: u64 = 256;

/// A row has at most so many hints; with more, everything is to be looked at.
const HINTS_MAX: usize = 500;

const INSERT: &str = "insert into hints (process, hints) values (?, ?)";

const DELETE: &str = "delete from hints where number <= last_insert_rowid() - ?";

/// The hints of a process.
#[derive(Debug)]
pub(crate) struct Notices {
    hints: Hints,
    /// Tells this process's rows from those of others.
    process: i64,
    /// How many rows this process has written.
    written: AtomicU64,
    /// The thread that asks. It sleeps while nobody listens.
    asking: OnceLock<Thread>,
}

impl Default for Notices {
    fn default() -> Self {
        // Each has random keys, which a process shares with one that it was forked from.
        let process = RandomState::new().hash_one(std::process::id()).cast_signed();
        Self { hints: Hints::new(HINTS_KEPT), process, written: AtomicU64::new(0), asking: OnceLock::new() }
    }
}

impl Notices {
    /// Listens to the hints of a kind.
    pub(crate) fn listen(&self, kind: HintKind) -> broadcast::Receiver<Hint> {
        let receiver = self.hints.listen(kind);
        self.asking.get().inspect(|thread| thread.unpark());
        receiver
    }

    /// Gives hints to the listeners of this process, after a commit.
    pub(crate) fn send(&self, hints: &[Hint]) {
        hints.iter().for_each(|hint| self.hints.send(*hint));
    }

    /// Writes hints for other processes, within the transaction that they are about.
    pub(crate) async fn write(
        &self,
        transaction: &mut Transaction,
        hints: &[Hint],
    ) -> Result<(), StoreError> {
        if hints.is_empty() {
            return Ok(());
        }
        transaction.write(sql(INSERT).bind(self.process).bind(&*write(hints))).await?;
        if self.written.fetch_add(1, Ordering::Relaxed).is_multiple_of(ROWS_DELETED) {
            transaction.write(sql(DELETE).bind(ROWS_KEPT)).await?;
        }
        Ok(())
    }

    /// Starts the thread that asks for the hints of others. It ends with the last user of the hints.
    pub(crate) fn start(self: &Arc<Self>, file: Arc<File>) -> Result<(), StoreError> {
        let cannot = |error: std::io::Error| file.unavailable("the thread that looks for changes", &error);
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(cannot)?;
        let mut watcher = Watcher { file: Arc::clone(&file), reading: None };
        let notices = Arc::downgrade(self);
        let builder = std::thread::Builder::new().name("pgworkflows-sqlite-hints".to_owned());
        let thread = builder.spawn(move || watcher.run(&runtime, &notices)).map_err(cannot)?;
        // It is started once.
        let _ = self.asking.set(thread.thread().clone());
        Ok(())
    }
}

/// Looks for the hints of other processes.
struct Watcher {
    file: Arc<File>,
    /// `None` before the first look, and after a failure.
    reading: Option<Reading>,
}

/// What was seen of the commits of others, on one connection: the counter means something on that one only.
struct Reading {
    connection: Connection,
    /// The last answer to `pragma data_version`.
    version: i64,
    /// The number of the last row that was read.
    number: i64,
}

impl Watcher {
    fn run(&mut self, runtime: &Runtime, notices: &Weak<Notices>) {
        while let Some(notices) = notices.upgrade() {
            if !notices.hints.has_listeners() {
                drop(notices);
                // Woken by the next listener, and now and then to see whether the store is still there.
                std::thread::park_timeout(RETRY_AFTER);
                continue;
            }
            let pause = match runtime.block_on(caught(self.news(notices.process))) {
                Ok(hints) => {
                    notices.send(&hints);
                    ASK_EVERY
                }
                Err(error) => {
                    tracing::warn!(%error, "changes of other processes are found by polling alone");
                    notices.send(&[Hint::Missed]);
                    RETRY_AFTER
                }
            };
            drop(notices);
            std::thread::sleep(pause);
        }
    }

    /// The hints of other processes since the last call. A failure leaves nothing to continue from.
    async fn news(&mut self, own: i64) -> Result<Vec<Hint>, StoreError> {
        let (reading, hints) = match self.reading.take() {
            Some(mut reading) => {
                let hints = reading.next(own).await?;
                (reading, hints)
            }
            // What was committed before is not read: there may be a long list of it.
            None => (Reading::begin(&self.file).await?, vec![Hint::Missed]),
        };
        self.reading = Some(reading);
        Ok(hints)
    }
}

impl Reading {
    /// Begins after what is there.
    async fn begin(file: &File) -> Result<Self, StoreError> {
        let mut connection = file.connect_reader().await?;
        // First the counter: what is committed in between is looked for, and was read already.
        let version = version(&mut connection).await?;
        let last = sql("select coalesce(max(number), 0) from hints");
        let number = connection.fetch_value(last).await?.unwrap_or(0);
        Ok(Self { connection, version, number })
    }

    async fn next(&mut self, own: i64) -> Result<Vec<Hint>, StoreError> {
        let version = version(&mut self.connection).await?;
        let mut hints = Vec::new();
        if version == self.version {
            return Ok(hints);
        }
        let select = sql("select number, process, hints from hints where number > ? order by number");
        for row in self.connection.fetch(select.bind(self.number)).await? {
            let (number, process): (i64, i64) = (get(&row, 0)?, get(&row, 1)?);
            if number > self.number + 1 {
                hints.push(Hint::Missed);
            }
            self.number = number;
            if process != own {
                hints.extend(read(&get::<String>(&row, 2)?));
            }
        }
        self.version = version;
        Ok(hints)
    }
}

/// A number that changes when another connection commits.
async fn version(connection: &mut Connection) -> Result<i64, StoreError> {
    Ok(connection.fetch_value(sql("pragma data_version")).await?.unwrap_or(0))
}

/// Hints as text: `mail 1`, `tasks 77` and so on, one a line.
fn write(hints: &[Hint]) -> String {
    if hints.len() > HINTS_MAX {
        return "all".to_owned();
    }
    let word = |hint: &Hint| match hint {
        Hint::Mail(shard) => format!("mail {shard}"),
        Hint::Notice(shard) => format!("notice {shard}"),
        Hint::Published(shard) => format!("published {shard}"),
        Hint::Tasks(queue) => format!("tasks {}", queue.get()),
        Hint::Released => "released".to_owned(),
        Hint::Missed => "all".to_owned(),
    };
    hints.iter().map(word).collect::<Vec<_>>().join("\n")
}

/// The hints in a text. What only a newer version knows becomes `Missed`, so that everything is looked at.
fn read(text: &str) -> impl Iterator<Item = Hint> {
    text.lines().map(|line| {
        let shard = |number: &str| ShardId::new(number.parse().ok()?).ok();
        let known = match line.split_once(' ') {
            Some(("mail", number)) => shard(number).map(Hint::Mail),
            Some(("notice", number)) => shard(number).map(Hint::Notice),
            Some(("published", number)) => shard(number).map(Hint::Published),
            Some(("tasks", number)) => number.parse().ok().map(|hash| Hint::Tasks(QueueHash::new(hash))),
            None if line == "released" => Some(Hint::Released),
            Some(_) | None => None,
        };
        known.unwrap_or(Hint::Missed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_read_back_as_they_were_written() {
        let shard = |number| ShardId::new(number).unwrap();
        let hints = [
            Hint::Mail(shard(0)),
            Hint::Notice(shard(4095)),
            Hint::Published(shard(8)),
            Hint::Tasks(QueueHash::new(u32::MAX)),
            Hint::Released,
            Hint::Missed,
        ];
        assert!(read(&write(&hints)).eq(hints));
    }

    #[test]
    fn what_is_unknown_or_too_much_means_that_hints_were_missed() {
        assert!(read("mail 9999\nlimits 3").eq([Hint::Missed, Hint::Missed]));
        let many: Vec<Hint> = (0..4096).map(|number| Hint::Mail(ShardId::new(number).unwrap())).collect();
        assert!(read(&write(&many)).eq([Hint::Missed]));
    }
}
