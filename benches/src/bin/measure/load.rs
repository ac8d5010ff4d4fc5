//! One load, from its warm-up to its figures. It must not know how they are printed.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::Utc;
use clap::{Args, value_parser};
use pgworkflows::Client;
use pgworkflows::otel::OtelPropagator;
use pgworkflows_benches::Failure;
use pgworkflows_benches::store::{Address, MeasuredStore};
use pgworkflows_benches::workers::{Serves, Workers};
use serde::Serialize;

use crate::count;
use crate::drive::{Driven, Pace, drive};
use crate::figures::{Figure, percentiles, print};
use crate::process::{cpu, memory, peak_memory};
use crate::server::{Server, ServerReading};
use crate::workload::{Kind, Seen, Workload};

#[derive(Clone, Debug, Args, Serialize)]
pub(crate) struct LoadOptions {
    /// Measure the memory store instead of PostgreSQL.
    #[arg(long, conflicts_with_all = ["url", "other_process", "through_inbox"])]
    memory: bool,

    /// Where, if that is a database.
    #[command(flatten)]
    #[serde(skip)]
    address: Address,

    /// What is measured.
    #[command(flatten)]
    #[serde(flatten)]
    workload: Workload,

    /// Another workload, which is measured by turns with the first: every figure of it that both have is printed as a ratio.
    #[arg(long, value_name = "NAME")]
    against: Option<Kind>,

    /// Activities, signals or children per run of that other workload.
    #[arg(long, value_name = "N", default_value = "1", requires = "against", value_parser = value_parser!(u32).range(1..=100_000))]
    against_size: u32,

    /// Runs per repetition of that other workload [default: as many as the first makes calls].
    #[arg(long, value_name = "N", requires = "against", value_parser = count())]
    against_runs: Option<u64>,

