//! A queue actor over a store that fails when told to.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use windlass_core::api::{ApiError, ErrorCode};
use windlass_core::id::{QueueName, WorkerId};
use windlass_core::job::{JobSpec, JobState, Payload};
use windlass_core::store::memory::MemoryStore;
use windlass_core::store::{Batch, CommitError, Epoch, ReadError, Space, Store, StoreStats};
use windlass_core::wire::{ReportResult, Token, Verdict};

use crate::chance::Chance;
use crate::clock::Clock;
use crate::queue::{FromQueue, Op, QueueHandle, Registry, RegistryParts, Shared, WorkerEvent, WorkerLink};
use crate::store::writer::StoreWriter;

const WELL: u8 = 0;
/// New work is unwelcome, everything fits.
const LOW: u8 = 1;
/// Nothing fits.
const FULL: u8 = 2;
/// Broken for good.
const BROKEN: u8 = 3;

/// A memory store in one of the moods above.
struct Moody {
    inner: MemoryStore,
    mood: AtomicU8,
}

impl Store for Moody {
    fn epoch(&self) -> Epoch {
        1
    }
    fn commit(&self, group: Vec<Batch>) -> Vec<Result<(), CommitError>> {
        match self.mood.load(Ordering::SeqCst) {
            FULL => group.iter().map(|_| Err(CommitError::Full("test".to_owned()))).collect(),
            BROKEN => {
                group.iter().map(|_| Err(CommitError::Failed("the disk is on fire".to_owned()))).collect()
            }
            _ => self.inner.commit(group),
        }
    }
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.inner.get(key)
    }
    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        each: &mut dyn FnMut(&[u8], Bytes) -> bool,
    ) -> Result<(), ReadError> {
        self.inner.scan(from, to, each)
    }
    fn space(&self) -> Space {
        if self.mood.load(Ordering::SeqCst) == LOW { Space::Low } else { Space::Ample }
    }
    fn batch_bytes_max(&self) -> usize {
        self.inner.batch_bytes_max()
    }
    fn stats(&self) -> StoreStats {
        self.inner.stats()
    }
    fn close(&self) -> Result<(), CommitError> {
        Ok(())
    }
}

struct Bench {
    store: Arc<Moody>,
    registry: Registry,
}

/// Runs a test on an arbiter of its own.
fn on_arbiter<F: Future<Output = ()>>(test: impl FnOnce(Bench) -> F) {
    actix_rt::System::new().block_on(async {
        let store = Arc::new(Moody { inner: MemoryStore::new(), mood: AtomicU8::new(WELL) });
        let writer = StoreWriter::start(store.clone()).unwrap();
        let clock = Clock::system();
        let chance = Chance::system();
        let memory = Shared::new(1 << 30);
        let parts = RegistryParts { writer, clock, chance, lease_ms: 8_000, resume_grace_ms: 3_000, memory };
        let registry = Registry::recover(parts).unwrap();
        tokio::time::timeout(Duration::from_secs(20), test(Bench { store, registry }))
            .await
            .expect("in time");
    });
}

impl Bench {
    fn mood(&self, mood: u8) {
        self.store.mood.store(mood, Ordering::SeqCst);
    }

    async fn enqueue(&self, count: usize) -> Result<usize, ApiError> {
        let jobs = vec![JobSpec::new("a", Payload::json("1")); count];
        self.registry.enqueue(&QueueName::default(), jobs, Vec::new()).await.map(|answers| answers.len())
    }

    fn queue(&self) -> QueueHandle {
        self.registry.find(&QueueName::default()).expect("made by the first job")
    }

    async fn count(&self, state: JobState) -> u64 {
        let view = self.queue().ask(|then| Op::Snapshot { then }).await.expect("a snapshot needs no store");
        view.counts.get(&state).copied().unwrap_or(0)
    }
}

/// Collects what a queue tells a worker.
struct Ear(tokio::sync::mpsc::Sender<FromQueue>);

impl actix::Actor for Ear {
    type Context = actix::Context<Ear>;
}

impl actix::Handler<FromQueue> for Ear {
    type Result = ();
    fn handle(&mut self, told: FromQueue, _: &mut Self::Context) {
        // The test may have heard enough.
        let _ = self.0.try_send(told);
    }
}

fn worker() -> (WorkerLink, tokio::sync::mpsc::Receiver<FromQueue>) {
    let (tell, told) = tokio::sync::mpsc::channel(100);
    let to = actix::Actor::start(Ear(tell)).recipient();
    // Each is a later session of the same worker, so that the queue answers the last one.
    let session = crate::queue::next_request().0;
    (WorkerLink { worker: WorkerId([1; 16]), session, to, broken: Default::default() }, told)
}

