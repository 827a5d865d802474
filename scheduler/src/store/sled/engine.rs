//! The engine: what the committing thread, the readers, the keeper and the checkpointer share, and the commit itself.
//!
//! Locks are taken in this order: journal, then view. The journal's is held through a commit; the view's only for moments.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use windlass_core::store::{Batch, CommitError, Epoch, Space, StoreStats, Write};

use super::blocks::{self, Blocks};
use super::files;
use super::journal::{Group, Journal, Lsn, Shape};
use super::lock::Lock;
use super::manifest::{Manifest, WriteError};
use super::{Limits, journal};
use crate::fault::{self, Point};
use crate::store::rest::{Shelf, Staging, View};
use crate::store::{StoreConfig, lock};

/// How long a commit waits before it looks again whether what it waits for will come.
const WAIT_STEP: Duration = Duration::from_millis(100);

/// The shared state of an open store.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) config: StoreConfig,
    pub(super) limits: Limits,
    pub(super) shape: Shape,
    pub(super) epoch: Epoch,
    pub(super) journal: Mutex<Log>,
    pub(super) view: RwLock<View<Blocks>>,
    pub(super) manifest: Mutex<Manifest>,
    /// Belongs to the journal's lock: a segment was taken, or the store stops.
    pub(super) keeper_wake: Condvar,
    /// Belongs to the journal's lock: a segment was prepared, a checkpoint is done, the space has changed.
    pub(super) progress: Condvar,
    pub(super) checkpoint_wanted: Mutex<bool>,
    pub(super) checkpoint_wake: Condvar,
    /// Why the store writes no more; the first reason stays.
    failed: OnceLock<String>,
    /// Whether only work already taken on is finished; changed through [`set_low`](Engine::set_low).
    low: AtomicBool,
    /// Why, as far as it is not the plain lack of space.
    shortage: Mutex<Option<String>>,
    pub(super) stop: AtomicBool,
    /// Copies of the journal's figures, for those who must not wait for a commit.
    journal_bytes: AtomicU64,
    journal_segments: AtomicUsize,
    pub(super) groups: AtomicU64,
    pub(super) checkpoints: AtomicU64,
    pub(super) _lock: Lock,
}

/// The journal and the buffer of the group under way.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) log: Journal,
    group: Group,
}

impl Log {
    pub(super) fn new(log: Journal) -> Log {
        Log { log, group: Group::default() }
    }
}

/// The parts of an engine that opening a store comes up with.
pub(super) struct Parts {
    pub(super) config: StoreConfig,
    pub(super) limits: Limits,
    pub(super) shape: Shape,
    pub(super) epoch: Epoch,
    pub(super) journal: Journal,
    pub(super) view: View<Blocks>,
    pub(super) manifest: Manifest,
    pub(super) lock: Lock,
}

impl Engine {
    pub(super) fn new(parts: Parts) -> Engine {
        let engine = Engine {
            config: parts.config,
            limits: parts.limits,
            shape: parts.shape,
            epoch: parts.epoch,
            journal: Mutex::new(Log::new(parts.journal)),
            view: RwLock::new(parts.view),
            manifest: Mutex::new(parts.manifest),
            keeper_wake: Condvar::new(),
            progress: Condvar::new(),
            checkpoint_wanted: Mutex::new(false),
            checkpoint_wake: Condvar::new(),
            failed: OnceLock::new(),
            low: AtomicBool::new(false),
            shortage: Mutex::new(None),
            stop: AtomicBool::new(false),
            journal_bytes: AtomicU64::new(0),
            journal_segments: AtomicUsize::new(0),
            groups: AtomicU64::new(0),
            checkpoints: AtomicU64::new(0),
            _lock: parts.lock,
        };
        engine.note_journal(&lock(&engine.journal));
        engine
    }

    /// Brings the copies of the journal's figures up to date.
    pub(super) fn note_journal(&self, log: &Log) {
        self.journal_bytes.store(log.log.bytes(), Ordering::Relaxed);
        self.journal_segments.store(log.log.segments(), Ordering::Relaxed);
    }

    pub(super) fn commit(&self, group: Vec<Batch>) -> Vec<Result<(), CommitError>> {
        let mut commit = Commit {
            engine: self,
            log: Some(lock(&self.journal)),
            staged: Vec::with_capacity(group.len()),
            results: Vec::with_capacity(group.len()),
        };
        commit.take(group);
        let Commit { results, log, .. } = commit;
        if let Some(log) = log {
            self.note_journal(&log);
        }
        self.wake_checkpoint_if_due();
        results
    }

    pub(super) fn space(&self) -> Space {
        if self.low.load(Ordering::Relaxed) { Space::Low } else { Space::Ample }
    }

