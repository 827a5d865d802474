//! How a queue's jobs are read from a store: by id, by range, and all of them at start. The same for every engine, and for
//! the simulations.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use super::command::{Known, Lookup, Stored, Trace};
use super::effect::{Effects, LoadFrom};
use super::handouts::Marks;
use super::machine::{Queue, Tuning};
use super::marks::{LeaseMark, QueueRecord};
use super::recover::Recovery;
use crate::id::{JobId, QueueName};
use crate::job::{BadRecord, Chunk, Holes, decode_job};
use crate::limits;
use crate::store::keys::{self, ChunkKey, Place, QueueNo, region};
use crate::store::{ReadError, Store};
use crate::time::{Now, Timestamp};

/// The reading side of a store.
pub trait Reads {
    /// The value of a key.
    ///
    /// # Errors
    /// As [`Store::get`].
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError>;

    /// Calls `each` for every pair of a range, as [`Store::scan`].
    ///
    /// # Errors
    /// As [`Store::scan`].
    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        each: &mut dyn FnMut(&[u8], Bytes) -> bool,
    ) -> Result<(), ReadError>;
}

impl<S: Store + ?Sized> Reads for S {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Store::get(self, key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        each: &mut dyn FnMut(&[u8], Bytes) -> bool,
    ) -> Result<(), ReadError> {
        Store::scan(self, from, to, each)
    }
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Jobs, in key order.
    pub stored: Vec<Stored>,
    /// Whether the end of the range was reached.
    pub exhausted: bool,
}

fn damaged(what: impl std::fmt::Display) -> ReadError {
    ReadError::Damaged(what.to_string())
}

fn bad_record(what: &str) -> impl Fn(BadRecord) -> ReadError {
    move |error| damaged(format!("{what}: {error}"))
}

/// The job with this id.
///
/// # Errors
/// [`ReadError`] when the store fails or is damaged.
pub fn by_id(store: &(impl Reads + ?Sized), queue: QueueNo, lookup: &Lookup) -> Result<Known, ReadError> {
    let Some(found) = trace(store, queue, lookup)? else { return Ok(None) };
    let job = match &found.1 {
        Body::Record(record) => decode_job(record),
        Body::InChunk(chunk, index) => chunk.job(*index),
    };
    let job = job.map_err(bad_record(&format!("the record of job {}", lookup.id)))?;
    Ok(Some(Box::new(Stored { place: found.0.place, in_chunk: found.0.in_chunk, job })))
}

/// Which of these ids the store knows, in order of ids.
///
/// # Errors
/// [`ReadError`] when the store fails or is damaged.
pub fn known(
    store: &(impl Reads + ?Sized),
    queue: QueueNo,
    lookups: &[Lookup],
) -> Result<Vec<Trace>, ReadError> {
    let mut known = Vec::new();
    for lookup in lookups {
        known.extend(trace(store, queue, lookup)?.map(|(trace, _)| trace));
    }
    known.sort_unstable_by_key(|trace| trace.id);
    Ok(known)
}

enum Body {
    Record(Bytes),
    InChunk(Chunk, usize),
}

