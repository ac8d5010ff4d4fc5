//! The environment of one test: a database, a client, and the trial that most tests run.

use std::time::Duration;

use pgworkflows::{Client, Error, PostgresStore, RunHandle};
use pgworkflows_examples::trial::{Signup, UPGRADE, UpgradeDecision, trial_onboarding};
use pgworkflows_pg_harness::{Database, Postgres};
use pgworkflows_tests::{DEADLINE, eventually};
use sqlx::{Connection, PgConnection};

use crate::log::Log;

/// Few shards, so that runs share them.
pub(crate) const SHARDS: u16 = 4;

/// How long a trial lasts: so long that its run parks.
pub(crate) const TRIAL: Duration = Duration::from_millis(300);

/// A migrated database with a client.
pub(crate) struct PgEnv {
    pub(crate) store: PostgresStore,
    pub(crate) client: Client,
    url: String,
    database: Database,
}

impl PgEnv {
    /// A database on the server that all tests share.
    pub(crate) async fn new() -> Self {
        Self::on(Postgres::shared().create_database().unwrap()).await
    }

    /// An environment on that database.
    pub(crate) async fn on(database: Database) -> Self {
        let url = database.url().to_owned();
        Self::at(&url, database).await
    }

    /// An environment on that database, which is reached by another address than its own.
    pub(crate) async fn at(url: &str, database: Database) -> Self {
        let store = PostgresStore::connect(url).await.unwrap();
        let client = Client::builder(store.clone()).queue_shards(SHARDS).build().unwrap();
        Self { store, client, url: url.to_owned(), database }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// A connection beside the store.
    pub(crate) async fn connection(&self) -> PgConnection {
        PgConnection::connect(self.url()).await.unwrap()
    }

    /// Runs a statement beside the store.
    pub(crate) async fn execute(&self, sql: &'static str) {
        sqlx::query(sql).execute(&mut self.connection().await).await.unwrap();
    }

    /// Creates the table in which `trial_worker` records what it executes.
    pub(crate) async fn create_executions(&self) {
        self.execute(
            "create table executions (
                 id bigint generated always as identity, process int, activity text,
                 resumed boolean, run_id uuid, seq_seen int)",
        )
        .await;
    }

    /// Starts a company's trial.
    pub(crate) async fn start_trial(&self, company: &str) -> Result<RunHandle<trial_onboarding>, Error> {
        let email = format!("owner@{company}.example");
        let signup = Signup { company: company.to_owned(), email, trial: TRIAL };
        self.client.start::<trial_onboarding>(signup).key(company).await
    }

    /// Waits until a trial needs a decision, decides for `pro`, and returns the result.
    pub(crate) async fn finish_trial(&self, run: &RunHandle<trial_onboarding>) -> String {
        eventually("the run waits for a decision", async || {
            let info = run.describe().await.unwrap();
            info.waiting_on.is_some_and(|what| what.contains("signal `upgrade`")).then_some(())
        })
        .await;
        decide(run).await.unwrap();
        run.result().timeout(DEADLINE).await.unwrap()
    }

    /// The whole log.
    pub(crate) async fn log(&self) -> Log {
        Log::read(&mut self.connection().await).await.unwrap()
    }

    /// The whole log, if the server answers.
    pub(crate) async fn try_log(&self) -> Option<Log> {
        Log::read(&mut PgConnection::connect(self.url()).await.ok()?).await.ok()
    }
}

/// Sends the decision of a trial.
pub(crate) async fn decide(run: &RunHandle<trial_onboarding>) -> Result<(), Error> {
    let decision = UpgradeDecision { upgraded: true, plan: "pro".to_owned() };
    run.signal(UPGRADE, decision).key("the decision").await
}

/// The answer, or `None` if the server is unavailable. Panics at any other error.
pub(crate) fn answered<T>(answer: Result<T, Error>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(error) if error.is_unavailable() => None,
        Err(error) => panic!("{error}"),
    }
}
