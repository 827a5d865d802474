//! The journal: the truth of what is recent. Every group of batches is one record in it, durable before it is applied.
//!
//! It is a row of numbered segments of fixed size, written with zeroes before their first use and used again afterwards.
//!
//! ```text
//!   free        closed      closed      active                prepared    prepared
//!  (reused     [records…]  [records…]  [records… |           ][empty    ][empty    ]
//!   later)      ^ first that a start must replay  ^ next record
//! ```
//!
//! Two segments are always prepared ahead: one so that the writer never waits for a disk to be zeroed, one in reserve
//! for batches that settle earlier work while the disk is full.
//!
//! # Torn or damaged
//! A group is written only after the one before it is durable, so a power cut can tear the last record alone. A record
//! that does not check out is therefore a torn tail if nothing valid with a later number follows anywhere, and
//! damage otherwise. So that damage of the last record is not taken for a torn tail for long, an idle journal is sealed
//! with an empty record, and its last number is noted in the manifest.

pub(super) mod probe;
mod record;
mod replay;
#[cfg(test)]
mod tests;

pub(super) use replay::{ReplayError, replay, segments};

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use windlass_core::store::{Batch, Epoch};

use self::record::{FIRST_RECORD, RECORD_ALIGN, RECORD_HEADER_BYTES, SegmentHeader};
use super::files;
use crate::fault::{self, Point};

/// The number of a group; the next one's is larger by one.
pub(super) type Lsn = u64;

/// Segments that are prepared ahead: the next one and the reserve.
pub(super) const PREPARED_SEGMENTS: usize = 2;
/// Free segments that are kept for reuse; more are removed, so that a burst does not hold the disk for ever.
const FREE_SEGMENTS_MAX: usize = 2;

/// An open segment file.
#[derive(Debug)]
pub(super) struct Segment {
    number: u64,
    file: File,
    bytes: u64,
}

/// A full segment with its last record's number.
#[derive(Debug)]
struct Closed {
    number: u64,
    first_lsn: Lsn,
    last_lsn: Lsn,
    bytes: u64,
}

/// Where a replay begins: the first segment and the number of its first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) segment: u64,
    pub(super) lsn: Lsn,
}

/// What stays the same for all segments of a store.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// The journal's directory.
    pub(super) dir: PathBuf,
    /// Mixed into every checksum, so that bytes of another store, or of a payload, never pass for a record.
    pub(super) salt: u64,
    /// Size of new segments.
    pub(super) segment_bytes: u64,
}

/// The writing end.
#[derive(Debug)]
pub(super) struct Journal {
    shape: Shape,
    epoch: Epoch,
    closed: VecDeque<Closed>,
    active: Segment,
    active_first_lsn: Lsn,
    /// Where the next record goes in the active segment.
    offset: u64,
    next_lsn: Lsn,
    prepared: VecDeque<Segment>,
    free: Vec<PathBuf>,
    sealed: bool,
}

/// A group in its durable form, being filled. The buffer is reused.
#[derive(Debug, Default)]
pub(super) struct Group {
    bytes: Vec<u8>,
    batches: u32,
}

impl Group {
    /// Bytes that a batch takes in a record.
    pub(super) fn encoded_bytes(batch: &Batch) -> usize {
        record::batch_bytes(batch)
    }

    pub(super) fn push(&mut self, batch: &Batch) {
        if self.bytes.is_empty() {
            self.bytes.resize(RECORD_HEADER_BYTES, 0);
        }
        record::encode_batch(&mut self.bytes, batch);
        self.batches += 1;
    }

    /// Bytes of batches in it.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len().saturating_sub(RECORD_HEADER_BYTES)
    }

    fn clear(&mut self) {
        /// A buffer that one huge group has blown up is given back.
        const KEPT_BYTES_MAX: usize = 16 * 1024 * 1024;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        self.batches = 0;
    }
}

