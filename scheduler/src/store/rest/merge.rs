//! Merging an overlay into the resting blocks: what comes out is a new directory and, on the shelf, the blocks it needs.
//!
//! Only blocks that have changed are written again. A run of keys that lies wholly behind a block that is at least half full
//! becomes blocks of its own, so that an ascending backlog is written once.

use std::iter::Peekable;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::block::{BlocksError, Builder, Pairs, Shelf};
use super::directory::{BlockId, BlockName, BlockRef, Directory};
use super::overlay::{Overlay, Slot};
use crate::store::Damage;

/// Why a merge did not finish. The old directory still holds.
#[derive(Debug, thiserror::Error)]
pub(in crate::store) enum MergeError {
    #[error(transparent)]
    Blocks(#[from] BlocksError),
    #[error("the store is being closed")]
    Stopped,
}

/// The work of one merge.
pub(in crate::store) struct Merge<'a, S> {
    blocks: &'a S,
    old: &'a Directory,
    new: Directory,
    builder: Builder,
    /// The number of the next block, also after an error: no number is given twice.
    pub(in crate::store) next_id: BlockId,
    /// Blocks that were written, to be removed again if the merge does not count.
    pub(in crate::store) written: Vec<BlockName>,
    /// Blocks of the old directory that the new one does not need.
    pub(in crate::store) retired: Vec<BlockName>,
    stop: &'a AtomicBool,
}

type Entry<'a> = (&'a [u8], &'a Slot);

