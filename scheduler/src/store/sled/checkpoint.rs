//! The checkpointer: a thread that moves what has gathered in the overlay into sled and gives journal segments back.
//!
//! 1. Freeze the overlay; commits go on into a new one.
//! 2. Merge the frozen one into new blocks; `fdatasync`.
//! 3. Write the new directory, then the manifest that names it. This is the moment at which the checkpoint counts.
//! 4. Show the new directory to readers, release journal segments, remove what nobody needs.
//!
//! A crash before the third step leaves the old state and a longer journal, one after it some rubbish that the next start removes.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use windlass_core::store::Space;

use super::blocks::{self, Blocks};
use super::engine::Engine;
use super::files;
use super::journal::Lsn;
use super::manifest::{Manifest, WriteError};
use crate::fault::{self, Point};
use crate::store::lock;
use crate::store::rest::{
    BlockId, BlockName, BlocksError, Directory, Merge, MergeError, Overlay, Resting, Shelf, copy_blocks,
    directory_crc,
};

/// How often the thread looks for things to remove when nobody wakes it.
const TICK: Duration = Duration::from_secs(1);
/// Wait after a failed checkpoint.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Failures in a row after which the store gives up; a full disk is none.
const FAILURES_MAX: u32 = 5;

/// What the thread remembers between checkpoints.
pub(super) struct Checkpointer<'a> {
    engine: &'a Engine,
    /// The last group in the frozen overlay, if there is one.
    frozen_lsn: Option<Lsn>,
    /// The number of the next block: ahead of the manifest's after a checkpoint that failed.
    next_block: BlockId,
    /// Blocks to be removed once no reader holds the state that needs them.
    retired: Vec<Retired>,
    /// Whole sled directories to be removed once nobody reads them.
    abandoned: Vec<(Arc<Blocks>, PathBuf)>,
    failures: u32,
    not_before: Instant,
}

/// Blocks, and the state that needs them, if one does.
type Retired = (Option<Arc<Resting<Blocks>>>, Vec<BlockName>);

