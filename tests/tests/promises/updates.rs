//! Updates: requests to a run, which it answers once. A refusal, a drop and an end are replies, too.

use pgworkflows::error::ErrorKind;
use pgworkflows::prelude::*;
use pgworkflows_tests::{Env, Gate, activity, eventually, history_text, logged, promises, workflow};

promises![
    update_is_answered_and_a_repeated_one_gets_the_same_answer_even_after_the_end,
    updates_of_one_name_are_answered_in_the_order_of_their_arrival,
    update_that_arrives_before_its_wait_is_answered_later,
    update_survives_the_crash_of_its_worker,
    request_that_the_check_refuses_reaches_no_history,
    dropped_answer_and_an_end_are_replies,
    termination_replies_to_every_update,
    update_to_a_run_that_is_over_or_unknown_is_refused,
    update_to_a_stalled_run_times_out_and_says_why,
    update_to_a_paused_run_is_answered_when_it_is_resumed,
    timeout_withdraws_nothing,
    updates_without_an_answer_are_bounded,
    updates_are_answered_by_any_run_of_a_chain,
];

const ADD: Update<u64, u64> = Update::new("add").check(|number| match number {
    0 => Err("nothing to add".into()),
    13 => panic!("thirteen"),
    _ => Ok(()),
});

/// The same update, as a client without its check sends it.
const UNCHECKED: Update<u64, u64> = Update::new("add");

activity!(Hold, "hold", () => ());

workflow!(Sums, "sums", |ctx: Context, up_to: u64| -> WorkflowResult<u64> {
    let mut sum = 0;
    while sum < up_to {
        let (number, answer) = ctx.wait_for_update(ADD).await?;
        sum += number;
        answer.send(sum);
    }
    Ok(sum)
});

workflow!(Holds, "holds", |ctx: Context, (): ()| -> WorkflowResult<u64> {
    ctx.activity::<Hold>(()).await?;
    let (number, answer) = ctx.wait_for_update(ADD).await?;
    answer.send(number);
    Ok(number)
});

async fn update_is_answered_and_a_repeated_one_gets_the_same_answer_even_after_the_end(env: Env) {
    env.run(env.worker().workflow::<Sums>());
    let run = env.client.start::<Sums>(10).await.unwrap();
    assert_eq!(run.update(ADD, 4).key("first").await.unwrap(), 4);
    assert_eq!(run.update(ADD, 4).key("first").await.unwrap(), 4, "it is the same update");
    assert_eq!(run.update(ADD, 5).await.unwrap(), 9);
    assert_eq!(run.update(ADD, 3).key("last").await.unwrap(), 12);
    assert_eq!(run.result().await.unwrap(), 12);
    assert_eq!(run.update(ADD, 3).key("last").await.unwrap(), 12, "replies are kept after the end");
    assert_eq!(run.update(ADD, 99).key("first").await.unwrap(), 4);
}

async fn updates_of_one_name_are_answered_in_the_order_of_their_arrival(env: Env) {
    env.run(env.worker().workflow::<Sums>());
    let run = env.client.start::<Sums>(10_000).await.unwrap();
    for number in 1..20 {
        assert_eq!(run.update(ADD, number + 100).await.unwrap(), number * (number + 1) / 2 + number * 100);
    }
    let many = (0..20).map(|_| run.update(ADD, 10));
    let mut answers: Vec<u64> =
        futures::future::join_all(many).await.into_iter().map(|answer| answer.unwrap()).collect();
    answers.sort_unstable();
    assert_eq!(answers, (1..=20).map(|nth| 2_090 + 10 * nth).collect::<Vec<_>>());
}

async fn update_that_arrives_before_its_wait_is_answered_later(env: Env) {
    let gate = Gate::closed();
    env.run(env.worker().workflow::<Holds>().activity(Hold(gate.waiting())));
    let run = env.client.start::<Holds>(()).await.unwrap();
    let answer = async {
        logged(&run, "update.received", 1).await;
        gate.open();
    };
    let (answer, ()) = futures::join!(run.update(ADD, 7), answer);
    assert_eq!((answer.unwrap(), run.result().await.unwrap()), (7, 7));
}

