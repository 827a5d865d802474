//! The chunks in which ready and scheduled jobs stand in the store, and which of their jobs are still there.
//!
//! This table is the truth about who stands in a chunk: what a scan of the store says may be older. A job that leaves its chunk
//! is a bit; the note of it is written once per command, however many have left, and with the last of them the chunk goes.

use std::collections::BTreeMap;

use super::filter::{Sieve, hashes};
use crate::id::JobId;
use crate::job::Holes;
use crate::limits;
use crate::store::Write;
use crate::store::keys::{ChunkKey, Place, QueueNo, Row};
use crate::time::Timestamp;

/// How many jobs share a record. Tests make it tiny.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkShape {
    /// Fewer get a record each. Defaults to [`limits::CHUNK_JOBS_MIN`].
    pub jobs_min: usize,
    /// More are shared out; at most [`limits::CHUNK_JOBS_MAX`], which is the default.
    pub jobs_max: usize,
    /// By how many milliseconds a scheduled job may be put off so that it shares a chunk with others of its request, and by no more
    /// than a [`limits::CHUNK_WAIT_PART`]th of its delay. 0 leaves all times as they are. Defaults to [`limits::CHUNK_WAIT_MS_MAX`].
    pub wait_ms: u64,
    /// Fewer jobs of a request are not put off. Defaults to [`limits::CHUNK_CROWD_MIN`].
    pub crowd_min: usize,
}

impl Default for ChunkShape {
    fn default() -> ChunkShape {
        ChunkShape {
            jobs_min: limits::CHUNK_JOBS_MIN,
            jobs_max: limits::CHUNK_JOBS_MAX,
            wait_ms: limits::CHUNK_WAIT_MS_MAX,
            crowd_min: limits::CHUNK_CROWD_MIN,
        }
    }
}

/// No chunk has a key before this one.
const FIRST_KEY: ChunkKey = ChunkKey { row: Row::Ready { priority: i8::MIN }, first: 0 };

/// A chunk whose ids were made within so many milliseconds has a sieve. Whoever looks for an id asks those of so long a time.
const SIEVE_MS_MAX: u64 = 8;
/// Sieves of ids that were made within so long of each other, at most: whoever looks for an id walks past no more. Chunks beyond leave
/// their ids to the queue's filter.
const SIEVES_MAX: usize = 128;

#[derive(Debug)]
struct State {
    jobs: u64,
    left: u64,
    holes: Holes,
    /// The last of its ids that carry their time, under which it stands in the table by id.
    last: Option<JobId>,
    dirty: bool,
}

/// The ids of a chunk that carry their time, and were made together.
#[derive(Debug)]
struct Sifted {
    first: JobId,
    sieve: Sieve,
}

impl State {
    /// Where in this chunk the job is that would begin a chunk `wanted`; `None` when it is not in this one.
    fn index(&self, key: ChunkKey, wanted: ChunkKey) -> Option<usize> {
        // The one before it may be of another row.
        let index = (key.row == wanted.row).then(|| wanted.first - key.first)?;
        (index < self.jobs).then_some(index as usize)
    }
}

/// Chunks of which the last id is not before `from`, and was made before this time.
fn within<T>(
    chunks: &BTreeMap<(JobId, ChunkKey), T>,
    from: JobId,
    until: Timestamp,
) -> impl Iterator<Item = (&(JobId, ChunkKey), &T)> {
    let end = JobId::v7(until, 0);
    chunks.range((from, FIRST_KEY)..).take_while(move |((last, _), _)| *last < end)
}

/// The chunks of a queue.
#[derive(Debug)]
pub(super) struct Chunks {
    seed: u64,
    by_key: BTreeMap<ChunkKey, State>,
    /// Where ids that carry their time may be: by the last id of each chunk, with the first.
    by_id: BTreeMap<(JobId, ChunkKey), JobId>,
    /// The same for chunks that sift.
    sieves: BTreeMap<(JobId, ChunkKey), Sifted>,
    /// No id in a chunk that sifts is after this one.
    newest: JobId,
    /// Chunks that jobs have left since the last note.
    dirty: Vec<ChunkKey>,
}

impl Chunks {
    /// No chunks yet; `seed` decides hashing.
    pub(super) fn new(seed: u64) -> Chunks {
        let (by_id, sieves) = (BTreeMap::new(), BTreeMap::new());
        let newest = JobId::v7(Timestamp(0), 0);
        Chunks { seed, by_key: BTreeMap::new(), by_id, sieves, newest, dirty: Vec::new() }
    }

    /// A chunk is being written, or was found at start, with `holes` in it. `timed` are the ids of its jobs that carry
    /// their time; tells whether the chunk [sifts](Chunks::sifts) them.
    pub(super) fn insert(&mut self, key: ChunkKey, jobs: usize, holes: Holes, timed: &[JobId]) -> bool {
        let span = timed.iter().min().zip(timed.iter().max());
        let mut sifts = false;
        if let Some((first, last)) = span {
            sifts = self.has_room_for_a_sieve(first, last);
            if sifts {
                let sieve = Sieve::new(timed.iter().map(|id| hashes(self.seed, id)));
                self.sieves.insert((*last, key), Sifted { first: *first, sieve });
                self.newest = self.newest.max(*last);
            }
            self.by_id.insert((*last, key), *first);
        }
        let left = (jobs - holes.count().min(jobs)) as u64;
        let last = span.map(|(_, last)| *last);
        self.by_key.insert(key, State { jobs: jobs as u64, left, holes, last, dirty: false });
        sifts
    }

