//! Numbers that follow from what they stand for: every process computes the same, and no random number is likely to
//! equal it. No secret enters here.

use sha2::{Digest, Sha256};

/// The first 128 bits, big endian, of the SHA-256 of the parts, one after the other.
pub(crate) fn derived_u128(parts: &[&[u8]]) -> u128 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    digest[..16].iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// The first 64 bits of the same.
pub(crate) fn derived_u64(parts: &[&[u8]]) -> u64 {
    (derived_u128(parts) >> 64) as u64
}