    pub(super) fn stats(&self) -> StoreStats {
        let journal_bytes = self.journal_bytes.load(Ordering::Relaxed);
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        let memory_bytes = view.recent_bytes() as u64;
        drop(view);
        StoreStats {
            engine: "sled".to_owned(),
            disk_bytes: files::disk_bytes(&self.config.data_dir),
            memory_bytes,
            journal_bytes,
            groups: self.groups.load(Ordering::Relaxed),
            checkpoints: self.checkpoints.load(Ordering::Relaxed),
            space_low: self.space() == Space::Low,
        }
    }

    /// Stops all writing for good. The first reason stays.
    pub(super) fn fail(&self, reason: String) {
        if self.failed.set(reason).is_ok() {
            tracing::error!(reason = self.failure().unwrap_or_default(), "the store has stopped writing");
        }
        self.progress.notify_all();
    }

    pub(super) fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    fn failed_error(&self) -> Option<CommitError> {
        if let Some(reason) = self.failure() {
            return Some(CommitError::Failed(reason.to_owned()));
        }
        self.stop.load(Ordering::Relaxed).then(|| CommitError::Failed("the store is closed".to_owned()))
    }

    fn full_error(&self) -> CommitError {
        CommitError::Full(self.shortage())
    }

    /// Whether new work is taken, and what is missing beside plain space.
    pub(super) fn set_low(&self, low: bool, shortage: Option<String>) {
        *lock(&self.shortage) = shortage;
        self.low.store(low, Ordering::Relaxed);
    }

    fn shortage(&self) -> String {
        let dir = self.config.data_dir.display();
        match &*lock(&self.shortage) {
            Some(shortage) => format!("{shortage}; the server goes on by itself when that works again"),
            None => format!("the disk is full; free some space for {dir}, and the server goes on by itself"),
        }
    }

    /// What keeps new work out.
    pub(super) fn trouble(&self) -> Option<String> {
        if let Some(reason) = self.failure() {
            let advice = "start the server again when the cause is gone";
            return Some(format!("the store has stopped writing: {reason}; {advice}"));
        }
        (self.space() == Space::Low).then(|| format!("no new jobs are taken: {}", self.shortage()))
    }

    /// Called when the store idles: proves what is confirmed by a seal behind it and by a note in the manifest, so that damage
    /// of the last records is not taken for a torn tail.
    pub(super) fn vouch(&self) {
        if self.failed_error().is_some() {
            return;
        }
        let mut journal = lock(&self.journal);
        match journal.log.seal() {
            Ok(wrote) => drop(self.groups.fetch_add(u64::from(wrote), Ordering::Relaxed)),
            Err(error) => {
                drop(journal);
                return self.fail(format!("failed to seal the journal: {error}"));
            }
        }
        let last_lsn = journal.log.last_lsn();
        drop(journal);
        if let Err(error) = self.note_tail(last_lsn) {
            tracing::warn!(%error, "failed to note the journal's end in the manifest");
        }
    }

    /// Notes in the manifest that the journal goes at least as far as `last_lsn`.
    fn note_tail(&self, last_lsn: Lsn) -> Result<(), WriteError> {
        let mut manifest = lock(&self.manifest);
        if manifest.end_lsn >= last_lsn {
            return Ok(());
        }
        let noted = Manifest { end_lsn: last_lsn, epoch: self.epoch, ..manifest.clone() };
        noted.write(&self.config.data_dir)?;
        *manifest = noted;
        Ok(())
    }

    /// The last act of a stop in order: notes how far the journal goes. The threads are gone already.
    pub(super) fn note_end(&self) -> Result<(), CommitError> {
        fault::pass(Point::CloseBegin);
        if let Some(reason) = self.failure() {
            return Err(CommitError::Failed(reason.to_owned()));
        }
        let failed = |what: &str, error: String| CommitError::Failed(format!("failed to {what}: {error}"));
        let mut journal = lock(&self.journal);
        journal.log.seal().map_err(|error| failed("seal the journal", error.to_string()))?;
        let last_lsn = journal.log.last_lsn();
        drop(journal);
        self.note_tail(last_lsn).map_err(|error| failed("write the manifest", error.to_string()))?;
        let blocks = Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner).resting.blocks);
        blocks.sync().map_err(|error| failed("sync sled", error.to_string()))
    }

    /// Free bytes below which only settling batches are taken.
    pub(super) fn low_water(&self) -> u64 {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        let frozen = view.frozen.as_ref().map_or(0, |frozen| frozen.bytes_put());
        let recent = (view.active.bytes_put() + frozen) as u64;
        self.limits.low_water_bytes.max(blocks::disk_bytes_for(recent, self.limits.block_bytes))
    }

    pub(super) fn wake_checkpoint(&self) {
        *lock(&self.checkpoint_wanted) = true;
        self.checkpoint_wake.notify_all();
    }

    fn wake_checkpoint_if_due(&self) {
        if self.checkpoint_due() {
            self.wake_checkpoint();
        }
    }

    /// Whether enough has gathered for a checkpoint.
    pub(super) fn checkpoint_due(&self) -> bool {
        let segments = self.journal_segments.load(Ordering::Relaxed);
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        segments > self.limits.journal_segments || view.active.bytes() > self.limits.overlay_bytes
    }

    /// Whether so much has gathered that commits have to wait for the checkpoint: memory and journal have their bounds.
    fn overloaded(&self, log: &Log) -> bool {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        view.active.bytes() > 2 * self.limits.overlay_bytes
            || log.log.segments() > 2 * self.limits.journal_segments
    }
}

