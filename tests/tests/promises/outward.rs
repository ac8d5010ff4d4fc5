//! Signals that runs send, signals that start runs, broadcasts, and requests of activities.

use pgworkflows::prelude::*;
use pgworkflows::{NamedSignal, Recipient, RunId};
use pgworkflows_tests::{
    Env, Gate, Journal, activity, assert_contains, eventually, history_text, logged, promises, stall_reason,
    workflow,
};

promises![
    signals_of_a_run_reach_runs_of_other_workflows_and_itself_once_and_in_order,
    signals_of_a_run_survive_the_crash_of_its_worker,
    signal_reaches_a_run_of_another_queue,
    signal_to_a_run_that_is_over_is_listed_as_undelivered_there,
    signal_to_nobody_is_listed_as_undelivered_of_its_sender,
    signal_that_is_too_large_stalls_its_sender_and_is_sent_to_nobody,
    start_with_a_signal_starts_one_run_and_signals_it_ever_after,
    start_with_a_signal_is_refused_as_a_whole,
    broadcast_reaches_the_open_runs_whose_keys_have_the_prefix,
    broadcast_goes_on_where_it_stopped_and_signals_no_run_twice,
    repeated_attempt_starts_no_second_run,
    repeated_attempt_signals_with_its_starts_and_broadcasts_once,
    repeated_attempt_succeeds_in_signalling_runs_that_its_signals_ended,
];

const WORD: Signal<String> = Signal::new("word");

activity!(Hold, "hold", () => ());

workflow!(Hears, "hears", |ctx: Context, count: usize| -> WorkflowResult<Vec<String>> {
    let mut heard = Vec::new();
    for _ in 0..count {
        heard.push(ctx.wait_for(WORD).await?);
    }
    Ok(heard)
});

workflow!(Speaks, "speaks", |ctx: Context, to: Option<RunId>| -> WorkflowResult<()> {
    let to = to.map_or(Recipient::keyed::<Hears>("listener"), Recipient::from);
    ctx.signal(to.clone(), WORD, "one".to_owned());
    ctx.activity::<Hold>(()).await?;
    ctx.signal(to, WORD, "two".to_owned());
    Ok(())
});

async fn signals_of_a_run_reach_runs_of_other_workflows_and_itself_once_and_in_order(env: Env) {
    workflow!(Counts, "counts", |ctx: Context, up_to: u32| -> WorkflowResult<u32> {
        let mut number = 0;
        while number < up_to {
            ctx.signal(ctx.run_id(), NamedSignal::new(format!("number-{number}")), number + 1);
            number = ctx.wait_for(NamedSignal::new(format!("number-{number}"))).await?;
        }
        ctx.signal(Recipient::named("hears", "listener"), WORD, format!("counted to {number}"));
        Ok(number)
    });

    // Given a run that waits, under a key, and one that counts by signals to itself
    env.run(
        env.worker()
            .workflow::<Hears>()
            .workflow::<Speaks>()
            .workflow::<Counts>()
            .activity(Hold(Gate::opened().waiting())),
    );
    let hears = env.client.start::<Hears>(5).key("listener").await.unwrap();
    let counts = env.client.start::<Counts>(3).await.unwrap();
    assert_eq!(counts.result().await.unwrap(), 3);

    // When others signal it by its key and by its id
    env.client.start::<Speaks>(None).await.unwrap().result().await.unwrap();
    env.client.start::<Speaks>(Some(hears.run_id())).await.unwrap().result().await.unwrap();

    // Then it hears all, in the order of each sender
    let heard = hears.result().await.unwrap();
    assert_eq!(heard, ["counted to 3", "one", "two", "one", "two"]);
}

async fn signals_of_a_run_survive_the_crash_of_its_worker(env: Env) {
    // Given a run that has sent one of its two signals when its worker is killed
    let gate = Gate::closed();
    let hold = Hold(gate.waiting());
    let worker =
        env.run_killable(move |worker| worker.workflow::<Hears>().workflow::<Speaks>().activity(hold)).await;
    let hears = env.client.start::<Hears>(3).key("listener").await.unwrap();
    let speaks = env.client.start::<Speaks>(None).await.unwrap();
    logged(&hears, "signal.received", 1).await;
    worker.kill().await;

    // When another takes over
    env.run(env.worker().workflow::<Hears>().workflow::<Speaks>().activity(Hold(Gate::opened().waiting())));
    speaks.result().await.unwrap();
    hears.signal(WORD, "that is all".to_owned()).await.unwrap();

    // Then each signal arrived once
    assert_eq!(hears.result().await.unwrap(), ["one", "two", "that is all"]);
}

