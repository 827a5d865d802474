//! The shapes of answers.

use std::collections::BTreeMap;

use serde::Deserialize;
use utoipa::ToSchema;

use super::{AttemptOutcome, Backoff, JobState, Token};

/// Id of a new job; with `duplicate_of` no second job was made.
#[derive(Deserialize, ToSchema)]
pub(super) struct Taken {
    #[schema(format = Uuid)]
    id: String,
    #[schema(format = Uuid, nullable = false)]
    duplicate_of: Option<String>,
}

#[derive(Deserialize, ToSchema)]
pub(super) struct TakenAll {
    jobs: Vec<Taken>,
}

/// Done, to so many things.
#[derive(Deserialize, ToSchema)]
pub(super) struct Count {
    count: u64,
}

/// One job with its history.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Job {
    #[schema(format = Uuid)]
    id: String,
    queue: String,
    kind: String,
    state: JobState,
    priority: i8,
    /// JSON as it came; other content as `{"content_type", "base64"}`.
    payload: serde_json::Value,
    enqueued_at: u64,
    run_at: u64,
    #[schema(required)]
    ended_at: Option<u64>,
    #[schema(required)]
    expires_at: Option<u64>,
    #[schema(required)]
    timeout_ms: Option<u64>,
    /// Attempts used, the running one included.
    attempt: u32,
    max_attempts: u32,
    backoff: Backoff,
    #[schema(required)]
    retention_ms: Option<u64>,
    crashes: u32,
    attempts: Vec<Attempt>,
    result: serde_json::Value,
    reason: String,
    /// Percent and message of the running attempt.
    #[schema(required, value_type = Option<Vec<serde_json::Value>>)]
    progress: Option<Vec<serde_json::Value>>,
    cancel_requested: bool,
    tags: Vec<String>,
    /// Pairs of name and value.
    headers: Vec<Vec<String>>,
}

/// One attempt; the running one has no end.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Attempt {
    attempt: u32,
    worker: String,
    worker_name: String,
    started_at: u64,
    #[schema(required)]
    ended_at: Option<u64>,
    #[schema(required)]
    outcome: Option<AttemptOutcome>,
    error: String,
    #[schema(required)]
    token: Option<Token>,
}

/// One page. `scanned` says how many jobs were looked at, `next` where the next page begins.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JobPage {
    jobs: Vec<Job>,
    #[schema(required)]
    next: Option<String>,
    scanned: u64,
}

/// Jobs to run, none when none came in time.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Fetched {
    /// To be sent with the next fetch.
    #[schema(format = Uuid)]
    worker: String,
    /// A lease is good for so long; a heartbeat starts it anew.
    lease_ms: u64,
    /// How often to send heartbeats.
    heartbeat_ms: u64,
    jobs: Vec<Delivery>,
}

/// One job to run.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Delivery {
    #[schema(format = Uuid)]
    id: String,
    queue: String,
    kind: String,
    payload: serde_json::Value,
    /// Goes back with every word about the job.
    lease: String,
    token: Token,
    attempt: u32,
    max_attempts: u32,
    enqueued_at: u64,
    #[schema(required)]
    timeout_ms: Option<u64>,
    tags: Vec<String>,
    headers: BTreeMap<String, String>,
}

/// `held`, or `cancel_requested`: the run should stop.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Standing {
    #[schema(format = Uuid)]
    id: String,
    state: String,
    lease_ms: u64,
}

/// How each lease stands: `held`, `cancel_requested` or `lost`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Standings {
    lease_ms: u64,
    leases: Vec<LeaseStanding>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LeaseStanding {
    #[schema(format = Uuid)]
    id: String,
    state: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Queue {
    name: String,
    paused: bool,
    #[schema(required)]
    paused_at: Option<u64>,
    /// Jobs by state.
    counts: BTreeMap<String, u64>,
    /// Age of the oldest ready job.
    oldest_wait_ms: u64,
    enqueued_total: u64,
    succeeded_total: u64,
    failed_total: u64,
    dead_total: u64,
    enqueue_rate: f64,
    done_rate: f64,
    workers: u32,
    finished_max: u32,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Worker {
    id: String,
    name: String,
    host: String,
    pid: u32,
    client: String,
    /// Pairs of queue and weight.
    queues: Vec<Vec<serde_json::Value>>,
    strict: bool,
    kinds: Vec<String>,
    free_slots: u32,
    running: Vec<WorkerJob>,
    running_count: u32,
    connected_at: u64,
    heartbeat_age_ms: u64,
    status: String,
    gossip: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkerJob {
    queue: String,
    #[schema(format = Uuid)]
    id: String,
    kind: String,
    attempt: u32,
    started_at: u64,
}

/// A schedule: what was asked for, and what has happened.
#[derive(Deserialize, ToSchema)]
pub(super) struct Schedule {
    name: String,
    cron: Option<String>,
    every_ms: Option<u64>,
    zone: String,
    catch_up: String,
    queue: String,
    kind: String,
    paused: bool,
    #[schema(required)]
    last_fired: Option<u64>,
    #[schema(required)]
    last_job: Option<String>,
    fired_total: u64,
    skipped_total: u64,
    /// The next times, at most five.
    next: Vec<u64>,
}

/// Totals, rates and history of this node.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Overview {
    node: Node,
    store: Store,
    counts: BTreeMap<String, u64>,
    queues: u32,
    workers: u32,
    oldest_wait_ms: u64,
    enqueue_rate: f64,
    done_rate: f64,
    fail_rate: f64,
    /// Enqueued, succeeded, failed attempts, gone dead.
    totals: Vec<u64>,
    history: Vec<HistoryPoint>,
    history_step_ms: u64,
    problems: Vec<String>,
}

#[derive(Deserialize, ToSchema)]
pub(super) struct Node {
    started_at: u64,
    epoch: u64,
    rss_bytes: u64,
    connections: u32,
    members: Vec<Member>,
}

/// Id, role and address.
#[derive(Deserialize, ToSchema)]
pub(super) struct Member(Vec<String>);

/// Figures of the store, which depend on its kind.
#[derive(Deserialize, ToSchema)]
pub(super) struct Store {}

#[derive(Deserialize, ToSchema)]
pub(super) struct HistoryPoint {
    at: u64,
    enqueued: u64,
    succeeded: u64,
    failed: u64,
    ready: u64,
}

/// An error in the sense of RFC 9457. `code` is stable.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Problem {
    r#type: String,
    title: String,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    code: String,
    detail: String,
    #[schema(nullable = false)]
    retry_after_ms: Option<u64>,
}

/// An operation on many jobs. `state` is `counting`, `running`, `done`, `cancelled` or `failed`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Bulk {
    id: u64,
    act: String,
    filter: String,
    reason: String,
    #[schema(required)]
    pace: Option<u32>,
    dry_run: bool,
    state: String,
    /// Jobs looked at while counting.
    scanned: u64,
    /// Jobs found while counting.
    matched: u64,
    done: u64,
    /// Jobs that had changed before their turn came.
    skipped: u64,
    error: String,
    started_at: u64,
    #[schema(required)]
    ended_at: Option<u64>,
}