/// One call of commit on its way.
struct Commit<'a> {
    engine: &'a Engine,
    /// Always there but while waiting.
    log: Option<MutexGuard<'a, Log>>,
    /// The batches of the group that is being filled; their results are not in the row yet.
    staged: Vec<Vec<Write>>,
    results: Vec<Result<(), CommitError>>,
}

impl<'a> Commit<'a> {
    fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("only a wait takes the guard, and puts it back")
    }

    /// Lets others have the journal for a moment. Only with an empty group: they may write, and its room would be gone.
    fn wait(&mut self) {
        debug_assert!(self.staged.is_empty(), "a group that is being filled owns the journal");
        let guard = self.log.take().expect("only a wait takes the guard, and puts it back");
        let (guard, _) =
            self.engine.progress.wait_timeout(guard, WAIT_STEP).unwrap_or_else(PoisonError::into_inner);
        self.log = Some(guard);
    }

    /// Waits while too much has gathered. When space is low no checkpoint may come, and what settles must go on.
    fn wait_for_checkpoint(&mut self) {
        let engine = self.engine;
        while engine.overloaded(self.log())
            && engine.space() == Space::Ample
            && engine.failed_error().is_none()
        {
            engine.wake_checkpoint();
            self.wait();
        }
    }

    /// Takes the next segment. The last prepared one is kept for batches that settle earlier work.
    fn rotate(&mut self, settles: bool) -> Result<(), CommitError> {
        let needed = if settles { 1 } else { journal::PREPARED_SEGMENTS };
        loop {
            if let Some(error) = self.engine.failed_error() {
                return Err(error);
            }
            if self.log().log.prepared() >= needed {
                let rotated = self.log().log.rotate();
                debug_assert!(rotated, "one is prepared, and the lock is held");
                self.engine.keeper_wake.notify_all();
                return Ok(());
            }
            if self.engine.space() == Space::Low {
                return Err(self.engine.full_error());
            }
            self.engine.keeper_wake.notify_all();
            self.wait();
        }
    }
}

impl Staging for Commit<'_> {
    fn stage(&mut self, batch: Batch) -> Result<(), CommitError> {
        if let Some(error) = self.engine.failed_error() {
            return Err(error);
        }
        let bytes = Group::encoded_bytes(&batch);
        let bytes_max = self.engine.shape.group_bytes_max();
        if bytes > bytes_max {
            return Err(CommitError::TooBig { bytes, bytes_max });
        }
        if self.staged.is_empty() {
            self.wait_for_checkpoint();
        }
        if !batch.settles && self.engine.space() == Space::Low {
            return Err(self.engine.full_error());
        }
        let log = self.log();
        if log.group.bytes() + bytes > log.log.room() {
            self.flush();
            if let Some(error) = self.engine.failed_error() {
                return Err(error);
            }
            if bytes > self.log().log.room() {
                self.rotate(batch.settles)?;
            }
        }
        self.log().group.push(&batch);
        self.staged.push(batch.writes);
        Ok(())
    }

    fn flush(&mut self) {
        if self.staged.is_empty() {
            return;
        }
        let engine = self.engine;
        let staged = std::mem::take(&mut self.staged);
        let count = staged.len();
        let log = self.log();
        match log.log.write(&mut log.group) {
            Ok(_) => {
                let mut view = engine.view.write().unwrap_or_else(PoisonError::into_inner);
                staged.into_iter().flatten().for_each(|write| view.apply(write));
                drop(view);
                engine.groups.fetch_add(1, Ordering::Relaxed);
                self.results.extend((0..count).map(|_| Ok(())));
            }
            Err(error) => {
                // What a failed fdatasync has done to the pages nobody knows: a second one would say yes to anything.
                engine.fail(format!("failed to write the journal: {error}"));
                let unknown = CommitError::Unknown(error.to_string());
                self.results.extend((0..count).map(|_| Err(unknown.clone())));
            }
        }
    }

    fn results(&mut self) -> &mut Vec<Result<(), CommitError>> {
        &mut self.results
    }
}
