//! What idle workers cost: processor time, and statements.

use std::time::{Duration, Instant};

use pgworkflows_benches::Failure;
use pgworkflows_benches::workers::{Serves, Workers};

use super::database::GrowingDatabase;
use crate::figures::Figure;
use crate::process::cpu;
use crate::server::Server;

/// Until the workers have come up.
const SETTLING: Duration = Duration::from_secs(5);

pub(super) async fn idle(
    database: &GrowingDatabase,
    workers: u64,
    seconds: u64,
) -> Result<Vec<Figure>, Failure> {
    let logged = || {
        let log = database.measured.server_log();
        log.map(|log| statements(&log))
            .ok_or("statements are counted in the log of a throw-away server: leave --url out")
    };
    logged()?;
    let time = Duration::from_secs(seconds);
    let workers = Workers::outside(&database.address, workers, Serves::default())?;
    let mut server = Server::connect(&database.address).await?;
    tokio::time::sleep(SETTLING).await;

    let own_cpu = || workers.processes().map(cpu).sum::<Duration>();
    let (own, others) = (own_cpu(), server.read().await?.cpu);
    let began = Instant::now();
    tokio::time::sleep(time).await;
    let seconds = began.elapsed().as_secs_f64();
    let own = (own_cpu() - own).as_secs_f64();
    let others = (server.read().await?.cpu - others).as_secs_f64();

    // Once more with every statement in the server's log, which itself costs processor time.
    log_statements(database, "alter system set log_statement = 'all'").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (before, began) = (logged()?, Instant::now());
    tokio::time::sleep(time).await;
    let count = logged()? - before;
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    log_statements(database, "alter system reset log_statement").await?;
    workers.stop().await?;

    Ok(vec![
        Figure::new("worker_cpu_percent", 100.0 * own / seconds),
        Figure::new("server_cpu_percent", 100.0 * others / seconds),
        Figure::new("statements_per_minute", count as f64 / minutes),
    ])
}

/// How many statements a server's log shows: those of the simple protocol, and executions of the extended one. The
/// empty statement by which a connection checks that it is alive is not counted.
fn statements(log: &str) -> usize {
    let is_statement = |line: &&str| {
        let text = line.split_once("LOG:  statement: ").or_else(|| line.split_once("LOG:  execute "));
        text.is_some_and(|(_, text)| !text.trim().is_empty())
    };
    log.lines().filter(is_statement).count()
}

async fn log_statements(database: &GrowingDatabase, setting: &'static str) -> Result<(), Failure> {
    let mut connection = database.connect().await?;
    for statement in [setting, "select pg_reload_conf()"] {
        sqlx::query(statement).execute(&mut connection).await?;
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
2026-01-01 UTC [7] LOG:  execute sqlx_s_1: select pgworkflows.heartbeat($1)
2026-01-01 UTC [7] DETAIL:  parameters: $1 = 'x'
2026-01-01 UTC [7] LOG:  statement: 
2026-01-01 UTC [7] LOG:  parameter \"log_statement\" changed to \"all\"
";
        assert_eq!(statements(log), 2);
    }
}
