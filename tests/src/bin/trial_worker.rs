//! A worker process of the trial workflow that crashes or stops at an exact moment. It serves the database at
//! `DATABASE_URL` until it is killed, or until its input ends: then it shuts down. It prints each of its appends. It must not
//! check anything. A lease lasts `LEASE_SECONDS`, by default 1.
//!
//! `trial_worker [kill|stop before|after N]`: it sends itself `SIGKILL` or `SIGSTOP` before its Nth append, or after
//! that is committed and before the engine learns of it.

use std::error::Error;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use pgworkflows::id::LeaseId;
use pgworkflows::store::{Append, Appended, Session, StoreError};
use pgworkflows::{PostgresStore, Worker};
use pgworkflows_examples::trial::{Onboarding, Services, trial_onboarding};
use pgworkflows_tests::weighed::end_of_input;
use pgworkflows_tests::{Interceptor, intercept};
use sqlx::{Connection, PgConnection};

/// As short as a lease may be: tests wait for takeovers.
const LEASE_SECONDS: &str = "1";

/// Whether this process was stopped, and continues.
static RESUMED: AtomicBool = AtomicBool::new(false);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("DATABASE_URL")?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let crash_point = CrashPoint::parse(&arguments)?;
    let store = intercept(PostgresStore::connect(&url).await?, Arc::new(crash_point));
    let services = record_executions(url);
    let lease = std::env::var("LEASE_SECONDS").unwrap_or(LEASE_SECONDS.to_owned());
    let lease_ttl = Duration::from_secs(lease.parse()?);
    let worker = Worker::builder(store).workflow::<trial_onboarding>().activities(Onboarding { services });
    let worker = worker.lease_ttl(lease_ttl).processors(1);
    worker.build()?.run_until(end_of_input()).await?;
    Ok(())
}

/// Records every execution in the table `executions` of the database, with the last event of its run at that moment.
/// The record is committed before the activity continues.
fn record_executions(url: String) -> Services {
    let (sender, receiver) = mpsc::channel::<(&'static str, String, bool, mpsc::Sender<()>)>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut connection = PgConnection::connect(&url).await?;
            while let Ok((activity, what, resumed, done)) = receiver.recv() {
                sqlx::query(
                    "insert into executions (process, activity, resumed, run_id, seq_seen)
                     select $1, $2, $4, k.run_id, max(f.seq + f.count - 1)
                     from pgworkflows.run_keys k
                     join pgworkflows.frames f on f.run_id = k.run_id
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
        assert!(sent && recorded.recv().is_ok(), "the thread that records executions has ended");
        print(format!("executed {activity}"));
    })
}

/// At which append this process crashes or stops.
#[derive(Debug)]
struct CrashPoint {
    signal: &'static str,
    moment: Moment,
    append: u64,
    /// How many appends there were.
    count: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Before,
    After,
    Never,
}

impl CrashPoint {
    fn parse(arguments: &[String]) -> Result<Self, Box<dyn Error>> {
        let at = |signal, moment, append| Self { signal, moment, append, count: AtomicU64::new(0) };
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let [signal, moment, append] = words[..] else {
            return if words.is_empty() {
                Ok(at("KILL", Moment::Never, 0))
            } else {
                Err("expected no arguments, or a signal, a moment and a number".into())
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
        Ok(at(signal, moment, u64::from_str(append)?))
    }

    fn reach(&self, moment: Moment, append: u64, lease: LeaseId) {
        if self.moment == moment && self.append == append {
            print(format!("SIG{} {moment:?} append {append} of lease {lease}", self.signal));
            // The shell has a `kill` on every machine. A stop reaches one thread after another, and this thread must
            // not continue before the process is stopped.
            let stopped = "while ! ps -o stat= -p $1 | grep -q '^T'; do :; done";
            let script = format!("kill -{0} $1; test {0} = KILL || {stopped}", self.signal);
            let process = std::process::id().to_string();
            let sent = std::process::Command::new("sh").args(["-c", &script, "sh", &process]).status();
            assert!(sent.is_ok_and(|status| status.success()), "the signal could not be sent");
            RESUMED.store(true, Ordering::SeqCst);
            if self.signal == "KILL" {
                // The signal is on its way.
                loop {
                    std::thread::park();
                }
            }
        }
    }
}

#[async_trait]
impl Interceptor for CrashPoint {
    async fn append(&self, session: &mut dyn Session, append: &Append) -> Result<Appended, StoreError> {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        self.reach(Moment::Before, count, append.lease);
        let appended = session.append(append).await;
        if appended.is_ok() {
            self.reach(Moment::After, count, append.lease);
        }
        let outcome = match &appended {
            Ok(_) => "committed",
            Err(StoreError::Fenced { .. }) => "fenced",
            Err(_) => "failed",
        };
        print(format!("append {count} of lease {}: {outcome}", append.lease));
        appended
    }
}

#[expect(clippy::print_stdout, reason = "the test reads the output")]
fn print(line: impl std::fmt::Display) {
    println!("{line}");
}
