//! The writer's thread: gathers groups, hands them over to the store, and tells of each when the store has.
//!
//! Most stores commit in place, one group after the other. A store at the other end of a wire takes further groups while
//! the first is on its way. An idle writer hands the first one over at once; a further one goes when it is large. A small one waits for
//! an answer and grows: the same batches in more groups are more commits for the store, and so fewer batches in all.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use windlass_core::store::{Begun, CommitError, GroupDone};

use super::{Committed, Committer, Group, Order, Place, Shared};

/// How long the writer stays awake for the next batch. A thread that sleeps is woken in 20 to 60 µs when its processor sleeps too, which
/// is as much as a fast disk needs for the commit; whoever wants the processor meanwhile gets it.
const LINGER: Duration = Duration::from_micros(100);
/// Bytes from which on a group goes behind others that are on their way.
const FURTHER_BYTES: usize = 64 * 1024;

type Results = Vec<Result<(), CommitError>>;

/// The thread.
pub(super) struct Writer {
    committer: Committer,
    orders: Receiver<Order>,
    /// The thread's own way into its orders, for the store; it does not keep the channel open.
    wake: Weak<SyncSender<Order>>,
    /// Groups on their way, oldest first.
    flight: VecDeque<Flying>,
    flight_max: usize,
    /// What goes next.
    forming: Group,
}

/// A group on its way.
struct Flying {
    answer: Answer,
    places: Vec<Place>,
    bytes: usize,
}

/// What the store has of a group on its way. The thread is woken when it goes, whether or not something was told.
struct StoresEnd {
    tell: Option<SyncSender<Results>>,
    wake: Option<Arc<SyncSender<Order>>>,
}

impl Drop for StoresEnd {
    fn drop(&mut self) {
        self.tell = None;
        // A channel that is full keeps the thread awake as well.
        let _ = self.wake.take().map(|wake| wake.try_send(Order::Answered));
    }
}

enum Answer {
    Awaited(Receiver<Results>),
    Here(Results),
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, orders: Receiver<Order>, wake: Weak<SyncSender<Order>>) -> Writer {
        let flight_max = shared.store.groups_in_flight_max();
        Writer {
            committer: Committer::new(shared),
            orders,
            wake,
            flight: VecDeque::new(),
            flight_max,
            forming: Group::default(),
        }
    }

    /// Works until it is told to stop or nobody can send any more; finishes what waits first.
    pub(super) fn run(mut self) -> Result<(), CommitError> {
        loop {
            // Answers are looked for behind the orders: the call of one that came in between may be among these, and comes once.
            self.committer.gather(&mut self.forming, || self.orders.try_recv().ok());
            while self.tell(false) {}
            if self.may_begin() {
                self.begin();
            } else if !self.flight.is_empty() {
                self.wait();
            } else if self.committer.stopping {
                // What was sent before the order to stop was seen is taken: its senders were told that it was.
                break;
            } else if let Some(order) = next(&self.orders) {
                self.committer.put(&mut self.forming, order);
            } else {
                break;
            }
        }
        self.committer.shared.store.close()
    }

    fn may_begin(&self) -> bool {
        if self.forming.places.is_empty() || self.flight.len() >= self.flight_max {
            return false;
        }
        self.flight.is_empty() || self.committer.stopping || self.forming.bytes >= FURTHER_BYTES
    }

    /// Hands the group over.
    fn begin(&mut self) {
        let group = std::mem::take(&mut self.forming);
        if self.flight_max == 1 {
            // It is durable when the store returns, and there is nobody to wake.
            let Committed { results, places, bytes } = self.committer.commit(group);
            return self.flight.push_back(Flying { answer: Answer::Here(results), places, bytes });
        }
        let Group { batches, places, bytes } = group;
        let count = batches.len();
        let (tell, answer) = sync_channel(1);
        let end = StoresEnd { tell: Some(tell), wake: self.wake.upgrade() };
        let done: GroupDone = Box::new(move |results| {
            // Nobody listens when the thread has panicked.
            let _ = end.tell.as_ref().map(|tell| tell.send(results));
        });
        let begun = if count == 0 {
            Begun::Settled(Vec::new())
        } else {
            self.committer.shared.store.begin(batches, done)
        };
        let (Begun::Settled(results) | Begun::OnItsWay(results)) = &begun;
        debug_assert_eq!(results.len(), count, "a store answers every batch");
        self.committer.note(&places, results);
        let answer = match begun {
            Begun::Settled(results) => Answer::Here(results),
            Begun::OnItsWay(_) => Answer::Awaited(answer),
        };
        self.flight.push_back(Flying { answer, places, bytes });
    }

    /// Tells of the oldest group; `false` when there is none, or nothing is known of it and this is not to `wait`.
    fn tell(&mut self, wait: bool) -> bool {
        let Some(Flying { answer, places, .. }) = self.flight.front_mut() else { return false };
        let results = match answer {
            Answer::Here(results) => std::mem::take(results),
            Answer::Awaited(answer) if wait => answer.recv().unwrap_or_else(|_| nobody_knows(places)),
            Answer::Awaited(answer) => match answer.try_recv() {
                Ok(results) => results,
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => nobody_knows(places),
            },
        };
        if let Some(Flying { places, bytes, .. }) = self.flight.pop_front() {
            self.committer.tell(Committed { results, places, bytes });
        }
        true
    }

    /// Waits for what can happen while groups are on their way: one is answered, or more comes that may go behind them.
    fn wait(&mut self) {
        let nothing_more =
            self.flight.len() >= self.flight_max || self.forming.is_full() || self.committer.stopping;
        if nothing_more {
            self.tell(true);
            return;
        }
        match self.orders.recv() {
            Ok(order) => self.committer.put(&mut self.forming, order),
            // Nobody can send any more.
            Err(_) => _ = self.tell(true),
        }
    }
}

