//! What runs are found by: attributes of starts, changes by their owners, lists.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use pgworkflows_core::id::RunId;
use pgworkflows_core::store::{
    AttributeChange, Attributes, ClosedStatus, RunFilter, RunPage, Submission, Submitted,
};

use super::fixture::Fixture;
use super::writer::{Draft, WORKFLOW, all_pages, busy};

fn attributes(all: &[(&str, &str)]) -> Attributes {
    all.iter().map(|(name, value)| ((*name).into(), (*value).to_owned())).collect()
}

/// A start with attributes.
fn labelled(mut start: Submission, all: &[(&str, &str)]) -> Submission {
    start.opens.as_mut().expect("it is a start").attributes = attributes(all);
    start
}

/// Changes an attribute of a run.
fn change(draft: Draft, run: RunId, attribute: &str, value: Option<&str>) -> Draft {
    let (attribute, value) = (attribute.into(), value.map(str::to_owned));
    draft.change(|append| append.attributes.push(AttributeChange { run, attribute, value }))
}

async fn of(fixture: &Fixture, run: RunId) -> Attributes {
    fixture.describe(run).await.attributes
}

async fn list(fixture: &Fixture, filter: &RunFilter, before: Option<RunId>, limit: u32) -> Vec<RunId> {
    let page = RunPage { before, limit };
    let runs = fixture.store.query().list(filter, &page).await.unwrap();
    runs.into_iter().map(|run| run.run).collect()
}

fn with(all: &[(&str, &str)]) -> RunFilter {
    RunFilter { attributes: attributes(all), ..RunFilter::default() }
}

pub async fn run_has_the_attributes_of_its_start_as_soon_as_that_is_accepted(fixture: &Fixture) {
    let (run, other) = (fixture.run(0), fixture.run(1));
    let start = labelled(fixture.start(run), &[("customer", "42"), ("region", "größer")]);
    fixture.accept(&start).await;
    fixture.accept(&fixture.start(other)).await;
    assert_eq!(of(fixture, run).await, attributes(&[("customer", "42"), ("region", "größer")]));
    assert_eq!(of(fixture, other).await, Attributes::default());
    assert_eq!(list(fixture, &with(&[("customer", "42")]), None, 10).await, [run]);
    // A start that is sent again changes nothing
    fixture.accept(&start).await;
    assert_eq!(of(fixture, run).await, attributes(&[("customer", "42"), ("region", "größer")]));
}

pub async fn start_that_finds_its_key_in_use_changes_no_attributes(fixture: &Fixture) {
    let (run, other) = (fixture.run(0), fixture.run(0));
    let start = |run| fixture.keyed(run, WORKFLOW, "acme", None);
    fixture.accept(&labelled(start(run), &[("customer", "42")])).await;
    let again = labelled(start(other), &[("customer", "43"), ("region", "eu")]);
    assert_eq!(fixture.submit(&[again]).await, [Submitted::Existing(run)]);
    assert_eq!(of(fixture, run).await, attributes(&[("customer", "42")]));
    assert_eq!(list(fixture, &with(&[("customer", "43")]), None, 10).await, []);
}

pub async fn append_sets_and_removes_attributes_of_open_runs_and_of_those_that_end(fixture: &Fixture) {
    let (mut writer, run, start) = fixture.submitted_run().await;
    let ending = fixture.run(1);
    let draft = writer.draft().event(run).consume(&start).event(ending).close(ending);
    let draft = change(draft, run, "stage", Some("packed"));
    let draft = change(draft, run, "region", Some("eu"));
    writer.write(change(draft, ending, "stage", Some("done"))).await;
    assert_eq!(of(fixture, run).await, attributes(&[("region", "eu"), ("stage", "packed")]));
    assert_eq!(of(fixture, ending).await, attributes(&[("stage", "done")]));

    // A later append changes one, sets one to what it is, and removes one that is there and one that is not
    let draft = writer.draft().event(run);
    let draft = change(draft, run, "absent", None);
    let draft = change(draft, run, "customer", Some("42"));
    let draft = change(draft, run, "region", None);
    writer.write(change(draft, run, "stage", Some("packed"))).await;
    assert_eq!(of(fixture, run).await, attributes(&[("customer", "42"), ("stage", "packed")]));
    assert_eq!(list(fixture, &with(&[("region", "eu")]), None, 10).await, []);

    writer.write(change(writer.draft().event(run).close(run), run, "stage", Some("done"))).await;
    assert_eq!(list(fixture, &with(&[("stage", "done")]), None, 10).await.len(), 2);
}

