//! Who asks over HTTP, and whether they may: one middleware before every route.
//!
//! A program shows its token with every request (`Authorization: Bearer …`). A browser shows it once, on `/login`, and then has a
//! session: a random id in a cookie that scripts cannot read and other sites cannot send. The session holds no right of its own; it
//! ends with the token.

pub(crate) mod login;
mod sessions;

use std::future::{Ready, ready};
use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest, HttpResponse, ResponseError, web};
use windlass_core::access::Caller;
use windlass_core::api::{ApiError, ErrorCode};

pub(crate) use self::sessions::Sessions;
use crate::problem::Problem;
use crate::routes::{Gate, ROUTES, Verb};
use crate::text::encode;
use crate::{Dashboard, pages};

/// The dashboard on behalf of whoever asks, as the middleware has found out.
impl FromRequest for Dashboard {
    type Error = Error;
    type Future = Ready<Result<Dashboard, Error>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(of(req)))
    }
}

fn of(req: &HttpRequest) -> Dashboard {
    let dashboard = req.app_data::<web::Data<Dashboard>>().expect("registered with the routes");
    match req.extensions().get::<Arc<Caller>>() {
        Some(caller) => dashboard.on_behalf_of(Arc::clone(caller)),
        None => Dashboard::clone(dashboard),
    }
}

/// Finds out who asks, and lets them through to what their role is enough for.
pub(crate) async fn authorize(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
    path: &'static str,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let dashboard = of(req.request());
    let gate = gate(req.method(), path);
    let known = identify(&dashboard, req.request());
    if let Ok(caller) = &known {
        req.extensions_mut().insert(Arc::clone(caller));
    }
    let refused = match (gate, known) {
        // A method that is not served is told so without looking at anybody.
        (None | Some(Gate::Open), _) => None,
        (Some(Gate::Needs(_)), Err(error)) => {
            let shown = shows_something(req.request());
            let held_up = if shown { dashboard.inner().sessions.slow_down().await } else { Ok(()) };
            Some(held_up.map_or_else(|busy| busy.error_response(), |()| stranger(req.request(), error)))
        }
        (Some(Gate::Needs(need)), Ok(caller)) if !caller.grant.role.allows(need) => {
            let text = format!("a token with the role {} does not allow this", caller.grant.role);
            let problem = Problem::from(ApiError::new(ErrorCode::Denied, text));
            Some(pages::failure(&of(req.request()), req.request(), problem))
        }
        (Some(Gate::Needs(_)), Ok(_)) => None,
    };
    match refused {
        Some(response) => Ok(req.into_response(response)),
        None => Ok(next.call(req).await?.map_into_boxed_body()),
    }
}

fn gate(method: &Method, path: &str) -> Option<Gate> {
    let serves =
        |verb: Verb| verb.name() == method.as_str() || (verb == Verb::Get && *method == Method::HEAD);
    ROUTES.iter().find(|route| route.path == path && serves(route.verb)).map(|route| route.gate)
}

/// Who asks: by the token of the request, or else by the session of the browser.
fn identify(dashboard: &Dashboard, req: &HttpRequest) -> Result<Arc<Caller>, ApiError> {
    let inner = dashboard.inner();
    let from = address(req);
    if let Some(token) = bearer(req) {
        return inner.backend.identify(Some(token), &from).map(Arc::new);
    }
    if let Some(cookie) = req.cookie(sessions::COOKIE)
        && let Some(caller) = inner.sessions.find(cookie.value())
    {
        if inner.backend.is_live(&caller) {
            return Ok(caller);
        }
        inner.sessions.end(cookie.value());
    }
    inner.backend.identify(None, &from).map(Arc::new)
}

fn bearer(req: &HttpRequest) -> Option<&str> {
    let value = req.headers().get(header::AUTHORIZATION)?;
    // A header that is not text, or of another scheme, is a token that nobody has.
    let text = value.to_str().unwrap_or_default();
    Some(
        text.split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map_or("", |(_, t)| t),
    )
}

fn shows_something(req: &HttpRequest) -> bool {
    req.headers().contains_key(header::AUTHORIZATION)
}

fn address(req: &HttpRequest) -> String {
    req.peer_addr().map_or_else(String::new, |addr| addr.to_string())
}

/// Programs are told that a token is needed; people are taken to where they can show one.
fn stranger(req: &HttpRequest, error: ApiError) -> HttpResponse {
    if *req.method() == Method::GET && pages::wants_html(req) {
        let here = req.uri().path_and_query().map_or("/", |whole| whole.as_str());
        let to = if here == "/" { "/login".to_owned() } else { format!("/login?back={}", encode(here)) };
        return HttpResponse::SeeOther().insert_header((header::LOCATION, to)).finish();
    }
    let title = "An access token is needed";
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", title, error.message);
    let mut response = problem.error_response();
    let challenge = HeaderValue::from_static("Bearer realm=\"windlass\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}
