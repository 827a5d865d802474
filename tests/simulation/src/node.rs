//! The server: everything around the core that a node is made of, in the same order of steps as the real one, without
//! threads or time of its own.
//!
//! [`shell`] is the actor of a queue with its pipeline to the store, with `operate`, `outs` and `bulk` as its parts, [`session`] the actors of connections and the hub that
//! knows the workers, [`schedules`] the actor that fires schedules. Messages between them go through [`Node::local`], which
//! is empty again before the next event of the world.

mod bulk;
pub mod fetcher;
mod operate;
mod outs;
pub mod schedules;
pub mod session;
pub mod shell;

use std::collections::{BTreeMap, VecDeque};

use windlass_core::id::{JobId, RequestId, WorkerId};
use windlass_core::job::JobSpec;
use windlass_core::store::Write;
use windlass_core::wire::{Token, Verdict};

use crate::history::{Act, Process};
use schedules::Entry;
use session::{HubRecord, Session};
use shell::{Shell, WorkerEvent};

/// The way back of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// To a client's call.
    Call {
        /// Which client.
        client: usize,
        /// Its call.
        call: u64,
    },
    /// To a worker's session, for its report.
    Report {
        /// The stream.
        session: u64,
        /// The worker's number for it.
        request: u64,
        /// The queue and what was reported.
        outcomes: Vec<(JobId, Token)>,
    },
    /// To a worker's session, for its leases.
    Resume {
        /// The stream.
        session: u64,
    },
    /// To a schedule.
    Schedule {
        /// Which.
        index: usize,
    },
    /// To nobody.
    Nobody,
}

/// An operation on a queue.
#[expect(missing_docs, reason = "the fields are named after what they hold")]
#[derive(Debug, Clone)]
pub enum Op {
    /// Take on jobs.
    Enqueue { jobs: Vec<JobSpec>, alongside: Vec<Write>, then: Then },
    /// Jobs for a worker.
    Fetch { worker: Process, session: u64, slots: u32 },
    /// Ends of attempts.
    Report { outcomes: Vec<(JobId, Token, Verdict)>, then: Then },
    /// A sign of life that was sent then.
    Renew { worker: Process, sent_at: u64 },
    /// A worker is back.
    Resume { worker: Process, session: u64, leases: Vec<(JobId, Token)>, then: Then },
    /// A session is gone.
    Away { worker: Process, session: u64 },
    /// A worker is gone for good.
    Lost { worker: Process, session: u64, why: &'static str },
    /// Do something with one job.
    Job { act: Act, id: JobId, then: Then },
    /// Pause or resume.
    SetPaused { paused: bool, then: Then },
    /// Do something with all dead jobs.
    Dead { retry: bool, then: Then },
}

/// A message inside the node.
#[expect(missing_docs, reason = "the fields are named after what they hold")]
#[derive(Debug)]
pub enum Local {
    /// To a queue.
    Queue(usize, Op),
    /// From a queue to the session of a worker.
    Session { session: u64, queue: usize, events: Vec<WorkerEvent> },
    /// To a schedule: how its change ended.
    Schedule { index: usize, ok: bool },
}

/// The server.
#[derive(Debug)]
pub struct Node {
    /// Number of the process; what was under way for an earlier one is void.
    pub process: u64,
    /// Whether it runs.
    pub up: bool,
    /// It stands still until then.
    pub paused_until: u64,
    /// Since when it stands still, or has stood still without having noticed yet.
    pub paused_since: Option<u64>,
    /// Its queues.
    pub shells: Vec<Shell>,
    /// Its sessions, by stream.
    pub sessions: BTreeMap<u64, Session>,
    /// The workers it knows.
    pub hub: BTreeMap<Process, HubRecord>,
    /// Its schedules.
    pub schedules: schedules::Schedules,
    /// Messages under way inside.
    pub local: VecDeque<Local>,
    requests: u64,
}

impl Node {
    /// A server that is down.
    #[must_use]
    pub fn down(process: u64) -> Node {
        Node {
            process,
            up: false,
            paused_until: 0,
            paused_since: None,
            shells: Vec::new(),
            sessions: BTreeMap::new(),
            hub: BTreeMap::new(),
            schedules: schedules::Schedules::default(),
            local: VecDeque::new(),
            requests: 0,
        }
    }

    /// A number for a request.
    pub fn next_request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    /// The schedules.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.schedules.entries
    }
}

/// The id that a worker process has on the wire.
#[must_use]
pub fn worker_id(process: Process) -> WorkerId {
    let mut bytes = [0; 16];
    bytes[0] = process.worker as u8;
    bytes[1..5].copy_from_slice(&process.life.to_be_bytes());
    WorkerId(bytes)
}

/// The worker process with this id.
#[must_use]
pub fn process_of(id: WorkerId) -> Process {
    let life = u32::from_be_bytes([id.0[1], id.0[2], id.0[3], id.0[4]]);
    Process { worker: usize::from(id.0[0]), life }
}
