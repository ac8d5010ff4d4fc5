//! Times and durations as people read them. It must not know what happened then.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

/// A duration in its two greatest units, such as `3 h 5 min`; `0 s` below a second.
pub(crate) fn span(duration: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut rest = duration.as_secs();
    let mut parts = Vec::new();
    for (seconds, unit) in UNITS {
        let count = rest / seconds;
        rest %= seconds;
        if count > 0 {
            parts.push(format!("{count} {unit}"));
        } else if !parts.is_empty() {
            // Hours and seconds without minutes say no more than hours.
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

/// How long ago something was: `3 min ago`. A time that the clock has not reached counts as now.
pub(crate) fn ago(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    format!("{} ago", span((now - at).to_std().unwrap_or_default()))
}

/// When something is going to be: `in 3 min`, or `now` if the time has passed.
pub(crate) fn ahead(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    match (at - now).to_std() {
        Ok(left) if left >= Duration::from_secs(1) => format!("in {}", span(left)),
        Ok(_) | Err(_) => "now".to_owned(),
    }
}

/// A time to the second, such as `2026-01-31 12:00:00Z`.
pub(crate) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true).replacen('T', " ", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_has_two_units_that_follow_each_other() {
        for (seconds, shown) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3_600, "1 h"),
            (3_601, "1 h"),
            (3_660, "1 h 1 min"),
            (90_061, "1 d 1 h"),
            (86_400 * 400, "400 d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), shown);
        }
    }

    #[test]
    fn times_that_passed_are_ago_and_others_ahead() {
        let now: DateTime<Utc> = "2026-01-31T12:00:00.5Z".parse().unwrap();
        let at = |seconds| now + chrono::TimeDelta::seconds(seconds);
        assert_eq!((ago(at(-90), now).as_str(), ago(at(5), now).as_str()), ("1 min 30 s ago", "0 s ago"));
        assert_eq!((ahead(at(90), now).as_str(), ahead(at(-5), now).as_str()), ("in 1 min 30 s", "now"));
        assert_eq!(time(now), "2026-01-31 12:00:00Z");
    }
}
