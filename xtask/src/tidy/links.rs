//! Rules for links in Markdown. It must not ask the network.

/// The relative links to missing files, each with its line.
pub(crate) fn check(text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut in_code = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            let dead = relative_links(line).filter(|target| !exists(target));
            wrong.extend(dead.map(|target| format!("line {}: no file `{target}`", number + 1)));
        }
    }
    wrong
}

/// The targets of `[text](target)` that are files of the project, without their anchors.
fn relative_links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split([')', ' ']).next()?.split('#').next()?;
        let elsewhere = target.is_empty() || target.contains("://") || target.starts_with("mailto:");
        (!elsewhere).then_some(target)
    })
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn dead_relative_links_are_found() {
        let exists = |target: &str| target == "README.md";
        assert_eq!(check("[a](README.md), [b](README.md#limits \"title\")", exists), [""; 0]);
        assert_eq!(check("x\n[a](GONE.md) and [b](docs/gone.md#x)", exists).len(), 2);
        assert_eq!(check("x\n[a](GONE.md)", exists), ["line 2: no file `GONE.md`"]);
    }

    #[test]
    fn other_links_and_code_are_left_alone() {
        let text = "[a](https://example.org) [b](#here) [c](mailto:a@b)\n```\n[d](GONE.md)\n```\n";
        assert_eq!(check(text, |_| false), [""; 0]);
    }
}
