//! Compares the server's clock with the caller's. Leases and timers follow the server's alone; people compare logs by theirs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pgworkflows_core::store::StoreError;

use super::{Check, Finding, Patient};
use crate::values::get;

/// What logs can be compared with.
const APART_MAX: Duration = Duration::from_secs(2);

const NOW: &str = "select (extract(epoch from pg_catalog.clock_timestamp()) * 1000000)::bigint";

pub(super) async fn check(patient: &mut Patient<'_>) -> Result<Finding, StoreError> {
    let before = here();
    let there: i64 = get(&patient.read_one(NOW).await?, 0)?;
    Ok(judge(Duration::from_micros(there.unsigned_abs()), before, here()))
}

fn here() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The server read its clock between two readings of ours.
fn judge(there: Duration, before: Duration, after: Duration) -> Finding {
    let (apart, direction) =
        if there < before { (before - there, "behind") } else { (there.saturating_sub(after), "ahead of") };
    if apart <= APART_MAX {
        return Finding::ok(Check::Clock, "the server's clock agrees with this machine's within 2 s");
    }
    Finding::warning(
        Check::Clock,
        format!("the server's clock is {apart:.1?} {direction} this machine's"),
        "runs follow the server's clock alone; have both clocks synchronised (NTP), or times in logs do not match",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::Verdict;

    #[test]
    fn clocks_that_differ_by_more_than_the_answer_took_are_apart() {
        let seconds = Duration::from_secs;
        for (there, before, after, verdict, words) in [
            (100, 100, 100, Verdict::Ok, "agrees"),
            (105, 100, 110, Verdict::Ok, "agrees"),
            (98, 100, 110, Verdict::Ok, "agrees"),
            (97, 100, 110, Verdict::Warning, "3.0s behind"),
            (113, 100, 110, Verdict::Warning, "3.0s ahead of"),
        ] {
            let finding = judge(seconds(there), seconds(before), seconds(after));
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.found.contains(words), "{finding:?}");
        }
    }
}
