//! The checkpointer: a thread that moves what has gathered in the overlay into blocks and takes rows out of the journal.
//!
//! 1. Freeze the overlay; commits go on into a new one.
//! 2. Merge the frozen one into new blocks.
//! 3. Write the new directory beside the old one, then make it count in the shard's row, if that is still ours.
//! 4. Show it to readers, delete journal rows, the old directory, and the blocks that nobody needs.
//!
//! An owner that ends before the third step leaves the old state and some rubbish that the next one removes.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::types::Type;
use windlass_core::store::CommitError;

use super::database::{DbError, Param};
use super::engine::Engine;
use super::seat::{column, proof, shard_column};
use super::shelf::PgShelf;
use crate::store::lock;
use crate::store::rest::{
    BlockId, BlockName, BlocksError, Directory, Merge, MergeError, Overlay, Resting, directory_crc,
};

/// How often the thread looks for things to do when nobody wakes it.
const TICK: Duration = Duration::from_secs(1);
/// Wait after a failed checkpoint.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Wait before a directory of which nobody knows whether it counts is published again.
const PUBLISH_AGAIN: Duration = Duration::from_millis(200);
/// Bits of a block's number that count within an epoch: an owner that was replaced writes over nothing of its successor's.
const BLOCKS_PER_EPOCH_BITS: u32 = 24;

/// What the thread remembers between checkpoints.
pub(super) struct Checkpointer<'a> {
    engine: &'a Engine,
    /// The last group in the frozen overlay, if there is one, and the bytes of journal it frees.
    frozen: Option<(u64, u64)>,
    next_block: BlockId,
    /// The directory that counts.
    directory: u64,
    /// Blocks to be removed once no reader holds the state that needs them.
    retired: Vec<(Arc<Resting<PgShelf>>, Vec<BlockId>)>,
    not_before: Instant,
}

/// Why a checkpoint was not completed.
#[derive(Debug, thiserror::Error)]
enum CheckpointError {
    #[error(transparent)]
    Merge(#[from] MergeError),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("the shard has another owner")]
    Fenced,
}

impl<'a> Checkpointer<'a> {
    pub(super) fn new(engine: &'a Engine, next_block: BlockId, directory: u64) -> Checkpointer<'a> {
        Checkpointer {
            engine,
            frozen: None,
            next_block: next_block.max(engine.epoch << BLOCKS_PER_EPOCH_BITS),
            directory,
            retired: Vec::new(),
            not_before: Instant::now(),
        }
    }

    /// Runs until the store stops.
    pub(super) fn run(mut self) {
        let engine = self.engine;
        // Before the first checkpoint: what that one retires is needed by readers for a while, and would pass for a leftover. What
        // cannot be removed now stays for the next owner.
        let tidied = self.tidy();
        self.note(tidied);
        while !engine.stop.load(Ordering::Relaxed) {
            let mut wanted = lock(&engine.checkpoint_wanted);
            if !*wanted {
                let woken = engine.checkpoint_wake.wait_timeout(wanted, TICK);
                wanted = woken.unwrap_or_else(PoisonError::into_inner).0;
            }
            *wanted = false;
            drop(wanted);
            if engine.failure().is_some() || engine.stop.load(Ordering::Relaxed) {
                // A store that has failed is only read; it stops with the others.
                std::thread::sleep(Duration::from_millis(10));
                continue;
            }
            if Instant::now() < self.not_before {
                continue;
            }
            let due = self.frozen.is_some() || engine.checkpoint_due();
            let outcome = if due { self.checkpoint() } else { Ok(()) };
            let outcome = outcome.and_then(|()| self.remove_retired());
            self.note(outcome);
        }
    }

    fn note(&mut self, outcome: Result<(), CheckpointError>) {
        let Err(error) = outcome else { return };
        self.not_before = Instant::now() + RETRY_AFTER;
        match error {
            CheckpointError::Merge(MergeError::Stopped) => {}
            // The next commit or sign of life says by whom.
            CheckpointError::Fenced => {
                tracing::warn!("a checkpoint was refused: the shard has another owner");
            }
            CheckpointError::Merge(MergeError::Blocks(BlocksError::Damaged(damage))) => {
                self.engine.fail(CommitError::Failed(format!("failed to move data into blocks: {damage}")));
            }
            error => tracing::warn!(%error, "a checkpoint has failed and will be tried again"),
        }
    }

    fn checkpoint(&mut self) -> Result<(), CheckpointError> {
        let engine = self.engine;
        let started = Instant::now();
        if self.next_block >> BLOCKS_PER_EPOCH_BITS != engine.epoch {
            let text = "this epoch has written all the blocks it has numbers for; the shard is taken anew";
            engine.fail(CommitError::Failed(text.to_owned()));
            return Ok(());
        }
        let (frozen, resting, seq) = self.freeze();
        let mut merge = Merge::new(&*resting.blocks, &resting.directory, self.next_block, &engine.stop);
        let merged = merge.run(&frozen);
        let Merge { next_id, written, retired, .. } = merge;
        self.next_block = next_id;
        let directory = merged.inspect_err(|_| {
            resting.blocks.forget_waiting();
            // Nobody reads them; when this fails too, the next owner finds them.
            let _ = resting.blocks.remove(written.iter().map(|name: &BlockName| name.id).collect());
        })?;
        let number = self.next_block;
        self.next_block += 1;
        // When this has no answer the blocks may count already, so they stay.
        self.publish(seq, number, &directory)?;
        let shelf = Arc::clone(&resting.blocks);
        let mut view = engine.view.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut view.resting, Arc::new(Resting { directory, blocks: shelf }));
        view.frozen = None;
        drop(view);
        drop(resting);
        let before = std::mem::replace(&mut self.directory, number);
        let freed = self.frozen.take().map_or(0, |(_, bytes)| bytes);
        engine.journal_bytes.fetch_sub(freed, Ordering::Relaxed);
        self.retired.push((old, retired.iter().map(|name| name.id).collect()));
        engine.checkpoints.fetch_add(1, Ordering::Relaxed);
        engine.work.notify_one();
        self.forget(seq, before)?;
        tracing::debug!(seq, ms = started.elapsed().as_millis() as u64, "checkpoint");
        Ok(())
    }

