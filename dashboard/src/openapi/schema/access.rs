//! The shapes of access tokens and the audit log.

use serde::Deserialize;
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    Producer,
    Worker,
    Viewer,
    Operator,
    Admin,
}

/// An access token to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAccessToken {
    /// Unique among tokens.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_.@/-]+$")]
    name: String,
    role: Role,
    /// Names of queues, or beginnings that end in `*`; all queues without it.
    #[schema(nullable = false, max_items = 64)]
    queues: Option<Vec<String>>,
    #[schema(minimum = 1)]
    expires_in_ms: Option<u64>,
    /// Open the Faktory door too.
    #[schema(nullable = false)]
    faktory: Option<bool>,
}

/// An access token without its secret.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccessToken {
    id: String,
    name: String,
    role: Role,
    queues: Vec<String>,
    created_at: u64,
    #[schema(required)]
    expires_at: Option<u64>,
    faktory: bool,
}

/// A new access token; the secret is never told again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccessTokenMade {
    id: String,
    name: String,
    role: Role,
    queues: Vec<String>,
    created_at: u64,
    #[schema(required)]
    expires_at: Option<u64>,
    faktory: bool,
    secret: String,
    #[schema(required)]
    faktory_password: Option<String>,
}

/// One thing that an operator or admin did.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditEntry {
    seq: u64,
    at: u64,
    who: String,
    #[schema(required)]
    token: Option<String>,
    from: String,
    operation: String,
    target: String,
    count: u64,
    #[schema(required)]
    error: Option<String>,
}

/// Entries, newest first, and where the next page begins.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditPage {
    entries: Vec<AuditEntry>,
    #[schema(required)]
    next: Option<u64>,
}
