//! Attributes: a run is found by what it is labelled with, from its start on and after its end, and so is the chain that goes on.

use futures::TryStreamExt;
use pgworkflows::client::RunStatus;
use pgworkflows::prelude::*;
use pgworkflows_tests::{Env, assert_contains, logged, promises, stall_reason, workflow};

promises![
    run_is_found_by_its_attributes_before_a_worker_has_seen_it,
    workflow_changes_the_attributes_of_its_run,
    attributes_go_along_with_a_chain,
    start_with_a_known_key_keeps_the_attributes_of_the_run,
    search_by_attributes_and_more_counts_only_runs_with_the_first_attribute,
    bad_attributes_are_refused_by_name_and_nothing_is_started,
    attribute_that_cannot_be_set_stalls_the_run_and_its_attributes_stay,
];

const GO: Signal<u32> = Signal::new("go");

workflow!(Order, "order", |ctx: Context, (): ()| -> WorkflowResult<()> {
    ctx.set_attribute("stage", "packed");
    ctx.wait_for(GO).await?;
    ctx.set_attribute("stage", "shipped");
    ctx.remove_attribute("urgent");
    Ok(())
});

async fn run_is_found_by_its_attributes_before_a_worker_has_seen_it(env: Env) {
    let start = || env.client.start::<Order>(());
    let run = start().attribute("customer", "42").attribute("region", "größer").await.unwrap();
    start().attribute("customer", "43").await.unwrap();
    start().await.unwrap();

    let found = env.another_client().list().attribute("customer", "42").await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].run_id, found[0].status), (run.run_id(), RunStatus::Pending));
    let shown: Vec<_> = found[0].attributes.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(shown, [("customer", "42"), ("region", "größer")]);
    assert_eq!(run.describe().await.unwrap().attributes, found[0].attributes);
}

async fn workflow_changes_the_attributes_of_its_run(env: Env) {
    // Given a run that a worker of this process begins, and one that came through the inbox
    let worker = env.run(env.worker().workflow::<Order>());
    for client in [env.client.clone(), env.another_client()] {
        let run = client.start::<Order>(()).attribute("urgent", "yes").await.unwrap();
        logged(&run, "attribute.set", 1).await;
        let attributes = run.describe().await.unwrap().attributes;
        assert_eq!((attributes["stage"].as_str(), attributes["urgent"].as_str()), ("packed", "yes"));
        assert_eq!(client.list().attribute("stage", "packed").await.unwrap().len(), 1);

        // When it goes on
        run.signal(GO, 0).await.unwrap();
        run.result().await.unwrap();

        // Then it is found by what it said last
        let attributes = run.describe().await.unwrap().attributes;
        assert_eq!(attributes.into_iter().collect::<Vec<_>>(), [("stage".to_owned(), "shipped".to_owned())]);
        assert!(client.list().attribute("stage", "packed").await.unwrap().is_empty());
        assert!(client.list().attribute("urgent", "yes").await.unwrap().is_empty());
    }
    worker.stop().await;
    assert_eq!(env.client.list().attribute("stage", "shipped").closed().await.unwrap().len(), 2);
}

async fn attributes_go_along_with_a_chain(env: Env) {
    workflow!(Chain, "chain", |ctx: Context, number: u32| -> WorkflowResult<u32> {
        ctx.set_attribute("number", number.to_string());
        if number < 3 { ctx.continue_as_new::<Chain>(number + 1).await } else { Ok(number) }
    });
    env.run(env.worker().workflow::<Chain>());
    let run = env.client.start::<Chain>(1).attribute("customer", "42").await.unwrap();
    run.result().await.unwrap();
    let chain: Vec<_> = env.client.list().attribute("customer", "42").stream().try_collect().await.unwrap();
    let mut numbers: Vec<_> = chain.iter().map(|run| run.attributes["number"].as_str()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, ["1", "2", "3"]);
}

