//! What operators see of runs: lines after the commit, once, in bounded numbers; slow appends; takeovers; metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::join_all;
use pgworkflows::prelude::*;
use pgworkflows_memory::Fault;

use crate::faults::Kind;
use crate::fixture::{Fixture, Greet, workflow};
use crate::logs;

workflow!(FailsAtOnce, "fails-at-once", |_ctx, why: String| -> () {
    Err(WorkflowError::new("hopeless", why))
});

#[tokio::test(start_paused = true)]
async fn line_about_a_run_is_written_once_its_event_is_committed() {
    let fixture = Fixture::virtual_time();
    let worker = fixture.worker("afterwards").workflow::<FailsAtOnce>().build().unwrap();
    let monitor = worker.monitor();
    fixture.faults.begin(|kind| if kind == Kind::Append { Fault::Lose } else { Fault::Proceed });
    let script = async {
        // Given a run that has failed in memory, and a store that acknowledges no append
        let run = fixture.client.start::<FailsAtOnce>("because".to_owned()).key("late").await.unwrap();
        fixture.pass(Duration::from_secs(60)).await;
        let id = run.run_id().to_string();
        assert!(logs::lines(&["an append goes unanswered", "afterwards", "runs=1"]).len() > 1);

        // Then the log says nothing of it before the store does, and then once
        assert_eq!(logs::lines(&["a run failed", &id]), [""; 0]);
        assert_eq!(monitor.metrics().runs_failed, 0);
        fixture.faults.end();
        run.result().await.unwrap_err();
        assert_eq!(
            logs::lines(&["WARN", "a run failed", &id, "because (hopeless)", "key=\"late\""]).len(),
            1
        );
        assert_eq!(monitor.metrics().runs_failed, 1);
    };
    fixture.end(worker.run_on_this_thread(script)).await.unwrap();
}

workflow!(Floods, "floods", |_ctx, _n: u32| -> () { Err(WorkflowError::new("hopeless", "as ever")) });

