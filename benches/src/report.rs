//! Prints what was measured: for a program as JSON, for people as a table. It must not measure.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::measure::Figure;

/// The median of each figure, with its least and greatest value, in the order of the first repetition.
#[derive(Debug)]
pub struct Summary(Vec<Summarized>);

/// One figure over all repetitions.
#[derive(Clone, Debug, PartialEq)]
pub struct Summarized {
    /// Its name.
    pub name: String,
    /// The median.
    pub median: f64,
    /// The least value.
    pub least: f64,
    /// The greatest value.
    pub greatest: f64,
}

impl Summary {
    /// Sums repetitions up.
    pub fn new(repetitions: &[Vec<Figure>]) -> Self {
        let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        let mut names: Vec<&str> = Vec::new();
        for figure in repetitions.iter().flatten() {
            let of_name = values.entry(&figure.name).or_default();
            if of_name.is_empty() {
                names.push(&figure.name);
            }
            of_name.push(figure.value);
        }
        let summarized = names.into_iter().map(|name| {
            let mut sorted = values.remove(name).unwrap_or_default();
            sorted.sort_unstable_by(f64::total_cmp);
            let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
            Summarized {
                name: name.to_owned(),
                median: low.midpoint(high),
                least: sorted[0],
                greatest: sorted[sorted.len() - 1],
            }
        });
        Self(summarized.collect())
    }

    /// One JSON object: `facts` first, then a number per figure, then the spread if there were repetitions.
    pub fn json(&self, facts: Map<String, Value>) -> Value {
        let mut object = facts;
        for figure in &self.0 {
            object.insert(figure.name.clone(), json!(rounded(figure.median)));
        }
        let spread: Map<String, Value> = self
            .0
            .iter()
            .filter(|figure| figure.least < figure.greatest)
            .map(|figure| (figure.name.clone(), json!([rounded(figure.least), rounded(figure.greatest)])))
            .collect();
        if !spread.is_empty() {
            object.insert("spread".to_owned(), Value::Object(spread));
        }
        Value::Object(object)
    }

    /// A table: a line per figure.
    pub fn table(&self) -> String {
        let width = self.0.iter().map(|figure| figure.name.len()).max().unwrap_or_default();
        let lines = self.0.iter().map(|figure| {
            let spread = if figure.least < figure.greatest {
                format!("   ({} to {})", rounded(figure.least), rounded(figure.greatest))
            } else {
                String::new()
            };
            format!("{:width$}  {:>12}{spread}", figure.name, rounded(figure.median))
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Four digits that count, as long as there are decimals: more would only pretend.
fn rounded(value: f64) -> f64 {
    let magnitude = if value == 0.0 { 0.0 } else { value.abs().log10().floor() };
    let scale = 10_f64.powf((3.0 - magnitude).max(0.0));
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::{Summary, rounded};
    use crate::measure::Figure;

    #[test]
    fn repetitions_become_medians_with_their_spread() {
        let repetition = |rate: f64| vec![Figure::new("rate", rate), Figure::new("rows", 7.0)];
        let summary = Summary::new(&[repetition(30.0), repetition(10.0), repetition(11.0)]);

        let object = summary.json(Map::new());

        assert_eq!(object, json!({"rate": 11.0, "rows": 7.0, "spread": {"rate": [10.0, 30.0]}}));
        assert_eq!(summary.table(), "rate            11   (10 to 30)\nrows             7");
    }

    #[test]
    fn numbers_have_four_digits_that_count() {
        assert_eq!(rounded(0.0123456), 0.01235);
        assert_eq!(rounded(12_345.6), 12_346.0);
        assert_eq!(rounded(7.65432), 7.654);
        assert_eq!(rounded(0.0), 0.0);
    }
}
