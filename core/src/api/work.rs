//! What a worker asks that has no connection of its own and comes by requests: over HTTP, with curl if need be.
//!
//! It says the same as a worker on the native port, in other frames: it asks for jobs and waits for them, names the leases
//! that it still runs, and reports how they ended.

use std::fmt;
use std::str::FromStr;

use crate::id::{InvalidName, JobId, QueueName, WorkerId};
use crate::store::Epoch;
use crate::wire::{Delivery, LeaseRef, ReportResult, Token, Verdict};

/// A lease with the worker that holds it. As text, without the job's id, it is what a worker hands back with every word
/// about the job: `7.42.0f1e2d3c4b5a69788796a5b4c3d2e1f0.mail` is epoch, delivery, worker and queue.
///
/// ```
/// use windlass_core::api::HeldLease;
/// let id = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
/// let lease = HeldLease::from_text(id, "7.42.0f1e2d3c4b5a69788796a5b4c3d2e1f0.mail.eu/high").unwrap();
/// assert_eq!((lease.lease.queue.as_str(), lease.lease.token.delivery), ("mail.eu/high", 42));
/// assert_eq!(lease.to_text(), "7.42.0f1e2d3c4b5a69788796a5b4c3d2e1f0.mail.eu/high");
/// assert!(HeldLease::from_text(id, "7.42.mail").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLease {
    /// Who holds it.
    pub worker: WorkerId,
    /// The lease.
    pub lease: LeaseRef,
}

impl HeldLease {
    /// The text that proves the lease.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Token { epoch, delivery } = self.lease.token;
        format!("{epoch}.{delivery}.{}.{}", Hex(&self.worker), self.lease.queue)
    }

    /// Reads the text back.
    ///
    /// # Errors
    /// A sentence for the caller when it is no such text.
    pub fn from_text(id: JobId, text: &str) -> Result<HeldLease, InvalidName> {
        let broken =
            || InvalidName("the lease is not one that a fetch gave out; send it as it came".to_owned());
        let mut parts = text.splitn(4, '.');
        let mut next = || parts.next().ok_or_else(broken);
        let epoch: Epoch = next()?.parse().map_err(|_| broken())?;
        let delivery = next()?.parse().map_err(|_| broken())?;
        let worker = worker_from_text(next()?).map_err(|_| broken())?;
        let queue: QueueName = next()?.parse().map_err(|_| broken())?;
        Ok(HeldLease { worker, lease: LeaseRef { queue, id, token: Token { epoch, delivery } } })
    }
}

struct Hex<'a>(&'a WorkerId);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A worker's id as a UUID, which tells it whole; its `Display` is a short form for people.
#[must_use]
pub fn worker_to_text(worker: WorkerId) -> String {
    uuid::Uuid::from_bytes(worker.0).to_string()
}

/// Reads a worker's id from a UUID.
///
/// # Errors
/// A sentence for the caller.
pub fn worker_from_text(text: &str) -> Result<WorkerId, InvalidName> {
    uuid::Uuid::from_str(text).map(|uuid| WorkerId(*uuid.as_bytes())).map_err(|_| {
        InvalidName("a worker is named by a UUID: the one that its first fetch was answered with".to_owned())
    })
}

/// What such a worker says about itself. Everything may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkerCard {
    /// The process. Defaults to a new one, which the answer names.
    pub id: Option<WorkerId>,
    /// A name for people.
    pub name: String,
    /// Host it runs on.
    pub host: String,
    /// Process id on that host.
    pub pid: u32,
    /// Name and version of the client.
    pub client: String,
    /// Job kinds it has handlers for; for lists.
    pub kinds: Vec<String>,
}

/// Jobs, please.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchJobs {
    /// Who asks.
    pub worker: WorkerCard,
    /// Queues with weights; in strict order the weights do not count and earlier queues go first.
    pub queues: Vec<(QueueName, u32)>,
    /// Whether a later queue is asked only when all earlier ones are empty.
    pub strict: bool,
    /// 1 to [`crate::limits::FETCH_JOBS_MAX`] jobs.
    pub count: u32,
    /// How long to wait for the first one, at most [`crate::limits::FETCH_WAIT_MS_MAX`].
    pub wait_ms: u64,
    /// How long a lease is good without a word about it. Defaults to the node's lease time.
    pub lease_ms: Option<u64>,
}

/// What a worker asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkRequest {
    /// Jobs. Answer: [`WorkResponse::Fetched`], empty when none came in time.
    Fetch(FetchJobs),
    /// An attempt has ended. Answer: [`WorkResponse::Reported`], when durable.
    Report {
        /// Which.
        lease: HeldLease,
        /// How.
        verdict: Verdict,
    },
    /// These leases are still run; all of one worker. Answer: [`WorkResponse::Standing`].
    Heartbeat {
        /// Which, 1 to [`crate::limits::HEARTBEAT_LEASES_MAX`].
        leases: Vec<HeldLease>,
    },
    /// How far a run is; a sign of life too. Answer: [`WorkResponse::Standing`] of the one lease.
    Progress {
        /// Which.
        lease: HeldLease,
        /// 0 to 100.
        percent: u8,
        /// For people.
        message: String,
    },
    /// The worker goes for good; what it still holds is handed out again. Answer: [`WorkResponse::Left`].
    Leave {
        /// Who.
        worker: WorkerId,
    },
}

/// How a lease stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is good.
    Held,
    /// It is good, and somebody asked that the run should stop.
    Cancelled,
    /// It has ended: the job belongs to somebody else, or is gone.
    Lost,
}

/// What a worker gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkResponse {
    /// Jobs.
    Fetched(Fetched),
    /// Whether the report was taken.
    Reported(ReportResult),
    /// How each of the leases stands, in order.
    Standing {
        /// One each.
        leases: Vec<Standing>,
        /// How long they are good from now.
        lease_ms: u64,
    },
    /// It is gone.
    Left,
}

/// Jobs for a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The worker, for its next requests.
    pub worker: WorkerId,
    /// The jobs.
    pub jobs: Vec<Delivery>,
    /// How long a lease is good without a word about it.
    pub lease_ms: u64,
    /// How often to send a heartbeat.
    pub heartbeat_ms: u64,
}