#[tokio::test(start_paused = true)]
async fn lines_of_a_flood_are_limited_and_those_left_out_are_counted() {
    let fixture = Fixture::virtual_time();
    let worker = fixture.worker("flooded").workflow::<Floods>().build().unwrap();
    let script = async {
        // When 500 runs fail at nearly the same time
        let run = async |n| fixture.client.start::<Floods>(n).await.unwrap().result().await.unwrap_err();
        join_all((0..500).map(run)).await;
        fixture.pass(Duration::from_secs(10)).await;
    };
    fixture.end(worker.run_on_this_thread(script)).await.unwrap();
    let written = logs::lines(&["WARN", "a run failed", "workflow=floods"]).len();
    let told = logs::lines(&["WARN", "lines were left out", "flooded", "kind=\"run.failed\""]);
    let left_out = told.iter().map(|line| {
        let (_, count) = line.split_once(" lines=").expect("it has the number");
        count.split(' ').next().and_then(|count| count.parse::<usize>().ok()).expect("a number")
    });
    assert!((20..=100).contains(&written), "{written}");
    assert_eq!(written + left_out.sum::<usize>(), 500, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn slow_append_is_logged_with_its_time_and_size() {
    let fixture = Fixture::virtual_time();
    let worker = fixture.worker("slow").build().unwrap();
    let (monitor, host) = (worker.monitor(), Arc::clone(&fixture.host));
    fixture.faults.begin(move |kind| match kind {
        Kind::Append => Fault::Delay(pgworkflows::host::Host::sleep(&*host, Duration::from_secs(2))),
        _ => Fault::Proceed,
    });
    let script = async {
        fixture.client.start::<Greet>("Ada".to_owned()).key("a").await.unwrap().result().await.unwrap();
    };
    fixture.end(worker.run_on_this_thread(script)).await.unwrap();
    let said =
        logs::lines(&["WARN", "an append was slow", "worker=\"slow\"", "took=2", "events=2", "bytes="]);
    assert!(!said.is_empty(), "{:?}", logs::lines(&["an append was slow"]));
    let metrics = monitor.metrics();
    assert!(metrics.append_seconds.sum() >= Duration::from_secs(4), "{metrics:?}");
}

const GO: Signal<u32> = Signal::new("go");

workflow!(Speaks, "speaks", |ctx, _input: ()| -> u32 {
    tracing::info!(target: "pgworkflows-user", "before the crash");
    let answer = ctx.wait_for(GO).await?;
    tracing::info!(target: "pgworkflows-user", "after the crash");
    ctx.sleep(Duration::from_secs(1)).await?;
    Ok(answer)
});

#[tokio::test(start_paused = true)]
async fn takeover_names_whose_shards_they_were_and_replayed_code_logs_nothing_twice() {
    // Given a run that waits, and whose worker dies
    let fixture = Fixture::virtual_time();
    let first = fixture.worker("mortal").workflow::<Speaks>().build().unwrap();
    let script = async {
        let run = fixture.client.start::<Speaks>(()).key("speaks:1").await.unwrap();
        run.signal(GO, 7).await.unwrap();
        while logs::lines(&["after the crash", &run.run_id().to_string()]).is_empty() {
            fixture.pass(Duration::from_millis(10)).await;
        }
        run
    };
    let run = tokio::select! {
        run = script => run,
        ended = first.run_on_this_thread(std::future::pending()) => panic!("{ended:?}"),
    };

    // When another worker takes it over
    let second = fixture.worker("heir").workflow::<Speaks>().build().unwrap();
    let monitor = second.monitor();
    let rest = async { assert_eq!(run.result().await.unwrap(), 7) };
    fixture.end(second.run_on_this_thread(rest)).await.unwrap();

    // Then the log says whose shards they were
    let said = logs::lines(&["WARN", "shards were taken over from", "worker=\"heir\"", "mortal (4 shards)"]);
    assert_eq!(said.len(), 1, "{:?}", logs::lines(&["taken over"]));
    assert_eq!(monitor.metrics().attempts_started, 0);
    // And the code, which was replayed, has said everything once
    for words in ["before the crash", "after the crash"] {
        assert_eq!(logs::lines(&[words, "workflow=speaks"]).len(), 1, "{words}");
    }
}

#[tokio::test(start_paused = true)]
async fn failed_attempt_of_a_step_is_logged_although_no_event_says_so() {
    let fixture = Fixture::virtual_time();
    let worker = fixture.worker("steps").workflow::<Retries>().build().unwrap();
    let script = async {
        let run = fixture.client.start::<Retries>(()).key("steps:1").await.unwrap();
        run.result().await.unwrap();
        run.run_id().to_string()
    };
    let (ended, id) = tokio::sync::oneshot::channel();
    let shutdown = async { drop(ended.send(script.await)) };
    fixture.end(worker.run_on_this_thread(shutdown)).await.unwrap();
    let id = id.await.unwrap();
    let said = logs::lines(&["WARN", "an attempt of a step failed", &id, "not yet (early)", "again_in="]);
    assert_eq!(said.len(), 1, "{said:?}");
    for part in
        ["workflow=retries", "key=\"steps:1\"", "activity=patient", "call=1", "attempt=1", "attempts_max=3"]
    {
        assert!(said[0].contains(part), "{part}: {said:?}");
    }
}

workflow!(Retries, "retries", |ctx, _input: ()| -> () {
    let mut attempt = 0;
    let work = move || {
        attempt += 1;
        async move { if attempt == 1 { Err(ActivityError::new("early", "not yet")) } else { Ok(()) } }
    };
    ctx.step("patient", work).retry(RetryPolicy::exponential().max_attempts(3)).await
});

/// An activity that its process does not survive, with the number of attempts that began.
struct Hangs(Arc<AtomicU32>);

#[async_trait]
impl Activity for Hangs {
    const NAME: &'static str = "hangs";
    type Input = ();
    type Output = ();

    async fn execute(&self, _ctx: ActivityContext, (): ()) -> ActivityResult<()> {
        self.0.fetch_add(1, Ordering::Relaxed);
        std::future::pending().await
    }
}

workflow!(Deadly, "deadly", |ctx, _input: ()| -> () { ctx.activity::<Hangs>(()).await });

#[tokio::test(start_paused = true)]
async fn activity_that_takes_down_process_after_process_is_told_attempt_by_attempt() {
    let (fixture, began) = (Fixture::virtual_time(), Arc::new(AtomicU32::new(0)));
    let run = fixture.client.start::<Deadly>(()).key("deadly:1").await.unwrap();
    // When each process that executes it dies, until the activity fails
    for attempt in 1.. {
        assert!(attempt < 20, "{:?}", logs::lines(&["deadly"]));
        let worker = fixture.worker("mortals").deaths_max(1, 2).workflow::<Deadly>();
        let worker = worker.activity(Hangs(Arc::clone(&began))).build().unwrap();
        let attempted = async {
            while began.load(Ordering::Relaxed) < attempt {
                fixture.pass(Duration::from_millis(100)).await;
            }
            fixture.pass(Duration::from_millis(100)).await;
        };
        tokio::select! {
            ended = worker.run_on_this_thread(std::future::pending()) => panic!("{ended:?}"),
            () = attempted => {}
            _ = run.result() => break,
        }
    }
    // Then each loss that counts is told, and the end
    let of_run = ["WARN", "workflow=deadly", "key=\"deadly:1\"", "activity=\"hangs\"", "call=1"];
    let said = |message| logs::lines(&[&of_run[..], &[message]].concat());
    assert_eq!(said("an attempt ended with its process").len(), 2, "{:?}", logs::lines(&["deadly"]));
    assert_eq!(said("an activity failed, and no attempt is left").len(), 1, "{:?}", logs::lines(&["deadly"]));
}
