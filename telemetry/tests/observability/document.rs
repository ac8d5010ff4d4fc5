//! Reads `docs/observability.md`: the rows of its tables. It must not know what is tested.

use std::collections::BTreeSet;

/// A row that a table of the document must have.
pub(crate) type Row = Vec<String>;

/// The rows of all tables under a heading of the second or third level, up to the next one of that level.
pub(crate) fn rows(heading: &str) -> BTreeSet<Row> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/observability.md");
    let text = std::fs::read_to_string(path).expect("the document is there");
    let level = heading.split(' ').next().expect("a heading begins with its level").len();
    let is_heading = |line: &str| {
        line.starts_with('#') && line.split(' ').next().is_some_and(|marks| marks.len() <= level)
    };
    let lines = text.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !is_heading(line));
    let rows: BTreeSet<Row> = lines.filter_map(row).collect();
    assert!(!rows.is_empty(), "{heading} has no table");
    rows
}

/// The cells of a line of a table; none for its head.
fn row(line: &str) -> Option<Row> {
    let cells = line.strip_prefix("| ")?.strip_suffix(" |")?;
    let cells: Row = cells.split(" | ").map(|cell| cell.trim().to_owned()).collect();
    let is_head = ["level", "span", "metric"].contains(&cells[0].as_str());
    (!is_head).then_some(cells)
}

/// Names in back quotes, as the document lists them.
pub(crate) fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Compares what the code has with what the document has.
pub(crate) fn assert_same(what: &str, code: &BTreeSet<Row>, document: &BTreeSet<Row>) {
    let text =
        |rows: Vec<&Row>| rows.iter().map(|row| format!("| {} |\n", row.join(" | "))).collect::<String>();
    let (missing, extra) =
        (text(code.difference(document).collect()), text(document.difference(code).collect()));
    assert!(
        missing.is_empty() && extra.is_empty(),
        "docs/observability.md and the code have other {what}.\nIt lacks:\n{missing}It has in vain:\n{extra}"
    );
}
