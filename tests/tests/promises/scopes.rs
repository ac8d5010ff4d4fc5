//! Shields, scopes, and cancellations that find nothing to cancel.

use pgworkflows::client::RunStatus;
use pgworkflows::prelude::*;
use pgworkflows_tests::{
    ActivityFn, Env, Gate, Journal, activity, count, logged, promises, reached, workflow,
};

promises![
    what_is_shielded_is_done_whole_and_the_next_call_is_cancelled,
    scope_is_cancelled_at_its_deadline_and_cleans_up_while_the_run_goes_on,
    scope_is_cancelled_by_its_handle,
];

const STOP: Signal<()> = Signal::new("stop");

activity!(Note, "note", String => ());

workflow!(Transfer, "transfer", |ctx: Context, _input: ()| -> WorkflowResult<()> {
    ctx.shield(async {
        ctx.activity::<Note>("debit".to_owned()).await?;
        ctx.activity::<Note>("credit".to_owned()).await
    })
    .await?;
    let receipt = ctx.activity::<Note>("receipt".to_owned()).await;
    ctx.activity::<Note>("clean-up".to_owned()).await?;
    receipt
});

workflow!(Reserve, "reserve", |ctx: Context, millis: u64| -> WorkflowResult<String> {
    let reserved = ctx.scope(async {
        // The deadline may come before the reservation.
        let reserved = async {
            ctx.activity::<Note>("reserved".to_owned()).await?;
            ctx.sleep(Duration::from_secs(100_000)).await
        };
        let reserved = reserved.await;
        ctx.activity::<Note>("released".to_owned()).await?;
        reserved
    });
    let handle = reserved.handle();
    let stop = async {
        ctx.wait_for(STOP).await?;
        handle.cancel();
        Ok(())
    };
    let reserved = async {
        match reserved.deadline(Duration::from_millis(millis)).await {
            Err(error) if error.is_timeout() => Ok("timed out".to_owned()),
            Err(error) if error.is("scope-cancelled") => Ok("stopped".to_owned()),
            reserved => reserved.map(|()| "reserved".to_owned()),
        }
    };
    let (reserved, ()) = ctx.when_all((reserved, stop)).await?;
    Ok(reserved)
});

async fn what_is_shielded_is_done_whole_and_the_next_call_is_cancelled(env: Env) {
    let (journal, gate) = (Journal::default(), Gate::closed());
    let state = (journal.clone(), gate.clone());
    let note = Note(ActivityFn::with(state, |(journal, gate), _, what| async move {
        journal.note(what);
        gate.pass().await;
        Ok(())
    }));
    env.run(env.worker().workflow::<Transfer>().activity(note));
    let run = env.client.start::<Transfer>(()).await.unwrap();
    journal.has("debit", 1).await;
    run.cancel().await.unwrap();
    logged(&run, "cancel.requested", 1).await;
    gate.open();
    assert!(run.result().await.unwrap_err().is_run_cancelled());
    assert_eq!(journal.lines(), ["debit", "credit", "clean-up"]);
    assert_eq!(count(&run, "activity.cancelled").await, 0);
}

async fn scope_is_cancelled_at_its_deadline_and_cleans_up_while_the_run_goes_on(env: Env) {
    let journal = Journal::default();
    env.run(env.worker().workflow::<Reserve>().activity(Note(journal.noting())));
    let run = env.client.start::<Reserve>(20).await.unwrap();
    journal.has("released", 1).await;
    run.signal(STOP, ()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "timed out");
}

async fn scope_is_cancelled_by_its_handle(env: Env) {
    let journal = Journal::default();
    env.run(env.worker().workflow::<Reserve>().activity(Note(journal.noting())));
    let run = env.client.start::<Reserve>(100_000_000).await.unwrap();
    logged(&run, "activity.completed", 1).await;
    reached(&run, RunStatus::Waiting).await;
    run.signal(STOP, ()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "stopped");
    assert_eq!(journal.lines(), ["reserved", "released"]);
}
