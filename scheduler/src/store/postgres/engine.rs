//! What the thread that hands groups over, the task that commits them, the readers and the checkpointer share.
//!
//! Locks are taken in this order: state, then view. Both are held for moments only.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Condvar, Mutex, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use tokio::sync::Notify;
use windlass_core::cluster::{Nonce, ShardNo};
use windlass_core::store::{Batch, Begun, CommitError, Epoch, GroupDone, Refused, Space, StoreStats, Write};

use super::database::Database;
use super::link::Link;
use super::log::Group;
use super::opening::Replayed;
use super::shelf::PgShelf;
use crate::store::lock;
use crate::store::rest::View;

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
    pub(super) link: Link,
    pub(super) state: Mutex<State>,
    pub(super) view: RwLock<View<PgShelf>>,
    /// For the task that commits: a row waits, a checkpoint is done, or the store stops.
    pub(super) work: Notify,
    pub(super) checkpoint_wanted: Mutex<bool>,
    pub(super) checkpoint_wake: Condvar,
    /// Why the store writes no more; the first reason stays.
    failed: OnceLock<CommitError>,
    pub(super) stop: AtomicBool,
    /// Whether the shard is given up when the store stops.
    pub(super) gives_up: AtomicBool,
    pub(super) journal_bytes: AtomicU64,
    /// The newest format among the rows of the journal, below which none is written any more: who looks at the last row alone knows
    /// what the others need.
    journal_format: AtomicU32,
    pub(super) groups: AtomicU64,
    pub(super) checkpoints: AtomicU64,
}

/// What commits and a checkpoint agree on.
#[derive(Debug)]
pub(super) struct State {
    /// The last row that the view shows.
    pub(super) seq: u64,
    /// Rows that are handed over and not sent, oldest first. Bounded by those who hand over: a few groups, see
    /// [`windlass_core::limits::COMMITS_IN_FLIGHT_MAX`].
    waiting: VecDeque<Row>,
}

/// A row of the journal on its way.
pub(super) struct Row {
    pub(super) data: Bytes,
    batches: usize,
    writes: Vec<Write>,
    /// With the last row of a group: who wants to know.
    told: Option<Told>,
}

struct Told {
    results: Vec<Result<(), CommitError>>,
    done: GroupDone,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Row").field("bytes", &self.data.len()).finish_non_exhaustive()
    }
}

/// The parts of an engine that taking the shard comes up with.
pub(super) struct Parts {
    pub(super) database: Database,
    pub(super) shard: ShardNo,
    pub(super) epoch: Epoch,
    pub(super) nonce: Nonce,
    pub(super) overlay_bytes: usize,
    pub(super) seq: u64,
    pub(super) view: View<PgShelf>,
    pub(super) journal: Replayed,
}

impl Engine {
    pub(super) fn new(parts: Parts) -> Engine {
        Engine {
            database: parts.database,
            shard: parts.shard,
            epoch: parts.epoch,
            nonce: parts.nonce,
            overlay_bytes: parts.overlay_bytes,
            link: Link::default(),
            state: Mutex::new(State { seq: parts.seq, waiting: VecDeque::new() }),
            view: RwLock::new(parts.view),
            work: Notify::new(),
            checkpoint_wanted: Mutex::new(false),
            checkpoint_wake: Condvar::new(),
            failed: OnceLock::new(),
            stop: AtomicBool::new(false),
            gives_up: AtomicBool::new(false),
            journal_bytes: AtomicU64::new(parts.journal.bytes),
            journal_format: AtomicU32::new(parts.journal.format),
            groups: AtomicU64::new(0),
            checkpoints: AtomicU64::new(0),
        }
    }

    pub(super) fn commit(&self, group: Vec<Batch>) -> Vec<Result<(), CommitError>> {
        let (tell, told) = sync_channel(1);
        let done: GroupDone = Box::new(move |results| {
            // Whoever asks waits below.
            let _ = tell.send(results);
        });
        match self.begin(group, done) {
            Begun::Settled(results) => results,
            Begun::OnItsWay(mut results) => told.recv().unwrap_or_else(|_| {
                let gone = CommitError::Unknown("the task that commits has ended".to_owned());
                results.iter_mut().filter(|result| result.is_ok()).for_each(|ok| *ok = Err(gone.clone()));
                results
            }),
        }
    }

