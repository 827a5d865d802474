//! `/api/v1/bulk`: operations on many jobs.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use windlass_core::api::{BulkSpec, Request, Response, body};

use super::{forward, json, read_body, unexpected};
use crate::Dashboard;
use crate::problem::Problem;

/// Largest body: a filter and a reason with their escapes.
const BODY_BYTES_MAX: usize = 64 * 1024;

pub(crate) async fn start(
    dashboard: Dashboard,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let bytes = read_body(&dashboard, &req, payload, BODY_BYTES_MAX).await?.bytes;
    let spec: BulkSpec = body::read(&bytes)?;
    match dashboard.call(Request::StartBulk(spec)).await? {
        // It goes on after this answer.
        Response::Bulk(view) => Ok(json(StatusCode::ACCEPTED, &view)),
        other => Err(unexpected(&other).into()),
    }
}

pub(crate) async fn list(dashboard: Dashboard) -> Result<HttpResponse, Problem> {
    forward(&dashboard, Request::ListBulks).await
}

pub(crate) async fn get(dashboard: Dashboard, req: HttpRequest) -> Result<HttpResponse, Problem> {
    forward(&dashboard, Request::GetBulk { id: number(&req)? }).await
}

pub(crate) async fn cancel(dashboard: Dashboard, req: HttpRequest) -> Result<HttpResponse, Problem> {
    forward(&dashboard, Request::CancelBulk { id: number(&req)? }).await
}

/// The number of the operation in the path.
pub(crate) fn number(req: &HttpRequest) -> Result<u64, Problem> {
    let text = req.match_info().query("bulk");
    text.parse().map_err(|_| Problem::malformed(format!("an operation has a number, not {text:?}")))
}
