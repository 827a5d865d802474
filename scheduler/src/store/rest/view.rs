//! The one ordered view over what is recent and what rests: active overlay, frozen overlay, blocks, in this order of
//! precedence.

use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use bytes::Bytes;
use windlass_core::store::{ReadError, Write};

use super::ahead::Ahead;
use super::block::{BlocksError, Pairs, Shelf, copied};
use super::directory::{BlockRef, Directory};
use super::overlay::{Overlay, Slot};
use crate::store::Damage;

/// Entries of the active overlay that a scan takes under one lock.
const CHUNK_ENTRIES: usize = 1_024;
/// Bytes of values after which it takes no more.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// What rests, at one moment. A reader that holds it keeps its blocks on the shelf.
#[derive(Debug)]
pub(in crate::store) struct Resting<S> {
    pub(in crate::store) directory: Directory,
    pub(in crate::store) blocks: Arc<S>,
}

/// All that is in the store.
#[derive(Debug)]
pub(in crate::store) struct View<S> {
    pub(in crate::store) active: Overlay,
    /// What a checkpoint is writing down.
    pub(in crate::store) frozen: Option<Arc<Overlay>>,
    pub(in crate::store) resting: Arc<Resting<S>>,
}

impl<S: Shelf> View<S> {
    pub(in crate::store) fn apply(&mut self, write: Write) {
        let (frozen, directory) = (&self.frozen, &self.resting.directory);
        let below = |key: &[u8]| {
            frozen.as_ref().is_some_and(|frozen| frozen.get(key).is_some())
                || directory.covering(key).is_some()
        };
        self.active.apply(write, below);
    }

    /// Bytes of recent keys in memory.
    pub(in crate::store) fn recent_bytes(&self) -> usize {
        self.active.bytes() + self.frozen.as_ref().map_or(0, |frozen| frozen.bytes())
    }

    /// The slot of a key in the overlays.
    fn recent(&self, key: &[u8]) -> Option<&Slot> {
        self.active.get(key).or_else(|| self.frozen.as_ref().and_then(|frozen| frozen.get(key)))
    }

    /// What a scan needs from `from` on: some of the active overlay, and all below it, up to a bound.
    fn chunk(&self, from: &[u8], to: &[u8]) -> Chunk<S> {
        let mut recent = Vec::new();
        let mut bytes = 0;
        let mut until = Bytes::copy_from_slice(to);
        for (key, slot) in self.active.range(Bound::Included(from), Bound::Excluded(to)) {
            if recent.len() >= CHUNK_ENTRIES || bytes >= CHUNK_BYTES {
                until = key.clone();
                break;
            }
            if let Slot::Put { value, .. } = slot {
                bytes += value.len();
            }
            recent.push((key.clone(), slot.clone()));
        }
        Chunk { recent, frozen: self.frozen.clone(), resting: Arc::clone(&self.resting), until }
    }
}

/// The value of a key in a view that others change.
pub(in crate::store) fn get<S: Shelf>(
    view: &RwLock<View<S>>,
    key: &[u8],
) -> Result<Option<Bytes>, ReadError> {
    let view = view.read().unwrap_or_else(PoisonError::into_inner);
    match view.recent(key) {
        Some(Slot::Put { value, .. }) => Ok(Some(value.clone())),
        Some(Slot::Gone) => Ok(None),
        None => {
            let resting = Arc::clone(&view.resting);
            drop(view);
            resting.get(key)
        }
    }
}

/// The pairs of a view that others change, as [`Store::scan`](windlass_core::store::Store::scan) hands them out.
pub(in crate::store) fn scan<S: Shelf>(
    view: &RwLock<View<S>>,
    from: &[u8],
    to: &[u8],
    each: &mut dyn FnMut(&[u8], Bytes) -> bool,
) -> Result<(), ReadError> {
    let mut from = Bytes::copy_from_slice(from);
    while from[..] < *to {
        // The lock is let go before the caller sees a pair: it may be slow, or come back to the store.
        let chunk = view.read().unwrap_or_else(PoisonError::into_inner).chunk(&from, to);
        if !chunk.scan(&from, each)? {
            break;
        }
        from = chunk.until;
    }
    Ok(())
}

/// A part of a scan, read without a lock.
struct Chunk<S> {
    recent: Vec<(Bytes, Slot)>,
    frozen: Option<Arc<Overlay>>,
    resting: Arc<Resting<S>>,
    /// One past the last key that the chunk knows.
    until: Bytes,
}