/// Why a checkpoint was not completed.
#[derive(Debug, thiserror::Error)]
enum CheckpointError {
    #[error(transparent)]
    Merge(#[from] MergeError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Manifest(#[from] WriteError),
}

impl CheckpointError {
    /// Whether it is waited for: there is no space, or no descriptor.
    fn is_passing(&self) -> bool {
        match self {
            CheckpointError::Merge(MergeError::Blocks(BlocksError::Full(_))) => true,
            CheckpointError::Io(error) | CheckpointError::Manifest(WriteError::Untouched(error)) => {
                files::is_full(error) || files::is_out_of_descriptors(error)
            }
            CheckpointError::Merge(_) | CheckpointError::Manifest(WriteError::Unknown(_)) => false,
        }
    }
}

impl<'a> Checkpointer<'a> {
    pub(super) fn new(engine: &'a Engine) -> Checkpointer<'a> {
        Checkpointer {
            engine,
            frozen_lsn: None,
            next_block: lock(&engine.manifest).next_block,
            retired: Vec::new(),
            abandoned: Vec::new(),
            failures: 0,
            not_before: Instant::now(),
        }
    }

    /// Runs until the store stops.
    pub(super) fn run(mut self) {
        let engine = self.engine;
        while !engine.stop.load(Ordering::Relaxed) {
            let mut wanted = lock(&engine.checkpoint_wanted);
            if !*wanted {
                let woken = engine.checkpoint_wake.wait_timeout(wanted, TICK);
                wanted = woken.unwrap_or_else(PoisonError::into_inner).0;
            }
            *wanted = false;
            drop(wanted);
            if engine.failure().is_some() || engine.stop.load(Ordering::Relaxed) {
                // A failed store is only read; it stops with the others.
                std::thread::sleep(Duration::from_millis(10));
                continue;
            }
            if let Err(error) = self.open_again() {
                self.note(Err(error));
            }
            if !self.blocks().is_open() {
                continue;
            }
            self.remove_retired();
            let due = self.frozen_lsn.is_some() || engine.checkpoint_due() || self.gives_space_back();
            if Instant::now() < self.not_before {
                continue;
            }
            let outcome = if !due {
                self.rewrite_if_drained()
            } else if self.has_space() {
                self.checkpoint().and_then(|()| self.rewrite_if_drained())
            } else {
                Ok(())
            };
            self.note(outcome);
        }
    }

    fn note(&mut self, outcome: Result<(), CheckpointError>) {
        let Err(error) = outcome else {
            self.failures = 0;
            return;
        };
        let engine = self.engine;
        if matches!(error, CheckpointError::Merge(MergeError::Stopped)) {
            return;
        }
        self.not_before = Instant::now() + RETRY_AFTER;
        if matches!(error, CheckpointError::Manifest(WriteError::Unknown(_))) {
            engine.fail(format!("failed to complete a checkpoint: {error}"));
            return;
        }
        if let CheckpointError::Merge(MergeError::Blocks(BlocksError::Damaged(damage))) = &error {
            engine.fail(format!("failed to move data into sled: {damage}"));
            return;
        }
        if error.is_passing() {
            engine.set_low(true, None);
        } else {
            self.failures += 1;
        }
        tracing::warn!(%error, "a checkpoint has failed and will be tried again");
        // sled repeats its first error for ever; only a new one goes on. Errors of other files are none of its business.
        let of_sled = matches!(error, CheckpointError::Merge(MergeError::Blocks(_)));
        if of_sled && let Err(error) = self.blocks().reopen() {
            match error {
                BlocksError::Damaged(damage) => {
                    engine.fail(format!("sled cannot be opened any more: {damage}"));
                }
                BlocksError::Full(_) | BlocksError::Failed(_) => {
                    tracing::warn!(%error, "failed to open sled anew");
                }
            }
        }
        if self.failures >= FAILURES_MAX {
            engine.fail(format!("failed to move data into sled: {error}"));
        }
    }

    fn blocks(&self) -> Arc<Blocks> {
        Arc::clone(&self.engine.view.read().unwrap_or_else(PoisonError::into_inner).resting.blocks)
    }

    /// Opens sled when that has failed before, for want of space mostly: without it nothing can be moved, and nothing read.
    fn open_again(&self) -> Result<(), CheckpointError> {
        let blocks = self.blocks();
        if blocks.is_open() || Instant::now() < self.not_before {
            return Ok(());
        }
        Ok(blocks.reopen().map_err(MergeError::from)?)
    }

    /// Whether the disk has what a checkpoint may take; it would fail half way otherwise.
    fn has_space(&self) -> bool {
        let engine = self.engine;
        let view = engine.view.read().unwrap_or_else(PoisonError::into_inner);
        let overlay = view.frozen.as_deref().unwrap_or(&view.active);
        let needed = blocks::disk_bytes_for(overlay.bytes_put() as u64, engine.limits.block_bytes);
        drop(view);
        files::file_system(&engine.config.data_dir).is_ok_and(|figures| figures.free >= needed)
    }

    /// Whether most of what rests is gone while space is low. Nothing new gathers then, so no checkpoint would ever come due, and a
    /// store that has filled its own disk would stay full although its jobs are done.
    fn gives_space_back(&self) -> bool {
        let engine = self.engine;
        if engine.space() == Space::Ample {
            return false;
        }
        let view = engine.view.read().unwrap_or_else(PoisonError::into_inner);
        let (pairs, bytes) = (view.resting.directory.pairs(), view.resting.directory.bytes());
        let (gone, put) = (view.active.gone() as u64, view.active.bytes_put() as u64);
        drop(view);
        let left = bytes / pairs.max(1) * pairs.saturating_sub(gone);
        let needed = blocks::disk_bytes_for(left + put, engine.limits.block_bytes);
        gone > 0
            && left <= bytes / 2
            && files::file_system(&engine.config.data_dir).is_ok_and(|figures| figures.free >= needed)
    }

    fn checkpoint(&mut self) -> Result<(), CheckpointError> {
        let engine = self.engine;
        let started = Instant::now();
        let (frozen, resting, lsn) = self.freeze();
        fault::pass_or_fail(Point::CheckpointBegin)?;
        let mut manifest = lock(&engine.manifest).clone();
        let mut merge = Merge::new(&*resting.blocks, &resting.directory, self.next_block, &engine.stop);
        let merged = merge.run(&frozen);
        let Merge { next_id, written, retired, .. } = merge;
        self.next_block = next_id;
        manifest.next_block = next_id;
        manifest.checkpoint_lsn = lsn;
        let published = merged.map_err(CheckpointError::from).and_then(|directory| {
            fault::pass_or_fail(Point::CheckpointAfterFlush)?;
            let mut names: Vec<BlockName> =
                self.retired.iter().flat_map(|(_, names)| names).copied().collect();
            names.extend_from_slice(&retired);
            self.publish(manifest, directory, &names, Arc::clone(&resting.blocks))
        });
        if published.is_err() {
            resting.blocks.forget_waiting();
        }
        drop(resting);
        match published {
            Ok(old) => self.retired.push((Some(old), retired)),
            Err(error) => {
                self.retired.push((None, written));
                return Err(error);
            }
        }
        engine.checkpoints.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(lsn, ms = started.elapsed().as_millis() as u64, "checkpoint");
        Ok(())
    }

    /// Sets the overlay aside, or takes up again what an earlier attempt has set aside.
    fn freeze(&mut self) -> (Arc<Overlay>, Arc<Resting<Blocks>>, Lsn) {
        let journal = lock(&self.engine.journal);
        let mut view = self.engine.view.write().unwrap_or_else(PoisonError::into_inner);
        let lsn = *self.frozen_lsn.get_or_insert(journal.log.last_lsn());
        if view.frozen.is_none() {
            let active = std::mem::take(&mut view.active);
            view.frozen = Some(Arc::new(active));
        }
        let frozen = view.frozen.clone().unwrap_or_default();
        (frozen, Arc::clone(&view.resting), lsn)
    }

    /// Makes a directory the store's: durable first, then visible. Returns what it replaces.
    fn publish(
        &mut self,
        mut manifest: Manifest,
        directory: Directory,
        retired: &[BlockName],
        blocks: Arc<Blocks>,
    ) -> Result<Arc<Resting<Blocks>>, CheckpointError> {
        let engine = self.engine;
        let dir = &engine.config.data_dir;
        let encoded = directory.encode(retired);
        let old_file = dir.join(directory_name(manifest.directory));
        manifest.directory += 1;
        manifest.directory_bytes = encoded.len() as u64;
        manifest.directory_crc = directory_crc(&encoded);
        manifest.blocks = directory.blocks() as u64;
        manifest.pairs = directory.pairs();
        manifest.rest = blocks.number();
        manifest.epoch = engine.epoch;
        let journal = lock(&engine.journal);
        manifest.end_lsn = journal.log.last_lsn();
        manifest.start = journal.log.start_after(manifest.checkpoint_lsn);
        drop(journal);
        fault::pass_or_fail(Point::DirectoryWrite)?;
        files::replace(&dir.join(directory_name(manifest.directory)), &encoded)?;
        fault::pass_or_fail(Point::CheckpointBeforeManifest)?;
        let start = manifest.start;
        let mut current = lock(&engine.manifest);
        manifest.write(dir)?;
        *current = manifest;
        drop(current);
        fault::pass(Point::CheckpointAfterManifest);
        let resting = Arc::new(Resting { directory, blocks });
        let mut view = engine.view.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut view.resting, resting);
        view.frozen = None;
        drop(view);
        self.frozen_lsn = None;
        let mut journal = lock(&engine.journal);
        let surplus = journal.log.release(start);
        engine.note_journal(&journal);
        drop(journal);
        engine.keeper_wake.notify_all();
        engine.progress.notify_all();
        for path in surplus.iter().chain([&old_file]) {
            if let Err(error) = fs::remove_file(path) {
                tracing::warn!(path = %path.display(), %error, "failed to remove a file that is not needed any more");
            }
        }
        Ok(old)
    }