async fn fetch(bench: &Bench, slots: u32) -> Vec<(windlass_core::id::JobId, Token)> {
    let (link, mut told) = worker();
    assert!(bench.queue().post(vec![Op::Fetch { link, slots }]).is_ok());
    let event = told.recv().await.expect("an answer").events.remove(0);
    let WorkerEvent::Deliver { jobs, .. } = event else { panic!("not a delivery") };
    jobs.into_iter().map(|(job, token, _)| (job.id, token)).collect()
}

#[test]
fn a_failed_commit_confirms_nothing_and_stops_the_queue_with_its_first_reason() {
    on_arbiter(async |bench: Bench| {
        assert_eq!(bench.enqueue(1).await, Ok(1));
        bench.mood(BROKEN);
        for _ in 0..2 {
            let error = bench.enqueue(1).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::StoreFailed);
            assert!(error.message.contains("on fire"), "{error}");
            // Also when the store says that it is well again: what memory holds and what the store holds have parted.
            bench.mood(WELL);
        }
        assert_eq!(fetch(&bench, 5).await, [], "nothing is handed out that may not be recorded");
        assert!(bench.queue().figures().stopped.load(Ordering::Relaxed));
        let flush = bench.queue().ask(|then| Op::Flush { then }).await;
        assert_eq!(flush.unwrap_err().code, ErrorCode::StoreFailed);
    });
}

#[test]
fn low_space_refuses_new_jobs_and_lets_running_ones_end() {
    on_arbiter(async |bench: Bench| {
        assert_eq!(bench.enqueue(2).await, Ok(2));
        let held = fetch(&bench, 1).await;
        bench.mood(LOW);
        assert_eq!(bench.enqueue(1).await.unwrap_err().code, ErrorCode::StoreFull);
        let outcomes = vec![(held[0].0, held[0].1, Verdict::Done(None))];
        let reported = bench.queue().ask(|then| Op::Report { outcomes, then }).await;
        assert_eq!(reported, Ok(vec![ReportResult::Recorded]));
        assert_eq!((bench.count(JobState::Ready).await, bench.count(JobState::Succeeded).await), (1, 1));
        bench.mood(WELL);
        assert_eq!(bench.enqueue(1).await, Ok(1));
    });
}

/// What was taken on before the disk was found full is confirmed when there is space again, not refused and not forgotten.
#[test]
fn a_full_disk_delays_and_loses_nothing() {
    on_arbiter(async |bench: Bench| {
        assert_eq!(bench.enqueue(1).await, Ok(1));
        bench.mood(FULL);
        let delayed = bench.enqueue(3);
        tokio::pin!(delayed);
        let early = tokio::time::timeout(Duration::from_millis(600), &mut delayed).await;
        assert!(early.is_err(), "confirmed without being stored: {early:?}");
        assert_eq!(bench.enqueue(1).await.unwrap_err().code, ErrorCode::StoreFull);
        bench.mood(WELL);
        assert_eq!(delayed.await, Ok(3));
        assert_eq!(bench.enqueue(1).await, Ok(1));
        assert_eq!(bench.count(JobState::Ready).await, 5);
        assert_eq!(fetch(&bench, 10).await.len(), 5);
    });
}

/// The next node sees exactly what was confirmed.
#[test]
fn a_registry_rebuilds_what_another_left() {
    on_arbiter(async |bench: Bench| {
        for _ in 0..20 {
            assert_eq!(bench.enqueue(500).await, Ok(500));
        }
        let held = fetch(&bench, 700).await;
        bench.queue().ask(|then| Op::Flush { then }).await.unwrap();
        let writer = StoreWriter::start(bench.store.clone()).unwrap();
        let parts = RegistryParts {
            writer,
            clock: Clock::system(),
            chance: Chance::system(),
            lease_ms: 8_000,
            resume_grace_ms: 60_000,
            memory: Shared::new(1 << 30),
        };
        let next = Bench { registry: Registry::recover(parts).unwrap(), store: bench.store.clone() };
        assert_eq!(next.count(JobState::Running).await, held.len() as u64);
        assert_eq!(next.count(JobState::Ready).await, 10_000 - held.len() as u64);
        let mut rest = std::collections::BTreeSet::new();
        while rest.len() < 10_000 - held.len() {
            let (link, mut told) = worker();
            assert!(next.queue().post(vec![Op::Fetch { link, slots: 1_000 }]).is_ok());
            let mut drained = false;
            while !drained {
                for event in told.recv().await.expect("an answer").events {
                    if let WorkerEvent::Deliver { jobs, .. } = event {
                        drained = true;
                        for (job, ..) in jobs {
                            assert!(rest.insert(job.id), "handed out twice");
                        }
                    }
                }
            }
            tokio::task::yield_now().await;
        }
        assert!(held.iter().all(|(id, _)| !rest.contains(id)));
    });
}
