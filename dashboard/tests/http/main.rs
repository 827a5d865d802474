//! The API and the pages over a fake node: status codes, headers, languages, and what must never happen.

mod access;
mod api;
mod cluster;
mod fake;
mod guard;
mod made;
mod openapi;
mod pages;
mod sample;

use std::sync::Arc;

use actix_http::Request;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Service, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::HeaderMap;
use actix_web::{App, Error, test};
use windlass_dashboard::{Dashboard, Options};

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("headers here are text"))
    }
}

/// A dashboard over `backend`, ready to be asked.
pub(crate) struct Site<S> {
    service: S,
}

pub(crate) async fn site(
    backend: fake::Fake,
    options: Options,
) -> Site<impl Service<Request, Response = ServiceResponse<BoxBody>, Error = Error>> {
    let dashboard = Dashboard::new(Arc::new(backend), options);
    let app = App::new().configure(|cfg| dashboard.configure(cfg));
    let service = test::init_service(app).await;
    Site { service: Boxed(service) }
}

/// Boxes the body of every answer, so that the type of the service can be named.
pub(crate) struct Boxed<S>(S);

impl<S, B> Service<Request> for Boxed<S>
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Future = std::pin::Pin<Box<dyn std::future::Future<Output = Result<Self::Response, Error>>>>;

    fn poll_ready(&self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&self, request: Request) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move { Ok(answer.await?.map_into_boxed_body()) })
    }
}

impl<S> Site<S>
where
    S: Service<Request, Response = ServiceResponse<BoxBody>, Error = Error>,
{
    pub(crate) async fn ask(&self, request: test::TestRequest) -> Reply {
        let response = self.service.call(request.to_request()).await.expect("errors become answers");
        let (status, headers) = (response.status(), response.headers().clone());
        let body = test::read_body(response).await;
        Reply { status, headers, text: String::from_utf8_lossy(&body).into_owned() }
    }

    /// The answer without its body, for streams that do not end.
    pub(crate) async fn head(&self, request: test::TestRequest) -> (StatusCode, HeaderMap) {
        let response = self.service.call(request.to_request()).await.expect("errors become answers");
        (response.status(), response.headers().clone())
    }

    pub(crate) async fn get(&self, uri: &str) -> Reply {
        self.ask(test::TestRequest::get().uri(uri)).await
    }

    /// As a browser asks for a page.
    pub(crate) async fn page(&self, uri: &str) -> Reply {
        self.ask(test::TestRequest::get().uri(uri).insert_header(("accept", "text/html"))).await
    }

    pub(crate) async fn post(&self, uri: &str, body: impl Into<String>) -> Reply {
        self.ask(test::TestRequest::post().uri(uri).set_payload(body.into())).await
    }

    /// As a browser without scripts sends a form.
    pub(crate) async fn form(&self, uri: &str, fields: &[(&str, &str)]) -> Reply {
        let request = test::TestRequest::post().uri(uri).set_form(fields);
        let request =
            request.insert_header(("accept", "text/html")).insert_header(("sec-fetch-site", "same-origin"));
        self.ask(request).await
    }
}
