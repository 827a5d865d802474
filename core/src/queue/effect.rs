//! What a queue wants done, as plain data.

use std::sync::Arc;

use crate::api::{ApiError, Enqueued, ErrorCode};
use crate::id::{JobId, RequestId, WorkerId};
use crate::job::{Job, JobState};
use crate::store::Write;
use crate::time::Timestamp;
use crate::wire::{ReportResult, Token};

/// Number of a batch of one queue, from 1; batches become durable in this order.
pub type Ticket = u64;

/// When an [`Out`] may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// At once.
    Now,
    /// When this batch, and so every earlier one, is durable.
    Durable(Ticket),
}

/// What a command brings about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effects {
    /// The number of the batch, when there are writes.
    pub ticket: Option<Ticket>,
    /// The batch, to be committed atomically.
    pub writes: Vec<Write>,
    /// Whether the batch only settles earlier work; see [`crate::store::Batch::settles`].
    pub settles: bool,
    /// What leaves, and when.
    pub outs: Vec<(Release, Out)>,
}

/// Something that leaves the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Out {
    /// The answer to a request.
    Reply(RequestId, Reply),
    /// Jobs for a worker, leased to it. Answers a fetch; empty when there was nothing, and a notice follows later.
    Deliver {
        /// The worker.
        worker: WorkerId,
        /// The jobs with their tokens and attempt numbers.
        jobs: Vec<(Arc<Job>, Token, u32)>,
        /// Whether the queue has no more for now and will send a notice.
        drained: bool,
    },
    /// There may be jobs again: the worker should fetch.
    Notice {
        /// The worker.
        worker: WorkerId,
    },
    /// A running job was cancelled: its worker should stop the handler.
    CancelRun {
        /// The worker.
        worker: WorkerId,
        /// The job.
        id: JobId,
        /// Its lease.
        token: Token,
    },
    /// A lease ended without the worker's doing: whatever it still does is refused.
    LeaseEnded {
        /// The worker.
        worker: WorkerId,
        /// The job.
        id: JobId,
        /// Its lease.
        token: Token,
    },
    /// Read records from the store and send them back with [`super::Command::Loaded`].
    Load(LoadFrom),
    /// The queue found itself wrong and went on; an operator should know.
    Fault(String),
}

impl Out {
    /// The worker whose session is told, if it is not whoever asked, or the actor itself. What is held for a worker is meant for the
    /// session that it has now: a later one says what it runs, and is answered anew.
    #[must_use]
    pub fn worker(&self) -> Option<WorkerId> {
        match self {
            Out::Deliver { worker, .. }
            | Out::Notice { worker }
            | Out::CancelRun { worker, .. }
            | Out::LeaseEnded { worker, .. } => Some(*worker),
            Out::Reply(..) | Out::Load(_) | Out::Fault(_) => None,
        }
    }
}

/// A range of the store that a queue wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LoadFrom {
    /// Ready jobs of a priority, from a sequence number on.
    Ready {
        /// Which level.
        priority: i8,
        /// First sequence number.
        seq: u64,
        /// At most so many.
        limit: usize,
    },
    /// Timers from a time on.
    Timers {
        /// First due time.
        run_at: Timestamp,
        /// Tie-break.
        seq: u64,
        /// At most so many.
        limit: usize,
    },
    /// Kept results that run out by `until`.
    Kept {
        /// Last moment.
        until: Timestamp,
        /// At most so many.
        limit: usize,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// One entry per job.
    Enqueued(Vec<Enqueued>),
    /// One entry per outcome.
    Reported(Vec<ReportResult>),
    /// Which leases go on.
    Resumed {
        /// Those that go on.
        kept: Vec<(JobId, Token)>,
        /// Those that do not.
        lost: Vec<(JobId, Token)>,
    },
    /// The job as it is after the command.
    Job(Arc<Job>, JobState),
    /// Done, to so many things.
    Done(u64),
    /// Refused; nothing changed.
    Refused(Refusal),
}

/// Why a queue does not do what it is asked; nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A job breaks a rule; the batch is refused as a whole.
    #[error("job {index} of the batch: {reason}")]
    BadJob {
        /// Position in the batch, from 0.
        index: usize,
        /// Which rule.
        reason: String,
    },
    /// No such job.
    #[error("there is no job {0} (finished jobs are remembered for a limited time)")]
    NoJob(JobId),
    /// The job's state does not allow it.
    #[error("job {id} is {state}: {advice}")]
    WrongState {
        /// The job.
        id: JobId,
        /// Its state.
        state: JobState,
        /// What is possible instead.
        advice: &'static str,
    },
    /// Too many wait already.
    #[error("too many requests wait for jobs of this queue, at most {0} may")]
    TooManyWatchers(usize),
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> ApiError {
        let code = match &refusal {
            Refusal::BadJob { .. } => ErrorCode::Invalid,
            Refusal::NoJob(_) => ErrorCode::NotFound,
            Refusal::WrongState { .. } => ErrorCode::Conflict,
            Refusal::TooManyWatchers(_) => ErrorCode::Busy,
        };
        ApiError::new(code, refusal.to_string())
    }
}
