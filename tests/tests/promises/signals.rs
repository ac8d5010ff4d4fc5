//! Signals: buffered, in order, once per key, and never lost.

use pgworkflows::prelude::*;
use pgworkflows_tests::{Env, Gate, activity, eventually, history_text, logged, promises, workflow};

promises![
    signals_that_arrive_before_the_wait_are_buffered,
    signals_of_one_name_are_consumed_first_in_first_out,
    signals_of_one_client_are_consumed_in_the_order_of_sending,
    signals_of_different_names_do_not_wait_for_one_another,
    signals_with_a_known_key_are_consumed_once,
    keys_of_signals_are_per_name,
    finished_run_refuses_signals,
    accepted_signal_that_arrives_too_late_is_listed_as_undelivered,
    signal_to_an_unknown_run_is_refused,
    dropped_wait_loses_no_signal,
    wait_with_a_timeout_ends_without_a_signal,
    wait_with_a_timeout_takes_a_signal,
];

const WORD: Signal<String> = Signal::new("word");
const NUMBER: Signal<u32> = Signal::new("number");

activity!(Hold, "hold", () => ());

workflow!(Listen, "listen", |ctx: Context, count: usize| -> WorkflowResult<Vec<String>> {
    let mut heard = Vec::new();
    for _ in 0..count {
        heard.push(ctx.wait_for(WORD).await?);
    }
    Ok(heard)
});

async fn signals_that_arrive_before_the_wait_are_buffered(env: Env) {
    workflow!(ListenLater, "listen-later", |ctx: Context, (): ()| -> WorkflowResult<(String, u32)> {
        ctx.activity::<Hold>(()).await?;
        Ok((ctx.wait_for(WORD).await?, ctx.wait_for(NUMBER).await?))
    });

    // Given a run that is busy with an activity
    let gate = Gate::closed();
    env.run(env.worker().workflow::<ListenLater>().activity(Hold(gate.waiting())));
    let run = env.client.start::<ListenLater>(()).await.unwrap();

    // When its signals arrive, in another order than it will wait for them
    run.signal(NUMBER, 7).await.unwrap();
    run.signal(WORD, "early".to_owned()).await.unwrap();
    logged(&run, "signal.received", 2).await;
    gate.open();

    // Then it gets both
    assert_eq!(run.result().await.unwrap(), ("early".to_owned(), 7));
}

async fn signals_of_one_name_are_consumed_first_in_first_out(env: Env) {
    workflow!(HoldThenListen, "hold-then-listen", |ctx: Context,
                                                   _input: ()|
     -> WorkflowResult<Vec<String>> {
        ctx.activity::<Hold>(()).await?;
        Ok(vec![ctx.wait_for(WORD).await?, ctx.wait_for(WORD).await?, ctx.wait_for(WORD).await?])
    });

    // Given a run that has three signals of one name in its buffer before it asks for the first
    let gate = Gate::closed();
    env.run(env.worker().workflow::<HoldThenListen>().activity(Hold(gate.waiting())));
    let run = env.client.start::<HoldThenListen>(()).await.unwrap();
    for word in ["one", "two", "three"] {
        run.signal(WORD, word.to_owned()).await.unwrap();
    }
    logged(&run, "signal.received", 3).await;
    gate.open();

    // Then it gets them in the order of their arrival
    assert_eq!(run.result().await.unwrap(), ["one", "two", "three"]);
}

async fn signals_of_one_client_are_consumed_in_the_order_of_sending(env: Env) {
    // Given several runs, so that their signals share shards and batches
    env.run(env.worker().workflow::<Listen>());
    let mut runs = Vec::new();
    for _ in 0..4 {
        runs.push(env.client.start::<Listen>(40).await.unwrap());
    }
    let words: Vec<String> = (0..40).map(|number| number.to_string()).collect();

    // When one client sends one signal after the other, while they are being consumed
    let sending = runs.iter().map(|run| {
        let words = words.clone();
        async move {
            for word in words {
                run.signal(WORD, word).await.unwrap();
            }
        }
    });
    futures::future::join_all(sending).await;

    // Then none overtakes another
    for run in runs {
        assert_eq!(run.result().await.unwrap(), words);
    }
}

async fn signals_of_different_names_do_not_wait_for_one_another(env: Env) {
    workflow!(ListenTwice, "listen-twice", |ctx: Context, (): ()| -> WorkflowResult<(u32, String)> {
        Ok((ctx.wait_for(NUMBER).await?, ctx.wait_for(WORD).await?))
    });

    env.run(env.worker().workflow::<ListenTwice>());
    let run = env.client.start::<ListenTwice>(()).await.unwrap();
    run.signal(WORD, "first sent, second asked for".to_owned()).await.unwrap();
    run.signal(NUMBER, 1).await.unwrap();
    assert_eq!(run.result().await.unwrap().0, 1);
}

async fn signals_with_a_known_key_are_consumed_once(env: Env) {
    // Given a run that took a signal with a key
    env.run(env.worker().workflow::<Listen>());
    let run = env.client.start::<Listen>(2).await.unwrap();
    run.signal(WORD, "paid".to_owned()).key("payment-1").await.unwrap();
    logged(&run, "signal.received", 1).await;

    // When it is sent again, also by another client, and another signal after it
    run.signal(WORD, "paid again".to_owned()).key("payment-1").await.unwrap();
    env.client.signal(run.run_id(), WORD, "paid thrice".to_owned()).key("payment-1").await.unwrap();
    run.signal(WORD, "shipped".to_owned()).key("shipment-1").await.unwrap();

    // Then the run sees it once
    assert_eq!(run.result().await.unwrap(), ["paid", "shipped"]);
    assert_eq!(
        history_text(&run).await,
        ["run.started", "signal.received word", "signal.received word", "run.completed"]
    );
}

