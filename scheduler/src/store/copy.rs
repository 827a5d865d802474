//! Copies everything that a store holds into another one, empty, whatever the engines.
//!
//! The other store gets a larger epoch than the first ever had, so that tokens of running leases stay valid and are never given
//! a second time.

use bytes::Bytes;
use windlass_core::store::{Batch, CommitError, Epoch, ReadError, Store, Write};

use super::{OpenError, StoreConfig, open};

/// Larger than every key.
const END: [u8; 1] = [0xff];
/// Bytes of a batch, about; a pair that is larger makes a batch of its own.
const BATCH_BYTES: usize = 1024 * 1024;
/// Batches that are committed together.
const GROUP_BATCHES: usize = 8;

/// Why a copy was not made. The store that was copied is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The first cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The other cannot be written. It holds a part; empty it before it is tried again.
    #[error("{0}; the copy is not complete: empty it before the next try")]
    Commit(#[from] CommitError),
    /// There is something in the other.
    #[error("{0} is not empty; a copy goes into an empty store")]
    NotEmpty(String),
    /// They hold different numbers of pairs afterwards.
    #[error("{copied} of {pairs} records are in the copy; empty it before the next try")]
    Incomplete {
        /// Records of the first.
        pairs: u64,
        /// Records of the copy.
        copied: u64,
    },
}

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    /// Records: jobs, chunks of jobs, queues, schedules, tokens.
    pub pairs: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Epoch of the first store.
    pub epoch: Epoch,
}

/// Copies `from` into `to` and counts both at the end. Both must be in use by nobody. `progress` hears how much was copied.
///
/// # Errors
/// [`CopyError`].
pub fn copy(
    from: &StoreConfig,
    to: &StoreConfig,
    progress: &mut dyn FnMut(Copied),
) -> Result<Copied, CopyError> {
    let source = open(from)?;
    let epoch = source.epoch();
    let config = StoreConfig { epoch_min: epoch + 1, ..to.clone() };
    let target = open(&config)?;
    let copied = if count(&*target)? > 0 {
        Err(CopyError::NotEmpty(to.place()))
    } else {
        fill(&*source, &*target, Copied { epoch, ..Copied::default() }, progress)
    };
    // Whatever came of it, so that nobody waits for owners that are gone.
    let closed = target.close().and(source.close());
    let copied = copied?;
    closed?;
    Ok(copied)
}

fn fill(
    source: &dyn Store,
    target: &dyn Store,
    mut done: Copied,
    progress: &mut dyn FnMut(Copied),
) -> Result<Copied, CopyError> {
    let mut writer = Writer { target, group: Vec::new(), batch: Batch::default(), bytes: 0 };
    let mut failed = None;
    source.scan(&[], &END, &mut |key, value| {
        done.pairs += 1;
        done.bytes += (key.len() + value.len()) as u64;
        if let Err(error) = writer.put(Bytes::copy_from_slice(key), value) {
            failed = Some(error);
        }
        progress(done);
        failed.is_none()
    })?;
    failed.map_or(Ok(()), Err)?;
    writer.flush()?;
    let copied = count(target)?;
    if copied != done.pairs {
        return Err(CopyError::Incomplete { pairs: done.pairs, copied });
    }
    Ok(done)
}

fn count(store: &dyn Store) -> Result<u64, ReadError> {
    let mut pairs = 0;
    store.scan(&[], &END, &mut |_, _| {
        pairs += 1;
        true
    })?;
    Ok(pairs)
}

/// Fills batches and groups.
struct Writer<'a> {
    target: &'a dyn Store,
    group: Vec<Batch>,
    batch: Batch,
    bytes: usize,
}

impl Writer<'_> {
    fn put(&mut self, key: Bytes, value: Bytes) -> Result<(), CommitError> {
        self.bytes += key.len() + value.len();
        self.batch.writes.push(Write::Put { key, value });
        if self.bytes >= BATCH_BYTES {
            self.bytes = 0;
            self.group.push(std::mem::take(&mut self.batch));
            if self.group.len() >= GROUP_BATCHES {
                self.commit()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), CommitError> {
        self.group.push(std::mem::take(&mut self.batch));
        self.commit()
    }

    fn commit(&mut self) -> Result<(), CommitError> {
        self.target.commit(std::mem::take(&mut self.group)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windlass_core::store::conformance::{batch, put};

    #[test]
    fn a_copy_holds_the_same_under_a_larger_epoch() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (from, to) = (StoreConfig::sled(one.path()), StoreConfig::sled(other.path()));
        for _ in 0..3 {
            open(&from).unwrap().close().unwrap();
        }
        let store = open(&from).unwrap();
        let large = vec![b'x'; 3 * BATCH_BYTES];
        for n in 0..1_000_u32 {
            store.commit(vec![batch(vec![put(n.to_be_bytes(), [b'x'; 500])])]);
        }
        store.commit(vec![batch(vec![put("large", &large)])]);
        store.close().unwrap();
        drop(store);
        let mut heard = 0;
        let copied = copy(&from, &to, &mut |done| heard = done.pairs).unwrap();
        assert_eq!((copied.pairs, heard), (1_001, 1_001));
        let store = open(&to).unwrap();
        assert!(store.epoch() > copied.epoch, "{} after {}", store.epoch(), copied.epoch);
        assert_eq!(store.get(b"large").unwrap().as_deref(), Some(&large[..]));
        drop(store);
        assert!(matches!(copy(&from, &to, &mut |_| {}), Err(CopyError::NotEmpty(_))));
    }
}
