//! The SQL functions, with calls from a seed.

use std::collections::BTreeMap;

use pgworkflows_hostile::sql::Functions;

/// How many calls are made.
const CALLS: usize = 6_000;

/// Another number of calls, and their seed: `1000000 42`.
const MORE: &str = "PGWORKFLOWS_SQL_CALLS";

/// How many of them are in one transaction.
const BATCH: usize = 300;

#[tokio::test]
async fn no_argument_makes_anything_but_a_documented_code() {
    let more = std::env::var(MORE).unwrap_or_default();
    let mut more = more.split(' ').map(|number| number.parse::<usize>().ok());
    let (calls, seed) = (more.next().flatten().unwrap_or(CALLS), more.next().flatten().unwrap_or(7));
    let mut functions = Functions::new().await.unwrap();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for batch in 0..calls / BATCH {
        if batch > 0 && batch % 1_000 == 0 {
            eprintln!("{} calls: {counts:?}", batch * BATCH);
        }
        // The next calls meet what these have done; what many have done would fill the disk.
        let keep = if batch < CALLS / BATCH { batch % 2 == 1 } else { batch % 64 == 0 };
        let seed = u64::try_from(seed ^ batch << 32).unwrap();
        for (code, count) in functions.attempt(seed, BATCH, keep).await.unwrap() {
            *counts.entry(code).or_default() += count;
        }
    }
    // The arguments are odd, and not all of them are: most codes are met often
    let often = |code: &str| counts.get(code).copied().unwrap_or_default();
    assert!(often("ok") > calls / 10, "{counts:?}");
    for code in ["PW101", "PW102", "PW103", "PW104", "PW105", "PW106", "PW107"] {
        assert!(often(code) > 0, "{code}: {counts:?}");
    }
    // And what was accepted can be read: by a worker, whose runs go on or stall. Each look is a round trip, so the worker has its turns
    let unread = "pgworkflows.inbox i join pgworkflows.open_runs o using (run_id)
                  where o.workflow in ('order', 'relay', 'ship') and i.shard < 4";
    let worker = functions.worker().unwrap();
    worker.run_until(async { while functions.count(unread).await.unwrap() > 0 {} }).await.unwrap();
}
