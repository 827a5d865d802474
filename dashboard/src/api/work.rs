//! Working over HTTP: fetch, heartbeat, progress, and how it ended. What a worker needs that has nothing but curl.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use windlass_core::api::{
    ApiError, ErrorCode, FetchJobs, Fetched, HeldLease, PayloadJson, Standing, WorkRequest, WorkResponse,
    WorkerCard, body, worker_from_text, worker_to_text,
};
use windlass_core::id::{JobId, QueueName};
use windlass_core::job::Payload;
use windlass_core::limits;
use windlass_core::time::Timestamp;
use windlass_core::wire::{Delivery, ReportResult, Token, Verdict};

use super::{json, path, read_body};
use crate::Dashboard;
use crate::problem::Problem;

/// Wait of a fetch that does not say, in milliseconds.
const FETCH_WAIT_MS_DEFAULT: u64 = 20_000;
/// Largest body of a request without a result: a list of leases, an error text with its escapes.
const WORD_BODY_BYTES_MAX: usize = 512 * 1024;
/// Largest body with a result.
const RESULT_BODY_BYTES_MAX: usize = limits::RESULT_BYTES_MAX + 64 * 1024;

/// Jobs, please.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FetchBody {
    queues: Option<Vec<QueueName>>,
    weights: BTreeMap<QueueName, u32>,
    strict: bool,
    count: Option<u32>,
    wait_ms: Option<u64>,
    lease_ms: Option<u64>,
    worker: Option<String>,
    name: String,
    host: String,
    pid: u32,
    client: String,
    kinds: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LeaseBody {
    lease: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AckBody<'a> {
    lease: String,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FailBody {
    lease: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    outcome: FailedAs,
    retry_in_ms: Option<u64>,
}

/// What a failure means for the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FailedAs {
    #[default]
    Retry,
    Dead,
    Cancelled,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SnoozeBody {
    lease: String,
    delay_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgressBody {
    lease: String,
    percent: u8,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeartbeatBody {
    leases: Vec<NamedLease>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedLease {
    id: JobId,
    lease: String,
}

/// The answer to a fetch.
#[derive(Serialize)]
struct FetchedJson<'a> {
    worker: String,
    lease_ms: u64,
    heartbeat_ms: u64,
    jobs: Vec<DeliveryJson<'a>>,
}

/// One job to run.
#[derive(Serialize)]
struct DeliveryJson<'a> {
    id: JobId,
    queue: &'a QueueName,
    kind: &'a str,
    payload: PayloadJson<'a>,
    lease: String,
    token: Token,
    attempt: u32,
    max_attempts: u32,
    enqueued_at: Timestamp,
    timeout_ms: Option<u64>,
    tags: &'a [String],
    headers: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct Count {
    count: u64,
}

#[derive(Serialize)]
struct StandingJson {
    id: JobId,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_ms: Option<u64>,
}

#[derive(Serialize)]
struct StandingsJson {
    lease_ms: u64,
    leases: Vec<StandingJson>,
}

pub(crate) async fn fetch(
    dashboard: Dashboard,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let bytes = read_body(&dashboard, &req, payload, WORD_BODY_BYTES_MAX).await?.bytes;
    let asked = if bytes.trim_ascii().is_empty() { FetchBody::default() } else { body::read(&bytes)? };
    let queues = asked.queues.unwrap_or_else(|| vec![QueueName::default()]);
    if let Some(name) = asked.weights.keys().find(|name| !queues.contains(name)) {
        return Err(Problem::invalid(format!("there is a weight for {name}, which is not among the queues")));
    }
    let weighted = |name: QueueName| {
        let weight = asked.weights.get(&name).copied().unwrap_or(1);
        (name, weight)
    };
    let id = asked.worker.as_deref().map(worker_from_text).transpose()?;
    let (name, host, pid) = (asked.name, asked.host, asked.pid);
    let fetch = FetchJobs {
        worker: WorkerCard { id, name, host, pid, client: asked.client, kinds: asked.kinds },
        queues: queues.into_iter().map(weighted).collect(),
        strict: asked.strict,
        count: asked.count.unwrap_or(1),
        wait_ms: asked.wait_ms.unwrap_or(FETCH_WAIT_MS_DEFAULT),
        lease_ms: asked.lease_ms,
    };
    match dashboard.work(WorkRequest::Fetch(fetch)).await? {
        WorkResponse::Fetched(fetched) => Ok(json(StatusCode::OK, &shown(&fetched))),
        other => Err(odd(&other)),
    }
}

fn shown(fetched: &Fetched) -> FetchedJson<'_> {
    let job = |job| delivery(fetched, job);
    FetchedJson {
        worker: worker_to_text(fetched.worker),
        lease_ms: fetched.lease_ms,
        heartbeat_ms: fetched.heartbeat_ms,
        jobs: fetched.jobs.iter().map(job).collect(),
    }
}

fn delivery<'a>(fetched: &Fetched, job: &'a Delivery) -> DeliveryJson<'a> {
    let lease = windlass_core::wire::LeaseRef { queue: job.queue.clone(), id: job.id, token: job.token };
    DeliveryJson {
        id: job.id,
        queue: &job.queue,
        kind: &job.kind,
        payload: PayloadJson(&job.payload),
        lease: HeldLease { worker: fetched.worker, lease }.to_text(),
        token: job.token,
        attempt: job.attempt,
        max_attempts: job.max_attempts,
        enqueued_at: job.enqueued_at,
        timeout_ms: job.timeout_ms,
        tags: &job.tags,
        headers: job.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
    }
}

