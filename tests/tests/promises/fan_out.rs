//! Concurrency in a workflow: `when_all`, the combinators of `futures`, and what happens to futures that lose a race.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use pgworkflows::prelude::*;
use pgworkflows_tests::{
    ActivityFn, Env, Gate, Journal, activity, count, history_text, logged, promises, workflow,
};

promises![
    when_all_waits_for_all_then_surfaces_the_first_failure_by_position,
    when_all_returns_every_value_of_a_tuple_of_eight,
    when_all_takes_iterators_and_keeps_their_order,
    when_all_of_nothing_completes_at_once,
    branches_run_concurrently,
    join_and_try_join_of_futures_work,
    try_join_cancels_the_others_at_the_first_failure,
    futures_unordered_yields_in_the_order_of_outcomes_even_after_a_crash,
    activity_that_loses_a_race_is_cancelled_with_its_token,
    outcome_that_arrives_after_its_activity_was_cancelled_changes_nothing,
    activity_that_is_never_polled_is_never_scheduled,
];

activity!(Answer, "answer", String => String);
activity!(Hold, "hold", () => ());

const WORD: Signal<String> = Signal::new("word");
const NUMBER: Signal<u32> = Signal::new("number");

/// Answers with the question, and refuses a question that begins with "no". A question that ends with "later" waits
/// at the gate.
fn answering(journal: &Journal, gate: &Gate) -> Answer {
    let state = (journal.clone(), gate.clone());
    Answer(ActivityFn::with(state, |(journal, gate), _, question: String| async move {
        if question.ends_with("later") {
            gate.pass().await;
        }
        journal.note(question.clone());
        if question.starts_with("no") {
            return Err(ActivityError::new("refused", question));
        }
        Ok(question)
    }))
}

async fn when_all_waits_for_all_then_surfaces_the_first_failure_by_position(env: Env) {
    workflow!(AskAll, "ask-all", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        let ask = |question: &str| ctx.activity::<Answer>(question.to_owned());
        ctx.when_all((ask("no, later"), ask("yes"), ask("no, at once"), ask("yes, later"))).await?;
        Ok(())
    });

    // Given four branches, of which the third fails first in time
    let (journal, gate) = (Journal::default(), Gate::closed());
    env.run(env.worker().workflow::<AskAll>().activity(answering(&journal, &gate)));
    let run = env.client.start::<AskAll>(()).await.unwrap();
    logged(&run, "activity.failed", 1).await;
    logged(&run, "activity.completed", 1).await;
    assert!(!run.status().await.unwrap().is_over());
    gate.open();

    // Then the failure is that of the first branch, and all have been waited for
    let error = run.result().await.unwrap_err();
    assert_eq!(error.failure().unwrap().to_string(), "activity `answer` failed: no, later (refused)");
    assert_eq!(journal.lines().len(), 4);
    assert_eq!(count(&run, "activity.cancelled").await, 0);
    assert_eq!(history_text(&run).await.last().unwrap(), "run.failed");
}

async fn when_all_returns_every_value_of_a_tuple_of_eight(env: Env) {
    workflow!(Eight, "eight", |ctx: Context, _input: ()| -> WorkflowResult<(String, u32)> {
        let ask = |question: &str| ctx.activity::<Answer>(question.to_owned());
        let (a, b, (), d, e, f, (), h) = ctx
            .when_all((
                ask("a"),
                ctx.step("b", || async { Ok(2_u32) }),
                ctx.sleep(Duration::from_millis(5)),
                ctx.wait_for(WORD),
                ctx.wait_for(NUMBER),
                ask("f").timeout(Duration::from_secs(60)),
                async { Ok(()) },
                ask("h"),
            ))
            .await?;
        Ok((format!("{a}{d}{f}{h}"), b + e))
    });

    env.run(env.worker().workflow::<Eight>().activity(answering(&Journal::default(), &Gate::opened())));
    let run = env.client.start::<Eight>(()).await.unwrap();
    run.signal(NUMBER, 5).await.unwrap();
    run.signal(WORD, "d".to_owned()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), ("adfh".to_owned(), 7));
}

