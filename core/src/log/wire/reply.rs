//! The stored form of a reply to an update: `[version, kind]`, and after it the answer or the words of the refusal. It must
//! not know who waits for it.

use bytes::Bytes;

use super::cbor::{Decoded, Fault, Reader, Writer};
use super::layout::Version;
use super::{CAPACITY, WireError, refused};
use crate::log::reply::Reply;

/// The version in which replies are written.
const VERSION: u64 = 1;

/// Encodes a reply.
pub(crate) fn encode_reply(reply: &Reply) -> Bytes {
    let mut to = Writer::after(Vec::with_capacity(CAPACITY));
    to.fields(|fields| {
        fields.put(&VERSION);
        match reply {
            Reply::Answered(answer) => {
                fields.put(&0_u64);
                fields.put(answer);
            }
            Reply::Refused(why) => {
                fields.put(&1_u64);
                fields.put(why);
            }
            Reply::Dropped => fields.put(&2_u64),
            Reply::TooMany => fields.put(&3_u64),
            Reply::Ending => fields.put(&4_u64),
        }
    });
    to.finish().into()
}

/// Decodes a reply. Its answer is a slice of the body.
pub(crate) fn decode_reply(body: &Bytes) -> Result<Reply, WireError> {
    read(body).map_err(|fault| refused(&"reply", body, &fault))
}

fn read(body: &Bytes) -> Decoded<Reply> {
    let mut from = Reader::new(body, body);
    let mut fields = from.open_fields()?;
    Version::take(&mut fields)?.check(VERSION)?;
    let start = fields.at();
    let reply = match fields.take::<u64>("kind")? {
        0 => Reply::Answered(fields.take("answer")?),
        1 => Reply::Refused(fields.take("refusal")?),
        2 => Reply::Dropped,
        3 => Reply::TooMany,
        4 => Reply::Ending,
        kind => {
            let problem = format!("reply {kind}, and this build knows 0 to 4; use a newer build");
            return Err(Fault::new(start, problem));
        }
    };
    fields.end_of_body()?;
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::payload;

    #[test]
    fn replies_are_read_back_and_keep_their_form() {
        let mut forms = Vec::new();
        for reply in [
            Reply::Answered(payload(&())),
            Reply::Answered(payload(&"accepted")),
            Reply::Refused("no such order".to_owned()),
            Reply::Dropped,
            Reply::TooMany,
            Reply::Ending,
        ] {
            let body = encode_reply(&reply);
            assert_eq!(decode_reply(&body), Ok(reply));
            forms.push(body.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        }
        expect_test::expect![[r#"
            83010041f6
            83010049686163636570746564
            8301016d6e6f2073756368206f72646572
            820102
            820103
            820104"#]]
        .assert_eq(&forms.join("\n"));
    }

    #[test]
    fn reply_of_a_newer_build_is_refused_and_says_so() {
        let newer = Bytes::from_static(&[0x82, 0x01, 0x09]);
        let error = decode_reply(&newer).unwrap_err().to_string();
        assert!(error.contains("reply 9") && error.ends_with("use a newer build"), "{error}");
        assert!(decode_reply(&Bytes::from_static(&[0x82, 0x02, 0x02])).is_err());
    }
}
