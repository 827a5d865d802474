//! What a standby says by itself, in the words of each protocol. Under TLS it has no voice.

use std::fmt::Write as _;

use actix_web::HttpResponse;
use actix_web::body::MessageBody as _;
use bytes::Bytes;
use windlass_core::api::{ApiError, ErrorCode, NodeState};
use windlass_dashboard::{METRICS_TYPE, NodeFigures, node_metrics};

use super::{Protocol, RelayConfig};
use crate::{faktory, session};

/// What somebody is told who does not finish the first words of an HTTP request.
pub(super) const LATE: &str =
    "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Nobody can serve the connection now; another attempt may succeed. Who wants a page is shown one, in the best of these languages.
pub(super) fn unavailable(config: &RelayConfig, why: String, page: Option<String>) -> Bytes {
    match page {
        Some(languages) => answer(windlass_dashboard::absent(&config.node, &why, &languages), true),
        None => refusal(config, ApiError::new(ErrorCode::Unavailable, why)),
    }
}

/// There are as many connections as there may be.
pub(super) fn too_many(config: &RelayConfig, max: u32) -> Bytes {
    let text = format!("there are {max} connections already; try again in a moment");
    refusal(config, ApiError::new(ErrorCode::Busy, text))
}

fn refusal(config: &RelayConfig, error: ApiError) -> Bytes {
    match config.protocol {
        _ if config.tls => Bytes::new(),
        Protocol::Native => session::refusal(error),
        Protocol::Http => problem(error, true),
        Protocol::Faktory => faktory::refusal(&error.message),
    }
}

/// `/readyz` without an owner.
pub(super) fn not_ready(body: bool) -> Bytes {
    let text = "this node is a standby and knows no owner";
    problem(ApiError::new(ErrorCode::Unavailable, text), body)
}

/// A probe that succeeds, with the text of a node that serves.
pub(super) fn fine(text: &str, body: bool) -> Bytes {
    let head = [("content-type", "text/plain; charset=utf-8")];
    response("200 OK", head.into_iter(), text.as_bytes(), body)
}

/// What this node has done.
pub(super) fn metrics(config: &RelayConfig, body: bool) -> Bytes {
    let figures = NodeFigures {
        name: config.node.to_string(),
        state: NodeState::Standby,
        has_owner: config.owner.borrow().is_some(),
        rss_bytes: crate::api::resident_bytes(),
        relays: config.traffic.all(),
    };
    let head = [("content-type", METRICS_TYPE)];
    response("200 OK", head.into_iter(), node_metrics(&figures).as_bytes(), body)
}

/// An error as the API answers it.
fn problem(error: ApiError, body: bool) -> Bytes {
    answer(windlass_dashboard::refusal(error), body)
}

fn answer(answer: HttpResponse, body: bool) -> Bytes {
    let status = answer.status().to_string();
    let (head, text) = answer.into_parts();
    let text = text.try_into_bytes().unwrap_or_default();
    let headers = head.headers().iter();
    // Made of text by ourselves.
    let headers = headers.map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()));
    response(&status, headers, &text, body)
}

fn response<'a>(
    status: &str,
    headers: impl Iterator<Item = (&'a str, &'a str)>,
    text: &[u8],
    body: bool,
) -> Bytes {
    let mut out = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in headers {
        // Writing to a string cannot fail.
        let _ = write!(out, "{name}: {value}\r\n");
    }
    let _ =
        write!(out, "cache-control: no-store\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", text.len());
    let mut out = out.into_bytes();
    if body {
        out.extend_from_slice(text);
    }
    out.into()
}
