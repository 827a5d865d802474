//! The web pages and the HTTP API of Windlass, as an actix-web scope over one trait.
//!
//! This crate knows neither queues nor stores: everything it shows or does goes through [`Backend`].

use std::future::Future;
use std::pin::Pin;

use windlass_core::api::{ApiError, Request, Response};

/// The answer of a [`Backend`] call.
pub type Answer = Pin<Box<dyn Future<Output = Result<Response, ApiError>> + Send>>;

/// What the pages and the API stand on.
pub trait Backend: Send + Sync + 'static {
    /// Carries out one request, exactly as the native protocol would.
    fn call(&self, request: Request) -> Answer;

    /// Whether the node takes work right now; the error says what is missing. Served as `/readyz`.
    ///
    /// # Errors
    /// The reasons, one sentence each.
    fn ready(&self) -> Result<(), Vec<String>>;
}
