//! Which ids may rest in the store: a Bloom filter (Bloom 1970) that grows, so that enqueueing behind a backlog of
//! millions asks the store only about ids that are really there, or about one stranger in a hundred.
//!
//! Ids cannot be taken out again; the queue clears the filter when nothing rests in the store any more.

use crate::id::JobId;
use crate::retry::mix;

/// Bits per id: with seven probes about 1 % of strangers are taken for residents.
const BITS_PER_ID: usize = 10;
const PROBES: u64 = 7;
/// Ids of the first slice; each further slice is twice as large.
const FIRST_SLICE_IDS: usize = 1 << 14;

/// The filter.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    seed: u64,
    slices: Vec<Slice>,
}

#[derive(Debug, Clone)]
struct Slice {
    bits: Vec<u64>,
    ids: usize,
    ids_max: usize,
}

impl Filter {
    pub(super) fn new(seed: u64) -> Filter {
        Filter { seed, slices: Vec::new() }
    }

    pub(super) fn insert(&mut self, id: &JobId) {
        if self.slices.last().is_none_or(|s| s.ids == s.ids_max) {
            let ids_max = FIRST_SLICE_IDS << self.slices.len();
            self.slices.push(Slice { bits: vec![0; (ids_max * BITS_PER_ID).div_ceil(64)], ids: 0, ids_max });
        }
        let (a, b) = self.hashes(id);
        if let Some(slice) = self.slices.last_mut() {
            slice.ids += 1;
            for bit in probes(a, b, slice.bits.len()) {
                slice.bits[bit / 64] |= 1 << (bit % 64);
            }
        }
    }

    /// `false` is certain, `true` is likely.
    pub(super) fn may_hold(&self, id: &JobId) -> bool {
        if self.slices.is_empty() {
            return false;
        }
        let (a, b) = self.hashes(id);
        self.slices.iter().any(|slice| {
            probes(a, b, slice.bits.len()).all(|bit| slice.bits[bit / 64] & (1 << (bit % 64)) != 0)
        })
    }

    /// Whether it has no ids at all.
    pub(super) fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.slices.clear();
    }

    fn hashes(&self, id: &JobId) -> (u64, u64) {
        let (low, high) = id.0.split_at(8);
        let word = |bytes: &[u8]| bytes.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        let a = mix(self.seed ^ word(low)).wrapping_add(word(high));
        (mix(a), mix(a ^ self.seed) | 1)
    }
}

/// Double hashing (Kirsch, Mitzenmacher 2006) over a filter of `words` words.
fn probes(a: u64, b: u64, words: usize) -> impl Iterator<Item = usize> {
    let bits = words as u64 * 64;
    (0..PROBES).map(move |i| (a.wrapping_add(i.wrapping_mul(b)) % bits) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn residents_are_always_found_and_strangers_rarely() {
        let mut filter = Filter::new(7);
        let id = |n: u64| JobId::v7(Timestamp(n / 10), u128::from(mix(n)) << 64 | u128::from(mix(!n)));
        (0..100_000).for_each(|n| filter.insert(&id(n)));
        assert!((0..100_000).all(|n| filter.may_hold(&id(n))));
        let false_alarms = (100_000..200_000).filter(|n| filter.may_hold(&id(*n))).count();
        assert!(false_alarms < 5_000, "{false_alarms} of 100,000 strangers were taken for residents");
        filter.clear();
        assert!(!filter.may_hold(&id(1)));
    }
}
