//! A connection to the file, and statements over many rows. It must not know a table.
//!
//! Each statement is a message to the driver's thread and back, which costs as much as a dozen rows. So no statement is sent per
//! row: rows go as lists of values, whose lengths are powers of two, so that few texts are prepared and all are kept.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use pgworkflows_core::store::StoreError;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Either};

use crate::error::{leaves_transaction, store_error};
use crate::values::{Arguments, Column, Value, get};

/// The longest list of values in one statement. SQLite allows 32,766 parameters.
const ROWS_MAX: usize = 256;

/// After so many of its steps, SQLite is asked whether a statement with a time goes on.
const STEPS: i32 = 100;

/// A statement with its parameters.
pub(crate) struct Statement {
    text: Text,
    arguments: Arguments,
}

enum Text {
    Whole(&'static str),
    Listed(Arc<str>),
}

/// A statement without lists.
pub(crate) fn sql(text: &'static str) -> Statement {
    Statement { text: Text::Whole(text), arguments: Arguments::default() }
}

impl Statement {
    /// Adds the value of the next parameter.
    pub(crate) fn bind(mut self, value: impl Value) -> Self {
        self.arguments.add(value);
        self
    }
}

/// A statement with one list of values, at the place of `{}` in its text. It is executed for a part of the rows at a time.
pub(crate) struct Listed {
    /// The text. Other parameters are numbered after the list or before it, by their places.
    pub(crate) text: &'static str,
    /// How many values a row has.
    pub(crate) width: usize,
}

/// A connection to the file.
#[derive(Debug)]
pub(crate) struct Connection {
    sqlite: SqliteConnection,
    file: Arc<Path>,
    /// The texts of statements with lists, by the number of rows.
    texts: HashMap<(&'static str, usize), Arc<str>>,
    /// Whether an error ended the transaction, or may have done so; or a statement was given up half-way.
    failed: bool,
}

impl Connection {
    pub(crate) fn new(sqlite: SqliteConnection, file: Arc<Path>) -> Self {
        Self { sqlite, file, texts: HashMap::new(), failed: false }
    }

    /// Whether a statement failed in a way after which the connection is not used again.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Executes a statement, and returns how many rows it changed.
    pub(crate) async fn execute(&mut self, statement: Statement) -> Result<u64, StoreError> {
        let mut changed = 0;
        self.run(statement, |answer| {
            if let Either::Left(changes) = answer {
                changed = changes;
            }
            true
        })
        .await?;
        Ok(changed)
    }

    /// Executes a statement, and returns its rows.
    pub(crate) async fn fetch(&mut self, statement: Statement) -> Result<Vec<SqliteRow>, StoreError> {
        let mut rows = Vec::new();
        self.fetch_while(statement, |row| {
            rows.push(row);
            true
        })
        .await?;
        Ok(rows)
    }

    /// Executes a statement, and returns its first row.
    pub(crate) async fn fetch_first(
        &mut self,
        statement: Statement,
    ) -> Result<Option<SqliteRow>, StoreError> {
        Ok(self.fetch(statement).await?.into_iter().next())
    }

    /// Executes a statement, and returns the first value of its first row.
    pub(crate) async fn fetch_value<T: Column>(
        &mut self,
        statement: Statement,
    ) -> Result<Option<T>, StoreError> {
        self.fetch_first(statement).await?.map(|row| get(&row, 0)).transpose()
    }

    /// Executes a statement, and passes its rows on until `keep` returns false. Later rows are not read, but for a few.
    pub(crate) async fn fetch_while(
        &mut self,
        statement: Statement,
        mut keep: impl FnMut(SqliteRow) -> bool,
    ) -> Result<(), StoreError> {
        self.run(statement, |answer| match answer {
            Either::Right(row) => keep(row),
            Either::Left(_) => true,
        })
        .await
    }

    /// Executes a statement, and returns its rows, or `None` if it took longer than this time. SQLite itself ends it then.
    pub(crate) async fn fetch_within(
        &mut self,
        statement: Statement,
        time: Duration,
    ) -> Result<Option<Vec<SqliteRow>>, StoreError> {
        let ends_at = Instant::now() + time;
        let is_over = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&is_over);
        let in_time = move || {
            let in_time = Instant::now() < ends_at;
            noted.fetch_or(!in_time, Ordering::Relaxed);
            in_time
        };
        let file = Arc::clone(&self.file);
        let failed = |error| store_error(&file, error);
        self.sqlite.lock_handle().await.map_err(failed)?.set_progress_handler(STEPS, in_time);
        let fetched = self.fetch(statement).await;
        self.sqlite.lock_handle().await.map_err(failed)?.remove_progress_handler();
        if is_over.load(Ordering::Relaxed) { Ok(None) } else { fetched.map(Some) }
    }