impl Shape {
    /// Largest group that fits into an empty segment.
    pub(super) fn group_bytes_max(&self) -> usize {
        usize::try_from(room(self.segment_bytes, FIRST_RECORD)).unwrap_or(usize::MAX)
    }

    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.dir.join(segment_name(number))
    }

    /// Makes an empty segment ready for use, out of a free one when there is one: it is whole and durable when this
    /// returns, under its name. Slow; not to be called by the thread that commits.
    pub(super) fn prepare(&self, number: u64, free: Option<PathBuf>) -> io::Result<Segment> {
        fault::pass_or_fail(Point::JournalPrepare)?;
        let temporary = self.dir.join("next.new");
        let reused = match free {
            Some(path) => reuse(&path, self.segment_bytes)?.map(|file| (file, path)),
            None => None,
        };
        let (file, path) = match reused {
            Some(reused) => reused,
            None => {
                let created = files::create_zeroed(&temporary, self.segment_bytes);
                // What could be written before the disk was full must not keep it full.
                let file = created.inspect_err(|_| drop(fs::remove_file(&temporary)))?;
                (file, temporary)
            }
        };
        let header = SegmentHeader { number, salt: self.salt, bytes: self.segment_bytes };
        file.write_all_at(&header.encode(), 0)?;
        file.sync_all()?;
        fs::rename(path, self.path(number))?;
        files::sync_dir(&self.dir)?;
        Ok(Segment { number, file, bytes: self.segment_bytes })
    }
}

/// A free segment's file, if it has the size that segments have now.
fn reuse(path: &Path, bytes: u64) -> io::Result<Option<File>> {
    let file = File::options().read(true).write(true).open(path)?;
    if file.metadata()?.len() == bytes {
        return Ok(Some(file));
    }
    fs::remove_file(path)?;
    Ok(None)
}

impl Journal {
    /// A journal without records, in an empty directory.
    pub(super) fn create(shape: Shape, epoch: Epoch, start: Start) -> io::Result<Journal> {
        let active = shape.prepare(start.segment, None)?;
        Ok(Journal {
            shape,
            epoch,
            closed: VecDeque::new(),
            active,
            active_first_lsn: start.lsn,
            offset: FIRST_RECORD,
            next_lsn: start.lsn,
            prepared: VecDeque::new(),
            free: Vec::new(),
            sealed: true,
        })
    }

    /// Bytes of batches that the next record may have without a new segment.
    pub(super) fn room(&self) -> usize {
        usize::try_from(room(self.active.bytes, self.offset)).unwrap_or(usize::MAX)
    }

    /// Writes a group and waits until it is durable. The group is empty afterwards and must fit into
    /// [`room`](Journal::room).
    ///
    /// # Errors
    /// After an error nobody knows what is on the disk: the journal must not be written again.
    pub(super) fn write(&mut self, group: &mut Group) -> io::Result<Lsn> {
        if group.bytes() > self.room() {
            // A defect of the caller's; a record beyond the end would make the segment unreadable.
            return Err(io::Error::other("the group does not fit into the journal segment"));
        }
        let lsn = self.next_lsn;
        if group.bytes.is_empty() {
            group.bytes.resize(RECORD_HEADER_BYTES, 0);
        }
        let place = record::Place { salt: self.shape.salt, segment: self.active.number, offset: self.offset };
        record::finish(&mut group.bytes, place, lsn, self.epoch, group.batches);
        fault::pass_or_fail(Point::JournalBeforeWrite)?;
        self.active.file.write_all_at(&group.bytes, self.offset)?;
        fault::pass_or_fail(Point::JournalAfterWrite)?;
        self.active.file.sync_data()?;
        fault::pass_or_fail(Point::JournalAfterSync)?;
        self.offset += group.bytes.len() as u64;
        self.next_lsn += 1;
        self.sealed = group.batches == 0;
        group.clear();
        Ok(lsn)
    }

