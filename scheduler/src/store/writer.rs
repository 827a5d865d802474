//! The store writer: one thread that commits what all queue actors submit, as many batches at a time as wait.
//!
//! A group costs one `fdatasync` however many batches are in it, so the writer never waits for company: it takes
//! what is there, commits it, and finds the next group waiting when it returns. Under load the groups grow by themselves.
//! A store at the other end of a wire takes further groups while the first is on its way (`thread`).
//!
//! The writer decides nothing about queues and holds no order but that of arrival: results are told in the order of
//! submission, and a batch of one sender is never overtaken by a later one.
//!
//! A simulation has no threads: there the same groups are committed by a task ([`simulated`]).

pub(crate) mod alone;
pub mod simulated;
mod thread;

use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use windlass_core::store::keys::QueueNo;
use windlass_core::store::{Batch, CommitError, ReadError, Refused, Space, Store};

use crate::fault::{self, Point};
use crate::lifeline::Lifelines;

/// Most batches that wait for the writer; more is back-pressure.
pub const WAITING_BATCHES_MAX: usize = 16_384;
/// Most bytes of batches that wait for the writer, where nobody says otherwise.
pub const WAITING_BYTES_DEFAULT: usize = 64 * 1024 * 1024;
/// Most batches in one group: bounds how long the first of them waits for the last.
pub const GROUP_BATCHES_MAX: usize = 4_096;
/// Bytes after which a group takes no further batch.
pub const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Called once on the writer's thread with the outcome of a batch. It must neither block nor panic: everybody waits.
pub type Done = Box<dyn FnOnce(Result<(), CommitError>) + Send>;

/// A batch on its way, with what to do when its outcome is known.
pub struct Submission {
    /// What is to be written.
    pub batch: Batch,
    /// Who wants to know.
    pub done: Done,
}

/// Why a batch was not taken. Nothing was written and nothing is lost: the submission comes back.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// Too much waits already; try again when earlier batches are done.
    #[error("the store writer has too much waiting; try again in a moment")]
    Busy(Submission),
    /// The writer has stopped.
    #[error("the store writer has stopped")]
    Stopped(Submission),
}

impl std::fmt::Debug for Submission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Submission").field("batch", &self.batch).finish_non_exhaustive()
    }
}

/// A cheap handle of the writer. The thread ends with [`stop`](StoreWriter::stop) or when the last handle is gone; it
/// finishes what waits first.
#[derive(Clone)]
pub struct StoreWriter {
    shared: Arc<Shared>,
    sender: Sender,
}

/// The way to whoever commits.
#[derive(Clone)]
enum Sender {
    Thread(Arc<SyncSender<Order>>),
    Task(tokio::sync::mpsc::Sender<Order>),
}

/// Why an order was not taken.
enum Untaken {
    Full(Order),
    Closed(Order),
}

struct Shared {
    store: Arc<dyn Store>,
    waiting_batches: AtomicUsize,
    waiting_bytes: AtomicUsize,
    waiting_bytes_max: usize,
    groups: AtomicU64,
    batches: AtomicU64,
    thread: Mutex<Stopping>,
    lifelines: Lifelines,
}

/// The thread until somebody has joined it, then what closing the store said.
enum Stopping {
    Running(JoinHandle<Result<(), CommitError>>),
    Stopped(Result<(), CommitError>),
}

enum Order {
    Commit {
        submission: Submission,
        bytes: usize,
    },
    Resume(QueueNo),
    /// The store has told something of a group on its way.
    Answered,
    Stop,
}

/// Figures of the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriterStats {
    /// Groups committed since the start.
    pub groups: u64,
    /// Batches committed or refused since the start.
    pub batches: u64,
    /// Batches that wait now, those of the group under way included.
    pub waiting_batches: usize,
    /// Their bytes.
    pub waiting_bytes: usize,
}

impl StoreWriter {
    /// Starts the writer's thread, with [`WAITING_BYTES_DEFAULT`].
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(store: Arc<dyn Store>) -> std::io::Result<StoreWriter> {
        StoreWriter::bounded(store, WAITING_BYTES_DEFAULT)
    }

