//! The doctor's look at a store that nobody has open: every checksum of every file, and not a byte changed.
//!
//! sled writes when it opens its files, so they are copied and the copy is opened.

use std::fs;
use std::path::{Path, PathBuf};

use super::blocks::{Blocks, dir_name};
use super::files;
use super::journal::{self, ReplayError};
use super::lock::Lock;
use super::manifest::{FILE, Manifest};
use super::opening::{JOURNAL_DIR, read_directory, read_manifest};
use crate::store::rest::{BlockName, BlocksError, Directory, Shelf};
use crate::store::{Damage, OpenError};

/// sled's page cache while its copy is read.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// What a look at a store has found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// The data directory.
    pub data_dir: PathBuf,
    /// All that is wrong; a store with an entry here does not open.
    pub damage: Vec<Damage>,
    /// What is worth knowing and no damage, such as a torn tail or what could not be checked.
    pub notes: Vec<String>,
    /// Epoch of the last owner, as far as known.
    pub epoch: u64,
    /// Groups up to this one rest in sled.
    pub checkpoint_lsn: u64,
    /// The last group in the journal.
    pub last_lsn: u64,
    /// Journal segments with groups, in order.
    pub segments: Vec<SegmentReport>,
    /// Writes in the journal that a start applies again.
    pub recent_writes: u64,
    /// Blocks in sled.
    pub blocks: u64,
    /// Key-value pairs in them.
    pub pairs: u64,
    /// Their bytes.
    pub block_bytes: u64,
    /// Blocks that were read and found whole.
    pub blocks_checked: u64,
}

/// One journal segment.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SegmentReport {
    /// The file.
    pub file: PathBuf,
    /// Number of its first group.
    pub first_lsn: u64,
    /// Number of its last group; below the first when it has none.
    pub last_lsn: u64,
}

impl Report {
    /// Whether the store would open.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.damage.is_empty()
    }
}

/// Looks at the store in a data directory and changes nothing there.
///
/// # Errors
/// When it cannot look: no store is there, a server has it open, files cannot be read. What is wrong *in* the store stands
/// in the report.
pub fn examine(data_dir: &Path) -> Result<Report, OpenError> {
    if !data_dir.is_dir() {
        return Err(OpenError::Failed(format!("{} is no directory", data_dir.display())));
    }
    let _lock = Lock::take(data_dir)?;
    let mut report = Report { data_dir: data_dir.to_owned(), ..Report::default() };
    let Some(found) = report.note(read_manifest(data_dir))? else { return Ok(report) };
    let Some(manifest) = found else {
        return Err(OpenError::Failed(format!("{} holds no store ({FILE} is missing)", data_dir.display())));
    };
    report.epoch = manifest.epoch;
    report.checkpoint_lsn = manifest.checkpoint_lsn;
    let journal = report.journal(data_dir, &manifest);
    report.note(journal)?;
    if let Some((directory, retired)) = report.note(read_directory(data_dir, &manifest))? {
        report.blocks = directory.blocks() as u64;
        report.pairs = directory.pairs();
        report.block_bytes = directory.bytes();
        let blocks = report.read_blocks(data_dir, &manifest, &directory, &retired);
        report.note(blocks)?;
    }
    Ok(report)
}

impl Report {
    /// Takes damage into the report and lets other errors through.
    fn note<T>(&mut self, outcome: Result<T, OpenError>) -> Result<Option<T>, OpenError> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(OpenError::Damaged(damage)) => {
                self.damage.push(damage);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn journal(&mut self, data_dir: &Path, manifest: &Manifest) -> Result<(), OpenError> {
        let row = journal::segments(&data_dir.join(JOURNAL_DIR), manifest.start.segment);
        let row = row.map_err(OpenError::from)?;
        let end = (manifest.end_lsn > 0).then_some(manifest.end_lsn);
        let mut writes = 0;
        let mut count = |_| writes += 1;
        let replayed =
            journal::replay(manifest.salt, manifest.start, &row, manifest.checkpoint_lsn, end, &mut count);
        self.recent_writes = writes;
        let replayed = replayed.map_err(|error: ReplayError| OpenError::from(error))?;
        self.epoch = self.epoch.max(replayed.epoch);
        self.last_lsn = replayed.last_lsn;
        if replayed.torn {
            let (file, offset) = &replayed.tail;
            let torn = format!(
                "{} at byte {offset}: a torn record that was never confirmed; a start cuts it",
                file.display()
            );
            self.notes.push(torn);
        }
        for (number, first_lsn, last_lsn) in replayed.segments() {
            let file = row.needed.iter().find(|(other, _)| *other == number);
            let file = file.map(|(_, path)| path.clone()).unwrap_or_default();
            self.segments.push(SegmentReport { file, first_lsn, last_lsn });
        }
        Ok(())
    }

    fn read_blocks(
        &mut self,
        data_dir: &Path,
        manifest: &Manifest,
        directory: &Directory,
        retired: &[BlockName],
    ) -> Result<(), OpenError> {
        let original = data_dir.join(dir_name(manifest.rest));
        let copy = Copy::of(&original)?;
        let Some(copy) = copy else {
            let bytes = files::disk_bytes(&original);
            self.notes.push(format!(
                "the blocks were not read: a copy of {} ({bytes} bytes) does not fit into {}; set TMPDIR to a place with more room",
                original.display(),
                std::env::temp_dir().display(),
            ));
            return Ok(());
        };
        let here = |error: BlocksError| match OpenError::from(error) {
            OpenError::Damaged(mut damage) => {
                // People look for the original.
                if let Ok(below) = damage.file.strip_prefix(&copy.dir) {
                    damage.file = data_dir.join(below);
                }
                OpenError::Damaged(damage)
            }
            OpenError::Failed(text) => {
                let (copy, original) = (copy.dir.to_string_lossy(), data_dir.to_string_lossy());
                OpenError::Failed(text.replace(&*copy, &original))
            }
            error => error,
        };
        let block_bytes = manifest.block_bytes as usize;
        let blocks = Blocks::open(&copy.dir, manifest.rest, block_bytes, CACHE_BYTES, !directory.is_empty());
        let blocks = blocks.map_err(here)?;
        for (_, block) in directory.iter() {
            if self.note(blocks.read(block).map_err(here))?.is_some() {
                self.blocks_checked += 1;
            }
        }
        if self.is_whole() {
            // A start also removes what nothing needs any more, and that reaches pages that no block of the directory is on.
            let removed = blocks.remove_from(manifest.next_block);
            let removed = removed.and_then(|_| blocks.remove(retired)).and_then(|()| blocks.sync());
            self.note(removed.map_err(here))?;
        }
        Ok(())
    }
}

/// A copy of a sled directory in a place for temporary files, removed when it is dropped.
struct Copy {
    dir: PathBuf,
}

impl Copy {
    /// `None` when there is no room for it.
    fn of(original: &Path) -> Result<Option<Copy>, OpenError> {
        /// Bytes that stay free.
        const SPARE_BYTES: u64 = 64 * 1024 * 1024;
        let temporary = std::env::temp_dir();
        let at = |source| OpenError::io(original, source);
        let free = files::file_system(&temporary).map_err(at)?.free;
        if free < files::disk_bytes(original) + SPARE_BYTES {
            return Ok(None);
        }
        let copy = Copy { dir: temporary.join(format!("windlass-doctor-{:016x}", rand::random::<u64>())) };
        let name = original.file_name().expect("it lies in the data directory");
        copy_dir(original, &copy.dir.join(name)).map_err(at)?;
        Ok(Some(copy))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.dir));
    }
}

fn copy_dir(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