pub async fn runs_are_listed_by_all_of_some_attributes_newest_first(fixture: &Fixture) {
    // Given runs of two regions, of which every third is over, and every fourth has a stage
    let mut writer = fixture.writer().await;
    let mut runs = Vec::new();
    for number in 0..24_usize {
        let (run, is_over) = (fixture.run(number as u16 % 4), number % 3 == 2);
        let draft = writer.draft().event(run);
        let draft = if is_over { draft.close(run) } else { draft.open(run, busy()) };
        let draft = change(draft, run, "region", Some(["eu", "us"][number % 2]));
        let staged = number % 4 == 0;
        writer.write(if staged { change(draft, run, "stage", Some("packed")) } else { draft }).await;
        runs.push((run, number));
    }
    runs.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
    let selected = |is: &dyn Fn(usize) -> bool| -> Vec<RunId> {
        runs.iter().filter(|(_, number)| is(*number)).map(|(run, _)| *run).collect()
    };
    let eu = || with(&[("region", "eu")]);
    let all_eu = selected(&|number| number % 2 == 0);
    assert_eq!(list(fixture, &eu(), None, 100).await, all_eu);
    let paged = all_pages(5, async |last| list(fixture, &eu(), last, 5).await).await;
    assert_eq!(paged, all_eu);

    for (filter, expected) in [
        (with(&[("region", "eu"), ("stage", "packed")]), selected(&|number| number % 4 == 0)),
        (with(&[("region", "us"), ("stage", "packed")]), vec![]),
        (with(&[("region", "e")]), vec![]),
        (with(&[("stage", "packed")]), selected(&|number| number % 4 == 0)),
        (RunFilter { open: Some(true), ..eu() }, selected(&|number| number % 2 == 0 && number % 3 != 2)),
        (RunFilter { open: Some(false), ..eu() }, selected(&|number| number % 2 == 0 && number % 3 == 2)),
        (RunFilter { status: Some(ClosedStatus::Completed), ..eu() }, selected(&|number| number % 6 == 2)),
        (RunFilter { status: Some(ClosedStatus::Failed), ..eu() }, vec![]),
        (RunFilter { workflow: Some(WORKFLOW.to_owned()), ..eu() }, all_eu.clone()),
        (RunFilter { workflow: Some("other".to_owned()), ..eu() }, vec![]),
        (RunFilter { parent: Some(runs[0].0), ..eu() }, vec![]),
        (RunFilter { since: Some(all_eu[3]), ..eu() }, all_eu[..4].to_vec()),
    ] {
        assert_eq!(list(fixture, &filter, None, 100).await, expected, "{filter:?}");
        let paged = all_pages(2, async |last| list(fixture, &filter, last, 2).await).await;
        assert_eq!(paged, expected, "{filter:?}");
    }

    // And the horizon of such a list counts runs with the first attribute only, open or over
    let horizon = async |filter: &RunFilter, before, limit| {
        fixture.store.query().horizon(filter, &RunPage { before, limit }).await.unwrap()
    };
    assert_eq!(horizon(&eu(), None, 1).await, Some(all_eu[0]));
    assert_eq!(horizon(&RunFilter { open: Some(true), ..eu() }, None, 5).await, Some(all_eu[4]));
    assert_eq!(horizon(&eu(), Some(all_eu[4]), 2).await, Some(all_eu[6]));
    assert_eq!(horizon(&eu(), None, 13).await, None);
    assert_eq!(horizon(&with(&[("region", "mars")]), None, 1).await, None);
}