    /// Sets the overlay aside, or takes up again what an earlier attempt has set aside.
    fn freeze(&mut self) -> (Arc<Overlay>, Arc<Resting<PgShelf>>, u64) {
        let state = lock(&self.engine.state);
        let mut view = self.engine.view.write().unwrap_or_else(PoisonError::into_inner);
        let bytes = self.engine.journal_bytes.load(Ordering::Relaxed);
        let (seq, _) = *self.frozen.get_or_insert((state.seq, bytes));
        if view.frozen.is_none() {
            let active = std::mem::take(&mut view.active);
            view.frozen = Some(Arc::new(active));
        }
        let frozen = view.frozen.clone().unwrap_or_default();
        (frozen, Arc::clone(&view.resting), seq)
    }

    /// Makes a directory the shard's: written first, then named in the row, if that is still ours. Without an answer the same is sent
    /// again until there is one: a statement that comes late then finds its work done, or another directory than it expects.
    fn publish(&self, seq: u64, number: u64, directory: &Directory) -> Result<(), CheckpointError> {
        let data = directory.encode(&[]);
        debug_assert_eq!(data[12..16], directory_crc(&data).to_le_bytes());
        let data = bytes::Bytes::from(data);
        loop {
            match self.try_publish(seq, number, data.clone()) {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(CheckpointError::Fenced),
                Err(DbError::Lost(_) | DbError::Away(_)) if !self.engine.stop.load(Ordering::Relaxed) => {
                    std::thread::sleep(PUBLISH_AGAIN);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn try_publish(&self, seq: u64, number: u64, data: bytes::Bytes) -> Result<bool, DbError> {
        const WRITE: &str = "INSERT INTO windlass.directory (shard, number, data) VALUES ($1, $2, $3) \
            ON CONFLICT DO NOTHING";
        const NAME: &str = "UPDATE windlass.shard SET rested = $3, next_block = $4, directory = $5 \
            WHERE id = $1 AND nonce = $2 AND directory IN ($5, $6) RETURNING rested";
        let engine = self.engine;
        let shard = shard_column(engine.shard);
        let (seq, next) = (column(seq), column(self.next_block));
        let (number, before) = (column(number), column(self.directory));
        let proof = proof(engine.nonce);
        let session = self.shelf().writer();
        engine.database.wait(async move {
            let mut session = session.lock().await;
            let written: &[Param<'_>] =
                &[(&shard, Type::INT2), (&number, Type::INT8), (&&data[..], Type::BYTEA)];
            session.query(WRITE, written).await?;
            let named: &[Param<'_>] = &[
                (&shard, Type::INT2),
                (&proof.as_slice(), Type::BYTEA),
                (&seq, Type::INT8),
                (&next, Type::INT8),
                (&number, Type::INT8),
                (&before, Type::INT8),
            ];
            Ok(!session.query(NAME, named).await?.is_empty())
        })
    }

    fn shelf(&self) -> Arc<PgShelf> {
        Arc::clone(&self.engine.view.read().unwrap_or_else(PoisonError::into_inner).resting.blocks)
    }

    /// Deletes what the directory that counts has made needless.
    fn forget(&self, seq: u64, directory: u64) -> Result<(), CheckpointError> {
        const ROWS: &str = "DELETE FROM windlass.journal WHERE shard = $1 AND seq <= $2";
        const OLD: &str = "DELETE FROM windlass.directory WHERE shard = $1 AND number <= $2";
        let (shard, seq, directory) = (shard_column(self.engine.shard), column(seq), column(directory));
        let session = self.shelf().writer();
        Ok(self.engine.database.wait(async move {
            let mut session = session.lock().await;
            session.query(ROWS, &[(&shard, Type::INT2), (&seq, Type::INT8)]).await?;
            session.query(OLD, &[(&shard, Type::INT2), (&directory, Type::INT8)]).await.map(drop)
        })?)
    }

    /// Removes the blocks that no reader can ask for any more.
    fn remove_retired(&mut self) -> Result<(), CheckpointError> {
        // Readers of an older state may need what a later one does not, so the row is worked off in order.
        while self.retired.first().is_some_and(|(old, _)| Arc::strong_count(old) == 1) {
            let (_, ids) = self.retired.remove(0);
            self.shelf().remove(ids)?;
        }
        Ok(())
    }

    /// Removes the blocks that earlier owners have left: written for a checkpoint that never counted, or not removed after one.
    fn tidy(&self) -> Result<(), CheckpointError> {
        let shelf = self.shelf();
        let own = self.engine.epoch << BLOCKS_PER_EPOCH_BITS;
        let view = self.engine.view.read().unwrap_or_else(PoisonError::into_inner);
        let needed: BTreeSet<_> = view.resting.directory.iter().map(|(_, block)| block.name.id).collect();
        drop(view);
        let left: Vec<_> = shelf.ids()?.into_iter().filter(|id| *id < own && !needed.contains(id)).collect();
        if !left.is_empty() {
            tracing::info!(blocks = left.len(), "removed blocks that nothing needs any more");
            shelf.remove(left)?;
        }
        Ok(())
    }
}