async fn signal_reaches_a_run_of_another_queue(env: Env) {
    env.run(env.worker().workflow::<Speaks>().activity(Hold(Gate::opened().waiting())));
    env.run(env.worker().queue("another").workflow::<Hears>());
    let elsewhere =
        pgworkflows::Client::builder(env.store()).queue("another").queue_shards(8).build().unwrap();
    let hears = elsewhere.start::<Hears>(2).key("listener").await.unwrap();
    env.client.start::<Speaks>(None).await.unwrap();
    assert_eq!(hears.result().await.unwrap(), ["one", "two"]);
}

async fn signal_to_a_run_that_is_over_is_listed_as_undelivered_there(env: Env) {
    env.run(env.worker().workflow::<Hears>().workflow::<Speaks>().activity(Hold(Gate::opened().waiting())));
    let over = env.client.start::<Hears>(0).key("listener").await.unwrap();
    over.result().await.unwrap();
    let speaks = env.client.start::<Speaks>(None).await.unwrap();
    speaks.result().await.unwrap();

    let undelivered = eventually("both signals are undelivered", async || {
        Some(over.describe().await.unwrap().undelivered).filter(|undelivered| undelivered.len() == 2)
    })
    .await;
    assert_contains(&undelivered[0].what, &["signal `word` from run", "run `listener` of `hears`"]);
    assert_eq!(undelivered[0].payload.as_ref().unwrap().decode::<String>().unwrap(), "one");
    assert!(speaks.describe().await.unwrap().undelivered.is_empty());
}

async fn signal_to_nobody_is_listed_as_undelivered_of_its_sender(env: Env) {
    // Given one run that signals an unknown key, and another that signals an unknown id
    env.run(env.worker().workflow::<Speaks>().activity(Hold(Gate::opened().waiting())));
    let unknown = RunId::new(pgworkflows::Timestamp::from_micros(0), any_shard(), 1);
    for to in [None, Some(unknown)] {
        let speaks = env.client.start::<Speaks>(to).await.unwrap();
        speaks.result().await.unwrap();

        // Then both of its signals are kept
        eventually("both signals are undelivered", async || {
            (speaks.describe().await.unwrap().undelivered.len() == 2).then_some(())
        })
        .await;
        assert!(!history_text(&speaks).await.iter().any(|line| line.starts_with("signal.received")));
    }
}

fn any_shard() -> pgworkflows::id::ShardId {
    pgworkflows::id::ShardId::new(0).expect("0 is a shard")
}

async fn signal_that_is_too_large_stalls_its_sender_and_is_sent_to_nobody(env: Env) {
    workflow!(Shouts, "shouts", |ctx: Context, (): ()| -> WorkflowResult<()> {
        ctx.signal(Recipient::keyed::<Hears>("listener"), WORD, "x".repeat(3 << 20));
        Ok(())
    });
    env.run(env.worker().workflow::<Hears>().workflow::<Shouts>());
    let hears = env.client.start::<Hears>(1).key("listener").await.unwrap();
    let shouts = env.client.start::<Shouts>(()).await.unwrap();
    assert_contains(
        &stall_reason(&shouts).await,
        &["the content of signal `word` has", "the limit is 2097152"],
    );
    hears.signal(WORD, "silence".to_owned()).await.unwrap();
    assert_eq!(hears.result().await.unwrap(), ["silence"]);
}