async fn keys_of_signals_are_per_name(env: Env) {
    workflow!(ListenToBoth, "listen-to-both", |ctx: Context, (): ()| -> WorkflowResult<(String, u32)> {
        ctx.when_all((ctx.wait_for(WORD), ctx.wait_for(NUMBER))).await
    });

    env.run(env.worker().workflow::<ListenToBoth>());
    let run = env.client.start::<ListenToBoth>(()).await.unwrap();
    run.signal(WORD, "one".to_owned()).key("same").await.unwrap();
    run.signal(NUMBER, 1).key("same").await.unwrap();
    assert_eq!(run.result().await.unwrap(), ("one".to_owned(), 1));
}

async fn finished_run_refuses_signals(env: Env) {
    env.run(env.worker().workflow::<Listen>());
    let run = env.client.start::<Listen>(0).await.unwrap();
    run.result().await.unwrap();

    let error = run.signal(WORD, "too late".to_owned()).await.unwrap_err();
    assert!(error.is_run_over(), "{error}");
    assert!(error.to_string().contains(&run.run_id().to_string()), "{error}");
    assert!(run.cancel().await.unwrap_err().is_run_over());
    assert!(run.terminate("too late").await.unwrap_err().is_run_over());
}

async fn accepted_signal_that_arrives_too_late_is_listed_as_undelivered(env: Env) {
    // Given a run that ends with its first signal, and two signals that were accepted before a worker started
    let run = env.client.start::<Listen>(1).await.unwrap();
    run.signal(WORD, "in time".to_owned()).await.unwrap();
    run.signal(WORD, "too late".to_owned()).key("late-1").await.unwrap();

    // When a worker starts
    env.run(env.worker().workflow::<Listen>());
    assert_eq!(run.result().await.unwrap(), ["in time"]);

    // Then the second signal is listed as undelivered
    let undelivered = eventually("it is undelivered", async || {
        run.describe().await.unwrap().undelivered.into_iter().next()
    })
    .await;
    assert_eq!(undelivered.what, "signal `word` with key `late-1`");
    assert_eq!(undelivered.payload.unwrap().decode::<String>().unwrap(), "too late");
}

async fn signal_to_an_unknown_run_is_refused(env: Env) {
    let run = env.client.start::<Listen>(1).await.unwrap();
    let unknown = pgworkflows::RunId::new(run.run_id().born(), run.run_id().shard(), 0);
    let error = env.client.signal(unknown, WORD, "hello".to_owned()).await.unwrap_err();
    assert!(error.is_unknown_run(), "{error}");
    assert!(error.to_string().contains(&unknown.to_string()), "{error}");
}

async fn dropped_wait_loses_no_signal(env: Env) {
    workflow!(GiveUpAndAskAgain, "give-up-and-ask-again", |ctx: Context, (): ()| -> WorkflowResult<String> {
        // The wait is polled, woken together with the other future, and dropped.
        let timed_out = ctx.wait_for(WORD).timeout(Duration::from_millis(50)).await.unwrap_err();
        assert!(timed_out.is_timeout(), "{timed_out}");
        {
            let (mut word, mut number) = (ctx.wait_for(WORD), ctx.wait_for(NUMBER));
            futures::select_biased! {
                number = number => _ = number?,
                word = word => return Ok(format!("{} came first", word?)),
            }
        }
        ctx.wait_for(WORD).await
    });

    env.run(env.worker().workflow::<GiveUpAndAskAgain>());
    let run = env.client.start::<GiveUpAndAskAgain>(()).await.unwrap();
    logged(&run, "timer.fired", 1).await;
    run.signal(NUMBER, 1).await.unwrap();
    run.signal(WORD, "kept".to_owned()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "kept");
}

workflow!(ListenForAWhile, "listen-for-a-while", |ctx: Context, wait: Duration| -> WorkflowResult<String> {
    match ctx.wait_for(WORD).timeout(wait).await {
        Err(error) if error.is_timeout() => Ok(error.to_string()),
        other => other,
    }
});

async fn wait_with_a_timeout_ends_without_a_signal(env: Env) {
    env.run(env.worker().workflow::<ListenForAWhile>());
    let run = env.client.start::<ListenForAWhile>(Duration::from_millis(40)).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "signal `word` did not complete within 40ms (timed-out)");
    assert_eq!(history_text(&run).await, ["run.started", "timer.started", "timer.fired", "run.completed"]);
}

async fn wait_with_a_timeout_takes_a_signal(env: Env) {
    env.run(env.worker().workflow::<ListenForAWhile>());
    let run = env.client.start::<ListenForAWhile>(Duration::from_secs(3600)).await.unwrap();
    run.signal(WORD, "here".to_owned()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "here");
    assert_eq!(
        history_text(&run).await,
        ["run.started", "timer.started", "signal.received word", "timer.cancelled", "run.completed"]
    );
}
