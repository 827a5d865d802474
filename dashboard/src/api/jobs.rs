//! `/api/v1/jobs`.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use windlass_core::api::{Enqueued, ErrorCode, JobQuery, JobSearch, Request, Response, body};
use windlass_core::filter::Filter;
use windlass_core::id::{JobId, QueueName};
use windlass_core::job::{JobSpec, JobState, Payload};
use windlass_core::limits;

use super::{BATCH_BODY_BYTES_MAX, JOB_BODY_BYTES_MAX, forward, json, path, query, read_body, unexpected};
use crate::Dashboard;
use crate::problem::Problem;
use crate::text::now;

/// Wait of a request that does not say, in milliseconds.
const WAIT_MS_DEFAULT: u64 = 30_000;
/// Longest `Idempotency-Key`.
const KEY_BYTES_MAX: usize = 255;

/// The answer for one job.
#[derive(Serialize)]
pub(super) struct Taken {
    id: JobId,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate_of: Option<JobId>,
}

#[derive(Serialize)]
pub(super) struct TakenAll {
    pub(super) jobs: Vec<Taken>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    timeout_ms: Option<u64>,
}

/// The header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): the same key again in the same queue makes no
/// second job, for as long as the first one is remembered. The ids of the jobs are made from it.
struct Key(String);

/// What was sent under a key, to be compared with what is there when it was known.
struct Sent {
    id: JobId,
    kind: String,
    payload: Payload,
}

impl Key {
    fn of(req: &HttpRequest) -> Result<Option<Key>, Problem> {
        let Some(value) = req.headers().get("idempotency-key") else { return Ok(None) };
        let text = value.to_str().unwrap_or("").trim();
        // The draft writes a string in quotes; most clients leave them out.
        let key = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            let detail = format!("the Idempotency-Key has 1 to {KEY_BYTES_MAX} ASCII characters");
            return Err(Problem::malformed(detail));
        }
        Ok(Some(Key(key.to_owned())))
    }

    /// Gives each job its id, from queue, key and position.
    fn put_on(&self, queue: &QueueName, specs: &mut [JobSpec]) -> Result<Sent, Problem> {
        for (index, spec) in specs.iter_mut().enumerate() {
            if spec.id.is_some() {
                return Err(Problem::invalid(
                    "give the job an id or the request an Idempotency-Key, not both",
                ));
            }
            spec.id = Some(derived_id(&format!("key {queue} {index} {}", self.0)));
        }
        let first = specs.first().and_then(|spec| Some((spec.id?, spec)));
        let (id, spec) = first.ok_or_else(|| Problem::invalid("there is no job in the request"))?;
        Ok(Sent { id, kind: spec.kind.clone(), payload: spec.payload.clone() })
    }
}

/// A UUID version 8 (RFC 9562 §5.8): 122 bits of the SHA-256 of a text that names the job.
pub(super) fn derived_id(name: &str) -> JobId {
    let mut id = [0; 16];
    id.copy_from_slice(&Sha256::digest(name)[..16]);
    id[6] = (id[6] & 0x0f) | 0x80;
    id[8] = (id[8] & 0x3f) | 0x80;
    JobId(id)
}

impl Sent {
    /// A key that stands for another job is a mistake of the caller, who must hear of it. Of a batch the first job is looked at.
    async fn compare(&self, dashboard: &Dashboard, entries: &[Enqueued]) -> Result<(), Problem> {
        if !entries.first().is_some_and(|entry| entry.duplicate) {
            return Ok(());
        }
        let known = match dashboard.call(Request::GetJob { id: self.id }).await {
            Ok(Response::Job(view)) => view,
            // It ended and was forgotten between the two requests.
            Err(error) if error.code == ErrorCode::NotFound => return Ok(()),
            Ok(other) => return Err(unexpected(&other).into()),
            Err(error) => return Err(error.into()),
        };
        if known.kind == self.kind && known.payload == self.payload {
            return Ok(());
        }
        let detail = format!("the Idempotency-Key was used for another job: {}", self.id);
        let title = "The key stands for another request";
        Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", title, detail))
    }
}

impl From<&Enqueued> for Taken {
    fn from(entry: &Enqueued) -> Taken {
        Taken { id: entry.id, duplicate_of: entry.duplicate.then_some(entry.id) }
    }
}

