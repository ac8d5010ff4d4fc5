//! What must be true afterwards. Every check is a query whose rows are violations; it uses SQL alone, so that the engine does
//! not check itself. It must not know which faults there were.

mod log;
mod promises;
mod talks;
#[cfg(test)]
mod tests;
mod users;
mod writers;

use std::path::Path;

use anyhow::Context;
use pgworkflows::sqlx::{self, PgConnection, raw_sql};

/// Something that must be true.
#[derive(Debug)]
pub(crate) struct Check {
    /// What must be true.
    pub(crate) what: &'static str,
    /// Its counter-examples, each as a text.
    pub(crate) counter_examples: &'static str,
}

/// How many counter-examples of a check are shown.
const SHOWN_MAX: usize = 10;

/// How many facts are inserted at a time.
const FACTS: usize = 1_000;

/// All checks.
fn checks() -> impl Iterator<Item = &'static Check> {
    [log::CHECKS, writers::CHECKS, promises::CHECKS, talks::CHECKS, users::CHECKS].into_iter().flatten()
}

/// Reads the log and the journals into tables for the checks.
pub(crate) async fn read(connection: &mut PgConnection, directory: &Path) -> anyhow::Result<()> {
    let table = "create table chaos.facts (number bigint generated always as identity, fact jsonb not null)";
    sqlx::query(table).execute(&mut *connection).await?;
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "journal") {
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let lines: Vec<&str> = text.lines().collect();
            for lines in lines.chunks(FACTS) {
                let insert = "insert into chaos.facts (fact) select unnest($1::text[])::jsonb";
                sqlx::query(insert).bind(lines).execute(&mut *connection).await?;
            }
        }
    }
    raw_sql(include_str!("../sql/read.sql")).execute(connection).await.context("the log cannot be read")?;
    Ok(())
}

/// The violations, for people.
pub(crate) async fn violations(connection: &mut PgConnection) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    for Check { what, counter_examples } in checks() {
        let found: Vec<Option<String>> = sqlx::query_scalar(*counter_examples)
            .fetch_all(&mut *connection)
            .await
            .with_context(|| format!("the check \"{what}\" cannot be made"))?;
        let more = found.len().saturating_sub(SHOWN_MAX);
        for one in found.into_iter().take(SHOWN_MAX) {
            all.push(format!("not true: {what}: {}", one.unwrap_or_default()));
        }
        if more > 0 {
            all.push(format!("not true: {what}: {more} more"));
        }
    }
    Ok(all)
}
