//! Numbers that were measured, and how they are printed. It must not measure.

use std::fmt;
use std::time::Duration;

use pgworkflows_benches::Failure;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A number with its name, which ends with the unit.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    name: String,
    value: f64,
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, value: f64) -> Self {
        Self { name: name.into(), value }
    }
}

impl Figure {
    /// The figure of that name among those of another measurement, as a multiple of this one.
    pub(crate) fn ratio_of(&self, others: &[Self]) -> Option<Self> {
        let other = others.iter().find(|other| other.name == self.name)?;
        Some(Self::new(format!("{}_ratio", self.name), other.value / self.value))
    }

    pub(crate) fn prefixed(self, prefix: &str) -> Self {
        Self { name: format!("{prefix}{}", self.name), ..self }
    }
}

/// The median, 99th percentile and maximum of some times, in milliseconds.
pub(crate) fn percentiles(name: &str, mut times: Vec<Duration>) -> impl Iterator<Item = Figure> {
    times.sort_unstable();
    [("p50", 50), ("p99", 99), ("max", 100)].into_iter().map(move |(word, percent)| {
        let rank = (times.len() * percent).div_ceil(100).max(1);
        Figure::new(format!("{name}_{word}_ms"), millis(times.get(rank - 1).copied().unwrap_or_default()))
    })
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// One figure over all repetitions. It is printed as its median, with least and greatest if they differ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    least: f64,
    greatest: f64,
}

impl Summary {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Self { median: low.midpoint(high), least: values[0], greatest: values[values.len() - 1] }
    }

    /// The same in another unit.
    pub(crate) fn scaled(self, scale: f64) -> Self {
        Self { median: self.median * scale, least: self.least * scale, greatest: self.greatest * scale }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&number(self.median))?;
        if self.least < self.greatest {
            write!(f, " ({} to {})", number(self.least), number(self.greatest))?;
        }
        Ok(())
    }
}

/// Prints the figures of all repetitions, which are the same in each: for programs as one JSON object with `facts`, for
/// people as a table.
#[expect(clippy::print_stdout, reason = "it is what the program is asked for")]
pub(crate) fn print(
    as_json: bool,
    facts: impl Serialize,
    repetitions: &[Vec<Figure>],
) -> Result<(), Failure> {
    let first = repetitions.first().map(Vec::as_slice).unwrap_or_default();
    let summaries = first.iter().enumerate().map(|(index, figure)| {
        (&figure.name, Summary::of(repetitions.iter().map(|figures| figures[index].value).collect()))
    });
    if as_json {
        let figures: Map<String, Value> = summaries.map(|(name, sum)| (name.clone(), json!(sum))).collect();
        println!("{}", json!({ "facts": facts, "figures": figures }));
    } else {
        summaries.for_each(|(name, summary)| println!("{name:30} {summary}"));
    }
    Ok(())
}

/// A number for people: with commas between thousands, and with three significant digits if it is small.
pub(crate) fn number(value: f64) -> String {
    let magnitude = if value == 0.0 { 2.0 } else { value.abs().log10().floor() };
    let decimals = (2.0 - magnitude).clamp(0.0, 4.0) as usize;
    let text = format!("{value:.decimals$}");
    if decimals > 0 {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let (sign, digits) = text.split_at(usize::from(value < 0.0));
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    format!("{sign}{}", groups.join(","))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Summary, number, percentiles};

    #[test]
    fn percentiles_are_measured_times() {
        let of = |times| percentiles("t", times).map(|figure| figure.value).collect::<Vec<_>>();
        assert_eq!(of((1..=100).rev().map(Duration::from_millis).collect()), [50.0, 99.0, 100.0]);
        assert_eq!(of(vec![Duration::from_millis(7)]), [7.0, 7.0, 7.0]);
        assert_eq!(of(Vec::new()), [0.0, 0.0, 0.0]);
    }

    #[test]
    fn repetitions_become_their_median_with_its_spread() {
        assert_eq!(Summary::of(vec![30.0, 10.0, 11.0]).to_string(), "11 (10 to 30)");
        assert_eq!(Summary::of(vec![7.0, 7.0]).to_string(), "7");
    }

    #[test]
    fn numbers_are_written_for_people() {
        let written = [0.0, 0.01234, 1.0, 1.204, 34.56, 123.4, 1_234_567.8, -1_234.0].map(number);
        assert_eq!(written, ["0", "0.0123", "1", "1.2", "34.6", "123", "1,234,568", "-1,234"]);
    }
}