async fn start_with_a_signal_starts_one_run_and_signals_it_ever_after(env: Env) {
    let start = |word: &str| env.client.start::<Hears>(3).key("listener").with_signal(WORD, word.to_owned());
    // Before and after a worker has begun the run
    let first = start("one").await.unwrap();
    let second = start("two").await.unwrap();
    env.run(env.worker().workflow::<Hears>());
    logged(&first, "signal.received", 2).await;
    let third = start("three").await.unwrap();
    assert_eq!(third.result().await.unwrap(), ["one", "two", "three"]);
    assert_eq!([first.is_existing(), second.is_existing(), third.is_existing()], [false, true, true]);

    // And when it is over, the whole request is refused
    let error = start("four").await.unwrap_err();
    assert!(error.is_run_over(), "{error}");
    assert!(first.describe().await.unwrap().undelivered.is_empty());
}

async fn start_with_a_signal_is_refused_as_a_whole(env: Env) {
    let first = env.client.start::<Hears>(1).key("listener").await.unwrap();
    let other = env.client.start::<Hears>(2).key("listener").with_signal(WORD, "lost".to_owned()).await;
    assert!(other.unwrap_err().is_key_conflict());
    let huge = env.client.start::<Hears>(1).key("other").with_signal(WORD, "x".repeat(3 << 20)).await;
    assert!(huge.unwrap_err().is_invalid());
    let nameless = env.client.start::<Hears>(1).key("other").with_signal(NamedSignal::new(""), 1).await;
    assert!(nameless.unwrap_err().is_invalid());
    assert!(env.client.find::<Hears>("other").await.unwrap().is_none());

    // Another input that nobody compares is no reason to refuse.
    let start = env.client.start::<Hears>(7).key_only("listener").with_signal(WORD, "heard".to_owned());
    assert!(start.await.unwrap().is_existing());
    env.run(env.worker().workflow::<Hears>());
    assert_eq!(first.result().await.unwrap(), ["heard"]);
}

async fn broadcast_reaches_the_open_runs_whose_keys_have_the_prefix(env: Env) {
    // Given open runs with the prefix, one that is over, and others
    env.run(env.worker().workflow::<Hears>());
    let mut runs = Vec::new();
    for number in 0..5 {
        runs.push(env.client.start::<Hears>(1).key(format!("acme:{number}")).await.unwrap());
    }
    let over = env.client.start::<Hears>(0).key("acme:over").await.unwrap();
    over.result().await.unwrap();
    let other = env.client.start::<Hears>(1).key("zenith:1").await.unwrap();

    // When a signal is broadcast in pages
    let mut broadcast = env.client.broadcast::<Hears, _>(WORD, "all".to_owned()).key_prefix("acme:").page(4);
    let mut pages = Vec::new();
    while let Some(page) = broadcast.next_page().await.unwrap() {
        pages.push((page.signalled, page.over, page.position));
    }

    // Then it reached those that are open, and no other
    assert_eq!(pages, [(4, 0, "acme:3".to_owned()), (1, 1, "acme:over".to_owned())]);
    for run in runs {
        assert_eq!(run.result().await.unwrap(), ["all"]);
    }
    assert!(over.describe().await.unwrap().undelivered.is_empty());
    other.signal(WORD, "only me".to_owned()).await.unwrap();
    assert_eq!(other.result().await.unwrap(), ["only me"]);

    let too_large = env.client.broadcast::<Hears, _>(WORD, "all".to_owned()).page(1_001).all().await;
    assert!(too_large.unwrap_err().is_invalid());
    let huge = env.client.broadcast::<Hears, _>(WORD, "x".repeat(3 << 20)).all().await;
    assert!(huge.unwrap_err().is_invalid());
}

async fn broadcast_goes_on_where_it_stopped_and_signals_no_run_twice(env: Env) {
    env.run(env.worker().workflow::<Hears>());
    let mut runs = Vec::new();
    for number in 0..4 {
        runs.push(env.client.start::<Hears>(2).key(format!("acme:{number}")).await.unwrap());
    }
    let broadcast = || env.client.broadcast::<Hears, _>(WORD, "news".to_owned()).key("monday");

    // Given a broadcast that stopped after a page, another that goes on from there, and one that begins again
    let mut first = broadcast().page(2);
    first.next_page().await.unwrap().unwrap();
    let position = first.position().unwrap().to_owned();
    assert_eq!(broadcast().after(position).all().await.unwrap(), 2);
    assert_eq!(broadcast().all().await.unwrap(), 4);

    // Then each run has heard it once
    for run in runs {
        run.signal(WORD, "end".to_owned()).await.unwrap();
        assert_eq!(run.result().await.unwrap(), ["news", "end"]);
    }
}

