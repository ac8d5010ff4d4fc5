//! The main job, crashed at every event of its history: its customer notices nothing.

use std::sync::Arc;
use std::time::Duration;

use pgworkflows_examples::trial::{self, Signup, Story, TrialOnboarding, UPGRADE, UpgradeDecision};
use pgworkflows_testkit::sim::crash_at_every_event;

#[test]
fn a_trial_that_is_crashed_at_any_event_ends_as_if_it_had_not_been() {
    let results = crash_at_every_event::<TrialOnboarding>(
        |worker, executions| {
            let executions = executions.clone();
            let story: Story = Arc::new(move |activity, _| executions.note(activity));
            trial::register(worker, &story)
        },
        |client| {
            Box::pin(async move {
                let signup = Signup {
                    company: "Acme".to_owned(),
                    email: "ada@acme.example".to_owned(),
                    trial: Duration::from_secs(11 * 24 * 3600),
                };
                let run = client.start::<TrialOnboarding>(signup).key("Acme").await?;
                let decision = UpgradeDecision { upgraded: true, plan: "pro".to_owned() };
                run.signal(UPGRADE, decision).key("decision").await?;
                let result = run.result().await?;
                Ok((run, result))
            })
        },
    );
    let results = results.unwrap_or_else(|problem| panic!("{problem}"));
    // Thirteen events, and three moments at each; then there are those of the worker that takes over.
    assert!(results.len() > 30, "only {} runs", results.len());
    assert!(results.iter().all(|result| result == "Acme upgraded to pro."), "{results:?}");
}
