//! A start's idempotency key: which shard it belongs to, and what two starts with it must have in common. It must not know
//! how a store compares keys.

use sha2::{Digest, Sha256};

use crate::data::payload::Payload;

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
    /// The first 8 bytes of a key's SHA-256, big endian. Modulo the number of shards of the queue, it is the index of the
    /// key's shard. Clients in all languages compute the same number.
    pub(super) fn prefix(&self) -> u64 {
        let digest: [u8; 32] = Sha256::digest(self.text.as_bytes()).into();
        digest[..8].iter().fold(0, |prefix, byte| prefix << 8 | u64::from(*byte))
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
