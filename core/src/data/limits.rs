//! Every limit of the library, with its default, in one place. It must not know who enforces them.

use std::time::Duration;

/// How many bytes a payload may have, by default: 2 MiB.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 2 << 20;

/// How deep arrays, maps, variants and `Some`s may be nested in a payload that is written: 128 levels. A variant with
/// several fields counts as two. A payload that is read may be twice as deep.
pub(crate) const PAYLOAD_DEPTH_MAX: usize = 128;

/// How many events a run may have before its worker logs a warning: 10,000.
pub(crate) const HISTORY_EVENTS_WARN: u32 = 10_000;

/// How many events a run may have before it stalls: 50,000.
pub(crate) const HISTORY_EVENTS_MAX: u32 = 50_000;

/// For how long a message that a run has logged is recognised when it is sent again to a run that continues it: a day.
pub(crate) const KNOWN_MESSAGES_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// How many of these messages a run that continues another knows: the last 1,000, so that a chain of runs costs the same
/// however long it is.
pub(crate) const KNOWN_MESSAGES_MAX: usize = 1_000;

/// From how many events on a run that parks rests in memory for a while, because to load it again for each message would take
/// the longer the longer its history is: 100.
pub(crate) const REST_EVENTS_MIN: u32 = 100;

/// How many children a run may carry along when it continues as new: 1,000.
pub(crate) const CHILDREN_CARRIED_MAX: usize = 1_000;

/// How many bytes their outcomes may have together that the run has and has not taken: 32 MiB.
pub(crate) const CHILDREN_CARRIED_BYTES_MAX: usize = 32 << 20;

/// How many bytes of signals and updates a run may leave to the one that continues it: 64 MiB, about as much as the commands of
/// one poll, because the end of the one and the beginning of the other are written in one commit. A run that would leave more
/// stalls before its end; signals that arrive later are undelivered.
pub(crate) const LEFT_BYTES_MAX: usize = 64 << 20;

/// How many bytes the failures of compensations may have together that the end of a run, or of a round, repeats: 8 MiB. Of
/// further ones it names the activity; the history has them.
pub(crate) const UNCOMPENSATED_BYTES_MAX: usize = 8 << 20;

/// How many bytes a name or a key may have.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// How many characters each text of a failure may have; longer texts are cut.
pub(crate) const FAILURE_TEXT_CHARS_MAX: usize = 10_000;

/// How many causes of a failure are recorded; further ones are dropped.
pub(crate) const FAILURE_CAUSES_MAX: usize = 8;

/// How many processes an activity may take down before it fails, by default: those that died while it was under suspicion, or
/// while they had its task.
pub(crate) const ATTEMPTS_LOST_MAX: u32 = 5;

/// How long a task rests that an executor could not begin, because its build cannot read it.
pub(crate) const TASK_UNREADABLE_PAUSE: Duration = Duration::from_secs(30);

/// How long an attempt may have to wait for a slot before it becomes a task, for other workers to execute: some times the
/// few milliseconds that a task takes to reach another worker.
pub(crate) const OVERFLOW_WAIT: Duration = Duration::from_millis(50);

/// How many tasks are claimed, settled, returned or withdrawn at once.
pub(crate) const TASKS_BATCH_MAX: usize = 1_000;

/// How long to wait before a task that somebody has locked is asked for again: it is part of a transaction of the user's that
/// is about to end.
pub(crate) const TASK_LOCKED_PAUSE: Duration = Duration::from_millis(500);

/// How many bytes of tasks are claimed at once, and of outcomes are settled at once: 8 MiB.
pub(crate) const TASKS_BYTES_MAX: usize = 8 << 20;

/// How many tasks may wait to be withdrawn while the store does not answer. Further ones are executed in vain.
pub(crate) const WITHDRAWALS_MAX: usize = 100_000;

/// How many deaths a worker may be told to tolerate.
pub(crate) const DEATHS_MAX: u32 = 1_000;

