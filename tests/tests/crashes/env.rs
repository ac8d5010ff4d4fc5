//! A database of one's own, a client of it, and the trial that most tests watch.

use std::time::Duration;

use pgworkflows::{Client, Error, PostgresStore, RunHandle};
use pgworkflows_examples::trial::{Signup, TrialOnboarding, UPGRADE, UpgradeDecision};
use pgworkflows_pg_harness::{Database, Postgres};
use sqlx::{Connection, PgConnection};

use crate::log::Log;
use crate::wait::{PATIENCE, until};

/// Few shards, so that runs meet one another.
pub(crate) const SHARDS: u16 = 4;

/// How long trials last here: long enough that a run parks.
pub(crate) const TRIAL: Duration = Duration::from_millis(300);

/// A migrated database with a client.
pub(crate) struct World {
    pub(crate) store: PostgresStore,
    pub(crate) client: Client,
    database: Database,
}

impl World {
    /// On the server that all tests share.
    pub(crate) async fn new() -> Self {
        Self::on(Postgres::shared().create_database().unwrap()).await
    }

    /// On that database.
    pub(crate) async fn on(database: Database) -> Self {
        let store = PostgresStore::connect(database.url()).await.unwrap();
        let client = Client::builder(store.clone()).queue_shards(SHARDS).build().unwrap();
        Self { store, client, database }
    }

    pub(crate) fn url(&self) -> &str {
        self.database.url()
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// A connection past the store.
    pub(crate) async fn connection(&self) -> PgConnection {
        PgConnection::connect(self.url()).await.unwrap()
    }

    /// Runs a statement past the store.
    pub(crate) async fn execute(&self, sql: &'static str) {
        sqlx::query(sql).execute(&mut self.connection().await).await.unwrap();
    }

    /// Makes the table in which `trial_worker` records what it executes.
    pub(crate) async fn make_executions(&self) {
        self.execute(
            "create table executions (
                 id bigint generated always as identity, process int, activity text,
                 resumed boolean, run_id uuid, seq_seen int)",
        )
        .await;
    }

    /// Starts a company's trial.
    pub(crate) async fn start_trial(&self, company: &str) -> Result<RunHandle<TrialOnboarding>, Error> {
        let email = format!("owner@{company}.example");
        let signup = Signup { company: company.to_owned(), email, trial: TRIAL };
        self.client.start::<TrialOnboarding>(signup).key(company).await
    }

    /// Decides for `pro` when the run waits for a decision, and gives the result.
    pub(crate) async fn finish_trial(&self, run: &RunHandle<TrialOnboarding>) -> String {
        until("the run waits for a decision", async || {
            let info = run.describe().await.unwrap();
            info.waiting_on.is_some_and(|what| what.contains("signal `upgrade`")).then_some(())
        })
        .await;
        decide(run).await.unwrap();
        run.result().timeout(PATIENCE).await.unwrap()
    }

    /// All that the log holds.
    pub(crate) async fn log(&self) -> Log {
        self.try_log().await.unwrap()
    }

    /// The same, if the server answers.
    pub(crate) async fn try_log(&self) -> Option<Log> {
        Log::read(&mut PgConnection::connect(self.url()).await.ok()?).await.ok()
    }
}

/// Sends the decision.
pub(crate) async fn decide(run: &RunHandle<TrialOnboarding>) -> Result<(), Error> {
    let decision = UpgradeDecision { upgraded: true, plan: "pro".to_owned() };
    run.signal(UPGRADE, decision).key("the decision").await
}
