//! `/bulk`: operations on many jobs, newest first.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use windlass_core::api::{Request, Response};

use super::bulk::Operation;
use crate::Dashboard;
use crate::api::unexpected;
use crate::problem::Problem;
use crate::shell::{Place, Shell};

#[derive(Template)]
#[template(path = "bulks.html", blocks = ["list"])]
pub(crate) struct Page {
    shell: Shell,
    operations: Vec<Operation>,
}

super::fragments!(Page: "bulks" as_list);

/// The node remembers a hundred at most, so all of them are shown.
pub(crate) async fn load(dashboard: &Dashboard, shell: Shell) -> Result<Page, Problem> {
    match dashboard.call(Request::ListBulks).await? {
        Response::Bulks(views) => {
            Ok(Page { shell, operations: views.into_iter().map(|view| Operation { view }).collect() })
        }
        other => Err(unexpected(&other).into()),
    }
}

pub(crate) async fn show(dashboard: Dashboard, req: HttpRequest) -> HttpResponse {
    let shell = Shell::of(&dashboard, &req, Place::Jobs);
    super::send(&dashboard, &req, load(&dashboard, shell).await)
}
