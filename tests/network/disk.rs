//! The simulated disk: what is synced survives the end of its host, of the rest a prefix may, as after a power cut.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use windlass_core::store::memory::MemoryStore;
use windlass_core::store::{Batch, CommitError, Epoch, ReadError, Space, Store, StoreStats};
use windlass_scheduler::chance::Chance;
use windlass_scheduler::store::writer::simulated::Disk;

use super::book::millis;

/// A disk that outlives the processes on its host. Clones are the same disk.
#[derive(Clone, Default)]
pub(crate) struct Platter {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    synced: Vec<Batch>,
    /// Given to the store and not yet synced.
    loose: Vec<Batch>,
    /// Everything that was submitted before this time is synced.
    durable_through: u64,
    epoch: Epoch,
    slow: bool,
    /// Breaks its word: what it calls synced is loose until the group after the next.
    lies: bool,
    full: bool,
}

impl Platter {
    /// A disk whose syncs promise more than they do.
    pub(crate) fn lying() -> Platter {
        let platter = Platter::default();
        platter.lock().lies = true;
        platter
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits take a hundred times as long.
    pub(crate) fn set_slow(&self, slow: bool) {
        self.lock().slow = slow;
    }

    /// No space for new work.
    pub(crate) fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// The host ends: of what is not synced the first `kept` batches happen to be there. Returns the time up to which everything
    /// that was submitted is there.
    pub(crate) fn crash(&self, chance: &Chance) -> u64 {
        let mut inner = self.lock();
        let loose = std::mem::take(&mut inner.loose);
        let kept = usize::try_from(chance.u64()).unwrap_or(0) % (loose.len() + 1);
        inner.synced.extend(loose.into_iter().take(kept));
        inner.durable_through
    }

    /// Opens the store as a process does at its start.
    pub(crate) fn open(&self) -> (Arc<dyn Store>, Epoch) {
        let mut inner = self.lock();
        inner.epoch += 1;
        let memory = MemoryStore::new();
        memory.commit(inner.synced.clone());
        let epoch = inner.epoch;
        drop(inner);
        (Arc::new(Opened { platter: self.clone(), memory, epoch }), epoch)
    }
}

/// One process's view of the disk.
struct Opened {
    platter: Platter,
    memory: MemoryStore,
    epoch: Epoch,
}

impl Store for Opened {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn commit(&self, group: Vec<Batch>) -> Vec<Result<(), CommitError>> {
        self.platter.lock().loose.extend(group.iter().cloned());
        self.memory.commit(group)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.memory.get(key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        each: &mut dyn FnMut(&[u8], Bytes) -> bool,
    ) -> Result<(), ReadError> {
        self.memory.scan(from, to, each)
    }

    fn space(&self) -> Space {
        if self.platter.lock().full { Space::Low } else { Space::Ample }
    }

    fn batch_bytes_max(&self) -> usize {
        self.memory.batch_bytes_max()
    }

    fn stats(&self) -> StoreStats {
        self.memory.stats()
    }

    fn close(&self) -> Result<(), CommitError> {
        Ok(())
    }
}

/// How long the commits of one process take.
pub(crate) struct Arm {
    platter: Platter,
    chance: Chance,
    gathered_at: u64,
}

impl Arm {
    pub(crate) fn new(platter: Platter, chance: Chance) -> Arm {
        Arm { platter, chance, gathered_at: 0 }
    }

    async fn turn(&self) {
        let slow = if self.platter.lock().slow { 100 } else { 1 };
        tokio::time::sleep(Duration::from_millis((1 + self.chance.u64() % 3) * slow)).await;
    }
}

impl Disk for Arm {
    async fn write(&mut self) {
        self.gathered_at = millis();
        self.turn().await;
    }

    async fn sync(&mut self) {
        self.turn().await;
        let mut inner = self.platter.lock();
        if inner.lies && inner.loose.len() < 8 {
            return;
        }
        let loose = std::mem::take(&mut inner.loose);
        inner.synced.extend(loose);
        inner.durable_through = self.gathered_at;
    }
}