    /// How many seconds before the second of `--workload burst` its first run starts.
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = value_parser!(i64).range(1..=3_600))]
    lead_s: i64,

    /// Runs per repetition.
    #[arg(long, value_name = "N", default_value = "20000", value_parser = count())]
    runs: u64,

    /// Runs before the first repetition, which are not measured [default: a fifth of --runs].
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(0..=100_000_000))]
    warm_up: Option<u64>,

    /// Runs that are started one at a time, for their latency.
    #[arg(long, value_name = "N", default_value = "500", value_parser = value_parser!(u64).range(0..=1_000_000))]
    latency_runs: u64,

    /// Runs each worker in a separate process.
    #[arg(long)]
    other_process: bool,

    /// Has the clients reach the store as those of another process do, so that every start goes through the inbox.
    #[arg(long)]
    through_inbox: bool,

    /// Workers.
    #[arg(long, value_name = "N", default_value = "1", value_parser = value_parser!(u64).range(1..=64))]
    workers: u64,

    /// How many activities each executes at a time, and what is exported.
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
    let exported = options.serves.telemetry.install()?;
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
    let client = Client::builder(match &measured.address {
        Some(address) if options.through_inbox => address.open().await?,
        _ => Arc::clone(&measured.store),
    });
    let client = match options.serves.telemetry.has_traces() {
        true => client.trace_propagator(OtelPropagator).build()?,
        false => client.build()?,
    };
    let mut test = LoadTest { options, client, server, workers, completed: 0 };
    let rows_before = match &mut test.server {
        Some(server) => server.rows().await?,
        None => [0.0; 3],
    };
    test.warm_up().await?;
    let mut repetitions = Vec::new();
    for number in 0..options.repeat {
        repetitions.push(test.repetition(number).await?);
    }
    let LoadTest { server, workers, client, completed, .. } = test;
    workers.stop().await?;
    drop((client, measured.store));
    if options.serves.telemetry.has_traces() {
        let figure = Figure::new("spans_per_run", exported.spans()? as f64 / completed as f64);
        repetitions.iter_mut().for_each(|repetition| repetition.push(figure.clone()));
    }
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
        self.drive(self.options.workload, Pace { runs, ..self.pace() }).await.map(drop)
    }

    async fn repetition(&mut self, number: u64) -> Result<Vec<Figure>, Failure> {
        let Some(kind) = self.options.against else { return self.measure().await };
        let LoadOptions { workload, against_size: size, .. } = *self.options;
        let calls = self.options.runs * u64::from(workload.calls().1);
        let runs = self.options.against_runs.unwrap_or(calls);
        let (other, pace) = (Workload { kind, size, ..workload }, Pace { runs, ..self.pace() });
        // The first to be measured may find the machine in another state than the second.
        let (mut figures, against) = if number.is_multiple_of(2) {
            let against = self.drive(other, pace).await?;
            (self.measure().await?, against)
        } else {
            let figures = self.measure().await?;
            (figures, self.drive(other, pace).await?)
        };
        let (calls, per_run) = other.calls();
        let rate = against.seen.len() as f64 * f64::from(per_run) / against.took.as_secs_f64();
        figures.push(Figure::new(format!("against_{calls}_per_second"), rate));
        let rate = Figure::new(format!("{}_per_second", workload.calls().0), rate);
        let others = std::iter::once(rate).chain(ways(&against.seen));
        let ratios: Vec<_> = others.filter_map(|other| other.ratio_of(&figures)).collect();
        figures.extend(ratios);
        Ok(figures)
    }

    /// One repetition of the workload itself.
    async fn measure(&mut self) -> Result<Vec<Figure>, Failure> {
        let (workload, mut figures) = (self.options.workload, Vec::new());
        if self.options.latency_runs > 0 {
            let one_at_a_time =
                Pace { runs: self.options.latency_runs, clients: 1, in_flight: 1, second: None };
            self.workers.appends().await?;
            let idle = self.drive(workload, one_at_a_time).await?;
            figures.extend(latencies(&idle.seen, "idle_"));
            figures.extend(percentiles("idle_append", self.workers.appends().await?));
        }
        let mut pace = self.pace();
        if workload.kind == Kind::Burst {
            pace.in_flight = pace.runs;
            pace.second = Some(Utc::now().timestamp_micros() + 1_000_000 * self.options.lead_s);
        }
        self.workers.appends().await?;
        let before = self.read().await?;
        let samples = Arc::new(Mutex::new(Vec::new()));
        let watched = self.workers.processes().next().unwrap_or_else(std::process::id);
        let sampling = tokio::spawn(sample_memory(watched, Arc::clone(&samples)));
        let driven = self.drive(workload, pace).await?;
        sampling.abort();
        let after = self.read().await?;
        figures.extend(latencies(&driven.seen, ""));
        figures.extend(percentiles("append", self.workers.appends().await?));
        if workload.kind == Kind::Continue {
            figures.extend(thousands(&driven.seen));
            let samples = samples.lock().map_err(|_| "a sample of the memory panicked")?;
            let (early, late) = (samples.get(samples.len() / 5), samples.last());
            let mut add = |name: &str, bytes: Option<&u64>| {
                figures.push(Figure::new(name, mebibytes(bytes.copied().unwrap_or_default())));
            };
            add("memory_after_a_fifth_mib", early);
            add("memory_at_the_end_mib", late);
        }
        self.throughput(&driven, &before, &after, &mut figures).await?;
        Ok(figures)
    }

    fn pace(&self) -> Pace {
        let LoadOptions { runs, clients, in_flight, .. } = *self.options;
        Pace { runs, clients, in_flight, second: None }
    }

    async fn drive(&mut self, workload: Workload, pace: Pace) -> Result<Driven, Failure> {
        self.completed += pace.runs;
        drive(&self.client, workload, pace).await
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
    figures.extend(ways(seen).map(|figure| figure.prefixed(prefix)));
    figures
}

/// How long updates and signals took, there and back.
fn ways(seen: &[Seen]) -> impl Iterator<Item = Figure> + use<> {
    let ways: Vec<Duration> = seen.iter().flat_map(|seen| seen.ways.iter().copied()).collect();
    (!ways.is_empty()).then(|| percentiles("way", ways)).into_iter().flatten()
}

/// What a run of a chain costs early and late.
fn thousands(seen: &[Seen]) -> Vec<Figure> {
    let thousands: Vec<(f64, f64)> = seen.iter().filter_map(|seen| seen.thousands).collect();
    let sum = |of: fn(&(f64, f64)) -> f64| thousands.iter().map(of).sum::<f64>() / thousands.len() as f64;
    if thousands.is_empty() {
        return Vec::new();
    }
    let (second, last) = (sum(|(second, _)| *second), sum(|(_, last)| *last));
    [("second_thousand_ms", second), ("last_thousand_ms", last), ("last_to_second", last / second)]
        .map(|(name, value)| Figure::new(name, value))
        .into()
}

/// Notes how much memory a process holds, ten times per second.
async fn sample_memory(process: u32, samples: Arc<Mutex<Vec<u64>>>) {
    loop {
        if let Ok(mut samples) = samples.lock() {
            samples.push(memory(process));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