    /// Writes an empty record behind the last one, unless one stands there: its presence proves that the last one was
    /// durable. A segment that is full needs none, since the next one's first record proves the same. Tells whether it wrote.
    pub(super) fn seal(&mut self) -> io::Result<bool> {
        let wanted = !self.sealed && self.seal_room();
        if wanted {
            self.write(&mut Group::default())?;
        }
        Ok(wanted)
    }

    /// Whether a seal fits into the active segment.
    pub(super) fn seal_room(&self) -> bool {
        self.offset + RECORD_HEADER_BYTES as u64 <= self.active.bytes
    }

    /// Goes on to the next prepared segment; `false` when there is none.
    pub(super) fn rotate(&mut self) -> bool {
        let Some(next) = self.prepared.pop_front() else { return false };
        fault::pass(Point::JournalRotate);
        debug_assert_eq!(next.number, self.active.number + 1, "segments are prepared in order");
        let full = std::mem::replace(&mut self.active, next);
        self.closed.push_back(Closed {
            number: full.number,
            first_lsn: self.active_first_lsn,
            last_lsn: self.next_lsn - 1,
            bytes: full.bytes,
        });
        self.active_first_lsn = self.next_lsn;
        self.offset = FIRST_RECORD;
        true
    }

    /// What has to be prepared now: the number, and a free segment to reuse. `None` when enough is prepared.
    pub(super) fn wanted(&mut self) -> Option<(u64, Option<PathBuf>)> {
        if self.prepared.len() >= PREPARED_SEGMENTS {
            return None;
        }
        let last = self.prepared.back().map_or(self.active.number, |segment| segment.number);
        Some((last + 1, self.free.pop()))
    }

    /// Takes a free segment back that could not be prepared.
    pub(super) fn give_back(&mut self, free: PathBuf) {
        self.free.push(free);
    }

    /// Takes over what [`Shape::prepare`] made of [`wanted`](Journal::wanted).
    pub(super) fn adopt(&mut self, segment: Segment) {
        self.prepared.push_back(segment);
    }

    /// Segments that stand ready behind the active one.
    pub(super) fn prepared(&self) -> usize {
        self.prepared.len()
    }

    /// The last durable record, 0 when there never was one.
    pub(super) fn last_lsn(&self) -> Lsn {
        self.next_lsn - 1
    }

    /// Where a replay must begin once all records up to `lsn` rest elsewhere.
    pub(super) fn start_after(&self, lsn: Lsn) -> Start {
        match self.closed.iter().find(|closed| closed.last_lsn > lsn) {
            Some(closed) => Start { segment: closed.number, lsn: closed.first_lsn },
            None => Start { segment: self.active.number, lsn: self.active_first_lsn },
        }
    }

    /// Gives up the segments before `start`. Some are kept for reuse; the paths of the others are returned, to be removed.
    pub(super) fn release(&mut self, start: Start) -> Vec<PathBuf> {
        fault::pass(Point::JournalRelease);
        let mut surplus = Vec::new();
        while self.closed.front().is_some_and(|closed| closed.number < start.segment) {
            let path = self.closed.pop_front().map(|closed| self.shape.path(closed.number));
            if self.free.len() < FREE_SEGMENTS_MAX { self.free.extend(path) } else { surplus.extend(path) }
        }
        surplus
    }

    /// Bytes that a restart would read.
    pub(super) fn bytes(&self) -> u64 {
        self.closed.iter().map(|closed| closed.bytes).sum::<u64>() + self.offset
    }

    /// Segments with records.
    pub(super) fn segments(&self) -> usize {
        self.closed.len() + 1
    }
}

/// Bytes of batches that fit into a segment from `offset` on, given that a record is padded.
fn room(segment_bytes: u64, offset: u64) -> u64 {
    let left = segment_bytes.saturating_sub(offset) / RECORD_ALIGN * RECORD_ALIGN;
    left.saturating_sub(RECORD_HEADER_BYTES as u64)
}

fn segment_name(number: u64) -> String {
    format!("{number:016}.journal")
}
