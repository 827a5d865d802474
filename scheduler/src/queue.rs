//! Queues as actors: one per queue, which only translates. Messages become commands of [`windlass_core::queue`],
//! effects become batches for the store writer and messages for sessions. No rule of a queue lives here.
//!
//! ```text
//!   session, api ──Vec<Op>──► QueueActor ──Command──► core::Queue::apply
//!                                 │  ▲                      │
//!                      Batch      ▼  │ durable up to n      ▼ Effects
//!                            store writer ◄── Pipeline ◄────┘──► replies and deliveries, held until durable
//! ```
//!
//! - [`Registry`] finds and creates queues; [`QueueHandle`] is how everybody else talks to one.
//! - A mailbox is bounded; a full one gives the operations back, and the caller answers `Busy`.

mod actor;
mod bulk;
mod op;
mod outbox;
mod pipeline;
mod query;
mod registry;
mod share;
mod translate;

pub use op::{Act, DeadAct, FromQueue, Op, Resumed, Then, WorkerEvent, WorkerLink, next_request};
pub use registry::{RecoverError, Registry, RegistryParts};
pub use share::Shared;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use actix::Addr;
use actix::dev::SendError;
use windlass_core::api::{ApiError, ErrorCode};
use windlass_core::id::QueueName;
use windlass_core::store::CommitError;
use windlass_core::store::keys::QueueNo;

use actor::QueueActor;

use crate::store::writer::alone::Unwritten;

/// Messages that wait for one queue; each is a batch. More is answered with `Busy`.
pub const MAILBOX_MESSAGES_MAX: usize = 1_024;

/// Operations for a queue, in order.
pub(crate) struct Ops(pub(crate) Vec<Op>);

impl actix::Message for Ops {
    type Result = ();
}

/// A cheap handle of a queue.
#[derive(Clone)]
pub struct QueueHandle {
    name: QueueName,
    no: QueueNo,
    addr: Addr<QueueActor>,
    figures: Arc<Figures>,
}

/// What a queue publishes after every message, for rates: read without asking it.
#[derive(Debug, Default)]
pub struct Figures {
    /// Jobs enqueued since the start.
    pub enqueued: AtomicU64,
    /// Jobs succeeded since the start.
    pub succeeded: AtomicU64,
    /// Attempts failed or lost since the start.
    pub failed: AtomicU64,
    /// Jobs gone dead since the start.
    pub dead: AtomicU64,
    /// Ready jobs.
    pub ready: AtomicU64,
    /// Whether a commit failed, so that it takes nothing any more.
    pub stopped: AtomicBool,
}

/// Operations that a queue did not take, given back, and why.
pub struct NotTaken {
    /// The operations.
    pub ops: Vec<Op>,
    /// Whether the queue is gone for good, rather than busy.
    pub closed: bool,
}

impl NotTaken {
    /// Answers every operation with the reason.
    pub fn refuse(self) {
        let error = if self.closed { stopping() } else { busy() };
        for op in self.ops {
            op.refuse(error.clone());
        }
    }
}

impl QueueHandle {
    /// The queue's name.
    #[must_use]
    pub fn name(&self) -> &QueueName {
        &self.name
    }

    /// Its number in keys.
    #[must_use]
    pub fn no(&self) -> QueueNo {
        self.no
    }

    /// What it publishes.
    #[must_use]
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Hands operations over without waiting.
    ///
    /// # Errors
    /// [`NotTaken`] with the operations, when the mailbox is full or the queue is gone.
    pub fn post(&self, ops: Vec<Op>) -> Result<(), NotTaken> {
        self.addr.try_send(Ops(ops)).map_err(|error| match error {
            SendError::Full(Ops(ops)) => NotTaken { ops, closed: false },
            SendError::Closed(Ops(ops)) => NotTaken { ops, closed: true },
        })
    }

    /// Hands one operation over; whatever happens, it is answered.
    pub fn post_or_refuse(&self, op: Op) {
        if let Err(back) = self.post(vec![op]) {
            back.refuse();
        }
    }

    /// Asks and waits for the answer. `op` builds the operation around the way back.
    ///
    /// # Errors
    /// What the queue says, `Busy` or `Unavailable`.
    pub async fn ask<T: Send + 'static>(&self, op: impl FnOnce(Then<T>) -> Op) -> Result<T, ApiError> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.post_or_refuse(op(Box::new(move |result| {
            // Nobody listens any more: the caller gave up.
            let _ = answer.send(result);
        })));
        answered.await.unwrap_or_else(|_| Err(stopping()))
    }
}

/// The answer of a full mailbox.
pub(crate) fn busy() -> ApiError {
    ApiError::new(ErrorCode::Busy, "the server has too much to do; send it again in a moment")
}

/// The answer of a node that goes down.
pub(crate) fn stopping() -> ApiError {
    ApiError::new(ErrorCode::Unavailable, "the server is stopping; send it again when it is back")
}

/// The answer for writes that stand alone and did not happen.
pub(crate) fn unwritten(why: Unwritten) -> ApiError {
    let error = match why {
        Unwritten::Busy => return busy(),
        Unwritten::Stopped => return stopping(),
        Unwritten::Refused(error) => error,
    };
    let code = match error {
        CommitError::Full(_) => ErrorCode::StoreFull,
        CommitError::TooBig { .. } => ErrorCode::TooLarge,
        _ => ErrorCode::StoreFailed,
    };
    ApiError::new(code, error.to_string())
}

/// The answer for a name that no queue has.
pub(crate) fn no_queue(name: &QueueName) -> ApiError {
    let text = format!("there is no queue {name}; a queue is made by its first job or worker");
    ApiError::new(ErrorCode::NotFound, text)
}
