//! Finds queues by name, makes those that do not exist yet, and rebuilds all of them at start.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use actix::{Actor, Addr, Context, Handler};
use windlass_core::api::{ApiError, Enqueued, ErrorCode};
use windlass_core::id::QueueName;
use windlass_core::job::{BadRecord, JobSpec};
use windlass_core::limits;
use windlass_core::queue::{ChunkShape, Dispatch, Effects, Queue, QueueRecord, Tuning, Window, read};
use windlass_core::store::keys::{self, QueueNo, region};
use windlass_core::store::{ReadError, Store, Write};

use super::actor::{Parts, QueueActor};
use super::op::Op;
use super::pipeline::Pipeline;
use super::share::{Share, Shared};
use super::{Figures, QueueHandle};
use crate::chance::Chance;
use crate::clock::Clock;
use crate::store::writer::StoreWriter;

/// What all queues of a node share.
#[derive(Clone)]
pub struct RegistryParts {
    /// Where batches go.
    pub writer: StoreWriter,
    /// The node's clock.
    pub clock: Clock,
    /// Where ids and jitter come from.
    pub chance: Chance,
    /// How long a lease is good without a sign of life.
    pub lease_ms: u64,
    /// How long a lost session may come back.
    pub resume_grace_ms: u64,
    /// Memory for waiting jobs.
    pub memory: Arc<Shared>,
}

/// A queue that cannot be rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record cannot be read.
    #[error("queue {queue}: {source}")]
    Record {
        /// Of this queue.
        queue: String,
        /// What is wrong with it.
        source: BadRecord,
    },
}

/// A cheap handle of the node's queues. Names are looked up without a message; only a new name asks the actor.
#[derive(Clone)]
pub struct Registry {
    directory: Directory,
    writer: StoreWriter,
    addr: Addr<RegistryActor>,
}

/// Written by the actor alone.
type Directory = Arc<RwLock<BTreeMap<QueueName, QueueHandle>>>;

struct RegistryActor {
    parts: RegistryParts,
    directory: Directory,
    next_no: QueueNo,
}

impl Actor for RegistryActor {
    type Context = Context<RegistryActor>;
}

/// Queues to make.
struct Open(Vec<QueueName>);

impl actix::Message for Open {
    type Result = Result<Vec<QueueHandle>, ApiError>;
}

impl Registry {
    /// Rebuilds every queue of the store and starts its actor. Must run on the arbiter.
    ///
    /// # Errors
    /// [`RecoverError`]: a damaged store is not opened in part.
    pub fn recover(parts: RegistryParts) -> Result<Registry, RecoverError> {
        let started = std::time::Instant::now();
        let directory = Directory::default();
        let mut actor = RegistryActor { parts, directory: directory.clone(), next_no: 1 };
        let records = queue_records(&**actor.parts.writer.store())?;
        let count = records.len();
        for (name, record) in records {
            actor.next_no = actor.next_no.max(record.no.saturating_add(1));
            let (queue, first) = actor.rebuild(&name, record)?;
            actor.start_queue(name, queue, first);
        }
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(queues = count, ms, "queues recovered");
        let writer = actor.parts.writer.clone();
        Ok(Registry { directory, writer, addr: actor.start() })
    }

    /// The queue with this name, if there is one.
    #[must_use]
    pub fn find(&self, name: &QueueName) -> Option<QueueHandle> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All queues, by name.
    #[must_use]
    pub fn all(&self) -> Vec<QueueHandle> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(super) fn writer(&self) -> &StoreWriter {
        &self.writer
    }

    /// How many queues there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.directory.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The queues with these names, in order; those that do not exist are made.
    ///
    /// # Errors
    /// `Busy` beyond [`limits::QUEUES_MAX`], `Unavailable` while the node stops.
    pub async fn open(&self, names: &[QueueName]) -> Result<Vec<QueueHandle>, ApiError> {
        let found: Vec<_> = names.iter().filter_map(|name| self.find(name)).collect();
        if found.len() == names.len() {
            return Ok(found);
        }
        self.addr.send(Open(names.to_vec())).await.unwrap_or_else(|_| Err(super::stopping()))
    }

