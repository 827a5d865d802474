//! The shapes in the document. Each stands for what is read or written elsewhere; the tests hold real bodies and answers
//! against them, so that none can grow apart from what it describes.
#![expect(dead_code, reason = "the fields are read by the derives alone")]

mod access;
mod answers;
mod cluster;

use std::collections::BTreeMap;

use serde::Deserialize;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use access::{AccessToken, AccessTokenMade, AuditEntry, AuditPage, NewAccessToken, Role};
use answers::{
    Attempt, Bulk, Count, Delivery, Fetched, HistoryPoint, Job, JobPage, LeaseStanding, Member, Node,
    Overview, Problem, Queue, Schedule, Standing, Standings, Store, Taken, TakenAll, Worker, WorkerJob,
};
use cluster::{Cluster, ClusterNode, Move, NodeState, Shard};

/// A queue's name, as [`windlass_core::id::QueueName`] reads it.
pub(super) const QUEUE_PATTERN: &str = "^[A-Za-z0-9_.:/@-]{1,128}$";

macro_rules! all {
    ($($name:ident),* $(,)?) => {
        /// Every shape with its name.
        pub(super) fn all() -> Vec<(&'static str, RefOr<Schema>)> {
            vec![$((stringify!($name), <$name as PartialSchema>::schema())),*]
        }
    };
}

all!(
    AccessToken,
    AccessTokenMade,
    Ack,
    Attempt,
    AttemptOutcome,
    AuditEntry,
    AuditPage,
    Backoff,
    Bulk,
    CloudEvent,
    Cluster,
    ClusterNode,
    Count,
    Delivery,
    Fail,
    Fetch,
    Fetched,
    Heartbeat,
    HistoryPoint,
    Job,
    JobPage,
    JobState,
    Lease,
    LeaseStanding,
    Member,
    Move,
    NamedLease,
    NewAccessToken,
    NewBulk,
    NewJob,
    NewJobs,
    NewJobsObject,
    NewSchedule,
    Node,
    NodeState,
    Overview,
    Problem,
    Progress,
    Queue,
    Role,
    Schedule,
    Shard,
    Snooze,
    Standing,
    Standings,
    Store,
    Taken,
    TakenAll,
    Token,
    Worker,
    WorkerJob,
);

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum JobState {
    Scheduled,
    Ready,
    Held,
    Running,
    Retrying,
    Succeeded,
    Dead,
    Cancelled,
    Expired,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum AttemptOutcome {
    Succeeded,
    Failed,
    Snoozed,
    Released,
    Lost,
    Cancelled,
}

/// The wait before the next attempt. Which fields it has depends on the policy.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Backoff {
    #[schema(pattern = "^(fixed|exponential|list)$")]
    policy: String,
    #[schema(nullable = false)]
    delay_ms: Option<u64>,
    #[schema(nullable = false)]
    base_ms: Option<u64>,
    #[schema(nullable = false)]
    factor_tenths: Option<u32>,
    #[schema(nullable = false)]
    max_ms: Option<u64>,
    #[schema(nullable = false)]
    delays_ms: Option<Vec<u64>>,
    #[schema(nullable = false, maximum = 100)]
    jitter_percent: Option<u8>,
}

/// A job to enqueue.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewJob {
    /// The queue; made on first use. Defaults to `default`.
    #[schema(pattern = "^[A-Za-z0-9_.:/@-]{1,128}$")]
    queue: Option<String>,
    /// Which handler runs it.
    #[schema(min_length = 1, max_length = 128, pattern = "^[ -~]+$")]
    kind: String,
    /// The handler's argument: any JSON.
    payload: Option<serde_json::Value>,
    /// What the payload is, when it is not JSON.
    #[schema(max_length = 128)]
    content_type: Option<String>,
    /// The same id again in the same queue makes no second job.
    #[schema(format = Uuid)]
    id: Option<String>,
    /// Higher runs first.
    #[schema(minimum = -128, maximum = 127)]
    priority: Option<i64>,
    /// Not before so many milliseconds; not beside `run_at`.
    delay_ms: Option<u64>,
    /// Not before this instant: milliseconds since the epoch, or RFC 3339.
    #[schema(value_type = Option<Instant>, inline)]
    run_at: Option<Instant>,
    /// Never, if no worker took it within so many milliseconds.
    expires_in_ms: Option<u64>,
    /// Never, if no worker took it by then.
    #[schema(value_type = Option<Instant>, inline)]
    expires_at: Option<Instant>,
    /// Longest run of one attempt.
    #[schema(minimum = 1)]
    timeout_ms: Option<u64>,
    /// Attempts, the first included. Defaults to 20.
    #[schema(minimum = 1, maximum = 10_000)]
    max_attempts: Option<u32>,
    backoff: Option<Backoff>,
    /// How long the job and its result are kept once it has ended.
    retention_ms: Option<u64>,
    #[schema(max_items = 32)]
    tags: Option<Vec<String>>,
    headers: Option<BTreeMap<String, String>>,
}

