//! Takes passwords out of texts that are shown. The errors of the library contain none; this is for what people type in the
//! wrong place, which is shown to them as a mistake.

use std::ffi::OsString;

/// The parameters of an address that are no secret. What is not known may be a password with a typing mistake in its name.
const SHOWN: [&str; 10] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "application_name",
    "options",
];

/// The same text without the addresses among the arguments, whatever is in them.
pub(crate) fn without_addresses(text: &str, arguments: &[OsString]) -> String {
    let mut text = text.to_owned();
    for argument in arguments.iter().map(|argument| argument.to_string_lossy()) {
        let Some(at) = argument.find("://") else { continue };
        let scheme = argument[..at].rfind(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c));
        let address = &argument[scheme.map_or(0, |before| before + 1)..];
        // The address by which errors explain the form.
        if address.contains('@') || address.contains('?') {
            text = text
                .replace(address, &format!("{}***", &address[..address.find("://").map_or(0, |at| at + 3)]));
        }
    }
    without_secrets(&text)
}

/// The same text, in which every address that has a password has `***` in its place: in `scheme://user:password@host`, up to the
/// last `@` before a quote or the end of the line, and in parameters.
pub(crate) fn without_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        // Quotes and ticks are around an address in an error.
        let end = after.find(|c: char| "\n'\"`<>\u{1b}".contains(c)).unwrap_or(after.len());
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
    let (user, place) = match address.rsplit_once('@') {
        Some((user, place)) => match user.split_once(':') {
            Some((name, _)) => (format!("{name}:***@"), place),
            // Without a colon, it may be a token in place of a user.
            None => ("***@".to_owned(), place),
        },
        None => (String::new(), address),
    };
    let parts = place.split('&').map(|part| match part.split_once('=') {
        Some((name, _)) if !SHOWN.contains(&name.rsplit('?').next().unwrap_or(name)) => format!("{name}=***"),
        _ => part.to_owned(),
    });
    user + &parts.collect::<Vec<_>>().join("&")
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
    use super::{without_addresses, without_secrets};

    #[test]
    fn password_of_an_address_is_not_shown_whatever_it_contains() {
        for (text, shown) in [
            ("'postgres://app:hunter2@db:5432/app' found", "'postgres://app:***@db:5432/app' found"),
            ("postgres://app:hun@ter2@db/app", "postgres://app:***@db/app"),
            ("postgres://app:hun:ter2@db/app?port=1", "postgres://app:***@db/app?port=1"),
            ("postgres://db/app?pasword=hunter2&sslmode=x", "postgres://db/app?pasword=***&sslmode=x"),
            ("'postgres://app:hun ter2@db/app' found", "'postgres://app:***@db/app' found"),
            ("mysql://hunter2@db", "mysql://***@db"),
            (
                "postgres://db/app?user=x&password=hunter2&port=1",
                "postgres://db/app?user=x&password=***&port=1",
            ),
            ("a `postgres://a:b@c` and\npostgres://d:e@f", "a `postgres://a:***@c` and\npostgres://d:***@f"),
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

    #[test]
    fn address_among_the_arguments_is_not_shown_whatever_it_contains() {
        let argument = "--uri=postgres://app:it's \"hunter2\"@db/app";
        let shown = without_addresses(
            &format!("unexpected argument '{argument}' found"),
            &["runs".into(), argument.into()],
        );
        assert_eq!(shown, "unexpected argument '--uri=postgres://***' found");
        let form = "use `postgres://user:password@host:5432/database`";
        assert_eq!(without_addresses(form, &["runs".into()]), form);
    }
}