impl<'a, S: Shelf> Merge<'a, S> {
    pub(in crate::store) fn new(
        blocks: &'a S,
        old: &'a Directory,
        next_id: BlockId,
        stop: &'a AtomicBool,
    ) -> Merge<'a, S> {
        Merge {
            blocks,
            old,
            new: old.clone(),
            builder: Builder::default(),
            next_id,
            written: Vec::new(),
            retired: Vec::new(),
            stop,
        }
    }

    /// Writes what `overlay` changes. On an error, `written` says what has to be removed.
    pub(in crate::store) fn run(&mut self, overlay: &Overlay) -> Result<Directory, MergeError> {
        let mut entries = overlay.iter().map(|(key, slot)| (&key[..], slot)).peekable();
        while let Some(&(key, _)) = entries.peek() {
            let base = self.old.floor(key).map(|(first, block)| (Arc::clone(first), block));
            let mut next =
                base.as_ref().map_or_else(|| self.old.from(key), |(first, _)| self.old.after(first));
            match base {
                Some((first, block)) if self.must_load(key, block) => {
                    self.merge_block(&first, block, &mut entries, next.map(|(first, _)| &**first))?;
                }
                _ => self.append_run(&mut entries, next.map(|(first, _)| &**first))?,
            }
            // A remainder goes into the block behind it when both are small, so that a drained range does not end up in crumbs.
            while let Some((first, block)) = next.filter(|(_, block)| self.joins(block)) {
                let first = Arc::clone(first);
                next = self.old.after(&first);
                self.merge_block(&first, block, &mut entries, next.map(|(first, _)| &**first))?;
            }
            self.finish_block()?;
        }
        self.blocks.sync()?;
        Ok(std::mem::take(&mut self.new))
    }

    /// Whether the block before `key` is part of the change: it has the key's place inside, or has room behind.
    fn must_load(&self, key: &[u8], block: &BlockRef) -> bool {
        key <= &*block.last || (block.bytes as usize) < self.blocks.block_bytes() / 2
    }

    fn joins(&self, next: &BlockRef) -> bool {
        let block_bytes = self.blocks.block_bytes();
        !self.builder.is_empty()
            && self.builder.bytes() < block_bytes / 4
            && (next.bytes as usize) <= block_bytes / 2
    }

    /// Writes the puts before `until` as blocks of their own: nothing rests where they belong.
    fn append_run<'e>(
        &mut self,
        entries: &mut Peekable<impl Iterator<Item = Entry<'e>>>,
        until: Option<&[u8]>,
    ) -> Result<(), MergeError> {
        while let Some((key, slot)) = entries.next_if(|(key, _)| until.is_none_or(|until| *key < until)) {
            if let Slot::Put { value, .. } = slot {
                self.add(key, value)?;
            }
        }
        Ok(())
    }

    /// Merges the entries before `until` into a block. The block stays as it is when they change nothing and no
    /// remainder waits in front of it.
    fn merge_block<'e>(
        &mut self,
        first: &[u8],
        block: &BlockRef,
        entries: &mut Peekable<impl Iterator<Item = Entry<'e>>>,
        until: Option<&[u8]>,
    ) -> Result<(), MergeError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(MergeError::Stopped);
        }
        let encoded = self.blocks.read(block)?;
        let unreadable =
            || BlocksError::from(Damage::new(&self.blocks.place(), 0, "a block cannot be decoded"));
        let pairs: Vec<_> = Pairs::new(&encoded).ok_or_else(unreadable)?.collect();
        if pairs.len() != block.pairs as usize {
            return Err(unreadable().into());
        }
        let changes: Vec<Entry<'e>> =
            std::iter::from_fn(|| entries.next_if(|(key, _)| until.is_none_or(|until| *key < until)))
                .collect();
        let has = |key: &[u8]| pairs.binary_search_by(|(resting, _)| (*resting).cmp(key)).is_ok();
        let changed = |(key, slot): &Entry<'_>| matches!(slot, Slot::Put { .. }) || has(key);
        if self.builder.is_empty() && !changes.iter().any(changed) {
            return Ok(());
        }
        self.new.remove(first);
        self.retired.push(block.name);
        let mut changes = changes.into_iter().peekable();
        for (key, value) in pairs {
            while let Some((new_key, slot)) = changes.next_if(|(new_key, _)| *new_key < key) {
                self.add_slot(new_key, slot)?;
            }
            match changes.next_if(|(new_key, _)| *new_key == key) {
                Some((_, slot)) => self.add_slot(key, slot)?,
                None => self.add(key, value)?,
            }
        }
        for (key, slot) in changes {
            self.add_slot(key, slot)?;
        }
        Ok(())
    }

    fn add_slot(&mut self, key: &[u8], slot: &Slot) -> Result<(), MergeError> {
        match slot {
            Slot::Put { value, .. } => self.add(key, value),
            Slot::Gone => Ok(()),
        }
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), MergeError> {
        if !self.builder.takes(Builder::pair_bytes(key, value), self.blocks.block_bytes()) {
            self.finish_block()?;
        }
        self.builder.push(key, value);
        Ok(())
    }

    fn finish_block(&mut self) -> Result<(), MergeError> {
        if self.builder.is_empty() {
            return Ok(());
        }
        if self.stop.load(Ordering::Relaxed) {
            return Err(MergeError::Stopped);
        }
        // Noted first: a block that was half written has to be removed as well.
        self.written.push(BlockName::cut(self.next_id, self.builder.bytes(), self.blocks.block_bytes()));
        self.next_id += 1;
        let (first, block) = self.builder.finish(self.blocks, self.next_id - 1)?;
        self.new.insert(first.into(), block);
        Ok(())
    }
}

/// Copies all blocks of a directory to another shelf, unchanged, and makes them durable there.
pub(in crate::store) fn copy(
    directory: &Directory,
    from: &impl Shelf,
    to: &impl Shelf,
    stop: &AtomicBool,
) -> Result<(), MergeError> {
    // In the order in which they were written, which is what a shelf is made for.
    let mut blocks = directory.iter().map(|(_, block)| block).collect::<Vec<_>>();
    blocks.sort_unstable_by_key(|block| block.name.id);
    for block in blocks {
        if stop.load(Ordering::Relaxed) {
            return Err(MergeError::Stopped);
        }
        to.put(block.name.id, from.read(block)?.into())?;
    }
    to.sync()?;
    Ok(())
}
