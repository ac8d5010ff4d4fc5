//! Tests of the agent: on the real engine, with its fake model, in virtual time.

#[path = "../llm_agent/agent.rs"]
mod agent;
#[path = "../llm_agent/model.rs"]
mod model;
#[path = "../llm_agent/tools.rs"]
mod tools;

use std::sync::Arc;
use std::time::Duration;

use agent::{
    APPROVAL_TIME, DECIDE, Decision, LEAVE, Message, REQUEST, SAY, SILENCE, Session, TRANSCRIPT,
    support_agent,
};
use model::{Brain, FakeModel};
use pgworkflows_testkit::{Error, TestEnv, TestEnvBuilder, TestRun, crash_everywhere};
use tools::{Office, Tool};

fn definition() -> TestEnvBuilder {
    let brain = Brain { model: Arc::new(FakeModel) };
    TestEnv::builder().workflow::<support_agent>().activities(brain).activities(Office)
}

/// A user who was charged twice, up to the moment at which a person has to decide.
async fn complaint(env: &TestEnv) -> Result<TestRun<support_agent>, Error> {
    let run = env.start::<support_agent>(Session::new("I was charged twice.")).await?;
    env.advance(Duration::from_secs(1)).await;
    Ok(run)
}

fn decision(request: u32, approved: bool) -> Decision {
    Decision { request, approved }
}

/// A person approves, and the user leaves with the answer.
async fn approved(env: TestEnv) -> Result<TestRun<support_agent>, Error> {
    let run = complaint(&env).await?;
    assert!(run.update(DECIDE, decision(1, true)).await?);
    run.signal(LEAVE, ()).await?;
    Ok(run)
}

#[tokio::test]
async fn approved_tool_is_used_once() -> Result<(), Error> {
    let run = approved(definition().build()).await?;
    assert!(run.result().await?.contains("4900 cents of invoice 7 of Ada were refunded"));
    assert_eq!(run.env().calls_of(Office::REFUND).len(), 1);
    Ok(())
}

#[tokio::test]
async fn person_sees_what_is_to_be_decided() -> Result<(), Error> {
    let run = complaint(&definition().build()).await?;
    let request = run.view(REQUEST).await?.flatten().unwrap();
    assert!(matches!(request.tool, Tool::Refund { cents: 4_900, .. }));
    assert_eq!(request.number, 1);
    let transcript = run.view(TRANSCRIPT).await?.unwrap();
    assert_eq!(transcript[0], Message::User("I was charged twice.".to_owned()));
    assert_eq!(transcript.last(), Some(&Message::Call(request.tool)));
    Ok(())
}

#[tokio::test]
async fn refused_tool_is_not_used() -> Result<(), Error> {
    let run = complaint(&definition().build()).await?;
    assert!(run.update(DECIDE, decision(1, false)).await?);
    assert!(!run.update(DECIDE, decision(1, true)).await?, "it is decided");
    run.signal(LEAVE, ()).await?;
    assert_eq!(run.result().await?, "About your refund: a person refused this.");
    assert!(run.env().calls_of(Office::REFUND).is_empty());
    Ok(())
}

#[tokio::test]
async fn no_decision_in_time_is_a_refusal() -> Result<(), Error> {
    let run = complaint(&definition().build()).await?;
    assert!(!run.update(DECIDE, decision(2, true)).await?, "there is no second request");
    run.env().advance(APPROVAL_TIME).await;
    assert!(!run.update(DECIDE, decision(1, true)).await?, "it is too late");
    // Nobody leaves: the silence ends the conversation.
    assert_eq!(run.result().await?, "About your refund: no person approved this in time.");
    assert_eq!(run.env().elapsed(), APPROVAL_TIME + SILENCE);
    assert!(run.env().calls_of(Office::REFUND).is_empty());
    Ok(())
}

#[tokio::test]
async fn long_conversation_goes_on_in_a_new_run() -> Result<(), Error> {
    let env = definition().build();
    let run = env.start::<support_agent>(Session::new("hello")).await?;
    for _ in 0..30 {
        run.signal(SAY, "hello".to_owned()).await?;
    }
    env.advance(Duration::from_secs(1)).await;
    assert_eq!(run.describe().await?.chain.map(|chain| chain.number), Some(2));
    let transcript = run.view(TRANSCRIPT).await?.unwrap();
    assert_eq!(transcript[0], Message::Summary("41 messages about invoices".to_owned()));
    // The new run asks a person as the first one would have done.
    run.signal(SAY, "I was charged twice.".to_owned()).await?;
    env.advance(Duration::from_secs(1)).await;
    assert!(run.update(DECIDE, decision(1, true)).await?);
    run.signal(LEAVE, ()).await?;
    assert!(run.result().await?.contains("were refunded"));
    Ok(())
}

#[tokio::test]
async fn agent_ends_the_same_wherever_its_worker_crashes() {
    let crashed = crash_everywhere(&definition(), approved).assert().await;
    assert_eq!(crashed.repeats["office.refund"], 1);
}
