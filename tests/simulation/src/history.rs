//! What happened in a run, as those saw it who took part: clients at their end of the network, queues at their door.
//!
//! The judges in [`crate::invariants`] see nothing else. An event of a client carries what the client knows; an event of a
//! queue carries the ticket of the batch that makes it durable, and the clocks that the queue was shown.

use windlass_core::id::JobId;
use windlass_core::job::JobState;
use windlass_core::queue::{LoadFrom, Ticket};
use windlass_core::retry::Backoff;
use windlass_core::store::keys::Place;
use windlass_core::time::Timestamp;
use windlass_core::wire::{Token, Verdict};

use crate::fault::What;

/// A worker process: which of the world's workers, and which of its lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Which worker.
    pub worker: usize,
    /// Counted from 1.
    pub life: u32,
}

/// A job: the index of its queue, and its id.
pub type Key = (usize, JobId);

/// What was asked for with a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Not before this wall time, as the producer said it; `None` for a delay or at once.
    pub at: Option<Timestamp>,
    /// Delay from acceptance.
    pub after_ms: u64,
    /// Higher first.
    pub priority: i8,
    /// Attempts that it may use.
    pub max_attempts: u32,
    /// Wait between attempts.
    pub backoff: Backoff,
    /// How long its result is kept.
    pub retention_ms: u64,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// The schedule and nominal time that it was made for.
    pub firing: Option<(usize, Timestamp)>,
}

/// What an operator does to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Cancel it.
    Cancel,
    /// Make it ready.
    Retry,
    /// Remove it.
    Delete,
}

/// What came of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acted {
    /// The job is in this state now.
    Job(JobState),
    /// Done.
    Done,
    /// Refused.
    Refused,
}

/// Something that happened.
#[expect(missing_docs, reason = "the fields are named after what they hold")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A producer asks for jobs.
    EnqueueSent { call: u64, queue: usize, ids: Vec<JobId> },
    /// The answer, with whether each was a duplicate.
    EnqueueOk { call: u64, queue: usize, answers: Vec<(JobId, bool)> },
    /// Refused: it certainly did not happen.
    EnqueueRefused { call: u64, why: &'static str },
    /// No answer in time: nobody knows.
    EnqueueUnknown { call: u64 },
    /// A worker has received a job.
    Received { by: Process, key: Key, token: Token, attempt: u32 },
    /// A worker lets go of a job: it reports its end.
    ReportSent { by: Process, key: Key, token: Token, verdict: Verdict },
    /// A worker hears what became of its report.
    ReportAnswered { by: Process, key: Key, token: Token, recorded: bool },
    /// A worker was told that a lease is not its own any more.
    ToldLost { by: Process, key: Key, token: Token },
    /// A worker process ended, and all it ran with it.
    WorkerDied { by: Process },
    /// A worker process began.
    WorkerBorn { by: Process },
    /// The operator asks for something about a job.
    ActSent { call: u64, act: Act, key: Key },
    /// The answer.
    ActAnswered { call: u64, act: Act, key: Key, acted: Acted },
    /// The operator asks to pause or resume a queue.
    PauseSent { call: u64, queue: usize, paused: bool },
    /// It is so.
    PauseOk { call: u64, queue: usize, paused: bool },

    /// A queue has taken a job on, or knew it.
    Accepted { key: Key, ticket: Ticket, wall: Timestamp, wish: Wish, duplicate: bool },
    /// A queue has leased a job.
    HandedOut { key: Key, ticket: Ticket, wall: Timestamp, to: Process, token: Token, attempt: u32 },
    /// A queue has judged a report.
    Judged { key: Key, ticket: Ticket, wall: Timestamp, token: Token, verdict: Verdict, recorded: bool },
    /// A queue has ended a lease on its own, or because it was told that the worker is gone.
    LeaseEnded { key: Key, ticket: Ticket, wall: Timestamp, of: Process, token: Token, told: bool },
    /// A worker has come back to a queue with leases.
    Resumed { queue: usize, ticket: Ticket, wall: Timestamp, of: Process, kept: Vec<(JobId, Token)> },
    /// A queue has heard a sign of life that was sent at this time.
    Renewed { queue: usize, of: Process, sent_at: u64 },
    /// A queue has heard that a worker's session is gone.
    Away { queue: usize, of: Process },
    /// A queue has carried out an act, or refused it.
    ActedOn { call: u64, key: Key, ticket: Ticket, wall: Timestamp, act: Act, acted: Acted },
    /// A queue has retried or removed dead jobs, with the attempts that the store showed of each.
    DeadActed {
        queue: usize,
        ticket: Ticket,
        wall: Timestamp,
        retry: bool,
        page: Vec<(JobId, u32)>,
        count: u64,
    },
    /// A queue has been paused or resumed.
    Paused { call: u64, queue: usize, ticket: Ticket, paused: bool },
    /// A queue asks the store for jobs that rest.
    Asks { queue: usize, from: LoadFrom },
    /// What the store had, by the time of the scan.
    Loaded { queue: usize, from: LoadFrom, found: Vec<(JobId, Place)>, exhausted: bool },
    /// A queue found itself wrong.
    Fault { queue: usize, text: String },
    /// An answer of a queue leaves; what it says came with this ticket.
    Confirmed { queue: usize, ticket: Ticket },
    /// A queue was asked about nothing that this answers, or answered twice.
    StrayReply { queue: usize, request: u64 },
    /// A batch of a queue is durable: everything that came with these tickets.
    Durable { queue: usize, after: Ticket, upto: Ticket },
    /// A queue has heard that everything up to this ticket is durable.
    ToldDurable { queue: usize, upto: Ticket },
    /// The server died; what was not durable is gone.
    ServerDied,
    /// The server is up again and has rebuilt its queues.
    ServerUp { wall: Timestamp },
    /// A fault.
    Wrong { what: What },
    /// All faults are over; everything must come to its end now.
    Healed,
}

impl Event {
    /// The jobs that the event is about.
    #[must_use]
    pub fn about(&self, key: &Key) -> bool {
        match self {
            Event::EnqueueSent { queue, ids, .. } => *queue == key.0 && ids.contains(&key.1),
            Event::EnqueueOk { queue, answers, .. } => {
                *queue == key.0 && answers.iter().any(|(id, _)| *id == key.1)
            }
            Event::Received { key: of, .. }
            | Event::ReportSent { key: of, .. }
            | Event::ReportAnswered { key: of, .. }
            | Event::ToldLost { key: of, .. }
            | Event::ActSent { key: of, .. }
            | Event::ActAnswered { key: of, .. }
            | Event::Accepted { key: of, .. }
            | Event::HandedOut { key: of, .. }
            | Event::Judged { key: of, .. }
            | Event::LeaseEnded { key: of, .. }
            | Event::ActedOn { key: of, .. } => of == key,
            Event::Loaded { queue, found, .. } => *queue == key.0 && found.iter().any(|(id, _)| *id == key.1),
            Event::Resumed { queue, kept, .. } => *queue == key.0 && kept.iter().any(|(id, _)| *id == key.1),
            Event::DeadActed { queue, page, .. } => {
                *queue == key.0 && page.iter().any(|(id, _)| *id == key.1)
            }
            Event::ServerDied | Event::ServerUp { .. } | Event::Wrong { .. } | Event::Healed => true,
            _ => false,
        }
    }
}
