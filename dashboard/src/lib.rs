//! The web pages and the HTTP API of Windlass, as actix-web routes over one trait.
//!
//! This crate knows neither queues nor stores: everything it shows or does goes through [`Backend`].
//!
//! # Map
//! - [`routes`](crate::ROUTES): every route in one table; registration, the API page and the tests read it.
//! - `access`: who asks and what they may do: tokens, sessions of browsers, the one middleware that decides.
//! - `guard`: from where one may ask: host list, origin check, read-only, security headers.
//! - `api`: JSON in, JSON out. `problem`: errors as RFC 9457.
//! - `view`, `pages`: what a page shows, as askama templates with named blocks.
//! - `live`: one stream per open page; each distinct view is rendered at most once a second for all who watch it.
//! - `i18n`, `text`, `chart`, `diagram`, `map`, `json`: words, numbers and drawings.

mod absent;
mod access;
mod api;
mod assets;
mod chart;
mod diagram;
mod forms;
mod guard;
mod i18n;
mod json;
mod live;
mod map;
mod openapi;
mod pages;
mod problem;
mod routes;
mod shell;
mod text;
mod ui;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use windlass_core::access::Caller;
use windlass_core::api::{ApiError, ErrorCode, Request, Response, WorkRequest, WorkResponse};

pub use absent::{absent, wants_page};
pub use api::metrics::{METRICS_TYPE, NodeFigures, RelayFigures, node_metrics};
pub use problem::refusal;
pub use routes::{Gate, ROUTES, Route, Verb};

/// The answer of a [`Backend`] call.
pub type Answer = Pin<Box<dyn Future<Output = Result<Response, ApiError>> + Send>>;

/// The answer of [`Backend::work`].
pub type WorkAnswer = Pin<Box<dyn Future<Output = Result<WorkResponse, ApiError>> + Send>>;

/// What the pages and the API stand on.
pub trait Backend: Send + Sync + 'static {
    /// Carries out one request for a caller, exactly as the native protocol would; what they may not do is `Denied`.
    fn call(&self, caller: &Arc<Caller>, request: Request) -> Answer;

    /// Who comes with this token, or with none, from this address.
    ///
    /// # Errors
    /// `Denied`.
    fn identify(&self, token: Option<&str>, from: &str) -> Result<Caller, ApiError>;

    /// Whether a caller that was identified may stay.
    fn is_live(&self, caller: &Caller) -> bool;

    /// Resolves when a caller that was identified has to go.
    fn leave(&self, caller: &Arc<Caller>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Carries out what a worker asks that comes by requests. Defaults to a refusal.
    fn work(&self, caller: &Arc<Caller>, request: WorkRequest) -> WorkAnswer {
        let _ = (caller, request);
        let text = "this node gives no jobs to workers over HTTP";
        Box::pin(async move { Err(ApiError::new(ErrorCode::Unsupported, text)) })
    }

    /// Whether the node takes work right now; the error says what is missing. Served as `/readyz`.
    ///
    /// # Errors
    /// The reasons, one sentence each.
    fn ready(&self) -> Result<(), Vec<String>>;

    /// What the node knows of itself alone. Served as `/metrics/node`, to everybody. Defaults to nothing.
    fn figures(&self) -> NodeFigures {
        NodeFigures::default()
    }
}

/// How the dashboard presents itself and whom it serves.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Program version, shown in the footer. Defaults to nothing.
    pub version: String,
    /// Names under which the node may be asked, beside loopback names and addresses. Defaults to none.
    pub hosts: Vec<String>,
    /// Refuses everything that would change something. Defaults to no.
    pub read_only: bool,
    /// Names the environment in a corner, so that nobody takes production for a test. Defaults to nothing.
    pub badge: Option<String>,
    /// Address of the native port, for the commands that pages offer to copy. Defaults to the CLI's own default.
    pub native_addr: Option<String>,
    /// The HTTP door speaks TLS, so browsers may be told never to come without it. Defaults to no.
    pub tls: bool,
}

/// The pages and the API of one node. Cheap to clone; all clones share the live streams.
#[derive(Clone)]
pub struct Dashboard {
    inner: Arc<Inner>,
    /// Who asks; nobody outside a request.
    caller: Option<Arc<Caller>>,
}

pub(crate) struct Inner {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) options: Options,
    pub(crate) live: live::Hub,
    pub(crate) bodies: api::Budget,
    pub(crate) sessions: access::Sessions,
}

impl Dashboard {
    /// A dashboard over `backend`.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, options: Options) -> Dashboard {
        let (live, bodies, sessions) =
            (live::Hub::default(), api::Budget::default(), access::Sessions::default());
        Dashboard { inner: Arc::new(Inner { backend, options, live, bodies, sessions }), caller: None }
    }

    /// Registers every route, with the checks and headers that belong to them.
    pub fn configure(&self, cfg: &mut actix_web::web::ServiceConfig) {
        routes::register(cfg, self.clone());
    }

    /// Ends all live streams, so that a graceful stop of the HTTP server does not wait for them. Legal twice.
    pub fn stop(&self) {
        self.inner.live.stop();
    }

    pub(crate) async fn work(&self, request: WorkRequest) -> Result<WorkResponse, ApiError> {
        self.inner.backend.work(self.known()?, request).await
    }

    pub(crate) async fn call(&self, request: Request) -> Result<Response, ApiError> {
        self.inner.backend.call(self.known()?, request).await
    }

    /// The same dashboard for somebody.
    pub(crate) fn on_behalf_of(&self, caller: Arc<Caller>) -> Dashboard {
        Dashboard { inner: Arc::clone(&self.inner), caller: Some(caller) }
    }

    pub(crate) fn caller(&self) -> Option<&Arc<Caller>> {
        self.caller.as_ref()
    }

    fn known(&self) -> Result<&Arc<Caller>, ApiError> {
        self.caller.as_ref().ok_or_else(|| ApiError::new(ErrorCode::Denied, "nobody has said who asks"))
    }

    pub(crate) fn options(&self) -> &Options {
        &self.inner.options
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }
}
