//! Every route, in one table. Registration, the page about the API and the tests that walk all routes read it, so that
//! none of them can forget one.

use actix_web::http::Method;
use actix_web::middleware::{Compress, from_fn};
use actix_web::{HttpRequest, HttpResponse, ResponseError, guard as when, web};

use crate::problem::Problem;
use crate::{Dashboard, api, assets, forms, guard, live, openapi, pages};

/// The method of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Reads; HEAD is answered too.
    Get,
    /// Changes something.
    Post,
    /// Creates or replaces.
    Put,
    /// Removes.
    Delete,
}

impl Verb {
    /// The method's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Post => "POST",
            Verb::Put => "PUT",
            Verb::Delete => "DELETE",
        }
    }

    /// The methods of the header `Allow`.
    fn names(self) -> &'static [&'static str] {
        match self {
            Verb::Get => &["GET", "HEAD"],
            Verb::Post => &["POST"],
            Verb::Put => &["PUT"],
            Verb::Delete => &["DELETE"],
        }
    }
}

/// One route.
pub struct Route {
    /// Its method.
    pub verb: Verb,
    /// Its path, with `{name}` for a segment that varies.
    pub path: &'static str,
    /// Key of its description in the catalogue; routes without one are pages and files, not part of the API.
    pub(crate) key: Option<&'static str>,
    to: fn() -> actix_web::Route,
}

macro_rules! route {
    ($verb:ident $path:literal => $($handler:ident)::+) => {
        Route { verb: Verb::$verb, path: $path, key: None, to: || web::to($($handler)::+) }
    };
    ($verb:ident $path:literal => $($handler:ident)::+, $key:literal) => {
        Route { verb: Verb::$verb, path: $path, key: Some($key), to: || web::to($($handler)::+) }
    };
}

