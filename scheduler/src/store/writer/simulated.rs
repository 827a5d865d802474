//! The writer of a simulation: a task on the actors' own thread. Groups, order and bounds are those of the real one; how long
//! a commit takes is up to the simulated disk, in tokio's time, and the end of the host is a crash in the middle of it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use windlass_core::store::Store;

use super::{
    Committer, Group, Order, Sender, Shared, StoreWriter, WAITING_BATCHES_MAX, WAITING_BYTES_DEFAULT,
};

/// How long a read of the store takes.
pub(super) const READ: Duration = Duration::from_millis(1);

/// The disk below a simulated store.
pub trait Disk: 'static {
    /// Ends when a group has arrived and may be given to the store.
    fn write(&mut self) -> impl Future<Output = ()>;

    /// Ends when the group that was given to the store is durable; only then is anybody told.
    fn sync(&mut self) -> impl Future<Output = ()>;
}

impl StoreWriter {
    /// Starts a writer without a thread. Must run on the arbiter; ends with it.
    #[must_use]
    pub fn simulated(store: Arc<dyn Store>, disk: impl Disk) -> StoreWriter {
        let shared = Shared::new(store, WAITING_BYTES_DEFAULT);
        // One slot more than batches may wait, so that the order to stop always fits.
        let (sender, receiver) = mpsc::channel(WAITING_BATCHES_MAX + 1);
        actix_rt::spawn(run(Arc::clone(&shared), receiver, disk));
        StoreWriter { shared, sender: Sender::Task(sender) }
    }
}

async fn run(shared: Arc<Shared>, mut receiver: mpsc::Receiver<Order>, mut disk: impl Disk) {
    let _line = shared.lifelines.hold("the store writer");
    let mut committer = Committer::new(Arc::clone(&shared));
    // What was sent before the order to stop was seen is still taken: its senders were told that it was.
    while let Some(first) = if committer.stopping { receiver.try_recv().ok() } else { receiver.recv().await }
    {
        let mut group = Group::default();
        committer.put(&mut group, first);
        committer.gather(&mut group, || receiver.try_recv().ok());
        disk.write().await;
        let committed = committer.commit(group);
        disk.sync().await;
        committer.tell(committed);
    }
    if let Err(error) = committer.shared.store.close() {
        tracing::error!(%error, "the simulated store was not closed in order");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use bytes::Bytes;
    use windlass_core::store::memory::MemoryStore;
    use windlass_core::store::{Batch, Write};

    struct Instant(Arc<AtomicUsize>);

    impl Disk for Instant {
        async fn write(&mut self) {}

        async fn sync(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn put(number: u64) -> Batch {
        let key = Bytes::copy_from_slice(&number.to_be_bytes());
        Batch { writes: vec![Write::Put { value: key.clone(), key }], settles: false, queue: None }
    }

    #[test]
    fn groups_are_told_in_order_after_their_sync_and_reads_see_them() {
        let system = actix_rt::System::new();
        system.block_on(async {
            let syncs = Arc::new(AtomicUsize::new(0));
            let writer = StoreWriter::simulated(Arc::new(MemoryStore::new()), Instant(Arc::clone(&syncs)));
            let (tell, mut told) = mpsc::channel(100);
            for number in 0..100 {
                let (tell, syncs) = (tell.clone(), Arc::clone(&syncs));
                let done = Box::new(move |result| {
                    let told = (number, result, syncs.load(Ordering::Relaxed));
                    tell.try_send(told).expect("one slot each");
                });
                assert!(writer.submit(put(number), done).is_ok());
            }
            for number in 0..100 {
                assert_eq!(told.recv().await, Some((number, Ok(()), 1)), "one group, told after its sync");
            }
            let value = writer.read(|store| store.get(&99_u64.to_be_bytes())).await;
            assert_eq!(value.map(|value| value.is_some()), Ok(true));
            writer.stop().expect("only told to");
            tokio::task::yield_now().await;
            let refused = writer.submit(put(0), Box::new(|_| {}));
            assert!(matches!(refused, Err(super::super::SubmitError::Stopped(_))));
        });
    }
}