/// How many owners of a shard must die in a row before its runs come under suspicion, by default.
pub(crate) const DEATHS_BEFORE_SUSPICION: u32 = 3;

/// How long an owner must serve after its recovery to pay off one death of its shards. A run that kills its owners less
/// often is not searched for.
pub(crate) const DEATH_PAID_OFF: Duration = Duration::from_secs(600);

/// How many leases a run may cost its processor, by polls or replays that take too long, before the run is set aside.
pub(crate) const STRIKES_MAX: u32 = 3;

/// How many owners in a row must die while they try a run alone before the run is set aside. It is more than for slow
/// runs, because nothing proves that the run caused the death.
pub(crate) const DEATHS_ALONE_MAX: u32 = 5;

/// How long a suspect is tried at most at first. One that did no harm by then is cleared, even if it is still active,
/// because other suspects wait for their turn.
pub(crate) const TRIAL_MAX: Duration = Duration::from_secs(60);

/// After how many deaths of a shard's owners trials become longer by `TRIAL_MAX`, because the run may kill more slowly than
/// that. A run that kills at once is found after fewer than twice as many.
pub(crate) const DEATHS_PER_TRIAL_MAX: u32 = 10;

/// How many shards a new queue has by default.
pub(crate) const QUEUE_SHARDS: u16 = 64;

/// How many commands and recorded values one poll of a run may produce, because they are written in one commit. Beyond
/// the limit the run stalls. Cancellations are not counted.
pub(crate) const DECISIONS_MAX: usize = 20_000;

/// How many bytes the commands and values of one poll may have together: 64 MiB.
pub(crate) const DECISIONS_BYTES_MAX: usize = 64 << 20;

/// How many bytes a published value of a view may have: 64 KiB. It is written anew whenever it changes, and read by whoever
/// watches it.
pub(crate) const VIEW_BYTES_MAX: usize = 64 << 10;

/// How many attributes a run may have.
pub(crate) const ATTRIBUTES_MAX: usize = 32;

/// How many rounds of compensations of a run may be open at a time.
pub(crate) const ROUNDS_OPEN_MAX: usize = 8;

/// How many views one poll of a run may publish.
pub(crate) const VIEWS_PER_POLL_MAX: usize = 100;

/// How many attributes one poll of a run may set or remove.
pub(crate) const ATTRIBUTES_PER_POLL_MAX: usize = 100;

/// How many signals and updates the span of one poll is linked to: as many links as OpenTelemetry keeps of a span.
pub(crate) const LINKS_PER_PASS_MAX: usize = 128;

/// How many updates of a run may be without a reply. Further ones are refused, so that the memory of a run and the time of its
/// replay are bounded.
pub(crate) const UPDATES_OPEN_MAX: usize = 10_000;

/// How many bytes their requests may have together: 32 MiB. An update of any size fits if there is no other.
pub(crate) const UPDATES_OPEN_BYTES_MAX: usize = 32 << 20;

/// How many characters of a refusal are kept.
pub(crate) const REFUSAL_CHARS_MAX: usize = 4096;

/// After how many bytes of decisions a resumed run processes the rest of its waiting resolutions in another group: 1 MiB.
pub(crate) const RELEASE_BYTES_MAX: usize = 1 << 20;

/// How many events an append holds at most, and how many messages it takes from the inbox without one. A group is never split:
/// one that is larger is an append by itself.
pub(crate) const APPEND_EVENTS_MAX: usize = 5_000;

/// How many bytes of events an append holds at most: 16 MiB. A group is never split. The largest group takes a tenth of
/// what PostgreSQL accepts in one message.
pub(crate) const APPEND_BYTES_MAX: usize = 16 << 20;

/// How many events a frame of the log holds at most. The other events of its run are the next frame of the same append.
pub(crate) const FRAME_EVENTS_MAX: usize = 1_000;

