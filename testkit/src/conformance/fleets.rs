//! Leases of different builds: which of them gets a shard, what their heartbeats say, and what a client learns of them.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use pgworkflows_core::id::{Name, ShardId};
use pgworkflows_core::store::{Build, Need, ShardNeeds, Standing};

use super::fixture::Fixture;
use super::writer::{Draft, LONG, QUEUE, SHARDS, WORKFLOW, Writer, busy};

fn build(generation: u64, workflows: &[&str]) -> Build {
    Build { generation, workflows: workflows.iter().map(|workflow| Name::from(*workflow)).collect() }
}

/// A batch which says that a shard needs a workflow.
fn need(draft: Draft, shard: ShardId, workflow: &str) -> Draft {
    draft.change(|append| append.needs.push(Need { shard, workflow: workflow.into() }))
}

/// What the lease may own: how many share with it, how many shards they share, how many it can claim, whether it is outdated.
async fn standing(writer: &mut Writer) -> (u32, u16, u16, bool) {
    let Standing { members, shared, claimable, outdated, .. } = writer.standing().await;
    (members, shared, claimable, outdated)
}

pub async fn lease_shares_its_shards_with_newer_builds_and_those_that_know_more(fixture: &Fixture) {
    // Given leases of two generations, of one that knows more, and of one that knows something else
    let mut older = fixture.claim_as(build(1, &["a"]), 1, LONG).await;
    let mut newer = fixture.claim_as(build(2, &["a"]), 1, LONG).await;
    let mut more = fixture.claim_as(build(1, &["a", "b"]), 1, LONG).await;
    let mut other = fixture.claim_as(build(9, &["c"]), 0, LONG).await;

    // Then each shares what it owns, and what is free, with those that are better
    assert_eq!(standing(&mut older).await, (3, SHARDS, 0, true));
    assert_eq!(standing(&mut newer).await, (2, 3, 0, true));
    assert_eq!(standing(&mut more).await, (1, 2, 1, false));
    assert_eq!(standing(&mut other).await, (1, 1, 1, false));

    // And where that cannot be divided evenly, the oldest of them comes first
    assert_eq!([older.standing().await.place, newer.standing().await.place], [0, 0]);
    let same = &mut fixture.claim_as(build(1, &["a", "b"]), 0, LONG).await;
    assert_eq!([more.standing().await.place, same.standing().await.place], [0, 1]);
}

pub async fn outdated_lease_claims_nothing_until_the_better_one_is_over(fixture: &Fixture) {
    let mut older = fixture.claim_as(build(1, &["a"]), 1, LONG).await;
    let _newer = fixture.claim_as(build(2, &["a"]), 1, fixture.harness.lease_ttl()).await;
    assert_eq!(older.claim_again(SHARDS).await.unwrap().shards.len(), 1);
    let joining = fixture.claim_as(build(1, &["a"]), SHARDS, LONG).await;
    assert_eq!(joining.shards, []);

    // When the newer one has expired, then the older ones get what is free
    fixture.harness.let_lease_expire().await;
    assert_eq!(standing(&mut older).await, (2, SHARDS, SHARDS - 1, false));
    assert_eq!(older.claim_again(SHARDS).await.unwrap().shards.len(), usize::from(SHARDS));
}

pub async fn answer_to_a_claim_names_the_shards_of_an_outdated_lease(fixture: &Fixture) {
    let mut older = fixture.claim_as(build(1, &["a"]), 2, LONG).await;
    let _newer = fixture.claim_as(build(2, &["a"]), 0, LONG).await;
    let shards = older.claim_again(2).await.unwrap().shards;
    assert_eq!(shards.iter().map(|claimed| claimed.shard).collect::<Vec<_>>(), older.shards);
}

