//! What the committing thread, the readers and the checkpointer share, and the commit itself.
//!
//! Locks are taken in this order: state, then view. The state's is held through a commit; the view's only for moments.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use windlass_core::cluster::{Nonce, ShardNo};
use windlass_core::store::{Batch, CommitError, Epoch, Space, StoreStats, Write};

use super::database::Database;
use super::link::Link;
use super::log::{Group, Log};
use super::shelf::PgShelf;
use crate::store::lock;
use crate::store::rest::{Staging, View};

/// How long a commit waits before it looks again whether what it waits for will come.
const WAIT_STEP: Duration = Duration::from_millis(100);
/// Largest batch. PostgreSQL itself takes values of a gigabyte.
pub(super) const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes after which a group is sent although more waits.
const GROUP_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of journal that make a checkpoint due: a take-over reads them all.
const JOURNAL_BYTES: u64 = 48 * 1024 * 1024;

/// The shared state of a shard that is ours.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) database: Database,
    pub(super) shard: ShardNo,
    pub(super) epoch: Epoch,
    pub(super) nonce: Nonce,
    pub(super) overlay_bytes: usize,
    pub(super) link: Arc<Link>,
    pub(super) log: Arc<tokio::sync::Mutex<Log>>,
    pub(super) state: Mutex<State>,
    pub(super) view: RwLock<View<PgShelf>>,
    /// Belongs to the state's lock: a checkpoint is done, or the store stops.
    pub(super) progress: Condvar,
    pub(super) checkpoint_wanted: Mutex<bool>,
    pub(super) checkpoint_wake: Condvar,
    /// Why the store writes no more; the first reason stays.
    failed: OnceLock<CommitError>,
    pub(super) stop: AtomicBool,
    pub(super) journal_bytes: AtomicU64,
    pub(super) groups: AtomicU64,
    pub(super) checkpoints: AtomicU64,
}

/// What a commit and a checkpoint agree on.
#[derive(Debug)]
pub(super) struct State {
    /// The last group that the view shows.
    pub(super) seq: u64,
}

/// The parts of an engine that taking the shard comes up with.
pub(super) struct Parts {
    pub(super) database: Database,
    pub(super) shard: ShardNo,
    pub(super) epoch: Epoch,
    pub(super) nonce: Nonce,
    pub(super) overlay_bytes: usize,
    pub(super) link: Arc<Link>,
    pub(super) log: Log,
    pub(super) seq: u64,
    pub(super) view: View<PgShelf>,
    pub(super) journal_bytes: u64,
}

impl Engine {
    pub(super) fn new(parts: Parts) -> Engine {
        Engine {
            database: parts.database,
            shard: parts.shard,
            epoch: parts.epoch,
            nonce: parts.nonce,
            overlay_bytes: parts.overlay_bytes,
            link: parts.link,
            log: Arc::new(tokio::sync::Mutex::new(parts.log)),
            state: Mutex::new(State { seq: parts.seq }),
            view: RwLock::new(parts.view),
            progress: Condvar::new(),
            checkpoint_wanted: Mutex::new(false),
            checkpoint_wake: Condvar::new(),
            failed: OnceLock::new(),
            stop: AtomicBool::new(false),
            journal_bytes: AtomicU64::new(parts.journal_bytes),
            groups: AtomicU64::new(0),
            checkpoints: AtomicU64::new(0),
        }
    }

    pub(super) fn commit(&self, group: Vec<Batch>) -> Vec<Result<(), CommitError>> {
        let mut commit = Commit {
            engine: self,
            state: Some(lock(&self.state)),
            group: Group::default(),
            staged: Vec::with_capacity(group.len()),
            results: Vec::with_capacity(group.len()),
        };
        commit.take(group);
        let results = commit.results;
        if self.checkpoint_due() {
            self.wake_checkpoint();
        }
        results
    }

    /// Makes a group durable.
    fn append(&self, data: Bytes) -> Result<u64, CommitError> {
        let (log, link) = (Arc::clone(&self.log), Arc::clone(&self.link));
        let appended = self.database.wait(async move { Ok(log.lock().await.append(data, &link).await) });
        appended.unwrap_or_else(|error| Err(CommitError::Unknown(error.to_string())))
    }

    pub(super) fn stats(&self) -> StoreStats {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        let (memory_bytes, resting) = (view.recent_bytes(), view.resting.directory.bytes());
        drop(view);
        let journal_bytes = self.journal_bytes.load(Ordering::Relaxed);
        StoreStats {
            engine: "postgres".to_owned(),
            // What we have put there; tables and their indexes take more.
            disk_bytes: resting + journal_bytes,
            memory_bytes: memory_bytes as u64,
            journal_bytes,
            groups: self.groups.load(Ordering::Relaxed),
            checkpoints: self.checkpoints.load(Ordering::Relaxed),
            space_low: self.link.space() == Space::Low,
        }
    }

    /// Stops all writing for good. The first reason stays.
    pub(super) fn fail(&self, error: CommitError) {
        if self.failed.set(error).is_ok() {
            let reason = self.failure().map(ToString::to_string).unwrap_or_default();
            tracing::error!(shard = self.shard, reason, "the store has stopped writing");
        }
        self.progress.notify_all();
    }

