//! `/docs/api`: the routes of the API, from the table that registers them.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::Dashboard;
use crate::routes::{ROUTES, Route};
use crate::shell::{Place, Shell};

#[derive(Template)]
#[template(path = "docs.html")]
struct Page {
    shell: Shell,
    routes: Vec<(&'static Route, &'static str)>,
}

pub(crate) async fn show(dashboard: web::Data<Dashboard>, req: HttpRequest) -> HttpResponse {
    let shell = Shell::of(&dashboard, &req, Place::Docs);
    let routes = ROUTES.iter().filter_map(|route| Some((route, shell.lang.t(route.key?)))).collect();
    super::send(&dashboard, &req, Ok(Page { shell, routes }))
}