    /// Whether the job at this place stands in a chunk, rather than in a record of its own.
    pub(super) fn has(&self, place: Place) -> bool {
        self.chunk_with(place).is_some()
    }

    /// Whether the chunk in which the job at this place stands knows by itself which ids are in it, if they carry their time.
    pub(super) fn sifts(&self, place: Place) -> bool {
        let chunk = self.chunk_with(place).and_then(|(key, state)| Some((state.last?, key)));
        chunk.is_some_and(|at| self.sieves.contains_key(&at))
    }

    fn chunk_with(&self, place: Place) -> Option<(ChunkKey, &State)> {
        let wanted = ChunkKey::beginning_at(place)?;
        let (key, state) = self.by_key.range(..=wanted).next_back()?;
        let index = state.index(*key, wanted)?;
        (!state.holes.has(index)).then_some((*key, state))
    }

    /// The job at this place leaves its chunk; `false` when it stands in none.
    pub(super) fn take(&mut self, place: Place) -> bool {
        let Some(wanted) = ChunkKey::beginning_at(place) else { return false };
        let Some((key, state)) = self.by_key.range_mut(..=wanted).next_back() else { return false };
        let Some(index) = state.index(*key, wanted) else { return false };
        if !state.holes.add(index) {
            return false;
        }
        state.left -= 1;
        if !std::mem::replace(&mut state.dirty, true) {
            self.dirty.push(*key);
        }
        true
    }

    /// Whether a note of what has left is owed.
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Writes down what has left since the last time.
    pub(super) fn write(&mut self, queue: QueueNo, writes: &mut Vec<Write>) {
        for key in self.dirty.drain(..) {
            let Some(state) = self.by_key.get_mut(&key) else { continue };
            state.dirty = false;
            if state.left > 0 {
                writes.push(Write::Put { key: key.holes_key(queue), value: state.holes.encode() });
                continue;
            }
            writes.push(Write::Delete { key: key.key(queue) });
            writes.push(Write::Delete { key: key.holes_key(queue) });
            if let Some(last) = state.last {
                self.by_id.remove(&(last, key));
                self.sieves.remove(&(last, key));
            }
            self.by_key.remove(&key);
        }
    }

    /// Whether these ids were made together, and few others with them.
    fn has_room_for_a_sieve(&self, first: &JobId, last: &JobId) -> bool {
        let Some((from, until)) = first.time().zip(last.time()) else { return false };
        if until.since_ms(from) > SIEVE_MS_MAX {
            return false;
        }
        let from = JobId::v7(Timestamp(from.0.saturating_sub(SIEVE_MS_MAX + 1)), 0);
        let near = within(&self.sieves, from, until.plus_ms(SIEVE_MS_MAX + 1));
        near.take(SIEVES_MAX).count() < SIEVES_MAX
    }

    /// Chunks in which this id may stand. An id that carries no time, or another than that of its arrival, is in the index
    /// instead.
    pub(super) fn candidates(&self, id: &JobId) -> Vec<ChunkKey> {
        let Some(time) = id.time() else { return Vec::new() };
        let hashed = hashes(self.seed, id);
        // The ids of a chunk are at most twice the skew apart.
        let around = within(&self.by_id, *id, time.plus_ms(2 * limits::ID_SKEW_MS_MAX + 1));
        let around = around.filter(|(_, first)| **first <= *id);
        let sieved = |at| self.sieves.get(at).is_some_and(|one| !one.sieve.may_hold(hashed));
        around.filter(|(at, _)| !sieved(*at)).map(|((_, key), _)| *key).collect()
    }

    /// Whether this id may stand in a chunk that [sifts](Chunks::sifts): `false` is certain, `true` is likely.
    pub(super) fn may_hold(&self, id: &JobId) -> bool {
        self.sifted(id).next().is_some()
    }

    /// The chunks that [sift](Chunks::sifts) in which this id may stand.
    pub(super) fn sifted(&self, id: &JobId) -> impl Iterator<Item = ChunkKey> {
        // Most ids are newer than all that stand here.
        let time = id.time().filter(|_| *id <= self.newest);
        let around = time.map(|time| within(&self.sieves, *id, time.plus_ms(SIEVE_MS_MAX + 1)));
        let mut around = around.into_iter().flatten().filter(|(_, one)| one.first <= *id).peekable();
        let hashed = around.peek().map(|_| hashes(self.seed, id));
        let may_hold = move |sieve: &Sieve| hashed.is_some_and(|hashed| sieve.may_hold(hashed));
        around.filter(move |(_, one)| may_hold(&one.sieve)).map(|((_, key), _)| *key)
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Checks the table against itself.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        for state in self.by_key.values() {
            if state.left == 0 || state.left + state.holes.count() as u64 != state.jobs || state.dirty {
                return Err("a chunk has lost count");
            }
        }
        let spans = self.by_key.values().filter(|state| state.last.is_some()).count();
        if spans != self.by_id.len() || !self.dirty.is_empty() {
            return Err("the chunks have lost count");
        }
        if self.sieves.iter().any(|(at, one)| self.by_id.get(at) != Some(&one.first)) {
            return Err("a filter is of no chunk");
        }
        if self.sieves.last_key_value().is_some_and(|((last, _), _)| *last > self.newest) {
            return Err("a filter has newer ids than all");
        }
        Ok(())
    }
}