async fn start_with_a_known_key_keeps_the_attributes_of_the_run(env: Env) {
    let start = |customer: &str| env.client.start::<Order>(()).key("order:7").attribute("customer", customer);
    start("42").await.unwrap();
    let again = start("43").attribute("region", "eu").await.unwrap();
    assert!(again.is_existing());
    let attributes = again.describe().await.unwrap().attributes;
    assert_eq!(attributes.into_iter().collect::<Vec<_>>(), [("customer".to_owned(), "42".to_owned())]);
}

async fn search_by_attributes_and_more_counts_only_runs_with_the_first_attribute(env: Env) {
    // Given an old run with the attribute that is over, and newer runs: some with it, many without
    let worker = env.run(env.worker().workflow::<Order>());
    let over = env.client.start::<Order>(()).attribute("customer", "42").await.unwrap();
    over.signal(GO, 0).await.unwrap();
    over.result().await.unwrap();
    worker.stop().await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(env.client.start::<Order>(()).attribute("customer", "42").await.unwrap().run_id());
        for _ in 0..5 {
            env.client.start::<Order>(()).await.unwrap();
        }
    }
    let of_customer = || env.client.list().attribute("customer", "42");

    // Then a list by the attribute alone is not limited, and one with another condition is, by runs that have it
    let found = of_customer().search(1).await.unwrap();
    assert_eq!((found.runs.len(), found.next), (4, None));
    let found = of_customer().closed().search(3).await.unwrap();
    assert!(found.runs.is_empty());
    let next = found.next.expect("there is an older run with the attribute");
    assert!(open.contains(&next));
    let found = of_customer().closed().before(next).search(3).await.unwrap();
    assert_eq!(found.runs.iter().map(|run| run.run_id).collect::<Vec<_>>(), [over.run_id()]);
    assert_eq!(found.next, None);
}

async fn bad_attributes_are_refused_by_name_and_nothing_is_started(env: Env) {
    let refused = async |name: &str, value: &str| {
        let start = env.client.start::<Order>(()).attribute("customer", "42");
        let error = start.attribute(name, value).await.unwrap_err();
        assert!(error.is_invalid(), "{error}");
        let listed = env.client.list().attribute(name, value).await.unwrap_err();
        assert_eq!((listed.is_invalid(), listed.to_string()), (true, error.to_string()));
        error.to_string()
    };
    assert_contains(refused("", "x").await, &["the name of an attribute \"\" is empty"]);
    assert_contains(refused("region", "").await, &["the value of attribute `region` \"\" is empty"]);
    assert_contains(refused("region", "e\0u").await, &["contains a control character"]);
    assert_contains(refused("region", &"x".repeat(256)).await, &["has 256 bytes, and the limit is 255"]);
    let start =
        (0..33).fold(env.client.start::<Order>(()), |start, name| start.attribute(name.to_string(), "x"));
    let error = start.await.unwrap_err();
    assert!(error.is_invalid());
    assert_contains(error.to_string(), &["33 attributes, and the limit is 32"]);
    assert!(env.client.list().await.unwrap().is_empty());
}

async fn attribute_that_cannot_be_set_stalls_the_run_and_its_attributes_stay(env: Env) {
    workflow!(Bad, "bad", |ctx: Context, (): ()| -> WorkflowResult<()> {
        ctx.set_attribute("stage", "packed");
        ctx.wait_for(GO).await?;
        ctx.set_attribute("stage", "");
        Ok(())
    });
    workflow!(Good, "bad", |ctx: Context, (): ()| -> WorkflowResult<()> {
        ctx.wait_for(GO).await?;
        ctx.set_attribute("stage", "done");
        Ok(())
    });
    let worker = env.run(env.worker().workflow::<Bad>());
    let run = env.client.start::<Bad>(()).await.unwrap();
    run.signal(GO, 0).await.unwrap();
    let reason = stall_reason(&run).await;
    assert_contains(reason, &["the value of attribute `stage` \"\" is empty"]);
    assert_eq!(run.describe().await.unwrap().attributes["stage"], "packed");
    worker.stop().await;

    // Code that sets a good one goes on
    env.run(env.worker().workflow::<Good>());
    run.result().await.unwrap();
    assert_eq!(run.describe().await.unwrap().attributes["stage"], "done");
}
