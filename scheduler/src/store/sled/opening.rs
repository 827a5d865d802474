//! Opening: what the manifest promises is held against what is there, piece by piece, before anything is written.

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use super::blocks::{self, Blocks};
use super::checkpoint::directory_name;
use super::engine::{Engine, Parts};
use super::files;
use super::journal::{self, Group, Journal, ReplayError, Shape, Start};
use super::lock::Lock;
use super::manifest::{self, Manifest, WriteError};
use super::{Limits, keeper};
use crate::fault::{self, Point};
use crate::store::rest::{
    BlockName, BlocksError, Directory, Overlay, Resting, Shelf, View, directory_crc, next_run,
};
use crate::store::{Damage, OpenError, StoreConfig, lock};

/// Name of the journal's directory.
pub(super) const JOURNAL_DIR: &str = "journal";
/// Stands while a store is made for the first time: what is there without a manifest then was never used.
const MAKING: &str = "MAKING";
/// Threads that read blocks at start, at most: sled has one lock or another that more of them would wait for.
const VERIFY_THREADS_MAX: usize = 8;

impl From<BlocksError> for OpenError {
    fn from(error: BlocksError) -> OpenError {
        match error {
            BlocksError::Damaged(damage) => OpenError::Damaged(damage),
            BlocksError::Full(text) => OpenError::Full(text),
            BlocksError::Failed(text) => OpenError::Failed(format!(
                "{text}; check the disk and that this user may read and write there, and start again"
            )),
        }
    }
}

impl From<ReplayError> for OpenError {
    fn from(error: ReplayError) -> OpenError {
        match error {
            ReplayError::Io { path, source } => OpenError::io(&path, source),
            ReplayError::Damaged(damage) => OpenError::Damaged(damage),
        }
    }
}

/// Opens the store in a data directory, or makes it.
pub(super) fn open(config: &StoreConfig) -> Result<Engine, OpenError> {
    let dir = &config.data_dir;
    let at = |source| OpenError::io(dir, source);
    fs::create_dir_all(dir).map_err(at)?;
    let lock = Lock::take(dir)?;
    let limits = Limits::derive(config, files::file_system(dir).map_err(at)?.total);
    let parts = match read_manifest(dir)? {
        Some(manifest) => reopen(config, limits, lock, manifest)?,
        None => make(config, limits, lock)?,
    };
    let engine = Engine::new(parts);
    keeper::probe(&engine, None);
    Ok(engine)
}

/// The manifest; `None` when this is no store yet. A store that has lost its manifest is an error.
pub(super) fn read_manifest(dir: &Path) -> Result<Option<Manifest>, OpenError> {
    let path = dir.join(manifest::FILE);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(Manifest::decode(&path, &bytes)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if !dir.join(MAKING).exists() && !leftovers(dir)?.is_empty() {
                return Err(Damage::new(&path, 0, "the manifest is missing, though a store is here").into());
            }
            Ok(None)
        }
        Err(error) => Err(OpenError::io(&path, error)),
    }
}