/// How many bytes a frame holds at most, unless one event alone is larger: 1 MiB.
pub(crate) const FRAME_BYTES_MAX: usize = 1 << 20;

/// How many bytes may wait for an append before a processor stops taking messages and outcomes in: 64 MiB. It is less if the
/// worker's budget of memory is small.
pub(crate) const OUTBOX_BYTES_MAX: usize = 64 << 20;

/// How many bytes the store returns at once: of a page of the inbox, of histories that are loaded, and of results for a
/// client that waits for them: 8 MiB.
pub(crate) const PAGE_BYTES_MAX: usize = 8 << 20;

/// How many bytes of a history a client reads at a time for people: 1 MiB.
pub(crate) const HISTORY_PAGE_BYTES: usize = 1 << 20;

/// How many bytes of a running run's history a client reads to say what the run waits for: 1 MiB.
pub(crate) const WAITS_HISTORY_BYTES_MAX: usize = 1 << 20;

/// How often a client reads on in such a history because the run went on meanwhile: 3 times.
pub(crate) const WAITS_READS_MAX: usize = 3;

/// How long a processor works on runs before it turns to heartbeats, appends and effects. A poll that takes longer
/// is not interrupted.
pub(crate) const TURN: Duration = Duration::from_millis(4);

/// How long a worker's lease is valid after each renewal, by default.
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(10);

/// The interval between a worker's heartbeats, which renew its leases and look for work, at most and by default.
pub(crate) const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(2_500);

/// How long a timeout may be: 100 years.
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How many characters a run's row keeps of the description of what the run waits on.
pub(crate) const WAITING_ON_CHARS_MAX: usize = 2_000;

/// How many characters of the last attempt's failure that description shows.
pub(crate) const LAST_FAILURE_CHARS_MAX: usize = 200;

/// How many characters a wait shows of a name, and of a failure: as many as a name may have bytes.
pub(crate) const WAIT_CHARS_MAX: usize = NAME_BYTES_MAX;

/// How many bytes a worker may keep in memory, by default: 256 MiB.
pub(crate) const MEMORY_MAX: usize = 256 << 20;

/// The smallest budget that a worker may be given: 16 KiB, which is room for a few runs.
pub(crate) const MEMORY_MAX_MIN: usize = 16 << 10;

/// How often at most a processor logs that starts are held back.
pub(crate) const HELD_BACK_LOGGED: Duration = Duration::from_secs(60);

/// How long a cancelled attempt may take to end before its future is dropped.
pub(crate) const CANCELLED_GRACE: Duration = Duration::from_secs(10);

/// How many activities and steps a worker executes at a time, by default.
pub(crate) const ACTIVITIES_MAX: usize = 1_000;

/// How long a worker that shuts down waits for running activities, by default.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// How long a shard that goes to another worker waits for running activities and steps, by default.
pub(crate) const HANDOVER_GRACE: Duration = Duration::from_secs(10);

/// How much later than the end of another worker's lease a heartbeat is sent at most, so that not all workers of a queue
/// send theirs at once.
pub(crate) const TAKEOVER_JITTER: Duration = Duration::from_millis(250);

/// How long a worker may take after the grace of its shutdown for its last appends, the release of its leases and the
/// end of its threads; then it gives them up. Any other release of a lease has the same limit.
pub(crate) const SHUTDOWN_HANDOVER: Duration = Duration::from_secs(5);

/// How long a worker may take after the grace of its shutdown for its last appends. What is not answered by then is settled by
/// the release of the leases, for which the rest of `SHUTDOWN_HANDOVER` is left.
pub(crate) const SHUTDOWN_FLUSH: Duration = Duration::from_secs(2);

/// How long the store may leave a worker's request unanswered before the worker's health and the process's log report
/// an error. The log repeats it at this interval.
pub(crate) const UNANSWERED_ERROR: Duration = Duration::from_secs(30);

