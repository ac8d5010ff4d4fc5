//! Every limit of the library, with its default. One file, so that nobody has to look for them.

use std::time::Duration;

/// How many bytes one payload may have: 2 MiB.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 2 << 20;

/// How deep a payload may be nested: arrays, maps, variants and `Some`s in each other, 128 of them. A variant with
/// several fields counts twice. What is read may be twice as deep.
pub(crate) const PAYLOAD_DEPTH_MAX: usize = 128;

/// How many events a run may have before its worker warns: 10,000.
pub(crate) const HISTORY_EVENTS_WARN: u32 = 10_000;

/// How many events a run may have before it stalls: 50,000.
pub(crate) const HISTORY_EVENTS_MAX: u32 = 50_000;

/// How many bytes a name or a key may have.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// How many characters each text of a failure may have: what is longer is cut.
pub(crate) const FAILURE_TEXT_CHARS_MAX: usize = 10_000;

/// How many causes of a failure are recorded.
pub(crate) const FAILURE_CAUSES_MAX: usize = 8;

/// How many times an activity under suspicion may take its process with it before it fails.
pub(crate) const ATTEMPTS_LOST_MAX: u32 = 5;

/// How many owners of a shard must die before its runs come under suspicion.
pub(crate) const DEATHS_BEFORE_SUSPICION: u32 = 3;

/// How long an owner must serve, after its recovery ended, to pay off one death of its shards: what kills its owners at
/// longer intervals is not looked for.
pub(crate) const DEATH_PAID_OFF: Duration = Duration::from_secs(600);

/// How often a run must cost its processor the lease, by a poll or a replay that takes too long, before it is set aside.
pub(crate) const STRIKES_MAX: u32 = 3;

/// How many owners in a row must die while they try a run alone before it is set aside. It is more than for slowness, because
/// a death has no witness.
pub(crate) const DEATHS_ALONE_MAX: u32 = 5;

/// How long suspects are tried at most: those that did no harm by then are cleared, whatever they still do, because others
/// wait for their turn.
pub(crate) const TRIAL_MAX: Duration = Duration::from_secs(60);

/// How many shards a new queue has by default.
pub(crate) const QUEUE_SHARDS: u16 = 64;

/// How many commands the code of a run may issue in one poll, and values it may record, together: what it asks for at
/// once is written at once. Beyond it the run stalls. Cancellations are not counted.
pub(crate) const DECISIONS_MAX: usize = 20_000;

/// How many bytes these commands and values may have together: 64 MiB.
pub(crate) const DECISIONS_BYTES_MAX: usize = 64 << 20;

/// From how many bytes of decisions on a run that is released takes the rest of what waits for it into another group:
/// 1 MiB.
pub(crate) const RELEASE_BYTES_MAX: usize = 1 << 20;

/// How many events an append holds at most, one group's own included whole.
pub(crate) const APPEND_EVENTS_MAX: usize = 5_000;

/// How many bytes of events an append holds at most, one group's own included whole: 16 MiB. With the largest group
/// that is a tenth of what PostgreSQL takes in one message.
pub(crate) const APPEND_BYTES_MAX: usize = 16 << 20;

/// How many bytes may wait for an append before a processor takes no more messages in: 64 MiB.
pub(crate) const OUTBOX_BYTES_MAX: usize = 64 << 20;

/// How many bytes a page of the inbox has at most, the part of the histories that is loaded at once, and an answer to a
/// client that waits for results: 8 MiB.
pub(crate) const PAGE_BYTES_MAX: usize = 8 << 20;

/// How long a processor works on runs before it looks after heartbeats, appends and effects. A poll that takes longer
/// is not interrupted.
pub(crate) const TURN: Duration = Duration::from_millis(4);

/// How long a worker's lease is valid after each renewal, by default.
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(15);

/// How often a worker renews its leases and looks for work, at most.
pub(crate) const TICK_INTERVAL: Duration = Duration::from_secs(2);

/// How long a timeout may be: 100 years.
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How many characters of what a run waits on are kept in its row.
pub(crate) const WAITING_ON_CHARS_MAX: usize = 2_000;

