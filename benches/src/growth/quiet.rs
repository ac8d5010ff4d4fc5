//! What a worker costs that has nothing to do: processor time, and statements.

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};

use super::Field;
use crate::Failure;
use crate::measure::{Figure, Server, cpu};
use crate::workers::Workers;

/// Until the worker has come up.
const SETTLING: Duration = Duration::from_secs(5);

pub(super) async fn idle(field: &Field<'_>) -> Result<Vec<Figure>, Failure> {
    let log = || {
        field
            .ground
            .server_log()
            .ok_or("statements are counted in the log of a throw-away server: leave --url out")
    };
    log()?;
    let workers = Workers::inside(&field.ground.store, 1)?;
    let mut server = Server::connect(&field.address).await?;
    tokio::time::sleep(SETTLING).await;

    let (own, others) = (cpu("self"), server.read().await?.cpu);
    let began = Instant::now();
    tokio::time::sleep(field.options.time()).await;
    let seconds = began.elapsed().as_secs_f64();
    let own = (cpu("self") - own).as_secs_f64();
    let others = (server.read().await?.cpu - others).as_secs_f64();

    // Once more with every statement in the server's log, which itself costs processor time.
    log_statements(field, "all").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (logged, began) = (statements(&log()?), Instant::now());
    tokio::time::sleep(field.options.time()).await;
    let logged = statements(&log()?) - logged;
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    log_statements(field, "none").await?;
    workers.stop().await?;

    Ok(vec![
        Figure::new("worker_cpu_percent", 100.0 * own / seconds),
        Figure::new("server_cpu_percent", 100.0 * others / seconds),
        Figure::new("statements_per_minute", logged as f64 / minutes),
    ])
}

/// How many statements a server's log shows: those of the simple protocol, and executions of the extended one. What a
/// connection sends to see whether it still lives has no words, and is not counted.
fn statements(log: &str) -> usize {
    let said = |line: &&str| {
        let text = line.split_once("LOG:  statement: ").or_else(|| line.split_once("LOG:  execute "));
        text.is_some_and(|(_, text)| !text.trim().is_empty())
    };
    log.lines().filter(said).count()
}

async fn log_statements(field: &Field<'_>, which: &'static str) -> Result<(), Failure> {
    let mut connection = PgConnection::connect(&field.address.url).await?;
    for statement in
        [format!("alter system set log_statement = '{which}'"), "select pg_reload_conf()".to_owned()]
    {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::statements;

    #[test]
    fn statements_of_both_protocols_are_counted_and_nothing_else() {
        let log = "\
2026-01-01 UTC [7] LOG:  statement: select 1
2026-01-01 UTC [7] LOG:  execute sqlx_s_1: select pgworkflows.tick($1)
2026-01-01 UTC [7] DETAIL:  parameters: $1 = 'x'
2026-01-01 UTC [7] LOG:  statement: 
2026-01-01 UTC [7] LOG:  parameter \"log_statement\" changed to \"all\"
";
        assert_eq!(statements(log), 2);
    }
}
