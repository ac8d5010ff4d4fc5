//! `docs/performance.md`: its tables and plots are rewritten, its prose is by hand. It must not measure by itself.

mod figures;
mod measurements;
mod svg;
mod tables;

use std::fs;
use std::path::Path;

pub use self::measurements::{Results, Size, measure};
use crate::Failure;

/// Rewrites the parts of the page that are measured, and its plots beside it.
///
/// # Errors
/// If the page or a marker in it is not there, or a file cannot be written.
pub fn rewrite(page: &Path, results: &Results) -> Result<(), Failure> {
    let mut text = fs::read_to_string(page).map_err(|error| format!("{}: {error}", page.display()))?;
    let parts = [
        ("machine", tables::machine(results)),
        ("figures", figures::table(results)),
        ("loads", tables::loads(results)),
        ("growth", tables::growth(results)),
        ("replay", tables::replay(results)),
    ];
    for (name, part) in parts {
        text = replace(&text, name, &part)?;
    }
    let plots = page.with_extension("");
    fs::create_dir_all(&plots)?;
    for (name, plot) in
        [("growth.svg", tables::growth_plot(results)), ("replay.svg", tables::replay_plot(results))]
    {
        fs::write(plots.join(name), plot)?;
    }
    Ok(fs::write(page, text)?)
}

/// Puts a part between its markers.
fn replace(text: &str, name: &str, part: &str) -> Result<String, Failure> {
    let (begin, end) = (format!("<!-- measured: {name} -->"), "<!-- end -->");
    let missing = || format!("the page has no part between `{begin}` and `{end}`");
    let (before, rest) = text.split_once(&begin).ok_or_else(missing)?;
    let (_, after) = rest.split_once(end).ok_or_else(missing)?;
    Ok(format!("{before}{begin}\n\n{}\n\n{end}{after}", part.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::replace;

    #[test]
    fn only_what_stands_between_the_markers_is_replaced() {
        let page =
            "a\n<!-- measured: x -->\nold\n<!-- end -->\nb\n<!-- measured: y -->\nstays\n<!-- end -->\n";

        let page = replace(page, "x", "new").unwrap();

        let expected =
            "a\n<!-- measured: x -->\n\nnew\n\n<!-- end -->\nb\n<!-- measured: y -->\nstays\n<!-- end -->\n";
        assert_eq!(page, expected);
        assert_eq!(replace(&page, "x", "new").unwrap(), page);
        assert!(replace(&page, "z", "new").unwrap_err().to_string().contains("measured: z"));
    }
}
