//! Takes passwords out of texts that are shown. The errors of the library contain none; this is for what people type in the
//! wrong place, which is shown to them as a mistake.

/// The same text, in which every address that has a password has `***` in its place: in `scheme://user:password@host`, up to the
/// last `@` of the word, and in a parameter `password=…`.
pub(crate) fn without_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        // An address ends with the word. Quotes and ticks are around it in an error.
        let end =
            after.find(|c: char| c.is_whitespace() || "'\"`<>\u{1b}".contains(c)).unwrap_or(after.len());
        let (address, behind) = after.split_at(end);
        shown.push_str(&address_without_secrets(address));
        rest = behind;
    }
    shown.push_str(rest);
    parameters_without_secrets(&shown)
}

fn address_without_secrets(address: &str) -> String {
    // The address by which errors and the help explain the form.
    if address.starts_with("user:password@host") {
        return address.to_owned();
    }
    match address.rsplit_once('@') {
        Some((user, place)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}:***@{place}"),
            // Without a colon, it may be a token in place of a user.
            None => format!("***@{place}"),
        },
        None => address.to_owned(),
    }
}

fn parameters_without_secrets(text: &str) -> String {
    const SECRETS: [&str; 2] = ["password=", "sslpassword="];
    let mut shown = text.to_owned();
    for secret in SECRETS {
        let mut from = 0;
        while let Some(found) = shown.get(from..).and_then(|rest| rest.find(secret)) {
            let begin = from + found + secret.len();
            let value = shown.get(begin..).unwrap_or_default();
            let end = value.find(|c: char| c.is_whitespace() || "&'\"`".contains(c)).unwrap_or(value.len());
            shown.replace_range(begin..begin + end, "***");
            from = begin;
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::without_secrets;

    #[test]
    fn password_of_an_address_is_not_shown_whatever_it_contains() {
        for (text, shown) in [
            ("'postgres://app:hunter2@db:5432/app' found", "'postgres://app:***@db:5432/app' found"),
            ("postgres://app:hun@ter2@db/app", "postgres://app:***@db/app"),
            ("postgres://app:hun:ter2@db/app?a=b", "postgres://app:***@db/app?a=b"),
            ("mysql://hunter2@db", "mysql://***@db"),
            ("postgres://db/app?user=x&password=hunter2&a=b", "postgres://db/app?user=x&password=***&a=b"),
            ("a postgres://a:b@c and postgres://d:e@f", "a postgres://a:***@c and postgres://d:***@f"),
            ("host=db password=hunter2 user=x", "host=db password=*** user=x"),
            ("postgres://app@db/app", "postgres://***@db/app"),
            (
                "use `postgres://user:password@host:5432/database`",
                "use `postgres://user:password@host:5432/database`",
            ),
            ("see https://example.org/a", "see https://example.org/a"),
            ("nothing: to hide @ all", "nothing: to hide @ all"),
            ("password=", "password=***"),
        ] {
            assert_eq!(without_secrets(text), shown);
        }
    }
}
