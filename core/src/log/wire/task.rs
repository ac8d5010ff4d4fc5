//! The stored form of a task's body: `[version, call, attempt, activity, input, scheduled-at, workflow, options, key,
//! trace]`. It must not know who executes the task.

use bytes::Bytes;

use super::cbor::{Decoded, Reader, Writer};
use super::layout::Version;
use super::{CAPACITY, WireError, refused};
use crate::data::id::RunId;
use crate::log::attempt::Attempt;

/// The version in which bodies are written.
const VERSION: u64 = 1;

/// Encodes the body of the task of an attempt. The run is not in it, because the task's id names it.
pub(crate) fn encode_task(attempt: &Attempt) -> Bytes {
    let mut to = Writer::after(Vec::with_capacity(CAPACITY));
    let Attempt { run: _, id, attempt, activity, input, options, workflow, key, scheduled_at, trace } =
        attempt;
    to.fields(|fields| {
        fields.put(&VERSION);
        fields.put(id);
        fields.put(attempt);
        fields.put(activity);
        fields.put(input);
        fields.put(scheduled_at);
        fields.put(workflow);
        fields.put(options);
        fields.put(key);
        fields.put(trace);
    });
    to.finish().into()
}

/// Decodes the body of a task of this run. Its input is a slice of the body.
pub(crate) fn decode_task(run: RunId, body: &Bytes) -> Result<Attempt, WireError> {
    read(run, body).map_err(|fault| refused(&"task", body, &fault))
}

fn read(run: RunId, body: &Bytes) -> Decoded<Attempt> {
    let mut from = Reader::new(body, body);
    let mut fields = from.open_fields()?;
    Version::take(&mut fields)?.check(VERSION)?;
    let id = fields.take("call")?;
    let attempt = fields.take("attempt")?;
    let activity = fields.take("activity")?;
    let input = fields.take("input")?;
    let scheduled_at = fields.take("scheduled_at")?;
    let workflow = fields.take("workflow")?;
    let options = fields.take("options")?;
    let key = fields.take("key")?;
    let trace = fields.take("trace")?;
    fields.end_of_body()?;
    Ok(Attempt { run, id, attempt, activity, input, options, workflow, key, scheduled_at, trace })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::data::options::ActivityOptions;
    use crate::data::time::Timestamp;
    use crate::testing::{call, payload, run_id, trace};

    fn attempt() -> Attempt {
        Attempt {
            run: run_id(1),
            id: call(7),
            attempt: 2,
            activity: "render".into(),
            input: payload(&"a scene"),
            options: ActivityOptions::default().start_to_close(Duration::from_secs(30)).queue("gpu"),
            workflow: "film".into(),
            key: Some("film:42".to_owned()),
            scheduled_at: Timestamp::from_micros(1_767_268_800_123_456),
            trace: Some(trace()),
        }
    }

    #[test]
    fn body_is_read_back_and_keeps_its_form() {
        let body = encode_task(&attempt());
        assert_eq!(decode_task(run_id(1), &body), Ok(attempt()));
        let hex: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
        expect_test::expect!["8a0107026672656e646572486761207363656e651b00064752550dd2406466696c6d85f6181ef6f6636770756766696c6d3a343258194bf92f3577b34da6a3ce929d0e0e473600f067aa0ba902b701"].assert_eq(&hex);
        // Absent options and an absent key take no bytes.
        let least = Attempt { options: ActivityOptions::default(), key: None, trace: None, ..attempt() };
        assert_eq!(decode_task(run_id(1), &encode_task(&least)), Ok(least));
    }

    #[test]
    fn body_of_a_newer_build_is_refused_and_says_so() {
        let mut body = encode_task(&attempt()).to_vec();
        body[1] = 2;
        let error = decode_task(run_id(1), &body.into()).unwrap_err().to_string();
        assert!(error.starts_with("task (") && error.ends_with("use a newer build"), "{error}");
    }
}