pub async fn shard_goes_to_a_lease_that_knows_what_it_needs(fixture: &Fixture) {
    // Given shards of which one needs a workflow, and another one two
    let (both, first) = (build(1, &["b", WORKFLOW]), build(1, &[WORKFLOW]));
    let mut owner = fixture.claim_as(both.clone(), SHARDS, LONG).await;
    for shard in [0, 1] {
        let run = fixture.run(shard);
        let draft = owner.draft().open(run, busy()).event(run);
        owner.write(need(draft, fixture.shard(shard), WORKFLOW)).await;
    }
    owner.write(need(owner.draft(), fixture.shard(1), "b")).await;
    owner.release().await;

    // When a lease that knows only the one and a lease that knows only the other are live
    let mut one = fixture.claim_as(first, 0, LONG).await;
    let mut other = fixture.claim_as(build(1, &["b"]), 0, LONG).await;

    // Then the first shard goes to the one, and the second to any, because nobody knows both
    assert_eq!(standing(&mut one).await.2, SHARDS);
    assert_eq!(standing(&mut other).await.2, SHARDS - 1);
    let claimed = other.claim_again(SHARDS).await.unwrap().shards;
    let claimed: Vec<_> = claimed.iter().map(|claimed| claimed.shard).collect();
    assert_eq!(claimed, fixture.shards()[1..]);

    // And when one comes that knows both, then the second one is to be released
    let mut third = fixture.claim_as(both, 0, LONG).await;
    assert_eq!(one.heartbeat(None).await.misplaced, []);
    assert_eq!(other.heartbeat(None).await.misplaced, [fixture.shard(1)]);
    other.positions.insert(fixture.shard(1), owner.positions[&fixture.shard(1)]);
    other.write(other.draft().release(fixture.shard(1))).await;
    assert_eq!(other.heartbeat(None).await.misplaced, []);
    assert_eq!(third.claim_again(1).await.unwrap().shards[0].shard, fixture.shard(0));
    assert_eq!(third.claim_again(SHARDS).await.unwrap().shards.len(), 2);
}

pub async fn shard_that_a_live_lease_releases_goes_to_no_worse_build(fixture: &Fixture) {
    // Given leases of two builds of which neither knows what the other knows, and a shard that the one releases
    let mut owner = fixture.claim_as(build(1, &["a"]), SHARDS, LONG).await;
    let mut other = fixture.claim_as(build(1, &["b"]), 0, LONG).await;
    owner.write(owner.draft().release(fixture.shard(0))).await;

    // Then the other cannot claim it, and a lease of the same build can
    assert_eq!(standing(&mut other).await.2, 0);
    assert_eq!(other.claim_again(SHARDS).await.unwrap().shards, []);
    let mut same = fixture.claim_as(build(1, &["a"]), 0, LONG).await;
    assert_eq!(standing(&mut same).await.2, 1);
    assert_eq!(same.claim_again(1).await.unwrap().shards.len(), 1);

    // And it can claim one whose owner is over
    same.release().await;
    assert_eq!(standing(&mut other).await.2, 1);
    assert_eq!(other.claim_again(SHARDS).await.unwrap().shards.len(), 1);
}

pub async fn need_that_no_live_lease_knows_keeps_no_shard_from_others(fixture: &Fixture) {
    let mut owner = fixture.claim_as(build(1, &["gone", "a"]), SHARDS, LONG).await;
    owner.write(need(need(owner.draft(), fixture.shard(0), "gone"), fixture.shard(0), "a")).await;
    owner.release().await;

    // When nobody knows the one workflow, then the shard goes to a lease that knows the other
    let mut other = fixture.claim_as(build(1, &["b"]), 0, LONG).await;
    let mut one = fixture.claim_as(build(1, &["a"]), 0, LONG).await;
    assert_eq!((standing(&mut other).await.2, standing(&mut one).await.2), (SHARDS - 1, SHARDS));
}

pub async fn claim_tells_what_shards_need(fixture: &Fixture) {
    // Given two workflows that a shard needs, told more than once
    let mut owner = fixture.claim_as(build(1, &["b", WORKFLOW]), SHARDS, LONG).await;
    let run = fixture.run(0);
    let draft = owner.draft().open(run, busy()).event(run);
    owner.write(need(need(draft, fixture.shard(0), WORKFLOW), fixture.shard(0), "b")).await;
    owner.write(need(owner.draft(), fixture.shard(0), "b")).await;
    let claimed = owner.claim_again(SHARDS).await.unwrap().shards;
    assert_eq!(claimed[0].needs, ["b", WORKFLOW]);
    assert_eq!(claimed[1].needs, Vec::<Name>::new());

    // Then people and the next owner are told of both
    let needs = ShardNeeds { shard: fixture.shard(0), workflows: vec!["b".into(), WORKFLOW.into()] };
    assert_eq!(fixture.store.query().describe_queue(QUEUE).await.unwrap().unwrap().needs, [needs]);
    owner.release().await;
    let mut next = fixture.claim_as(build(1, &["b", WORKFLOW]), 1, LONG).await;
    assert_eq!(next.claim_again(1).await.unwrap().shards[0].needs, ["b", WORKFLOW]);
}

