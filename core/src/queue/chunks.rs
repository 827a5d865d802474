//! The chunks in which ready and scheduled jobs stand in the store, and which of their jobs are still there.
//!
//! This table is the truth about who stands in a chunk: what a scan of the store says may be older. A job that leaves its chunk
//! is a bit; the note of it is written once per command, however many have left, and with the last of them the chunk goes.

use std::collections::BTreeMap;

use crate::id::JobId;
use crate::job::Holes;
use crate::limits;
use crate::store::Write;
use crate::store::keys::{ChunkKey, Place, QueueNo, Row};

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

/// The ids of a chunk's jobs that carry their time, first and last.
type Span = (JobId, JobId);

#[derive(Debug)]
struct State {
    jobs: u64,
    left: u64,
    holes: Holes,
    span: Option<Span>,
    dirty: bool,
}

impl State {
    /// Where in this chunk the job is that would begin a chunk `wanted`; `None` when it is not in this one.
    fn index(&self, key: ChunkKey, wanted: ChunkKey) -> Option<usize> {
        // The one before it may be of another row.
        let index = (key.row == wanted.row).then(|| wanted.first - key.first)?;
        (index < self.jobs).then_some(index as usize)
    }
}

/// The chunks of a queue.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    by_key: BTreeMap<ChunkKey, State>,
    /// Where ids that carry their time may be: by the last id of each chunk, with the first.
    by_id: BTreeMap<(JobId, ChunkKey), JobId>,
    /// Chunks that jobs have left since the last note.
    dirty: Vec<ChunkKey>,
}

impl Chunks {
    /// A chunk is being written, or was found at start, with `holes` in it. `timed` are the ids of its jobs that carry
    /// their time.
    pub(super) fn insert(
        &mut self,
        key: ChunkKey,
        jobs: usize,
        holes: Holes,
        timed: impl Iterator<Item = JobId>,
    ) {
        let span = timed.fold(None, |span: Option<Span>, id| match span {
            None => Some((id, id)),
            Some((first, last)) => Some((first.min(id), last.max(id))),
        });
        if let Some((first, last)) = span {
            self.by_id.insert((last, key), first);
        }
        let left = (jobs - holes.count().min(jobs)) as u64;
        self.by_key.insert(key, State { jobs: jobs as u64, left, holes, span, dirty: false });
    }

    /// Whether the job at this place stands in a chunk, rather than in a record of its own.
    pub(super) fn has(&self, place: Place) -> bool {
        let Some(wanted) = ChunkKey::beginning_at(place) else { return false };
        let last = self.by_key.range(..=wanted).next_back();
        last.and_then(|(key, state)| Some((state, state.index(*key, wanted)?)))
            .is_some_and(|(state, index)| !state.holes.has(index))
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
            if let Some((_, last)) = state.span {
                self.by_id.remove(&(last, key));
            }
            self.by_key.remove(&key);
        }
    }

    /// Chunks in which this id may stand. An id that carries no time, or another than that of its arrival, is in the index
    /// instead.
    pub(super) fn candidates(&self, id: &JobId) -> Vec<ChunkKey> {
        let Some(time) = id.time() else { return Vec::new() };
        // The ids of a chunk are at most twice the skew apart.
        let furthest = JobId::v7(time.plus_ms(2 * limits::ID_SKEW_MS_MAX + 1), 0);
        let from = (*id, FIRST_KEY);
        let behind = self.by_id.range(from..).take_while(|((last, _), _)| *last < furthest);
        behind.filter(|(_, first)| **first <= *id).map(|((_, key), _)| *key).collect()
    }

    /// Checks the table against itself.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        for state in self.by_key.values() {
            if state.left == 0 || state.left + state.holes.count() as u64 != state.jobs || state.dirty {
                return Err("a chunk has lost count");
            }
        }
        let spans = self.by_key.values().filter(|state| state.span.is_some()).count();
        if spans != self.by_id.len() || !self.dirty.is_empty() {
            return Err("the chunks have lost count");
        }
        Ok(())
    }
}
