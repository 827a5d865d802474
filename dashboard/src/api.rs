//! The HTTP API: JSON in, JSON out, errors as problems. The same [`Request`]s as through any other door.

pub(crate) mod bulk;
pub(crate) mod cluster;
pub(crate) mod events;
pub(crate) mod jobs;
pub(crate) mod metrics;
pub(crate) mod queues;
pub(crate) mod schedules;
pub(crate) mod tokens;
pub(crate) mod work;

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use windlass_core::api::{ApiError, ErrorCode, Request, Response, body};
use windlass_core::limits;

use crate::Dashboard;
use crate::problem::Problem;

/// Largest body with one job: the payload, every option at its limit, and room for escapes in names.
const JOB_BODY_BYTES_MAX: usize = limits::PAYLOAD_BYTES_MAX + 64 * 1024;
/// Largest body with a batch: as much as one frame of the native protocol takes.
const BATCH_BODY_BYTES_MAX: usize = limits::FRAME_BYTES_MAX;
/// Bytes of all bodies that are being read at one time; what is over is told to come back.
const BODIES_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Time a body has to arrive, so that a dripping client does not hold its share for ever.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// Unit in which bodies take from the budget.
const BODY_SHARE: usize = 16 * 1024;

/// How many bytes of request bodies may be in memory.
pub(crate) struct Budget(Arc<Semaphore>);

impl Default for Budget {
    fn default() -> Budget {
        Budget(Arc::new(Semaphore::new(BODIES_BYTES_MAX / BODY_SHARE)))
    }
}

/// A body and its share of the budget.
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

impl Budget {
    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let shares = u32::try_from(bytes.div_ceil(BODY_SHARE)).unwrap_or(u32::MAX);
        Arc::clone(&self.0).try_acquire_many_owned(shares).map_err(|_| {
            ApiError::new(ErrorCode::Busy, "too many large requests at once; send it again later").into()
        })
    }
}

/// Reads a whole body of at most `max` bytes.
pub(crate) async fn read_body(
    dashboard: &Dashboard,
    req: &HttpRequest,
    mut payload: web::Payload,
    max: usize,
) -> Result<Body, Problem> {
    let too_large = || Problem::too_large(format!("the body has more than {max} bytes"));
    let announced =
        req.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > max) {
        return Err(too_large());
    }
    let mut share: Option<OwnedSemaphorePermit> = None;
    let mut bytes = BytesMut::new();
    let read = async {
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|e| Problem::malformed(format!("the body did not arrive: {e}")))?;
            if bytes.len() + chunk.len() > max {
                return Err(too_large());
            }
            let held = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) * BODY_SHARE;
            if bytes.len() + chunk.len() > held {
                let more = dashboard.inner().bodies.take(bytes.len() + chunk.len() - held)?;
                match &mut share {
                    Some(share) => share.merge(more),
                    None => share = Some(more),
                }
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(())
    };
    tokio::time::timeout(BODY_TIME_MAX, read).await.map_err(|_| {
        let detail = format!("the body did not arrive within {} s", BODY_TIME_MAX.as_secs());
        Problem::new(StatusCode::REQUEST_TIMEOUT, "slow_body", "The request is too slow", detail)
    })??;
    Ok(Body { bytes: bytes.freeze(), _share: share })
}

/// Query parameters; an unknown one is refused with the nearest match.
fn query<T: DeserializeOwned>(req: &HttpRequest) -> Result<T, Problem> {
    web::Query::<T>::from_query(req.query_string())
        .map(web::Query::into_inner)
        .map_err(|e| Problem::malformed(body::explain(&unwrap_query(&e))))
}

fn unwrap_query(error: &actix_web::error::QueryPayloadError) -> String {
    match error {
        actix_web::error::QueryPayloadError::Deserialize(inner) => inner.to_string(),
        other => other.to_string(),
    }
}

/// The parts of the path, decoded, parsed as what they name.
fn path<T: std::str::FromStr>(req: &HttpRequest, name: &str) -> Result<T, Problem>
where
    T::Err: std::fmt::Display,
{
    let raw = req.match_info().query(name);
    let text = percent_decode(raw)
        .ok_or_else(|| Problem::malformed(format!("the path has broken text in {raw:?}")))?;
    text.parse().map_err(|e: T::Err| Problem::malformed(e.to_string()))
}

/// Undoes percent-encoding; `None` when the result is not UTF-8. The router leaves `%2F`, `%25` and `%2B` as they are.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        let pair = bytes.get(index + 1..index + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match (bytes[index], pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                index += 3;
            }
            (byte, _) => {
                out.push(byte);
                index += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}

fn json(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    match serde_json::to_vec(body) {
        Ok(text) => HttpResponse::build(status).content_type("application/json").body(text),
        Err(e) => {
            let error =
                ApiError::new(ErrorCode::Internal, format!("the answer cannot be written as JSON: {e}"));
            actix_web::ResponseError::error_response(&Problem::from(error))
        }
    }
}

/// Carries out a request and writes its answer as it is.
async fn forward(dashboard: &Dashboard, request: Request) -> Result<HttpResponse, Problem> {
    let response = dashboard.call(request).await?;
    Ok(json(StatusCode::OK, &response))
}

/// The backend answered with another kind of response than the request has: a defect, said as such.
pub(crate) fn unexpected(response: &Response) -> ApiError {
    let name = format!("{response:?}");
    let name = name.split(['(', ' ', '{']).next().unwrap_or_default().to_owned();
    ApiError::new(ErrorCode::Internal, format!("the node gave an answer of the wrong kind: {name}"))
}
