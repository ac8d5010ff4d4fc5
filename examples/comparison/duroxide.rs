//! The trial with duroxide 0.1.32 and duroxide-pg 0.1.38, after their guides. The workspace does not build it.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use duroxide::runtime::Runtime;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::{ActivityContext, Client, OrchestrationContext, OrchestrationRegistry, RetryPolicy};
use duroxide_pg::PostgresProvider;

use crate::shared::{Decision, Services, Signup, Unavailable};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

async fn provision(services: Services, ctx: ActivityContext, company: String) -> Result<String, String> {
    // The same in every attempt, so that a retry finds the workspace of the first attempt.
    let id = format!("{}-{}", company.to_lowercase().replace(' ', "-"), ctx.instance_id());
    services.ask(format!("workspace {id} is ready")).await.map_err(text)?;
    Ok(id)
}

async fn send_welcome(services: Services, _ctx: ActivityContext, email: String) -> Result<(), String> {
    services.ask(format!("welcome, {email}")).await.map_err(text)
}

async fn send_reminder(services: Services, _ctx: ActivityContext, email: String) -> Result<(), String> {
    services.ask(format!("{email}: your trial is over, what now?")).await.map_err(text)
}

async fn downgrade(services: Services, _ctx: ActivityContext, workspace: String) -> Result<(), String> {
    services.ask(format!("workspace {workspace} is on the free tier")).await.map_err(text)
}

async fn subscribe(services: Services, ctx: ActivityContext, input: (String, String)) -> Result<(), String> {
    let ((id, plan), key) = (input, ctx.instance_id());
    services.ask(format!("workspace {id} is billed for {plan}, idempotency key {key}")).await.map_err(text)
}

fn text(error: Unavailable) -> String {
    error.to_string()
}

async fn trial(ctx: OrchestrationContext, signup: Signup) -> Result<String, String> {
    let workspace = ctx.schedule_activity_typed::<_, String>("provision", &signup.company);
    let welcome = ctx.schedule_activity_typed::<_, ()>("send-welcome", &signup.email);
    let (workspace, welcome) = ctx.join2(workspace, welcome).await;
    let (workspace, ()) = (workspace?, welcome?);

    ctx.schedule_timer(signup.trial).await;
    ctx.schedule_activity_typed::<_, ()>("send-reminder", &signup.email).await?;

    let decision: Decision = ctx.dequeue_event_typed("upgrade").await;
    if !decision.upgraded {
        ctx.schedule_activity_typed::<_, ()>("downgrade", &workspace).await?;
        return Ok(format!("{} stayed on the free tier.", signup.company));
    }
    let policy = RetryPolicy::new(5).with_timeout(Duration::from_secs(30));
    let billed = (workspace, &decision.plan);
    ctx.schedule_activity_with_retry_typed::<_, ()>("subscribe", &billed, policy).await?;
    Ok(format!("{} upgraded to {}.", signup.company, decision.plan))
}

/// Gives an activity the services.
fn with<I, F>(
    services: &Services,
    activity: fn(Services, ActivityContext, I) -> F,
) -> impl Fn(ActivityContext, I) -> F + use<I, F> {
    let services = services.clone();
    move |ctx, input| activity(services.clone(), ctx, input)
}

async fn work(database_url: &str, services: Services) -> Result<Arc<Runtime>, Box<dyn Error>> {
    let store = Arc::new(PostgresProvider::new(database_url).await?);
    let activities = ActivityRegistry::builder()
        .register_typed("provision", with(&services, provision))
        .register_typed("send-welcome", with(&services, send_welcome))
        .register_typed("send-reminder", with(&services, send_reminder))
        .register_typed("downgrade", with(&services, downgrade))
        .register_typed("subscribe", with(&services, subscribe))
        .build();
    let orchestrations = OrchestrationRegistry::builder().register_typed("trial", trial).build();
    Ok(Runtime::start_with_store(store, activities, orchestrations).await)
}

async fn request(database_url: &str, signup: Signup) -> Result<String, Box<dyn Error>> {
    let client = Client::new(Arc::new(PostgresProvider::new(database_url).await?));
    let run = signup.company.clone();
    client.start_orchestration_typed(&run, "trial", signup).await?;
    client.enqueue_event_typed(&run, "upgrade", &Decision::upgrade_to("pro")).await?;
    Ok(client.wait_for_orchestration_typed(&run, YEAR).await??)
}

#[tokio::test]
async fn customer_upgrades() -> Result<(), Box<dyn Error>> {
    let database_url = std::env::var("DATABASE_URL")?;
    let runtime = work(&database_url, Services::default()).await?;
    let outcome = request(&database_url, Signup::of_acme(Duration::from_millis(1))).await?;
    assert_eq!(outcome, "Acme upgraded to pro.");
    Ok(runtime.shutdown(None).await)
}
