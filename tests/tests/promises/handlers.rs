//! Handlers: signals and updates served beside the main line, in order, and across crashes.

use pgworkflows::prelude::*;
use pgworkflows_tests::{Env, Gate, activity, logged, promises, workflow};

promises![
    handlers_serve_updates_while_the_main_line_works,
    handler_at_work_survives_the_crash_of_its_worker,
    update_that_a_handler_never_answers_is_dropped_at_the_end,
    drained_handler_answers_all_that_has_arrived,
];

const ADD: Update<u64, u64> = Update::new("add");
const STOP: Signal<()> = Signal::new("stop");

activity!(Hold, "hold", () => ());

workflow!(Serves, "serves", |ctx: Context, holds: bool| -> WorkflowResult<u64> {
    let (sum, stopped) = (Shared::new(0), Shared::new(false));
    let (inner, adding, stopping) = (ctx.clone(), sum.clone(), stopped.clone());
    let _add = ctx.serve(ADD, async move |number| {
        if holds {
            inner.activity::<Hold>(()).await.ok();
        }
        adding.with(|sum| {
            *sum += number;
            *sum
        })
    });
    let _stop = ctx.serve(STOP, async move |()| stopping.with(|stopped| *stopped = true));
    ctx.until(|| stopped.with(|stopped| *stopped)).await?;
    Ok(sum.with(|sum| *sum))
});

async fn handlers_serve_updates_while_the_main_line_works(env: Env) {
    env.run(env.worker().workflow::<Serves>());
    let run = env.client.start::<Serves>(false).await.unwrap();
    for number in 1..=5 {
        assert_eq!(run.update(ADD, number).await.unwrap(), number * (number + 1) / 2);
    }
    let info = run.describe().await.unwrap();
    assert!(info.waiting_on.is_none_or(|waits| waits.starts_with("a condition at")));
    run.signal(STOP, ()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), 15);
}

async fn handler_at_work_survives_the_crash_of_its_worker(env: Env) {
    let gate = Gate::closed();
    let hold = Hold(gate.waiting());
    let worker = env.run_killable(move |worker| worker.workflow::<Serves>().activity(hold)).await;
    let run = env.client.start::<Serves>(true).await.unwrap();
    let crash = async {
        logged(&run, "update.received", 2).await;
        worker.kill().await;
        gate.open();
        env.run(env.worker().workflow::<Serves>().activity(Hold(Gate::opened().waiting())));
    };
    let (one, other, ()) = futures::join!(run.update(ADD, 4), run.update(ADD, 4), crash);
    let mut answers = [one.unwrap(), other.unwrap()];
    answers.sort_unstable();
    assert_eq!(answers, [4, 8]);
}

async fn update_that_a_handler_never_answers_is_dropped_at_the_end(env: Env) {
    let gate = Gate::closed();
    env.run(env.worker().workflow::<Serves>().activity(Hold(gate.waiting())));
    let run = env.client.start::<Serves>(true).await.unwrap();
    let stop = async {
        logged(&run, "update.received", 2).await;
        run.signal(STOP, ()).await.unwrap();
    };
    // One is with the handler, the other waits for it
    let (one, other, ()) = futures::join!(run.update(ADD, 4), run.update(ADD, 4), stop);
    assert!(one.unwrap_err().is_update_dropped() && other.unwrap_err().is_update_dropped());
    assert_eq!(run.result().await.unwrap(), 0);
    gate.open();
}

async fn drained_handler_answers_all_that_has_arrived(env: Env) {
    workflow!(Drains, "drains", |ctx: Context, (): ()| -> WorkflowResult<u64> {
        let sum = Shared::new(0);
        let (inner, adding) = (ctx.clone(), sum.clone());
        let adds = ctx.serve(ADD, async move |number| {
            inner.activity::<Hold>(()).await.ok();
            adding.with(|sum| {
                *sum += number;
                *sum
            })
        });
        ctx.wait_for(STOP).await?;
        adds.drain().await?;
        Ok(sum.with(|sum| *sum))
    });
    let gate = Gate::closed();
    env.run(env.worker().workflow::<Drains>().activity(Hold(gate.waiting())));
    let run = env.client.start::<Drains>(()).await.unwrap();
    let stop = async {
        logged(&run, "update.received", 3).await;
        run.signal(STOP, ()).await.unwrap();
        logged(&run, "signal.received", 1).await;
        gate.open();
    };
    let asks = (run.update(ADD, 4), run.update(ADD, 4), run.update(ADD, 4));
    let (one, two, three, ()) = futures::join!(asks.0, asks.1, asks.2, stop);
    let mut answers = [one.unwrap(), two.unwrap(), three.unwrap()];
    answers.sort_unstable();
    assert_eq!((answers, run.result().await.unwrap()), ([4, 8, 12], 12));
}
