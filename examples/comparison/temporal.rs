//! The trial with temporalio-sdk 1.1.1 and its client, after their READMEs and examples. The workspace does not build it.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use temporalio_client::envconfig::LoadClientConfigProfileOptions;
use temporalio_client::{
    Client, ClientOptions, Connection, WorkflowGetResultOptions, WorkflowSignalOptions, WorkflowStartOptions,
};
use temporalio_common::RetryPolicy;
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use temporalio_sdk::testing::{LocalWorkflowEnvironmentOptions, WorkflowEnvironment};
use temporalio_sdk::workflows::join;
use temporalio_sdk::{
    ActivityOptions, Runtime, SyncWorkflowContext, Worker, WorkerOptions, WorkflowContext, WorkflowResult,
};

use crate::shared::{Decision, Services, Signup};

const QUEUE: &str = "trials";

type Result<T, E = ActivityError> = std::result::Result<T, E>;

struct Activities(Services);

#[activities]
impl Activities {
    #[activity]
    async fn provision(self: Arc<Self>, ctx: ActivityContext, company: String) -> Result<String> {
        // The same in every attempt, so that a retry finds the workspace of the first attempt.
        let run = ctx.info().workflow_run_id.as_deref().unwrap_or_default();
        let id = format!("{}-{run}", company.to_lowercase().replace(' ', "-"));
        self.0.ask(format!("workspace {id} is ready")).await?;
        Ok(id)
    }

    #[activity]
    async fn send_welcome(self: Arc<Self>, _ctx: ActivityContext, email: String) -> Result<()> {
        Ok(self.0.ask(format!("welcome, {email}")).await?)
    }

    #[activity]
    async fn send_reminder(self: Arc<Self>, _ctx: ActivityContext, email: String) -> Result<()> {
        Ok(self.0.ask(format!("{email}: your trial is over, what now?")).await?)
    }

    #[activity]
    async fn downgrade(self: Arc<Self>, _ctx: ActivityContext, workspace: String) -> Result<()> {
        Ok(self.0.ask(format!("workspace {workspace} is on the free tier")).await?)
    }

    #[activity]
    async fn subscribe(self: Arc<Self>, ctx: ActivityContext, id: String, plan: String) -> Result<()> {
        let key = ctx.info().workflow_run_id.as_deref().unwrap_or_default();
        Ok(self.0.ask(format!("workspace {id} is billed for {plan}, idempotency key {key}")).await?)
    }
}

#[workflow]
#[derive(Default)]
struct Trial {
    decision: Option<Decision>,
}

#[workflow_methods]
impl Trial {
    #[signal]
    fn decide(&mut self, _ctx: &mut SyncWorkflowContext<Self>, decision: Decision) {
        self.decision = Some(decision);
    }

    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, signup: Signup) -> WorkflowResult<String> {
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(30));
        let (workspace, welcome) = join!(
            ctx.execute_activity(Activities::provision, signup.company.clone(), options.clone()),
            ctx.execute_activity(Activities::send_welcome, signup.email.clone(), options.clone()),
        );
        let (workspace, ()) = (workspace?, welcome?);

        ctx.timer(signup.trial).await;
        ctx.execute_activity(Activities::send_reminder, signup.email, options.clone()).await?;

        ctx.wait_condition(|state| state.decision.is_some()).await?;
        let decision = ctx.state(|state| state.decision.clone()).filter(|decision| decision.upgraded);
        let Some(Decision { plan, .. }) = decision else {
            ctx.execute_activity(Activities::downgrade, workspace, options).await?;
            return Ok(format!("{} stayed on the free tier.", signup.company));
        };
        let options = ActivityOptions::with_start_to_close_timeout(Duration::from_secs(30))
            .retry_policy(RetryPolicy::builder().maximum_attempts(5).build())
            .build();
        ctx.execute_activity(Activities::subscribe, (workspace, plan.clone()), options).await?;
        Ok(format!("{} upgraded to {plan}.", signup.company))
    }
}

async fn connect() -> Result<Client, Box<dyn Error>> {
    let (connection, client) = ClientOptions::load_from_config(LoadClientConfigProfileOptions::default())?;
    Ok(Client::new(Connection::connect(connection).await?, client)?)
}

async fn work(client: Client, services: Services) -> Result<(), Box<dyn Error>> {
    let options = WorkerOptions::new(QUEUE)
        .register_workflow::<Trial>()?
        .register_activities(Activities(services))
        .build();
    let runtime = Runtime::from_current_tokio(Default::default())?;
    Ok(Worker::new(&runtime, client, options)?.run().await?)
}

async fn request(client: Client, signup: Signup) -> Result<String, Box<dyn Error>> {
    let options = WorkflowStartOptions::new(QUEUE, signup.company.clone()).build();
    let run = client.start_workflow(Trial::run, signup, options).await?;
    run.signal(Trial::decide, Decision::upgrade_to("pro"), WorkflowSignalOptions::default()).await?;
    Ok(run.get_result(WorkflowGetResultOptions::default()).await?)
}

#[tokio::test]
async fn customer_upgrades() -> Result<(), Box<dyn Error>> {
    let server = WorkflowEnvironment::start_local(LocalWorkflowEnvironmentOptions::default()).await?;
    let signup = Signup::of_acme(Duration::from_millis(1));
    tokio::select! {
        ended = work(server.client().clone(), Services::default()) => ended?,
        outcome = request(server.client().clone(), signup) => assert_eq!(outcome?, "Acme upgraded to pro."),
    }
    Ok(server.shutdown().await?)
}
