//! Money moves between accounts, each transfer exactly once, and another worker prints the receipts. With `DATABASE_URL`, the
//! accounts are in the schema `transfers` of that PostgreSQL, and survive a `kill -9` of this program at any time; without
//! it, a throw-away server is started.

use pgworkflows::prelude::*;
use pgworkflows::sqlx::{self, PgPool, PgTransaction};
use pgworkflows::{PostgresStore, Transactional, TransactionalActivity};
use pgworkflows_pg_harness::Postgres;

/// The activity queue of the workers that have a printer.
const PRINTERS: &str = "printers";

/// How many transfers this program asks for.
const TRANSFERS: i64 = 200;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    from: String,
    to: String,
    cents: i64,
}

/// Moves the money, unless the payer lacks it. The transaction commits together with the outcome, or not at all.
struct MoveMoney;

#[async_trait]
impl TransactionalActivity for MoveMoney {
    const NAME: &'static str = "move-money";
    type Input = Order;
    type Output = bool;

    async fn execute(
        &self,
        transaction: &mut PgTransaction<'_>,
        _: ActivityContext,
        order: Order,
    ) -> ActivityResult<bool> {
        // Both accounts in the order of their names, so that two transfers never wait for each other.
        let accounts =
            "select name, cents from transfers.accounts where name in ($1, $2) order by name for update";
        let accounts: Vec<(String, i64)> =
            sqlx::query_as(accounts).bind(&order.from).bind(&order.to).fetch_all(&mut **transaction).await?;
        if !accounts.iter().any(|(name, cents)| *name == order.from && *cents >= order.cents) {
            return Ok(false);
        }
        let book = "update transfers.accounts set cents = cents + $2 where name = $1";
        for (name, cents) in [(&order.from, -order.cents), (&order.to, order.cents)] {
            sqlx::query(book).bind(name).bind(cents).execute(&mut **transaction).await?;
        }
        Ok(true)
    }
}

/// Prints a receipt, on a worker that has a printer.
struct PrintReceipt;

#[async_trait]
impl Activity for PrintReceipt {
    const NAME: &'static str = "print-receipt";
    type Input = Order;
    type Output = ();

    async fn execute(&self, _: ActivityContext, order: Order) -> ActivityResult<()> {
        say(format!("receipt: {} paid {} cents to {}", order.from, order.cents, order.to));
        Ok(())
    }
}

struct Transfer;

impl Workflow for Transfer {
    const NAME: &'static str = "transfer";
    type Input = Order;
    type Output = bool;

    async fn run(ctx: Context, order: Order) -> WorkflowResult<bool> {
        let paid = ctx.activity::<Transactional<MoveMoney>>(order.clone()).await?;
        if paid {
            ctx.activity::<PrintReceipt>(order).queue(PRINTERS).await?;
        }
        Ok(paid)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    match std::env::var("DATABASE_URL") {
        Ok(url) => transfer_all(&url).await.map(drop),
        Err(_) => {
            let server = Postgres::start()?;
            transfer_all(&server.url()).await.map(drop)
        }
    }
}

/// Makes all transfers, or those that are left of an earlier execution. Returns how many were paid, and the sum of all
/// accounts.
async fn transfer_all(url: &str) -> Result<(usize, i64)> {
    let (store, pool) = (PostgresStore::connect(url).await?, PgPool::connect(url).await?);
    create_accounts(&pool).await?;

    // Usually processes of their own. The second one executes activities and no workflows.
    let worker = Worker::builder(store.clone())
        .workflow::<Transfer>()
        .activity(store.transactional(MoveMoney))
        .lease_ttl(Duration::from_secs(2))
        .build()?;
    let printer =
        Worker::builder(store.clone()).activity(PrintReceipt).activity_queue(PRINTERS, 4).build()?;
    let (stop, stopped) = tokio::sync::watch::channel(());
    let mut workers = tokio::task::JoinSet::new();
    for worker in [worker, printer] {
        let mut stopped = stopped.clone();
        workers.spawn(worker.run_until(async move { drop(stopped.changed().await) }));
    }

    // The key makes each transfer happen once, however often this program is killed and started again.
    let (client, mut runs) = (Client::new(store), Vec::new());
    for number in 0..TRANSFERS {
        let (from, to) = if number % 3 == 0 { ("Ada", "Grace") } else { ("Grace", "Ada") };
        let order = Order { from: from.to_owned(), to: to.to_owned(), cents: 1 + number % 7 };
        runs.push(client.start::<Transfer>(order).key(format!("transfer {number}")).await?);
    }
    let mut paid = 0;
    for run in runs {
        paid += usize::from(run.result().await?);
    }
    drop(stop);
    while let Some(ended) = workers.join_next().await {
        ended??;
    }

    let accounts: Vec<(String, i64)> =
        sqlx::query_as("select name, cents from transfers.accounts order by name").fetch_all(&pool).await?;
    for (name, cents) in &accounts {
        say(format!("{name} has {cents} cents"));
    }
    Ok((paid, accounts.iter().map(|(_, cents)| cents).sum()))
}

async fn create_accounts(pool: &PgPool) -> Result<()> {
    for statement in [
        "create schema if not exists transfers",
        "create table if not exists transfers.accounts (name text primary key, cents bigint not null check (cents >= 0))",
        "insert into transfers.accounts values ('Ada', 500), ('Grace', 100) on conflict do nothing",
    ] {
        sqlx::query(statement).execute(pool).await?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this program prints its progress to standard output")]
fn say(line: impl std::fmt::Display) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn transfers_happen_once_however_often_the_program_is_started() -> Result<()> {
        let database = Postgres::shared().create_database()?;
        let first = transfer_all(database.url()).await?;
        assert_eq!(first.1, 600, "no money is made or lost");
        assert!(first.0 > 0);
        let cents = "select cents from transfers.accounts order by name";
        let pool = PgPool::connect(database.url()).await?;
        let before: Vec<(i64,)> = sqlx::query_as(cents).fetch_all(&pool).await?;
        assert_eq!(transfer_all(database.url()).await?, first);
        let after: Vec<(i64,)> = sqlx::query_as(cents).fetch_all(&pool).await?;
        assert_eq!(before, after);
        Ok(())
    }
}