    /// Starts the writer's thread. At most `waiting_bytes_max` bytes of batches wait for it, or one batch that is larger.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn bounded(store: Arc<dyn Store>, waiting_bytes_max: usize) -> std::io::Result<StoreWriter> {
        // The thread needs the shared part, and the shared part its handle, which is set below.
        let shared = Shared::new(store, waiting_bytes_max);
        // One slot more than batches may wait, so that the order to stop always fits.
        let (sender, receiver) = sync_channel(WAITING_BATCHES_MAX + 1);
        let sender = Arc::new(sender);
        let (theirs, wake) = (Arc::clone(&shared), Arc::downgrade(&sender));
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
            let _line = theirs.lifelines.hold("the store writer");
            thread::Writer::new(Arc::clone(&theirs), receiver, wake).run()
        })?;
        *shared.thread.lock().unwrap_or_else(PoisonError::into_inner) = Stopping::Running(thread);
        Ok(StoreWriter { shared, sender: Sender::Thread(sender) })
    }

    /// Hands a batch to the writer without waiting. `done` is called once, after every earlier submission's.
    ///
    /// # Errors
    /// [`SubmitError`], with the submission inside.
    pub fn submit(&self, batch: Batch, done: Done) -> Result<(), SubmitError> {
        let bytes = batch.bytes();
        let submission = Submission { batch, done };
        let shared = &self.shared;
        let batches_before = shared.waiting_batches.fetch_add(1, Ordering::Relaxed);
        let bytes_before = shared.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        // A batch larger than the bound passes when nothing else waits, or it never would.
        let fits = batches_before < WAITING_BATCHES_MAX
            && (bytes_before == 0 || bytes_before.saturating_add(bytes) <= shared.waiting_bytes_max);
        if !fits {
            shared.forget(1, bytes);
            return Err(SubmitError::Busy(submission));
        }
        self.sender.try_send(Order::Commit { submission, bytes }).map_err(|refused| {
            shared.forget(1, bytes);
            match refused {
                Untaken::Full(Order::Commit { submission, .. }) => SubmitError::Busy(submission),
                Untaken::Closed(Order::Commit { submission, .. }) => SubmitError::Stopped(submission),
                Untaken::Full(_) | Untaken::Closed(_) => {
                    unreachable!("what comes back is what was sent: a commit")
                }
            }
        })
    }

    /// After a batch of `queue` was refused nothing of that queue is written, so that its batches stay in order. This says
    /// that they are sent again from the refused one on; to be called once all earlier ones are answered. `false`: the writer has
    /// too much waiting, call again in a moment.
    pub fn resume(&self, queue: QueueNo) -> bool {
        // A writer that has stopped answers the next batch with its reason.
        !matches!(self.sender.try_send(Order::Resume(queue)), Err(Untaken::Full(_)))
    }

    /// Whether less than half of the bounds is in use. New work should be refused as busy when not, so that the other
    /// half stays for batches that settle work taken on before.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.shared.waiting_batches.load(Ordering::Relaxed) < WAITING_BATCHES_MAX / 2
            && self.shared.waiting_bytes.load(Ordering::Relaxed) < self.shared.waiting_bytes_max / 2
    }

    /// Whether the store takes new work; cheap.
    #[must_use]
    pub fn space(&self) -> Space {
        self.shared.store.space()
    }

    /// Where parts that cannot be done without attach themselves; the writer's thread is one.
    #[must_use]
    pub fn lifelines(&self) -> &Lifelines {
        &self.shared.lifelines
    }

    /// Reads the store where that keeps nobody else waiting.
    pub fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Store) -> Result<T, ReadError> + Send + 'static,
    ) -> impl Future<Output = Result<T, ReadError>> + Send + 'static {
        let store = Arc::clone(&self.shared.store);
        let on_thread = matches!(self.sender, Sender::Thread(_));
        async move {
            if on_thread {
                let reading = tokio::task::spawn_blocking(move || work(&*store));
                reading.await.unwrap_or_else(|e| Err(ReadError::Failed(e.to_string())))
            } else {
                tokio::time::sleep(simulated::READ).await;
                work(&*store)
            }
        }
    }

    /// The store itself, for reads that may block.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// Figures for metrics.
    #[must_use]
    pub fn stats(&self) -> WriterStats {
        let shared = &self.shared;
        WriterStats {
            groups: shared.groups.load(Ordering::Relaxed),
            batches: shared.batches.load(Ordering::Relaxed),
            waiting_batches: shared.waiting_batches.load(Ordering::Relaxed),
            waiting_bytes: shared.waiting_bytes.load(Ordering::Relaxed),
        }
    }

    /// Commits all that waits, tells everybody, closes the store and ends the thread. Blocks until then; legal twice.
    /// Must not be called from a [`Done`]. A simulated writer is only told to; it is done when nothing waits any more.
    ///
    /// # Errors
    /// What the store said when it was closed; nothing confirmed is lost even then.
    pub fn stop(&self) -> Result<(), CommitError> {
        self.shared.store.end();
        self.sender.stop();
        let mut thread = self.shared.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Stopping::Running(handle) = std::mem::replace(&mut *thread, Stopping::Stopped(Ok(()))) {
            let died = |_| Err(CommitError::Failed("the store writer's thread has panicked".to_owned()));
            *thread = Stopping::Stopped(handle.join().unwrap_or_else(died));
        }
        match &*thread {
            Stopping::Stopped(result) => result.clone(),
            Stopping::Running(_) => unreachable!("replaced above, under the same lock"),
        }
    }
}

