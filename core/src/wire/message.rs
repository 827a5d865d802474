//! The messages of the native protocol.

use bincode::{Decode, Encode};
use serde::Serialize;

use crate::api::{ApiError, ErrorCode, Request, Response};
use crate::id::{JobId, QueueName, WorkerId};
use crate::job::Payload;
use crate::store::Epoch;
use crate::time::Timestamp;

/// The protocol version that this crate speaks.
pub const PROTOCOL: u16 = 2;
/// From this version on a client is told of the nodes of a cluster: [`ServerFrame::Nodes`], [`ServerFrame::Moved`].
pub const PROTOCOL_NODES: u16 = 2;
/// The oldest version that a server still understands.
pub const PROTOCOL_OLDEST: u16 = 1;

/// Proves a lease: larger (epoch first, then delivery) with every hand-out of the same job, across restarts, and never
/// used twice in a queue, so that a straggler of an earlier life of the same id proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize)]
pub struct Token {
    /// Epoch of the owner that handed the job out.
    pub epoch: Epoch,
    /// Number of the hand-out in its queue under this epoch, from 1.
    pub delivery: u64,
}

impl Token {
    /// The token of the job so many places behind this one in the same hand-out.
    #[must_use]
    pub fn behind(self, index: usize) -> Token {
        Token { delivery: self.delivery.saturating_add(index as u64), ..self }
    }
}

/// The first frame of a client.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// Always `*b"WLSS"`, so that a stray client of another protocol is told so.
    pub magic: [u8; 4],
    /// Protocol version the client speaks.
    pub protocol: u16,
    /// Name and version of the client library, for lists and logs.
    pub client: String,
    /// Access token, when the server asks for one.
    pub token: Option<String>,
    /// What a worker says about itself; `None` for a client that only makes requests.
    pub worker: Option<WorkerHello>,
}

/// What a worker says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct WorkerHello {
    /// The process, the same across its reconnects.
    pub id: WorkerId,
    /// A name for people. Defaults to host and pid.
    pub name: String,
    /// Host it runs on.
    pub host: String,
    /// Process id on that host.
    pub pid: u32,
    /// Job kinds it has handlers for; for lists.
    pub kinds: Vec<String>,
    /// Node id under which it gossips, empty when it does not.
    pub gossip_id: String,
}

/// The server's answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Welcome {
    /// Protocol version of the conversation from here on: the smaller of both.
    pub protocol: u16,
    /// Server name and version.
    pub server: String,
    /// Stable id of the node.
    pub node: String,
    /// Gossip address of the node, empty when it does not gossip.
    pub gossip_addr: String,
    /// Gossip cluster id.
    pub cluster: String,
    /// Interval at which a worker sends [`ClientFrame::Heartbeat`], in milliseconds.
    pub heartbeat_ms: u64,
    /// A worker that is silent for this long loses its leases, in milliseconds.
    pub lease_ms: u64,
    /// A lost session may come back with its leases for this long, in milliseconds.
    pub resume_grace_ms: u64,
    /// Largest frame the server takes.
    pub frame_bytes_max: u32,
}

/// Which queues a worker takes jobs from.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Subscription {
    /// Queues with weights; in strict order the weights do not count and earlier queues go first.
    pub queues: Vec<(QueueName, u32)>,
    /// `true`: a later queue is asked only when all earlier ones are empty. `false`: by weight, at random.
    pub strict: bool,
}

/// A lease that a worker presents.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LeaseRef {
    /// Queue of the job.
    pub queue: QueueName,
    /// The job.
    pub id: JobId,
    /// Proof.
    pub token: Token,
}

/// A job on its way to a handler.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Delivery {
    /// Its queue.
    pub queue: QueueName,
    /// Its id.
    pub id: JobId,
    /// Proof of the lease; reports carry it.
    pub token: Token,
    /// Number of this attempt, from 1.
    pub attempt: u32,
    /// Attempts it may use.
    pub max_attempts: u32,
    /// Which handler.
    pub kind: String,
    /// The handler's argument.
    pub payload: Payload,
    /// When it was enqueued.
    pub enqueued_at: Timestamp,
    /// Longest run of this attempt, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Headers of the job, trace context among them.
    pub headers: Vec<(String, String)>,
    /// Tags of the job.
    pub tags: Vec<String>,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Verdict {
    /// Done, with an optional result.
    Done(Option<Payload>),
    /// Failed; run again after the backoff, or after `retry_in_ms` when given.
    Retry {
        /// The error, for people.
        error: String,
        /// Overrides the job's backoff.
        retry_in_ms: Option<u64>,
    },
    /// Run again later; no attempt is used.
    Snooze {
        /// How much later.
        ms: u64,
    },
    /// Refused for good.
    Dead {
        /// The error, for people.
        error: String,
    },
    /// Cancelled by the handler, or by request.
    Cancelled {
        /// Why, for people.
        reason: String,
    },
    /// Given back unfinished (the worker stops); no attempt is used, the job is ready at once.
    Released,
}

