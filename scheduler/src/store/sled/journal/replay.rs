//! Reading the journal at start: finds its end, tells a torn tail from damage, hands out what must be applied again.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use windlass_core::store::{Epoch, Write};

use super::record::{self, FIRST_RECORD, Place, RECORD_ALIGN, Record, SegmentHeader};
use super::{Closed, Journal, Lsn, Segment, Shape, Start};
use crate::store::Damage;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::store::sled) enum ReplayError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Damaged(#[from] Damage),
}

/// The segments of a directory by what their numbers say.
#[derive(Debug, Default)]
pub(in crate::store::sled) struct Row {
    /// From the first that a replay needs; without gaps.
    pub(in crate::store::sled) needed: Vec<(u64, PathBuf)>,
    /// Those before: free for reuse.
    pub(in crate::store::sled) free: Vec<PathBuf>,
    /// Left over from a preparation that a crash has ended.
    pub(in crate::store::sled) unfinished: Vec<PathBuf>,
}

/// What a replay has found.
#[derive(Debug)]
pub(in crate::store::sled) struct Replayed {
    /// Number of the last whole record.
    pub(in crate::store::sled) last_lsn: Lsn,
    /// Largest epoch in a record.
    pub(in crate::store::sled) epoch: Epoch,
    /// Where the records end.
    pub(in crate::store::sled) tail: (PathBuf, u64),
    /// Whether a torn record stands there.
    pub(in crate::store::sled) torn: bool,
    segments: Vec<(u64, u64)>,
    closed: VecDeque<Closed>,
    active_first_lsn: Lsn,
}

/// Lists the segments in `dir`.
pub(in crate::store::sled) fn segments(dir: &Path, first: u64) -> Result<Row, ReplayError> {
    let io = |source| ReplayError::Io { path: dir.to_owned(), source };
    let mut numbered = Vec::new();
    let mut row = Row::default();
    for entry in fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if let Some(number) = name.strip_suffix(".journal").and_then(|number| number.parse::<u64>().ok()) {
            numbered.push((number, path));
        } else if name.ends_with(".new") {
            row.unfinished.push(path);
        }
    }
    numbered.sort();
    for (number, path) in numbered {
        if number < first { row.free.push(path) } else { row.needed.push((number, path)) }
    }
    for (expected, (number, _)) in (first..).zip(&row.needed) {
        if *number != expected {
            let missing = dir.join(super::segment_name(expected));
            return Err(Damage::new(&missing, 0, "this journal segment is missing").into());
        }
    }
    if row.needed.is_empty() {
        let missing = dir.join(super::segment_name(first));
        return Err(Damage::new(&missing, 0, "this journal segment is missing").into());
    }
    Ok(row)
}

/// Reads all records from `start` on and hands the writes of those after `after` to `each`. Changes nothing.
/// `end` is the number of a record that was durable, where one was noted.
pub(in crate::store::sled) fn replay(
    salt: u64,
    start: Start,
    row: &Row,
    after: Lsn,
    end: Option<Lsn>,
    each: &mut dyn FnMut(Write),
) -> Result<Replayed, ReplayError> {
    let mut walk = Walk::new(salt, start, row);
    let mut bytes = walk.load(0)?;
    loop {
        let place = Place { salt, segment: walk.number(), offset: walk.offset };
        if let Some(record) = record::read(&bytes, place).filter(|record| record.lsn == walk.next_lsn) {
            walk.take(&record, after, each)?;
            continue;
        }
        // The rest of this segment holds nothing that belongs here; either the next one goes on, or this is the end.
        if walk.index + 1 < row.needed.len() {
            let next = walk.load(walk.index + 1)?;
            let first = Place { salt, segment: walk.number() + 1, offset: FIRST_RECORD };
            if record::read(&next, first).is_some_and(|record| record.lsn == walk.next_lsn) {
                walk.close();
                bytes = next;
                continue;
            }
        }
        return walk.end(&bytes, end);
    }
}

/// The way through the segments.
struct Walk<'a> {
    salt: u64,
    row: &'a Row,
    index: usize,
    offset: u64,
    next_lsn: Lsn,
    epoch: Epoch,
    segments: Vec<(u64, u64)>,
    closed: VecDeque<Closed>,
    first_lsn: Lsn,
}

