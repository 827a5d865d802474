//! What a queue actor can be asked, with the way back of each answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::Recipient;
use tokio_util::sync::CancellationToken;
use windlass_core::api::{ApiError, Enqueued, JobView, QueueView, WorkerJob};
use windlass_core::id::{JobId, QueueName, RequestId, WorkerId};
use windlass_core::job::{Job, JobSpec};
use windlass_core::queue::Stored;
use windlass_core::store::Write;
use windlass_core::wire::{ReportResult, Token, Verdict};

/// The way back of an answer; called once, on the queue's thread, so it must not block.
pub type Then<T> = Box<dyn FnOnce(Result<T, ApiError>) + Send>;

/// A number for a request, unique in this process.
#[must_use]
pub fn next_request() -> RequestId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    RequestId(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What to do with one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Cancel it.
    Cancel,
    /// Make it ready at once.
    Retry,
    /// Remove it.
    Delete,
    /// Put it among the dead, if it waits for its time.
    Bury,
}

/// What to do with all dead jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadAct {
    /// Make them ready.
    Retry,
    /// Remove them.
    Delete,
}

/// Which presented leases go on, and which do not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resumed {
    /// Those that go on.
    pub kept: Vec<(JobId, Token)>,
    /// Those that do not.
    pub lost: Vec<(JobId, Token)>,
}

/// How a queue reaches the session of a worker.
#[derive(Clone)]
pub struct WorkerLink {
    /// The worker.
    pub worker: WorkerId,
    /// Number of the session; a later session of the same worker has a larger one.
    pub session: u64,
    /// The session's mailbox.
    pub to: Recipient<FromQueue>,
    /// Ends the session. Used when its mailbox is full: what could not be told is settled when the worker comes back.
    pub broken: CancellationToken,
}

/// What a queue tells a worker's session, in order.
pub struct FromQueue {
    /// Which queue.
    pub queue: QueueName,
    /// What happened.
    pub events: Vec<WorkerEvent>,
}

impl actix::Message for FromQueue {
    type Result = ();
}

/// Something a worker's session should know.
pub enum WorkerEvent {
    /// The answer to a fetch.
    Deliver {
        /// Jobs with their tokens and attempt numbers.
        jobs: Vec<(Arc<Job>, Token, u32)>,
        /// Whether a notice will say when there is more.
        drained: bool,
    },
    /// There is more.
    Notice,
    /// Stop this handler.
    CancelRun {
        /// The job.
        id: JobId,
        /// Its lease.
        token: Token,
    },
    /// This lease has ended.
    LeaseEnded {
        /// The job.
        id: JobId,
        /// Its lease.
        token: Token,
    },
}

