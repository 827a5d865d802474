//! What can happen to a queue.

use crate::id::{JobId, RequestId, WorkerId};
use crate::job::{Job, JobSpec};
use crate::queue::Ticket;
use crate::store::Write;
use crate::store::keys::{ChunkKey, Place};
use crate::wire::{Token, Verdict};

/// A job read from the store by the outside, for a command about a job that is not in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Where it stands.
    pub place: Place,
    /// Whether it was found in a chunk, rather than in a record of its own.
    pub in_chunk: bool,
    /// The job.
    pub job: Job,
}

/// Where the outside has to look for an id that is not in memory: in the index, then in these chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The id.
    pub id: JobId,
    /// Chunks in which it may stand.
    pub chunks: Vec<ChunkKey>,
}

/// Where the outside has seen an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The id.
    pub id: JobId,
    /// Where it stands.
    pub place: Place,
    /// Whether it was found in a chunk.
    pub in_chunk: bool,
}

/// What the outside found in the store about an id that the queue does not hold in memory.
pub type Known = Option<Box<Stored>>;

/// Jobs to enqueue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJobs {
    /// The jobs, each with an id.
    pub jobs: Vec<JobSpec>,
    /// Those among them that the store already knows ([`super::Queue::suspects`] says which to look up), in order of ids.
    pub known: Vec<Trace>,
    /// Written in the same batch: a schedule's firing and its job are one commit.
    pub alongside: Vec<Write>,
}

/// What can happen to a queue. Requests with a [`RequestId`] are answered by exactly one [`super::Reply`], or refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Take on jobs, all or none.
    Enqueue {
        /// Who asked.
        reply: RequestId,
        /// The jobs.
        new: NewJobs,
    },
    /// A worker asks for up to `slots` jobs; while there are none it is remembered and gets a notice when there are.
    Fetch {
        /// The worker.
        worker: WorkerId,
        /// Free slots; 0 only takes back the wish for a notice.
        slots: u32,
    },
    /// Ends of attempts; one result each.
    Report {
        /// Who asked.
        reply: RequestId,
        /// Job, token and verdict.
        outcomes: Vec<(JobId, Token, Verdict)>,
    },
    /// Progress of a running attempt; a stale token is ignored.
    Progress {
        /// The job.
        id: JobId,
        /// Proof.
        token: Token,
        /// 0 to 100.
        percent: u8,
        /// For people.
        message: String,
    },
    /// The worker lives: its leases in this queue are good until `now + lease_ms`.
    Renew {
        /// The worker.
        worker: WorkerId,
    },
    /// The worker came back and still runs these; its other leases in this queue were never received and are given back.
    Resume {
        /// The worker.
        worker: WorkerId,
        /// What it runs.
        leases: Vec<(JobId, Token)>,
        /// Who asked.
        reply: RequestId,
    },
    /// The worker's session is gone; its leases end unless it is back within the grace time.
    Away {
        /// The worker.
        worker: WorkerId,
    },
    /// The worker is dead for good: its leases end now.
    Lost {
        /// The worker.
        worker: WorkerId,
        /// How this is known, for the history.
        why: String,
    },
    /// Cancel a job.
    Cancel {
        /// Who asked.
        reply: RequestId,
        /// The job.
        id: JobId,
        /// What the store knows of it.
        known: Known,
    },
    /// Make a job ready at once.
    Retry {
        /// Who asked.
        reply: RequestId,
        /// The job.
        id: JobId,
        /// What the store knows of it.
        known: Known,
    },
    /// Remove a job.
    Delete {
        /// Who asked.
        reply: RequestId,
        /// The job.
        id: JobId,
        /// What the store knows of it.
        known: Known,
    },
    /// Put a job that waits for its time among the dead.
    Bury {
        /// Who asked.
        reply: RequestId,
        /// The job.
        id: JobId,
        /// What the store knows of it.
        known: Known,
    },
    /// Make dead jobs ready: one page of a bulk operation.
    RetryDead {
        /// Who asked.
        reply: RequestId,
        /// Dead jobs as read from the store.
        dead: Vec<Stored>,
    },
    /// Remove dead jobs: one page of a bulk operation.
    DeleteDead {
        /// Who asked.
        reply: RequestId,
        /// Dead jobs as read from the store.
        dead: Vec<Stored>,
    },
    /// Answer when the job has ended.
    Watch {
        /// Who asked.
        reply: RequestId,
        /// The job.
        id: JobId,
        /// What the store knows of it.
        known: Known,
    },
    /// The one who watched is gone.
    Unwatch {
        /// Who asked.
        reply: RequestId,
        /// The job.
        id: JobId,
    },
    /// Pause or resume handing out.
    SetPaused {
        /// Who asked.
        reply: RequestId,
        /// Whether to pause.
        paused: bool,
    },
    /// How many finished jobs to remember.
    SetRetention {
        /// Who asked.
        reply: RequestId,
        /// The number.
        finished_max: u32,
    },
    /// Records that were asked for by [`super::Out::Load`], in key order.
    Loaded {
        /// What was asked.
        from: super::LoadFrom,
        /// What was found.
        found: Vec<Stored>,
        /// Whether the scan reached the end of its range; it stops earlier at the limit of the request or at
        /// [`crate::limits::LOAD_BYTES_MAX`].
        exhausted: bool,
    },
    /// All batches up to this one are durable.
    Durable(Ticket),
    /// Time has passed; due at [`super::Queue::next_deadline`] at the latest.
    Tick,
}
