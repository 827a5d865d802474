//! The web pages and the HTTP API of Windlass, as actix-web routes over one trait.
//!
//! This crate knows neither queues nor stores: everything it shows or does goes through [`Backend`].
//!
//! # Map
//! - [`routes`](crate::ROUTES): every route in one table; registration, the API page and the tests read it.
//! - `guard`: who may ask: host list, origin check, read-only, security headers.
//! - `api`: JSON in, JSON out. `problem`: errors as RFC 9457.
//! - `view`, `pages`: what a page shows, as askama templates with named blocks.
//! - `live`: one stream per open page; each distinct view is rendered at most once a second for all who watch it.
//! - `i18n`, `text`, `chart`, `diagram`, `json`: words, numbers and drawings.

mod api;
mod assets;
mod chart;
mod diagram;
mod forms;
mod guard;
mod i18n;
mod json;
mod live;
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

use windlass_core::api::{ApiError, ErrorCode, Request, Response, WorkRequest, WorkResponse};

pub use routes::{ROUTES, Route, Verb};

/// The answer of a [`Backend`] call.
pub type Answer = Pin<Box<dyn Future<Output = Result<Response, ApiError>> + Send>>;

/// The answer of [`Backend::work`].
pub type WorkAnswer = Pin<Box<dyn Future<Output = Result<WorkResponse, ApiError>> + Send>>;

/// What the pages and the API stand on.
pub trait Backend: Send + Sync + 'static {
    /// Carries out one request, exactly as the native protocol would.
    fn call(&self, request: Request) -> Answer;

    /// Carries out what a worker asks that comes by requests. Defaults to a refusal.
    fn work(&self, request: WorkRequest) -> WorkAnswer {
        let _ = request;
        let text = "this node gives no jobs to workers over HTTP";
        Box::pin(async move { Err(ApiError::new(ErrorCode::Unsupported, text)) })
    }

    /// Whether the node takes work right now; the error says what is missing. Served as `/readyz`.
    ///
    /// # Errors
    /// The reasons, one sentence each.
    fn ready(&self) -> Result<(), Vec<String>>;
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
}

pub(crate) struct Inner {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) options: Options,
    pub(crate) live: live::Hub,
    pub(crate) bodies: api::Budget,
}

impl Dashboard {
    /// A dashboard over `backend`.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, options: Options) -> Dashboard {
        let inner = Inner { backend, options, live: live::Hub::default(), bodies: api::Budget::default() };
        Dashboard { inner: Arc::new(inner) }
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
        self.inner.backend.work(request).await
    }

    pub(crate) async fn call(&self, request: Request) -> Result<Response, ApiError> {
        self.inner.backend.call(request).await
    }

    pub(crate) fn options(&self) -> &Options {
        &self.inner.options
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }
}