impl<'a> Walk<'a> {
    fn new(salt: u64, start: Start, row: &'a Row) -> Walk<'a> {
        Walk {
            salt,
            row,
            index: 0,
            offset: FIRST_RECORD,
            next_lsn: start.lsn,
            epoch: 0,
            segments: Vec::new(),
            closed: VecDeque::new(),
            first_lsn: start.lsn,
        }
    }

    fn number(&self) -> u64 {
        self.row.needed[self.index].0
    }

    fn path(&self) -> &Path {
        &self.row.needed[self.index].1
    }

    /// Reads a segment and checks its header and size.
    fn load(&mut self, index: usize) -> Result<Vec<u8>, ReplayError> {
        let (number, path) = &self.row.needed[index];
        let bytes = fs::read(path).map_err(|source| ReplayError::Io { path: path.clone(), source })?;
        let header = SegmentHeader::decode(&bytes).map_err(|what| Damage::new(path, 0, what))?;
        if header.number != *number {
            let what = format!("this is segment {} under the name of segment {number}", header.number);
            return Err(Damage::new(path, 16, what).into());
        }
        if header.salt != self.salt {
            return Err(Damage::new(path, 24, "this segment belongs to another store").into());
        }
        let length = bytes.len() as u64;
        if length != header.bytes {
            let what = format!("the segment has {length} bytes instead of {}", header.bytes);
            return Err(Damage::new(path, length.min(header.bytes), what).into());
        }
        if index == self.segments.len() {
            self.segments.push((*number, header.bytes));
        }
        Ok(bytes)
    }

    fn take(
        &mut self,
        record: &Record<'_>,
        after: Lsn,
        each: &mut dyn FnMut(Write),
    ) -> Result<(), ReplayError> {
        if record.lsn > after && record::decode_writes(record, &mut *each).is_none() {
            return Err(
                Damage::new(self.path(), self.offset, "the record checks out but cannot be read").into()
            );
        }
        self.epoch = self.epoch.max(record.epoch);
        self.next_lsn += 1;
        self.offset += record.bytes;
        Ok(())
    }

    fn close(&mut self) {
        let (number, bytes) = self.segments[self.index];
        let last_lsn = self.next_lsn - 1;
        self.closed.push_back(Closed { number, first_lsn: self.first_lsn, last_lsn, bytes });
        self.first_lsn = self.next_lsn;
        self.index += 1;
        self.offset = FIRST_RECORD;
    }

    /// Makes sure that the records end here because nothing more was confirmed.
    fn end(mut self, bytes: &[u8], end: Option<Lsn>) -> Result<Replayed, ReplayError> {
        let (path, offset) = (self.path().to_owned(), self.offset);
        let here = |what: &str| ReplayError::Damaged(Damage::new(&path, offset, what));
        if end.is_some_and(|end| self.next_lsn <= end) {
            return Err(here("a record is damaged or missing that was durable here"));
        }
        let later = "a record is damaged or missing, though later ones are there";
        if finds_later(bytes, self.salt, self.number(), self.offset + RECORD_ALIGN, self.next_lsn) {
            return Err(here(later));
        }
        for index in self.index + 1..self.row.needed.len() {
            let next = self.load(index)?;
            if finds_later(&next, self.salt, self.row.needed[index].0, FIRST_RECORD, self.next_lsn) {
                return Err(here(later));
            }
        }
        let claimed = record::claimed_lsn(bytes, self.offset);
        Ok(Replayed {
            last_lsn: self.next_lsn - 1,
            epoch: self.epoch,
            tail: (self.path().to_owned(), self.offset),
            torn: claimed == Some(self.next_lsn),
            segments: self.segments,
            closed: self.closed,
            active_first_lsn: self.first_lsn,
        })
    }
}

/// Whether a whole record with number `lsn` or a later one stands at `from` or behind it.
fn finds_later(bytes: &[u8], salt: u64, segment: u64, from: u64, lsn: Lsn) -> bool {
    /// Groups that one segment can hold, so that arbitrary bytes are rarely worth a checksum.
    const AHEAD_MAX: u64 = 1 << 32;
    let from = usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len());
    let mut offset = from as u64;
    // Word by word, since records are aligned: the second word of a record is its number.
    let words = bytes[from..].chunks_exact(RECORD_ALIGN as usize).skip(1);
    for word in words {
        let claimed = Lsn::from_le_bytes(word.try_into().expect("a word has eight bytes"));
        if claimed.wrapping_sub(lsn) < AHEAD_MAX
            && record::read(bytes, Place { salt, segment, offset }).is_some_and(|record| record.lsn >= lsn)
        {
            return true;
        }
        offset += RECORD_ALIGN;
    }
    false
}

impl Replayed {
    /// The segments with records: number, first and last record.
    pub(in crate::store::sled) fn segments(&self) -> impl Iterator<Item = (u64, Lsn, Lsn)> {
        let closed = self.closed.iter().map(|closed| (closed.number, closed.first_lsn, closed.last_lsn));
        let active = self.segments.get(self.closed.len());
        closed.chain(active.map(|(number, _)| (*number, self.active_first_lsn, self.last_lsn)))
    }

    /// Removes what stands ready without a record in it: all free segments and the last prepared one. `false` when
    /// there is nothing of that kind.
    pub(in crate::store::sled) fn remove_reserve(&mut self, row: &mut Row) -> io::Result<bool> {
        let mut surplus = std::mem::take(&mut row.free);
        if self.segments.len() > self.closed.len() + 1 {
            self.segments.pop();
            surplus.extend(row.needed.pop().map(|(_, path)| path));
        }
        for path in &surplus {
            fs::remove_file(path)?;
        }
        Ok(!surplus.is_empty())
    }

    /// Opens the segments for writing, behind the last whole record.
    pub(in crate::store::sled) fn into_journal(
        self,
        shape: Shape,
        epoch: Epoch,
        row: Row,
    ) -> io::Result<Journal> {
        let active = self.closed.len();
        let mut opened = VecDeque::new();
        for ((number, path), (_, bytes)) in row.needed.into_iter().zip(self.segments).skip(active) {
            let file = File::options().read(true).write(true).open(path)?;
            opened.push_back(Segment { number, file, bytes });
        }
        for path in row.unfinished {
            fs::remove_file(path)?;
        }
        let active = opened.pop_front().expect("the segment in which the records end is among those needed");
        Ok(Journal {
            shape,
            epoch,
            closed: self.closed,
            active,
            active_first_lsn: self.active_first_lsn,
            offset: self.tail.1,
            next_lsn: self.last_lsn + 1,
            prepared: opened,
            free: row.free,
            sealed: false,
        })
    }
}