/// An operation on a queue.
pub enum Op {
    /// Take on jobs, all or none.
    Enqueue {
        /// The jobs.
        jobs: Vec<JobSpec>,
        /// Written in the same commit.
        alongside: Vec<Write>,
        /// Called when durable.
        then: Then<Vec<Enqueued>>,
    },
    /// Jobs for a worker.
    Fetch {
        /// Who.
        link: WorkerLink,
        /// How many; 0 takes the wish for a notice back.
        slots: u32,
    },
    /// Ends of attempts.
    Report {
        /// Job, token and verdict.
        outcomes: Vec<(JobId, Token, Verdict)>,
        /// One result each, when durable.
        then: Then<Vec<ReportResult>>,
    },
    /// Progress of a run.
    Progress {
        /// The job.
        id: JobId,
        /// Its lease.
        token: Token,
        /// 0 to 100.
        percent: u8,
        /// For people.
        message: String,
    },
    /// A sign of life.
    Renew {
        /// Whose.
        worker: WorkerId,
    },
    /// A worker is back with these leases.
    Resume {
        /// Who.
        link: WorkerLink,
        /// What it runs.
        leases: Vec<(JobId, Token)>,
        /// Which go on.
        then: Then<Resumed>,
    },
    /// A session is gone.
    Away {
        /// Whose.
        worker: WorkerId,
        /// Which; a later one makes this void.
        session: u64,
    },
    /// A worker is gone for good.
    Lost {
        /// Who.
        worker: WorkerId,
        /// Its last session; a later one makes this void.
        session: u64,
        /// How this is known.
        why: String,
    },
    /// Do something with one job. The view is empty after a delete.
    Job {
        /// What.
        act: Act,
        /// Which.
        id: JobId,
        /// The job afterwards.
        then: Then<Option<Box<JobView>>>,
    },
    /// Whether the queue knows a job.
    Knows {
        /// Which.
        id: JobId,
        /// Whether.
        then: Then<bool>,
    },
    /// One job, if the queue knows it.
    Get {
        /// Which.
        id: JobId,
        /// The job.
        then: Then<Option<Box<JobView>>>,
    },
    /// Wait for the end of a job.
    Watch {
        /// Made by [`next_request`], for [`Op::Unwatch`].
        request: RequestId,
        /// Which.
        id: JobId,
        /// The job at its end.
        then: Then<Option<Box<JobView>>>,
    },
    /// Wait no longer.
    Unwatch {
        /// The number of the watch.
        request: RequestId,
        /// The job.
        id: JobId,
    },
    /// Pause or resume.
    SetPaused {
        /// Which.
        paused: bool,
        /// How many things changed.
        then: Then<u64>,
    },
    /// How many finished jobs to remember.
    SetRetention {
        /// The number.
        finished_max: u32,
        /// How many things changed.
        then: Then<u64>,
    },
    /// Do something with all dead jobs, page by page.
    Dead {
        /// What.
        act: DeadAct,
        /// Only this kind.
        kind: Option<String>,
        /// How many.
        then: Then<u64>,
    },
    /// The observable state.
    Snapshot {
        /// Called at once.
        then: Then<QueueView>,
    },
    /// What a worker runs here.
    RunningOf {
        /// Who.
        worker: WorkerId,
        /// Its jobs.
        then: Then<Vec<WorkerJob>>,
    },
    /// Running jobs after `after` in the order of ids.
    Running {
        /// Where the last page ended.
        after: Option<JobId>,
        /// At most so many.
        limit: usize,
        /// The jobs.
        then: Then<Vec<JobView>>,
    },
    /// Remembered finished jobs, newest first.
    Finished {
        /// Where the last page ended.
        after: Option<JobId>,
        /// At most so many.
        limit: usize,
        /// The jobs.
        then: Then<Vec<JobView>>,
    },
    /// Views of records read from the store, as the queue knows the jobs now.
    Resolve {
        /// The records.
        stored: Vec<Stored>,
        /// One each, in order; without those that the queue knows to be gone.
        then: Then<Vec<JobView>>,
    },
    /// Answer when everything so far is durable.
    Flush {
        /// The answer.
        then: Then<()>,
    },
}

impl Op {
    /// Answers with an error; nothing has happened.
    pub fn refuse(self, error: ApiError) {
        match self {
            Op::Enqueue { then, .. } => then(Err(error)),
            Op::Report { then, .. } => then(Err(error)),
            Op::Resume { then, .. } => then(Err(error)),
            Op::Job { then, .. } | Op::Get { then, .. } | Op::Watch { then, .. } => then(Err(error)),
            Op::Knows { then, .. } => then(Err(error)),
            Op::SetPaused { then, .. } | Op::SetRetention { then, .. } | Op::Dead { then, .. } => {
                then(Err(error));
            }
            Op::Snapshot { then } => then(Err(error)),
            Op::RunningOf { then, .. } => then(Err(error)),
            Op::Running { then, .. } | Op::Finished { then, .. } | Op::Resolve { then, .. } => {
                then(Err(error));
            }
            Op::Flush { then } => then(Err(error)),
            Op::Fetch { .. }
            | Op::Progress { .. }
            | Op::Renew { .. }
            | Op::Away { .. }
            | Op::Lost { .. }
            | Op::Unwatch { .. } => {}
        }
    }
}
