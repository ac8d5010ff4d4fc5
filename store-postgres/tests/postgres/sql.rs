//! The SQL interface: what psql, triggers and other languages call, in their own transactions.

mod bytes;
mod guide;
mod messages;
mod python;
mod refusals;
mod starts;
mod tasks;
mod views;

use std::time::Duration;

use pgworkflows_core::prelude::*;
use pgworkflows_core::{Client, RunId, Worker};
use serde_json::Value;
use sqlx::postgres::PgDatabaseError;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::*;

/// A caller of SQL functions: one connection.
pub(crate) struct Caller(pub(crate) PgConnection);

/// How a call was refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) hint: String,
}

impl Caller {
    pub(crate) async fn new(world: &World) -> Self {
        Self(world.connection().await)
    }

    pub(crate) async fn at(url: &str) -> Self {
        Self(PgConnection::connect(url).await.unwrap())
    }

    /// The text of an expression's value; `None` if it is null.
    pub(crate) async fn try_text(&mut self, expression: &str) -> Result<Option<String>, Refusal> {
        let query = sqlx::query_scalar(AssertSqlSafe(format!("select ({expression})::text")));
        query.fetch_one(&mut self.0).await.map_err(|error| {
            let error = error.into_database_error().unwrap_or_else(|| panic!("no answer to {expression}"));
            let error = error.downcast::<PgDatabaseError>();
            let hint = error.hint().unwrap_or_default().to_owned();
            Refusal { code: error.code().to_owned(), message: error.message().to_owned(), hint }
        })
    }

    pub(crate) async fn text(&mut self, expression: &str) -> String {
        self.try_text(expression).await.unwrap().unwrap_or_default()
    }

    pub(crate) async fn json(&mut self, expression: &str) -> Value {
        self.try_text(expression)
            .await
            .unwrap()
            .map_or(Value::Null, |text| serde_json::from_str(&text).unwrap())
    }

    pub(crate) async fn run(&mut self, expression: &str) -> RunId {
        self.text(expression).await.parse().unwrap()
    }

    pub(crate) async fn refused(&mut self, expression: &str) -> Refusal {
        self.try_text(expression).await.expect_err(expression)
    }

    pub(crate) async fn execute(&mut self, statements: &str) {
        execute(&mut self.0, statements).await;
    }

    /// Calls until the value is there.
    pub(crate) async fn until(&mut self, expression: &str) -> Value {
        loop {
            match self.json(expression).await {
                Value::Null => tokio::time::sleep(Duration::from_millis(5)).await,
                value => return value,
            }
        }
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Signup {
    company: String,
    seats: u32,
}

const UPGRADE: Signal<bool> = Signal::new("upgrade");
const ADD: Update<u32, u32> = Update::new("add-seats").check(|seats| match seats {
    0 => Err("no seats".into()),
    _ => Ok(()),
});

/// Waits for a signal, and answers updates until then.
struct Trial;

impl Workflow for Trial {
    const NAME: &'static str = "trial";
    type Input = Signup;
    type Output = String;

    async fn run(ctx: Context, signup: Signup) -> WorkflowResult<String> {
        let seats = Shared::new(signup.seats);
        let state = seats.clone();
        let adding = ctx.serve(ADD, async move |more| {
            state.with(|seats| {
                *seats += more;
                *seats
            })
        });
        let upgraded = ctx.wait_for(UPGRADE).await?;
        adding.drain().await?;
        if !upgraded {
            return Err(WorkflowError::new("not-upgraded", format!("{} went away", signup.company)));
        }
        Ok(format!("{} upgraded with {} seats", signup.company, seats.with(|seats| *seats)))
    }
}

fn worker(world: &World) -> Worker {
    let worker = Worker::builder(world.store.clone()).workflow::<Trial>();
    worker.heartbeat_interval(Duration::from_millis(50)).build().unwrap()
}

fn client(world: &World) -> Client {
    Client::builder(world.store.clone()).poll_interval(Duration::from_millis(50)).build().unwrap()
}
