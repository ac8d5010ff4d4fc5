//! The trial workflow once with each of six systems, to compare their code: `docs/comparison.md`. It must not contain what
//! only one of them needs.
//!
//! The program with PgWorkflows is compiled and executed. The others are formatted like all code of this workspace, but not
//! built, because nothing here should depend on five other engines; `docs/comparison.md` says how they were checked.

#[cfg(false)]
mod dbos;
#[cfg(false)]
mod durable;
#[cfg(false)]
mod duroxide;
mod pgworkflows;
#[cfg(false)]
mod restate;
mod shared;
#[cfg(false)]
mod temporal;

use std::error::Error;
use std::time::Duration;

use pgworkflows_pg_harness::Postgres;

use crate::pgworkflows::{request, work};
use crate::shared::{Services, Signup};

#[tokio::test]
async fn worker_and_client_of_the_comparison_complete_a_trial() -> Result<(), Box<dyn Error>> {
    // Given a database, and a customer whose trial is short
    let database = Postgres::shared().create_database()?;
    let services = Services::default();
    let signup = Signup::of_acme(Duration::from_millis(1));
    // When the worker executes runs until the client has its result
    let outcome = tokio::select! {
        ended = work(database.url(), services.clone()) => return ended,
        outcome = request(database.url(), signup) => outcome?,
    };
    // Then every service was asked once
    assert_eq!(outcome, "Acme upgraded to pro.");
    let asked = services.asked();
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert!(asked[..2].contains(&"welcome, ada@acme.example".to_owned()), "{asked:?}");
    assert!(asked[3].contains("is billed for pro"), "{asked:?}");
    Ok(())
}
