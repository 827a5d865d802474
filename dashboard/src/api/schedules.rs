//! `/api/v1/schedules`. A schedule in JSON is the spec, its job's fields beside it, and what has happened.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use windlass_core::api::{Request, Response, ScheduleView, body};
use windlass_core::schedule::When;

use super::jobs::Taken;
use super::{JOB_BODY_BYTES_MAX, forward, json, path, read_body, unexpected};
use crate::Dashboard;
use crate::problem::Problem;
use crate::text::now;

/// A schedule as JSON, the job included.
struct Shown<'a>(&'a ScheduleView);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let ScheduleView { spec, .. } = self.0;
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("name", &spec.name)?;
        match &spec.when {
            When::Cron(cron) => map.serialize_entry("cron", cron)?,
            When::EveryMs(ms) => map.serialize_entry("every_ms", ms)?,
        }
        map.serialize_entry("zone", &spec.zone)?;
        map.serialize_entry("catch_up", &spec.catch_up)?;
        map.serialize_entry("queue", &spec.queue)?;
        map.serialize_entry("kind", &spec.job.kind)?;
        let payload = std::str::from_utf8(&spec.job.payload.data).ok();
        if let Some(raw) = payload.and_then(|text| serde_json::from_str::<&RawValue>(text).ok()) {
            map.serialize_entry("payload", raw)?;
        }
        if !spec.job.payload.is_json() {
            map.serialize_entry("content_type", spec.job.payload.mime())?;
        }
        map.serialize_entry("priority", &spec.job.priority)?;
        if let Some(options) = spec.job.options.as_deref() {
            map.serialize_entry("timeout_ms", &options.timeout_ms)?;
            map.serialize_entry("max_attempts", &options.max_attempts)?;
            map.serialize_entry("backoff", &options.backoff)?;
            map.serialize_entry("retention_ms", &options.retention_ms)?;
            map.serialize_entry("tags", &options.tags)?;
            let headers: std::collections::BTreeMap<_, _> = options.headers.iter().cloned().collect();
            map.serialize_entry("headers", &headers)?;
        }
        map.serialize_entry("paused", &self.0.paused)?;
        map.serialize_entry("last_fired", &self.0.last_fired)?;
        map.serialize_entry("last_job", &self.0.last_job)?;
        map.serialize_entry("fired_total", &self.0.fired_total)?;
        map.serialize_entry("skipped_total", &self.0.skipped_total)?;
        map.serialize_entry("next", &self.0.next)?;
        map.end()
    }
}

/// Carries out a request whose answer is one schedule.
async fn one(dashboard: &Dashboard, request: Request) -> Result<HttpResponse, Problem> {
    match dashboard.call(request).await? {
        Response::Schedule(view) => Ok(json(StatusCode::OK, &Shown(&view))),
        other => Err(unexpected(&other).into()),
    }
}

pub(crate) async fn list(dashboard: Dashboard) -> Result<HttpResponse, Problem> {
    match dashboard.call(Request::ListSchedules).await? {
        Response::Schedules(views) => Ok(json(StatusCode::OK, &views.iter().map(Shown).collect::<Vec<_>>())),
        other => Err(unexpected(&other).into()),
    }
}

async fn save(
    dashboard: &Dashboard,
    req: &HttpRequest,
    payload: web::Payload,
    name: Option<String>,
) -> Result<HttpResponse, Problem> {
    let body = read_body(dashboard, req, payload, JOB_BODY_BYTES_MAX).await?;
    let spec = body::schedule(&body.bytes)?.into_spec(name, now())?;
    one(dashboard, Request::PutSchedule(spec)).await
}

pub(crate) async fn put(
    dashboard: Dashboard,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    save(&dashboard, &req, payload, None).await
}

pub(crate) async fn put_named(
    dashboard: Dashboard,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let name = path(&req, "name")?;
    save(&dashboard, &req, payload, Some(name)).await
}

pub(crate) async fn get(dashboard: Dashboard, req: HttpRequest) -> Result<HttpResponse, Problem> {
    one(&dashboard, Request::GetSchedule { name: path(&req, "name")? }).await
}

pub(crate) async fn delete(dashboard: Dashboard, req: HttpRequest) -> Result<HttpResponse, Problem> {
    forward(&dashboard, Request::DeleteSchedule { name: path(&req, "name")? }).await
}

pub(crate) async fn pause(dashboard: Dashboard, req: HttpRequest) -> Result<HttpResponse, Problem> {
    one(&dashboard, Request::PauseSchedule { name: path(&req, "name")? }).await
}

pub(crate) async fn resume(dashboard: Dashboard, req: HttpRequest) -> Result<HttpResponse, Problem> {
    one(&dashboard, Request::ResumeSchedule { name: path(&req, "name")? }).await
}

pub(crate) async fn trigger(dashboard: Dashboard, req: HttpRequest) -> Result<HttpResponse, Problem> {
    match dashboard.call(Request::TriggerSchedule { name: path(&req, "name")? }).await? {
        Response::Enqueued(entries) if entries.len() == 1 => {
            Ok(json(StatusCode::CREATED, &Taken::from(&entries[0])))
        }
        other => Err(unexpected(&other).into()),
    }
}
