//! The trial with `durable` of TensorZero, revision dd5b38d of April 2026, after its README. The workspace does not build it.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use durable::{
    Durable, MIGRATOR, SpawnOptions, StepState, Task, TaskContext, TaskPollResult, TaskResult, Worker,
    WorkerOptions, async_trait,
};
use uuid::Uuid;

use crate::shared::{Decision, Services, Signup};

type Step = StepState<Services>;

async fn provision((run, company): (Uuid, String), step: Step) -> anyhow::Result<String> {
    // The same in every attempt, so that a retry finds the workspace of the first attempt.
    let id = format!("{}-{run}", company.to_lowercase().replace(' ', "-"));
    step.state.ask(format!("workspace {id} is ready")).await?;
    Ok(id)
}

async fn send_welcome(email: String, step: Step) -> anyhow::Result<()> {
    Ok(step.state.ask(format!("welcome, {email}")).await?)
}

async fn send_reminder(email: String, step: Step) -> anyhow::Result<()> {
    Ok(step.state.ask(format!("{email}: your trial is over, what now?")).await?)
}

async fn downgrade(workspace: String, step: Step) -> anyhow::Result<()> {
    Ok(step.state.ask(format!("workspace {workspace} is on the free tier")).await?)
}

async fn subscribe((key, id, plan): (Uuid, String, String), step: Step) -> anyhow::Result<()> {
    let request = format!("workspace {id} is billed for {plan}, idempotency key {key}");
    Ok(tokio::time::timeout(Duration::from_secs(30), step.state.ask(request)).await??)
}

// A task runs one step at a time, so what runs beside it is a task of its own.
#[derive(Default)]
struct Provision;

#[async_trait]
impl Task<Services> for Provision {
    type Params = String;
    type Output = String;

    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("provision")
    }

    async fn run(&self, company: String, mut ctx: TaskContext<Services>, _: Services) -> TaskResult<String> {
        ctx.step("provision", (ctx.task_id, company), provision).await
    }
}

// A task that fails is repeated from its last step, five times by default.
#[derive(Default)]
struct Trial;

#[async_trait]
impl Task<Services> for Trial {
    type Params = Signup;
    type Output = String;

    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("trial")
    }

    async fn run(&self, signup: Signup, mut ctx: TaskContext<Services>, _: Services) -> TaskResult<String> {
        let (run, Signup { company, email, trial }) = (ctx.task_id, signup);
        let workspace = ctx.spawn::<Provision>("provision", company.clone(), SpawnOptions::default()).await?;
        ctx.step("send-welcome", email.clone(), send_welcome).await?;
        let workspace = ctx.join(workspace).await?;

        ctx.sleep_for("trial", trial).await?;
        ctx.step("send-reminder", email, send_reminder).await?;

        let decision: Decision = ctx.await_event(&format!("upgrade:{company}"), None).await?;
        if !decision.upgraded {
            ctx.step("downgrade", workspace, downgrade).await?;
            return Ok(format!("{company} stayed on the free tier."));
        }
        ctx.step("subscribe", (run, workspace, decision.plan.clone()), subscribe).await?;
        Ok(format!("{company} upgraded to {}.", decision.plan))
    }
}

async fn connect(database_url: &str, services: Services) -> Result<Durable<Services>, Box<dyn Error>> {
    let builder = Durable::builder().database_url(database_url);
    let client = builder.register::<Trial>()?.register::<Provision>()?.build_with_state(services).await?;
    MIGRATOR.run(client.pool()).await?;
    client.create_queue(None).await?;
    Ok(client)
}

async fn work(database_url: &str, services: Services) -> Result<Worker, Box<dyn Error>> {
    let client = connect(database_url, services).await?;
    Ok(client.start_worker(WorkerOptions::default()).await?)
}

async fn request(database_url: &str, signup: Signup) -> Result<String, Box<dyn Error>> {
    let client = connect(database_url, Services::default()).await?;
    let upgrade = format!("upgrade:{}", signup.company);
    let run = client.spawn::<Trial>(signup).await?;
    client.emit_event(&upgrade, &Decision::upgrade_to("pro"), None).await?;
    loop {
        match client.get_task_result(run.task_id).await? {
            Some(TaskPollResult { output: Some(output), .. }) => return Ok(serde_json::from_value(output)?),
            Some(TaskPollResult { error: Some(error), .. }) => return Err(format!("{error:?}").into()),
            _ => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}

#[tokio::test]
async fn customer_upgrades() -> Result<(), Box<dyn Error>> {
    let database_url = std::env::var("DATABASE_URL")?;
    let worker = work(&database_url, Services::default()).await?;
    let outcome = request(&database_url, Signup::of_acme(Duration::from_millis(1))).await?;
    assert_eq!(outcome, "Acme upgraded to pro.");
    Ok(worker.shutdown().await)
}