impl<S: Shelf> Chunk<S> {
    /// Hands out the pairs from `from` on, where the chunk was asked to begin; `false` when the caller wants no more.
    fn scan(&self, from: &[u8], each: &mut dyn FnMut(&[u8], Bytes) -> bool) -> Result<bool, ReadError> {
        let until = &self.until[..];
        let mut recent = self.recent.iter().map(|(key, slot)| (&key[..], slot)).peekable();
        let range = (Bound::Included(from), Bound::Excluded(until));
        let frozen = self.frozen.iter().flat_map(|frozen| frozen.range(range.0, range.1));
        let mut frozen = frozen.map(|(key, slot)| (&key[..], slot)).peekable();
        let mut next = self.resting.directory.from(from);
        // Pairs below a resting key come first; `None` stands for the end of what rests.
        let mut rise = |limit: Option<&[u8]>, each: &mut dyn FnMut(&[u8], Bytes) -> bool| {
            loop {
                let key = match (recent.peek(), frozen.peek()) {
                    (Some((a, _)), Some((b, _))) => (*a).min(*b),
                    (Some((a, _)), None) => *a,
                    (None, Some((b, _))) => *b,
                    (None, None) => return Rise::Below,
                };
                if limit.is_some_and(|limit| key > limit) {
                    return Rise::Below;
                }
                let newest = recent.next_if(|(other, _)| *other == key);
                let older = frozen.next_if(|(other, _)| *other == key);
                let slot = newest.or(older).map(|(_, slot)| slot);
                if let Some(Slot::Put { value, .. }) = slot
                    && !each(key, value.clone())
                {
                    return Rise::Enough;
                }
                if limit == Some(key) {
                    return Rise::Hidden;
                }
            }
        };
        thread::scope(|scope| {
            let mut ahead = Ahead::new(scope, &self.resting, until);
            while let Some((first, block)) = next.filter(|(first, _)| &***first < until) {
                let encoded = ahead.read(first, block)?;
                for pair in pairs(&*self.resting.blocks, block, &encoded)? {
                    let (key, value) = pair?;
                    if key < from {
                        continue;
                    }
                    if key >= until {
                        break;
                    }
                    match rise(Some(key), each) {
                        Rise::Below if !each(key, copied(value)) => return Ok(false),
                        Rise::Below | Rise::Hidden => {}
                        Rise::Enough => return Ok(false),
                    }
                }
                next = self.resting.directory.after(first);
            }
            Ok(!matches!(rise(None, each), Rise::Enough))
        })
    }
}

/// What handing out recent pairs up to a resting key came to.
enum Rise {
    /// All of them are out, and none has the resting key.
    Below,
    /// One of them has the resting key and hides its value.
    Hidden,
    /// The caller wants no more.
    Enough,
}

impl<S: Shelf> Resting<S> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let Some(block) = self.directory.covering(key) else { return Ok(None) };
        let encoded = read(&*self.blocks, block)?;
        for pair in pairs(&*self.blocks, block, &encoded)? {
            let (found, value) = pair?;
            if found == key {
                return Ok(Some(copied(value)));
            }
        }
        Ok(None)
    }
}

fn read(blocks: &impl Shelf, block: &BlockRef) -> Result<Bytes, ReadError> {
    blocks.read(block).map_err(unreadable)
}

pub(super) fn unreadable(error: BlocksError) -> ReadError {
    match error {
        BlocksError::Damaged(damage) => ReadError::Damaged(damage.to_string()),
        BlocksError::Full(text) | BlocksError::Failed(text) => ReadError::Failed(text),
    }
}

type Pair<'a> = (&'a [u8], &'a [u8]);

/// The pairs of a block, with an error at the end if there are not as many as there should be.
fn pairs<'a, S: Shelf>(
    blocks: &S,
    block: &BlockRef,
    encoded: &'a [u8],
) -> Result<impl Iterator<Item = Result<Pair<'a>, ReadError>> + use<'a, S>, ReadError> {
    let damaged = Damage::new(&blocks.place(), 0, format!("block {} cannot be decoded", block.name.id));
    let damaged = ReadError::Damaged(damaged.to_string());
    let mut pairs = Pairs::new(encoded).ok_or_else(|| damaged.clone())?;
    let count = block.pairs;
    Ok((0..count).map(move |_| pairs.next().ok_or_else(|| damaged.clone())))
}