    /// Enqueues jobs, with other writes in the same commit; answers when durable.
    ///
    /// # Errors
    /// What the queue says, `Busy` or `Unavailable`.
    pub async fn enqueue(
        &self,
        queue: &QueueName,
        jobs: Vec<JobSpec>,
        alongside: Vec<Write>,
    ) -> Result<Vec<Enqueued>, ApiError> {
        let handle = self.open(std::slice::from_ref(queue)).await?.pop().ok_or_else(super::stopping)?;
        handle.ask(|then| Op::Enqueue { jobs, alongside, then }).await
    }
}

impl Handler<Open> for RegistryActor {
    type Result = Result<Vec<QueueHandle>, ApiError>;

    fn handle(&mut self, open: Open, _: &mut Self::Context) -> Self::Result {
        open.0.into_iter().map(|name| self.open(name)).collect()
    }
}

impl RegistryActor {
    fn open(&mut self, name: QueueName) -> Result<QueueHandle, ApiError> {
        let known = self.directory.read().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        if let Some(handle) = known {
            return Ok(handle);
        }
        let count = self.directory.read().unwrap_or_else(PoisonError::into_inner).len();
        if count >= limits::QUEUES_MAX {
            let text = format!("there are {count} queues already, no more can be made; use fewer names");
            return Err(ApiError::new(ErrorCode::Busy, text));
        }
        let no = self.next_no;
        self.next_no = self.next_no.checked_add(1).ok_or_else(super::busy)?;
        let (queue, first) = Queue::create(name.clone(), no, self.tuning(), self.parts.clock.now());
        tracing::info!(queue = %name, no, "queue created");
        Ok(self.start_queue(name, queue, first))
    }

    fn tuning(&self) -> Tuning {
        Tuning {
            epoch: self.parts.writer.store().epoch(),
            seed: self.parts.chance.u64(),
            lease_ms: self.parts.lease_ms,
            resume_grace_ms: self.parts.resume_grace_ms,
            window: Window::default(),
            chunk: ChunkShape::default(),
            dispatch: if self.parts.writer.store().is_shared() { Dispatch::Safe } else { Dispatch::Fast },
        }
    }

    fn start_queue(&self, name: QueueName, queue: Queue, first: Effects) -> QueueHandle {
        let figures = Arc::new(Figures::default());
        let no = queue.no();
        let actor = QueueActor::new(Parts {
            queue,
            first,
            pipeline: Pipeline::new(no, self.parts.writer.clone()),
            clock: self.parts.clock.clone(),
            chance: self.parts.chance.clone(),
            figures: figures.clone(),
            share: Share::new(Arc::clone(&self.parts.memory)),
        });
        let handle = QueueHandle { name: name.clone(), no, addr: actor.start(), figures };
        self.directory.write().unwrap_or_else(PoisonError::into_inner).insert(name, handle.clone());
        handle
    }

    fn rebuild(&self, name: &QueueName, record: QueueRecord) -> Result<(Queue, Effects), RecoverError> {
        let store = &**self.parts.writer.store();
        read::recover(store, name.clone(), record, self.tuning(), self.parts.clock.now()).map_err(|error| {
            match error {
                read::RecoverError::Read(error) => RecoverError::Read(error),
                read::RecoverError::Record(source) => {
                    RecoverError::Record { queue: name.to_string(), source }
                }
            }
        })
    }
}

fn queue_records(store: &dyn Store) -> Result<Vec<(QueueName, QueueRecord)>, RecoverError> {
    let (from, to) = keys::region_range(region::QUEUE);
    let mut records = Vec::new();
    let mut failed = None;
    store.scan(&from, &to, &mut |key, value| {
        let text = String::from_utf8_lossy(&key[1..]).into_owned();
        let damaged = |e: windlass_core::id::InvalidName| BadRecord::Damaged(e.0);
        let name = QueueName::new(&text).map_err(damaged);
        match name.and_then(|name| Ok((name, QueueRecord::from_bytes(&value)?))) {
            Ok(pair) => records.push(pair),
            Err(source) => failed = Some(RecoverError::Record { queue: text, source }),
        }
        failed.is_none()
    })?;
    failed.map_or(Ok(records), Err)
}