    /// Removes the blocks that no reader can ask for any more.
    fn remove_retired(&mut self) {
        let unread =
            |old: &Option<Arc<Resting<Blocks>>>| old.as_ref().is_none_or(|old| Arc::strong_count(old) == 1);
        let blocks =
            Arc::clone(&self.engine.view.read().unwrap_or_else(PoisonError::into_inner).resting.blocks);
        // Readers of an older state may need what a later one does not, so the row is worked off in order.
        while self.retired.first().is_some_and(|(old, _)| unread(old)) {
            let (_, names) = &self.retired[0];
            if let Err(error) = blocks.remove(names).and_then(|()| blocks.sync()) {
                self.note(Err(MergeError::from(error).into()));
                return;
            }
            self.retired.remove(0);
        }
        self.abandoned.retain(|(blocks, dir)| {
            let unread = Arc::strong_count(blocks) == 1;
            if unread && let Err(error) = fs::remove_dir_all(dir) {
                tracing::warn!(path = %dir.display(), %error, "failed to remove a sled directory that was replaced");
            }
            !unread
        });
    }

    /// Writes all blocks into a new sled when that gives most of the disk back: sled itself keeps what it once took.
    fn rewrite_if_drained(&mut self) -> Result<(), CheckpointError> {
        let engine = self.engine;
        debug_assert!(
            self.frozen_lsn.is_none(),
            "publishing would drop what a failed checkpoint has set aside"
        );
        let resting = Arc::clone(&engine.view.read().unwrap_or_else(PoisonError::into_inner).resting);
        let (old, directory) = (&resting.blocks, &resting.directory);
        let disk = files::disk_bytes(old.dir());
        let needed = blocks::disk_bytes_for(directory.bytes(), engine.limits.block_bytes);
        let free = files::file_system(&engine.config.data_dir)?.free;
        if disk < engine.limits.rewrite_bytes_min || disk / 4 < directory.bytes() || free < needed {
            return Ok(());
        }
        let number = old.number() + 1;
        let dir = engine.config.data_dir.join(blocks::dir_name(number));
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        let (block_bytes, cache_bytes) = (old.block_bytes(), engine.limits.sled_cache_bytes);
        let new = Blocks::open(&engine.config.data_dir, number, block_bytes, cache_bytes, false);
        let copied = new.map_err(MergeError::from).and_then(|new| {
            copy_blocks(directory, &**old, &new, &engine.stop)?;
            Ok(Arc::new(new))
        });
        // Half a copy would keep a full disk full, and with it the store from everything else.
        let new = copied.inspect_err(|_| drop(fs::remove_dir_all(&dir)))?;
        let manifest = lock(&engine.manifest).clone();
        // What was retired is not in the new sled.
        drop(self.publish(manifest, directory.clone(), &[], new)?);
        self.retired.clear();
        let blocks = Arc::clone(old);
        let dir = blocks.dir().to_owned();
        tracing::info!(bytes = disk, "rewrote a drained store; its old files are removed");
        self.abandoned.push((blocks, dir));
        Ok(())
    }
}

/// Name of a directory file.
pub(super) fn directory_name(number: u64) -> String {
    format!("directory-{number:010}")
}
