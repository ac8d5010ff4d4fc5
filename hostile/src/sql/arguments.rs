//! Arguments for parameters of each name and type: odd ones, and some that are right. It must not know which function takes them.

use std::time::{SystemTime, UNIX_EPOCH};

use arbitrary::{Result, Unstructured};
use pgworkflows::RunId;
use serde_json::Value;

use super::interface::Parameter;
use crate::runs::CARRIERS;
use crate::words;

/// An executor, and the tasks that it holds.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) executor: i64,
    pub(super) tasks: Vec<String>,
}

/// What callers know.
#[derive(Debug)]
pub(super) struct Known<'k> {
    runs: &'k [RunId],
    executor: Option<i64>,
    tasks: Vec<String>,
    /// In seconds since 1970.
    now: i64,
}

impl<'k> Known<'k> {
    pub(super) fn new(runs: &'k [RunId], held: Option<Held>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (executor, tasks) = held.map(|held| (held.executor, held.tasks)).unzip();
        let now = i64::try_from(now).unwrap_or_default();
        Self { runs, executor, tasks: tasks.unwrap_or_default(), now }
    }

    /// An argument, as the text of a value of the parameter's type.
    pub(super) fn argument(&self, u: &mut Unstructured<'_>, parameter: &Parameter) -> Result<Option<String>> {
        if u.ratio(1, 12)? {
            return Ok(None);
        }
        Ok(Some(match (parameter.name.as_str(), parameter.kind.as_str()) {
            ("workflow", _) if u.ratio(2, 3)? => {
                (*u.choose(&["order", "order", "relay", "ship"])?).to_owned()
            }
            ("attributes", _) if u.ratio(2, 3)? => "{\"customer\": \"42\"}".to_owned(),
            ("queue", _) if u.ratio(1, 3)? => (*u.choose(&[CARRIERS, "default"])?).to_owned(),
            ("name", _) if u.ratio(1, 2)? => "approve".to_owned(),
            ("task", _) => self.task(u)?,
            ("tasks", _) => literal(&[Some(self.task(u)?), Some(self.task(u)?)]),
            ("executor", _) => self.executor(u)?,
            ("traceparent", _) => traceparent(u)?,
            (_, "text") => text(u)?,
            (_, "text[]") => texts(u)?,
            (_, "jsonb") => json(u)?,
            (_, "uuid") => self.run(u)?,
            (_, "interval") => interval(u)?,
            (_, "timestamp with time zone") => self.time(u)?,
            (_, "integer") => number(u)?,
            (_, "boolean") => u.arbitrary::<bool>()?.to_string(),
            (name, kind) => panic!("there are no arguments for `{name}` of the type `{kind}`"),
        }))
    }

    /// A run that there is, one with an id like that, or any id.
    fn run(&self, u: &mut Unstructured<'_>) -> Result<String> {
        let known = u.choose(self.runs)?.as_u128();
        let run = match u.int_in_range(0..=7)? {
            0 => u.arbitrary()?,
            1 => known ^ 1 << u.int_in_range(0..=127)?,
            _ => known,
        };
        Ok(RunId::from_u128(run).to_string())
    }

    fn executor(&self, u: &mut Unstructured<'_>) -> Result<String> {
        let any = if u.ratio(1, 6)? { Some(u.arbitrary()?) } else { self.executor };
        Ok(any.unwrap_or_default().to_string())
    }

    /// A task that the executor holds, one with a name like that, any name, or any text.
    fn task(&self, u: &mut Unstructured<'_>) -> Result<String> {
        let kind = u.int_in_range(0..=7)?;
        let mut task = match (kind, self.tasks.as_slice()) {
            (0, _) | (_, []) => return text(u),
            (1, _) => {
                let (executor, run) = (u.arbitrary::<u64>()?, RunId::from_u128(u.arbitrary()?));
                let (seq, claim) = (u.int_in_range(0..=999_999_999)?, u.int_in_range(0..=9)?);
                return Ok(format!("{executor}/{run}/{seq}/{claim}/{}", u.arbitrary::<u32>()?));
            }
            (_, held) => u.choose(held)?.clone(),
        };
        if kind == 2 {
            let at = u.choose_index(task.len())?;
            task.replace_range(at..=at, u.choose(&["0", "1", "f", "/", "/t", ""])?);
        }
        Ok(task)
    }

    /// A time, in seconds.
    fn time(&self, u: &mut Unstructured<'_>) -> Result<String> {
        // The first and the last day of a `timestamptz`.
        const EDGES: [&str; 4] = ["Infinity", "-Infinity", "-210866716800", "9224317929600"];
        Ok(match u.int_in_range(0..=3)? {
            0 => (*u.choose(&EDGES)?).to_owned(),
            1 => (self.now + u.int_in_range(-3_000_000..=3_000_000)? * 10_800).to_string(),
            _ => (self.now + i64::from(u.arbitrary::<i32>()?)).to_string(),
        })
    }
}

