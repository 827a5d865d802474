//! Requests and responses: the same for the native protocol, the HTTP API, the dashboard and the CLI.
//!
//! JSON keys of the HTTP API are the serde names of these types. Times in JSON are milliseconds since the epoch.

mod access;
pub mod body;
mod bulk;
mod cluster;
mod view;
mod work;

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

pub use access::{AuditEntry, AuditPage, NewToken, TokenSpec, TokenView};
pub use bulk::{BulkAct, BulkSpec, BulkState, BulkView};
pub use cluster::{ClusterNode, ClusterView, MoveView, NodeState, ShardView};
pub use view::{
    AttemptView, HistoryPoint, JobView, NodeView, Overview, PayloadJson, QueueView, ScheduleView, WorkerJob,
    WorkerView, base64,
};
pub use work::{
    FetchJobs, Fetched, HeldLease, Standing, WorkRequest, WorkResponse, WorkerCard, worker_from_text,
    worker_to_text,
};

use crate::id::{JobId, QueueName};
use crate::job::{JobSpec, JobState};
use crate::schedule::ScheduleSpec;

/// What a caller asks.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Request {
    /// Enqueue jobs into one queue, all or none. Answer: [`Response::Enqueued`], when durable.
    Enqueue {
        /// The queue; made on first use.
        queue: QueueName,
        /// 1 to [`crate::limits::BATCH_JOBS_MAX`] jobs.
        jobs: Vec<JobSpec>,
    },
    /// One job. Answer: [`Response::Job`].
    GetJob {
        /// Its id.
        id: JobId,
    },
    /// A page of jobs. Answer: [`Response::Jobs`].
    ListJobs(JobQuery),
    /// Cancel a job that is not done; a running handler is told. Answer: [`Response::Job`].
    CancelJob {
        /// Its id.
        id: JobId,
    },
    /// Make a dead, cancelled, expired or waiting job ready at once. Answer: [`Response::Job`].
    RetryJob {
        /// Its id.
        id: JobId,
    },
    /// Remove a job that is not running, with its history. Answer: [`Response::Done`].
    DeleteJob {
        /// Its id.
        id: JobId,
    },
    /// Wait until a job ends. Answer: [`Response::Job`], or [`ErrorCode::Timeout`].
    WaitJob {
        /// Its id.
        id: JobId,
        /// Longest wait, at most [`crate::limits::WAIT_MS_MAX`].
        timeout_ms: u64,
    },
    /// Make all dead jobs of a queue ready, of one kind or of every kind. Answer: [`Response::Done`].
    RetryDead {
        /// The queue.
        queue: QueueName,
        /// Only this kind.
        kind: Option<String>,
    },
    /// Delete all dead jobs of a queue, of one kind or of every kind. Answer: [`Response::Done`].
    DeleteDead {
        /// The queue.
        queue: QueueName,
        /// Only this kind.
        kind: Option<String>,
    },
    /// All queues. Answer: [`Response::Queues`].
    ListQueues,
    /// Hand out no more jobs of a queue; survives restarts. Answer: [`Response::Done`].
    PauseQueue {
        /// The queue.
        queue: QueueName,
    },
    /// Hand out jobs again. Answer: [`Response::Done`].
    ResumeQueue {
        /// The queue.
        queue: QueueName,
    },
    /// How many finished jobs a queue remembers. Answer: [`Response::Done`].
    SetRetention {
        /// The queue.
        queue: QueueName,
        /// Finished jobs remembered in memory.
        finished_max: u32,
    },
    /// All worker processes. Answer: [`Response::Workers`].
    ListWorkers,
    /// Totals, rates and history of this node. Answer: [`Response::Overview`].
    GetOverview,
    /// Create or replace a schedule. Answer: [`Response::Schedule`].
    PutSchedule(ScheduleSpec),
    /// All schedules. Answer: [`Response::Schedules`].
    ListSchedules,
    /// One schedule. Answer: [`Response::Schedule`].
    GetSchedule {
        /// Its name.
        name: String,
    },
    /// Fire no more. Answer: [`Response::Schedule`].
    PauseSchedule {
        /// Its name.
        name: String,
    },
    /// Fire again; what was missed meanwhile is not caught up. Answer: [`Response::Schedule`].
    ResumeSchedule {
        /// Its name.
        name: String,
    },
    /// Fire once now, beside the plan. Answer: [`Response::Enqueued`].
    TriggerSchedule {
        /// Its name.
        name: String,
    },
    /// Remove a schedule. Answer: [`Response::Done`].
    DeleteSchedule {
        /// Its name.
        name: String,
    },
    /// A page of jobs that satisfy a filter. Answer: [`Response::Jobs`].
    SearchJobs(JobSearch),
    /// Begin an operation on all jobs that satisfy a filter. Answer: [`Response::Bulk`], at once.
    StartBulk(BulkSpec),
    /// All operations that are remembered, newest first. Answer: [`Response::Bulks`].
    ListBulks,
    /// One operation. Answer: [`Response::Bulk`].
    GetBulk {
        /// Its number.
        id: u64,
    },
    /// Stop an operation; what was done stays done. Answer: [`Response::Bulk`].
    CancelBulk {
        /// Its number.
        id: u64,
    },
    /// Make an access token; the first one has to be an admin's. Answer: [`Response::TokenMade`], when durable.
    CreateToken(TokenSpec),
    /// All access tokens, by name. Answer: [`Response::Tokens`].
    ListTokens,
    /// End an access token, at once and at every door. Answer: [`Response::Tokens`] with the one.
    RevokeToken {
        /// Its name or its id.
        token: String,
    },
    /// A page of the audit log, newest first. Answer: [`Response::Audit`].
    ListAudit {
        /// Only entries with smaller numbers.
        before: Option<u64>,
        /// Entries, 1 to [`crate::limits::PAGE_MAX`]. Defaults to 50.
        limit: Option<u32>,
    },
    /// Who owns what, who stands by, and how ownership has moved. Answer: [`Response::Cluster`].
    GetCluster,
    /// Let a node give up what it owns, in order, and claim nothing for a while. Answer: [`Response::Done`] when the node has taken
    /// the order; the view of the cluster shows how far it is.
    DrainNode {
        /// The node; `None` for the one that answers.
        node: Option<String>,
        /// For how long it claims nothing, at most [`crate::limits::DRAIN_HOLD_MS_MAX`].
        hold_ms: u64,
    },
}

