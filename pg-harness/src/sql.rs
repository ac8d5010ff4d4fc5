//! Runs single statements from blocking code. It must not hold connections.

use std::thread;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::error::Error;

/// A server that does not answer must not block a test's clean-up.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Runs a statement on a new connection, in a new runtime, on a new thread: async callers must not block on a runtime,
/// and `Drop` cannot await.
pub(crate) fn execute(url: &str, statement: &str) -> Result<(), Error> {
    let outcome = thread::scope(|scope| {
        scope.spawn(|| on_a_new_runtime(url, statement)).join().unwrap_or_else(|_panic| {
            Err(sqlx::Error::Io(std::io::Error::other("the thread of the statement panicked")))
        })
    });
    outcome.map_err(|error| Error::new(format!("`{statement}` on {}: {error}", without_password(url))))
}

fn on_a_new_runtime(url: &str, statement: &str) -> Result<(), sqlx::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let work = async {
            let mut connection = PgConnection::connect(url).await?;
            connection.execute(AssertSqlSafe(statement)).await?;
            connection.close().await
        };
        tokio::time::timeout(TIMEOUT, work)
            .await
            .unwrap_or_else(|_elapsed| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
    })
}

/// Errors end up in the output of continuous integration, which must not contain a password.
fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) => format!("{}://…{}", &url[..scheme], &url[at..]),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{execute, without_password};

    #[test]
    fn errors_name_the_server_but_no_password() {
        let url = "postgres://me:secret@127.0.0.1:1/db";
        assert_eq!(without_password(url), "postgres://…@127.0.0.1:1/db");

        let error = execute(url, "SELECT 1").unwrap_err().to_string();

        assert!(error.contains("SELECT 1") && error.contains("127.0.0.1:1"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}
