//! `POST /do`: every button of every page. Destructive ones ask first: in a dialog where there are scripts, on a page of
//! their own where there are none.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use askama::Template;
use windlass_core::api::{Request, Response};
use windlass_core::id::{JobId, QueueName};
use windlass_core::limits;

use super::{Fields, go, safe_back};
use crate::Dashboard;
use crate::api::unexpected;
use crate::pages;
use crate::problem::Problem;
use crate::shell::{Place, Shell, notice_text};

/// What a button does.
enum Action {
    Jobs { requests: Vec<Request>, notice: &'static str, ask: Option<&'static str> },
    One { request: Request, notice: &'static str, ask: Option<&'static str> },
}

fn read(fields: &Fields) -> Result<Action, Problem> {
    let jobs = |make: fn(JobId) -> Request, notice, ask| -> Result<Action, Problem> {
        let ids: Vec<JobId> = fields.all("id").map(str::parse).collect::<Result<_, _>>()?;
        if ids.is_empty() || ids.len() > limits::PAGE_MAX as usize {
            return Err(Problem::invalid(format!("choose 1 to {} jobs", limits::PAGE_MAX)));
        }
        Ok(Action::Jobs { requests: ids.into_iter().map(make).collect(), notice, ask })
    };
    let queue = || fields.get("queue").parse::<QueueName>();
    let kind = || fields.given("kind").map(str::to_owned);
    let name = || fields.get("name").to_owned();
    let one = |request, notice, ask| Ok(Action::One { request, notice, ask });
    match fields.get("do") {
        "job:retry" => jobs(|id| Request::RetryJob { id }, "job_retried", None),
        "job:cancel" => jobs(|id| Request::CancelJob { id }, "job_cancelled", Some("ask.cancel_jobs")),
        "job:delete" => jobs(|id| Request::DeleteJob { id }, "job_deleted", Some("ask.delete_jobs")),
        "queue:pause" => one(Request::PauseQueue { queue: queue()? }, "queue_paused", None),
        "queue:resume" => one(Request::ResumeQueue { queue: queue()? }, "queue_resumed", None),
        "dead:retry" => {
            one(Request::RetryDead { queue: queue()?, kind: kind() }, "job_retried", Some("ask.retry_dead"))
        }
        "dead:delete" => {
            one(Request::DeleteDead { queue: queue()?, kind: kind() }, "job_deleted", Some("ask.delete_dead"))
        }
        "schedule:pause" => one(Request::PauseSchedule { name: name() }, "schedule_paused", None),
        "schedule:resume" => one(Request::ResumeSchedule { name: name() }, "schedule_resumed", None),
        "schedule:trigger" => one(Request::TriggerSchedule { name: name() }, "schedule_triggered", None),
        "schedule:delete" => {
            one(Request::DeleteSchedule { name: name() }, "schedule_deleted", Some("ask.schedule_delete"))
        }
        "node:drain" => {
            let request = Request::DrainNode { node: Some(name()), hold_ms: limits::DRAIN_HOLD_MS_DEFAULT };
            one(request, "node_draining", Some("ask.node_drain"))
        }
        "bulk:stop" => {
            let id = super::number(fields, "bulk", "the number of an operation")?;
            let id = id.ok_or_else(|| Problem::invalid("the number of an operation is missing"))?;
            one(Request::CancelBulk { id }, "bulk_stopped", Some("ask.bulk_stop"))
        }
        other => Err(Problem::invalid(format!("there is no action {other:?}"))),
    }
}

/// Carries it out; how many things it did it to.
async fn carry_out(dashboard: &Dashboard, action: Action) -> Result<(&'static str, u64), Problem> {
    match action {
        Action::One { request, notice, .. } => match dashboard.call(request).await? {
            // Only bulk actions on dead jobs count things that a person wants to know.
            Response::Done { count } if notice.starts_with("job_") => Ok((notice, count)),
            Response::Done { .. } | Response::Schedule(_) | Response::Enqueued(_) | Response::Bulk(_) => {
                Ok((notice, 1))
            }
            other => Err(unexpected(&other).into()),
        },
        Action::Jobs { requests, notice, .. } => {
            let asked = requests.len();
            let mut done = 0;
            let mut first: Option<Problem> = None;
            for request in requests {
                match dashboard.call(request).await {
                    Ok(_) => done += 1,
                    Err(e) => first = first.or(Some(e.into())),
                }
            }
            match first {
                Some(mut problem) if asked > 1 => {
                    problem.detail =
                        format!("{done} of {asked} done; the first that failed: {}", problem.detail);
                    Err(problem)
                }
                Some(problem) => Err(problem),
                None => Ok((notice, done)),
            }
        }
    }
}

#[derive(Template)]
#[template(path = "confirm.html")]
struct Confirm {
    shell: Shell,
    question: String,
    fields: Vec<(String, String)>,
    back: String,
}

fn question(shell: &Shell, action: &Action, fields: &Fields) -> Option<String> {
    match action {
        Action::Jobs { requests, ask, .. } => Some(shell.lang.count((*ask)?, requests.len() as u64)),
        Action::One { ask, .. } => {
            let values = [("queue", fields.get("queue")), ("name", fields.get("name"))];
            Some(shell.lang.fill((*ask)?, &values))
        }
    }
}

pub(crate) async fn submit(dashboard: Dashboard, req: HttpRequest, payload: web::Payload) -> HttpResponse {
    let shell = Shell::of(&dashboard, &req, Place::Nowhere);
    // Scripts ask for JSON; a browser on its own asks for a page.
    let accept = req.headers().get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
    let by_script = accept.starts_with("application/json");
    let fields = match Fields::read(&dashboard, &req, payload).await {
        Ok(fields) => fields,
        Err(problem) => return pages::failure(&dashboard, &req, problem),
    };
    let back = safe_back(fields.get("back")).to_owned();
    let action = match read(&fields) {
        Ok(action) => action,
        Err(problem) => return pages::failure(&dashboard, &req, problem),
    };
    if fields.get("confirm") != "yes"
        && let Some(question) = question(&shell, &action, &fields)
    {
        let fields = fields.0;
        return pages::send(&dashboard, &req, Ok(Confirm { shell, question, fields, back }));
    }
    match carry_out(&dashboard, action).await {
        Ok((notice, count)) if by_script => {
            let text = notice_text(shell.lang, notice, count);
            HttpResponse::Ok().json(serde_json::json!({ "message": text, "count": count }))
        }
        Ok((notice, count)) => go(&back, true, notice, count),
        Err(problem) if by_script => problem.error_response(),
        Err(problem) => pages::failure(&dashboard, &req, problem),
    }
}
