//! The trial with the crate `dbos` 0.5.0, after docs.dbos.dev and docs.rs/dbos. The workspace does not build it.

use std::error::Error;
use std::time::Duration;

use dbos::{Client, ClientConfig, Config, DBOS, EnqueueOptions, QueueConflict, QueueOptions, StepOptions};

use crate::shared::{Decision, Services, Signup, Unavailable};

const QUEUE: &str = "trials";
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

type Result<T> = dbos::Result<T, Unavailable>;

#[derive(Clone)]
struct Trial(Services);

impl Trial {
    async fn provision(&self, company: &str) -> Result<String> {
        // The same in every attempt, so that a retry finds the workspace of the first attempt.
        let run = dbos::workflow_id().unwrap_or_default();
        let id = format!("{}-{run}", company.to_lowercase().replace(' ', "-"));
        self.0.ask(format!("workspace {id} is ready")).await?;
        Ok(id)
    }

    async fn send_welcome(&self, email: &str) -> Result<()> {
        Ok(self.0.ask(format!("welcome, {email}")).await?)
    }

    async fn send_reminder(&self, email: &str) -> Result<()> {
        Ok(self.0.ask(format!("{email}: your trial is over, what now?")).await?)
    }

    async fn downgrade(&self, workspace: &str) -> Result<()> {
        Ok(self.0.ask(format!("workspace {workspace} is on the free tier")).await?)
    }

    async fn subscribe(&self, id: &str, plan: &str) -> Result<()> {
        let key = dbos::workflow_id().unwrap_or_default();
        Ok(self.0.ask(format!("workspace {id} is billed for {plan}, idempotency key {key}")).await?)
    }

    async fn run(self, signup: Signup) -> Result<String> {
        let (workspace, ()) = tokio::try_join!(
            dbos::step("provision", || self.provision(&signup.company)),
            dbos::step("send-welcome", || self.send_welcome(&signup.email)),
        )?;

        dbos::sleep(signup.trial).await?;
        dbos::step("send-reminder", || self.send_reminder(&signup.email)).await?;

        let decision: Option<Decision> = dbos::recv(None, YEAR).await?;
        let Some(Decision { plan, .. }) = decision.filter(|decision| decision.upgraded) else {
            dbos::step("downgrade", || self.downgrade(&workspace)).await?;
            return Ok(format!("{} stayed on the free tier.", signup.company));
        };
        let timeout = Some(Duration::from_secs(30));
        let options = StepOptions { max_attempts: 5, timeout, ..Default::default() };
        dbos::step_with("subscribe", options, || self.subscribe(&workspace, &plan)).await?;
        Ok(format!("{} upgraded to {plan}.", signup.company))
    }
}

async fn work(database_url: &str, services: Services) -> dbos::Result<DBOS> {
    let app_version = Some(env!("CARGO_PKG_VERSION").to_owned());
    let dbos = DBOS::new(Config { app_version, ..Config::new("trial", database_url) });
    let trial = Trial(services);
    dbos.register_workflow("trial", move |signup| trial.clone().run(signup))?;
    dbos.launch().await?;
    dbos.register_queue(QUEUE, QueueOptions::default(), QueueConflict::UpdateIfLatestVersion).await?;
    Ok(dbos)
}

async fn request(database_url: &str, signup: Signup) -> std::result::Result<String, Box<dyn Error>> {
    let client = Client::connect(ClientConfig::new(database_url)).await?;
    let workflow_id = Some(signup.company.as_str());
    let options = EnqueueOptions { workflow_id, ..EnqueueOptions::new(QUEUE) };
    let run = client.enqueue_with::<_, String, Unavailable>("trial", &signup, options).await?;
    client.send(run.workflow_id(), &Decision::upgrade_to("pro")).await?;
    Ok(run.result().await?)
}

#[tokio::test]
async fn customer_upgrades() -> std::result::Result<(), Box<dyn Error>> {
    let database_url = std::env::var("DATABASE_URL")?;
    let dbos = work(&database_url, Services::default()).await?;
    let outcome = request(&database_url, Signup::of_acme(Duration::from_millis(1))).await?;
    assert_eq!(outcome, "Acme upgraded to pro.");
    Ok(dbos.shutdown().await)
}
