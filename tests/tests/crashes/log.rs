//! The log as stored in the database, and what must always be true of it. It does not use the engine.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;

/// One event of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogEvent {
    pub(crate) run: String,
    pub(crate) seq: i32,
    pub(crate) shard: i16,
    pub(crate) position: i64,
    pub(crate) name: String,
}

/// The log, by run and `seq`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log(pub(crate) Vec<LogEvent>);

impl Log {
    pub(crate) async fn read(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let rows: Vec<(String, i32, i16, i64, String)> = sqlx::query_as(
            "select run_id::text, seq, shard, position, name from pgworkflows.history order by run_id, seq",
        )
        .fetch_all(connection)
        .await?;
        let event = |(run, seq, shard, position, name)| LogEvent { run, seq, shard, position, name };
        Ok(Self(rows.into_iter().map(event).collect()))
    }

    /// The names of a run's events.
    pub(crate) fn names(&self, run: pgworkflows::RunId) -> Vec<&str> {
        let run = run.to_string();
        self.0.iter().filter(|event| event.run == run).map(|event| event.name.as_str()).collect()
    }

    /// How many events of that name there are.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.0.iter().filter(|event| event.name == name).count()
    }

    /// Asserts that no event is missing or duplicated, and none follows the end of a run.
    pub(crate) fn check(&self) {
        let mut runs: BTreeMap<&str, Vec<&LogEvent>> = BTreeMap::new();
        let mut positions: BTreeMap<i16, BTreeSet<i64>> = BTreeMap::new();
        for event in &self.0 {
            runs.entry(&event.run).or_default().push(event);
            assert!(
                positions.entry(event.shard).or_default().insert(event.position),
                "position {} of shard {} is used twice",
                event.position,
                event.shard
            );
        }
        for (run, events) in runs {
            let numbers: Vec<i32> = events.iter().map(|event| event.seq).collect();
            assert!(numbers.iter().copied().eq(1..=events.len() as i32), "run {run} has events {numbers:?}");
            assert!(
                events.is_sorted_by(|a, b| a.position < b.position),
                "the positions of run {run} are not in the order of its events: {events:?}"
            );
            let first = |name: &str| events.iter().position(|event| event.name == name);
            assert_eq!(first("run.started"), Some(0), "run {run} begins with {:?}", events[0]);
            for end in ["run.completed", "run.failed", "run.cancelled", "run.terminated"] {
                let at = first(end).unwrap_or(events.len() - 1);
                assert_eq!(at, events.len() - 1, "run {run} continues after its end: {events:?}");
            }
        }
        for (shard, positions) in positions {
            let count = positions.len() as i64;
            assert!(
                positions.iter().copied().eq(1..=count),
                "the positions of shard {shard} have a gap: {positions:?}"
            );
        }
    }
}