/// Files and directories of a store other than its manifest and lock.
fn leftovers(dir: &Path) -> Result<Vec<std::path::PathBuf>, OpenError> {
    let at = |source| OpenError::io(dir, source);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(at)? {
        let entry = entry.map_err(at)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == JOURNAL_DIR || name.starts_with("rest-") || name.starts_with("directory-") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn remove(path: &Path) -> Result<(), OpenError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(|source| OpenError::io(path, source))
}

/// Makes a store. A crash on the way leaves the mark, and the next start begins again.
fn make(config: &StoreConfig, limits: Limits, lock: Lock) -> Result<Parts, OpenError> {
    let dir = &config.data_dir;
    let at = |source| OpenError::io(dir, source);
    let mark = dir.join(MAKING);
    files::replace(&mark, b"a store is being made here\n").map_err(at)?;
    for path in leftovers(dir)? {
        remove(&path)?;
    }
    let shape =
        Shape { dir: dir.join(JOURNAL_DIR), salt: rand::random(), segment_bytes: limits.segment_bytes };
    fs::create_dir(&shape.dir).map_err(at)?;
    files::sync_dir(dir).map_err(at)?;
    let epoch = config.epoch_min.max(1);
    let start = Start { segment: 1, lsn: 1 };
    let mut journal = Journal::create(shape.clone(), epoch, start).map_err(at)?;
    journal.write(&mut Group::default()).map_err(at)?;
    let blocks = Blocks::open(dir, 1, limits.block_bytes, limits.sled_cache_bytes, false)?;
    let directory = Directory::default();
    let encoded = directory.encode(&[]);
    files::replace(&dir.join(directory_name(1)), &encoded).map_err(at)?;
    let manifest = Manifest {
        format: manifest::FORMAT,
        salt: shape.salt,
        epoch,
        checkpoint_lsn: 0,
        start,
        end_lsn: 0,
        directory: 1,
        directory_bytes: encoded.len() as u64,
        directory_crc: directory_crc(&encoded),
        rest: 1,
        block_bytes: u32::try_from(limits.block_bytes).expect("blocks are far below 4 GiB"),
        next_block: 1,
        blocks: 0,
        pairs: 0,
    };
    manifest.write(dir).map_err(|error| write_error(dir, error))?;
    fs::remove_file(&mark).map_err(at)?;
    let resting = Arc::new(Resting { directory, blocks: Arc::new(blocks) });
    let view = View { active: Overlay::default(), frozen: None, resting };
    Ok(Parts { config: config.clone(), limits, shape, epoch, journal, view, manifest, lock })
}

fn write_error(dir: &Path, error: WriteError) -> OpenError {
    match error {
        WriteError::Untouched(source) | WriteError::Unknown(source) => OpenError::io(dir, source),
    }
}

fn reopen(
    config: &StoreConfig,
    mut limits: Limits,
    lock: Lock,
    manifest: Manifest,
) -> Result<Parts, OpenError> {
    let dir = &config.data_dir;
    let at = |source| OpenError::io(dir, source);
    let (directory, retired) = read_directory(dir, &manifest)?;
    limits.block_bytes = manifest.block_bytes as usize;
    let shape =
        Shape { dir: dir.join(JOURNAL_DIR), salt: manifest.salt, segment_bytes: limits.segment_bytes };
    let mut row = journal::segments(&shape.dir, manifest.start.segment)?;
    let end = (manifest.end_lsn > 0).then_some(manifest.end_lsn);
    let mut active = Overlay::default();
    let mut apply = |write| active.apply(write, |key| directory.covering(key).is_some());
    let mut replayed =
        journal::replay(manifest.salt, manifest.start, &row, manifest.checkpoint_lsn, end, &mut apply)?;
    fault::pass_or_fail(Point::OpenReplayed).map_err(at)?;
    if replayed.torn {
        let (path, offset) = &replayed.tail;
        tracing::warn!(path = %path.display(), offset, "cut a torn record that was never confirmed");
    }
    let open_blocks = || {
        Blocks::open(dir, manifest.rest, limits.block_bytes, limits.sled_cache_bytes, !directory.is_empty())
    };
    let blocks = match open_blocks() {
        // sled cannot start without some space; that is what the reserve is for.
        Err(BlocksError::Full(_)) if replayed.remove_reserve(&mut row).map_err(at)? => open_blocks()?,
        outcome => outcome?,
    };
    verify(&directory, &blocks)?;
    let resting = Arc::new(Resting { directory, blocks: Arc::new(blocks) });
    let view = View { active, frozen: None, resting: Arc::clone(&resting) };
    // From here on the store is whole, and is written. An older program must not take it for one of its own any more.
    let manifest = if manifest.format < manifest::FORMAT {
        let raised = Manifest { format: manifest::FORMAT, ..manifest };
        raised
            .write(dir)
            .map_err(|error| OpenError::Failed(format!("failed to raise the format: {error}")))?;
        raised
    } else {
        manifest
    };
    let epoch = (manifest.epoch.max(replayed.epoch) + 1).max(config.epoch_min);
    let mut journal = replayed.into_journal(shape.clone(), epoch, row).map_err(at)?;
    announce(&mut journal, &shape).map_err(at)?;
    fault::pass_or_fail(Point::OpenAnnounced).map_err(at)?;
    tidy(dir, &manifest, &resting.blocks, &retired)?;
    Ok(Parts { config: config.clone(), limits, shape, epoch, journal, view, manifest, lock })
}

/// Makes the new epoch durable: an empty record says it, in space that is there already.
fn announce(journal: &mut Journal, shape: &Shape) -> std::io::Result<()> {
    if journal.seal_room() {
        return journal.seal().map(drop);
    }
    if !journal.rotate() {
        let (number, free) = journal.wanted().expect("nothing is prepared");
        journal.adopt(shape.prepare(number, free)?);
        journal.rotate();
    }
    journal.write(&mut Group::default()).map(drop)
}

/// Reads the directory that the manifest names, and holds the one against the other.
pub(super) fn read_directory(
    dir: &Path,
    manifest: &Manifest,
) -> Result<(Directory, Vec<BlockName>), OpenError> {
    let path = dir.join(directory_name(manifest.directory));
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Damage::new(&path, 0, "the directory of blocks is missing").into());
        }
        Err(error) => return Err(OpenError::io(&path, error)),
    };
    if bytes.len() as u64 != manifest.directory_bytes {
        let what = format!("the directory has {} bytes instead of {}", bytes.len(), manifest.directory_bytes);
        return Err(Damage::new(&path, manifest.directory_bytes.min(bytes.len() as u64), what).into());
    }
    let (directory, retired) = Directory::decode(&path, &bytes, manifest.directory_crc)?;
    if (directory.blocks() as u64, directory.pairs()) != (manifest.blocks, manifest.pairs) {
        return Err(Damage::new(&path, 0, "the manifest counts other blocks than the directory has").into());
    }
    Ok((directory, retired))
}

