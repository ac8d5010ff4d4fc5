//! Requests in a transaction: rows of yours and the start of a run are committed together, or not at all. So nothing is lost
//! or doubled between a table and a workflow, and no outbox table is needed.
//!
//! It needs a PostgreSQL: `DATABASE_URL=postgres://… cargo run --example outbox`

#![expect(clippy::print_stdout, reason = "this program shows what happens")]

use pgworkflows::PostgresStore;
use pgworkflows::prelude::*;
use pgworkflows::sqlx::{self, PgPool};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const PAID: Signal<i64> = Signal::new("paid");

#[workflow(name = "invoice")]
async fn invoice(ctx: Context, customer: String) -> WorkflowResult<String> {
    let cents = ctx.wait_for(PAID).await?;
    Ok(format!("{customer} paid {cents} cents"))
}

#[tokio::main]
async fn main() -> Result<()> {
    let Ok(url) = std::env::var("DATABASE_URL") else {
        return Err(
            "this example needs a PostgreSQL: set DATABASE_URL=postgres://user:password@host/database".into(),
        );
    };
    let (store, pool) = (PostgresStore::connect(&url).await?, PgPool::connect(&url).await?);
    let worker = Worker::builder(store.clone()).workflow::<invoice>().build()?;
    let client = Client::new(store);
    worker.run_while(show(&client, &pool)).await?
}

async fn show(client: &Client, pool: &PgPool) -> Result<()> {
    sqlx::query("create table if not exists invoices (number bigserial primary key, customer text)")
        .execute(pool)
        .await?;

    // The row and the run exist from the same moment on.
    let mut transaction = pool.begin().await?;
    let insert = "insert into invoices (customer) values ('Ada') returning number";
    let number: i64 = sqlx::query_scalar(insert).fetch_one(&mut *transaction).await?;
    let start = client.start::<invoice>("Ada".to_owned()).key(format!("invoice:{number}"));
    let run = start.in_transaction(&mut transaction).await?;
    transaction.commit().await?;

    // What is rolled back was never asked for.
    let mut transaction = pool.begin().await?;
    let lost = client.start::<invoice>("Grace".to_owned()).in_transaction(&mut transaction).await?;
    run.signal(PAID, 1).in_transaction(&mut transaction).await?;
    transaction.rollback().await?;
    let unknown = lost.describe().await.is_err_and(|error| error.is_unknown_run());
    println!("the run of the transaction that was rolled back is unknown: {unknown}");

    // A signal joins a transaction as a start does.
    let mut transaction = pool.begin().await?;
    let delete = "delete from invoices where number = $1";
    sqlx::query(delete).bind(number).execute(&mut *transaction).await?;
    run.signal(PAID, 4_900).in_transaction(&mut transaction).await?;
    transaction.commit().await?;
    println!("{}", run.result().await?);
    Ok(())
}
