//! Access tokens and the audit log, as requests and answers.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::access::{QueuePattern, Role, TokenId};
use crate::time::Timestamp;

/// The token that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSpec {
    /// A name for people, unique among tokens.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// To which queues: names, or beginnings that end in `*`. Defaults to all.
    #[serde(default)]
    pub queues: Vec<QueuePattern>,
    /// For how long it is good, in milliseconds. Defaults to for ever.
    #[serde(default)]
    pub expires_in_ms: Option<u64>,
    /// Whether it opens the Faktory door too, with a password of its own that the server has to keep. Defaults to no.
    #[serde(default)]
    pub faktory: bool,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct TokenView {
    /// Which: the middle of its text.
    pub id: TokenId,
    /// Its name.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// To which queues; empty for all.
    pub queues: Vec<QueuePattern>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when it is good for nothing.
    pub expires_at: Option<Timestamp>,
    /// Whether it opens the Faktory door too.
    pub faktory: bool,
}

/// A token that was just made, with what is told only once.
#[derive(Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct NewToken {
    /// The token.
    #[serde(flatten)]
    pub view: TokenView,
    /// Its text.
    pub secret: String,
    /// The password for the Faktory door, if it opens that.
    pub faktory_password: Option<String>,
}

impl std::fmt::Debug for NewToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewToken({} {} …)", self.view.id, self.view.name)
    }
}

/// One thing that an operator or admin did.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct AuditEntry {
    /// Its number; later ones are larger.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// The token's name; `anyone` while there was none, `root` for the token of the configuration.
    pub who: String,
    /// The token.
    pub token: Option<TokenId>,
    /// From which address; empty within the process.
    pub from: String,
    /// What, such as `queue.pause`.
    pub operation: String,
    /// To what, such as `queue mail`.
    pub target: String,
    /// How many things it was done to.
    pub count: u64,
    /// Why it did not happen.
    pub error: Option<String>,
}

/// One page of the audit log, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// What to ask next as `before`; `None` at the end.
    pub next: Option<u64>,
}
