//! Every route, in one table. Registration, the page about the API and the tests that walk all routes read it, so that
//! none of them can forget one.

use actix_web::http::Method;
use actix_web::middleware::{Compress, from_fn};
use actix_web::{HttpRequest, HttpResponse, ResponseError, guard as when, web};

use windlass_core::access::Need;

use crate::problem::Problem;
use crate::{Dashboard, access, api, assets, forms, guard, live, openapi, pages};

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
    /// Who may use it.
    pub gate: Gate,
    /// Its path, with `{name}` for a segment that varies.
    pub path: &'static str,
    /// Key of its description in the catalogue; routes without one are pages and files, not part of the API.
    pub(crate) key: Option<&'static str>,
    to: fn() -> actix_web::Route,
}

/// What somebody needs to use a route, before anything is read of what they ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Nothing: signs of life, files, and the way in.
    Open,
    /// A token whose role is enough for this.
    Needs(Need),
}

macro_rules! gate {
    (Open) => {
        Gate::Open
    };
    ($need:ident) => {
        Gate::Needs(Need::$need)
    };
}

macro_rules! route {
    ($verb:ident $gate:ident $path:literal => $($handler:ident)::+) => {
        Route { verb: Verb::$verb, gate: gate!($gate), path: $path, key: None, to: || web::to($($handler)::+) }
    };
    ($verb:ident $gate:ident $path:literal => $($handler:ident)::+, $key:literal) => {
        Route { verb: Verb::$verb, gate: gate!($gate), path: $path, key: Some($key), to: || web::to($($handler)::+) }
    };
}