workflow!(AskEach, "ask-each", |ctx: Context, questions: Vec<String>| -> WorkflowResult<Vec<String>> {
    ctx.when_all(questions.into_iter().map(|question| ctx.activity::<Answer>(question))).await
});

async fn when_all_takes_iterators_and_keeps_their_order(env: Env) {
    env.run(env.worker().workflow::<AskEach>().activity(answering(&Journal::default(), &Gate::opened())));
    let questions: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let run = env.client.start::<AskEach>(questions.clone()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), questions);
}

async fn when_all_of_nothing_completes_at_once(env: Env) {
    env.run(env.worker().workflow::<AskEach>());
    let run = env.client.start::<AskEach>(Vec::new()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), Vec::<String>::new());
    assert_eq!(history_text(&run).await, ["run.started", "run.completed"]);
}

async fn branches_run_concurrently(env: Env) {
    // Given activities that end only when all twenty are in flight
    let state = (Journal::default(), Gate::closed());
    let answer = Answer(ActivityFn::with(state, |(journal, gate), _, question: String| async move {
        journal.note("begun");
        if journal.count("begun") == 20 {
            gate.open();
        }
        gate.pass().await;
        Ok(question)
    }));
    env.run(env.worker().workflow::<AskEach>().activity(answer));
    let run = env.client.start::<AskEach>(vec!["all".to_owned(); 20]).await.unwrap();
    assert_eq!(run.result().await.unwrap().len(), 20);
}

async fn join_and_try_join_of_futures_work(env: Env) {
    workflow!(Joined, "joined", |ctx: Context, _input: ()| -> WorkflowResult<String> {
        let ask = |question: &str| ctx.activity::<Answer>(question.to_owned());
        let (yes, no, slept) = futures::join!(ask("yes"), ask("no"), ctx.sleep(Duration::from_millis(5)));
        slept?;
        let (first, second) = futures::try_join!(ask("one"), ask("two"))?;
        let refused = no.unwrap_err().failure().is_some_and(|failure| failure.is("refused"));
        Ok(format!("{} {refused} {first} {second}", yes?))
    });

    env.run(env.worker().workflow::<Joined>().activity(answering(&Journal::default(), &Gate::opened())));
    let run = env.client.start::<Joined>(()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "yes true one two");
}

async fn try_join_cancels_the_others_at_the_first_failure(env: Env) {
    workflow!(TryJoined, "try-joined", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        let ask = |question: &str| ctx.activity::<Answer>(question.to_owned());
        futures::try_join!(ask("yes, later"), ask("no"))?;
        Ok(())
    });

    let (journal, gate) = (Journal::default(), Gate::closed());
    env.run(env.worker().workflow::<TryJoined>().activity(answering(&journal, &gate)));
    let run = env.client.start::<TryJoined>(()).await.unwrap();
    assert!(run.result().await.unwrap_err().is_run_failed());
    assert_eq!(
        history_text(&run).await,
        [
            "run.started",
            "activity.scheduled answer",
            "activity.scheduled answer",
            "activity.failed",
            "activity.cancelled",
            "run.failed",
        ]
    );
}

