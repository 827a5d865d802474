//! Which ids may rest in the store: a Bloom filter (Bloom 1970) that grows, so that enqueueing behind a backlog of
//! millions asks the store only about ids that are really there, or about one stranger in a thousand.
//!
//! Ids cannot be taken out again; the queue clears the filter when nothing rests in the store any more.

use crate::id::JobId;
use crate::retry::mix;

/// Bits per id: with seven probes within a block about one stranger in a thousand is taken for a resident. Each costs a read of
/// the store, for which the queue waits; with ten bits it spent a third of its time so behind a large backlog.
const BITS_PER_ID: usize = 16;
const PROBES: u32 = 7;
/// Words of a block: one line of the processor's cache, so that a look costs one miss (Putze, Sanders, Singler 2007).
const BLOCK_WORDS: usize = 8;
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
    blocks: Vec<[u64; BLOCK_WORDS]>,
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
            let blocks = (ids_max * BITS_PER_ID).div_ceil(64 * BLOCK_WORDS);
            self.slices.push(Slice { blocks: vec![[0; BLOCK_WORDS]; blocks], ids: 0, ids_max });
        }
        let hashes = self.hashes(id);
        if let Some(slice) = self.slices.last_mut() {
            slice.ids += 1;
            let at = slice.block_of(hashes.0);
            for (word, bit) in probes(hashes.1) {
                slice.blocks[at][word] |= bit;
            }
        }
    }

    /// `false` is certain, `true` is likely.
    pub(super) fn may_hold(&self, id: &JobId) -> bool {
        if self.slices.is_empty() {
            return false;
        }
        let (block, bits) = self.hashes(id);
        self.slices.iter().any(|slice| {
            let block = &slice.blocks[slice.block_of(block)];
            probes(bits).all(|(word, bit)| block[word] & bit != 0)
        })
    }

    /// Whether it has no ids at all.
    pub(super) fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.slices.clear();
    }

    /// Where an id is, and which bits it has there.
    fn hashes(&self, id: &JobId) -> (u64, u64) {
        let (low, high) = id.0.split_at(8);
        let word = |bytes: &[u8]| bytes.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        let a = mix(self.seed ^ word(low)).wrapping_add(word(high));
        (mix(a), mix(a ^ self.seed))
    }
}

impl Slice {
    /// A fair share of the hashes for each block, without a division.
    fn block_of(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.blocks.len() as u128) >> 64) as usize
    }
}

/// The bits of an id within its block: nine bits of the hash for each.
fn probes(hash: u64) -> impl Iterator<Item = (usize, u64)> {
    (0..PROBES).map(move |probe| {
        let bit = (hash >> (9 * probe)) & 511;
        ((bit / 64) as usize, 1 << (bit % 64))
    })
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
        assert!(false_alarms < 600, "{false_alarms} of 100,000 strangers were taken for residents");
        filter.clear();
        assert!(!filter.may_hold(&id(1)));
    }
}
