//! The trial-onboarding workflow: a fan-out, a sleep of several days, a person's decision, and a subscription. It must not
//! know a store or a worker.

use std::fmt;
use std::sync::Arc;

use pgworkflows::prelude::*;
use pgworkflows::worker::WorkerBuilder;

/// What a customer signs up with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Signup {
    /// The company, which is also the run's key.
    pub company: String,
    /// The address for its mail.
    pub email: String,
    /// How long the trial lasts: eleven days, or a few seconds in a demonstration.
    pub trial: Duration,
}

/// What the customer decides at the end of the trial.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UpgradeDecision {
    /// Whether the customer subscribes.
    pub upgraded: bool,
    /// The chosen plan.
    pub plan: String,
}

/// Delivers the decision.
pub const UPGRADE: Signal<UpgradeDecision> = Signal::new("upgrade");

/// A company's workspace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Workspace {
    /// The workspace's id.
    pub id: String,
}

/// Onboards a customer, and asks for a decision at the end of the trial.
#[derive(Debug)]
pub struct TrialOnboarding;

impl Workflow for TrialOnboarding {
    const NAME: &'static str = "trial-onboarding";
    type Input = Signup;
    type Output = String;

    async fn run(ctx: Context, signup: Signup) -> WorkflowResult<String> {
        // Fan-out: both run at the same time.
        let (workspace, ()) = ctx
            .when_all((
                ctx.activity::<ProvisionWorkspace>(signup.company.clone()),
                ctx.activity::<SendWelcome>(signup.email.clone()),
            ))
            .await?;

        ctx.sleep(signup.trial).await?; // Eleven days.
        ctx.activity::<SendTrialEndingReminder>(signup.email).await?;

        let decision = ctx.wait_for(UPGRADE).await?;
        if !decision.upgraded {
            ctx.activity::<DowngradeToFreeTier>(workspace.id).await?;
            return Ok(format!("{} stayed on the free tier.", signup.company));
        }
        ctx.activity::<StartSubscription>((workspace.id, decision.plan.clone()))
            .retry(RetryPolicy::exponential().max_attempts(5))
            .start_to_close(Duration::from_secs(30))
            .await?;
        Ok(format!("{} upgraded to {}.", signup.company, decision.plan))
    }
}

/// Stands in for the services that the activities call: receives the name of an activity, and what it does.
pub type Services = Arc<dyn Fn(&'static str, String) + Send + Sync>;

/// Creates a workspace for a company.
pub struct ProvisionWorkspace(pub Services);

#[async_trait]
impl Activity for ProvisionWorkspace {
    const NAME: &'static str = "provision-workspace";
    type Input = String;
    type Output = Workspace;

    async fn execute(&self, ctx: ActivityContext, company: String) -> ActivityResult<Workspace> {
        // The id is the same in every attempt, so that a retry finds the workspace of the first attempt.
        let id = format!("{}-{}", company.to_lowercase().replace(' ', "-"), &ctx.run_id().to_string()[24..]);
        (self.0)(Self::NAME, format!("workspace {id} is ready"));
        Ok(Workspace { id })
    }
}

/// Sends a welcome mail.
pub struct SendWelcome(pub Services);

#[async_trait]
impl Activity for SendWelcome {
    const NAME: &'static str = "send-welcome";
    type Input = String;
    type Output = ();

    async fn execute(&self, _ctx: ActivityContext, email: String) -> ActivityResult<()> {
        (self.0)(Self::NAME, format!("welcome, {email}"));
        Ok(())
    }
}

/// Sends a mail that the trial is over.
pub struct SendTrialEndingReminder(pub Services);

#[async_trait]
impl Activity for SendTrialEndingReminder {
    const NAME: &'static str = "send-trial-ending-reminder";
    type Input = String;
    type Output = ();

    async fn execute(&self, _ctx: ActivityContext, email: String) -> ActivityResult<()> {
        (self.0)(Self::NAME, format!("{email}: your trial is over, what now?"));
        Ok(())
    }
}

/// Removes a workspace's paid features.
pub struct DowngradeToFreeTier(pub Services);

#[async_trait]
impl Activity for DowngradeToFreeTier {
    const NAME: &'static str = "downgrade-to-free-tier";
    type Input = String;
    type Output = ();

    async fn execute(&self, _ctx: ActivityContext, workspace: String) -> ActivityResult<()> {
        (self.0)(Self::NAME, format!("workspace {workspace} is on the free tier"));
        Ok(())
    }
}

/// Starts billing a workspace for a plan.
pub struct StartSubscription(pub Services);

#[async_trait]
impl Activity for StartSubscription {
    const NAME: &'static str = "start-subscription";
    type Input = (String, String);
    type Output = ();

    async fn execute(&self, ctx: ActivityContext, (workspace, plan): (String, String)) -> ActivityResult<()> {
        // The billing service deduplicates by this key, so that a retry does not bill twice.
        let key = ctx.idempotency_key();
        (self.0)(Self::NAME, format!("workspace {workspace} is billed for {plan}, idempotency key {key}"));
        Ok(())
    }
}

/// Registers the workflow and its activities with a worker.
#[must_use]
pub fn register(worker: WorkerBuilder, services: &Services) -> WorkerBuilder {
    worker
        .workflow::<TrialOnboarding>()
        .activity(ProvisionWorkspace(Arc::clone(services)))
        .activity(SendWelcome(Arc::clone(services)))
        .activity(SendTrialEndingReminder(Arc::clone(services)))
        .activity(DowngradeToFreeTier(Arc::clone(services)))
        .activity(StartSubscription(Arc::clone(services)))
}

/// Implements `Debug` with the name alone, because `Services` is a closure.
macro_rules! shown_by_name {
    ($($activity:ident),+) => {
        $(impl fmt::Debug for $activity {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($activity))
            }
        })+
    };
}

shown_by_name!(
    ProvisionWorkspace,
    SendWelcome,
    SendTrialEndingReminder,
    DowngradeToFreeTier,
    StartSubscription
);
