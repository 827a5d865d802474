//! `/api/v1/jobs`.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use windlass_core::api::{Enqueued, JobQuery, Request, Response};
use windlass_core::id::{JobId, QueueName};
use windlass_core::job::JobSpec;
use windlass_core::limits;

use super::{
    BATCH_BODY_BYTES_MAX, JOB_BODY_BYTES_MAX, body, forward, json, path, query, read_body, unexpected,
};
use crate::Dashboard;
use crate::problem::Problem;
use crate::text::now;

/// Wait of a request that does not say, in milliseconds.
const WAIT_MS_DEFAULT: u64 = 30_000;

/// The answer for one job.
#[derive(Serialize)]
pub(super) struct Taken {
    id: JobId,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate_of: Option<JobId>,
}

#[derive(Serialize)]
struct TakenAll {
    jobs: Vec<Taken>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    timeout_ms: Option<u64>,
}

impl From<&Enqueued> for Taken {
    fn from(entry: &Enqueued) -> Taken {
        Taken { id: entry.id, duplicate_of: entry.duplicate.then_some(entry.id) }
    }
}

pub(crate) async fn enqueue(
    dashboard: web::Data<Dashboard>,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body = read_body(&dashboard, &req, payload, JOB_BODY_BYTES_MAX).await?;
    let (queue, spec) = body::one(&body.bytes)?.into_spec(now())?;
    let entries = submit(&dashboard, queue, vec![spec]).await?;
    let taken = Taken::from(&entries[0]);
    let mut response =
        json(if taken.duplicate_of.is_some() { StatusCode::OK } else { StatusCode::CREATED }, &taken);
    if let Ok(location) = header::HeaderValue::from_str(&format!("/api/v1/jobs/{}", taken.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

pub(crate) async fn enqueue_batch(
    dashboard: web::Data<Dashboard>,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body = read_body(&dashboard, &req, payload, BATCH_BODY_BYTES_MAX).await?;
    let bodies = body::many(&body.bytes)?;
    if bodies.is_empty() || bodies.len() > limits::BATCH_JOBS_MAX {
        return Err(Problem::invalid(format!(
            "a batch has 1 to {} jobs, not {}",
            limits::BATCH_JOBS_MAX,
            bodies.len()
        )));
    }
    let now = now();
    let mut queue: Option<QueueName> = None;
    let mut specs = Vec::with_capacity(bodies.len());
    for (index, body) in bodies.into_iter().enumerate() {
        let (its_queue, spec) = body.into_spec(now).map_err(|mut problem| {
            problem.detail = format!("job {index}: {}", problem.detail);
            problem
        })?;
        let first = queue.get_or_insert_with(|| its_queue.clone());
        if *first != its_queue {
            return Err(Problem::invalid(format!(
                "job {index} is for the queue {its_queue}, the first one for {first}: a batch is all or nothing, so its \
                 jobs go to one queue; send one batch per queue"
            )));
        }
        specs.push(spec);
    }
    let entries = submit(&dashboard, queue.unwrap_or_default(), specs).await?;
    let status =
        if entries.iter().all(|entry| entry.duplicate) { StatusCode::OK } else { StatusCode::CREATED };
    Ok(json(status, &TakenAll { jobs: entries.iter().map(Taken::from).collect() }))
}

/// Enqueues and hands back one answer per job.
pub(crate) async fn submit(
    dashboard: &Dashboard,
    queue: QueueName,
    jobs: Vec<JobSpec>,
) -> Result<Vec<Enqueued>, Problem> {
    let count = jobs.len();
    match dashboard.call(Request::Enqueue { queue, jobs }).await? {
        Response::Enqueued(entries) if entries.len() == count => Ok(entries),
        other => Err(unexpected(&other).into()),
    }
}

pub(crate) async fn list(dashboard: web::Data<Dashboard>, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let query: JobQuery = query(&req)?;
    if query.limit.is_some_and(|limit| limit == 0 || limit > limits::PAGE_MAX) {
        return Err(Problem::invalid(format!("limit is 1 to {}", limits::PAGE_MAX)));
    }
    forward(&dashboard, Request::ListJobs(query)).await
}

pub(crate) async fn get(dashboard: web::Data<Dashboard>, req: HttpRequest) -> Result<HttpResponse, Problem> {
    forward(&dashboard, Request::GetJob { id: path(&req, "id")? }).await
}

pub(crate) async fn wait(dashboard: web::Data<Dashboard>, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let wait: Wait = query(&req)?;
    let timeout_ms = wait.timeout_ms.unwrap_or(WAIT_MS_DEFAULT);
    if timeout_ms > limits::WAIT_MS_MAX {
        return Err(Problem::invalid(format!("timeout_ms is at most {}", limits::WAIT_MS_MAX)));
    }
    forward(&dashboard, Request::WaitJob { id: path(&req, "id")?, timeout_ms }).await
}

pub(crate) async fn cancel(
    dashboard: web::Data<Dashboard>,
    req: HttpRequest,
) -> Result<HttpResponse, Problem> {
    forward(&dashboard, Request::CancelJob { id: path(&req, "id")? }).await
}

pub(crate) async fn retry(
    dashboard: web::Data<Dashboard>,
    req: HttpRequest,
) -> Result<HttpResponse, Problem> {
    forward(&dashboard, Request::RetryJob { id: path(&req, "id")? }).await
}

pub(crate) async fn delete(
    dashboard: web::Data<Dashboard>,
    req: HttpRequest,
) -> Result<HttpResponse, Problem> {
    forward(&dashboard, Request::DeleteJob { id: path(&req, "id")? }).await
}
