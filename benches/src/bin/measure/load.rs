//! One load, from its warm-up to its figures. It must not know how they are printed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use clap::{Args, value_parser};
use pgworkflows::Client;
use pgworkflows_benches::Failure;
use pgworkflows_benches::store::{Address, MeasuredStore};
use pgworkflows_benches::workers::{Serves, Workers};
use serde::Serialize;

use crate::count;
use crate::drive::{Driven, Pace, drive};
use crate::figures::{Figure, percentiles, print};
use crate::process::{cpu, peak_memory};
use crate::server::{Server, ServerReading};
use crate::workload::{Kind, Seen, Workload};

#[derive(Clone, Debug, Args, Serialize)]
pub(crate) struct LoadOptions {
    /// Measure the memory store instead of PostgreSQL.
    #[arg(long, conflicts_with_all = ["url", "other_process"])]
    memory: bool,

    /// Where, if that is a database.
    #[command(flatten)]
    #[serde(skip)]
    address: Address,

    /// What is measured.
    #[command(flatten)]
    #[serde(flatten)]
    workload: Workload,

    /// How many seconds before the second of `--workload burst` its first run starts.
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = value_parser!(i64).range(1..=3_600))]
    lead_s: i64,

    /// Runs per repetition.
    #[arg(long, value_name = "N", default_value = "20000", value_parser = count())]
    runs: u64,

    /// Runs before the first repetition, which are not measured [default: a fifth of --runs].
    #[arg(long, value_name = "N", value_parser = count())]
    warm_up: Option<u64>,

    /// Runs that are started one at a time, for their latency.
    #[arg(long, value_name = "N", default_value = "500", value_parser = value_parser!(u64).range(0..=1_000_000))]
    latency_runs: u64,

    /// Runs each worker in a separate process.
    #[arg(long)]
    other_process: bool,

    /// Workers.
    #[arg(long, value_name = "N", default_value = "1", value_parser = value_parser!(u64).range(1..=64))]
    workers: u64,

    /// How many activities each executes at a time.
    #[command(flatten)]
    #[serde(skip)]
    serves: Serves,

    /// Tasks that start runs.
    #[arg(long, value_name = "N", default_value = "8", value_parser = value_parser!(u64).range(1..=10_000))]
    clients: u64,

    /// Runs in flight at a time, over all clients.
    #[arg(long, value_name = "N", default_value = "2000", value_parser = value_parser!(u64).range(1..=1_000_000))]
    in_flight: u64,

    /// Repetitions; the figures are medians, with their least and greatest values.
    #[arg(long, value_name = "N", default_value = "1", value_parser = value_parser!(u64).range(1..=1_000))]
    repeat: u64,

    /// Prints one JSON object instead of a table.
    #[arg(long)]
    #[serde(skip)]
    json: bool,
}

/// Measures what the options say, and prints it. A load with failures has no figures.
pub(crate) async fn run(options: &LoadOptions) -> Result<(), Failure> {
    let measured =
        if options.memory { MeasuredStore::memory() } else { MeasuredStore::at(&options.address).await? };
    let mut server = match &measured.address {
        Some(address) if address.is_server() => Some(Server::connect(address).await?),
        Some(_) | None => None,
    };
    let store = match &mut server {
        Some(server) => server.version().await?,
        None if options.memory => "memory".to_owned(),
        None => "SQLite".to_owned(),
    };
    let mut workers = match &measured.address {
        Some(address) if options.other_process => Workers::outside(address, options.workers, options.serves)?,
        _ => Workers::inside(&measured.store, options.workers, options.serves)?,
    };
    if options.workload.kind == Kind::Tasks {
        let address = measured.address.as_ref().ok_or("`--workload tasks` needs a database")?;
        workers.add_outside(address, Serves { tasks: true, ..options.serves })?;
    }
    let client = Client::new(Arc::clone(&measured.store));
    let mut test = LoadTest { options, client, server, workers, completed: 0 };
    let rows_before = match &mut test.server {
        Some(server) => server.rows().await?,
        None => [0.0; 3],
    };
    test.warm_up().await?;
    let mut repetitions = Vec::new();
    for _ in 0..options.repeat {
        repetitions.push(test.repetition().await?);
    }
    let LoadTest { server, workers, client, completed, .. } = test;
    workers.stop().await?;
    drop((client, measured.store));
    if let Some(mut server) = server {
        server.wait_for_others_to_leave().await?;
        let rows = server.rows().await?;
        let names = ["rows_inserted_per_run", "rows_updated_per_run", "rows_deleted_per_run"];
        for (index, name) in names.into_iter().enumerate() {
            let figure = Figure::new(name, (rows[index] - rows_before[index]) / completed as f64);
            repetitions.iter_mut().for_each(|repetition| repetition.push(figure.clone()));
        }
    }
    print(options.json, serde_json::json!({ "store": store, "options": options }), &repetitions)
}

