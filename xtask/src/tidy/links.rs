//! Rules for links in Markdown. It must not ask the network.

/// The relative links to missing files and headings, each with its line. `exists` tells whether there is a file, and `read` what
/// is in a document; both take its path relative to the one that links to it.
pub(crate) fn check(
    text: &str,
    exists: impl Fn(&str) -> bool,
    read: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let problem = |(file, heading): (&str, Option<&str>)| {
        if !file.is_empty() && !exists(file) {
            return Some(format!("no file `{file}`"));
        }
        let heading = heading?;
        let (document, shown) =
            if file.is_empty() { (text.to_owned(), "this file") } else { (read(file)?, file) };
        let is_there = anchors(&document).iter().any(|anchor| anchor == heading);
        (!is_there).then(|| format!("no heading `#{heading}` in {shown}"))
    };
    prose(text)
        .flat_map(|(number, line)| {
            relative_links(line).filter_map(&problem).map(move |what| format!("line {number}: {what}"))
        })
        .collect()
}

/// The lines outside of code blocks, with their numbers from 1 on.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines().zip(1..).filter_map(move |(line, number)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        (!in_code && !is_fence).then_some((number, line))
    })
}

/// The targets of `[text](target)` within the project: a file, which is empty if it is this one, and a heading.
fn relative_links(line: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split([')', ' ']).next()?;
        let elsewhere = target.is_empty() || target.contains("://") || target.starts_with("mailto:");
        let (file, heading) = target.split_once('#').map_or((target, None), |(file, h)| (file, Some(h)));
        (!elsewhere).then_some((file, heading))
    })
}

/// The names by which GitHub links to the headings of a document. The second of one name ends in `-1`.
fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    let headings = prose(text).filter(|(_, line)| line.starts_with('#'));
    let headings = headings.filter_map(|(_, line)| line.trim_start_matches('#').strip_prefix(' '));
    for heading in headings {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let name = heading.trim().to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-");
        let repeated = |other: &&String| **other == name || other.strip_prefix(&name).is_some_and(is_number);
        let before = anchors.iter().filter(repeated).count();
        anchors.push(if before == 0 { name } else { format!("{name}-{before}") });
    }
    anchors
}

/// Whether this is what follows the name of a repeated heading, such as `-1`.
fn is_number(rest: &str) -> bool {
    rest.strip_prefix('-').is_some_and(|digits| digits.chars().all(|c| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::{anchors, check};

    fn wrong(text: &str) -> Vec<String> {
        let other = || Some("# Other\n\n## The limits, in `bytes`\n\n```sh\n# no heading\n```\n".to_owned());
        check(
            text,
            |file| file == "OTHER.md" || file == "lib.rs",
            |file| other().filter(|_| file == "OTHER.md"),
        )
    }

    #[test]
    fn links_to_missing_files_are_found() {
        assert_eq!(wrong("[a](OTHER.md), [b](OTHER.md \"title\")"), [""; 0]);
        assert_eq!(wrong("x\n[a](GONE.md) and [b](docs/gone.md#x)").len(), 2);
        assert_eq!(wrong("x\n[a](GONE.md)"), ["line 2: no file `GONE.md`"]);
    }

    #[test]
    fn links_to_missing_headings_are_found() {
        assert_eq!(wrong("# Here\n[a](#here), [b](OTHER.md#the-limits-in-bytes), [c](lib.rs#L3)"), [""; 0]);
        assert_eq!(wrong("[a](#here)"), ["line 1: no heading `#here` in this file"]);
        assert_eq!(wrong("[a](OTHER.md#no-heading)"), ["line 1: no heading `#no-heading` in OTHER.md"]);
    }

    #[test]
    fn headings_of_one_name_are_numbered() {
        assert_eq!(anchors("# A b\n## A b\n### A b\n#hash\n"), ["a-b", "a-b-1", "a-b-2"]);
    }

    #[test]
    fn other_links_and_code_are_left_alone() {
        assert_eq!(wrong("[a](https://example.org/#x) [c](mailto:a@b)\n```\n[d](GONE.md)\n```\n"), [""; 0]);
    }
}