    pub(super) fn failure(&self) -> Option<&CommitError> {
        self.failed.get()
    }

    fn failed_error(&self) -> Option<CommitError> {
        if let Some(error) = self.failure() {
            return Some(error.clone());
        }
        self.stop.load(Ordering::Relaxed).then(|| CommitError::Failed("the store is closed".to_owned()))
    }

    /// What keeps new work out.
    pub(super) fn trouble(&self) -> Option<String> {
        match self.failure() {
            Some(error) => Some(error.to_string()),
            None => self.link.text().map(|text| format!("no new jobs are taken: {text}")),
        }
    }

    /// Shows that this owner lives, when no commit has for `time`.
    pub(super) fn beat(&self, time: Duration) {
        if self.failed_error().is_some() {
            return;
        }
        let (log, link) = (Arc::clone(&self.log), Arc::clone(&self.link));
        let beaten = self.database.wait(async move {
            // Whoever holds it is committing.
            let Ok(mut log) = log.try_lock() else { return Ok(Ok(())) };
            if !log.is_silent_for(time) {
                return Ok(Ok(()));
            }
            Ok(log.beat(&link).await.map(drop))
        });
        match beaten {
            Ok(Ok(()) | Err(CommitError::Unknown(_) | CommitError::Full(_))) | Err(_) => {}
            Ok(Err(error)) => self.fail(error),
        }
    }

    pub(super) fn wake_checkpoint(&self) {
        *lock(&self.checkpoint_wanted) = true;
        self.checkpoint_wake.notify_all();
    }

    /// Whether enough has gathered for a checkpoint.
    pub(super) fn checkpoint_due(&self) -> bool {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        view.active.bytes() > self.overlay_bytes || self.journal_bytes.load(Ordering::Relaxed) > JOURNAL_BYTES
    }

    /// Whether so much has gathered that commits have to wait for the checkpoint: memory and journal have their bounds.
    fn overloaded(&self) -> bool {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        view.active.bytes() > 2 * self.overlay_bytes
            || self.journal_bytes.load(Ordering::Relaxed) > 4 * JOURNAL_BYTES
    }
}

/// One call of commit on its way.
struct Commit<'a> {
    engine: &'a Engine,
    /// Always there but while waiting.
    state: Option<MutexGuard<'a, State>>,
    group: Group,
    /// The batches of the group that is being filled; their results are not in the row yet.
    staged: Vec<Vec<Write>>,
    results: Vec<Result<(), CommitError>>,
}

impl Commit<'_> {
    /// Waits while too much has gathered for one that needs more.
    fn wait_for_checkpoint(&mut self) {
        let engine = self.engine;
        while engine.overloaded() && engine.link.space() == Space::Ample && engine.failed_error().is_none() {
            engine.wake_checkpoint();
            let guard = self.state.take().expect("only a wait takes the guard, and puts it back");
            let (guard, _) =
                engine.progress.wait_timeout(guard, WAIT_STEP).unwrap_or_else(PoisonError::into_inner);
            self.state = Some(guard);
        }
    }
}

impl Staging for Commit<'_> {
    fn stage(&mut self, batch: Batch) -> Result<(), CommitError> {
        let engine = self.engine;
        if let Some(error) = engine.failed_error() {
            return Err(error);
        }
        let bytes = Group::encoded_bytes(&batch);
        if bytes > BATCH_BYTES_MAX {
            return Err(CommitError::TooBig { bytes, bytes_max: BATCH_BYTES_MAX });
        }
        if !batch.settles && engine.link.space() == Space::Low {
            return Err(CommitError::Full(engine.link.text().unwrap_or_default()));
        }
        if self.group.bytes() + bytes > GROUP_BYTES {
            self.flush();
        }
        self.group.push(&batch);
        self.staged.push(batch.writes);
        Ok(())
    }

    fn flush(&mut self) {
        if self.group.is_empty() {
            return;
        }
        self.wait_for_checkpoint();
        let engine = self.engine;
        let staged = std::mem::take(&mut self.staged);
        let data = std::mem::take(&mut self.group).finish();
        let bytes = data.len() as u64;
        let appended = engine.failed_error().map_or_else(|| engine.append(data), Err);
        match appended {
            Ok(seq) => {
                let state = self.state.as_mut().expect("only a wait takes the guard, and puts it back");
                state.seq = seq;
                let count = staged.len();
                let mut view = engine.view.write().unwrap_or_else(PoisonError::into_inner);
                staged.into_iter().flatten().for_each(|write| view.apply(write));
                drop(view);
                engine.journal_bytes.fetch_add(bytes, Ordering::Relaxed);
                engine.groups.fetch_add(1, Ordering::Relaxed);
                self.results.extend((0..count).map(|_| Ok(())));
            }
            Err(error) => {
                if !matches!(error, CommitError::Full(_)) {
                    engine.fail(error.clone());
                }
                self.results.extend(staged.iter().map(|_| Err(error.clone())));
            }
        }
    }

    fn results(&mut self) -> &mut Vec<Result<(), CommitError>> {
        &mut self.results
    }
}