pub(crate) async fn ack(
    dashboard: Dashboard,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let bytes = read_body(&dashboard, &req, payload, RESULT_BODY_BYTES_MAX).await?.bytes;
    let said: AckBody<'_> = body::read(&bytes)?;
    let result = said.result.map(|result| Payload::json(result.get().to_owned()));
    report(&dashboard, &req, &said.lease, Verdict::Done(result)).await
}

pub(crate) async fn fail(
    dashboard: Dashboard,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let bytes = read_body(&dashboard, &req, payload, WORD_BODY_BYTES_MAX).await?.bytes;
    let FailBody { lease, error, outcome, retry_in_ms } = body::read(&bytes)?;
    if retry_in_ms.is_some() && outcome != FailedAs::Retry {
        return Err(Problem::invalid("retry_in_ms goes with the outcome retry alone"));
    }
    let verdict = match outcome {
        FailedAs::Retry => Verdict::Retry { error, retry_in_ms },
        FailedAs::Dead => Verdict::Dead { error },
        FailedAs::Cancelled => Verdict::Cancelled { reason: error },
    };
    report(&dashboard, &req, &lease, verdict).await
}

pub(crate) async fn snooze(
    dashboard: Dashboard,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let bytes = read_body(&dashboard, &req, payload, WORD_BODY_BYTES_MAX).await?.bytes;
    let SnoozeBody { lease, delay_ms } = body::read(&bytes)?;
    report(&dashboard, &req, &lease, Verdict::Snooze { ms: delay_ms }).await
}

pub(crate) async fn release(
    dashboard: Dashboard,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let bytes = read_body(&dashboard, &req, payload, WORD_BODY_BYTES_MAX).await?.bytes;
    let LeaseBody { lease } = body::read(&bytes)?;
    report(&dashboard, &req, &lease, Verdict::Released).await
}

async fn report(
    dashboard: &Dashboard,
    req: &HttpRequest,
    lease: &str,
    verdict: Verdict,
) -> Result<HttpResponse, Problem> {
    let lease = HeldLease::from_text(path(req, "id")?, lease)?;
    match dashboard.work(WorkRequest::Report { lease, verdict }).await? {
        WorkResponse::Reported(ReportResult::Recorded) => Ok(json(StatusCode::OK, &Count { count: 1 })),
        WorkResponse::Reported(ReportResult::Refused(ErrorCode::StaleLease)) => Err(stale()),
        WorkResponse::Reported(ReportResult::Refused(code)) => {
            Err(ApiError::new(code, "the report was not taken; send it again").into())
        }
        other => Err(odd(&other)),
    }
}

