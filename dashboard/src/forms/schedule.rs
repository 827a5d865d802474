//! `/schedules/new`: creates a schedule, or changes one (`?from=name`).

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use windlass_core::api::body::read_when;
use windlass_core::api::{Request, Response, ScheduleView};
use windlass_core::job::{JobSpec, Payload};
use windlass_core::schedule::{CatchUp, ScheduleSpec, When};

use super::{Fields, go, number};
use crate::Dashboard;
use crate::api::unexpected;
use crate::pages;
use crate::problem::Problem;
use crate::shell::{Place, Shell, parameter};
use crate::text::now;

#[derive(Template)]
#[template(path = "schedule_new.html")]
struct Page {
    shell: Shell,
    error: Option<String>,
    is_change: bool,
    name: String,
    cron: String,
    every_s: String,
    zone: String,
    skip: bool,
    queue: String,
    kind: String,
    payload: String,
    max_attempts: String,
}

impl Page {
    fn empty(shell: Shell) -> Page {
        Page {
            shell,
            error: None,
            is_change: false,
            name: String::new(),
            cron: String::new(),
            every_s: String::new(),
            zone: "UTC".to_owned(),
            skip: false,
            queue: "default".to_owned(),
            kind: String::new(),
            payload: "{}".to_owned(),
            max_attempts: String::new(),
        }
    }

    fn of(shell: Shell, view: &ScheduleView) -> Page {
        let spec = &view.spec;
        let (cron, every_s) = match &spec.when {
            When::Cron(cron) => (cron.clone(), String::new()),
            When::EveryMs(ms) => (String::new(), (ms / 1_000).to_string()),
        };
        let attempts = spec.job.options.as_ref().and_then(|options| options.max_attempts);
        Page {
            is_change: true,
            name: spec.name.clone(),
            cron,
            every_s,
            zone: spec.zone.clone(),
            skip: spec.catch_up == CatchUp::Skip,
            queue: spec.queue.to_string(),
            kind: spec.job.kind.clone(),
            payload: String::from_utf8_lossy(&spec.job.payload.data).into_owned(),
            max_attempts: attempts.map_or(String::new(), |n| n.to_string()),
            ..Page::empty(shell)
        }
    }
}

async fn find(dashboard: &Dashboard, name: &str) -> Result<Box<ScheduleView>, Problem> {
    match dashboard.call(Request::GetSchedule { name: name.to_owned() }).await? {
        Response::Schedule(view) => Ok(view),
        other => Err(unexpected(&other).into()),
    }
}

pub(crate) async fn show(dashboard: Dashboard, req: HttpRequest) -> HttpResponse {
    let shell = Shell::of(&dashboard, &req, Place::Schedules);
    let page = match parameter(&req, "from") {
        Some(name) => find(&dashboard, &name).await.map(|view| Page::of(shell, &view)),
        None => Ok(Page::empty(shell)),
    };
    pages::send(&dashboard, &req, page)
}

/// The schedule of the form. Options of the job that the form does not show are kept from `before`.
fn read(fields: &Fields, before: Option<&ScheduleView>) -> Result<ScheduleSpec, Problem> {
    let every_ms =
        number::<u64>(fields, "every_s", "the interval")?.map(|seconds| seconds.saturating_mul(1_000));
    let when = read_when(fields.given("cron").map(str::to_owned), every_ms)?;
    let payload = fields.given("payload").unwrap_or("null");
    serde_json::from_str::<&serde_json::value::RawValue>(payload)
        .map_err(|e| Problem::invalid(format!("the payload is not JSON: {e}")))?;
    let kind = fields.get("kind").trim().to_owned();
    let payload = Payload::json(payload.as_bytes().to_vec());
    let mut job = match before {
        Some(view) => JobSpec { kind, payload, ..view.spec.job.clone() },
        None => JobSpec::new(kind, payload),
    };
    let max_attempts = number(fields, "max_attempts", "the number of attempts")?;
    if max_attempts.is_some() || job.options.is_some() {
        job.options_mut().max_attempts = max_attempts;
    }
    job.validate(now())?;
    let name = fields.given("name").ok_or_else(|| Problem::invalid("a schedule needs a name"))?;
    Ok(ScheduleSpec {
        name: name.to_owned(),
        when,
        zone: fields.given("zone").unwrap_or("UTC").to_owned(),
        catch_up: if fields.get("catch_up") == "skip" { CatchUp::Skip } else { CatchUp::Latest },
        queue: fields.given("queue").unwrap_or("default").parse()?,
        job,
    })
}

pub(crate) async fn submit(dashboard: Dashboard, req: HttpRequest, payload: web::Payload) -> HttpResponse {
    let fields = match Fields::read(&dashboard, &req, payload).await {
        Ok(fields) => fields,
        Err(problem) => return pages::failure(&dashboard, &req, problem),
    };
    let is_change = fields.get("change") == "yes";
    let before = if is_change { find(&dashboard, fields.get("name")).await.ok() } else { None };
    let done = match read(&fields, before.as_deref()) {
        Ok(spec) => dashboard.call(Request::PutSchedule(spec)).await.map_err(Problem::from),
        Err(problem) => Err(problem),
    };
    match done {
        Ok(_) => go("/schedules", true, "schedule_saved", 1),
        Err(problem) => {
            let text = |name: &str| fields.get(name).to_owned();
            let page = Page {
                shell: Shell::of(&dashboard, &req, Place::Schedules),
                error: Some(problem.detail),
                is_change,
                name: text("name"),
                cron: text("cron"),
                every_s: text("every_s"),
                zone: text("zone"),
                skip: fields.get("catch_up") == "skip",
                queue: text("queue"),
                kind: text("kind"),
                payload: text("payload"),
                max_attempts: text("max_attempts"),
            };
            let mut response = pages::send(&dashboard, &req, Ok(page));
            *response.status_mut() = problem.status;
            response
        }
    }
}