/// Every route that the dashboard serves.
pub const ROUTES: &[Route] = &[
    route!(Post Enqueue "/api/v1/jobs" => api::jobs::enqueue, "route.enqueue"),
    route!(Post Enqueue "/api/v1/jobs/batch" => api::jobs::enqueue_batch, "route.batch"),
    route!(Post Enqueue "/api/v1/events" => api::events::take, "route.events"),
    route!(Get Read "/api/v1/jobs" => api::jobs::list, "route.jobs"),
    route!(Get Look "/api/v1/jobs/{id}" => api::jobs::get, "route.job"),
    route!(Get Look "/api/v1/jobs/{id}/wait" => api::jobs::wait, "route.wait"),
    route!(Post Steer "/api/v1/jobs/{id}/cancel" => api::jobs::cancel, "route.cancel"),
    route!(Post Steer "/api/v1/jobs/{id}/retry" => api::jobs::retry, "route.retry"),
    route!(Delete Steer "/api/v1/jobs/{id}" => api::jobs::delete, "route.delete"),
    route!(Post Work "/api/v1/fetch" => api::work::fetch, "route.fetch"),
    route!(Post Work "/api/v1/heartbeat" => api::work::heartbeat_all, "route.heartbeat_all"),
    route!(Post Work "/api/v1/jobs/{id}/ack" => api::work::ack, "route.ack"),
    route!(Post Work "/api/v1/jobs/{id}/fail" => api::work::fail, "route.fail"),
    route!(Post Work "/api/v1/jobs/{id}/snooze" => api::work::snooze, "route.snooze"),
    route!(Post Work "/api/v1/jobs/{id}/release" => api::work::release, "route.release"),
    route!(Post Work "/api/v1/jobs/{id}/heartbeat" => api::work::heartbeat, "route.heartbeat"),
    route!(Post Work "/api/v1/jobs/{id}/progress" => api::work::progress, "route.progress"),
    route!(Post Steer "/api/v1/bulk" => api::bulk::start, "route.bulk_start"),
    route!(Get Read "/api/v1/bulk" => api::bulk::list, "route.bulk_list"),
    route!(Get Read "/api/v1/bulk/{bulk}" => api::bulk::get, "route.bulk_get"),
    route!(Post Steer "/api/v1/bulk/{bulk}/cancel" => api::bulk::cancel, "route.bulk_cancel"),
    route!(Get Read "/api/v1/queues" => api::queues::list, "route.queues"),
    route!(Post Steer "/api/v1/queues/{queue}/pause" => api::queues::pause, "route.pause"),
    route!(Post Steer "/api/v1/queues/{queue}/resume" => api::queues::resume, "route.resume"),
    route!(Post Steer "/api/v1/queues/{queue}/dead/retry" => api::queues::retry_dead, "route.dead_retry"),
    route!(Post Steer "/api/v1/queues/{queue}/dead/delete" => api::queues::delete_dead, "route.dead_delete"),
    route!(Get Read "/api/v1/workers" => api::queues::workers, "route.workers"),
    route!(Delete Work "/api/v1/workers/{worker}" => api::work::leave, "route.leave"),
    route!(Get Read "/api/v1/overview" => api::queues::overview, "route.overview"),
    route!(Get Read "/api/v1/cluster" => api::cluster::get, "route.cluster"),
    route!(Post Steer "/api/v1/nodes/{name}/drain" => api::cluster::drain, "route.node_drain"),
    route!(Get Read "/api/v1/schedules" => api::schedules::list, "route.schedules"),
    route!(Post Steer "/api/v1/schedules" => api::schedules::put, "route.schedule_put"),
    route!(Get Read "/api/v1/schedules/{name}" => api::schedules::get, "route.schedule"),
    route!(Put Steer "/api/v1/schedules/{name}" => api::schedules::put_named, "route.schedule_put_named"),
    route!(Delete Steer "/api/v1/schedules/{name}" => api::schedules::delete, "route.schedule_delete"),
    route!(Post Steer "/api/v1/schedules/{name}/pause" => api::schedules::pause, "route.schedule_pause"),
    route!(Post Steer "/api/v1/schedules/{name}/resume" => api::schedules::resume, "route.schedule_resume"),
    route!(Post Steer "/api/v1/schedules/{name}/trigger" => api::schedules::trigger, "route.schedule_trigger"),
    route!(Get Manage "/api/v1/tokens" => api::tokens::list, "route.tokens"),
    route!(Post Manage "/api/v1/tokens" => api::tokens::create, "route.token_create"),
    route!(Delete Manage "/api/v1/tokens/{token}" => api::tokens::revoke, "route.token_revoke"),
    route!(Get Review "/api/v1/audit" => api::tokens::audit, "route.audit"),
    route!(Get Known "/api/v1/openapi.json" => openapi::serve, "route.openapi"),
    route!(Get Read "/metrics" => api::metrics::metrics, "route.metrics"),
    route!(Get Open "/metrics/node" => api::metrics::node, "route.metrics_node"),
    route!(Get Open "/healthz" => api::metrics::healthz, "route.healthz"),
    route!(Get Open "/readyz" => api::metrics::readyz, "route.readyz"),
    route!(Get Read "/" => pages::overview::show),
    route!(Get Read "/queues" => pages::queues::show),
    route!(Get Read "/jobs" => pages::jobs::show),
    route!(Get Look "/jobs/{id}" => pages::job::show),
    route!(Get Read "/bulk" => pages::bulks::show),
    route!(Post Steer "/bulk" => forms::bulk::submit),
    route!(Get Read "/bulk/{bulk}" => pages::bulk::show),
    route!(Get Read "/workers" => pages::workers::show),
    route!(Get Read "/cluster" => pages::cluster::show),
    route!(Get Read "/schedules" => pages::schedules::show),
    route!(Get Steer "/schedules/new" => forms::schedule::show),
    route!(Post Steer "/schedules/new" => forms::schedule::submit),
    route!(Get Enqueue "/enqueue" => forms::enqueue::show),
    route!(Post Enqueue "/enqueue" => forms::enqueue::submit),
    route!(Post Steer "/do" => forms::action::submit),
    route!(Get Review "/audit" => pages::audit::show),
    route!(Get Open "/login" => access::login::show),
    route!(Post Open "/login" => access::login::submit),
    route!(Post Open "/logout" => access::login::leave),
    route!(Get Known "/docs/api" => pages::docs::show),
    route!(Get Look "/live" => live::stream),
    route!(Get Open "/assets/{version}/{file:.+}" => assets::serve),
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
        let path = first.path;
        let resource = resource.wrap(from_fn(move |req, next| access::authorize(req, next, path)));
        let allow = allow.join(", ");
        scope = scope.service(resource.default_service(web::to(move || {
            let answer = Problem::method_not_allowed(&allow).error_response();
            async move { answer }
        })));
    }
    cfg.app_data(web::Data::new(dashboard)).service(scope.default_service(web::to(unknown)));
}

/// No such address: a page for people, a problem for programs.
async fn unknown(dashboard: Dashboard, req: HttpRequest) -> HttpResponse {
    let problem =
        Problem::not_found(format!("there is nothing at {}; /docs/api lists what there is", req.path()));
    pages::failure(&dashboard, &req, problem)
}