pub(crate) async fn heartbeat(
    dashboard: Dashboard,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let bytes = read_body(&dashboard, &req, payload, WORD_BODY_BYTES_MAX).await?.bytes;
    let LeaseBody { lease } = body::read(&bytes)?;
    let lease = HeldLease::from_text(path(&req, "id")?, &lease)?;
    one_standing(&dashboard, lease.lease.id, WorkRequest::Heartbeat { leases: vec![lease] }).await
}

pub(crate) async fn progress(
    dashboard: Dashboard,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let bytes = read_body(&dashboard, &req, payload, WORD_BODY_BYTES_MAX).await?.bytes;
    let ProgressBody { lease, percent, message } = body::read(&bytes)?;
    if percent > 100 {
        return Err(Problem::invalid(format!("percent is 0 to 100, not {percent}")));
    }
    let lease = HeldLease::from_text(path(&req, "id")?, &lease)?;
    one_standing(&dashboard, lease.lease.id, WorkRequest::Progress { lease, percent, message }).await
}

/// A request about one lease; one that has ended is a problem.
async fn one_standing(
    dashboard: &Dashboard,
    id: JobId,
    request: WorkRequest,
) -> Result<HttpResponse, Problem> {
    match dashboard.work(request).await? {
        WorkResponse::Standing { leases, lease_ms } => match leases.first() {
            Some(Standing::Lost) | None => Err(stale()),
            Some(standing) => {
                let state = word(*standing);
                Ok(json(StatusCode::OK, &StandingJson { id, state, lease_ms: Some(lease_ms) }))
            }
        },
        other => Err(odd(&other)),
    }
}

pub(crate) async fn heartbeat_all(
    dashboard: Dashboard,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let bytes = read_body(&dashboard, &req, payload, WORD_BODY_BYTES_MAX).await?.bytes;
    let named: HeartbeatBody = body::read(&bytes)?;
    let ids: Vec<JobId> = named.leases.iter().map(|lease| lease.id).collect();
    let leases = named.leases.iter().map(|named| HeldLease::from_text(named.id, &named.lease));
    let leases = leases.collect::<Result<_, _>>()?;
    match dashboard.work(WorkRequest::Heartbeat { leases }).await? {
        WorkResponse::Standing { leases, lease_ms } => {
            let leases = ids
                .into_iter()
                .zip(leases)
                .map(|(id, standing)| StandingJson { id, state: word(standing), lease_ms: None })
                .collect();
            Ok(json(StatusCode::OK, &StandingsJson { lease_ms, leases }))
        }
        other => Err(odd(&other)),
    }
}

pub(crate) async fn leave(dashboard: Dashboard, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let raw = req.match_info().query("worker");
    let worker = worker_from_text(raw).map_err(|e| Problem::malformed(e.0))?;
    match dashboard.work(WorkRequest::Leave { worker }).await? {
        WorkResponse::Left => Ok(json(StatusCode::OK, &Count { count: 1 })),
        other => Err(odd(&other)),
    }
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Held => "held",
        Standing::Cancelled => "cancel_requested",
        Standing::Lost => "lost",
    }
}

fn stale() -> Problem {
    let text = "the lease has ended: the job is done, or belongs to somebody else by now; stop working on it";
    ApiError::new(ErrorCode::StaleLease, text).into()
}

fn odd(response: &WorkResponse) -> Problem {
    let name = format!("{response:?}");
    let name = name.split(['(', ' ', '{']).next().unwrap_or_default().to_owned();
    ApiError::new(ErrorCode::Internal, format!("the node gave an answer of the wrong kind: {name}")).into()
}
