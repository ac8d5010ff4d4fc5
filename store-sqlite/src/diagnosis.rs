//! Examines a file for people: what is wrong or may become so, and what to do. It must not change anything.
//!
//! Opening refuses what cannot work. This goes on after a refusal, and also looks at what only wears out with time: damage, a
//! write-ahead log that grows, leases that no worker takes over. The program `pgworkflows doctor` shows it.

use std::fmt;
use std::time::Duration;

pub use pgworkflows_core::store::Verdict;
use pgworkflows_core::store::{DeadLease, StoreError};

use crate::connection::{Connection, sql};
use crate::file::File;
use crate::options::Builder;
use crate::transaction::now;
use crate::values::get;
use crate::{log, schema};

/// What was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Check {
    /// Whether the file is there, is a SQLite database, and is on a disk where it may be.
    File,
    /// Whether its tables are those of this version.
    Schema,
    /// Whether it has a write-ahead log, which does not grow.
    Journal,
    /// Whether it is undamaged, as far as that is found within a time.
    Integrity,
    /// Leases that expired with their shards.
    Leases,
}

impl Check {
    /// All checks, in their order.
    pub const ALL: [Self; 5] = [Self::File, Self::Schema, Self::Journal, Self::Integrity, Self::Leases];

    /// A word that stays, for scripts.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Schema => "schema",
            Self::Journal => "journal",
            Self::Integrity => "integrity",
            Self::Leases => "leases",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a check of a SQLite file found.
pub type Finding = pgworkflows_core::store::Finding<Check>;

/// How long the pages of a file are examined. SQLite reads some hundred megabytes in this time.
const INTEGRITY_TIME_MAX: Duration = Duration::from_secs(10);

/// The first damages that are found, at most.
const INTEGRITY: &str = "pragma quick_check(5)";

/// The writer empties the log when it is half as long.
const LOG_BYTES_MAX: u64 = 2 * log::LOG_BYTES_MAX;

/// Leases that expired and still own shards: their process is dead, and no live worker of the queue has fenced them.
const LEASES: &str = "
    select l.queue, l.worker, count(*), count(n.shard), max(l.expires_at)
    from leases l
    join shards s on s.lease = l.lease
    left join (select distinct shard from shard_needs) n on n.shard = s.shard
    where not l.fenced and l.expires_at <= ?
    group by l.queue, l.worker
    order by 4 desc, 1, 2 limit 5";

impl Builder {
    /// Examines the file, without opening a store and without changing anything: what is wrong or may become so, and what to do.
    /// Each [`Check`] has one finding, in order. If the file cannot be read, or its tables are not there, those that need it are
    /// left out. It takes at most some ten seconds, however large the file is.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use pgworkflows::SqliteStore;
    /// use pgworkflows::store::Verdict;
    ///
    /// let findings = SqliteStore::builder("/no/such/directory/runs.db").diagnose().await;
    /// assert_eq!((findings[0].check.name(), findings[0].verdict), ("file", Verdict::Wrong));
    /// assert!(findings[0].found.contains("the directory `/no/such/directory`"));
    /// # }
    /// ```
    pub async fn diagnose(self) -> Vec<Finding> {
        let file = match self.check() {
            Ok(file) => file,
            Err(error) => return vec![Finding::refused(Check::File, &error)],
        };
        if !file.path.exists() {
            let found = format!("there is no file `{}`", file.path.display());
            let advice = "correct the path, or create a store there with `pgworkflows migrate`";
            return vec![Finding::wrong(Check::File, found, advice)];
        }
        match read(&file).await {
            Ok((mut connection, size)) => examine(&file, &mut connection, size).await,
            Err(error) => vec![Finding::refused(Check::File, &error)],
        }
    }
}

/// Opens the file, and reads how large it is, which fails if it is no database.
async fn read(file: &File) -> Result<(Connection, i64), StoreError> {
    let mut connection = file.connect_visitor().await?;
    let size = "select page_count * page_size from pragma_page_count, pragma_page_size";
    let bytes = connection.fetch_value(sql(size)).await?.unwrap_or_default();
    Ok((connection, bytes))
}

async fn examine(file: &File, connection: &mut Connection, bytes: i64) -> Vec<Finding> {
    let found = format!(
        "`{}` is a database of {:.1} MB, and on no network file system that is known",
        file.path.display(),
        megabytes(bytes.unsigned_abs())
    );
    let mut findings = vec![Finding::ok(Check::File, found)];
    let schema = settle(Check::Schema, version(file, connection).await);
    let is_there = schema.verdict == Verdict::Ok;
    findings.push(schema);
    findings.push(settle(Check::Journal, journal(file, connection).await));
    findings.push(settle(Check::Integrity, integrity(connection, INTEGRITY_TIME_MAX).await));
    if is_there {
        findings.push(settle(Check::Leases, leases(connection).await));
    }
    findings
}

/// A check that failed is a finding, too.
fn settle(check: Check, found: Result<Finding, StoreError>) -> Finding {
    found.unwrap_or_else(|error| Finding::refused(check, &error))
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

async fn version(file: &File, connection: &mut Connection) -> Result<Finding, StoreError> {
    let (applied, all) = (schema::version(file, connection).await?, schema::MIGRATIONS.len());
    Ok(match all - applied {
        0 => Finding::ok(Check::Schema, "it has all migrations of this version"),
        missing => Finding::wrong(
            Check::Schema,
            format!("it lacks {missing} of {all} migrations"),
            "run `pgworkflows migrate`, or open it with a program of this version",
        ),
    })
}

async fn journal(file: &File, connection: &mut Connection) -> Result<Finding, StoreError> {
    let mode: Option<String> = connection.fetch_value(sql("pragma journal_mode")).await?;
    Ok(judge_journal(&mode.unwrap_or_default(), file.log().metadata().map_or(0, |found| found.len())))
}

fn judge_journal(mode: &str, log: u64) -> Finding {
    if mode != "wal" {
        return Finding::warning(
            Check::Journal,
            format!("its journal mode is `{mode}`, as that of a copy which no program has opened yet"),
            "the next worker or client sets `wal`; if another program has changed it, have it leave the mode alone",
        );
    }
    let found = format!("the write-ahead log beside it has {:.1} MB", megabytes(log));
    if log <= LOG_BYTES_MAX {
        return Finding::ok(Check::Journal, found);
    }
    Finding::warning(
        Check::Journal,
        format!("{found}, and should have been emptied"),
        "end the program that reads it for long, such as a shell of SQLite with an open transaction: after that, the next commits \
         empty the log",
    )
}

/// Looks for damage, and ends after a time.
async fn integrity(connection: &mut Connection, time: Duration) -> Result<Finding, StoreError> {
    let Some(rows) = connection.fetch_within(sql(INTEGRITY), time).await? else {
        return Ok(Finding::warning(
            Check::Integrity,
            format!("it is too large to be examined in {time:?}; no damage was found so far"),
            "to examine all of it, run `pragma quick_check` in a shell of SQLite, on a copy if the store is busy",
        ));
    };
    let found = rows.iter().map(|row| get::<String>(row, 0)).collect::<Result<Vec<_>, _>>()?;
    if found == ["ok"] {
        return Ok(Finding::ok(Check::Integrity, "no page of it is damaged"));
    }
    let advice = "keep a copy of the file and of what is beside it, and restore a backup, or try `sqlite3 <file> .recover`; then find \
                  out what damaged it: the disk, a copy that was made while it was open, or a program without its locks";
    Ok(Finding::wrong(Check::Integrity, found.join("; "), advice))
}

async fn leases(connection: &mut Connection) -> Result<Finding, StoreError> {
    let now = now();
    let rows = connection.fetch(sql(LEASES).bind(now)).await?;
    let dead = rows.iter().map(|row| {
        Ok(DeadLease {
            queue: get(row, 0)?,
            worker: get(row, 1)?,
            shards: get::<i64>(row, 2)?.unsigned_abs(),
            needed: get::<i64>(row, 3)?.unsigned_abs(),
            expired_for: now.saturating_since(get(row, 4)?),
        })
    });
    Ok(Finding::dead_leases(Check::Leases, &dead.collect::<Result<Vec<_>, StoreError>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journal_is_judged_by_its_mode_and_its_length() {
        assert_eq!(judge_journal("wal", 0).verdict, Verdict::Ok);
        assert_eq!(judge_journal("wal", LOG_BYTES_MAX).verdict, Verdict::Ok);
        let long = judge_journal("wal", LOG_BYTES_MAX + 1);
        assert!(long.verdict == Verdict::Warning && long.found.contains("has 128.0 MB"), "{long:?}");
        let copy = judge_journal("delete", 0);
        assert!(copy.verdict == Verdict::Warning && copy.found.contains("`delete`"), "{copy:?}");
    }

    #[tokio::test]
    async fn examination_that_takes_long_is_ended_and_leaves_the_connection_as_it_was() {
        let path = std::env::temp_dir().join(format!("pgworkflows-diagnosis-{}.db", std::process::id()));
        let store = crate::SqliteStore::open(&path).await.unwrap();
        let file = crate::SqliteStore::builder(&path).check().unwrap();
        let mut connection = file.connect_visitor().await.unwrap();
        let ended = integrity(&mut connection, Duration::ZERO).await.unwrap();
        assert!(ended.verdict == Verdict::Warning && ended.found.contains("too large"), "{ended:?}");
        let whole = integrity(&mut connection, Duration::from_secs(3600)).await.unwrap();
        assert_eq!(whole.verdict, Verdict::Ok, "{whole:?}");
        drop((connection, store));
        for suffix in ["", "-wal", "-shm", "-next", "-now"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
        }
    }
}
