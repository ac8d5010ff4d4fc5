//! The metrics of a worker: counters and histograms that its threads add to without locks, and the snapshot of them that
//! exporters read. One table names them all. It must not know how they are exported.

use std::iter::Sum;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets of every histogram, in microseconds.
const BOUNDS: [u64; 16] = [
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    60_000_000,
    600_000_000,
];

/// Defines from the table what counts, the snapshot, and the list of its metrics.
macro_rules! metrics {
    (
        counters { $($(#[doc = $counter_help:literal])+ $counter:ident,)+ }
        durations { $($(#[doc = $duration_help:literal])+ $duration:ident,)+ }
        gauges { $($(#[doc = $gauge_help:literal])+ $gauge:ident,)+ }
    ) => {
        /// What a worker has done since it was built, and what it is doing: a snapshot that
        /// [`WorkerMonitor::metrics`](crate::worker::WorkerMonitor::metrics) takes. Exporters need not know the fields: see
        /// [`all`](Self::all).
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct WorkerMetrics {
            /// The worker's name.
            pub worker: String,
            /// The queue that it serves.
            pub queue: String,
            $($(#[doc = $counter_help])+ pub $counter: u64,)+
            $($(#[doc = $duration_help])+ pub $duration: Durations,)+
            $($(#[doc = $gauge_help])+ pub $gauge: u64,)+
        }

        impl WorkerMetrics {
            /// Every metric with its name and its description, in the order of the fields.
            ///
            /// ```
            /// # use pgworkflows::{MemoryStore, Worker};
            /// let worker = Worker::builder(MemoryStore::new()).build()?;
            /// let metrics = worker.monitor().metrics();
            /// assert!(metrics.all().iter().any(|metric| metric.name == "pgworkflows_runs_started"));
            /// # Ok::<(), pgworkflows::Error>(())
            /// ```
            pub fn all(&self) -> Vec<Metric<'_>> {
                vec![
                    $(Metric {
                        name: concat!("pgworkflows_", stringify!($counter)),
                        help: concat!($($counter_help),+).trim_ascii(),
                        value: MetricValue::Counter(self.$counter),
                    },)+
                    $(Metric {
                        name: concat!("pgworkflows_", stringify!($duration)),
                        help: concat!($($duration_help),+).trim_ascii(),
                        value: MetricValue::Durations(&self.$duration),
                    },)+
                    $(Metric {
                        name: concat!("pgworkflows_", stringify!($gauge)),
                        help: concat!($($gauge_help),+).trim_ascii(),
                        value: MetricValue::Gauge(self.$gauge),
                    },)+
                ]
            }
        }

        /// What the threads of a worker add to. Aligned, so that what other threads add to is in other lines of the cache; some
        /// CPUs fetch two lines at a time.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub(crate) struct Counted {
            $(pub(crate) $counter: Counter,)+
            $(pub(crate) $duration: Histogram,)+
            /// How many attempts are being executed.
            slots_used: AtomicU64,
        }

        impl Metrics {
            /// What was counted so far. Most gauges are not known here.
            pub(crate) fn snapshot(&self) -> WorkerMetrics {
                WorkerMetrics {
                    $($counter: self.0.iter().map(|counted| counted.$counter.get()).sum(),)+
                    $($duration: self.0.iter().map(|counted| counted.$duration.get()).sum(),)+
                    slots_used: self.0.iter().map(|counted| counted.slots_used.load(Ordering::Relaxed)).sum(),
                    ..WorkerMetrics::default()
                }
            }
        }
    };
}

metrics! {
    counters {
        /// Runs that began.
        runs_started,
        /// Runs that returned a value.
        runs_completed,
        /// Runs that returned an error and are not tried again.
        runs_failed,
        /// Runs that were cancelled.
        runs_cancelled,
        /// Runs that a client ended without asking their code.
        runs_terminated,
        /// Runs that were not over at their deadline.
        runs_timed_out,
        /// Runs that continued as new.
        runs_continued,
        /// Runs that failed and are tried again as a whole.
        runs_retried,
        /// How often a run stalled.
        runs_stalled,
        /// Attempts of activities and steps that began in this process.
        attempts_started,
        /// Attempts of activities and steps that failed in this process.
        attempts_failed,
        /// Appends that the store has acknowledged.
        appends,
        /// Appends that the store has refused, or that failed.
        appends_declined,
        /// Events that were written to the log.
        events_appended,
        /// Bytes of events that were written to the log.
        bytes_appended,
        /// Messages that were taken from the inbox.
        messages_taken,
        /// Leases of processors that were lost.
        leases_lost,
        /// Runs that were taken over, from workers that died or that handed them over.
        runs_taken_over,
    }
    durations {
        /// How long appends took until the store acknowledged them.
        append_seconds,
        /// How long attempts of activities and steps took.
        attempt_seconds,
    }
    gauges {
        /// Shards that the worker owns.
        shards,
        /// Runs in memory; parked runs are not among them, unless they rest there for their next message.
        live_runs,
        /// Bytes that count towards the worker's budget of memory.
        memory_bytes,
        /// The worker's budget of memory in bytes.
        memory_bytes_max,
        /// Attempts of activities and steps that are being executed.
        slots_used,
        /// How many activities and steps the worker executes at a time.
        slots,
    }
}

/// A metric of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric<'a> {
    /// The name, such as `pgworkflows_runs_started`. It never changes. An exporter for Prometheus ends the names of counters
    /// with `_total`.
    pub name: &'static str,
    /// What it says, in a sentence.
    pub help: &'static str,
    /// The value.
    pub value: MetricValue<'a>,
}

/// The value of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricValue<'a> {
    /// A number that only grows.
    Counter(u64),
    /// A number of this moment.
    Gauge(u64),
    /// A histogram of durations.
    Durations(&'a Durations),
}

/// A histogram of durations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// How many durations are in each bucket; those over the last bound are at the end.
    buckets: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

impl Durations {
    /// How many durations there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All durations together.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// The buckets in their order: the longest duration that fits, which is unlimited for the last bucket, and how many
    /// durations fit into it and not into the one before.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let bounds = BOUNDS.into_iter().map(Duration::from_micros).chain([Duration::MAX]);
        bounds.zip(self.buckets)
    }
}

impl Sum for Durations {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |mut sum, part| {
            sum.buckets.iter_mut().zip(part.buckets).for_each(|(bucket, more)| *bucket += more);
            sum.sum += part.sum;
            sum
        })
    }
}

/// The metrics of a worker. Clones share them. Threads add to different places, as far as there are enough, so that none waits
/// for a line of the cache that another one writes to; a snapshot adds the places up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(Arc<[Counted; PLACES]>);

/// How many threads have a place of their own.
const PLACES: usize = 16;

/// The place of the calling thread.
impl std::ops::Deref for Metrics {
    type Target = Counted;

    fn deref(&self) -> &Counted {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static PLACE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % PLACES;
        }
        &self.0[PLACE.with(|place| *place)]
    }
}

impl Metrics {
    /// An attempt begins, in a slot that it has until the guard is dropped.
    pub(crate) fn begin_attempt(&self) -> SlotUsed<'_> {
        let counted = &**self;
        counted.attempts_started.add(1);
        counted.slots_used.fetch_add(1, Ordering::Relaxed);
        SlotUsed(&counted.slots_used)
    }

    pub(crate) fn attempt_ended(&self, took: Duration, succeeded: bool) {
        self.attempts_failed.add((!succeeded).into());
        self.attempt_seconds.note(took);
    }
}

/// A slot that is in use until this is dropped.
#[derive(Debug)]
pub(crate) struct SlotUsed<'a>(&'a AtomicU64);

impl Drop for SlotUsed<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, number: u64) {
        if number > 0 {
            self.0.fetch_add(number, Ordering::Relaxed);
        }
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A histogram that threads add to.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    pub(crate) fn note(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn get(&self) -> Durations {
        let buckets = std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed));
        Durations { buckets, sum: Duration::from_micros(self.micros.load(Ordering::Relaxed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_is_in_the_first_bucket_that_it_fits_into() {
        let metrics = Metrics::default();
        for micros in [0, 500, 501, 600_000_000, 600_000_001] {
            metrics.append_seconds.note(Duration::from_micros(micros));
        }
        let durations = metrics.snapshot().append_seconds;
        let filled: Vec<_> = durations.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(
            filled,
            [
                (Duration::from_micros(500), 2),
                (Duration::from_micros(1_000), 1),
                (Duration::from_secs(600), 1),
                (Duration::MAX, 1),
            ]
        );
        assert_eq!(durations.count(), 5);
        assert_eq!(durations.sum(), Duration::from_micros(1_200_001_002));
    }

    #[test]
    fn what_all_threads_count_is_in_the_snapshot() {
        let metrics = Metrics::default();
        let began = metrics.begin_attempt();
        std::thread::scope(|scope| {
            for _ in 0..2 * PLACES {
                scope.spawn(|| {
                    metrics.runs_started.add(3);
                    let ended = metrics.begin_attempt();
                    metrics.attempt_ended(Duration::from_micros(7), true);
                    drop(ended);
                });
            }
        });
        let counted = metrics.snapshot();
        let threads = 2 * PLACES as u64;
        assert_eq!((counted.runs_started, counted.attempts_started), (3 * threads, threads + 1));
        assert_eq!(counted.attempt_seconds.count(), threads);
        assert_eq!(counted.attempt_seconds.sum(), Duration::from_micros(7 * threads));
        assert_eq!(counted.slots_used, 1);
        drop(began);
        assert_eq!(metrics.snapshot().slots_used, 0);
    }

    #[test]
    fn names_are_unique_and_every_metric_has_a_description() {
        let metrics = WorkerMetrics::default();
        let names: std::collections::BTreeSet<_> = metrics.all().iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), metrics.all().len());
        for metric in metrics.all() {
            assert!(metric.help.ends_with('.') && !metric.help.starts_with(' '), "{metric:?}");
        }
    }
}