/// The literal of an array.
pub(super) fn literal(elements: &[Option<String>]) -> String {
    let quoted = elements.iter().map(|element| match element {
        Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        None => "NULL".to_owned(),
    });
    format!("{{{}}}", quoted.collect::<Vec<_>>().join(","))
}

fn text(u: &mut Unstructured<'_>) -> Result<String> {
    let text = match u.int_in_range(0..=15)? {
        0..=4 => (*u.choose(&["a", "load", "open", "over", "default"])?).to_owned(),
        // Around the limits of names and of reasons, in bytes.
        5 | 6 => {
            let length = u.int_in_range(250..=260)?;
            "ö".repeat(length / 2) + &"n".repeat(length % 2)
        }
        7 => "r".repeat(u.int_in_range(4_090..=4_100)?),
        8 if u.ratio(1, 8)? => "x".repeat(100_000),
        9 => char::from(u.int_in_range(0x01..=0xa0)?).to_string(),
        _ => words::text(u)?,
    };
    // No text of the server has one.
    Ok(text.replace('\0', ""))
}

fn texts(u: &mut Unstructured<'_>) -> Result<String> {
    let length = u.int_in_range(0..=3)?;
    let element = |_| Ok(if u.ratio(1, 12)? { None } else { Some(text(u)?) });
    Ok(literal(&(0..length).map(element).collect::<Result<Vec<_>>>()?))
}

fn json(u: &mut Unstructured<'_>) -> Result<String> {
    Ok(match u.int_in_range(0..=15)? {
        // Around the limits of depth, of numbers and of bytes.
        0 => {
            let levels = u.int_in_range(120..=135)?;
            format!("{}{}", "[".repeat(levels), "]".repeat(levels))
        }
        1 => {
            let levels = u.int_in_range(120..=135)?;
            format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels))
        }
        2 => format!("[{}1e{}]", u.choose(&["", "-"])?, u.int_in_range(300..=320)?),
        3 => format!("1e{}", u.int_in_range(-400..=0)?),
        4 if u.ratio(1, 100)? => format!("\"{}\"", "y".repeat(u.int_in_range(2_097_140..=2_097_160)?)),
        5 => format!("\"{}\"", "[".repeat(200)),
        6 | 7 => (*u.choose(&["true", "{\"item\": 3}", "2"])?).to_owned(),
        _ => value(u, 6)?.to_string(),
    })
}

/// Any JSON of so many levels at most.
fn value(u: &mut Unstructured<'_>, levels: u32) -> Result<Value> {
    Ok(match u.int_in_range(0..=if levels > 0 { 6 } else { 4 })? {
        0 => Value::Null,
        1 => u.arbitrary::<bool>()?.into(),
        2 => u.arbitrary::<f64>()?.into(),
        3 => u.arbitrary::<i64>()?.into(),
        4 => words::text(u)?.replace('\0', "").into(),
        5 => (0..u.int_in_range(0..=5)?).map(|_| value(u, levels - 1)).collect::<Result<Vec<_>>>()?.into(),
        _ => {
            let length = u.int_in_range(0..=5)?;
            let field = |_| Ok((words::text(u)?.replace('\0', ""), value(u, levels - 1)?));
            Value::Object((0..length).map(field).collect::<Result<_>>()?)
        }
    })
}

fn interval(u: &mut Unstructured<'_>) -> Result<String> {
    Ok(match u.int_in_range(0..=5)? {
        0 => "0".to_owned(),
        1 => format!("{} months", u.arbitrary::<i32>()?),
        2 => format!("{} days", u.arbitrary::<i32>()?),
        3 => format!("{} microseconds", u.arbitrary::<i32>()?),
        4 => format!("{} s", u.int_in_range(1..=100_000)?),
        _ => format!("{} years -3 days", u.int_in_range(1..=150)?),
    })
}

fn number(u: &mut Unstructured<'_>) -> Result<String> {
    Ok(match u.int_in_range(0..=2)? {
        0 => u.arbitrary::<i32>()?,
        1 => *u.choose(&[1_000, 1_001, 4_096, 4_097])?,
        _ => u.int_in_range(-2..=4)?,
    }
    .to_string())
}

/// The place in a trace, mostly, or something that is none.
fn traceparent(u: &mut Unstructured<'_>) -> Result<String> {
    if u.ratio(1, 4)? {
        return text(u);
    }
    let (trace, span) = if u.ratio(1, 8)? { (0, 0) } else { (u.arbitrary::<u128>()?, u.arbitrary::<u64>()?) };
    Ok(format!("{:02x}-{trace:032x}-{span:016x}-{:02x}", u.arbitrary::<u8>()?, u.arbitrary::<u8>()?))
}