impl Sender {
    fn try_send(&self, order: Order) -> Result<(), Untaken> {
        use tokio::sync::mpsc::error::TrySendError as NotSent;
        match self {
            Sender::Thread(thread) => thread.try_send(order).map_err(|refused| match refused {
                TrySendError::Full(order) => Untaken::Full(order),
                TrySendError::Disconnected(order) => Untaken::Closed(order),
            }),
            Sender::Task(task) => task.try_send(order).map_err(|refused| match refused {
                NotSent::Full(order) => Untaken::Full(order),
                NotSent::Closed(order) => Untaken::Closed(order),
            }),
        }
    }

    fn stop(&self) {
        match self {
            // A closed channel: the thread is gone already.
            Sender::Thread(thread) => _ = thread.send(Order::Stop),
            // The same, or so many handles asked to stop that it will go.
            Sender::Task(task) => _ = task.try_send(Order::Stop),
        }
    }
}

impl Shared {
    fn new(store: Arc<dyn Store>, waiting_bytes_max: usize) -> Arc<Shared> {
        Arc::new(Shared {
            waiting_bytes_max,
            store,
            waiting_batches: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            groups: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            thread: Mutex::new(Stopping::Stopped(Ok(()))),
            lifelines: Lifelines::default(),
        })
    }

