//! `/api/v1/cluster` and `/api/v1/nodes`.

use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use windlass_core::api::Request;
use windlass_core::limits;

use super::{forward, path, query};
use crate::Dashboard;
use crate::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hold {
    hold_ms: Option<u64>,
}

pub(crate) async fn get(dashboard: Dashboard) -> Result<HttpResponse, Problem> {
    forward(&dashboard, Request::GetCluster).await
}

pub(crate) async fn drain(dashboard: Dashboard, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let Hold { hold_ms } = query(&req)?;
    let node = Some(path(&req, "name")?);
    let hold_ms = hold_ms.unwrap_or(limits::DRAIN_HOLD_MS_DEFAULT);
    forward(&dashboard, Request::DrainNode { node, hold_ms }).await
}