pub(crate) async fn enqueue(
    dashboard: Dashboard,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body = read_body(&dashboard, &req, payload, JOB_BODY_BYTES_MAX).await?;
    let key = Key::of(&req)?;
    let (queue, mut spec) = body::one(&body.bytes)?.into_spec(body::blank(), now())?;
    let queue = queue.unwrap_or_default();
    let sent = key.map(|key| key.put_on(&queue, std::slice::from_mut(&mut spec))).transpose()?;
    let entries = submit(&dashboard, queue, vec![spec]).await?;
    if let Some(sent) = sent {
        sent.compare(&dashboard, &entries).await?;
    }
    let taken = Taken::from(&entries[0]);
    let mut response =
        json(if taken.duplicate_of.is_some() { StatusCode::OK } else { StatusCode::CREATED }, &taken);
    if let Ok(location) = header::HeaderValue::from_str(&format!("/api/v1/jobs/{}", taken.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

pub(crate) async fn enqueue_batch(
    dashboard: Dashboard,
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
    let key = Key::of(&req)?;
    let mut queue: Option<QueueName> = None;
    let mut specs = Vec::with_capacity(bodies.len());
    for (index, body) in bodies.into_iter().enumerate() {
        let (its_queue, spec) = body.into_spec(body::blank(), now).map_err(|error| {
            let mut problem = Problem::from(error);
            problem.detail = format!("job {index}: {}", problem.detail);
            problem
        })?;
        let its_queue = its_queue.unwrap_or_default();
        let first = queue.get_or_insert_with(|| its_queue.clone());
        if *first != its_queue {
            return Err(Problem::invalid(format!(
                "job {index} is for the queue {its_queue}, the first one for {first}: a batch is all or nothing, so its \
                 jobs go to one queue; send one batch per queue"
            )));
        }
        specs.push(spec);
    }
    let queue = queue.unwrap_or_default();
    let sent = key.map(|key| key.put_on(&queue, &mut specs)).transpose()?;
    let entries = submit(&dashboard, queue, specs).await?;
    if let Some(sent) = sent {
        sent.compare(&dashboard, &entries).await?;
    }
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

/// What a list is asked for: a filter, and the fields that most lists need.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    queue: Option<QueueName>,
    state: Option<JobState>,
    kind: Option<String>,
    filter: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

pub(crate) async fn list(dashboard: Dashboard, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let ListQuery { queue, state, kind, filter, cursor, limit } = query(&req)?;
    if limit.is_some_and(|limit| limit == 0 || limit > limits::PAGE_MAX) {
        return Err(Problem::invalid(format!("limit is 1 to {}", limits::PAGE_MAX)));
    }
    if kind.as_ref().is_some_and(String::is_empty) {
        return Err(Problem::invalid("kind is empty; leave it out for jobs of every kind"));
    }
    let fields = JobQuery { queue, state, kind, ..JobQuery::default() };
    let filter = search(&fields, filter.as_deref().unwrap_or(""))?;
    forward(&dashboard, Request::SearchJobs(JobSearch { filter, cursor, limit })).await
}

/// The filter of some fields and a text, as one text.
pub(crate) fn search(fields: &JobQuery, text: &str) -> Result<String, Problem> {
    let wrong = |error| Problem::invalid(format!("the filter: {error}"));
    let filter = Filter::of_query(fields).and(Filter::parse(text).map_err(wrong)?).to_string();
    // Fields may have what no term can say.
    Filter::parse(&filter).map_err(wrong)?;
    Ok(filter)
}

pub(crate) async fn get(dashboard: Dashboard, req: HttpRequest) -> Result<HttpResponse, Problem> {
    forward(&dashboard, Request::GetJob { id: path(&req, "id")? }).await
}

pub(crate) async fn wait(dashboard: Dashboard, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let wait: Wait = query(&req)?;
    let timeout_ms = wait.timeout_ms.unwrap_or(WAIT_MS_DEFAULT);
    if timeout_ms > limits::WAIT_MS_MAX {
        return Err(Problem::invalid(format!("timeout_ms is at most {}", limits::WAIT_MS_MAX)));
    }
    forward(&dashboard, Request::WaitJob { id: path(&req, "id")?, timeout_ms }).await
}

pub(crate) async fn cancel(dashboard: Dashboard, req: HttpRequest) -> Result<HttpResponse, Problem> {
    forward(&dashboard, Request::CancelJob { id: path(&req, "id")? }).await
}

pub(crate) async fn retry(dashboard: Dashboard, req: HttpRequest) -> Result<HttpResponse, Problem> {
    forward(&dashboard, Request::RetryJob { id: path(&req, "id")? }).await
}

pub(crate) async fn delete(dashboard: Dashboard, req: HttpRequest) -> Result<HttpResponse, Problem> {
    forward(&dashboard, Request::DeleteJob { id: path(&req, "id")? }).await
}
