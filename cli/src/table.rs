//! Tables for people: columns without lines, no wider than the terminal if they fit. It must not know what is in them.

use std::io::IsTerminal;

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};

use crate::visible::visible;

/// The last column is not made narrower than this.
const LAST_MIN: u16 = 20;

/// A table with these columns. On a terminal, the cells of the last one are wrapped; elsewhere lines are as long as they are.
pub(crate) fn table<'a>(columns: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let is_terminal = std::io::stdout().is_terminal();
    let arrangement = if is_terminal { ContentArrangement::Dynamic } else { ContentArrangement::Disabled };
    table.set_content_arrangement(arrangement);
    table.set_header(columns);
    table
}

/// The table as text, without spaces at the ends of lines.
pub(crate) fn text(mut table: Table) -> String {
    let last = table.column_count().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        // An id that is taken apart cannot be copied.
        column.set_constraint(if index == last {
            ColumnConstraint::LowerBoundary(Width::Fixed(LAST_MIN))
        } else {
            ColumnConstraint::ContentWidth
        });
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// What a cell without a value shows.
pub(crate) fn or_dash(text: Option<impl Into<String>>) -> String {
    text.map_or_else(|| "-".to_owned(), Into::into)
}

/// A text in one line that can be shown, cut at a number of characters.
pub(crate) fn cut(text: &str, chars: usize) -> String {
    let line = text.replace(['\n', '\r', '\t'], " ");
    let line = visible(&line);
    if line.chars().count() <= chars {
        return line.into_owned();
    }
    line.chars().take(chars.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells_and_lines_end_with_text() {
        let mut runs = table(["RUN", "STATUS", "NOTE"]);
        runs.add_row(["1", "completed", ""]);
        runs.add_row(["1000", "-", "a note"]);
        assert_eq!(text(runs), "RUN   STATUS     NOTE\n1     completed\n1000  -          a note");
        assert_eq!((or_dash(None::<&str>).as_str(), or_dash(Some("x")).as_str()), ("-", "x"));
    }

    #[test]
    fn terminal_that_is_narrow_wraps_the_last_column_and_takes_no_id_apart() {
        let shown = |width| {
            let mut runs = table(["RUN", "STATUS", "WAITS FOR"]);
            runs.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
            runs.add_row([
                "019b7a00-0000-7007-8000-000000000002",
                "waiting",
                "signal `approve` of its manager",
            ]);
            text(runs)
        };
        expect_test::expect![[r#"
            RUN                                   STATUS   WAITS FOR
            019b7a00-0000-7007-8000-000000000002  waiting  signal `approve` of its manager"#]]
        .assert_eq(&shown(80));
        expect_test::expect![[r#"
            RUN                                   STATUS   WAITS FOR
            019b7a00-0000-7007-8000-000000000002  waiting  signal `approve`
                                                           of its manager"#]]
        .assert_eq(&shown(30));
    }

    #[test]
    fn text_in_a_cell_is_one_line_that_can_be_shown() {
        assert_eq!((cut("a\nb", 9).as_str(), cut("äbcdef", 4).as_str()), ("a b", "äbc…"));
        assert_eq!(cut("a\u{1b}[2Jb", 40), "a\\u{1b}[2Jb");
    }
}
