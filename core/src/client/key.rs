//! A start's idempotency key: which shard it belongs to, and what two starts with it must have in common. It must not know
//! how a store compares keys.

use crate::data::payload::Payload;
use crate::data::shards::key_prefix;

/// An idempotency key, and what has to be equal in two starts with this key.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) compared: Compared,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Compared {
    Input,
    Nothing,
    Digest([u8; 32]),
}

impl Key {
    /// See [`key_prefix`].
    pub(super) fn prefix(&self) -> u64 {
        key_prefix(&self.text)
    }
}

impl Compared {
    /// The digest that the store compares; `None` if the key alone counts.
    pub(super) fn digest(self, input: &Payload) -> Option<[u8; 32]> {
        match self {
            Self::Input => Some(input.canonical_digest()),
            Self::Nothing => None,
            Self::Digest(digest) => Some(digest),
        }
    }

    /// What differs in a key conflict.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Input | Self::Nothing => "input",
            Self::Digest(_) => "digest",
        }
    }
}