async fn futures_unordered_yields_in_the_order_of_outcomes_even_after_a_crash(env: Env) {
    workflow!(Votes, "votes", |ctx: Context, voters: Vec<String>| -> WorkflowResult<Vec<String>> {
        let ask = |question: String| ctx.activity::<Answer>(format!("{question}, later"));
        let mut votes: FuturesUnordered<_> = voters.into_iter().map(ask).collect();
        let mut heard = Vec::new();
        while let Some(vote) = votes.next().await {
            heard.push(vote?);
        }
        ctx.wait_for(WORD).await?;
        Ok(heard)
    });

    // Given three activities whose outcomes are recorded in some order, and a worker that is killed then
    let (journal, gate) = (Journal::default(), Gate::closed());
    let answer = answering(&journal, &gate);
    let worker = env.run_killable(|worker| worker.workflow::<Votes>().activity(answer)).await;
    let voters = ["one", "two", "three"].map(str::to_owned).to_vec();
    let run = env.client.start::<Votes>(voters).await.unwrap();
    logged(&run, "activity.scheduled", 3).await;
    gate.open();
    logged(&run, "activity.completed", 3).await;
    worker.kill().await;

    // When another worker takes over
    env.run(env.worker().workflow::<Votes>().activity(answering(&journal, &gate)));
    run.signal(WORD, "count".to_owned()).await.unwrap();
    let heard = run.result().await.unwrap();

    // Then each vote is counted once, in the recorded order
    let recorded = run.history().await.unwrap().into_iter().filter_map(|event| match event.event {
        pgworkflows::history::Event::ActivityCompleted { result, .. } => {
            Some(result.decode::<String>().unwrap())
        }
        _ => None,
    });
    assert_eq!(heard, recorded.collect::<Vec<_>>());
    assert_eq!(journal.lines().len(), 3);
}

// The timeout is so long that the activity has begun, however slow the machine is.
workflow!(Impatient, "impatient", |ctx: Context, _input: ()| -> WorkflowResult<()> {
    let error = ctx.activity::<Hold>(()).timeout(Duration::from_secs(1)).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    ctx.wait_for(NUMBER).await?;
    Ok(())
});

async fn activity_that_loses_a_race_is_cancelled_with_its_token(env: Env) {
    let journal = Journal::default();
    let hold = Hold(ActivityFn::with(journal.clone(), |journal, ctx, ()| async move {
        ctx.cancellation().cancelled().await;
        journal.note("cancelled");
        Ok(())
    }));
    env.run(env.worker().workflow::<Impatient>().activity(hold));
    let run = env.client.start::<Impatient>(()).await.unwrap();
    journal.has("cancelled", 1).await;
    run.signal(NUMBER, 1).await.unwrap();
    run.result().await.unwrap();
    assert_eq!(
        history_text(&run).await,
        [
            "run.started",
            "activity.scheduled hold",
            "timer.started",
            "timer.fired",
            "activity.cancelled",
            "signal.received number",
            "run.completed",
        ]
    );
}

async fn outcome_that_arrives_after_its_activity_was_cancelled_changes_nothing(env: Env) {
    // Given an activity that ignores its token, and ends after it lost the race
    let (journal, gate) = (Journal::default(), Gate::closed());
    let state = (journal.clone(), gate.clone());
    let hold = Hold(ActivityFn::with(state, |(journal, gate), _, ()| async move {
        gate.pass().await;
        journal.note("ended");
        Ok(())
    }));
    env.run(env.worker().workflow::<Impatient>().activity(hold));
    let run = env.client.start::<Impatient>(()).await.unwrap();
    logged(&run, "activity.cancelled", 1).await;
    gate.open();
    journal.has("ended", 1).await;
    run.signal(NUMBER, 1).await.unwrap();
    run.result().await.unwrap();
    assert_eq!(count(&run, "activity.completed").await, 0);
}

async fn activity_that_is_never_polled_is_never_scheduled(env: Env) {
    workflow!(Idle, "idle", |ctx: Context, _input: ()| -> WorkflowResult<()> {
        drop(ctx.activity::<Hold>(()));
        drop(ctx.sleep(Duration::from_secs(1)));
        Ok(())
    });

    env.run(env.worker().workflow::<Idle>());
    let run = env.client.start::<Idle>(()).await.unwrap();
    run.result().await.unwrap();
    assert_eq!(history_text(&run).await, ["run.started", "run.completed"]);
}