async fn update_survives_the_crash_of_its_worker(env: Env) {
    // Given an update that a run has received, but not taken, when its worker is killed
    let gate = Gate::closed();
    let worker = {
        let hold = Hold(gate.waiting());
        env.run_killable(move |worker| worker.workflow::<Holds>().activity(hold)).await
    };
    let run = env.client.start::<Holds>(()).await.unwrap();
    let asked = async {
        logged(&run, "update.received", 1).await;
        worker.kill().await;
        gate.open();
        env.run(env.worker().workflow::<Holds>().activity(Hold(Gate::opened().waiting())));
    };
    // Then another worker answers it
    let (answer, ()) = futures::join!(run.update(ADD, 7).key("once"), asked);
    assert_eq!(answer.unwrap(), 7);
    assert_eq!(run.update(ADD, 8).key("once").await.unwrap(), 7);
}

async fn request_that_the_check_refuses_reaches_no_history(env: Env) {
    env.run(env.worker().workflow::<Sums>());
    let run = env.client.start::<Sums>(10).await.unwrap();
    run.update(ADD, 1).await.unwrap();
    let before = history_text(&run).await;

    // At the client, and at the owner of the run
    for refused in [run.update(ADD, 0).await, run.update(UNCHECKED, 0).key("nothing").await] {
        let refused = refused.unwrap_err();
        assert!(refused.is_update_refused() && refused.to_string().contains("nothing to add"), "{refused}");
    }
    for panicked in [run.update(ADD, 13).await, run.update(UNCHECKED, 13).await] {
        let panicked = panicked.unwrap_err();
        assert!(panicked.is_update_refused() && panicked.to_string().contains("thirteen"), "{panicked}");
    }
    // The refusal is the reply for its key.
    let again = run.update(UNCHECKED, 5).key("nothing").await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::UpdateRefused);
    assert_eq!(history_text(&run).await, before);
    assert_eq!(run.update(ADD, 9).await.unwrap(), 10);
}

async fn dropped_answer_and_an_end_are_replies(env: Env) {
    workflow!(Ends, "ends", |ctx: Context, (): ()| -> WorkflowResult<()> {
        drop(ctx.wait_for_update(ADD).await?);
        let (_, _held) = ctx.wait_for_update(ADD).await?;
        ctx.activity::<Hold>(()).await
    });
    let gate = Gate::closed();
    env.run(env.worker().workflow::<Ends>().activity(Hold(gate.waiting())));
    let run = env.client.start::<Ends>(()).await.unwrap();
    let dropped = run.update(ADD, 1).key("dropped").await.unwrap_err();
    assert!(dropped.is_update_dropped(), "{dropped}");

    // One that was taken, and one that was not
    let open = async {
        logged(&run, "update.received", 3).await;
        gate.open();
    };
    let (taken, waiting, ()) =
        futures::join!(run.update(ADD, 2).key("taken"), run.update(ADD, 3).key("waiting"), open);
    assert_eq!(taken.unwrap_err().kind(), ErrorKind::UpdateDropped);
    assert_eq!(waiting.unwrap_err().kind(), ErrorKind::UpdateDropped);
    assert_eq!(run.update(ADD, 1).key("dropped").await.unwrap_err().kind(), ErrorKind::UpdateDropped);
}

async fn termination_replies_to_every_update(env: Env) {
    let gate = Gate::closed();
    env.run(env.worker().workflow::<Holds>().activity(Hold(gate.waiting())));
    let run = env.client.start::<Holds>(()).await.unwrap();
    let terminate = async {
        logged(&run, "update.received", 2).await;
        run.terminate("enough").await.unwrap();
    };
    let (one, other, ()) = futures::join!(run.update(ADD, 1).key("one"), run.update(ADD, 2), terminate);
    // So does a client that asks again
    let again = run.update(ADD, 1).key("one").await;
    for ended in [one, other, again] {
        let ended = ended.unwrap_err();
        assert!(ended.is_update_dropped() && ended.run() == Some(run.run_id()), "{ended}");
    }
    assert!(run.update(ADD, 1).key("another").await.unwrap_err().is_run_over());
    gate.open();
}

async fn update_to_a_run_that_is_over_or_unknown_is_refused(env: Env) {
    env.run(env.worker().workflow::<Sums>());
    let run = env.client.start::<Sums>(1).await.unwrap();
    run.update(ADD, 1).await.unwrap();
    run.result().await.unwrap();
    assert!(run.update(ADD, 1).await.unwrap_err().is_run_over());
    let unknown = pgworkflows::RunId::from_u128(run.run_id().as_u128() ^ 1);
    let unknown = env.client.handle::<Sums>(unknown);
    assert!(unknown.update(ADD, 1).await.unwrap_err().is_unknown_run());
    let nameless = Update::<u64, u64>::new("");
    assert!(run.update(nameless, 1).await.unwrap_err().is_invalid());
}

