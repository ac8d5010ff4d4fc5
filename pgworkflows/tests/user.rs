//! A program as users write it: besides the runtime, it depends on `pgworkflows` alone.

use pgworkflows::chrono::Utc;
use pgworkflows::prelude::*;
use pgworkflows::sqlx::{self, Connection, PgConnection};
use pgworkflows::uuid::Uuid;
use pgworkflows::{AnyStore, Error, connect};
use pgworkflows_pg_harness::Postgres;

/// Longer than a slow machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

const ANSWER: Signal<String> = Signal::new("answer");

struct Ask;

#[async_trait]
impl Activity for Ask {
    const NAME: &'static str = "ask";
    type Input = String;
    type Output = String;

    async fn execute(&self, _: ActivityContext, question: String) -> ActivityResult<String> {
        Ok(format!("{question}?"))
    }
}

struct Survey;

impl Workflow for Survey {
    const NAME: &'static str = "survey";
    type Input = String;
    type Output = String;

    async fn run(ctx: Context, question: String) -> WorkflowResult<String> {
        let asked = ctx.activity::<Ask>(question).await?;
        let answer = ctx.wait_for(ANSWER).await?;
        Ok(format!("{asked} {answer}"))
    }
}

/// Runs a worker of the store until `client` is done.
async fn with_worker<T>(store: AnyStore, client: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let worker = Worker::builder(store).workflow::<Survey>().activity(Ask).build()?;
    worker.run_while(client).await?
}

#[tokio::test]
async fn program_runs_on_the_store_at_any_address() {
    let database = Postgres::shared().create_database().unwrap();
    let directory = std::env::temp_dir().join(format!("pgworkflows-user-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = format!("sqlite:{}/runs.db", directory.display());
    for url in ["memory:", &file, database.url()] {
        // Given a store that was chosen by its address
        let store = connect(url).await.unwrap();
        let client = Client::new(store.clone());
        // When a run is started, signalled and awaited
        let requests = async {
            let run = client.start::<Survey>("Why".to_owned()).key(Uuid::from_u128(7).to_string()).await?;
            run.signal(ANSWER, "Because.".to_owned()).await?;
            let result = run.result().timeout(PATIENCE).await?;
            Ok((result, run.describe().await?))
        };
        let (result, described) = with_worker(store, requests).await.unwrap();
        // Then its result is known, and its description has chrono's times
        assert_eq!(result, "Why? Because.");
        assert!(
            described.closed_at > Some(described.created_at) && described.created_at < Utc::now() + PATIENCE
        );
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn request_joins_a_transaction_when_its_store_was_chosen_by_address() {
    // Given a client of a store that was chosen by its address
    let database = Postgres::shared().create_database().unwrap();
    let client = Client::new(connect(database.url()).await.unwrap());
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    // When one start is committed and another rolled back
    let mut transaction = connection.begin().await.unwrap();
    let lost = client.start::<Survey>("Why".to_owned()).in_transaction(&mut transaction).await.unwrap();
    transaction.rollback().await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    let kept = client.start::<Survey>("How".to_owned()).in_transaction(&mut transaction).await.unwrap();
    transaction.commit().await.unwrap();
    // Then one run exists
    assert!(lost.describe().await.unwrap_err().is_unknown_run());
    assert_eq!(kept.describe().await.unwrap().workflow, "survey");
}

#[tokio::test]
async fn foreign_transaction_is_refused_and_stays_usable() {
    // Given clients of memory stores, and a PostgreSQL transaction
    let database = Postgres::shared().create_database().unwrap();
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    let known = pgworkflows::MemoryStore::new();
    for client in [Client::new(connect("memory:").await.unwrap()), Client::new(known)] {
        // When a start and a signal should join it
        let run = client.start::<Survey>("Why".to_owned()).await.unwrap();
        let start =
            client.start::<Survey>("Why".to_owned()).key("why").in_transaction(&mut transaction).await;
        let signal = run.signal(ANSWER, "Because.".to_owned()).in_transaction(&mut transaction).await;
        // Then both are refused with advice, and nothing was started
        for error in [start.unwrap_err(), signal.unwrap_err()] {
            assert!(error.is_foreign_transaction() && !error.is_misconfigured(), "{error:?}");
            assert!(error.to_string().contains("the client's store is not a `PostgresStore`"), "{error}");
        }
        assert!(client.find::<Survey>("why").await.unwrap().is_none());
    }
    sqlx::query("select 1").execute(&mut *transaction).await.unwrap();
}

#[tokio::test]
async fn refused_address_does_not_show_its_password() {
    let database = Postgres::shared().create_database().unwrap();
    let absent = database.url().replacen("://", "://nobody:hunter2@", 1).replacen("postgres@", "", 1);
    for url in [
        "mysql://app:hunter2@localhost/app",
        "postgres:app:hunter2@localhost/app",
        "postgres://app:hunter2@localhost:port/app",
        "memory:hunter2",
        &absent,
    ] {
        let error = connect(url).await.unwrap_err();
        assert!(error.is_misconfigured(), "{url}: {error:?}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
