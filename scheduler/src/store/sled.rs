//! The sled engine: a journal for what is recent, sled for what rests, one ordered view over both.
//!
//! ```text
//!            commit                         get, scan
//!              │                               │
//!   ┌──────────▼─────────┐  applied  ┌─────────▼─────────┐
//!   │ journal            │──────────▶│ overlay (memory)  │
//!   │ one fdatasync per  │           ├───────────────────┤  checkpoint
//!   │ group; recycled    │           │ frozen overlay    │──────────────┐
//!   │ segments           │           ├───────────────────┤   ┌──────────▼──────────┐
//!   └────────────────────┘           │ directory         │──▶│ blocks in sled      │
//!                                    └───────────────────┘   └─────────────────────┘
//! ```
//!
//! In the data directory:
//!
//! | name | what |
//! |---|---|
//! | `MANIFEST` | which of the others count |
//! | `journal/N.journal` | segments of the journal |
//! | `directory-N` | which keys rest in which block |
//! | `rest-N/` | sled's files |
//! | `LOCK` | held by the process that has the store open |
//!
//! - [`journal`]: records, segments, replay.
//! - [`rest`](super::rest): recent keys, blocks and their directory, the one order over everything.
//! - [`blocks`]: how blocks rest in sled.
//! - [`checkpoint`]: from overlay to blocks.
//! - [`keeper`]: prepared segments, free space, seals.
//! - [`opening`], [`doctor`]: what must hold at start, and a look at it that changes nothing.
//! - [`quiet`]: sled's panics as errors.
//! - [`probe`]: the decoders of all these files, for tests that feed them arbitrary bytes.

mod blocks;
mod checkpoint;
pub(super) mod doctor;
mod engine;
mod files;
mod journal;
mod keeper;
mod lock;
mod manifest;
mod opening;
pub(super) mod probe;
mod quiet;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ::bytes::Bytes;
use windlass_core::store::{Batch, CommitError, Epoch, ReadError, Space, Store, StoreStats};

use self::checkpoint::Checkpointer;
use self::engine::Engine;
use crate::store::rest::{get, scan};
use crate::store::threads::Threads;
use crate::store::{OpenError, StoreConfig, lock};

/// A mebibyte.
const MIB: u64 = 1024 * 1024;

/// The bounds in force, derived from configuration and file system.
#[derive(Debug, Clone)]
struct Limits {
    /// Size of new journal segments.
    segment_bytes: u64,
    /// Overlay size that makes a checkpoint due; commits wait at twice as much.
    overlay_bytes: usize,
    /// Journal segments that make a checkpoint due; commits wait at twice as many.
    journal_segments: usize,
    /// Size of blocks.
    block_bytes: usize,
    /// sled's page cache.
    sled_cache_bytes: u64,
    /// Free bytes below which new work is refused, what the next checkpoint needs not counted.
    low_water_bytes: u64,
    /// sled's files are rewritten only when they have at least this size.
    rewrite_bytes_min: u64,
}

impl Limits {
    /// On a small file system everything is smaller, so that it holds more than preparations.
    fn derive(config: &StoreConfig, total_bytes: u64) -> Limits {
        let segment_bytes = (total_bytes / 16).clamp(4 * MIB, 32 * MIB) / MIB * MIB;
        let segment_bytes = config.segment_bytes.unwrap_or(segment_bytes);
        // sled may keep a page of sixteen blocks for each of its 256 shards, whatever cache it is given. Smaller blocks bound that; with
        // ten million jobs resting, no less memory was seen in use for it.
        let block_bytes = if total_bytes < 1024 * MIB { 8 * 1024 } else { 16 * 1024 };
        let journal_segments = usize::try_from(total_bytes / 8 / segment_bytes).unwrap_or(usize::MAX);
        Limits {
            segment_bytes,
            overlay_bytes: config.overlay_bytes.min(usize::try_from(total_bytes / 16).unwrap_or(usize::MAX)),
            journal_segments: journal_segments.clamp(2, 8),
            block_bytes: config.block_bytes.unwrap_or(block_bytes),
            sled_cache_bytes: config.sled_cache_bytes,
            low_water_bytes: config.low_water_bytes.unwrap_or((total_bytes / 10).min(256 * MIB)),
            rewrite_bytes_min: config.rewrite_bytes_min.min(total_bytes / 16),
        }
    }
}

/// A store on one machine's disk.
#[derive(Debug)]
pub struct SledStore {
    engine: Arc<Engine>,
    threads: Threads,
}

impl SledStore {
    /// Opens the store in the configured data directory, or makes it when nothing is there.
    ///
    /// # Errors
    /// [`OpenError`]; a damaged store is never opened, and never taken for an empty one.
    pub fn open(config: &StoreConfig) -> Result<SledStore, OpenError> {
        let engine = Arc::new(opening::open(config)?);
        let store = SledStore { engine: Arc::clone(&engine), threads: Threads::default() };
        let theirs = Arc::clone(&engine);
        store.spawn("store-keeper", move || keeper::run(&theirs))?;
        store.spawn("store-checkpoint", move || Checkpointer::new(&engine).run())?;
        Ok(store)
    }

    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), OpenError> {
        let engine = Arc::clone(&self.engine);
        self.threads.spawn(name, move |what| engine.fail(what), run).map_err(OpenError::Failed)
    }

    /// Ends the threads. A checkpoint under way is given up; the journal has what it would have moved.
    fn stop(&self) {
        let engine = &self.engine;
        engine.stop.store(true, Ordering::Relaxed);
        // Under the locks, or a thread that is about to wait would miss it.
        drop(lock(&engine.journal));
        engine.keeper_wake.notify_all();
        engine.progress.notify_all();
        engine.wake_checkpoint();
        if !self.threads.join() {
            engine.fail("a thread of the store has panicked".to_owned());
        }
    }
}

impl Store for SledStore {
    fn epoch(&self) -> Epoch {
        self.engine.epoch
    }

    fn commit(&self, group: Vec<Batch>) -> Vec<Result<(), CommitError>> {
        self.engine.commit(group)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        get(&self.engine.view, key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        each: &mut dyn FnMut(&[u8], Bytes) -> bool,
    ) -> Result<(), ReadError> {
        scan(&self.engine.view, from, to, each)
    }

    fn space(&self) -> Space {
        self.engine.space()
    }

    fn trouble(&self) -> Option<String> {
        self.engine.trouble()
    }

    fn batch_bytes_max(&self) -> usize {
        self.engine.shape.group_bytes_max()
    }

    fn stats(&self) -> StoreStats {
        self.engine.stats()
    }

    fn close(&self) -> Result<(), CommitError> {
        let first = !self.engine.stop.load(Ordering::Relaxed);
        self.stop();
        if !first {
            return Ok(());
        }
        self.engine.note_end()
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.stop();
    }
}
