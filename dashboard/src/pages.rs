//! The pages. Each has a view that loads what it shows, and a template whose named blocks are the fragments that the
//! live stream sends again when they change.

pub(crate) mod audit;
pub(crate) mod bulk;
pub(crate) mod bulks;
pub(crate) mod cluster;
pub(crate) mod docs;
pub(crate) mod job;
pub(crate) mod jobs;
pub(crate) mod overview;
pub(crate) mod queues;
pub(crate) mod schedules;
pub(crate) mod workers;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;
use windlass_core::access::Operation;
use windlass_core::id::JobId;

use crate::Dashboard;
use crate::i18n::Lang;
use crate::problem::Problem;
use crate::shell::{self, Place, Shell};

/// A part of a page that changes: the id of its element, and the element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub(crate) id: &'static str,
    pub(crate) html: String,
}

/// A page that the live stream can follow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum View {
    Overview,
    Queues,
    Jobs(jobs::Filter),
    Job(JobId),
    Bulks,
    Bulk(u64),
    Workers,
    Cluster,
    Schedules,
}

impl View {
    /// The view of an address on this node, such as `/jobs?state=dead`; `None` for pages that do not change.
    pub(crate) fn of(address: &str) -> Option<View> {
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        match path {
            "/" => Some(View::Overview),
            "/queues" => Some(View::Queues),
            "/jobs" => jobs::Filter::of(query).ok().map(View::Jobs),
            "/workers" => Some(View::Workers),
            "/cluster" => Some(View::Cluster),
            "/schedules" => Some(View::Schedules),
            "/bulk" => Some(View::Bulks),
            _ => match path.strip_prefix("/bulk/") {
                Some(id) => id.parse().ok().map(View::Bulk),
                None => path.strip_prefix("/jobs/")?.parse().ok().map(View::Job),
            },
        }
    }

    /// What its watcher does all the time.
    pub(crate) fn operation(&self) -> Operation {
        match self {
            View::Overview => Operation::GetOverview,
            View::Queues => Operation::ListQueues,
            View::Jobs(_) => Operation::SearchJobs,
            View::Job(_) => Operation::GetJob,
            View::Bulks => Operation::ListBulks,
            View::Bulk(_) => Operation::GetBulk,
            View::Workers => Operation::ListWorkers,
            View::Cluster => Operation::GetCluster,
            View::Schedules => Operation::ListSchedules,
        }
    }

    /// The parts of the page as they are now.
    pub(crate) async fn fragments(
        &self,
        dashboard: &Dashboard,
        shell: Shell,
    ) -> Result<Vec<Fragment>, Problem> {
        let drawn = match self {
            View::Overview => overview::load(dashboard, shell).await?.fragments(),
            View::Queues => queues::load(dashboard, shell).await?.fragments(),
            View::Jobs(filter) => jobs::load(dashboard, shell, filter.clone()).await?.fragments(),
            View::Job(id) => job::load(dashboard, shell, *id).await?.fragments(),
            View::Bulks => bulks::load(dashboard, shell).await?.fragments(),
            View::Bulk(id) => bulk::load(dashboard, shell, *id).await?.fragments(),
            View::Cluster => cluster::load(dashboard, shell).await?.fragments(),
            View::Workers => workers::load(dashboard, shell).await?.fragments(),
            View::Schedules => schedules::load(dashboard, shell).await?.fragments(),
        };
        drawn.map_err(|e| broken(&e))
    }
}

fn broken(error: &askama::Error) -> Problem {
    let text = format!("the page cannot be drawn: {error}");
    windlass_core::api::ApiError::new(windlass_core::api::ErrorCode::Internal, text).into()
}

/// Gives a page its `fragments`: the element id and the method of the template's block for each.
macro_rules! fragments {
    ($page:ty: $($id:literal $block:ident),+) => {
        impl $page {
            pub(crate) fn fragments(&self) -> askama::Result<Vec<$crate::pages::Fragment>> {
                Ok(vec![$($crate::pages::Fragment { id: $id, html: self.$block().render()? }),+])
            }
        }
    };
}
pub(crate) use fragments;

/// Sends a page, or says what went wrong.
pub(crate) fn send<T: Template>(
    dashboard: &Dashboard,
    req: &HttpRequest,
    page: Result<T, Problem>,
) -> HttpResponse {
    let drawn = page.and_then(|page| page.render().map_err(|e| broken(&e)));
    match drawn {
        Ok(text) => html(req, HttpResponse::Ok(), text),
        Err(problem) => failure(dashboard, req, problem),
    }
}

/// Finishes an HTML answer: choices that came in the address go into cookies, the notice is shown once.
pub(crate) fn html(
    req: &HttpRequest,
    mut response: actix_web::HttpResponseBuilder,
    text: String,
) -> HttpResponse {
    response.content_type("text/html; charset=utf-8");
    response.insert_header((header::VARY, "Accept-Language, Cookie"));
    if let Some(lang) = shell::parameter(req, "lang").and_then(|tag| Lang::of_tag(&tag)) {
        response.cookie(shell::cookie(shell::LANG_COOKIE, lang.code().to_owned(), shell::YEAR));
    }
    if req.cookie(shell::NOTICE_COOKIE).is_some() {
        response.cookie(shell::cookie(shell::NOTICE_COOKIE, String::new(), 0));
    }
    response.body(text)
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    shell: Shell,
    problem: Problem,
}

/// An error as a page for people, or as a problem for programs.
pub(crate) fn failure(dashboard: &Dashboard, req: &HttpRequest, problem: Problem) -> HttpResponse {
    if !wants_html(req) {
        return problem.error_response();
    }
    let status = problem.status;
    let shell = Shell::of(dashboard, req, Place::Nowhere);
    match (ErrorPage { shell, problem: problem.clone() }).render() {
        Ok(text) => html(req, HttpResponse::build(status), text),
        Err(_) => problem.error_response(),
    }
}

/// Whether the caller is a browser that shows a page.
pub(crate) fn wants_html(req: &HttpRequest) -> bool {
    let accept = req.headers().get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
    crate::wants_page(req.path(), accept)
}