    /// Hands a group over to the task that commits.
    pub(super) fn begin(&self, group: Vec<Batch>, done: GroupDone) -> Begun {
        let mut staged = Staged::default();
        let mut results = staged.take(self, group);
        let mut rows = staged.rows;
        let Some(last) = rows.last_mut() else { return Begun::Settled(results) };
        last.told = Some(Told { results: results.clone(), done });
        let mut state = lock(&self.state);
        // Asked under the lock, under which those that wait are answered for the last time.
        if let Some(error) = self.failed_error() {
            results.iter_mut().filter(|result| result.is_ok()).for_each(|ok| *ok = Err(error.clone()));
            return Begun::Settled(results);
        }
        state.waiting.extend(rows);
        drop(state);
        self.work.notify_one();
        Begun::OnItsWay(results)
    }

    /// The next row to be sent, if one may be sent now.
    pub(super) fn next_row(&self) -> Option<Row> {
        let mut state = lock(&self.state);
        if state.waiting.is_empty() || self.failed_error().is_some() {
            return None;
        }
        // What needs more has to wait for the checkpoint. When space is low none may come, and what settles must go on.
        if self.overloaded() && self.link.space() == Space::Ample {
            self.wake_checkpoint();
            return None;
        }
        state.waiting.pop_front()
    }

    /// The oldest row is in the journal. `written` counts the batches of its group that are.
    pub(super) fn applied(&self, row: Row, written: &mut usize) {
        let mut state = lock(&self.state);
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        row.writes.into_iter().for_each(|write| view.apply(write));
        drop(view);
        state.seq += 1;
        self.journal_bytes.fetch_add(row.data.len() as u64, Ordering::Relaxed);
        drop(state);
        self.groups.fetch_add(1, Ordering::Relaxed);
        if self.checkpoint_due() {
            self.wake_checkpoint();
        }
        *written += row.batches;
        if let Some(told) = row.told {
            *written = 0;
            (told.done)(told.results);
        }
    }

    /// Nothing more is written: answers all rows on their way, `begun` first.
    pub(super) fn refuse(&self, begun: VecDeque<Row>, mut written: usize, error: &CommitError) {
        let waiting = std::mem::take(&mut lock(&self.state).waiting);
        for mut told in begun.into_iter().chain(waiting).filter_map(|row| row.told) {
            let staged = told.results.iter_mut().filter(|result| result.is_ok());
            staged.skip(std::mem::take(&mut written)).for_each(|ok| *ok = Err(error.clone()));
            (told.done)(told.results);
        }
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
        self.work.notify_one();
    }

    pub(super) fn failure(&self) -> Option<&CommitError> {
        self.failed.get()
    }

    pub(super) fn failed_error(&self) -> Option<CommitError> {
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

    pub(super) fn wake_checkpoint(&self) {
        *lock(&self.checkpoint_wanted) = true;
        self.checkpoint_wake.notify_all();
    }

    /// Whether enough has gathered for a checkpoint.
    pub(super) fn checkpoint_due(&self) -> bool {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        view.active.bytes() > self.overlay_bytes || self.journal_bytes.load(Ordering::Relaxed) > JOURNAL_BYTES
    }

    /// Whether so much has gathered that commits have to wait for the checkpoint: memory and journal have their bounds, but for what is
    /// in flight.
    fn overloaded(&self) -> bool {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        view.active.bytes() > 2 * self.overlay_bytes
            || self.journal_bytes.load(Ordering::Relaxed) > 4 * JOURNAL_BYTES
    }
}

/// A group being made into rows.
#[derive(Default)]
struct Staged {
    rows: Vec<Row>,
    group: Group,
    writes: Vec<Write>,
    batches: usize,
}

impl Staged {
    /// Takes all batches, in order; says of each whether it is in a row, or why not.
    fn take(&mut self, engine: &Engine, group: Vec<Batch>) -> Vec<Result<(), CommitError>> {
        let mut refused = Refused::default();
        let each = group.into_iter().map(|batch| {
            let queue = batch.queue;
            let staged = refused.behind(&batch).map_or_else(|| self.stage(engine, batch), Err);
            staged.inspect_err(|error| refused.note(queue, error))
        });
        let results = each.collect();
        self.close(engine);
        results
    }

    fn stage(&mut self, engine: &Engine, batch: Batch) -> Result<(), CommitError> {
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
            self.close(engine);
        }
        self.group.push(&batch);
        self.writes.extend(batch.writes);
        self.batches += 1;
        Ok(())
    }

    /// The row is full, or the last one.
    fn close(&mut self, engine: &Engine) {
        if self.group.is_empty() {
            return;
        }
        let group = std::mem::take(&mut self.group);
        let format = group.format();
        let format = format.max(engine.journal_format.fetch_max(format, Ordering::Relaxed));
        self.rows.push(Row {
            data: group.finish(format),
            batches: std::mem::take(&mut self.batches),
            writes: std::mem::take(&mut self.writes),
            told: None,
        });
    }
}