async fn update_to_a_stalled_run_times_out_and_says_why(env: Env) {
    workflow!(Stalls, "stalls", |ctx: Context, (): ()| -> WorkflowResult<()> {
        ctx.wait_for_update(ADD).await?.1.send(1);
        panic!("this build is broken");
    });
    env.run(env.worker().workflow::<Stalls>());
    let run = env.client.start::<Stalls>(()).await.unwrap();
    tokio::select! {
        _ = run.update(ADD, 1).key("k") => panic!("the run cannot answer"),
        () = logged(&run, "run.stalled", 1) => {}
    }
    let mut wait = Duration::from_millis(10);
    eventually("the error says why", async || {
        wait *= 2;
        let error = run.update(ADD, 1).key("k").timeout(wait).await.unwrap_err();
        assert!(error.is_timeout() && error.to_string().contains("ask again with"), "{error}");
        error.to_string().contains("stalled").then_some(())
    })
    .await;
}

async fn update_to_a_paused_run_is_answered_when_it_is_resumed(env: Env) {
    env.run(env.worker().workflow::<Sums>());
    let run = env.client.start::<Sums>(7).await.unwrap();
    run.update(ADD, 1).await.unwrap();
    run.pause().await.unwrap();
    logged(&run, "run.paused", 1).await;
    let resume = async {
        logged(&run, "update.received", 2).await;
        run.resume().await.unwrap();
    };
    let (answer, ()) = futures::join!(run.update(ADD, 6), resume);
    assert_eq!((answer.unwrap(), run.result().await.unwrap()), (7, 7));
}

async fn timeout_withdraws_nothing(env: Env) {
    let gate = Gate::closed();
    env.run(env.worker().workflow::<Holds>().activity(Hold(gate.waiting())));
    let run = env.client.start::<Holds>(()).await.unwrap();
    tokio::select! {
        _ = run.update(ADD, 7).key("k") => panic!("the run does not wait for it yet"),
        () = logged(&run, "update.received", 1) => {}
    }
    let error = run.update(ADD, 7).key("k").timeout(Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    gate.open();
    assert_eq!(run.update(ADD, 8).key("k").await.unwrap(), 7);
}

async fn updates_without_an_answer_are_bounded(env: Env) {
    // Given a run that has as many updates without an answer as it may have
    const MAX: usize = 10_000;
    let gate = Gate::closed();
    env.run(env.worker().workflow::<Holds>().activity(Hold(gate.waiting())));
    let run = env.client.start::<Holds>(()).await.unwrap();
    let asks: Vec<_> = (0..MAX).map(|_| Box::pin(run.update(ADD, 7))).collect();
    let mut asks = futures::future::join_all(asks);
    let full = async {
        logged(&run, "update.received", MAX).await;
        run.update(ADD, 7).await.unwrap_err()
    };
    let full = tokio::select! {
        full = full => full,
        _ = &mut asks => panic!("no update has an answer"),
    };
    // Then it refuses another, and answers those that it has accepted
    assert!(full.is_too_many_updates(), "{full}");
    gate.open();
    let answers = asks.await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert!(answers.into_iter().filter_map(Result::err).all(|error| error.is_update_dropped()));
}

workflow!(Relays, "relays", |ctx: Context, state: (u64, u64)| -> WorkflowResult<u64> {
    let (up_to, sum) = state;
    if sum >= up_to {
        return Ok(sum);
    }
    let (number, answer) = ctx.wait_for_update(ADD).await?;
    answer.send(sum + number);
    ctx.continue_as_new::<Relays>((up_to, sum + number)).await
});

async fn updates_are_answered_by_any_run_of_a_chain(env: Env) {
    // Given runs that each answer one update
    env.run(env.worker().workflow::<Relays>());
    let run = env.client.start::<Relays>((50, 0)).await.unwrap();
    assert_eq!(run.update(ADD, 5).key("first").await.unwrap(), 5);

    // When many arrive at once, so that most are left to a successor
    let many = (0..9).map(|_| run.update(ADD, 5));
    let answers = futures::future::join_all(many).await;

    // Then each has its own answer, and that of a run which is over is still there
    let mut answers: Vec<u64> = answers.into_iter().map(|answer| answer.unwrap()).collect();
    answers.sort_unstable();
    assert_eq!(answers, (2..=10).map(|number| number * 5).collect::<Vec<_>>());
    assert_eq!(run.update(ADD, 5).key("first").await.unwrap(), 5);
    assert_eq!(run.result().await.unwrap(), 50);
}