/// The report of one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Outcome {
    /// Queue of the job.
    pub queue: QueueName,
    /// The job.
    pub id: JobId,
    /// Proof.
    pub token: Token,
    /// What came of it.
    pub verdict: Verdict,
}

/// Reports of attempts, answered once when all are durable.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Report {
    /// Chosen by the client, echoed in the answer.
    pub request: u64,
    /// One per attempt.
    pub outcomes: Vec<Outcome>,
}

/// Whether a report was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum ReportResult {
    /// Recorded, durably.
    Recorded,
    /// Refused; nothing changed. [`ErrorCode::StaleLease`]: the job belongs to somebody else by now.
    Refused(ErrorCode),
}

/// Where a node is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NodeAt {
    /// Its stable id.
    pub name: String,
    /// Its native port as others reach it, `host:port`.
    pub native: String,
}

/// The nodes of a cluster, as its owner tells them.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Nodes {
    /// Random, the same for as long as the cluster's store lives: whoever dials an address that it was told of finds out whether the
    /// same cluster is there.
    pub cluster: [u8; 16],
    /// The node that tells this, with whatever relays in between.
    pub owner: NodeAt,
    /// The others, as far as they have proved to belong to the cluster, in the order in which they would take over; at most
    /// [`NODES_TOLD_MAX`](crate::limits::NODES_TOLD_MAX).
    pub others: Vec<NodeAt>,
}

/// From client to server.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ClientFrame {
    /// Opens the conversation.
    Hello(Hello),
    /// A request; answered by [`ServerFrame::Reply`] with the same number, in any order.
    Call {
        /// Chosen by the client.
        request: u64,
        /// What is asked.
        body: Request,
    },
    /// Leases that the worker still runs after a reconnect; sent before [`ClientFrame::Subscribe`].
    Resume(Vec<LeaseRef>),
    /// Sets the worker's queues.
    Subscribe(Subscription),
    /// More free slots: the server may deliver that many more jobs. A report does not give its slot back by itself.
    Credit {
        /// How many more.
        add: u32,
    },
    /// Ends of attempts.
    Report(Report),
    /// Progress of a running attempt; not answered, not durable.
    Progress {
        /// Which lease.
        lease: LeaseRef,
        /// 0 to 100.
        percent: u8,
        /// For people.
        message: String,
    },
    /// The worker lives; renews all its leases.
    Heartbeat {
        /// Echoed in the answer.
        seq: u64,
    },
    /// Takes all free slots back: nothing more is delivered (the worker stops, or is quiet).
    Quiet,
    /// The client leaves in order.
    Goodbye,
}

/// From server to client.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum ServerFrame {
    /// Opens the conversation.
    Welcome(Welcome),
    /// The conversation ends, with the reason.
    Refused(ApiError),
    /// Answer to a call.
    Reply {
        /// The client's number.
        request: u64,
        /// The answer.
        result: Result<Response, ApiError>,
    },
    /// Which presented leases go on; the others belong to somebody else by now and must be stopped.
    Resumed {
        /// Those that go on.
        kept: Vec<LeaseRef>,
        /// Those that do not.
        lost: Vec<LeaseRef>,
    },
    /// Jobs to run; never more than the credit.
    Deliver(Vec<Delivery>),
    /// Answer to a report: one result per outcome, sent when all recorded ones are durable.
    Reported {
        /// The client's number.
        request: u64,
        /// In the order of the outcomes.
        results: Vec<ReportResult>,
    },
    /// Somebody cancelled a running job: its handler should stop. The end is still reported.
    CancelJob(LeaseRef),
    /// The lease has ended on the server; whatever the handler does now is refused.
    LeaseLost(LeaseRef),
    /// Answer to a heartbeat.
    HeartbeatAck {
        /// The client's number.
        seq: u64,
    },
    /// The server is about to stop; reconnect in a moment, running jobs go on.
    Draining,
    /// The nodes of the cluster: right behind the welcome, and whenever they change. From [`PROTOCOL_NODES`] on, and only where there
    /// can be several nodes.
    Nodes(Nodes),
    /// The owner gives its seat up, and the node at this address is expected to take it. From [`PROTOCOL_NODES`] on.
    Moved {
        /// Its native port as others reach it, `host:port`.
        to: String,
    },
}