/// Everything that takes part during the load.
struct LoadTest<'a> {
    options: &'a LoadOptions,
    client: Client,
    server: Option<Server>,
    workers: Workers,
    /// Runs so far, warm-up included.
    completed: u64,
}

/// All counters at one moment.
struct Reading {
    at: Instant,
    server: ServerReading,
    client_cpu: Duration,
    worker_cpu: Duration,
}

impl LoadTest<'_> {
    async fn warm_up(&mut self) -> Result<(), Failure> {
        let runs = self.options.warm_up.unwrap_or_else(|| self.options.runs.div_ceil(5));
        self.drive(Pace { runs, ..self.pace() }).await.map(drop)
    }

    async fn repetition(&mut self) -> Result<Vec<Figure>, Failure> {
        let mut figures = Vec::new();
        if self.options.latency_runs > 0 {
            let one_at_a_time =
                Pace { runs: self.options.latency_runs, clients: 1, in_flight: 1, second: None };
            let idle = self.drive(one_at_a_time).await?;
            figures.extend(latencies(&idle.seen, "idle_"));
        }
        let mut pace = self.pace();
        if self.options.workload.kind == Kind::Burst {
            pace.in_flight = pace.runs;
            pace.second = Some(Utc::now().timestamp_micros() + 1_000_000 * self.options.lead_s);
        }
        let before = self.read().await?;
        let driven = self.drive(pace).await?;
        let after = self.read().await?;
        figures.extend(latencies(&driven.seen, ""));
        self.throughput(&driven, &before, &after, &mut figures).await?;
        Ok(figures)
    }

    fn pace(&self) -> Pace {
        let LoadOptions { runs, clients, in_flight, .. } = *self.options;
        Pace { runs, clients, in_flight, second: None }
    }

    async fn drive(&mut self, pace: Pace) -> Result<Driven, Failure> {
        self.completed += pace.runs;
        drive(&self.client, self.options.workload, pace).await
    }

    async fn read(&mut self) -> Result<Reading, Failure> {
        let server = match &mut self.server {
            Some(server) => server.read().await?,
            None => ServerReading::default(),
        };
        let worker_cpu = self.workers.processes().map(cpu).sum();
        Ok(Reading { at: Instant::now(), server, client_cpu: cpu(std::process::id()), worker_cpu })
    }

    async fn throughput(
        &mut self,
        driven: &Driven,
        before: &Reading,
        after: &Reading,
        figures: &mut Vec<Figure>,
    ) -> Result<(), Failure> {
        let runs = driven.seen.len() as f64;
        let seconds = driven.took.as_secs_f64();
        let (calls, per_run) = self.options.workload.calls();
        let mut add = |name: &str, value: f64| figures.push(Figure::new(name, value));
        add("seconds", seconds);
        add("runs_per_second", runs / seconds);
        add(&format!("{calls}_per_second"), runs * f64::from(per_run) / seconds);

        let client = (after.client_cpu - before.client_cpu).as_secs_f64();
        let worker = (after.worker_cpu - before.worker_cpu).as_secs_f64();
        let server = after.server.cpu.saturating_sub(before.server.cpu).as_secs_f64();
        let elapsed = (after.at - before.at).as_secs_f64();
        add("client_cpu_seconds", client);
        add("worker_cpu_seconds", worker);
        add("server_cpu_seconds", server);
        add("cpu_us_per_run", (client + worker + server) * 1e6 / runs);
        add("cores_used", (client + worker + server) / elapsed);
        add("client_peak_memory_mib", mebibytes(peak_memory(std::process::id())));
        if let Some(peak) = self.workers.processes().map(peak_memory).max() {
            add("worker_peak_memory_mib", mebibytes(peak));
        }
        if let Some(probe) = &mut self.server {
            add("write_commits_per_run", (after.server.writes - before.server.writes) as f64 / runs);
            add("wal_bytes_per_run", (after.server.wal - before.server.wal) as f64 / runs);
            add("connections", probe.connections().await? as f64);
        }
        Ok(())
    }
}

fn latencies(seen: &[Seen], prefix: &str) -> Vec<Figure> {
    let latencies = seen.iter().map(|seen| seen.latency).collect();
    let lateness: Vec<Duration> = seen.iter().filter_map(|seen| seen.lateness).collect();
    let mut figures: Vec<Figure> = percentiles(&format!("{prefix}latency"), latencies).collect();
    if !lateness.is_empty() {
        figures.extend(percentiles(&format!("{prefix}lateness"), lateness));
    }
    figures
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
