//! The way from the schedules to the store: a firing goes through its queue, anything else straight to the writer.

use futures_util::future::LocalBoxFuture;
use windlass_core::api::{ApiError, Enqueued};
use windlass_core::id::QueueName;
use windlass_core::job::JobSpec;
use windlass_core::store::{CommitError, Space, Write};

use crate::lifeline::Lifeline;
use crate::queue::{Registry, unwritten};
use crate::store::writer::StoreWriter;

/// What the actor needs from the node. Both answers come when the writes are durable.
pub(super) trait Door: 'static {
    /// Enqueues one job, with more writes in the same commit.
    fn enqueue(
        &self,
        queue: QueueName,
        job: JobSpec,
        alongside: Write,
    ) -> LocalBoxFuture<'static, Result<Vec<Enqueued>, ApiError>>;

    /// Commits one write. `settles`: it makes the store smaller or keeps its size, and is taken when space is low.
    fn commit(&self, write: Write, settles: bool) -> LocalBoxFuture<'static, Result<(), ApiError>>;
}

/// The real one.
pub(super) struct NodeDoor {
    pub(super) registry: Registry,
    pub(super) writer: StoreWriter,
    /// The actor owns its door: a panic of the one drops the other.
    pub(super) _line: Lifeline,
}

impl Door for NodeDoor {
    fn enqueue(
        &self,
        queue: QueueName,
        job: JobSpec,
        alongside: Write,
    ) -> LocalBoxFuture<'static, Result<Vec<Enqueued>, ApiError>> {
        let registry = self.registry.clone();
        Box::pin(async move { registry.enqueue(&queue, vec![job], vec![alongside]).await })
    }

    fn commit(&self, write: Write, settles: bool) -> LocalBoxFuture<'static, Result<(), ApiError>> {
        if !settles && self.writer.space() == Space::Low {
            let full = CommitError::Full(
                "the disk is full; new schedules are taken again when there is space".to_owned(),
            );
            return Box::pin(std::future::ready(Err(unwritten(full.into()))));
        }
        let written = self.writer.write(vec![write], settles);
        Box::pin(async move { written.await.map_err(unwritten) })
    }
}