/// Which jobs a page shows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobQuery {
    /// Only this queue.
    pub queue: Option<QueueName>,
    /// Only this state. Without it: every state, in the order of a life.
    pub state: Option<JobState>,
    /// Only this kind.
    pub kind: Option<String>,
    /// Where the last page ended, from [`JobPage::next`].
    pub cursor: Option<String>,
    /// Entries, 1 to [`crate::limits::PAGE_MAX`]. Defaults to 50.
    pub limit: Option<u32>,
}

/// Which jobs a page shows, in the language of [`crate::filter`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct JobSearch {
    /// The filter; empty for every job.
    pub filter: String,
    /// Where the last page ended, from [`JobPage::next`].
    pub cursor: Option<String>,
    /// Entries, 1 to [`crate::limits::PAGE_MAX`]. Defaults to 50.
    pub limit: Option<u32>,
}

/// What a caller gets.
#[derive(Debug, Clone, PartialEq, Encode, Decode, Serialize)]
#[serde(untagged)]
pub enum Response {
    /// One entry per job, in order.
    Enqueued(Vec<Enqueued>),
    /// A job.
    Job(Box<JobView>),
    /// A page.
    Jobs(JobPage),
    /// Done, to so many things.
    Done {
        /// How many.
        count: u64,
    },
    /// Queues, by name.
    Queues(Vec<QueueView>),
    /// Workers, by name.
    Workers(Vec<WorkerView>),
    /// Totals.
    Overview(Box<Overview>),
    /// A schedule.
    Schedule(Box<ScheduleView>),
    /// Schedules, by name.
    Schedules(Vec<ScheduleView>),
    /// An operation on many jobs.
    Bulk(Box<BulkView>),
    /// Operations, newest first.
    Bulks(Vec<BulkView>),
    /// A token that was just made.
    TokenMade(Box<NewToken>),
    /// Tokens, by name.
    Tokens(Vec<TokenView>),
    /// What operators did.
    Audit(AuditPage),
    /// The cluster.
    Cluster(Box<ClusterView>),
}

/// The answer for one enqueued job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Enqueued {
    /// Id of the job.
    pub id: JobId,
    /// Whether the id was known already, so that no second job was made.
    pub duplicate: bool,
}

/// One page of jobs.
#[derive(Debug, Clone, PartialEq, Default, Encode, Decode, Serialize)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
    /// Records looked at; larger than the page when a filter left some out.
    pub scanned: u64,
}

/// What kind of error it is; stable across versions.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request breaks a rule; sending it again does not help.
    Invalid,
    /// A frame, batch or payload is over a limit.
    TooLarge,
    /// There is no such job, queue or schedule.
    NotFound,
    /// The thing is in a state that does not allow this.
    Conflict,
    /// The token does not hold the lease.
    StaleLease,
    /// Too much at once; send it again later.
    Busy,
    /// The disk is full, or the database is away: nothing new is taken until there is space, or it is back.
    StoreFull,
    /// The store does not write any more; see the server's log.
    StoreFailed,
    /// The server is starting, stopping, or not the owner.
    Unavailable,
    /// The wait was longer than allowed.
    Timeout,
    /// No token, or one that does not allow this.
    Denied,
    /// This version does not know the request.
    Unsupported,
    /// A defect of the server.
    Internal,
}

impl ErrorCode {
    /// The stable name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ErrorCode::Invalid => "invalid",
            ErrorCode::TooLarge => "too_large",
            ErrorCode::NotFound => "not_found",
            ErrorCode::Conflict => "conflict",
            ErrorCode::StaleLease => "stale_lease",
            ErrorCode::Busy => "busy",
            ErrorCode::StoreFull => "store_full",
            ErrorCode::StoreFailed => "store_failed",
            ErrorCode::Unavailable => "unavailable",
            ErrorCode::Timeout => "timeout",
            ErrorCode::Denied => "denied",
            ErrorCode::Unsupported => "unsupported",
            ErrorCode::Internal => "internal",
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(self, ErrorCode::Busy | ErrorCode::StoreFull | ErrorCode::Unavailable | ErrorCode::Timeout)
    }
}

/// An error as a caller sees it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What kind of error.
    pub code: ErrorCode,
    /// What happened and what to do, for people.
    pub message: String,
    /// When to try again, if that helps.
    pub retry_after_ms: Option<u64>,
}

impl ApiError {
    /// An error without advice when to retry.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> ApiError {
        ApiError { code, message: message.into(), retry_after_ms: code.is_retryable().then_some(250) }
    }
}

/// Counts by state.
pub type StateCounts = BTreeMap<JobState, u64>;
