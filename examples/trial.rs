//! The trial-onboarding workflow: a fan-out, a sleep of several days, a person's decision, and a subscription. It must not
//! know a store or a worker.

use std::sync::Arc;

use pgworkflows::prelude::*;

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
#[workflow(name = "trial-onboarding")]
pub async fn trial_onboarding(ctx: Context, signup: Signup) -> WorkflowResult<String> {
    // Fan-out: both run at the same time.
    let (workspace, ()) = ctx
        .when_all((
            ctx.call(Onboarding::PROVISION_WORKSPACE, signup.company.clone()),
            ctx.call(Onboarding::SEND_WELCOME, signup.email.clone()),
        ))
        .await?;

    ctx.sleep(signup.trial).await?; // Eleven days.
    ctx.call(Onboarding::REMIND, signup.email).await?;

    let decision = ctx.wait_for(UPGRADE).await?;
    if !decision.upgraded {
        ctx.call(Onboarding::DOWNGRADE, workspace.id).await?;
        return Ok(format!("{} stayed on the free tier.", signup.company));
    }
    ctx.call(Onboarding::SUBSCRIBE, (workspace.id, decision.plan.clone()))
        .retry(RetryPolicy::exponential().max_attempts(5))
        .start_to_close(Duration::from_secs(30))
        .await?;
    Ok(format!("{} upgraded to {}.", signup.company, decision.plan))
}

/// The activities, and the services that they call.
pub struct Onboarding {
    /// Stands in for the services: receives the name of an activity, and what it does.
    pub services: Services,
}

/// See [`Onboarding::services`].
pub type Services = Arc<dyn Fn(&'static str, String) + Send + Sync>;

#[activities]
impl Onboarding {
    /// Creates a workspace for a company.
    #[activity(name = "provision-workspace")]
    pub async fn provision_workspace(
        &self,
        ctx: &ActivityContext,
        company: String,
    ) -> ActivityResult<Workspace> {
        // The id is the same in every attempt, so that a retry finds the workspace of the first attempt.
        let id = format!("{}-{}", company.to_lowercase().replace(' ', "-"), &ctx.run_id().to_string()[24..]);
        self.does("provision-workspace", format!("workspace {id} is ready"));
        Ok(Workspace { id })
    }

    /// Sends a welcome mail.
    #[activity(name = "send-welcome")]
    pub async fn send_welcome(&self, email: String) -> ActivityResult<()> {
        self.does("send-welcome", format!("welcome, {email}"));
        Ok(())
    }

    /// Sends a mail that the trial is over.
    #[activity(name = "send-trial-ending-reminder")]
    pub async fn remind(&self, email: String) -> ActivityResult<()> {
        self.does("send-trial-ending-reminder", format!("{email}: your trial is over, what now?"));
        Ok(())
    }

    /// Removes a workspace's paid features.
    #[activity(name = "downgrade-to-free-tier")]
    pub async fn downgrade(&self, workspace: String) -> ActivityResult<()> {
        self.does("downgrade-to-free-tier", format!("workspace {workspace} is on the free tier"));
        Ok(())
    }

    /// Starts billing a workspace for a plan.
    #[activity(name = "start-subscription")]
    pub async fn subscribe(&self, ctx: &ActivityContext, id: String, plan: String) -> ActivityResult<()> {
        // The billing service deduplicates by this key, so that a retry does not bill twice.
        let key = ctx.idempotency_key();
        self.does("start-subscription", format!("{id} is billed for {plan}, idempotency key {key}"));
        Ok(())
    }

    fn does(&self, activity: &'static str, what: String) {
        (self.services)(activity, what);
    }
}

impl std::fmt::Debug for Onboarding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Onboarding").finish_non_exhaustive()
    }
}
