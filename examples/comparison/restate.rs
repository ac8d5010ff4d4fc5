//! The trial with restate-sdk 0.13.0 and restate-sdk-testcontainers 0.13.0, after docs.restate.dev and docs.rs/restate-sdk.
//! The workspace does not build it.

use std::error::Error;
use std::time::Duration;

use restate_sdk::ingress::ReqwestClient;
use restate_sdk::prelude::*;
use restate_sdk::uuid::Uuid;
use restate_sdk_testcontainers::TestEnvironment;

use crate::shared::{Decision, Services, Signup};

struct Trial(Services);

#[workflow]
impl Trial {
    #[handler]
    async fn run(&self, mut ctx: WorkflowContext<'_>, signup: Json<Signup>) -> HandlerResult<String> {
        let Signup { company, email, trial } = signup.into_inner();
        let key = ctx.rand_uuid();
        let activities = ctx.workflow_client::<TrialClient>(ctx.key());
        let workspace = activities.provision(company.clone()).call();
        let welcome = activities.send_welcome(email.clone()).call();
        let (workspace, ()) = (workspace.await?, welcome.await?);

        ctx.sleep(trial).await?;
        ctx.run(|| self.send_reminder(&email)).name("send-reminder").await?;

        let Json(decision) = ctx.promise::<Json<Decision>>("upgrade").await?;
        if !decision.upgraded {
            ctx.run(|| self.downgrade(&workspace)).name("downgrade").await?;
            return Ok(format!("{company} stayed on the free tier."));
        }
        ctx.run(|| self.subscribe(&workspace, &decision.plan, key))
            .name("subscribe")
            .retry_policy(RunRetryPolicy::new().exponentiation_factor(2.0).max_attempts(5))
            .await?;
        Ok(format!("{company} upgraded to {}.", decision.plan))
    }

    #[handler]
    async fn decide(&self, ctx: SharedWorkflowContext<'_>, decision: Json<Decision>) -> HandlerResult<()> {
        Ok(ctx.resolve_promise("upgrade", decision))
    }

    #[handler]
    async fn provision(&self, ctx: SharedWorkflowContext<'_>, company: String) -> HandlerResult<String> {
        // The same in every attempt, so that a retry finds the workspace of the first attempt.
        let id = format!("{}-{}", company.to_lowercase().replace(' ', "-"), ctx.invocation_id());
        self.0.ask(format!("workspace {id} is ready")).await?;
        Ok(id)
    }

    #[handler]
    async fn send_welcome(&self, _ctx: SharedWorkflowContext<'_>, email: String) -> HandlerResult<()> {
        Ok(self.0.ask(format!("welcome, {email}")).await?)
    }

    async fn send_reminder(&self, email: &str) -> HandlerResult<()> {
        Ok(self.0.ask(format!("{email}: your trial is over, what now?")).await?)
    }

    async fn downgrade(&self, workspace: &str) -> HandlerResult<()> {
        Ok(self.0.ask(format!("workspace {workspace} is on the free tier")).await?)
    }

    async fn subscribe(&self, id: &str, plan: &str, key: Uuid) -> HandlerResult<()> {
        let request = format!("workspace {id} is billed for {plan}, idempotency key {key}");
        Ok(tokio::time::timeout(Duration::from_secs(30), self.0.ask(request)).await??)
    }
}

fn endpoint(services: Services) -> Endpoint {
    Endpoint::builder().bind(Trial(services)).build()
}

async fn work(address: &str, services: Services) -> Result<(), Box<dyn Error>> {
    Ok(HttpServer::new(endpoint(services)).listen_and_serve(address.parse()?).await)
}

async fn request(ingress_url: &str, signup: Signup) -> Result<String, Box<dyn Error>> {
    let client = ReqwestClient::connect(ingress_url.parse()?)?;
    let trial = TrialIngressClient::from_client(client, signup.company.clone());
    let run = trial.run(Json(signup)).send().await?.invocation_handle();
    trial.decide(Json(Decision::upgrade_to("pro"))).call().await?.into_body()?;
    Ok(run.attach().await?.into_body())
}

#[tokio::test]
async fn customer_upgrades() -> Result<(), Box<dyn Error>> {
    let server = TestEnvironment::new().start(endpoint(Services::default())).await?;
    let outcome = request(&server.ingress_url(), Signup::of_acme(Duration::from_millis(1))).await?;
    assert_eq!(outcome, "Acme upgraded to pro.");
    Ok(())
}
