//! `/api/v1/queues`, `/api/v1/workers`, `/api/v1/overview`.

use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use windlass_core::api::Request;

use super::{forward, path, query};
use crate::Dashboard;
use crate::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfKind {
    kind: Option<String>,
}

pub(crate) async fn list(dashboard: Dashboard) -> Result<HttpResponse, Problem> {
    forward(&dashboard, Request::ListQueues).await
}

pub(crate) async fn pause(dashboard: Dashboard, req: HttpRequest) -> Result<HttpResponse, Problem> {
    forward(&dashboard, Request::PauseQueue { queue: path(&req, "queue")? }).await
}

pub(crate) async fn resume(dashboard: Dashboard, req: HttpRequest) -> Result<HttpResponse, Problem> {
    forward(&dashboard, Request::ResumeQueue { queue: path(&req, "queue")? }).await
}

pub(crate) async fn retry_dead(dashboard: Dashboard, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let of: OfKind = query(&req)?;
    forward(&dashboard, Request::RetryDead { queue: path(&req, "queue")?, kind: of.kind }).await
}

pub(crate) async fn delete_dead(dashboard: Dashboard, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let of: OfKind = query(&req)?;
    forward(&dashboard, Request::DeleteDead { queue: path(&req, "queue")?, kind: of.kind }).await
}

pub(crate) async fn workers(dashboard: Dashboard) -> Result<HttpResponse, Problem> {
    forward(&dashboard, Request::ListWorkers).await
}

pub(crate) async fn overview(dashboard: Dashboard) -> Result<HttpResponse, Problem> {
    forward(&dashboard, Request::GetOverview).await
}
