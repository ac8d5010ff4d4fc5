//! Tests of attributes: what a run is found by is logged once per group, and goes along with its chain. They must not need a
//! processor.

use super::locals::crash_after_every_group;
use super::*;

#[test]
fn group_ends_with_what_each_attribute_was_changed_to_last() {
    workflow!(W, |ctx| {
        ctx.set_attribute("stage", "begins");
        ctx.set_attribute("region", "eu");
        ctx.set_attribute("stage", "works");
        let worked = ctx.activity::<Work>(1).await?;
        ctx.remove_attribute("region");
        ctx.wait_for(GO).await?;
        Ok(worked)
    });
    let mut run = begin::<W>();
    run.complete(1, &3);
    assert!(run.run.state.attributes.has("stage", "works"));
    assert!(!run.run.state.attributes.has("region", "eu"));
    run.reload();
    run.signal("go", &0);
    run.assert_logged(&expect![[r#"
        1 run.started workflow 0
        2 activity.scheduled #1 work 1
        3 attribute.set region eu
        4 attribute.set stage works
        5 activity.completed #1 3
        6 attribute.set region, removed
        7 run.adopted lease 2
        8 signal.received go 0
        9 run.completed 3
    "#]]);
    crash_after_every_group::<W>(&run);
}

#[test]
fn attributes_may_be_added_to_open_runs() {
    workflow!(Silent, |ctx| {
        ctx.activity::<Work>(1).await?;
        ctx.wait_for(GO).await
    });
    workflow!(Talks, |ctx| {
        ctx.set_attribute("stage", "works");
        ctx.activity::<Work>(1).await?;
        let signal = ctx.wait_for(GO).await?;
        ctx.set_attribute("stage", "done");
        Ok(signal)
    });
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
        6 attribute.set stage done
        7 run.completed 7
    "#]]);
}

#[test]
fn attributes_go_along_with_a_continuation() {
    crate::testing::workflow!(Chain, "workflow", |ctx, count: u32| -> u32 {
        ctx.set_attribute("count", count.to_string());
        if count == 0 {
            ctx.set_attribute("customer", "42");
            ctx.continue_as_new::<Chain>(1).await;
        }
        Ok(count)
    });
    let mut run = RunFixture::start::<Chain>(&0);
    run.go_on();
    run.assert_logged(&expect![[r#"
        1 run.started workflow 1 chain number 2 attributes count=0, customer=42
        2 run.resumed 1 released
        3 attribute.set count 1
        4 run.completed 1
    "#]]);
}

#[test]
fn attribute_that_cannot_be_set_stalls_and_names_the_limit_and_the_line() {
    macro_rules! sets {
        ($name:ident, $attribute:expr, $value:expr) => {
            workflow!($name, |ctx| {
                ctx.set_attribute($attribute, $value);
                Ok(0)
            });
        };
    }
    sets!(Nameless, "", "x");
    sets!(Control, "stage", "two\nlines");
    sets!(Large, "stage", "x".repeat(256));
    workflow!(Many, |ctx| {
        for number in 0..=limits::ATTRIBUTES_MAX {
            ctx.set_attribute(&number.to_string(), "x");
        }
        Ok(0)
    });
    let runs = [begin::<Nameless>(), begin::<Control>(), begin::<Large>(), begin::<Many>()];
    let reason =
        |run: &RunFixture| crate::testing::without_lines(&run.run.state.stalled.clone().unwrap_or_default());
    let reasons: Vec<String> = runs.iter().map(reason).collect();
    expect![[r#"
        attribute at core/src/run/tests/attributes.rs:LINE the name of an attribute "" is empty; choose another
        attribute at core/src/run/tests/attributes.rs:LINE the value of attribute `stage` "two\nlines" contains a control character; choose another
        attribute at core/src/run/tests/attributes.rs:LINE the value of attribute `stage` "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" has 256 bytes, and the limit is 255; choose another
        attribute at core/src/run/tests/attributes.rs:LINE the run would have 33 attributes, and the limit is 32: attributes are for what runs are found by; publish a view of what is to be read
    "#]].assert_eq(&(reasons.join("\n") + "\n"));
}

#[test]
fn attribute_that_was_removed_leaves_room_for_another() {
    workflow!(W, |ctx| {
        for number in 0..=2 * limits::ATTRIBUTES_MAX {
            ctx.set_attribute(&number.to_string(), "x");
            ctx.remove_attribute(&number.to_string());
        }
        Ok(0)
    });
    assert_eq!(begin::<W>().run.state.stalled, None);
}

#[test]
fn poll_that_removes_too_many_attributes_stalls() {
    workflow!(W, |ctx| {
        for number in 0..=limits::ATTRIBUTES_PER_POLL_MAX {
            ctx.remove_attribute(&number.to_string());
        }
        Ok(0)
    });
    let reason = begin::<W>().run.state.stalled.clone().unwrap_or_default();
    assert!(reason.ends_with("one poll sets or removes more than 100 attributes"), "{reason}");
}