/// How many characters of an attempt's failure are shown where it is said what a run waits on.
pub(crate) const LAST_FAILURE_CHARS_MAX: usize = 200;

/// How many runs a processor holds in memory before it takes no more messages in.
pub(crate) const LIVE_RUNS_MAX: usize = 50_000;

/// How long an activity whose token was cancelled may take to end before its future is dropped.
pub(crate) const CANCELLED_GRACE: Duration = Duration::from_secs(10);

/// How many activities and steps a worker executes at a time, by default.
pub(crate) const ACTIVITIES_MAX: usize = 1_000;

/// How long a worker that shuts down waits for running activities, by default.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// How long a worker may take for what comes after the grace of its shutdown: its last appends, the release of its
/// leases, the end of its threads. What is not done by then is left as it is. Any other release may take as long.
pub(crate) const SHUTDOWN_HANDOVER: Duration = Duration::from_secs(5);

/// How long the store may leave a request of a worker unanswered before that is an error: of the worker's health, and in
/// the log, which repeats it as often.
pub(crate) const UNANSWERED_ERROR: Duration = Duration::from_secs(30);

/// How many leases in a row a processor may lose before that is an error, of the worker's health and in the log.
pub(crate) const LEASE_LOSSES_ERROR: u32 = 3;

/// How long a lease must be held, and four times its length at least, before the losses before it are forgotten.
pub(crate) const LEASE_SERVED_WELL: Duration = Duration::from_secs(60);

/// How long a processor rests after it lost its second lease in a row; then twice as long each time.
pub(crate) const SETBACK_DELAY: Duration = Duration::from_millis(100);

/// How long that rest may become, jitter aside, which draws it out to twice its length at most.
pub(crate) const SETBACK_DELAY_MAX: Duration = Duration::from_secs(15);

/// How often in a row a processor begins anew after what no waiting cures (a store that answers what cannot be, a panic)
/// before its worker gives up. With the rests between, that takes half a minute to a minute.
pub(crate) const SETBACKS_MAX: u32 = 10;

/// How many threads a worker leaves behind and replaces, each in a workflow that never yields: every one of them occupies
/// a core until the process ends. Those that come after them are not replaced, and if all are stuck, the worker gives up.
pub(crate) const THREADS_LEFT_BEHIND_MAX: usize = 4;

/// How long a poll of a workflow may take before the watchdog names it, by default.
pub(crate) const POLL_WARN: Duration = Duration::from_secs(5);

/// How short a lease may be.
pub(crate) const LEASE_TTL_MIN: Duration = Duration::from_secs(1);

/// How many bytes the reason of a cancellation or termination may have.
pub(crate) const REASON_BYTES_MAX: usize = 4096;

/// How often a client sends a request again that the store did not answer.
pub(crate) const CLIENT_RETRIES_MAX: usize = 5;

/// How long a client waits before it sends a request again for the first time; then twice as long each time.
pub(crate) const CLIENT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// For how long a client counts on from one answer of the store's clock before it asks again.
pub(crate) const CLIENT_CLOCK_AGE_MAX: Duration = Duration::from_secs(60);

/// How long a client waits for the processor of its own process to log a start, before it submits the start to the
/// inbox as well.
pub(crate) const LOCAL_START_PATIENCE: Duration = Duration::from_secs(5);

/// How often a client that waits for results looks for them without being told.
pub(crate) const CLIENT_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How long a client whose wait for a result timed out asks what the run waits on, to say so in the error.
pub(crate) const LAST_WORDS_WAIT: Duration = Duration::from_secs(1);

/// How many requests a client submits in one transaction.
pub(crate) const CLIENT_BATCH_MAX: usize = 500;

/// How many such transactions a client has under way at a time.
pub(crate) const CLIENT_BATCHES_IN_FLIGHT: usize = 2;

/// How many topics a client asks about in one statement.
pub(crate) const TOPICS_PER_READ: usize = 1_000;

/// How many events of a history a client reads in one statement.
pub(crate) const HISTORY_EVENTS_PER_READ: u32 = 1_000;

/// How many runs a page of a list holds at most.
pub(crate) const LIST_RUNS_MAX: u32 = 1_000;
