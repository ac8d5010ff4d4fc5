//! The SQL functions: calls with odd arguments. Each succeeds, or fails with a code that the guide lists.
//!
//! A server tells a fuzzer nothing of the paths that it takes, and an answer takes a round trip. So a number is the seed of many calls,
//! which one statement makes.

mod arguments;
mod interface;

use std::collections::BTreeMap;
use std::sync::Arc;

use arbitrary::Unstructured;
use pgworkflows::prelude::*;
use pgworkflows::{AnyStore, Error, PostgresStore, RunId};
use pgworkflows_pg_harness::{Database, Postgres};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use self::arguments::{Held, Known};
use self::interface::Interface;
use crate::runs::{self, CARRIERS};
use crate::seeded;

/// The codes of the guide.
const CODES: [&str; 8] = ["PW101", "PW102", "PW103", "PW104", "PW105", "PW106", "PW107", "PW003"];

/// The bytes of which a call is made, at most.
const CALL_BYTES: usize = 400;

/// Opens an executor, and claims tasks.
const HOLD: &str = "
    with opened as materialized (select pgworkflows.open_executor('hostile', lease => '1 day') as executor)
    select o.executor, array(select c.task from pgworkflows.claim_tasks(o.executor, $1, 10) c) from opened o";

/// A database with runs in every state, and a connection that calls the functions.
#[derive(Debug)]
pub struct Functions {
    connection: PgConnection,
    store: AnyStore,
    interface: Interface,
    runs: Vec<RunId>,
    _database: Database,
}

impl Functions {
    /// Makes the database.
    ///
    /// # Errors
    /// Returns the error of the store, which does not answer, say.
    ///
    /// # Panics
    /// Panics if there is no server.
    pub async fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let database = Postgres::shared().create_database()?;
        let store: AnyStore = Arc::new(PostgresStore::builder(database.url()).connect().await?);
        let (runs, _) = runs::populate(&store).await?;
        let mut connection = PgConnection::connect(database.url()).await?;
        let interface = Interface::read(&mut connection).await?;
        Ok(Self { connection, store, interface, runs, _database: database })
    }

    /// A worker that knows the workflows.
    ///
    /// # Errors
    /// Returns the error of its builder.
    pub fn worker(&self) -> Result<Worker, Error> {
        runs::worker(&self.store).build()
    }

    /// Makes that many calls in one transaction, and keeps or forgets what they did. Returns how many of them ended with each code,
    /// or `ok`.
    ///
    /// # Errors
    /// Returns the driver's error if the connection ended.
    ///
    /// # Panics
    /// Panics if a call ends with a code that is not documented.
    pub async fn attempt(
        &mut self,
        seed: u64,
        calls: usize,
        keep: bool,
    ) -> Result<BTreeMap<String, usize>, sqlx::Error> {
        let mut transaction = self.connection.begin().await?;
        // Those that are kept hold no task, or there would be none for others.
        let held = if keep { None } else { Some(hold(&mut transaction).await?) };
        let known = Known::new(&self.runs, held);
        let made: Result<(Vec<i32>, Vec<String>), _> = seeded(seed, calls, CALL_BYTES)
            .map(|bytes| self.interface.call(&mut Unstructured::new(&bytes), &known))
            .collect();
        let (functions, arguments) = made.expect("bytes that end too early are zeros");
        let answers = self.interface.attempt(&mut transaction, &functions, &arguments).await?;
        if keep {
            transaction.commit().await?
        } else {
            transaction.rollback().await?
        }
        let mut counts = BTreeMap::new();
        for ((function, arguments), answer) in functions.iter().zip(&arguments).zip(answers) {
            let code = answer.split(' ').next().unwrap_or_default();
            assert!(
                code == "ok" || CODES.contains(&code),
                "{} {arguments:.2000}: {answer}",
                self.interface.name(*function)
            );
            *counts.entry(code.to_owned()).or_default() += 1;
        }
        Ok(counts)
    }

    /// How many rows a condition holds for, such as `pgworkflows.inbox where shard < 4`.
    ///
    /// # Errors
    /// Returns the driver's error.
    pub async fn count(&mut self, from: &str) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from {from}")))
            .fetch_one(&mut self.connection)
            .await
    }
}

async fn hold(connection: &mut PgConnection) -> Result<Held, sqlx::Error> {
    let (executor, tasks) = sqlx::query_as(HOLD).bind(CARRIERS).fetch_one(connection).await?;
    Ok(Held { executor, tasks })
}
