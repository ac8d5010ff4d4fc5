//! The encoding and decoding of user data in a workflow. Data that cannot be encoded or decoded faults the run. It must
//! not know which call the data belongs to.

use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Scope;
use crate::data::payload::{Encoding, Payload, payload_too_large};

impl Scope {
    /// Encodes user data, or faults if it cannot be encoded and decoded again, or is over the limit. A replay does not
    /// read the result, so it saves a third of its allocations by skipping the work.
    pub(crate) fn encode<T: Serialize + DeserializeOwned>(
        &self,
        what: &dyn fmt::Display,
        value: &T,
    ) -> Option<Payload> {
        if self.is_recorded() {
            return Some(Payload::from_parts(Encoding::CBOR, Bytes::new()));
        }
        let problem = match Payload::encode_readable(value) {
            Ok(payload) if payload.bytes().len() <= self.payload_bytes_max => return Some(payload),
            Ok(payload) => payload_too_large(what, payload.bytes().len(), self.payload_bytes_max),
            Err(error) => format!("{what}: {error}"),
        };
        self.fault(problem);
        None
    }

    /// Decodes user data, or faults.
    pub(crate) fn decode<T: DeserializeOwned>(
        &self,
        what: &dyn fmt::Display,
        payload: &Payload,
    ) -> Option<T> {
        match payload.decode() {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(format!("{what}: {error}; deploy code that can read it, and the run resumes"));
                None
            }
        }
    }
}