pub async fn need_without_an_open_run_is_forgotten_when_the_owner_does_not_know_it(fixture: &Fixture) {
    // Given an owner that began runs of a workflow in two shards, one of which is over
    let mut owner = fixture.claim_as(build(1, &["b", WORKFLOW]), SHARDS, LONG).await;
    let (open, over) = (fixture.run(0), fixture.run(1));
    let draft = owner.draft().open(open, busy()).event(open);
    owner.write(need(draft, fixture.shard(0), WORKFLOW)).await;
    owner.open_and_close(over).await;
    let draft = need(owner.draft(), fixture.shard(1), WORKFLOW);
    owner.write(need(draft, fixture.shard(1), "b")).await;
    owner.release().await;

    // When the next owner does not know it, then only the shard with the open run needs it
    let mut next = fixture.claim_as(build(1, &["b"]), SHARDS, LONG).await;
    let claimed = next.claim_again(SHARDS).await.unwrap().shards;
    assert_eq!(claimed[0].needs, [WORKFLOW]);
    assert_eq!(claimed[1].needs, ["b"], "it may begin runs of that at any time");
}

pub async fn need_of_a_foreign_shard_is_fenced(fixture: &Fixture) {
    let mut owner = fixture.claim(1, LONG).await;
    let mut other = fixture.claim(1, LONG).await;
    owner.expect_fenced(need(owner.draft(), other.shards[0], "a")).await;
    assert_eq!(other.claim_again(1).await.unwrap().shards[0].needs, Vec::<Name>::new());
}

pub async fn other_needs_with_the_same_number_are_fenced(fixture: &Fixture) {
    let mut owner = fixture.writer().await;
    let (number, shard) = (owner.number, fixture.shard(0));
    owner.write(need(owner.draft(), shard, "a")).await;
    owner.write(need(owner.draft().numbered(number), shard, "a")).await;
    owner.expect_fenced(need(owner.draft().numbered(number), shard, "b")).await;
}

pub async fn queue_is_described_with_the_builds_of_its_leases(fixture: &Fixture) {
    let builds = [build(7, &["a", "b"]), build(0, &[])];
    for build in &builds {
        fixture.claim_as(build.clone(), 0, LONG).await;
    }
    let described = fixture.store.query().describe_queue(QUEUE).await.unwrap().unwrap();
    assert_eq!(described.leases.iter().map(|lease| lease.build.clone()).collect::<Vec<_>>(), builds);
}

pub async fn queues_are_listed_by_name_with_the_clock_and_none_is_created(fixture: &Fixture) {
    let query = fixture.store.query();
    let names = async || query.queues().await.unwrap().into_iter().map(|queue| queue.name);
    assert_eq!(names().await.collect::<Vec<_>>(), [QUEUE]);
    fixture.store.queue("a queue before it", 2).await.unwrap();
    let opened = fixture.store.queue(QUEUE, SHARDS).await.unwrap();

    let queues = query.queues().await.unwrap();
    let [before, queue] = &queues[..] else { panic!("{queues:?}") };
    assert_eq!((before.name.as_str(), before.shard_count), ("a queue before it", 2));
    assert_eq!((queue.first_shard, queue.shard_count), (opened.first_shard, opened.shard_count));
    assert!(before.now >= opened.now && queue.now == before.now);
    assert_eq!(query.describe_queue("another").await.unwrap(), None);
    assert_eq!(names().await.count(), 2);
}

pub async fn queues_of_a_workflow_are_those_of_live_leases_or_that_of_the_last_one(fixture: &Fixture) {
    let queues = async |workflow: &str| fixture.store.query().queues_of(workflow).await.unwrap();
    let elsewhere = async |build: Build| {
        fixture.store.queue("another", 2).await.unwrap();
        let session = fixture.store.session().await.unwrap();
        Writer::claim_in("another", session, build, 1, fixture.harness.lease_ttl()).await
    };
    assert_eq!(queues("a").await, Vec::<String>::new());

    // Given leases of two queues that know a workflow
    let mut one = fixture.claim_as(build(1, &["a"]), 1, LONG).await;
    fixture.harness.let_lease_expire().await;
    elsewhere(build(1, &["a", "b"])).await;
    assert_eq!(queues("a").await, ["another", QUEUE]);
    assert_eq!(queues("b").await, ["another"]);

    // When one has expired, then the other is left
    fixture.harness.let_lease_expire().await;
    assert_eq!(queues("a").await, [QUEUE]);
    assert_eq!(queues("b").await, ["another"], "nobody else knows it");

    // And when none is live, it is the queue of the last one
    one.release().await;
    assert_eq!(queues("a").await, ["another"]);
    fixture.harness.let_lease_expire().await;
    fixture.claim_as(build(2, &["a"]), 1, LONG).await.release().await;
    assert_eq!(queues("a").await, [QUEUE]);
}