    /// Executes statements that are given as one text, without parameters.
    pub(crate) async fn script(&mut self, text: &'static str) -> Result<(), StoreError> {
        let outcome = sqlx::Executor::execute(&mut self.sqlite, sqlx::raw_sql(text)).await;
        outcome.map(drop).map_err(|error| self.fail(error))
    }

    /// Executes a statement for all rows, and returns how many rows it changed.
    pub(crate) async fn execute_all<R>(
        &mut self,
        listed: &Listed,
        rows: &[R],
        add: impl Fn(&mut Arguments, &R),
    ) -> Result<u64, StoreError> {
        let mut changed = 0;
        for part in parts(rows) {
            let statement = self.listed(listed, part, &add, |_| {});
            changed += self.execute(statement).await?;
        }
        Ok(changed)
    }

    /// Executes a statement for all rows, and returns the rows of the answers. `rest` adds the parameters after the list.
    pub(crate) async fn fetch_all<R>(
        &mut self,
        listed: &Listed,
        rows: &[R],
        add: impl Fn(&mut Arguments, &R),
        rest: impl Fn(&mut Arguments),
    ) -> Result<Vec<SqliteRow>, StoreError> {
        let mut answers = Vec::new();
        for part in parts(rows) {
            let statement = self.listed(listed, part, &add, &rest);
            self.fetch_while(statement, |row| {
                answers.push(row);
                true
            })
            .await?;
        }
        Ok(answers)
    }

    /// The statement for one part of the rows.
    pub(crate) fn listed<R>(
        &mut self,
        listed: &Listed,
        part: &[R],
        add: impl Fn(&mut Arguments, &R),
        rest: impl Fn(&mut Arguments),
    ) -> Statement {
        let make = || Arc::from(listed.text.replacen("{}", &list(listed.width, part.len()), 1));
        let text = Arc::clone(self.texts.entry((listed.text, part.len())).or_insert_with(make));
        let mut arguments = Arguments::default();
        for row in part {
            add(&mut arguments, row);
        }
        rest(&mut arguments);
        Statement { text: Text::Listed(text), arguments }
    }

    async fn run(
        &mut self,
        statement: Statement,
        mut keep: impl FnMut(Either<u64, SqliteRow>) -> bool,
    ) -> Result<(), StoreError> {
        let Statement { text, arguments: Arguments(arguments) } = statement;
        let failed = std::mem::replace(&mut self.failed, true);
        let outcome = match text {
            Text::Whole(text) => stream(&mut self.sqlite, sqlx::query_with(text, arguments), &mut keep).await,
            Text::Listed(text) => {
                stream(&mut self.sqlite, sqlx::query_with(AssertSqlSafe(text), arguments), &mut keep).await
            }
        };
        self.failed = failed;
        outcome.map_err(|error| self.fail(error))
    }

    fn fail(&mut self, error: sqlx::Error) -> StoreError {
        self.failed |= !leaves_transaction(&error);
        store_error(&self.file, error)
    }
}

async fn stream(
    sqlite: &mut SqliteConnection,
    query: sqlx::query::Query<'_, sqlx::Sqlite, SqliteArguments>,
    keep: &mut impl FnMut(Either<u64, SqliteRow>) -> bool,
) -> Result<(), sqlx::Error> {
    let mut answers = sqlx::Executor::fetch_many(sqlite, query);
    while let Some(answer) = answers.try_next().await? {
        let answer = match answer {
            Either::Left(result) => Either::Left(result.rows_affected()),
            Either::Right(row) => Either::Right(row),
        };
        if !keep(answer) {
            break;
        }
    }
    Ok(())
}

/// The rows in parts, each of which has a power of two of them, the largest first.
pub(crate) fn parts<R>(mut rows: &[R]) -> impl Iterator<Item = &[R]> {
    std::iter::from_fn(move || {
        let fits = rows.len().min(ROWS_MAX);
        let (part, rest) = rows.split_at(if fits == 0 { 0 } else { 1 << fits.ilog2() });
        rows = rest;
        Some(part).filter(|part| !part.is_empty())
    })
}

/// `(?,?),(?,?)`: so many rows of so many values.
fn list(width: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; width].join(","));
    vec![row; rows].join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_split_into_powers_of_two() {
        let lengths = |rows: usize| parts(&vec![0; rows]).map(<[i32]>::len).collect::<Vec<_>>();
        assert_eq!(lengths(0), [0; 0]);
        assert_eq!(lengths(1), [1]);
        assert_eq!(lengths(7), [4, 2, 1]);
        assert_eq!(lengths(600), [256, 256, 64, 16, 8]);
    }

    #[test]
    fn list_has_a_parameter_for_each_value() {
        assert_eq!(list(2, 3), "(?,?),(?,?),(?,?)");
    }
}
