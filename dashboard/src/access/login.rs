//! `/login` and `/logout`: a token becomes a session of this browser, and the session ends.

use std::sync::Arc;

use actix_web::cookie::{Cookie, SameSite, time::Duration};
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use askama::Template;

use super::address;
use super::sessions::{COOKIE, LIFETIME};
use crate::forms::{Fields, safe_back};
use crate::shell::{Place, Shell, parameter};
use crate::{Dashboard, pages};

#[derive(Template)]
#[template(path = "login.html")]
struct Page {
    shell: Shell,
    back: String,
    wrong: bool,
}

pub(crate) async fn show(dashboard: Dashboard, req: HttpRequest) -> HttpResponse {
    let back = safe_back(&parameter(&req, "back").unwrap_or_default()).to_owned();
    let shell = Shell::of(&dashboard, &req, Place::Nowhere);
    pages::send(&dashboard, &req, Ok(Page { shell, back, wrong: false }))
}

pub(crate) async fn submit(dashboard: Dashboard, req: HttpRequest, payload: web::Payload) -> HttpResponse {
    let fields = match Fields::read(&dashboard, &req, payload).await {
        Ok(fields) => fields,
        Err(problem) => return pages::failure(&dashboard, &req, problem),
    };
    let back = safe_back(fields.get("back")).to_owned();
    let inner = dashboard.inner();
    match inner.backend.identify(Some(fields.get("token")), &address(&req)) {
        Ok(caller) => {
            // A session that the browser had before is of no use to anybody.
            if let Some(old) = req.cookie(COOKIE) {
                inner.sessions.end(old.value());
            }
            let id = inner.sessions.begin(Arc::new(caller));
            let seconds = i64::try_from(LIFETIME.as_secs()).unwrap_or(i64::MAX);
            see_other(&back, cookie(&dashboard, &req, id, seconds))
        }
        Err(_) => {
            if let Err(problem) = inner.sessions.slow_down().await {
                return problem.error_response();
            }
            let shell = Shell::of(&dashboard, &req, Place::Nowhere);
            let mut response = pages::send(&dashboard, &req, Ok(Page { shell, back, wrong: true }));
            *response.status_mut() = StatusCode::FORBIDDEN;
            response
        }
    }
}

pub(crate) async fn leave(dashboard: Dashboard, req: HttpRequest) -> HttpResponse {
    if let Some(old) = req.cookie(COOKIE) {
        dashboard.inner().sessions.end(old.value());
    }
    see_other("/login", cookie(&dashboard, &req, String::new(), 0))
}

fn see_other(to: &str, cookie: Cookie<'_>) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((header::LOCATION, to)).cookie(cookie).finish()
}

/// Out of reach of scripts and of other sites; over TLS, here or at a proxy, never sent without it.
fn cookie(dashboard: &Dashboard, req: &HttpRequest, value: String, seconds: i64) -> Cookie<'static> {
    let secure = dashboard.options().tls || req.connection_info().scheme() == "https";
    Cookie::build(COOKIE, value)
        .path("/")
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(secure)
        .max_age(Duration::seconds(seconds))
        .finish()
}