/// Every route that the dashboard serves.
pub const ROUTES: &[Route] = &[
    route!(Post "/api/v1/jobs" => api::jobs::enqueue, "route.enqueue"),
    route!(Post "/api/v1/jobs/batch" => api::jobs::enqueue_batch, "route.batch"),
    route!(Post "/api/v1/events" => api::events::take, "route.events"),
    route!(Get "/api/v1/jobs" => api::jobs::list, "route.jobs"),
    route!(Get "/api/v1/jobs/{id}" => api::jobs::get, "route.job"),
    route!(Get "/api/v1/jobs/{id}/wait" => api::jobs::wait, "route.wait"),
    route!(Post "/api/v1/jobs/{id}/cancel" => api::jobs::cancel, "route.cancel"),
    route!(Post "/api/v1/jobs/{id}/retry" => api::jobs::retry, "route.retry"),
    route!(Delete "/api/v1/jobs/{id}" => api::jobs::delete, "route.delete"),
    route!(Post "/api/v1/fetch" => api::work::fetch, "route.fetch"),
    route!(Post "/api/v1/heartbeat" => api::work::heartbeat_all, "route.heartbeat_all"),
    route!(Post "/api/v1/jobs/{id}/ack" => api::work::ack, "route.ack"),
    route!(Post "/api/v1/jobs/{id}/fail" => api::work::fail, "route.fail"),
    route!(Post "/api/v1/jobs/{id}/snooze" => api::work::snooze, "route.snooze"),
    route!(Post "/api/v1/jobs/{id}/release" => api::work::release, "route.release"),
    route!(Post "/api/v1/jobs/{id}/heartbeat" => api::work::heartbeat, "route.heartbeat"),
    route!(Post "/api/v1/jobs/{id}/progress" => api::work::progress, "route.progress"),
    route!(Post "/api/v1/bulk" => api::bulk::start, "route.bulk_start"),
    route!(Get "/api/v1/bulk" => api::bulk::list, "route.bulk_list"),
    route!(Get "/api/v1/bulk/{bulk}" => api::bulk::get, "route.bulk_get"),
    route!(Post "/api/v1/bulk/{bulk}/cancel" => api::bulk::cancel, "route.bulk_cancel"),
    route!(Get "/api/v1/queues" => api::queues::list, "route.queues"),
    route!(Post "/api/v1/queues/{queue}/pause" => api::queues::pause, "route.pause"),
    route!(Post "/api/v1/queues/{queue}/resume" => api::queues::resume, "route.resume"),
    route!(Post "/api/v1/queues/{queue}/dead/retry" => api::queues::retry_dead, "route.dead_retry"),
    route!(Post "/api/v1/queues/{queue}/dead/delete" => api::queues::delete_dead, "route.dead_delete"),
    route!(Get "/api/v1/workers" => api::queues::workers, "route.workers"),
    route!(Delete "/api/v1/workers/{worker}" => api::work::leave, "route.leave"),
    route!(Get "/api/v1/overview" => api::queues::overview, "route.overview"),
    route!(Get "/api/v1/schedules" => api::schedules::list, "route.schedules"),
    route!(Post "/api/v1/schedules" => api::schedules::put, "route.schedule_put"),
    route!(Get "/api/v1/schedules/{name}" => api::schedules::get, "route.schedule"),
    route!(Put "/api/v1/schedules/{name}" => api::schedules::put_named, "route.schedule_put_named"),
    route!(Delete "/api/v1/schedules/{name}" => api::schedules::delete, "route.schedule_delete"),
    route!(Post "/api/v1/schedules/{name}/pause" => api::schedules::pause, "route.schedule_pause"),
    route!(Post "/api/v1/schedules/{name}/resume" => api::schedules::resume, "route.schedule_resume"),
    route!(Post "/api/v1/schedules/{name}/trigger" => api::schedules::trigger, "route.schedule_trigger"),
    route!(Get "/api/v1/openapi.json" => openapi::serve, "route.openapi"),
    route!(Get "/metrics" => api::metrics::metrics, "route.metrics"),
    route!(Get "/healthz" => api::metrics::healthz, "route.healthz"),
    route!(Get "/readyz" => api::metrics::readyz, "route.readyz"),
    route!(Get "/" => pages::overview::show),
    route!(Get "/queues" => pages::queues::show),
    route!(Get "/jobs" => pages::jobs::show),
    route!(Get "/jobs/{id}" => pages::job::show),
    route!(Get "/bulk" => pages::bulks::show),
    route!(Post "/bulk" => forms::bulk::submit),
    route!(Get "/bulk/{bulk}" => pages::bulk::show),
    route!(Get "/workers" => pages::workers::show),
    route!(Get "/schedules" => pages::schedules::show),
    route!(Get "/schedules/new" => forms::schedule::show),
    route!(Post "/schedules/new" => forms::schedule::submit),
    route!(Get "/enqueue" => forms::enqueue::show),
    route!(Post "/enqueue" => forms::enqueue::submit),
    route!(Post "/do" => forms::action::submit),
    route!(Get "/docs/api" => pages::docs::show),
    route!(Get "/live" => live::stream),
    route!(Get "/assets/{version}/{file:.+}" => assets::serve),
];

/// Puts the table into an application, behind the guard.
pub(crate) fn register(cfg: &mut web::ServiceConfig, dashboard: Dashboard) {
    // Compression is inside the guard, so that the headers are put on the final answer.
    let mut scope = web::scope("").wrap(Compress::default()).wrap(from_fn(guard::guard));
    let mut done: Vec<&str> = Vec::new();
    for first in ROUTES {
        if done.contains(&first.path) {
            continue;
        }
        done.push(first.path);
        let mut resource = web::resource(first.path);
        let mut allow: Vec<&str> = Vec::new();
        for route in ROUTES.iter().filter(|route| route.path == first.path) {
            let to = (route.to)();
            resource = resource.route(match route.verb {
                Verb::Get => to.guard(when::Any(when::Get()).or(when::Head())),
                Verb::Post => to.method(Method::POST),
                Verb::Put => to.method(Method::PUT),
                Verb::Delete => to.method(Method::DELETE),
            });
            allow.extend(route.verb.names());
        }
        let allow = allow.join(", ");
        scope = scope.service(resource.default_service(web::to(move || {
            let answer = Problem::method_not_allowed(&allow).error_response();
            async move { answer }
        })));
    }
    cfg.app_data(web::Data::new(dashboard)).service(scope.default_service(web::to(unknown)));
}

/// No such address: a page for people, a problem for programs.
async fn unknown(dashboard: web::Data<Dashboard>, req: HttpRequest) -> HttpResponse {
    let problem =
        Problem::not_found(format!("there is nothing at {}; /docs/api lists what there is", req.path()));
    pages::failure(&dashboard, &req, problem)
}