/// Starts runs and signals them, and fails at its first attempt.
struct Office {
    journal: Journal,
}

#[activities]
impl Office {
    #[activity(name = "office.open", retry = RetryPolicy::exponential().initial(Duration::from_millis(5)).max_attempts(3))]
    async fn open(&self, ctx: &ActivityContext, count: u32) -> ActivityResult<Vec<Vec<String>>> {
        let client = ctx.client();
        let mut runs = Vec::new();
        for _ in 0..count {
            let run = client.start::<Hears>(2).await?;
            run.signal(WORD, "hello".to_owned()).await?;
            self.journal.note(run.run_id().to_string());
            runs.push(run);
        }
        if ctx.attempt() == 1 {
            return Err(ActivityError::new("unlucky", "the first attempt fails after it has started all"));
        }
        let mut heard = Vec::new();
        for run in runs {
            client.signal(run.run_id(), WORD, "goodbye".to_owned()).await?;
            heard.push(run.result().await?);
        }
        Ok(heard)
    }
}

async fn repeated_attempt_starts_no_second_run(env: Env) {
    workflow!(Opens, "opens", |ctx: Context, count: u32| -> WorkflowResult<Vec<Vec<String>>> {
        ctx.call(Office::OPEN, count).await
    });

    // Given an activity that starts and signals three runs, twice
    let journal = Journal::default();
    let office = Office { journal: journal.clone() };
    env.run(env.worker().workflow::<Opens>().workflow::<Hears>().activities(office));
    let [one, other] =
        [env.client.start::<Opens>(3).await.unwrap(), env.client.start::<Opens>(3).await.unwrap()];

    // Then both attempts had the same runs, each was signalled once, and another call has others
    for run in [&one, &other] {
        assert_eq!(run.result().await.unwrap(), [["hello", "goodbye"]; 3]);
    }
    let mut started = journal.lines();
    assert_eq!(started.len(), 12);
    started.sort();
    started.dedup();
    assert_eq!(started.len(), 6);
}

/// Signals in all ways, and fails at its first attempt.
struct Press;

#[activities]
impl Press {
    #[activity(name = "press.print", retry = RetryPolicy::exponential().initial(Duration::from_millis(5)).max_attempts(3))]
    async fn print(&self, ctx: &ActivityContext, count: usize) -> ActivityResult<Vec<String>> {
        let client = ctx.client();
        let word = |word: &str| (WORD, word.to_owned());
        let (signal, content) = word("first");
        let run = client.start::<Hears>(count).key("listener").with_signal(signal, content).await?;
        let (signal, content) = word("second");
        run.signal(signal, content).await?;
        let (signal, content) = word("third");
        client.broadcast::<Hears, _>(signal, content).all().await?;
        if ctx.attempt() == 1 {
            if count == 2 {
                run.result().await?;
            }
            return Err(ActivityError::new("unlucky", "the first attempt fails after it has signalled"));
        }
        if count > 2 {
            run.signal(WORD, "end".to_owned()).await?;
        }
        Ok(run.result().await?)
    }
}

workflow!(Prints, "prints", |ctx: Context, count: usize| -> WorkflowResult<Vec<String>> {
    ctx.call(Press::PRINT, count).await
});

async fn repeated_attempt_signals_with_its_starts_and_broadcasts_once(env: Env) {
    env.run(env.worker().workflow::<Prints>().workflow::<Hears>().activities(Press));
    let prints = env.client.start::<Prints>(4).await.unwrap();
    assert_eq!(prints.result().await.unwrap(), ["first", "second", "third", "end"]);
}

async fn repeated_attempt_succeeds_in_signalling_runs_that_its_signals_ended(env: Env) {
    // The first attempt fails after its signals have ended the run, and the second sends them again.
    env.run(env.worker().workflow::<Prints>().workflow::<Hears>().activities(Press));
    let prints = env.client.start::<Prints>(2).await.unwrap();
    assert_eq!(prints.result().await.unwrap(), ["first", "second"]);
}
