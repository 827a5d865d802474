//! A map from job ids, hashed with a seed of the queue: ids come from clients, who do not know it and cannot choose collisions. Nothing
//! here ever depends on the map's order.

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

/// Makes hashers with two keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct IdHash(u64, u64);

impl IdHash {
    pub(super) fn new(seed: u64) -> IdHash {
        IdHash(mix(seed), mix(!seed))
    }
}

impl BuildHasher for IdHash {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher { keys: *self, hash: 0 }
    }
}

/// Folds the product of the halves of an id, each under its key, as hashers of the wyhash family do.
pub(super) struct IdHasher {
    keys: IdHash,
    hash: u64,
}

impl Hasher for IdHasher {
    fn write_u128(&mut self, id: u128) {
        let (low, high) = (id as u64 ^ self.keys.0 ^ self.hash, (id >> 64) as u64 ^ self.keys.1);
        let product = u128::from(low) * u128::from(high);
        self.hash = product as u64 ^ (product >> 64) as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(16) {
            let mut part = [0; 16];
            part[..chunk.len()].copy_from_slice(chunk);
            self.write_u128(u128::from_le_bytes(part));
        }
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}
