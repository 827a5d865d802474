//! Errors as `application/problem+json` (RFC 9457), with the stable codes of [`ErrorCode`].

use std::fmt;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use windlass_core::api::body::BodyError;
use windlass_core::api::{ApiError, ErrorCode};
use windlass_core::id::InvalidName;

/// The media type of an error.
pub(crate) const MIME: &str = "application/problem+json";

/// An error on its way to the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) title: &'static str,
    pub(crate) status: StatusCode,
    /// Stable name of the error, for programs.
    pub(crate) code: &'static str,
    pub(crate) detail: String,
    retry_after_ms: Option<u64>,
    allow: Option<Box<str>>,
}

/// An error as the API answers it, for who has to answer in its place.
#[must_use]
pub fn refusal(error: ApiError) -> HttpResponse {
    Problem::from(error).error_response()
}

/// The members of RFC 9457, and ours.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Problem {
        Problem { title, status, code, detail: detail.into(), retry_after_ms: None, allow: None }
    }

    /// The request cannot be read: broken JSON, a broken id in the path, an unknown query key.
    pub(crate) fn malformed(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "malformed", "The request cannot be read", detail)
    }

    /// The request is readable and breaks a rule.
    pub(crate) fn invalid(detail: impl Into<String>) -> Problem {
        ApiError::new(ErrorCode::Invalid, detail).into()
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Problem {
        ApiError::new(ErrorCode::NotFound, detail).into()
    }

    pub(crate) fn too_large(detail: impl Into<String>) -> Problem {
        ApiError::new(ErrorCode::TooLarge, detail).into()
    }

    pub(crate) fn method_not_allowed(allow: &str) -> Problem {
        let detail = format!("this address answers {allow}");
        let title = "The method is not allowed";
        let mut problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", title, detail);
        problem.allow = Some(allow.into());
        problem
    }
}

/// Status and short text of each code.
fn describe(code: ErrorCode) -> (StatusCode, &'static str) {
    match code {
        ErrorCode::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "The request breaks a rule"),
        ErrorCode::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Too large"),
        ErrorCode::NotFound => (StatusCode::NOT_FOUND, "Not found"),
        ErrorCode::Conflict => (StatusCode::CONFLICT, "The state does not allow this"),
        ErrorCode::StaleLease => (StatusCode::CONFLICT, "The lease is not held"),
        ErrorCode::Busy => (StatusCode::TOO_MANY_REQUESTS, "Too much at once"),
        // Clients know that 503 with Retry-After passes; few treat 507 so.
        ErrorCode::StoreFull => (StatusCode::SERVICE_UNAVAILABLE, "No new jobs are taken"),
        ErrorCode::StoreFailed => (StatusCode::INTERNAL_SERVER_ERROR, "The store has failed"),
        ErrorCode::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Not available"),
        ErrorCode::Timeout => (StatusCode::GATEWAY_TIMEOUT, "The wait is over"),
        ErrorCode::Denied => (StatusCode::FORBIDDEN, "Not allowed"),
        ErrorCode::Unsupported => (StatusCode::NOT_IMPLEMENTED, "Not supported"),
        ErrorCode::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "A defect of the server"),
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Problem {
        let (status, title) = describe(error.code);
        let mut problem = Problem::new(status, error.code.name(), title, error.message);
        problem.retry_after_ms = error.retry_after_ms.or_else(|| error.code.is_retryable().then_some(1_000));
        problem
    }
}

impl From<InvalidName> for Problem {
    fn from(error: InvalidName) -> Problem {
        Problem::invalid(error.0)
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Problem {
        match error {
            BodyError::Malformed(text) => Problem::malformed(text),
            BodyError::Invalid(text) => Problem::invalid(text),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        response.insert_header((header::CONTENT_TYPE, MIME));
        if let Some(ms) = self.retry_after_ms {
            // The header counts whole seconds; rounding up never asks for a visit that is too early.
            response.insert_header((header::RETRY_AFTER, ms.div_ceil(1_000).max(1).to_string()));
        }
        if let Some(allow) = &self.allow {
            response.insert_header((header::ALLOW, &**allow));
        }
        let body = Body {
            kind: format!("urn:windlass:error:{}", self.code),
            title: self.title,
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
            retry_after_ms: self.retry_after_ms,
        };
        response.body(serde_json::to_vec(&body).expect("a problem is text and numbers"))
    }
}
