//! A connection to the file, and statements over many rows. It must not know a table.
//!
//! Each message to the driver's thread and back costs as much as a dozen rows. So no statement is sent per row: rows go as lists of
//! values, of which few lengths exist, so that few texts are prepared and all are kept. And a statement whose answer is not
//! needed waits for the next one whose answer is: a message may have several.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use pgworkflows_core::store::StoreError;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Either};

use crate::error::{later_error, leaves_transaction, store_error};
use crate::values::{Arguments, Column, Value, get};

/// The longest list of values in one statement. SQLite allows 32,766 parameters.
const ROWS_MAX: usize = 256;

/// After so many of its steps, SQLite is asked whether a statement with a time goes on.
const STEPS: i32 = 100;

/// Lists of up to so many rows are not split.
const SHORT_LIST: usize = 8;

/// How many parameters the statements of one message have together, unless it is a single one. Every combination of statements is
/// a text of its own, which is prepared and kept: with more, there would be more of them than are ever used again.
const JOINED_MAX: usize = 64;

/// Fails if what it says does not hold: see [`DEMANDS`].
const DEMAND: &str = "insert into demands (holds, otherwise) values (changes() = ?, ?)";

/// For the connection alone: what is inserted into `demands` has to hold.
pub(crate) const DEMANDS: &str = "
    create temp view demands (holds, otherwise) as select 1, '';
    create temp trigger refuse instead of insert on demands when not new.holds
    begin
        select raise(abort, new.otherwise);
    end";

/// A statement with its parameters.
pub(crate) struct Statement {
    text: Text,
    arguments: Arguments,
}

enum Text {
    Whole(&'static str),
    Made(Arc<str>),
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

    fn text(&self) -> &str {
        match &self.text {
            Text::Whole(text) => text,
            Text::Made(text) => text,
        }
    }

    /// Whether other statements may be in the same message. If its parameters have numbers, these would count from the first one.
    fn may_join(&self) -> bool {
        self.arguments.len() <= JOINED_MAX && !self.text().contains("?1")
    }
}

/// Without the values, which are users' data.
impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
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
    /// Whether the file was opened before, by another connection.
    later: bool,
    /// The texts of statements with lists, by the number of rows.
    texts: HashMap<(&'static str, usize), Arc<str>>,
    /// Statements whose answers are not needed. They are executed before the next other one, in the same message.
    waiting: Vec<Statement>,
    /// Whether an error ended the transaction, or may have done so; or a statement was given up half-way.
    failed: bool,
}

impl Connection {
    pub(crate) fn new(sqlite: SqliteConnection, file: Arc<Path>, later: bool) -> Self {
        Self { sqlite, file, later, texts: HashMap::new(), waiting: Vec::new(), failed: false }
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

    /// Executes a statement before the next one that is awaited. Until then its error is not known, and [`flush`](Self::flush) tells.
    pub(crate) async fn write(&mut self, statement: Statement) -> Result<(), StoreError> {
        self.add(vec![statement], true).await
    }

    /// Executes a statement for all rows, as [`write`](Self::write) does.
    pub(crate) async fn write_all<R>(
        &mut self,
        listed: &Listed,
        rows: &[R],
        add: impl Fn(&mut Arguments, &R),
    ) -> Result<(), StoreError> {
        for part in parts(rows) {
            let statement = self.listed(listed, part, &add, |_| {});
            self.add(vec![statement], part.len() == rows.len()).await?;
        }
        Ok(())
    }

    /// Executes a statement for all rows, as [`write`](Self::write) does. It fails if it does not change as many rows as it is given:
    /// `otherwise` says what that means.
    pub(crate) async fn write_each<R>(
        &mut self,
        listed: &Listed,
        rows: &[R],
        otherwise: &str,
        add: impl Fn(&mut Arguments, &R),
    ) -> Result<(), StoreError> {
        for part in parts(rows) {
            let statement = self.listed(listed, part, &add, |_| {});
            let demand = sql(DEMAND).bind(part.len() as i64).bind(otherwise);
            self.add(vec![statement, demand], part.len() == rows.len()).await?;
        }
        Ok(())
    }

    /// Adds statements that stay together. If they may not be joined with others, they are executed now.
    async fn add(&mut self, statements: Vec<Statement>, may_join: bool) -> Result<(), StoreError> {
        let values = |statements: &[Statement]| -> usize {
            statements.iter().map(|statement| statement.arguments.len()).sum()
        };
        let may_join = may_join && statements.iter().all(Statement::may_join);
        if !may_join || values(&statements) + values(&self.waiting) > JOINED_MAX {
            self.flush().await?;
        }
        self.waiting.extend(statements);
        if may_join { Ok(()) } else { self.flush().await }
    }

    /// Executes the statements that wait.
    pub(crate) async fn flush(&mut self) -> Result<(), StoreError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.send(waiting, |_| true).await
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
        let mut arguments = Arguments::with_capacity(listed.width * part.len());
        for row in part {
            add(&mut arguments, row);
        }
        rest(&mut arguments);
        Statement { text: Text::Made(text), arguments }
    }

    /// Executes what waits, and then a statement whose answer is passed on.
    async fn run(
        &mut self,
        statement: Statement,
        keep: impl FnMut(Either<u64, SqliteRow>) -> bool,
    ) -> Result<(), StoreError> {
        if !statement.may_join() {
            self.flush().await?;
        }
        let mut statements = std::mem::take(&mut self.waiting);
        statements.push(statement);
        self.send(statements, keep).await
    }

