//! How blocks rest in sled: in one value each, small enough to stay in sled's log; one that is larger than the others is cut into
//! several values. The key is the block's number (8 bytes) and the part (4 bytes), big-endian.
//!
//! # What sled must be guarded against (0.34.7)
//! - Its `flush` is no `fdatasync`: ours follows. It reuses a segment of its log once two later ones are full, so ours also comes at
//!   least once per segment, or a power cut could take a page of which the only durable copy was overwritten.
//! - A page of more than a quarter of a segment goes to a file of its own that sled never syncs: the segment size is
//!   derived from the block size so that no page (sixteen entries, twenty for a moment) gets near.
//! - Damage makes it panic, or start empty: every call is guarded, every answer is held against the directory.
//! - A snapshot that it was writing when it was stopped makes it refuse to open: such files are removed before.
//! - After a failed write it fails for ever: it is opened anew.
//! - It evicts pages only after 64 accesses to one of 256 shards: accesses are repeated, see [`ACCESSES`].

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ::sled::{Db, IVec};
use bytes::Bytes;

use super::files;
use super::quiet;
use crate::store::rest::{BlockId, BlockName, BlockRef, BlocksError, Shelf};
use crate::store::{Damage, lock};

/// sled's log and its settings, in its directory.
const LOG: &str = "db";
const SETTINGS: &str = "conf";
/// sled's segment size in blocks; see above.
const SLED_SEGMENT_BLOCKS: usize = 256;
/// sled refuses larger segments.
const SLED_SEGMENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Blocks of the usual size that are put into sled's tree at once, about; see [`Waiting`].
const PUT_BLOCKS: usize = 256;
/// Bytes that sled writes per byte of a new block, at most: once where it goes, and again where a page is split that
/// was full before.
const SLED_WRITE_FACTOR: usize = 2;
/// Blocks that sled writes per place that is made, at most: every eighth splits a page, and with each page that is replaced sled writes one
/// of those anew that keep a segment from being used again.
const SLED_PLACE_BLOCKS: usize = 2;
/// Blocks that sled writes per one that is removed, at most: what is left of a page is written whole at the second removal from it, and
/// one that keeps a segment with it; pages that have shrunk are merged.
const SLED_REMOVE_BLOCKS: usize = 4;
/// Bytes that sled's log grows by per byte of a new block, at worst: once where it goes, and what is rewritten of its page until others of
/// the page have been removed. What a rewritten page leaves behind is used again.
const SLED_SPACE_FACTOR: u64 = 3;
/// Times that a page is touched per read or write, so that sled notices soon that its cache is full: it would hold 64
/// pages per shard otherwise, of half a mebibyte each.
const ACCESSES: usize = 8;
/// Of so many parts that are read together one is touched like that.
const RUN_TOUCH: usize = 2;

/// The blocks of one sled directory.
#[derive(Debug)]
pub(super) struct Blocks {
    number: u64,
    dir: PathBuf,
    block_bytes: usize,
    cache_bytes: u64,
    /// `None` only while sled is being opened anew, or after that has failed.
    db: RwLock<Option<Opened>>,
    /// Bytes that sled has written since the last `fdatasync`, about.
    unsynced: AtomicUsize,
    waiting: Mutex<Waiting>,
}

/// Blocks that were put and are not in sled yet, with their bytes.
///
/// sled splits a page that gets its seventeenth entry, and writes both halves anew. Blocks put one after the other, always behind
/// the last, would so be written three times, and once more when sled clears the segments of what is dead in them. When the
/// places of many are made first, empty, the pages are split while they weigh nothing, and each block is written once.
#[derive(Debug, Default)]
struct Waiting {
    blocks: Vec<(BlockId, Vec<u8>)>,
    bytes: usize,
}

#[derive(Debug)]
struct Opened {
    db: Db,
    /// Our own handle of sled's log, for `fdatasync`.
    log: File,
}

