//! Tests of views: what a run publishes is logged once per group, and no replay compares it. They must not need a processor.

use super::locals::crash_after_every_group;
use super::*;
use crate::workflow::view::View;

const STAGE: View<String> = View::new("stage");
const COUNT: View<u32> = View::new("count");

#[test]
fn group_ends_with_the_last_value_of_each_view_in_the_order_of_their_names() {
    workflow!(W, |ctx| {
        ctx.publish(STAGE, &"begins".to_owned());
        ctx.publish(COUNT, &1);
        let work = ctx.activity::<Work>(ctx.record("value", || 7).await);
        ctx.publish(STAGE, &"works".to_owned());
        let worked = work.await?;
        ctx.publish(COUNT, &2);
        ctx.wait_for(GO).await?;
        Ok(worked)
    });
    let mut run = begin::<W>();
    run.complete(1, &3);
    run.reload();
    run.signal("go", &0);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 value.recorded value 7
        3 activity.scheduled #1 work 7
        4 view.published count 1
        5 view.published stage "works"
        6 activity.completed #1 3
        7 view.published count 2
        8 run.adopted lease 2
        9 signal.received go 0
        10 run.completed 3
    "#]]);
    crash_after_every_group::<W>(&run);
}

#[test]
fn what_the_last_poll_publishes_precedes_the_end() {
    workflow!(Returns, |ctx| {
        ctx.wait_for(GO).await?;
        ctx.publish(STAGE, &"done".to_owned());
        Ok(1)
    });
    workflow!(Compensates, |ctx| {
        ctx.on_failure::<Undo>(9);
        ctx.wait_for(GO).await?;
        ctx.publish(STAGE, &"gives up".to_owned());
        Err(WorkflowError::new("planned", "as planned"))
    });
    let mut returns = begin::<Returns>();
    returns.signal("go", &0);
    returns.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 signal.received go 0
        3 view.published stage "done"
        4 run.completed 1
    "#]]);
    let mut compensates = begin::<Compensates>();
    compensates.signal("go", &0);
    compensates.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 compensation.registered #1 undo 9
        3 signal.received go 0
        4 view.published stage "gives up"
        5 run.ending failed: as planned (planned)
        6 compensation.scheduled #1
    "#]]);
}

#[test]
fn publishing_may_be_added_to_open_runs_and_removed_from_them() {
    workflow!(Silent, |ctx| {
        ctx.activity::<Work>(1).await?;
        ctx.wait_for(GO).await
    });
    workflow!(Talks, |ctx| {
        ctx.publish(STAGE, &"works".to_owned());
        ctx.activity::<Work>(1).await?;
        ctx.publish(STAGE, &"waits".to_owned());
        let signal = ctx.wait_for(GO).await?;
        ctx.publish(COUNT, &signal);
        Ok(signal)
    });
    // What a replayed part publishes is not logged: the view changes as soon as the run goes on.
    let mut run = begin::<Silent>();
    run.complete(1, &1);
    run.registry = registry_of::<Talks>();
    run.reload();
    run.signal("go", &7);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 activity.scheduled #1 work 1
        3 activity.completed #1 1
        4 run.adopted lease 2
        5 signal.received go 7
        6 view.published count 7
        7 run.completed 7
    "#]]);
    // And what was published stays, whatever the code says of it.
    let mut run = begin::<Talks>();
    run.complete(1, &1);
    run.registry = registry_of::<Silent>();
    run.reload();
    run.signal("go", &7);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 activity.scheduled #1 work 1
        3 view.published stage "works"
        4 activity.completed #1 1
        5 view.published stage "waits"
        6 run.adopted lease 2
        7 signal.received go 7
        8 run.completed 7
    "#]]);
}

#[test]
fn release_of_many_resolutions_logs_the_last_value_of_all_its_polls() {
    workflow!(W, |ctx| {
        let mut sum = 0;
        for number in 1..=3_u32 {
            sum += ctx.wait_for(GO).await?;
            panic_if_broken();
            if number == 2 {
                sum += ctx.record("value", || 100).await;
            }
            ctx.publish(COUNT, &sum);
        }
        Ok(sum)
    });
    // Given a run that has stalled while signals arrived
    let mut run = begin::<W>();
    deploy_broken_build(true);
    (1..=3_u32).for_each(|signal| run.signal("go", &signal));
    // When code takes them, in parts because of the recorded value
    run.repair();
    // Then its one group has the view once, before the end
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 run.stalled: the workflow panicked: this build is broken; deploy code that does not, and the run resumes
        3 signal.received go 1
        4 signal.received go 2
        5 signal.received go 3
        6 run.adopted lease 2
        7 run.resumed 1 released
        8 run.resumed 1 released
        9 value.recorded value 100
        10 run.resumed 1 released
        11 view.published count 106
        12 run.completed 106
    "#]]);
}

#[test]
fn value_that_cannot_be_published_stalls_and_names_the_limit_and_the_line() {
    const LARGE: View<String> = View::new("large");
    const NAMELESS: View<u32> = View::new("");
    const CONTROL: View<u32> = View::new("two\nlines");
    const UNREADABLE: View<Option<()>> = View::new("unreadable");
    macro_rules! publishes {
        ($name:ident, $view:expr, $value:expr) => {
            workflow!($name, |ctx| {
                ctx.publish($view, &$value);
                Ok(0)
            });
        };
    }
    publishes!(Large, LARGE, "x".repeat(64 << 10));
    publishes!(Nameless, NAMELESS, 1);
    publishes!(Control, CONTROL, 1);
    publishes!(Unreadable, UNREADABLE, Some(()));
    let runs = [begin::<Large>(), begin::<Nameless>(), begin::<Control>(), begin::<Unreadable>()];
    let reason =
        |run: &RunFixture| crate::testing::without_lines(&run.run.state.stalled.clone().unwrap_or_default());
    let reasons: Vec<String> = runs.iter().map(reason).collect();
    expect![[r#"
        view `large` at core/src/run/tests/views.rs:LINE the value has 65541 bytes, and the limit is 65536, because it is written anew whenever it changes; publish a summary, or a reference to the data
        published at core/src/run/tests/views.rs:LINE the name of a view "" is empty; choose another
        published at core/src/run/tests/views.rs:LINE the name of a view "two\nlines" contains a control character; choose another
        view `unreadable` at core/src/run/tests/views.rs:LINE a core::option::Option<()> cannot be encoded: a `Some` of nothing would be read as `None`; use an enum, or a `bool`
    "#]].assert_eq(&(reasons.join("\n") + "\n"));
}

#[test]
fn poll_that_publishes_too_many_views_stalls() {
    workflow!(W, |ctx| {
        for number in 0..=limits::VIEWS_PER_POLL_MAX {
            // No code does this: names are constants.
            let name: &'static str = Box::leak(format!("view-{number}").into_boxed_str());
            ctx.publish(View::new(name), &1_u32);
        }
        Ok(0)
    });
    let reason = begin::<W>().run.state.stalled.clone().unwrap_or_default();
    expect![[r#"
        view `view-100` at core/src/run/tests/views.rs:LINE one poll publishes more than 100 views: make one view of those that change together
    "#]].assert_eq(&(crate::testing::without_lines(&reason) + "\n"));
}

#[test]
fn view_that_is_published_very_often_within_a_poll_is_logged_once() {
    workflow!(W, |ctx| {
        for number in 0..=2 * limits::DECISIONS_MAX as u32 {
            ctx.publish(COUNT, &number);
        }
        Ok(0)
    });
    let mut run = begin::<W>();
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 view.published count 40000
        3 run.completed 0
    "#]]);
}