    fn forget(&self, batches: usize, bytes: usize) {
        self.waiting_batches.fetch_sub(batches, Ordering::Relaxed);
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What is committed together.
#[derive(Default)]
struct Group {
    batches: Vec<Batch>,
    /// Everybody who is told of this group, in order.
    places: Vec<Place>,
    bytes: usize,
}

/// A submission's place in the row of those who are told.
struct Place {
    queue: Option<QueueNo>,
    done: Done,
    /// Why its batch is not in the group, when it stands behind one that was refused.
    refused: Option<CommitError>,
}

/// A group whose outcome nobody knows yet.
struct Committed {
    results: Vec<Result<(), CommitError>>,
    places: Vec<Place>,
    bytes: usize,
}

/// Whoever commits: gathers, commits, tells, and keeps the batches of a queue in order across a refusal.
struct Committer {
    shared: Arc<Shared>,
    refused: Refused,
    /// Whether an order to stop has come.
    stopping: bool,
}

impl Group {
    fn is_full(&self) -> bool {
        self.places.len() >= GROUP_BATCHES_MAX || self.bytes >= GROUP_BYTES_MAX
    }
}

impl Committer {
    fn new(shared: Arc<Shared>) -> Committer {
        Committer { shared, refused: Refused::default(), stopping: false }
    }

    /// Adds what waits, within the bounds of a group.
    fn gather(&mut self, group: &mut Group, mut next: impl FnMut() -> Option<Order>) {
        while !group.is_full()
            && let Some(order) = next()
        {
            self.put(group, order);
        }
    }

    fn put(&mut self, group: &mut Group, order: Order) {
        match order {
            Order::Commit { submission: Submission { batch, done }, bytes } => {
                let refused = self.refused.behind(&batch);
                group.bytes += bytes;
                group.places.push(Place { queue: batch.queue, done, refused: refused.clone() });
                group.batches.extend(refused.is_none().then_some(batch));
            }
            Order::Resume(queue) => self.refused.forget(queue),
            Order::Answered => {}
            Order::Stop => self.stopping = true,
        }
    }

    /// Makes a group durable; what is left is to tell.
    fn commit(&mut self, group: Group) -> Committed {
        let count = group.batches.len();
        let results = if count == 0 { Vec::new() } else { self.shared.store.commit(group.batches) };
        debug_assert_eq!(results.len(), count, "a store answers every batch");
        self.note(&group.places, &results);
        Committed { results, places: group.places, bytes: group.bytes }
    }

    /// Nothing of a queue is written behind what was refused of it.
    fn note(&mut self, places: &[Place], results: &[Result<(), CommitError>]) {
        let taken = places.iter().filter(|place| place.refused.is_none());
        for (place, result) in taken.zip(results) {
            if let Err(error) = result {
                self.refused.note(place.queue, error);
            }
        }
    }

    fn tell(&self, committed: Committed) {
        let count = committed.places.len();
        if count == 0 {
            return;
        }
        let shared = &self.shared;
        shared.groups.fetch_add(1, Ordering::Relaxed);
        shared.batches.fetch_add(count as u64, Ordering::Relaxed);
        fault::pass(Point::WriterBeforeTell);
        // Room is made before the callbacks, since they often submit the next batch.
        shared.forget(count, committed.bytes);
        let mut results = committed.results.into_iter();
        for Place { done, refused, .. } in committed.places {
            let result = match refused {
                Some(error) => Err(error),
                None => results.next().expect("a store answers every batch"),
            };
            done(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use windlass_core::store::Write;
    use windlass_core::store::memory::MemoryStore;

    fn put(number: u64) -> Batch {
        let key = Bytes::copy_from_slice(&number.to_be_bytes());
        Batch { writes: vec![Write::Put { value: key.clone(), key }], ..Batch::default() }
    }

    #[test]
    fn results_come_in_order_and_the_batches_are_there() {
        let writer = StoreWriter::start(Arc::new(MemoryStore::new())).unwrap();
        let (tell, told) = sync_channel(1_000);
        for number in 0..1_000 {
            let tell = tell.clone();
            writer
                .submit(put(number), Box::new(move |result| tell.send((number, result)).unwrap()))
                .unwrap_or_else(|refused| panic!("{refused}"));
        }
        for number in 0..1_000 {
            assert_eq!(told.recv().unwrap(), (number, Ok(())));
            assert!(writer.store().get(&number.to_be_bytes()).unwrap().is_some());
        }
        assert_eq!(writer.stats().batches, 1_000);
        assert_eq!(writer.stats().waiting_bytes, 0);
        writer.stop().unwrap();
        writer.stop().unwrap();
    }

    #[test]
    fn stop_finishes_what_waits_and_takes_nothing_more() {
        let writer = StoreWriter::start(Arc::new(MemoryStore::new())).unwrap();
        let (tell, told) = sync_channel(1_000);
        for number in 0..100 {
            let tell = tell.clone();
            let done: Done = Box::new(move |result| tell.send(result).unwrap());
            assert!(writer.submit(put(number), done).is_ok());
        }
        writer.stop().unwrap();
        drop(tell);
        assert_eq!(told.iter().filter(Result::is_ok).count(), 100);
        assert!(matches!(writer.submit(put(0), Box::new(|_| {})), Err(SubmitError::Stopped(_))));
    }

    #[test]
    fn a_full_writer_refuses_and_gives_the_batch_back() {
        let writer = StoreWriter::start(Arc::new(MemoryStore::new())).unwrap();
        // The first callback holds the writer, so that what follows has to wait.
        let (release, released) = sync_channel::<()>(1);
        let (entered, has_entered) = sync_channel(1);
        let hold: Done = Box::new(move |_| {
            entered.send(()).unwrap();
            released.recv().unwrap();
        });
        assert!(writer.submit(put(0), hold).is_ok());
        has_entered.recv().unwrap();
        let mut taken = 0;
        let refused = loop {
            match writer.submit(put(taken), Box::new(|_| {})) {
                Ok(()) => taken += 1,
                Err(refused) => break refused,
            }
        };
        assert_eq!(taken, WAITING_BATCHES_MAX as u64);
        assert!(!writer.has_room());
        assert!(matches!(refused, SubmitError::Busy(Submission { batch, .. }) if batch == put(taken)));
        release.send(()).unwrap();
        writer.stop().unwrap();
        assert!(writer.has_room());
    }
}
