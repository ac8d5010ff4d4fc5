//! A worker process of the trial workflow that a test can lose at an exact moment. It works on the database at
//! `DATABASE_URL` until it is killed, and says each of its appends on standard output. It judges nothing.
//!
//! `trial_worker [kill|stop before|after N]`: it sends itself `SIGKILL` or `SIGSTOP` before it sends its Nth
//! append, or when that is committed and before anybody has learned of it.

use std::error::Error;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use pgworkflows::id::LeaseId;
use pgworkflows::store::{Append, Appended, Session, StoreError};
use pgworkflows::{PostgresStore, Worker};
use pgworkflows_examples::trial::{self, Story};
use pgworkflows_tests::{Interference, around};
use sqlx::{Connection, PgConnection};

/// As short as a lease may be: tests wait for takeovers.
const LEASE_TTL: Duration = Duration::from_secs(1);

/// Whether this process was stopped, and goes on.
static RESUMED: AtomicBool = AtomicBool::new(false);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("DATABASE_URL")?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let fate = Fate::parse(&arguments)?;
    let store = around(PostgresStore::connect(&url).await?, Arc::new(fate));
    let story = recorder(url);
    let worker = trial::register(Worker::builder(store), &story).lease_ttl(LEASE_TTL).processors(1);
    worker.build()?.run().await?;
    Ok(())
}

/// Records every execution in the table `executions` of the database, past the engine, with what the log held
/// of its run at that moment: durable before the activity goes on.
fn recorder(url: String) -> Story {
    let (sender, receiver) = mpsc::channel::<(&'static str, String, bool, mpsc::Sender<()>)>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut connection = PgConnection::connect(&url).await?;
            while let Ok((activity, what, resumed, done)) = receiver.recv() {
                sqlx::query(
                    "insert into executions (process, activity, resumed, run_id, seq_seen)
                     select $1, $2, $4, k.run_id, max(e.seq)
                     from pgworkflows.run_keys k
                     join pgworkflows.events e on e.run_id = k.run_id
                     where position(lower(k.key) in lower($3)) > 0
                     group by k.run_id",
                )
                .bind(std::process::id().cast_signed())
                .bind(activity)
                .bind(what)
                .bind(resumed)
                .execute(&mut connection)
                .await?;
                done.send(())?;
            }
            Ok::<_, Box<dyn Error + Send + Sync>>(())
        })
    });
    let sender = Mutex::new(sender);
    Arc::new(move |activity, what| {
        let (done, recorded) = mpsc::channel();
        let execution = (activity, what, RESUMED.load(Ordering::SeqCst), done);
        let sent = sender.lock().is_ok_and(|sender| sender.send(execution).is_ok());
        assert!(sent && recorded.recv().is_ok(), "the recorder of executions is gone");
        say(format!("executed {activity}"));
    })
}

/// When this process ends, and how.
#[derive(Debug)]
struct Fate {
    signal: &'static str,
    moment: Moment,
    append: u64,
    /// How many appends were sent.
    count: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Before,
    After,
    Never,
}

impl Fate {
    fn parse(arguments: &[String]) -> Result<Self, Box<dyn Error>> {
        let fate = |signal, moment, append| Self { signal, moment, append, count: AtomicU64::new(0) };
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let [signal, moment, append] = words[..] else {
            return if words.is_empty() {
                Ok(fate("KILL", Moment::Never, 0))
            } else {
                Err("arguments?".into())
            };
        };
        let signal = match signal {
            "kill" => "KILL",
            "stop" => "STOP",
            other => return Err(format!("`{other}` is neither `kill` nor `stop`").into()),
        };
        let moment = match moment {
            "before" => Moment::Before,
            "after" => Moment::After,
            other => return Err(format!("`{other}` is neither `before` nor `after`").into()),
        };
        Ok(fate(signal, moment, u64::from_str(append)?))
    }

    fn meet(&self, moment: Moment, append: u64, lease: LeaseId) {
        if self.moment == moment && self.append == append {
            say(format!("SIG{} {moment:?} append {append} of lease {lease}", self.signal));
            // By the shell's own `kill`, which every machine has. A stop reaches one thread after the other: this
            // one must not go on before the process is stopped.
            let stopped = "while ! ps -o stat= -p $1 | grep -q '^T'; do :; done";
            let script = format!("kill -{0} $1; test {0} = KILL || {stopped}", self.signal);
            let process = std::process::id().to_string();
            let sent = std::process::Command::new("sh").args(["-c", &script, "sh", &process]).status();
            assert!(sent.is_ok_and(|status| status.success()), "the signal could not be sent");
            RESUMED.store(true, Ordering::SeqCst);
            if self.signal == "KILL" {
                // It is on its way, and this thread does nothing more.
                loop {
                    std::thread::park();
                }
            }
        }
    }
}

#[async_trait]
impl Interference for Fate {
    async fn append(&self, session: &mut dyn Session, append: &Append) -> Result<Appended, StoreError> {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        self.meet(Moment::Before, count, append.lease);
        let appended = session.append(append).await;
        if appended.is_ok() {
            self.meet(Moment::After, count, append.lease);
        }
        let outcome = match &appended {
            Ok(_) => "committed",
            Err(StoreError::Fenced { .. }) => "fenced",
            Err(_) => "failed",
        };
        say(format!("append {count} of lease {}: {outcome}", append.lease));
        appended
    }
}

#[expect(clippy::print_stdout, reason = "the test reads it")]
fn say(line: impl std::fmt::Display) {
    println!("{line}");
}