/// How many leases in a row a processor may lose before the worker's health and the process's log report an error.
pub(crate) const LEASE_LOSSES_ERROR: u32 = 3;

/// How long a lease must be held, and four times its length at least, before earlier losses are forgotten.
pub(crate) const LEASE_SERVED_WELL: Duration = Duration::from_secs(60);

/// How long a processor backs off after it lost its second lease in a row. The delay doubles with every further loss.
pub(crate) const SETBACK_DELAY: Duration = Duration::from_millis(100);

/// How long this backoff may become before jitter, which at most doubles it.
pub(crate) const SETBACK_DELAY_MAX: Duration = Duration::from_secs(15);

/// How often in a row a processor restarts after an error that waiting does not cure (a corrupt answer of the store, a
/// panic) before its worker gives up. With the backoff between, that takes half a minute to a minute.
pub(crate) const SETBACKS_MAX: u32 = 10;

/// How many threads that are stuck in a workflow which never yields a worker replaces: each occupies a core until the
/// process ends. Further ones are not replaced, and if all threads are stuck, the worker gives up.
pub(crate) const THREADS_LEFT_BEHIND_MAX: usize = 4;

/// How long a poll of a workflow may take before the watchdog reports it, by default.
pub(crate) const POLL_WARN: Duration = Duration::from_secs(5);

/// The shortest lease that a worker may ask for.
pub(crate) const LEASE_TTL_MIN: Duration = Duration::from_secs(1);

/// How many bytes the reason of a cancellation or termination may have.
pub(crate) const REASON_BYTES_MAX: usize = 4096;

/// How many lines of a kind about runs a processor writes to the log in a second, and a worker about attempts of steps and
/// about tasks. Further ones are counted.
pub(crate) const LOG_LINES_PER_SECOND: u32 = 20;

/// How long an append may take before the log says so: a second.
pub(crate) const APPEND_SLOW: Duration = Duration::from_secs(1);

/// How often a client retries a request that the store did not answer.
pub(crate) const CLIENT_RETRIES_MAX: usize = 5;

/// How long a client waits before the first retry. The delay doubles with every further one.
pub(crate) const CLIENT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// How long a client derives the store's time from one answer, and starts a workflow in the queue that it found, before it
/// asks the store again.
pub(crate) const CLIENT_CLOCK_AGE_MAX: Duration = Duration::from_secs(60);

/// How long a client starts runs in the default queue because no worker has ever known their workflow, before it asks again.
pub(crate) const CLIENT_QUEUE_UNKNOWN_AGE_MAX: Duration = Duration::from_secs(1);

/// For how many workflows a client remembers the queue.
pub(crate) const CLIENT_PLACES_MAX: usize = 1_000;

/// How long a client waits for the processor of its own process to log a start, before it submits the start to the
/// inbox as well.
pub(crate) const LOCAL_START_PATIENCE: Duration = Duration::from_secs(5);

/// How often a client that waits for results polls the store, hints aside.
pub(crate) const CLIENT_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How long a client whose wait for a result timed out may ask the store what the run waits on, to name it in the error.
pub(crate) const LAST_WORDS_WAIT: Duration = Duration::from_secs(1);

/// How many requests a client submits in one transaction.
pub(crate) const CLIENT_BATCH_MAX: usize = 500;

/// How many bytes these requests may have together: 4 MiB. One that is larger is submitted alone.
pub(crate) const CLIENT_BATCH_BYTES_MAX: usize = 4 << 20;

/// How many of these transactions a client has in flight at a time.
pub(crate) const CLIENT_BATCHES_IN_FLIGHT: usize = 2;

/// How many topics a client asks about in one statement.
pub(crate) const TOPICS_PER_READ: usize = 1_000;

/// How many runs a page of a broadcast has by default.
pub(crate) const BROADCAST_PAGE_RUNS: u32 = 100;

/// How many runs a page of a list may hold.
pub(crate) const LIST_RUNS_MAX: u32 = 1_000;
