//! The trial with PgWorkflows 0.1, which this workspace builds and tests.

use std::error::Error;

use pgworkflows::prelude::*;
use pgworkflows_testkit::TestEnv;

use crate::shared::{Decision, Services, Signup};

const UPGRADE: Signal<Decision> = Signal::new("upgrade");

pub(crate) struct Trial(pub(crate) Services);

#[activities]
impl Trial {
    #[activity(name = "provision")]
    async fn provision(&self, ctx: &ActivityContext, company: String) -> ActivityResult<String> {
        // The same in every attempt, so that a retry finds the workspace of the first attempt.
        let id = format!("{}-{}", company.to_lowercase().replace(' ', "-"), ctx.run_id());
        self.0.ask(format!("workspace {id} is ready")).await?;
        Ok(id)
    }

    #[activity(name = "send-welcome")]
    async fn send_welcome(&self, email: String) -> ActivityResult<()> {
        Ok(self.0.ask(format!("welcome, {email}")).await?)
    }

    #[activity(name = "send-reminder")]
    async fn send_reminder(&self, email: String) -> ActivityResult<()> {
        Ok(self.0.ask(format!("{email}: your trial is over, what now?")).await?)
    }

    #[activity(name = "downgrade")]
    async fn downgrade(&self, workspace: String) -> ActivityResult<()> {
        Ok(self.0.ask(format!("workspace {workspace} is on the free tier")).await?)
    }

    #[activity(name = "subscribe")]
    async fn subscribe(&self, ctx: &ActivityContext, id: String, plan: String) -> ActivityResult<()> {
        let key = ctx.idempotency_key();
        Ok(self.0.ask(format!("workspace {id} is billed for {plan}, idempotency key {key}")).await?)
    }
}

#[workflow(name = "trial")]
pub(crate) async fn trial(ctx: Context, signup: Signup) -> WorkflowResult<String> {
    let workspace = ctx.call(Trial::PROVISION, signup.company.clone());
    let welcome = ctx.call(Trial::SEND_WELCOME, signup.email.clone());
    let (workspace, ()) = ctx.when_all((workspace, welcome)).await?;

    ctx.sleep(signup.trial).await?;
    ctx.call(Trial::SEND_REMINDER, signup.email).await?;

    let decision = ctx.wait_for(UPGRADE).await?;
    if !decision.upgraded {
        ctx.call(Trial::DOWNGRADE, workspace).await?;
        return Ok(format!("{} stayed on the free tier.", signup.company));
    }
    ctx.call(Trial::SUBSCRIBE, (workspace, decision.plan.clone()))
        .retry(RetryPolicy::exponential().max_attempts(5))
        .start_to_close(Duration::from_secs(30))
        .await?;
    Ok(format!("{} upgraded to {}.", signup.company, decision.plan))
}

pub(crate) async fn work(database_url: &str, services: Services) -> Result<(), Box<dyn Error>> {
    let store = pgworkflows::connect(database_url).await?;
    let worker = Worker::builder(store).workflow::<trial>().activities(Trial(services)).build()?;
    Ok(worker.run().await?)
}

pub(crate) async fn request(database_url: &str, signup: Signup) -> Result<String, Box<dyn Error>> {
    let client = Client::new(pgworkflows::connect(database_url).await?);
    let run = client.start::<trial>(signup.clone()).key(signup.company).await?;
    run.signal(UPGRADE, Decision::upgrade_to("pro")).await?;
    Ok(run.result().await?)
}

#[tokio::test]
async fn eleven_days_pass_in_a_moment() -> Result<(), Box<dyn Error>> {
    let eleven_days = Duration::from_secs(11 * 24 * 3600);
    let env = TestEnv::builder().workflow::<trial>().activities(Trial(Services::default())).build();
    let run = env.start::<trial>(Signup::of_acme(eleven_days)).await?;
    env.advance(eleven_days).await;
    run.signal(UPGRADE, Decision::upgrade_to("pro")).await?;
    assert_eq!(run.result().await?, "Acme upgraded to pro.");
    Ok(())
}
