//! `/enqueue`: one job by hand.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use windlass_core::api::{Request, Response};
use windlass_core::id::QueueName;
use windlass_core::job::{JobSpec, Payload, RunAt};

use super::{Fields, go, number};
use crate::Dashboard;
use crate::api::jobs;
use crate::pages;
use crate::problem::Problem;
use crate::shell::{Place, Shell, parameter};
use crate::text::now;

#[derive(Template)]
#[template(path = "enqueue.html")]
struct Page {
    shell: Shell,
    error: Option<String>,
    queues: Vec<String>,
    queue: String,
    kind: String,
    payload: String,
    priority: String,
    delay_s: String,
    max_attempts: String,
    tags: String,
}

/// Names of queues to choose from; none when the node does not answer, since the form works without.
async fn queue_names(dashboard: &Dashboard) -> Vec<String> {
    match dashboard.call(Request::ListQueues).await {
        Ok(Response::Queues(queues)) => queues.iter().take(200).map(|queue| queue.name.to_string()).collect(),
        _ => Vec::new(),
    }
}

pub(crate) async fn show(dashboard: Dashboard, req: HttpRequest) -> HttpResponse {
    let given = |name: &str, otherwise: &str| parameter(&req, name).unwrap_or_else(|| otherwise.to_owned());
    let page = Page {
        shell: Shell::of(&dashboard, &req, Place::Enqueue),
        error: None,
        queues: queue_names(&dashboard).await,
        queue: given("queue", "default"),
        kind: given("kind", ""),
        payload: given("payload", "{}"),
        priority: "0".to_owned(),
        delay_s: "0".to_owned(),
        max_attempts: String::new(),
        tags: String::new(),
    };
    pages::send(&dashboard, &req, Ok(page))
}

fn read(fields: &Fields) -> Result<(QueueName, JobSpec), Problem> {
    let queue: QueueName = fields.given("queue").unwrap_or("default").parse()?;
    let payload = fields.given("payload").unwrap_or("null");
    serde_json::from_str::<&serde_json::value::RawValue>(payload)
        .map_err(|e| Problem::invalid(format!("the payload is not JSON: {e}")))?;
    let mut spec = JobSpec::new(fields.get("kind").trim(), Payload::json(payload.as_bytes().to_vec()));
    spec.priority = number(fields, "priority", "the priority")?.unwrap_or(0);
    match number::<u64>(fields, "delay_s", "the delay")?.unwrap_or(0) {
        0 => {}
        seconds => spec.run_at = RunAt::AfterMs(seconds.saturating_mul(1_000)),
    }
    if let Some(max) = number(fields, "max_attempts", "the number of attempts")? {
        spec.options_mut().max_attempts = Some(max);
    }
    let tags: Vec<String> =
        fields.get("tags").split(',').map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect();
    if !tags.is_empty() {
        spec.options_mut().tags = tags;
    }
    spec.validate(now())?;
    Ok((queue, spec))
}

pub(crate) async fn submit(dashboard: Dashboard, req: HttpRequest, payload: web::Payload) -> HttpResponse {
    let fields = match Fields::read(&dashboard, &req, payload).await {
        Ok(fields) => fields,
        Err(problem) => return pages::failure(&dashboard, &req, problem),
    };
    let done = match read(&fields) {
        Ok((queue, spec)) => jobs::submit(&dashboard, queue, vec![spec]).await,
        Err(problem) => Err(problem),
    };
    match done {
        Ok(entries) => go(&format!("/jobs/{}", entries[0].id), true, "job_enqueued", 1),
        Err(problem) => {
            let text = |name: &str| fields.get(name).to_owned();
            let page = Page {
                shell: Shell::of(&dashboard, &req, Place::Enqueue),
                error: Some(problem.detail),
                queues: queue_names(&dashboard).await,
                queue: text("queue"),
                kind: text("kind"),
                payload: text("payload"),
                priority: text("priority"),
                delay_s: text("delay_s"),
                max_attempts: text("max_attempts"),
                tags: text("tags"),
            };
            let mut response = pages::send(&dashboard, &req, Ok(page));
            *response.status_mut() = problem.status;
            response
        }
    }
}
