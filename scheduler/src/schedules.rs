//! Schedules as one actor: it loads their records at the start, sleeps until the next nominal time, and fires.
//!
//! ```text
//!   core::schedule::Plan ──next──► one timer ──due──► Queue: Enqueue(job, alongside: record) ──durable──► record in memory
//! ```
//!
//! A firing is one commit: the job and the schedule's record, which says that its nominal time is dealt with, are written in the
//! same batch by the queue. So a crash leaves both or neither, and the next start goes on from the record. The id of the
//! job is made from schedule and nominal time; if the same firing is enqueued again all the same, it is a duplicate.
//!
//! What the actor holds in memory is what is durable: a change of a schedule is under way until its commit is answered, and
//! nothing else happens to that schedule meanwhile. When to fire, what was missed and what a record becomes is decided by
//! [`windlass_core::schedule`]; this module only carries it out.

mod actor;
#[cfg(test)]
mod actor_test;
mod door;
mod entry;
mod order;

use actix::{Actor, Addr};
use tokio::sync::oneshot;
use windlass_core::api::{ApiError, Request, Response};
use windlass_core::job::BadRecord;
use windlass_core::store::{ReadError, Store, keys};

use crate::chance::Chance;
use crate::clock::Clock;
use crate::queue::{Registry, busy, stopping};
use crate::store::writer::StoreWriter;
use actor::{Ask, ScheduleActor, Stop};
use door::{Door, NodeDoor};

/// Most schedules of a node: each may fire every second, and every start reads them all.
pub const SCHEDULES_MAX: usize = 10_000;
/// Most bytes of all schedules' records: they are held in memory, and a list of all of them must fit into one frame.
pub const SCHEDULES_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most requests that wait for one schedule while a change of it is under way.
pub const WAITING_PER_SCHEDULE_MAX: usize = 16;
/// Most requests that wait for the actor.
pub const MAILBOX_MESSAGES_MAX: usize = 256;

/// What a schedule takes in a list beside its record: the next firings and the totals, generously.
const LISTED_BYTES: usize = 256;
const _: () = assert!(
    SCHEDULES_BYTES_MAX + SCHEDULES_MAX * LISTED_BYTES < windlass_core::limits::FRAME_BYTES_MAX,
    "a list of all schedules fits into a frame"
);

/// Why the schedules cannot be loaded; the node does not start without them.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// One record cannot.
    #[error("the schedule {name:?} cannot be read: {error}")]
    Record {
        /// Its name.
        name: String,
        /// Why.
        error: BadRecord,
    },
}

/// A cheap handle of the schedules.
#[derive(Clone)]
pub struct Handle {
    addr: Addr<ScheduleActor>,
}

/// Loads the schedules and starts their actor on the current arbiter. To be called once all queues are recovered, since
/// missed firings are caught up at once.
///
/// # Errors
/// [`LoadError`] when a record cannot be read: nothing vanishes in silence.
pub fn start(
    registry: Registry,
    writer: StoreWriter,
    clock: Clock,
    chance: Chance,
) -> Result<Handle, LoadError> {
    let store = writer.store().clone();
    let line = writer.lifelines().hold("the schedules");
    start_with(&*store, NodeDoor { registry, writer, _line: line }, clock, chance)
}

fn start_with(store: &dyn Store, door: impl Door, clock: Clock, chance: Chance) -> Result<Handle, LoadError> {
    let actor = ScheduleActor::load(store, Box::new(door), clock, chance)?;
    Ok(Handle { addr: actor.start() })
}

impl Handle {
    /// Carries out one of the requests about schedules; the answer to an order comes when it is durable.
    ///
    /// # Errors
    /// What is wrong with the request, `NotFound`, `Busy`, or what keeps the store from writing.
    pub async fn call(&self, request: Request) -> Result<Response, ApiError> {
        let (reply, answer) = oneshot::channel();
        self.addr.try_send(Ask { request, reply }).map_err(|refused| match refused {
            actix::dev::SendError::Full(_) => busy(),
            actix::dev::SendError::Closed(_) => stopping(),
        })?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Fires nothing more, waits for what is under way, and ends the actor. Legal twice.
    pub async fn stop(&self) {
        let (reply, done) = oneshot::channel();
        // The order to stop may wait for a place in the mailbox: it must not get lost. An error means it has stopped.
        if self.addr.send(Stop { reply }).await.is_ok() {
            // The sender goes away with the actor, which is as good as an answer.
            let _ = done.await;
        }
    }
}

/// First and one-past-last key of the schedules.
fn range() -> (bytes::Bytes, bytes::Bytes) {
    keys::region_range(keys::region::SCHEDULE)
}