/// Reads every block once, on all processors: sled must hand out, bit for bit, what the directory says was written.
pub(super) fn verify(directory: &Directory, blocks: &Blocks) -> Result<(), OpenError> {
    let left = Mutex::new(directory.iter().map(|(_, block)| block).peekable());
    let read = || {
        loop {
            let run = next_run(&mut *lock(&left));
            if run.is_empty() {
                return Ok(());
            }
            // Whoever finds damage has the others stop.
            blocks.read_run(&run).inspect_err(|_| lock(&left).by_ref().for_each(drop))?;
        }
    };
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        // Where the system has no thread to give, there are fewer.
        let start = |_| thread::Builder::new().spawn_scoped(scope, read).ok();
        let others = (1..processors.min(VERIFY_THREADS_MAX)).filter_map(start).collect::<Vec<_>>();
        let own = read();
        let others = others.into_iter().map(|thread| thread.join().expect("sled's panics are caught"));
        others.fold(own, Result::and).map_err(BlocksError::into)
    })
}

/// Removes what earlier owners did not come to remove. Only what the store has named itself, and only on a store that is whole.
fn tidy(dir: &Path, manifest: &Manifest, blocks: &Blocks, retired: &[BlockName]) -> Result<(), OpenError> {
    let unfinished = blocks.remove_from(manifest.next_block)?;
    blocks.remove(retired)?;
    if unfinished + retired.len() > 0 {
        blocks.sync()?;
        tracing::info!(unfinished, retired = retired.len(), "removed blocks that nothing needs any more");
    }
    let keep = [directory_name(manifest.directory), blocks::dir_name(manifest.rest), JOURNAL_DIR.to_owned()];
    for path in leftovers(dir)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !keep.contains(&name) {
            tracing::info!(path = %path.display(), "removed what an unfinished checkpoint has left");
            remove(&path)?;
        }
    }
    if dir.join(MAKING).exists() {
        remove(&dir.join(MAKING))?;
    }
    Ok(())
}