    /// Sends statements to the driver's thread, in one message. Passes on what the last one answers.
    async fn send(
        &mut self,
        statements: Vec<Statement>,
        mut keep: impl FnMut(Either<u64, SqliteRow>) -> bool,
    ) -> Result<(), StoreError> {
        let mut left = statements.len();
        if left == 0 {
            return Ok(());
        }
        let keep = |answer: Either<u64, SqliteRow>| {
            left -= usize::from(answer.is_left());
            match answer {
                // Nothing comes after the end of the last one, and no caller waits for that.
                Either::Left(_) if left == 0 => {
                    keep(answer);
                    false
                }
                Either::Right(_) if left == 1 => keep(answer),
                Either::Left(_) | Either::Right(_) => true,
            }
        };
        let (text, arguments) = joined(statements);
        let arguments = arguments.encode();
        let failed = std::mem::replace(&mut self.failed, true);
        let outcome = match text {
            Text::Whole(text) => stream(&mut self.sqlite, sqlx::query_with(text, arguments), keep).await,
            Text::Made(text) => {
                stream(&mut self.sqlite, sqlx::query_with(AssertSqlSafe(text), arguments), keep).await
            }
        };
        self.failed = failed;
        outcome.map_err(|error| self.fail(error))
    }

    fn fail(&mut self, error: sqlx::Error) -> StoreError {
        self.failed |= !leaves_transaction(&error);
        if self.later { later_error(&self.file, error) } else { store_error(&self.file, error) }
    }
}

async fn stream(
    sqlite: &mut SqliteConnection,
    query: sqlx::query::Query<'_, sqlx::Sqlite, SqliteArguments>,
    mut keep: impl FnMut(Either<u64, SqliteRow>) -> bool,
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

/// One text of several statements, with the values of all of their parameters.
fn joined(statements: Vec<Statement>) -> (Text, Arguments) {
    let statements = match <[Statement; 1]>::try_from(statements) {
        Ok([Statement { text, arguments }]) => return (text, arguments),
        Err(several) => several.into_iter(),
    };
    let (mut text, mut arguments) = (String::new(), Arguments::default());
    for statement in statements {
        text.push_str(statement.text());
        text.push(';');
        arguments.extend(statement.arguments);
    }
    (Text::Made(text.into()), arguments)
}

/// The rows in parts. Each has a power of two of them, the largest first; what is short is the last one.
pub(crate) fn parts<R>(mut rows: &[R]) -> impl Iterator<Item = &[R]> {
    std::iter::from_fn(move || {
        let fits = rows.len().min(ROWS_MAX);
        let (part, rest) = rows.split_at(if fits <= SHORT_LIST { fits } else { 1 << fits.ilog2() });
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
    fn long_lists_are_split_into_powers_of_two() {
        let lengths = |rows: usize| parts(&vec![0; rows]).map(<[i32]>::len).collect::<Vec<_>>();
        assert_eq!(lengths(0), [0; 0]);
        assert_eq!(lengths(1), [1]);
        assert_eq!(lengths(7), [7]);
        assert_eq!(lengths(9), [8, 1]);
        assert_eq!(lengths(607), [256, 256, 64, 16, 8, 7]);
    }

    #[tokio::test]
    async fn statements_of_a_message_are_executed_until_one_fails() {
        let sqlite = <SqliteConnection as sqlx::Connection>::connect("sqlite::memory:").await.unwrap();
        let mut connection = Connection::new(sqlite, Path::new("runs.db").into(), false);
        connection.script(DEMANDS).await.unwrap();
        connection.script("create table runs (run integer primary key, state integer)").await.unwrap();
        const INSERT: Listed = Listed { text: "insert into runs values {}", width: 2 };
        const UPDATE: Listed = Listed {
            text: "update runs set state = t.column2 from (values {}) as t where run = t.column1",
            width: 2,
        };
        const NUMBERED: &str = "update runs set state = ?2 where run = ?1";
        let add = |a: &mut Arguments, (run, state): &(i64, i64)| _ = a.add(*run).add(*state);
        // Given rows of which none is written before an answer is wanted
        connection.write_all(&INSERT, &[(1, 10), (2, 20), (3, 30)], add).await.unwrap();
        connection.write_each(&UPDATE, &[(1, 11), (2, 21)], "not there", add).await.unwrap();
        assert_eq!(connection.waiting.len(), 3);
        // When a statement with numbers comes, which stands alone, and another one that is answered
        assert_eq!(connection.execute(sql(NUMBERED).bind(3_u64).bind(31_u64)).await.unwrap(), 1);
        connection.write_all(&INSERT, &[(4, 40)], add).await.unwrap();
        let sum = connection.fetch_value::<i64>(sql("select sum(state) from runs")).await.unwrap();
        // Then each has the values of its own parameters
        assert_eq!(sum, Some(11 + 21 + 31 + 40));

        // When fewer rows change than are given
        connection.write_each(&UPDATE, &[(4, 41), (5, 51)], "not there", add).await.unwrap();
        connection.write_all(&INSERT, &[(6, 60)], add).await.unwrap();
        let refused = connection.flush().await.unwrap_err();
        // Then what comes later is not executed, and the transaction goes on
        assert!(
            matches!(&refused, StoreError::Conflict { reason } if reason.contains("not there")),
            "{refused}"
        );
        assert!(!connection.has_failed());
        let last = connection.fetch_value::<i64>(sql("select max(run) from runs")).await.unwrap();
        assert_eq!(last, Some(4));
    }

    #[test]
    fn list_has_a_parameter_for_each_value() {
        assert_eq!(list(2, 3), "(?,?),(?,?),(?,?)");
    }
}
