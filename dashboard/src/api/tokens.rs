//! `/api/v1/tokens` and `/api/v1/audit`: who is let in, and what operators did.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use windlass_core::api::{Request, Response, TokenSpec, body};

use super::{forward, json, path, query, read_body, unexpected};
use crate::Dashboard;
use crate::problem::Problem;

/// Largest body: a name and 64 queue patterns with their escapes.
const BODY_BYTES_MAX: usize = 64 * 1024;

pub(crate) async fn list(dashboard: Dashboard) -> Result<HttpResponse, Problem> {
    forward(&dashboard, Request::ListTokens).await
}

pub(crate) async fn create(
    dashboard: Dashboard,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let bytes = read_body(&dashboard, &req, payload, BODY_BYTES_MAX).await?.bytes;
    let spec: TokenSpec = body::read(&bytes)?;
    match dashboard.call(Request::CreateToken(spec)).await? {
        Response::TokenMade(made) => Ok(json(StatusCode::CREATED, &made)),
        other => Err(unexpected(&other).into()),
    }
}

pub(crate) async fn revoke(dashboard: Dashboard, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let token: String = path(&req, "token")?;
    match dashboard.call(Request::RevokeToken { token }).await? {
        Response::Tokens(tokens) if tokens.len() == 1 => Ok(json(StatusCode::OK, &tokens[0])),
        other => Err(unexpected(&other).into()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    before: Option<u64>,
    limit: Option<u32>,
}

pub(crate) async fn audit(dashboard: Dashboard, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let Page { before, limit } = query(&req)?;
    forward(&dashboard, Request::ListAudit { before, limit }).await
}