/// An instant.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum Instant {
    #[schema(title = "milliseconds since the epoch")]
    Millis(u64),
    #[schema(title = "RFC 3339")]
    Text(String),
}

/// A batch: a list of jobs, or an object with the list.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum NewJobs {
    List(Vec<NewJob>),
    Object(NewJobsObject),
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewJobsObject {
    #[schema(min_items = 1, max_items = 10_000)]
    jobs: Vec<NewJob>,
}

/// A schedule with the job of each firing: `cron` or `every_ms`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewSchedule {
    name: Option<String>,
    /// Five fields as crontab has them, or six with seconds first.
    cron: Option<String>,
    every_ms: Option<u64>,
    /// Name of a time zone. Defaults to UTC.
    zone: Option<String>,
    /// What happens to times that passed while no server ran: `latest` (once) or `skip`.
    #[schema(pattern = "^(latest|skip)$")]
    catch_up: Option<String>,
    #[schema(pattern = "^[A-Za-z0-9_.:/@-]{1,128}$")]
    queue: Option<String>,
    #[schema(min_length = 1, max_length = 128)]
    kind: String,
    payload: Option<serde_json::Value>,
    content_type: Option<String>,
    #[schema(minimum = -128, maximum = 127)]
    priority: Option<i64>,
    timeout_ms: Option<u64>,
    #[schema(minimum = 1, maximum = 10_000)]
    max_attempts: Option<u32>,
    backoff: Option<Backoff>,
    retention_ms: Option<u64>,
    tags: Option<Vec<String>>,
    headers: Option<BTreeMap<String, String>>,
}

/// An event in the JSON form of CloudEvents 1.0. Its type becomes the kind of the job.
#[derive(Deserialize, ToSchema)]
struct CloudEvent {
    #[schema(pattern = "^1[.]0$")]
    specversion: String,
    #[schema(min_length = 1)]
    id: String,
    #[schema(min_length = 1)]
    source: String,
    #[schema(min_length = 1, max_length = 128)]
    r#type: String,
    datacontenttype: Option<String>,
    data: Option<serde_json::Value>,
    data_base64: Option<String>,
}

/// Jobs, please. An empty body asks the queue `default` for one job.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Fetch {
    #[schema(nullable = false, min_items = 1, max_items = 256)]
    queues: Option<Vec<String>>,
    /// Weights of queues, 1 where there is none. Not in strict order.
    #[schema(nullable = false)]
    weights: Option<BTreeMap<String, u32>>,
    /// A later queue is asked only when all earlier ones are empty.
    #[schema(nullable = false)]
    strict: Option<bool>,
    #[schema(minimum = 1, maximum = 100)]
    count: Option<u32>,
    /// Longest wait for the first job; 20,000 by default.
    #[schema(maximum = 50_000)]
    wait_ms: Option<u64>,
    /// How long a lease is good without a word about it. Defaults to the node's lease time.
    #[schema(minimum = 1_000, maximum = 3_600_000)]
    lease_ms: Option<u64>,
    /// The worker of an earlier answer.
    #[schema(format = Uuid)]
    worker: Option<String>,
    /// A name for people.
    #[schema(nullable = false)]
    name: Option<String>,
    #[schema(nullable = false)]
    host: Option<String>,
    #[schema(nullable = false)]
    pid: Option<u32>,
    #[schema(nullable = false)]
    client: Option<String>,
    #[schema(nullable = false)]
    kinds: Option<Vec<String>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Lease {
    lease: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Ack {
    lease: String,
    /// Any JSON, at most 1 MiB.
    result: Option<serde_json::Value>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Fail {
    lease: String,
    #[schema(nullable = false)]
    error: Option<String>,
    /// `retry` (the default), `dead` or `cancelled`.
    #[schema(nullable = false, pattern = "^(retry|dead|cancelled)$")]
    outcome: Option<String>,
    /// Instead of the job's backoff.
    retry_in_ms: Option<u64>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Snooze {
    lease: String,
    delay_ms: u64,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Progress {
    lease: String,
    #[schema(maximum = 100)]
    percent: u8,
    #[schema(nullable = false)]
    message: Option<String>,
}

/// Leases of one worker that are still run.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Heartbeat {
    #[schema(min_items = 1, max_items = 1_000)]
    leases: Vec<NamedLease>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NamedLease {
    #[schema(format = Uuid)]
    id: String,
    lease: String,
}

/// Proves a lease; larger with every hand-out of the same job.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Token {
    epoch: u64,
    delivery: u64,
}

/// An operation on all jobs that satisfy a filter.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewBulk {
    #[schema(pattern = "^(retry|cancel|delete)$")]
    act: String,
    /// Not empty.
    #[schema(min_length = 1)]
    filter: String,
    /// Why, for the log and the list.
    #[schema(nullable = false)]
    reason: Option<String>,
    /// Jobs per second at most.
    #[schema(minimum = 1)]
    pace: Option<u32>,
    /// Only count.
    #[schema(nullable = false)]
    dry_run: Option<bool>,
}