impl Blocks {
    /// Opens the sled directory `rest-number` in `dir`, or makes it. `full` says that blocks must be in it.
    pub(super) fn open(
        dir: &Path,
        number: u64,
        block_bytes: usize,
        cache_bytes: u64,
        full: bool,
    ) -> Result<Blocks, BlocksError> {
        let blocks = Blocks {
            number,
            dir: dir.join(dir_name(number)),
            block_bytes,
            cache_bytes,
            db: RwLock::new(None),
            unsynced: AtomicUsize::new(0),
            waiting: Mutex::default(),
        };
        let opened = blocks.open_sled(full)?;
        *blocks.db.write().unwrap_or_else(PoisonError::into_inner) = Some(opened);
        Ok(blocks)
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// sled's log, which damage is told of.
    pub(super) fn log_path(&self) -> PathBuf {
        self.dir.join(LOG)
    }

    fn open_sled(&self, full: bool) -> Result<Opened, BlocksError> {
        let path = self.log_path();
        let io = |error| io_error(&path, &error);
        if full {
            // sled would begin anew without a word.
            let length = path.metadata().map_or(0, |metadata| metadata.len());
            if length == 0 {
                return Err(Damage::new(&path, 0, "sled's log is missing or empty").into());
            }
            // sled notes in a snapshot what it reads here: it must not trust what a power cut could still take.
            File::open(&path).and_then(|log| log.sync_all()).map_err(io)?;
        }
        self.refuse_blobs()?;
        self.refuse_folders()?;
        self.remove_unfinished_snapshots().map_err(io)?;
        let segment_bytes = (self.block_bytes * SLED_SEGMENT_BLOCKS).next_power_of_two();
        let config = ::sled::Config::new()
            .path(&self.dir)
            .cache_capacity(self.cache_bytes)
            .segment_size(segment_bytes.min(SLED_SEGMENT_BYTES_MAX))
            .flush_every_ms(None);
        let db = self.guard(|| config.open())?;
        if full && !db.was_recovered() {
            return Err(Damage::new(&path, 0, "sled found nothing in its log").into());
        }
        self.guard(|| db.flush())?;
        let log = File::open(&path).map_err(io)?;
        log.sync_all().map_err(io)?;
        // The names of what sled has just made.
        for file in [SETTINGS, "blobs", "."] {
            File::open(self.dir.join(file)).and_then(|file| file.sync_all()).map_err(io)?;
        }
        files::sync_dir(self.dir.parent().expect("it lies in the data directory")).map_err(io)?;
        Ok(Opened { db, log })
    }

    /// sled takes a snapshot that it did not come to finish for the newest one, and then for damage.
    fn remove_unfinished_snapshots(&self) -> std::io::Result<()> {
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten() {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("snap.") && name.ends_with(".generating") {
                std::fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Whether sled is there; after a [`reopen`](Blocks::reopen) that failed it is not.
    pub(super) fn is_open(&self) -> bool {
        self.db.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Opens sled anew, after an error that it would repeat for ever.
    pub(super) fn reopen(&self) -> Result<(), BlocksError> {
        /// Time that sled's threads get to let go of the old log.
        const PATIENCE: Duration = Duration::from_secs(5);
        let mut slot = self.db.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = slot.take() {
            // Dropping a failed sled may panic; what it held is in the journal or durable.
            let _ = quiet::run(|| drop(old));
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.open_sled(true) {
                Ok(opened) => {
                    *slot = Some(opened);
                    self.unsynced.store(0, Ordering::Relaxed);
                    return Ok(());
                }
                Err(BlocksError::Failed(_)) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes blocks; removing an absent one is no error.
    pub(super) fn remove(&self, names: &[BlockName]) -> Result<(), BlocksError> {
        self.with(|opened| {
            for name in names {
                for part in 0..name.parts {
                    opened.db.remove(part_key(name.id, part))?;
                    self.wrote(opened, SLED_REMOVE_BLOCKS * self.block_bytes)?;
                }
            }
            Ok(())
        })
    }

    /// Removes all blocks from `id` on: a checkpoint that was not finished has left them.
    pub(super) fn remove_from(&self, id: BlockId) -> Result<usize, BlocksError> {
        self.with(|opened| {
            let mut removed = 0;
            while let Some((key, _)) = opened.db.range(part_key(id, 0)..).next().transpose()? {
                opened.db.remove(key)?;
                removed += 1;
                self.wrote(opened, SLED_REMOVE_BLOCKS * self.block_bytes)?;
            }
            Ok(removed)
        })
    }

    /// Forgets what was put and is not in sled yet, after a checkpoint that failed.
    pub(super) fn forget_waiting(&self) {
        *lock(&self.waiting) = Waiting::default();
    }

    fn write_waiting(&self) -> Result<(), BlocksError> {
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        self.with(|opened| {
            let parts = || waiting.blocks.iter().flat_map(|(id, encoded)| self.parts(*id, encoded));
            for (key, _) in parts() {
                opened.db.insert(key, &[])?;
                self.wrote(opened, SLED_PLACE_BLOCKS * self.block_bytes)?;
            }
            for (key, part) in parts() {
                opened.db.insert(key, part)?;
                touch(&opened.db, &key)?;
                self.wrote(opened, part.len() * SLED_WRITE_FACTOR)?;
            }
            Ok(())
        })
    }

    /// The values that a block is cut into, under their keys.
    fn parts<'a>(&self, id: BlockId, encoded: &'a [u8]) -> impl Iterator<Item = ([u8; 12], &'a [u8])> {
        (0..).map(move |part| part_key(id, part)).zip(encoded.chunks(self.block_bytes))
    }

    fn wrote(&self, opened: &Opened, bytes: usize) -> ::sled::Result<()> {
        let total = self.unsynced.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if total < self.block_bytes * SLED_SEGMENT_BLOCKS / 2 {
            return Ok(());
        }
        self.sync_opened(opened)
    }

    fn sync_opened(&self, opened: &Opened) -> ::sled::Result<()> {
        opened.db.flush()?;
        opened.log.sync_data()?;
        self.unsynced.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// A file in `blobs` means that a page did not stay in the log, and that sled will not sync it.
    fn refuse_blobs(&self) -> Result<(), BlocksError> {
        let dir = self.dir.join("blobs");
        match std::fs::read_dir(&dir).ok().and_then(|mut entries| entries.next()) {
            Some(Ok(entry)) => {
                Err(Damage::new(&entry.path(), 0, "sled keeps a page outside its log, which must not be")
                    .into())
            }
            Some(Err(_)) | None => Ok(()),
        }
    }

    /// sled's own error about a folder in the place of a file does not say which.
    fn refuse_folders(&self) -> Result<(), BlocksError> {
        for name in [LOG, SETTINGS] {
            let path = self.dir.join(name);
            if path.is_dir() {
                return Err(Damage::new(&path, 0, "a folder stands where a file of sled's was").into());
            }
        }
        Ok(())
    }

    fn with<T>(&self, work: impl FnOnce(&Opened) -> ::sled::Result<T>) -> Result<T, BlocksError> {
        let slot = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let opened = slot.as_ref().ok_or_else(|| BlocksError::Failed("sled is not open".to_owned()))?;
        self.guard(|| work(opened))
    }

    /// Turns sled's errors and panics into ours.
    fn guard<T>(&self, work: impl FnOnce() -> ::sled::Result<T>) -> Result<T, BlocksError> {
        let path = self.log_path();
        match quiet::run(work) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(::sled::Error::Corruption { at, .. })) => {
                let what = at.map_or_else(
                    || "sled finds damage".to_owned(),
                    |at| format!("sled finds damage at {at:?}"),
                );
                Err(Damage::new(&path, 0, what).into())
            }
            // The one thing that it calls unsupported are settings that it has not written.
            Ok(Err(::sled::Error::Unsupported(what))) => {
                let what = format!("sled does not know its settings: {what}");
                Err(Damage::new(&self.dir.join(SETTINGS), 0, what).into())
            }
            Ok(Err(::sled::Error::Io(error))) => Err(io_error(&path, &error)),
            Ok(Err(error)) => Err(BlocksError::Failed(format!("{}: {error}", path.display()))),
            Err(text) => Err(Damage::new(&path, 0, format!("sled has panicked: {text}")).into()),
        }
    }
}

impl Shelf for Blocks {
    fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    fn place(&self) -> PathBuf {
        self.log_path()
    }

    fn put(&self, id: BlockId, encoded: Vec<u8>) -> Result<BlockName, BlocksError> {
        let name = BlockName::cut(id, encoded.len(), self.block_bytes);
        let mut waiting = lock(&self.waiting);
        waiting.bytes += encoded.len();
        waiting.blocks.push((id, encoded));
        let due = waiting.bytes >= PUT_BLOCKS * self.block_bytes;
        drop(waiting);
        if due {
            self.write_waiting()?;
        }
        Ok(name)
    }

    fn fetch(&self, block: &BlockRef) -> Result<Option<Bytes>, BlocksError> {
        self.with(|opened| {
            let mut parts = Vec::new();
            for part in 0..block.name.parts {
                let key = part_key(block.name.id, part);
                parts.extend(opened.db.get(key)?);
                touch(&opened.db, &key)?;
            }
            Ok(joined(block, parts))
        })
    }

    /// Blocks of one checkpoint that follow each other have numbers that do, and lie in the same pages: one range reads each page
    /// once.
    fn fetch_run(&self, run: &[&BlockRef]) -> Result<Vec<Option<Bytes>>, BlocksError> {
        let in_line = run.windows(2).all(|two| two[0].name.id + 1 == two[1].name.id);
        let (Some(first), Some(last), true) = (run.first(), run.last(), in_line) else {
            return run.iter().map(|block| self.fetch(block)).collect();
        };
        let range = part_key(first.name.id, 0)..part_key(last.name.id, last.name.parts);
        self.with(|opened| {
            let mut parts = vec![Vec::new(); run.len()];
            for (number, pair) in opened.db.range(range).enumerate() {
                let (key, part) = pair?;
                if number.is_multiple_of(RUN_TOUCH) {
                    touch(&opened.db, &key)?;
                }
                let of = run.iter().position(|block| key.starts_with(&block.name.id.to_be_bytes()));
                if let Some(of) = of {
                    parts[of].push(part);
                }
            }
            Ok(run.iter().zip(parts).map(|(block, parts)| joined(block, parts)).collect())
        })
    }

    fn sync(&self) -> Result<(), BlocksError> {
        self.write_waiting()?;
        self.with(|opened| self.sync_opened(opened))?;
        self.refuse_blobs()
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        let opened = self.db.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // sled flushes here, and panics when it cannot; nothing that counts depends on this flush.
        let _ = quiet::run(|| drop(opened));
    }
}

fn io_error(path: &Path, error: &std::io::Error) -> BlocksError {
    let text = format!("{}: {error}", path.display());
    if files::is_full(error) { BlocksError::Full(text) } else { BlocksError::Failed(text) }
}

/// Bytes of disk that writing `bytes` of pairs down may take for a while, about.
pub(super) fn disk_bytes_for(bytes: u64, block_bytes: usize) -> u64 {
    bytes * SLED_SPACE_FACTOR + 2 * (block_bytes * SLED_SEGMENT_BLOCKS) as u64
}

/// Name of a sled directory.
pub(super) fn dir_name(number: u64) -> String {
    format!("rest-{number:06}")
}

fn part_key(id: BlockId, part: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&id.to_be_bytes());
    key[8..].copy_from_slice(&part.to_be_bytes());
    key
}

/// The bytes of a block, if all its parts are there.
fn joined(block: &BlockRef, mut parts: Vec<IVec>) -> Option<Bytes> {
    if parts.len() != block.name.parts as usize {
        return None;
    }
    if parts.len() == 1 {
        return parts.pop().map(Bytes::from_owner);
    }
    let mut joined = Vec::with_capacity(block.bytes as usize);
    parts.iter().for_each(|part| joined.extend_from_slice(part));
    Some(joined.into())
}

fn touch(db: &Db, key: &[u8]) -> ::sled::Result<()> {
    for _ in 1..ACCESSES {
        db.contains_key(key)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rest::{Builder, Pairs};

    #[test]
    fn a_run_brings_what_each_fetch_would() {
        let dir = tempfile::tempdir().unwrap();
        let blocks = Blocks::open(dir.path(), 1, 64, 1024 * 1024, false).unwrap();
        let mut builder = Builder::default();
        let mut put = |id, bytes| {
            builder.push(b"key", &vec![b'x'; bytes]);
            builder.finish(&blocks, id).unwrap().1
        };
        // In line, behind a gap, before where it stands, in two parts.
        let written = [(3, 1), (4, 2), (5, 3), (9, 4), (2, 5), (6, 70)].map(|(id, bytes)| put(id, bytes));
        let [a, b, c, behind, before, cut] = &written;
        blocks.sync().unwrap();
        blocks.remove(&[b.name]).unwrap();
        for run in [vec![a, b, c], vec![a, behind], vec![a, before], vec![c, cut], vec![cut], vec![]] {
            let one_by_one = run.iter().map(|block| blocks.fetch(block).unwrap()).collect::<Vec<_>>();
            assert_eq!(blocks.fetch_run(&run).unwrap(), one_by_one);
            let is_there = run.iter().map(|block| block.name.id != b.name.id).collect::<Vec<_>>();
            assert_eq!(one_by_one.iter().map(Option::is_some).collect::<Vec<_>>(), is_there);
        }
    }

    /// sled would write four bytes for each of ours, and keep two of them, if it split pages of blocks.
    #[test]
    fn a_block_is_written_once() {
        const BLOCK_BYTES: usize = 4 * 1024;
        const BLOCKS: u64 = 8 * 1024;
        let dir = tempfile::tempdir().unwrap();
        let blocks = Blocks::open(dir.path(), 1, BLOCK_BYTES, 1024 * 1024, false).unwrap();
        for id in 1..=BLOCKS {
            blocks.put(id, vec![b'x'; BLOCK_BYTES]).unwrap();
        }
        blocks.sync().unwrap();
        let bytes = BLOCKS * BLOCK_BYTES as u64;
        let log_bytes = blocks.log_path().metadata().unwrap().len();
        assert!(log_bytes < bytes * 5 / 4, "{log_bytes} bytes of log for {bytes} of blocks");
    }

    #[test]
    fn what_a_failed_checkpoint_has_put_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let blocks = Blocks::open(dir.path(), 1, 64, 1024 * 1024, false).unwrap();
        blocks.put(1, b"forgotten".to_vec()).unwrap();
        blocks.forget_waiting();
        blocks.put(2, b"written".to_vec()).unwrap();
        blocks.sync().unwrap();
        assert_eq!(blocks.remove_from(1).unwrap(), 1, "the second alone is there");
    }

    /// What is on disks today is read by every later version: a change of these bytes needs a new format number.
    #[test]
    fn the_format_stays() {
        let dir = tempfile::tempdir().unwrap();
        let blocks = Blocks::open(dir.path(), 1, 64, 1024 * 1024, false).unwrap();
        let mut builder = Builder::default();
        builder.push(b"a", b"one");
        builder.push(b"b", &[b'x'; 70]);
        let (first, block) = builder.finish(&blocks, 9).unwrap();
        assert_eq!((&first[..], &block.last[..], block.pairs), (&b"a"[..], &b"b"[..], 2));
        assert_eq!(block.name, BlockName { id: 9, parts: 2 }, "larger than a block: cut in two");
        blocks.sync().unwrap();
        let encoded = blocks.read(&block).unwrap();
        let golden = [&b"\x01\0\0\0\x02\0\0\0\x01\0\0\0a\x03\0\0\0one\x01\0\0\0b\x46\0\0\0"[..], &[b'x'; 70]];
        assert_eq!(&encoded[..], golden.concat());
        assert_eq!(Pairs::new(&encoded).unwrap().count(), 2);
        assert_eq!(part_key(9, 1), [0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1]);
        blocks.remove(&[block.name]).unwrap();
        assert!(matches!(blocks.read(&block), Err(BlocksError::Damaged(_))));
    }
}
