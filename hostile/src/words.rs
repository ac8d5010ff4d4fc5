//! Words that people and attackers type. It must not know where they are typed.

use arbitrary::{Result, Unstructured};

use crate::SECRET;

/// Texts that programs have stumbled over. None of them has a `/`, so that none is the path of a file elsewhere.
const ODD: [&str; 16] = [
    "",
    " ",
    "--",
    "-x",
    "null",
    "..",
    "%s%n%00",
    "'; drop table runs; --",
    "$(reboot)",
    "a\nb\tc\rd",
    "\u{1b}]0;title\u{7}\u{1b}[2J",
    "\u{9b}31m",
    "\u{202e}txt.exe",
    "e\u{301}\u{200d}🜁",
    "\u{feff}",
    "\u{0}",
];

const NUMBERS: [&str; 14] = [
    "0",
    "1",
    "7",
    "-1",
    "1000",
    "1001",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e9",
    "0x10",
    " 1",
    "1.5",
];

const JSON: [&str; 14] = [
    "null",
    "true",
    "\"Ada\"",
    "{\"item\": 3}",
    "{\"item\": \"seven\"}",
    "{\"item\": 1, \"item\": 2}",
    "[1, 2.50, -0.0, 1e308, 1e-400]",
    "1e400",
    "123456789012345678901234567890",
    "\"\\ud800\"",
    "\"\\u001b[2J\\u0000\"",
    "{\"a\": }",
    "[1] 2",
    "{\"\": {\"\": []}}",
];

/// A text of any kind.
pub(crate) fn text(u: &mut Unstructured<'_>) -> Result<String> {
    Ok(match u.int_in_range(0..=7)? {
        0..=2 => (*u.choose(&ODD)?).to_owned(),
        3 => "x".repeat(u.int_in_range(0..=5_000)?),
        4 => (*u.choose(&NUMBERS)?).to_owned(),
        5 => json(u)?,
        _ => free(u)?.chars().take(40).collect(),
    })
}

/// Anything but the path of a file elsewhere, and the secret, which a fuzzer learns to type, also with characters in between that
/// are not shown.
fn free(u: &mut Unstructured<'_>) -> Result<String> {
    let text = u.arbitrary::<&str>()?.replace('/', "_");
    let letters: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    Ok(if letters.contains(SECRET) { "_".to_owned() } else { text })
}

/// A number, or what looks like one.
pub(crate) fn number(u: &mut Unstructured<'_>) -> Result<String> {
    if u.ratio(1, 4)? { Ok(u.arbitrary::<i64>()?.to_string()) } else { Ok((*u.choose(&NUMBERS)?).to_owned()) }
}

/// JSON, or what looks like it.
pub(crate) fn json(u: &mut Unstructured<'_>) -> Result<String> {
    Ok(match u.int_in_range(0..=9)? {
        0 => {
            let levels = u.int_in_range(0..=300)?;
            format!("{}{}", "[".repeat(levels), "]".repeat(levels))
        }
        1 => {
            let levels = u.int_in_range(100..=140)?;
            format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels))
        }
        2 => format!("[{}e{}]", u.arbitrary::<i32>()?, u.arbitrary::<i16>()?),
        3 => serde_json::Value::from(free(u)?).to_string(),
        4 => free(u)?,
        _ => (*u.choose(&JSON)?).to_owned(),
    })
}

/// An address whose password contains [`SECRET`], whole and readable or not.
pub(crate) fn address(u: &mut Unstructured<'_>) -> Result<String> {
    let scheme =
        *u.choose(&["postgres", "postgresql", "mysql", "amqp", "POSTGRES", "sqlite+x", "hun ter"])?;
    let user = *u.choose(&["app", "", "a%40b", "ä", "%zz", "a.b-c_d"])?;
    let (before, after) = (part(u)?, part(u)?);
    let host = *u.choose(&[
        "db",
        "127.0.0.1:1",
        "[::1]:5432",
        "[::1",
        "",
        "db:99999999",
        "%2Frun%2Fpostgresql",
        "ho st",
    ])?;
    let database = *u.choose(&["app", "", "a%2Fb", "ü", "%ff"])?;
    let parameters = *u.choose(&[
        "",
        "?sslmode=verify-full&sslrootcert=root.crt",
        "?sslmode=sometimes",
        "?port=x",
        "?options[lock_timeout]=1s&application_name=me@home",
        "?channel_binding=require&connect_timeout=10",
        "?hostaddr=nowhere",
        "?statement-cache-capacity=-1",
        "?&&=&=x",
        "#fragment",
    ])?;
    let as_parameter = u.ratio(1, 4)?;
    Ok(if as_parameter {
        let name = *u.choose(&["password", "sslpassword", "pasword"])?;
        let joint = if parameters.starts_with('?') { '&' } else { '?' };
        format!("{scheme}://{user}@{host}/{database}{parameters}{joint}{name}={SECRET}")
    } else {
        format!("{scheme}://{user}:{before}{SECRET}{after}@{host}/{database}{parameters}")
    })
}

/// The name of a file that is there or not, in one of the forms in which commands take it.
pub(crate) fn file(u: &mut Unstructured<'_>) -> Result<String> {
    let name = *u.choose(&[
        "input.json",
        "history.json",
        "broken.json",
        "bytes",
        "missing",
        "/no/such/file",
        "",
        "new.json",
    ])?;
    let form = if u.arbitrary()? { "@" } else { "" };
    Ok(format!("{form}{name}"))
}

/// A part of a password, which people forget to encode.
fn part(u: &mut Unstructured<'_>) -> Result<&'static str> {
    Ok(*u.choose(&[
        "", "", "", "1/", "12?", "3#", "@", "a@b/", ":", "1:2", "%", "%40", "ö", "&", "x y", "\\", "[", "]",
        "1/?",
    ])?)
}
