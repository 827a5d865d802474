//! A map from job ids, hashed with a seed of the queue: ids come from clients, who must not be able to choose
//! collisions. Nothing here ever depends on the map's order.

#![expect(
    clippy::disallowed_types,
    reason = "looked up by id only; the order of iteration never reaches an effect"
)]

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use crate::id::JobId;
use crate::retry::mix;

/// Job id to `V`.
pub(super) type IdMap<V> = HashMap<JobId, V, IdHash>;

/// Makes hashers that start from a seed.
#[derive(Debug, Clone, Copy)]
pub(super) struct IdHash(pub(super) u64);

impl BuildHasher for IdHash {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher(self.0)
    }
}

/// Mixes the eight-byte words of an id.
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0u8; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = mix(self.0 ^ u64::from_le_bytes(word));
        }
    }

    fn write_usize(&mut self, length: usize) {
        self.0 ^= length as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
