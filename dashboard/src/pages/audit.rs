//! `/audit`: what operators and admins changed.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use windlass_core::api::{AuditEntry, AuditPage, Request, Response};

use crate::Dashboard;
use crate::api::unexpected;
use crate::problem::Problem;
use crate::shell::{Place, Shell, parameter};

/// Entries on one page.
const SHOWN: u32 = 100;

#[derive(Template)]
#[template(path = "audit.html")]
struct Page {
    shell: Shell,
    entries: Vec<AuditEntry>,
    older: Option<u64>,
}

async fn load(dashboard: &Dashboard, req: &HttpRequest) -> Result<Page, Problem> {
    let before = parameter(req, "before").map(|text| {
        text.parse::<u64>().map_err(|_| Problem::malformed(format!("an entry has a number, not {text:?}")))
    });
    let request = Request::ListAudit { before: before.transpose()?, limit: Some(SHOWN) };
    match dashboard.call(request).await? {
        Response::Audit(AuditPage { entries, next }) => {
            Ok(Page { shell: Shell::of(dashboard, req, Place::Audit), entries, older: next })
        }
        other => Err(unexpected(&other).into()),
    }
}

pub(crate) async fn show(dashboard: Dashboard, req: HttpRequest) -> HttpResponse {
    super::send(&dashboard, &req, load(&dashboard, &req).await)
}
