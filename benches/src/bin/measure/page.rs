//! Rewrites the measured blocks and the plots of `docs/performance.md`; its prose is written by hand. It must not
//! measure.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value, context};
use pgworkflows_benches::Failure;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::figures::{Summary, number};
use crate::plots;

/// The measured blocks, each between its marker and the end marker, as they are on the page.
const TEMPLATE: &str = include_str!("page.md.jinja");

const MARKER: &str = "<!-- measured: ";
const END: &str = "<!-- end -->";

/// The measurements that compare throughput, and what each of them does.
const GROWTH: [(&str, &str); 8] = [
    ("closed", "over closed runs"),
    ("events", "over events"),
    ("parked", "over parked runs"),
    ("partitions_1", "1 partition more"),
    ("partitions_10", "10 partitions"),
    ("partitions_60", "60 partitions"),
    ("snapshot", "with a snapshot held"),
    ("neighbour", "beside a writer"),
];

/// The histories of the replay benchmark.
pub(crate) const KINDS: [&str; 4] = ["activities", "timers", "fan-out", "signals"];

/// Their lengths.
pub(crate) const EVENTS: [u32; 5] = [10, 100, 1_000, 10_000, 100_000];

/// The figures of each measurement by their names, with the facts of the `machine`.
pub(crate) type Results = BTreeMap<String, Json>;

/// Rewrites the page and the plots in the directory of the page's name.
pub(crate) fn rewrite(page: &Path, results: &Results) -> Result<(), Failure> {
    let text = fs::read_to_string(page).map_err(|error| format!("{}: {error}", page.display()))?;
    fs::write(page, replace(text, &render(results)?)?)?;

    let directory = page.with_extension("");
    fs::create_dir_all(&directory)?;
    let share =
        |(name, label): (&str, _)| Some((label, results.get(name)?["share_percent"]["median"].as_f64()?));
    plots::shares(&directory.join("growth.svg"), &GROWTH.into_iter().filter_map(share).collect::<Vec<_>>())?;
    let curve = |name: &'static str| {
        let point =
            |events| Some((f64::from(events), results.get("replay")?[format!("{name}/{events}")].as_f64()?));
        (name, EVENTS.into_iter().filter_map(point).collect())
    };
    let curves = ["activities/decoded", "activities/bytes", "timers/bytes", "fan-out/bytes", "signals/bytes"];
    plots::costs(&directory.join("replay.svg"), &curves.map(curve))
}

/// The blocks with all figures. A figure that is missing shows.
fn render(results: &Results) -> Result<String, Failure> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).build()?);
    environment.add_filter("median", |figure: Value| {
        Summary::deserialize(figure).map_or_else(|_| String::new(), |sum| number(sum.median))
    });
    environment.add_filter("spread", |figure: Value, scale: Option<f64>| {
        let summary = Summary::deserialize(figure);
        summary.map_or_else(|_| "not measured".to_owned(), |sum| sum.scaled(scale.unwrap_or(1.0)).to_string())
    });
    environment.add_filter("number", number);
    let context = context! { r => Serde(results), growth => GROWTH, kinds => KINDS, lengths => EVENTS };
    Ok(environment.render_str(TEMPLATE, context)?)
}

/// Puts each block of `blocks` in the place of the page's block with the same marker.
fn replace(mut page: String, blocks: &str) -> Result<String, Failure> {
    for block in blocks.split_inclusive(END).filter_map(|text| text.find(MARKER).map(|at| &text[at..])) {
        let marker = block.lines().next().unwrap_or_default();
        let missing = || format!("the page has no block from `{marker}` to `{END}`");
        let begin = page.find(marker).ok_or_else(missing)?;
        let length = page[begin..].find(END).ok_or_else(missing)? + END.len();
        page.replace_range(begin..begin + length, block);
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Results, render, replace};

    #[test]
    fn measured_figures_stand_beside_their_goals_and_gaps_are_named() {
        let figure = |value| json!({ "median": value, "least": 0.9 * value, "greatest": value });
        let results = Results::from([
            (
                "same".to_owned(),
                json!({ "runs_per_second": figure(21_234.0), "wal_bytes_per_run": figure(1_784.0) }),
            ),
            ("closed".to_owned(), json!({ "share_percent": figure(95.0) })),
            (
                "replay".to_owned(),
                json!({ "activities/decoded/100": 300.0, "activities/decoded/100000": 330.0 }),
            ),
        ]);

        let blocks = render(&results).unwrap();

        for line in [
            "| ≥ 20,000 | 21,234 (19,111 to 21,234) | 603 (Restate) |",
            "| ≤ 2.5 | 1.78 (1.61 to 1.78) | 2.9–8.7 |",
            "| ≤ 45 | not measured | 240–6,000 |",
            "| ≤ 1.1 | 1.1 / not measured | 3 (duroxide, at 10,000) |",
            "\n| one activity | 21,234 |  |",
            "\n| over closed runs |  |  | 95 |",
            "\n| activities, decoded |  | 300 |  |  | 330 |\n| activities, bytes |  |",
        ] {
            assert!(blocks.contains(line), "{line:?} is not in {blocks}");
        }
    }

    #[test]
    fn only_blocks_are_replaced() {
        let page =
            "a\n<!-- measured: x -->\nold\n<!-- end -->\nb\n<!-- measured: y -->\nstays\n<!-- end -->\n";
        let block = "<!-- measured: x -->\n\nnew\n\n<!-- end -->\n";

        let page = replace(page.to_owned(), block).unwrap();

        let expected =
            "a\n<!-- measured: x -->\n\nnew\n\n<!-- end -->\nb\n<!-- measured: y -->\nstays\n<!-- end -->\n";
        assert_eq!(page, expected);
        let missing = replace(page, "<!-- measured: z -->\n<!-- end -->").unwrap_err();
        assert!(missing.to_string().contains("measured: z"));
    }
}
