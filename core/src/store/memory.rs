//! The memory engine: an ordered map behind a lock. For tests and `--store memory`; nothing survives the process.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;

use super::{Batch, CommitError, Epoch, ReadError, Refused, Space, Store, StoreStats, Write};

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    map: BTreeMap<Bytes, Bytes>,
    bytes: u64,
    groups: u64,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }
}

impl Inner {
    fn apply(&mut self, write: Write) {
        match write {
            Write::Put { key, value } => {
                self.bytes += (key.len() + value.len()) as u64;
                let key_len = key.len();
                if let Some(old) = self.map.insert(key, value) {
                    self.bytes -= (key_len + old.len()) as u64;
                }
            }
            Write::Delete { key } => {
                if let Some(old) = self.map.remove(&key) {
                    self.bytes -= (key.len() + old.len()) as u64;
                }
            }
        }
    }
}

impl Store for MemoryStore {
    fn epoch(&self) -> Epoch {
        1
    }

    fn commit(&self, group: Vec<Batch>) -> Vec<Result<(), CommitError>> {
        // A poisoned lock means a panic between two inserts of this very function, which cannot leave the map unsound.
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.groups += 1;
        let bytes_max = self.batch_bytes_max();
        let mut refused = Refused::default();
        let commit_one = |batch: Batch| {
            let bytes = batch.bytes();
            let too_big = (bytes > bytes_max).then_some(CommitError::TooBig { bytes, bytes_max });
            if let Some(error) = refused.behind(&batch).or(too_big) {
                refused.note(batch.queue, &error);
                return Err(error);
            }
            batch.writes.into_iter().for_each(|write| inner.apply(write));
            Ok(())
        };
        group.into_iter().map(commit_one).collect()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(self.inner.read().unwrap_or_else(PoisonError::into_inner).map.get(key).cloned())
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        each: &mut dyn FnMut(&[u8], Bytes) -> bool,
    ) -> Result<(), ReadError> {
        /// Pairs that are copied under one lock, which is let go before the caller sees them: it may come back.
        const CHUNK_PAIRS: usize = 512;
        let mut from = Bound::Included(Bytes::copy_from_slice(from));
        loop {
            let (Bound::Included(start) | Bound::Excluded(start)) = &from else { return Ok(()) };
            if start[..] >= *to {
                return Ok(());
            }
            let range = (from.as_ref().map(|start| &start[..]), Bound::Excluded(to));
            let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
            let pairs: Vec<(Bytes, Bytes)> = inner
                .map
                .range::<[u8], _>(range)
                .take(CHUNK_PAIRS)
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            drop(inner);
            let Some((last, _)) = pairs.last() else { return Ok(()) };
            let next = Bound::Excluded(last.clone());
            for (key, value) in pairs {
                if !each(&key, value) {
                    return Ok(());
                }
            }
            from = next;
        }
    }

    fn space(&self) -> Space {
        Space::Ample
    }

    fn batch_bytes_max(&self) -> usize {
        64 * 1024 * 1024
    }

    fn stats(&self) -> StoreStats {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        StoreStats {
            engine: "memory".to_owned(),
            memory_bytes: inner.bytes,
            groups: inner.groups,
            ..StoreStats::default()
        }
    }

    fn close(&self) -> Result<(), CommitError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::{self, Subject};

    struct Memory(MemoryStore);

    impl Subject for Memory {
        fn store(&self) -> &dyn Store {
            &self.0
        }

        fn reopen(&mut self, _orderly: bool) -> bool {
            false
        }
    }

    #[test]
    fn the_memory_engine_keeps_the_contract() {
        conformance::run(&mut || Box::new(Memory(MemoryStore::new())));
    }
}
