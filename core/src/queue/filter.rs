//! Which ids may rest in the store: a Bloom filter (Bloom 1970) that grows, so that enqueueing behind a backlog of
//! millions asks the store only about ids that are really there, or about one stranger in a thousand.
//!
//! Ids cannot be taken out again; the queue clears the filter when nothing rests in the store any more. Of a chunk whose ids were made
//! at the same time it knows nothing but ids that carry another time or none: such a chunk has a [`Sieve`] of its own, to which only ids of
//! that time come.

use crate::id::JobId;
use crate::retry::mix;

/// Bits per id: with seven probes within a block about one stranger in a thousand is taken for a resident. Each costs a read of
/// the store, for which the queue waits; with ten bits it spent a third of its time so behind a large backlog.
const BITS_PER_ID: usize = 16;
const PROBES: u32 = 7;
/// Words of a block: one line of the processor's cache, so that a look costs one miss (Putze, Sanders, Singler 2007).
const BLOCK_WORDS: usize = 8;
/// Lines of the processor's cache that are asked for at once; a core waits for ten to sixteen at a time.
const LINES_AT_ONCE: usize = 16;
/// Ids of the first slice; each further slice is twice as large.
const FIRST_SLICE_IDS: usize = 1 << 14;

/// Bits per id of a sieve: with its probes about one stranger in seven thousand stays in it. More than one may have to be asked.
const SIEVE_BITS_PER_ID: usize = 20;
const SIEVE_PROBES: u64 = 8;
/// Words of the smallest sieve: in a handful of bits the probes of an id meet each other.
const SIEVE_WORDS_MIN: usize = 8;

/// The ids of one chunk, as a filter that fits into the processor's first cache.
#[derive(Debug, Clone)]
pub(super) struct Sieve(Box<[u64]>);

impl Sieve {
    pub(super) fn new(ids: impl ExactSizeIterator<Item = Hashed>) -> Sieve {
        let mut sieve =
            Sieve(vec![0; (ids.len() * SIEVE_BITS_PER_ID).div_ceil(64).max(SIEVE_WORDS_MIN)].into());
        for id in ids {
            for (word, bit) in sieve.probes(id) {
                sieve.0[word] |= bit;
            }
        }
        sieve
    }

    /// `false` is certain, `true` is likely.
    pub(super) fn may_hold(&self, id: Hashed) -> bool {
        self.probes(id).all(|(word, bit)| self.0[word] & bit != 0)
    }

    /// The bits of an id, from two hashes (Kirsch and Mitzenmacher 2006).
    fn probes(&self, (first, step): Hashed) -> impl Iterator<Item = (usize, u64)> + use<> {
        let bits = 64 * self.0.len() as u64;
        (0..SIEVE_PROBES).map(move |probe| {
            let hash = first.wrapping_add(probe.wrapping_mul(step));
            let bit = (u128::from(hash) * u128::from(bits)) >> 64;
            ((bit / 64) as usize, 1 << (bit % 64))
        })
    }
}

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
        let (block, bits) = hashes(self.seed, id);
        let slice = self.slice_with_room();
        slice.ids += 1;
        slice.set(slice.block_of(block), bits);
    }

    /// The same for many: all their lines are asked for before the first one is written, so that the processor waits for them at the
    /// same time and not in turn.
    pub(super) fn insert_all(&mut self, mut ids: &[JobId]) {
        while !ids.is_empty() {
            let seed = self.seed;
            let slice = self.slice_with_room();
            let (together, later) = ids.split_at(ids.len().min(slice.ids_max - slice.ids).min(LINES_AT_ONCE));
            slice.ids += together.len();
            let mut places = [(0, 0); LINES_AT_ONCE];
            for (place, id) in places.iter_mut().zip(together) {
                let (block, bits) = hashes(seed, id);
                *place = (slice.block_of(block), bits);
                std::hint::black_box(slice.blocks[place.0][0]);
            }
            places[..together.len()].iter().for_each(|(block, bits)| slice.set(*block, *bits));
            ids = later;
        }
    }

    /// The last slice, or a new one behind it when that is full.
    fn slice_with_room(&mut self) -> &mut Slice {
        if self.slices.last().is_none_or(|slice| slice.ids == slice.ids_max) {
            let ids_max = FIRST_SLICE_IDS << self.slices.len();
            let blocks = (ids_max * BITS_PER_ID).div_ceil(64 * BLOCK_WORDS);
            self.slices.push(Slice { blocks: vec![[0; BLOCK_WORDS]; blocks], ids: 0, ids_max });
        }
        self.slices.last_mut().expect("there is one")
    }

    /// `false` is certain, `true` is likely.
    pub(super) fn may_hold(&self, id: &JobId) -> bool {
        if self.slices.is_empty() {
            return false;
        }
        let (block, bits) = hashes(self.seed, id);
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
}

/// Two hashes of an id.
pub(super) type Hashed = (u64, u64);

/// The hashes of an id: where it is, and which bits it has there.
pub(super) fn hashes(seed: u64, id: &JobId) -> Hashed {
    let (low, high) = id.0.split_at(8);
    let word = |bytes: &[u8]| bytes.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
    let a = mix(seed ^ word(low)).wrapping_add(word(high));
    (mix(a), mix(a ^ seed))
}

impl Slice {
    fn set(&mut self, block: usize, bits: u64) {
        for (word, bit) in probes(bits) {
            self.blocks[block][word] |= bit;
        }
    }

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
        (0..50_000).for_each(|n| filter.insert(&id(n)));
        let more = (50_000..100_000).map(id).collect::<Vec<_>>();
        more.chunks(999).for_each(|some| filter.insert_all(some));
        assert!((0..100_000).all(|n| filter.may_hold(&id(n))));
        let false_alarms = (100_000..200_000).filter(|n| filter.may_hold(&id(*n))).count();
        assert!(false_alarms < 600, "{false_alarms} of 100,000 strangers were taken for residents");
        filter.clear();
        assert!(!filter.may_hold(&id(1)));
    }

    #[test]
    fn a_sieve_holds_its_chunk_and_hardly_a_stranger_of_the_same_time() {
        let id = |n: u64| JobId::v7(Timestamp(7), u128::from(mix(n)) << 64 | u128::from(mix(!n)));
        for jobs in [1, 16, 1_024] {
            let ids = (0..jobs).map(id).collect::<Vec<_>>();
            let sieve = Sieve::new(ids.iter().map(|id| hashes(3, id)));
            assert!(ids.iter().all(|id| sieve.may_hold(hashes(3, id))));
            let false_alarms = (jobs..jobs + 100_000).filter(|n| sieve.may_hold(hashes(3, &id(*n)))).count();
            assert!(false_alarms < 60, "{false_alarms} of 100,000 strangers in a sieve of {jobs}");
        }
    }
}
