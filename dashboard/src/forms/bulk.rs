//! `POST /bulk`: counts what an operation on many jobs would touch, and begins it when the count was seen and answered.

use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use windlass_core::api::{BulkAct, BulkSpec, BulkView, Request, Response};

use super::{Fields, number};
use crate::Dashboard;
use crate::api::unexpected;
use crate::pages;
use crate::problem::Problem;

/// How often a count is looked at before its page is sent, and the wait between: a small count is there when the page is,
/// also without scripts; a large one goes on below it.
const LOOKS: u32 = 20;
const LOOK: Duration = Duration::from_millis(50);

fn read(fields: &Fields) -> Result<BulkSpec, Problem> {
    let named = fields.get("act");
    let act = BulkAct::ALL.into_iter().find(|act| act.name() == named);
    Ok(BulkSpec {
        act: act.ok_or_else(|| Problem::invalid(format!("there is no action {named:?} on many jobs")))?,
        filter: fields.get("filter").to_owned(),
        reason: fields.get("reason").trim().to_owned(),
        pace: number(fields, "pace", "the pace")?,
        dry_run: fields.get("run") != "yes",
    })
}

async fn begin(dashboard: &Dashboard, spec: BulkSpec) -> Result<BulkView, Problem> {
    let mut view = ask(dashboard, Request::StartBulk(spec)).await?;
    for _ in 0..LOOKS {
        if view.state.is_over() || !view.dry_run {
            break;
        }
        tokio::time::sleep(LOOK).await;
        view = ask(dashboard, Request::GetBulk { id: view.id }).await?;
    }
    Ok(view)
}

async fn ask(dashboard: &Dashboard, request: Request) -> Result<BulkView, Problem> {
    match dashboard.call(request).await? {
        Response::Bulk(view) => Ok(*view),
        other => Err(unexpected(&other).into()),
    }
}

pub(crate) async fn submit(dashboard: Dashboard, req: HttpRequest, payload: web::Payload) -> HttpResponse {
    let spec = match Fields::read(&dashboard, &req, payload).await {
        Ok(fields) => read(&fields),
        Err(problem) => Err(problem),
    };
    let begun = match spec {
        Ok(spec) => begin(&dashboard, spec).await,
        Err(problem) => Err(problem),
    };
    match begun {
        Ok(view) => {
            HttpResponse::SeeOther().insert_header((header::LOCATION, format!("/bulk/{}", view.id))).finish()
        }
        Err(problem) => pages::failure(&dashboard, &req, problem),
    }
}