/// The store has let a group go without a word.
fn nobody_knows(places: &[Place]) -> Results {
    let unknown = || Err(CommitError::Unknown("the store has told nothing of the group".to_owned()));
    places.iter().map(|_| unknown()).collect()
}

/// Waits for an order, at first without sleeping: after a commit the next batch is on its way as soon as its producer has read
/// the answer. `None` once nobody can send any more.
fn next(orders: &Receiver<Order>) -> Option<Order> {
    let begun = Instant::now();
    while begun.elapsed() < LINGER {
        match orders.try_recv() {
            Ok(order) => return Some(order),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => std::thread::yield_now(),
        }
    }
    orders.recv().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::RecvTimeoutError;

    use bytes::Bytes;
    use windlass_core::store::keys::QueueNo;
    use windlass_core::store::memory::MemoryStore;
    use windlass_core::store::{Batch, Epoch, ReadError, Space, Store, StoreStats, Write};

    use super::*;
    use crate::store::writer::StoreWriter;

    /// A store at the other end of a wire: what is handed over is taken, and answered when the test says so.
    struct Wire {
        memory: MemoryStore,
        begun: SyncSender<(usize, GroupDone)>,
        /// Whether the next batch is refused at once.
        refuses: Mutex<bool>,
    }

    impl Store for Wire {
        fn epoch(&self) -> Epoch {
            self.memory.epoch()
        }

        fn commit(&self, group: Vec<Batch>) -> Vec<Result<(), CommitError>> {
            self.memory.commit(group)
        }

        fn begin(&self, group: Vec<Batch>, done: GroupDone) -> Begun {
            let refused = std::mem::take(&mut *self.refuses.lock().unwrap());
            let each = |at: usize| {
                if refused && at == 0 { Err(CommitError::Full("test".to_owned())) } else { Ok(()) }
            };
            let results: Vec<_> = (0..group.len()).map(each).collect();
            self.begun.send((group.len(), done)).unwrap();
            Begun::OnItsWay(results)
        }

        fn groups_in_flight_max(&self) -> usize {
            3
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
            self.memory.space()
        }

        fn batch_bytes_max(&self) -> usize {
            self.memory.batch_bytes_max()
        }

        fn stats(&self) -> StoreStats {
            self.memory.stats()
        }

        fn close(&self) -> Result<(), CommitError> {
            self.memory.close()
        }
    }

    /// Longest wait for something that has to come.
    const PATIENCE: Duration = Duration::from_secs(20);
    /// Wait for something that must not come.
    const MOMENT: Duration = Duration::from_millis(50);

    struct Bench {
        writer: StoreWriter,
        store: Arc<Wire>,
        begun: Receiver<(usize, GroupDone)>,
        tell: SyncSender<(u32, Result<(), CommitError>)>,
        told: Receiver<(u32, Result<(), CommitError>)>,
    }

    impl Bench {
        fn new() -> Bench {
            let (begin, begun) = sync_channel(10);
            let store =
                Arc::new(Wire { memory: MemoryStore::new(), begun: begin, refuses: Mutex::new(false) });
            let (tell, told) = sync_channel(100);
            let writer = StoreWriter::start(Arc::clone(&store) as Arc<dyn Store>).unwrap();
            Bench { writer, store, begun, tell, told }
        }

        fn submit(&self, number: u32, bytes: usize, queue: Option<QueueNo>) {
            let key = Bytes::copy_from_slice(&number.to_be_bytes());
            let writes = vec![Write::Put { key, value: Bytes::from(vec![0; bytes]) }];
            let tell = self.tell.clone();
            let done = Box::new(move |result| tell.send((number, result)).unwrap());
            let batch = Batch { writes, settles: false, queue };
            assert!(self.writer.submit(batch, done).is_ok());
        }

        fn handed_over(&self) -> (usize, GroupDone) {
            self.begun.recv_timeout(PATIENCE).expect("a group is handed over")
        }

        fn nothing_is_handed_over(&self) {
            assert!(matches!(self.begun.recv_timeout(MOMENT), Err(RecvTimeoutError::Timeout)));
        }

        fn told(&self) -> (u32, Result<(), CommitError>) {
            self.told.recv_timeout(PATIENCE).expect("somebody is told")
        }
    }

    /// Nobody sends anything more while the last one waits, as when all clients wait for an answer.
    #[test]
    fn an_answer_is_heard_whenever_it_comes() {
        let bench = Bench::new();
        for number in 0..20_000 {
            bench.submit(number, 10, None);
            // Asked for without sleep, so that the answer comes while the thread is still at work, each time at another place.
            let asked = Instant::now();
            let (_, done) = loop {
                if let Ok(handed_over) = bench.begun.try_recv() {
                    break handed_over;
                }
                assert!(asked.elapsed() < PATIENCE, "group {number} is not handed over");
            };
            (0..number % 512).for_each(|_| std::hint::spin_loop());
            done(vec![Ok(())]);
            assert_eq!(bench.told(), (number, Ok(())));
        }
    }

    #[test]
    fn only_large_groups_go_behind_others_and_all_are_told_in_order() {
        let bench = Bench::new();
        bench.submit(0, 10, None);
        let (_, first) = bench.handed_over();
        bench.submit(1, 10, None);
        bench.nothing_is_handed_over();
        bench.submit(2, FURTHER_BYTES, None);
        let (count, second) = bench.handed_over();
        assert_eq!(count, 2, "the small one has waited for company");
        bench.submit(3, FURTHER_BYTES, None);
        let (_, third) = bench.handed_over();
        bench.submit(4, FURTHER_BYTES, None);
        bench.nothing_is_handed_over();
        first(vec![Ok(())]);
        assert_eq!(bench.told(), (0, Ok(())));
        let (_, fourth) = bench.handed_over();
        third(vec![Ok(())]);
        assert!(bench.told.recv_timeout(MOMENT).is_err(), "the one before is not durable");
        second(vec![Ok(()), Ok(())]);
        for number in 1..=3 {
            assert_eq!(bench.told(), (number, Ok(())));
        }
        bench.submit(5, 10, None);
        bench.nothing_is_handed_over();
        fourth(vec![Ok(())]);
        assert_eq!(bench.told(), (4, Ok(())));
        let (_, last) = bench.handed_over();
        last(vec![Ok(())]);
        assert_eq!(bench.told(), (5, Ok(())));
        bench.writer.stop().unwrap();
    }

    /// Known when the group is handed over, and told in its turn.
    #[test]
    fn nothing_of_a_queue_is_written_behind_what_was_refused_in_a_group_on_its_way() {
        let bench = Bench::new();
        *bench.store.refuses.lock().unwrap() = true;
        bench.submit(0, 10, Some(7));
        let (_, first) = bench.handed_over();
        bench.submit(1, FURTHER_BYTES, Some(7));
        bench.submit(2, FURTHER_BYTES, Some(8));
        let (count, second) = bench.handed_over();
        assert_eq!(count, 1, "only that of the other queue");
        let full = Err(CommitError::Full("test".to_owned()));
        assert!(bench.told.recv_timeout(MOMENT).is_err(), "each in its turn");
        first(vec![full.clone()]);
        second(vec![Ok(())]);
        assert_eq!((bench.told(), bench.told(), bench.told()), ((0, full.clone()), (1, full), (2, Ok(()))));
        assert!(bench.writer.resume(7));
        bench.submit(3, 10, Some(7));
        let (_, third) = bench.handed_over();
        third(vec![Ok(())]);
        assert_eq!(bench.told(), (3, Ok(())));
        bench.writer.stop().unwrap();
    }

    #[test]
    fn a_group_that_the_store_lets_go_is_unknown() {
        let bench = Bench::new();
        bench.submit(0, 10, None);
        drop(bench.handed_over());
        assert!(matches!(bench.told(), (0, Err(CommitError::Unknown(_)))));
        bench.writer.stop().unwrap();
    }
}
