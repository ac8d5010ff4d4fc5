//! The trial-onboarding workflow, which survives every crash of this program. See `--help`.

mod arguments;
mod follow;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use pgworkflows::{AnyStore, Client, Error, RunHandle, Worker};
use pgworkflows_examples::trial::{Onboarding, Services, Signup, UPGRADE, UpgradeDecision, trial_onboarding};

use self::arguments::{Arguments, Decide, Job};

/// How long after a crash the next process takes over: short, because somebody is watching.
const LEASE_TTL: Duration = Duration::from_secs(2);

/// The file that holds the runs if there is no `DATABASE_URL`.
const FILE: &str = "trial_onboarding.db";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            say(message);
            return ExitCode::from(2);
        }
    };
    match run(arguments).await {
        Ok(last_line) => {
            say(last_line);
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<String, Error> {
    let store = open_store().await?;
    let client = Client::new(store.clone());
    match arguments.job {
        Job::Onboard => onboard(store, &client, &arguments).await,
        Job::Signal => send_decision(&client, &arguments).await,
    }
}

/// Opens the PostgreSQL store at `DATABASE_URL`, or a SQLite file in the current directory.
async fn open_store() -> Result<AnyStore, Error> {
    let (url, place) = match std::env::var("DATABASE_URL") {
        Ok(url) => (url, "the PostgreSQL at DATABASE_URL".to_owned()),
        Err(_) => {
            let path = std::path::absolute(FILE).unwrap_or(FILE.into());
            (format!("sqlite:{}", path.display()), format!("{}; delete it to begin anew", path.display()))
        }
    };
    let store = pgworkflows::connect(&url).await?;
    say(format!("store    {place}"));
    say("         `kill -9` this process at any time, and start it again");
    Ok(store)
}

async fn onboard(store: AnyStore, client: &Client, arguments: &Arguments) -> Result<String, Error> {
    let services: Services = Arc::new(|activity, what| say(format!("ran      {activity}: {what}")));
    let worker = Worker::builder(store).workflow::<trial_onboarding>().activities(Onboarding { services });
    let worker = worker.lease_ttl(LEASE_TTL).build()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = tokio::spawn(worker.run_until(async {
        drop(stopped.await);
    }));

    let handle = start(client, arguments).await?;
    let follower = tokio::spawn(follow::follow(handle.clone()));
    let decider = tokio::spawn(decide(handle.clone(), arguments.decide(std::io::stdin().is_terminal())));
    let outcome = handle.result().await;
    decider.abort();
    follower.abort();

    drop(stop);
    match worker.await {
        Ok(ended) => ended?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
    outcome
}

/// Starts the company's run, or finds the existing one.
async fn start(client: &Client, arguments: &Arguments) -> Result<RunHandle<trial_onboarding>, Error> {
    let company = arguments.company.clone();
    let email = format!("owner@{}.example", company.to_lowercase().replace(' ', "-"));
    let signup = Signup { company: company.clone(), email, trial: arguments.trial };
    let (handle, existing) = match client.start::<trial_onboarding>(signup).key(&company).await {
        // The run was started with another trial period, which it keeps.
        Err(error) if error.is_key_conflict() => match error.run() {
            Some(run) => (client.handle(run), true),
            None => return Err(error),
        },
        Err(error) => return Err(error),
        Ok(handle) => (handle.clone(), handle.is_existing()),
    };
    match existing {
        true => follow::print_log(&handle, &company).await?,
        false => say(format!("started  {company}: run {}", handle.run_id())),
    }
    Ok(handle)
}

/// Sends the decision as soon as the run waits for it.
async fn decide(handle: RunHandle<trial_onboarding>, decide: Decide) -> Result<(), Error> {
    follow::until_waiting_for(&handle, UPGRADE.name()).await?;
    let decision = match decide {
        Decide::Upgrade(plan) => UpgradeDecision { upgraded: true, plan },
        Decide::Stay => UpgradeDecision { upgraded: false, plan: String::new() },
        Decide::Wait => {
            say("waiting  for a decision from another process: `… -- signal --company <name> --decide pro`");
            return Ok(());
        }
        Decide::Ask => {
            say("asking   upgrade to which plan? (a name, e.g. `pro`, or nothing to stay on the free tier)");
            let answer = tokio::task::spawn_blocking(|| {
                let mut line = String::new();
                std::io::stdin().read_line(&mut line).map(|_| line.trim().to_owned())
            });
            let plan = answer.await.ok().and_then(Result::ok).unwrap_or_default();
            UpgradeDecision { upgraded: !plan.is_empty(), plan }
        }
    };
    say(format!("decided  {}", if decision.upgraded { &decision.plan } else { "to stay" }));
    // The key makes this one decision, however often this process is killed and started again.
    handle.signal(UPGRADE, decision).key("the decision").await
}

async fn send_decision(client: &Client, arguments: &Arguments) -> Result<String, Error> {
    let company = &arguments.company;
    let decision = match arguments.decide(false) {
        Decide::Upgrade(plan) => UpgradeDecision { upgraded: true, plan },
        Decide::Stay | Decide::Ask | Decide::Wait => UpgradeDecision { upgraded: false, plan: String::new() },
    };
    match client.find::<trial_onboarding>(company).await? {
        Some(handle) => {
            handle.signal(UPGRADE, decision).key("the decision").await?;
            Ok(format!("The decision of {company} was sent."))
        }
        None => Ok(format!("{company} has no trial: start one with `-- --company {company} --decide ask`.")),
    }
}

#[expect(clippy::print_stdout, reason = "this program prints its progress to standard output")]
fn say(line: impl std::fmt::Display) {
    println!("{line}");
}