fn trace(
    store: &(impl Reads + ?Sized),
    queue: QueueNo,
    lookup: &Lookup,
) -> Result<Option<(Trace, Body)>, ReadError> {
    let id = lookup.id;
    if let Some(value) = store.get(&keys::index_key(queue, &id))? {
        let place = Place::from_value(&value)
            .ok_or_else(|| damaged(format!("the index entry of job {id} names no place")))?;
        if let Some(record) = store.get(&place.key(queue))? {
            let in_chunk = false;
            return Ok(Some((Trace { id, place, in_chunk }, Body::Record(record))));
        }
        let found = chunk_at(store, queue, place)?;
        let found = found.and_then(|(key, chunk)| in_chunk(key, chunk, &id));
        if let Some(found) = found.filter(|found| found.0.place == place) {
            return left_behind(store, queue, found);
        }
        // Between both reads the job may have moved; whoever moved it is the queue that asks now, and it waits for us.
        return Ok(None);
    }
    for key in &lookup.chunks {
        let Some(record) = store.get(&key.key(queue))? else { continue };
        let chunk = Chunk::decode(record).map_err(bad_record("a chunk"))?;
        // An id that has left one chunk may have come again in another.
        if let Some(found) = in_chunk(*key, chunk, &id)
            && let Some(found) = left_behind(store, queue, found)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

type InChunk = (Trace, ChunkKey, Chunk, usize);

fn in_chunk(key: ChunkKey, chunk: Chunk, id: &JobId) -> Option<InChunk> {
    let index = chunk.find(id)?;
    Some((Trace { id: *id, place: key.place(index), in_chunk: true }, key, chunk, index))
}

/// What was found in a chunk, unless it has left it.
fn left_behind(
    store: &(impl Reads + ?Sized),
    queue: QueueNo,
    (trace, key, chunk, index): InChunk,
) -> Result<Option<(Trace, Body)>, ReadError> {
    let holes = store.get(&key.holes_key(queue))?.map_or(Ok(Holes::default()), |bytes| Holes::decode(&bytes));
    let holes = holes.map_err(bad_record("the holes of a chunk"))?;
    Ok((!holes.has(index)).then_some((trace, Body::InChunk(chunk, index))))
}

/// The chunk that a place falls into.
fn chunk_at(
    store: &(impl Reads + ?Sized),
    queue: QueueNo,
    place: Place,
) -> Result<Option<(ChunkKey, Chunk)>, ReadError> {
    let key = place.key(queue);
    let (Some((from, _)), Some(wanted)) = (keys::chunk_range(&key, &key), ChunkKey::beginning_at(place))
    else {
        return Ok(None);
    };
    let to = ChunkKey { first: wanted.first.saturating_add(1), ..wanted }.key(queue);
    let mut last = None;
    store.scan(&from, &to, &mut |key, value| {
        last = Some((ChunkKey::from_key(key), value));
        true
    })?;
    let Some((Some((_, key)), record)) = last else { return Ok(None) };
    let chunk = Chunk::decode(record).map_err(bad_record("a chunk"))?;
    Ok((wanted.first - key.first < chunk.jobs() as u64).then_some((key, chunk)))
}

/// The records a queue asked for.
///
/// # Errors
/// [`ReadError`] when the store fails or is damaged.
pub fn load(store: &(impl Reads + ?Sized), queue: QueueNo, from: LoadFrom) -> Result<Found, ReadError> {
    let (first, end, limit) = match from {
        LoadFrom::Ready { priority, seq, limit } => {
            let (first, end) = keys::level_range(queue, priority, seq);
            (first, end, limit)
        }
        LoadFrom::Timers { run_at, seq, limit } => {
            let end = keys::queue_range(region::TIMER, queue).1;
            (Place::Timer { run_at, seq }.key(queue), end, limit)
        }
        LoadFrom::Kept { until, limit } => {
            let first = keys::queue_range(region::KEPT, queue).0;
            (first, Place::Kept { until: Timestamp(until.0.saturating_add(1)), seq: 0 }.key(queue), limit)
        }
    };
    scan(store, &first, &end, limit)
}

/// At most `limit` jobs of a range of a queue's region, and at most [`limits::LOAD_BYTES_MAX`] bytes of them, but at least
/// one. A range of ready or scheduled jobs includes those in chunks.
///
/// # Errors
/// [`ReadError`] when the store fails or is damaged.
pub fn scan(
    store: &(impl Reads + ?Sized),
    first: &[u8],
    end: &[u8],
    limit: usize,
) -> Result<Found, ReadError> {
    let mut from = Bytes::copy_from_slice(first);
    loop {
        if from[..] >= *end {
            return Ok(Found { stored: Vec::new(), exhausted: true });
        }
        let singles = Singles::read(store, &from, end, limit)?;
        let Some(chunks) = keys::chunk_range(&from, end) else {
            let exhausted = singles.next.is_none();
            let stored = singles.records.into_iter().map(|(place, record)| single(place, &record));
            return Ok(Found { stored: stored.collect::<Result<_, _>>()?, exhausted });
        };
        let chunked = Chunked::read(store, chunks, (&from, end), limit)?;
        let unknown =
            [singles.next, chunked.next].into_iter().flatten().min_by_key(|(place, _)| rank(*place));
        let found = merge(singles, chunked, unknown.map(|(place, _)| rank(place)), limit)?;
        match unknown {
            // All that was read has left its chunk: whoever asks would ask the same again.
            Some((place, queue)) if found.stored.is_empty() => from = place.key(queue),
            _ => return Ok(found),
        }
    }
}

fn single(place: Place, record: &[u8]) -> Result<Stored, ReadError> {
    let job = decode_job(record).map_err(bad_record("a job record"))?;
    Ok(Stored { place, in_chunk: false, job })
}

/// Order of the jobs of one region in the store, which is that of their keys.
type Rank = (std::cmp::Reverse<i8>, Timestamp, u64);

fn rank(place: Place) -> Rank {
    use std::cmp::Reverse;
    match place {
        Place::Ready { priority, seq } => (Reverse(priority), Timestamp(0), seq),
        Place::Timer { run_at, seq } => (Reverse(0), run_at, seq),
        Place::Dead { .. } | Place::Kept { .. } => {
            unreachable!("only jobs that may stand in chunks are merged")
        }
    }
}

/// Records of their own, the first of a range.
#[derive(Default)]
struct Singles {
    records: Vec<(Place, Bytes)>,
    /// The first that was not read, and its queue.
    next: Option<(Place, QueueNo)>,
}

impl Singles {
    fn read(
        store: &(impl Reads + ?Sized),
        first: &[u8],
        end: &[u8],
        limit: usize,
    ) -> Result<Singles, ReadError> {
        let mut singles = Singles::default();
        let mut bytes = 0;
        let mut bad = false;
        store.scan(first, end, &mut |key, value| {
            let Some((queue, place)) = Place::from_key(key) else {
                bad = true;
                return false;
            };
            if singles.records.len() >= limit || bytes >= limits::LOAD_BYTES_MAX {
                singles.next = Some((place, queue));
                return false;
            }
            bytes += value.len();
            singles.records.push((place, value));
            true
        })?;
        if bad { Err(damaged("a key among the jobs names no job")) } else { Ok(singles) }
    }
}

/// Jobs in chunks, the first of a range.
#[derive(Default)]
struct Chunked {
    /// Each with the part of its jobs that is in the range.
    chunks: Vec<(ChunkKey, Chunk, Range<usize>)>,
    jobs: Vec<(Place, usize, usize)>,
    /// The first job that was not read, and its queue.
    next: Option<(Place, QueueNo)>,
}

impl Chunked {
    /// Reads the chunks from `from` to `to`, and of them the jobs from `first` to `end`.
    fn read(
        store: &(impl Reads + ?Sized),
        (from, to): (Bytes, Bytes),
        (first, end): (&[u8], &[u8]),
        limit: usize,
    ) -> Result<Chunked, ReadError> {
        let mut found = Chunked::default();
        let mut queue = None;
        let mut bytes = 0;
        let mut failed = None;
        // Holes are not known yet: a chunk counts as full, and what that leaves out is for the next page.
        let mut jobs = 0;
        store.scan(&from, &to, &mut |key, value| {
            let Some((no, key)) = ChunkKey::from_key(key) else {
                failed = Some(damaged("a key among the chunks names no chunk"));
                return false;
            };
            if jobs >= limit || bytes >= limits::LOAD_BYTES_MAX {
                found.next = Some((key.place(0), no));
                return false;
            }
            match Chunk::decode(value) {
                Ok(chunk) => {
                    queue = Some(no);
                    let part = part_within(key, chunk.jobs(), no, first, end);
                    jobs += part.len();
                    bytes += part.clone().map(|index| chunk.job_bytes(index)).sum::<usize>();
                    // One that begins before the range may end before it, too.
                    if !part.is_empty() {
                        found.chunks.push((key, chunk, part));
                    }
                }
                Err(error) => failed = Some(bad_record("a chunk")(error)),
            }
            failed.is_none()
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        if let Some(queue) = queue {
            found.take_jobs(store, queue)?;
        }
        Ok(found)
    }

    /// The jobs that are still in the chunks read, and in the range.
    fn take_jobs(&mut self, store: &(impl Reads + ?Sized), queue: QueueNo) -> Result<(), ReadError> {
        let (Some((lowest, ..)), Some((highest, ..))) = (self.chunks.first(), self.chunks.last()) else {
            return Ok(());
        };
        let mut holes = BTreeMap::new();
        let mut failed = None;
        let mut behind = highest.holes_key(queue).to_vec();
        behind.push(0);
        store.scan(&lowest.holes_key(queue), &behind, &mut |key, value| {
            match (ChunkKey::from_key(key), Holes::decode(&value)) {
                (Some((_, key)), Ok(note)) => drop(holes.insert(key, note)),
                (None, _) => failed = Some(damaged("a key among the holes names no chunk")),
                (_, Err(error)) => failed = Some(bad_record("the holes of a chunk")(error)),
            }
            failed.is_none()
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        for (number, (key, _, part)) in self.chunks.iter().enumerate() {
            let gone = holes.get(key);
            let there = part.clone().filter(|index| !gone.is_some_and(|gone| gone.has(*index)));
            self.jobs.extend(there.map(|index| (key.place(index), number, index)));
        }
        Ok(())
    }
}

/// Which jobs of a chunk have keys in a range of their region. Their keys ascend, so that a few looks tell.
fn part_within(key: ChunkKey, jobs: usize, queue: QueueNo, first: &[u8], end: &[u8]) -> Range<usize> {
    let below = |bound: &[u8]| {
        let (mut low, mut high) = (0, jobs);
        while low < high {
            let middle = usize::midpoint(low, high);
            if key.place(middle).key(queue)[..] < *bound {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    };
    below(first)..below(end)
}

/// One row of both kinds, up to the first job that one of them does not know.
fn merge(
    singles: Singles,
    chunked: Chunked,
    unknown: Option<Rank>,
    limit: usize,
) -> Result<Found, ReadError> {
    let known = |place: Place| unknown.is_none_or(|unknown| rank(place) < unknown);
    let mut alone = singles.records.into_iter().filter(|(place, _)| known(*place)).peekable();
    let mut together = chunked.jobs.into_iter().filter(|(place, ..)| known(*place)).peekable();
    let mut found = Found { stored: Vec::new(), exhausted: unknown.is_none() };
    let mut bytes = 0;
    loop {
        let alone_first = match (alone.peek(), together.peek()) {
            (Some((a, _)), Some((b, ..))) => rank(*a) <= rank(*b),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return Ok(found),
        };
        if found.stored.len() >= limit || bytes >= limits::LOAD_BYTES_MAX {
            found.exhausted = false;
            return Ok(found);
        }
        if alone_first {
            let Some((place, record)) = alone.next() else { continue };
            bytes += record.len();
            found.stored.push(single(place, &record)?);
        } else if let Some((place, number, index)) = together.next() {
            let chunk = &chunked.chunks[number].1;
            bytes += chunk.job_bytes(index);
            let job = chunk.job(index).map_err(bad_record("a job in a chunk"))?;
            found.stored.push(Stored { place, in_chunk: true, job });
        }
    }
}

/// A queue that cannot be rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record cannot be read.
    #[error(transparent)]
    Record(#[from] BadRecord),
}

/// Rebuilds a queue from its records.
///
/// # Errors
/// [`RecoverError`]: a damaged queue is not opened in part.
pub fn recover(
    store: &(impl Reads + ?Sized),
    name: QueueName,
    record: QueueRecord,
    tuning: Tuning,
    now: Now,
) -> Result<(Queue, Effects), RecoverError> {
    let no = record.no;
    let mut recovery = Recovery::new(name, record, tuning);
    for region in Recovery::REGIONS {
        let (from, to) = keys::queue_range(region, no);
        let mut failed = None;
        store.scan(&from, &to, &mut |key, value| {
            failed = recovery.record(key, value).err();
            failed.is_none()
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
    }
    Ok(recovery.finish(now))
}

/// The lease marks of a queue.
///
/// # Errors
/// [`RecoverError`] when they cannot be read.
pub fn marks(store: &(impl Reads + ?Sized), queue: QueueNo) -> Result<Marks, RecoverError> {
    let mut marks = Marks::new(0);
    let mut failed = None;
    let (from, to) = keys::queue_range(region::LEASE, queue);
    store.scan(&from, &to, &mut |key, value| {
        match (keys::id_of(key), LeaseMark::from_bytes(&value)) {
            (Some(id), Ok(mark)) => marks.alone(id, mark),
            (None, _) => failed = Some(BadRecord::Damaged("a lease key without an id".to_owned())),
            (_, Err(error)) => failed = Some(error),
        }
        failed.is_none()
    })?;
    let (from, to) = keys::queue_range(region::HAND_OUT, queue);
    store.scan(&from, &to, &mut |key, value| {
        failed = failed.take().or(marks.hand_out(key, &value).err());
        failed.is_none()
    })?;
    failed.map_or(Ok(marks), |error| Err(error.into()))
}
