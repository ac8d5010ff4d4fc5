//! Times in order of their size.

use std::time::Duration;

use super::{Figure, millis};

/// Measured times, sorted.
#[derive(Debug)]
pub struct Distribution(Vec<Duration>);

impl Distribution {
    /// Sorts times.
    pub fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// The smallest time that so many of a hundred are not above; zero if there are none.
    pub fn percentile(&self, percent: u32) -> Duration {
        let rank = (self.0.len() * percent as usize).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }

    /// Median, 99th percentile and maximum, in milliseconds.
    pub fn figures(&self, name: &str) -> Vec<Figure> {
        [("p50", 50), ("p99", 99), ("max", 100)]
            .map(|(word, percent)| Figure::new(format!("{name}_{word}_ms"), millis(self.percentile(percent))))
            .into()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Distribution;

    #[test]
    fn percentiles_are_measured_times() {
        let hundred = Distribution::new((1..=100).rev().map(Duration::from_millis).collect());
        assert_eq!(hundred.percentile(50), Duration::from_millis(50));
        assert_eq!(hundred.percentile(99), Duration::from_millis(99));
        assert_eq!(hundred.percentile(100), Duration::from_millis(100));

        let one = Distribution::new(vec![Duration::from_millis(7)]);
        assert_eq!(one.percentile(50), Duration::from_millis(7));
        assert_eq!(Distribution::new(Vec::new()).percentile(99), Duration::ZERO);
    }
}
