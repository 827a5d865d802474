//! Who may do what: roles, the operations they allow, and the queues to which a token is limited. Pure rules; every door asks
//! the same ones.
//!
//! ```text
//!   request, frame, command ──► Operation ──► Need ──► Role::allows
//!                                   │
//!                                   └──► Target ──► Grant::covers        (only for tokens that are limited to queues)
//! ```
//!
//! | role | may |
//! |---|---|
//! | producer | enqueue, look at one job, wait for it |
//! | worker | that, and fetch jobs and report on them, since jobs enqueue jobs |
//! | viewer | look at everything, change nothing |
//! | operator | what producers and viewers may, steer queues, jobs and schedules, read the audit log |
//! | admin | everything, tokens among it |

mod operation;
mod record;
mod text;

use std::fmt;
use std::str::FromStr;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

pub use operation::{Operation, Target};
pub use record::{AuditRecord, TokenRecord, decode_audit, decode_token, encode_audit, encode_token};
pub use text::{TokenId, TokenText};

use crate::id::{InvalidName, QueueName};
use crate::limits;
use crate::time::Timestamp;

/// What a token is for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// An application that enqueues.
    Producer,
    /// A process that runs jobs.
    Worker,
    /// Somebody who looks.
    Viewer,
    /// Somebody who steers.
    Operator,
    /// Somebody who may do everything.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 5] = [Role::Producer, Role::Worker, Role::Viewer, Role::Operator, Role::Admin];

    /// Its name, the same everywhere.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::Producer => "producer",
            Role::Worker => "worker",
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }

    /// Whether the role is enough for a need. The whole matrix of roles stands here.
    #[must_use]
    pub fn allows(self, need: Need) -> bool {
        match need {
            Need::Known => true,
            Need::Look => true,
            Need::Read => matches!(self, Role::Viewer | Role::Operator | Role::Admin),
            Need::Enqueue => matches!(self, Role::Producer | Role::Worker | Role::Operator | Role::Admin),
            Need::Work => matches!(self, Role::Worker | Role::Admin),
            Need::Steer | Need::Review => matches!(self, Role::Operator | Role::Admin),
            Need::Manage => matches!(self, Role::Admin),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Role, InvalidName> {
        Role::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| {
            let names = Role::ALL.map(Role::name).join(", ");
            InvalidName(format!("there is no role {text:?}; the roles are {names}"))
        })
    }
}

/// What an operation asks of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Need {
    /// Any token that is good.
    Known,
    /// Look at one job whose id is known, or wait for it.
    Look,
    /// Look at lists and figures.
    Read,
    /// Put jobs into queues.
    Enqueue,
    /// Take jobs and report on them.
    Work,
    /// Change what others have enqueued: queues, jobs, schedules.
    Steer,
    /// Read what operators did.
    Review,
    /// Tokens, and what wipes everything.
    Manage,
}

/// A queue, or all queues whose names begin alike.
///
/// ```
/// use windlass_core::access::QueuePattern;
/// let mail: QueuePattern = "mail*".parse().unwrap();
/// assert!(mail.covers(&"mail.eu".parse().unwrap()) && !mail.covers(&"bulk".parse().unwrap()));
/// assert!("m*il".parse::<QueuePattern>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueuePattern(String);

impl QueuePattern {
    /// Whether the queue is meant.
    #[must_use]
    pub fn covers(&self, queue: &QueueName) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => queue.as_str().starts_with(beginning),
            None => queue.as_str() == self.0,
        }
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for QueuePattern {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<QueuePattern, InvalidName> {
        let name = text.strip_suffix('*').unwrap_or(text);
        if name.is_empty() && text == "*" {
            return Err(InvalidName("a token that is not limited names no queue at all, not *".to_owned()));
        }
        QueueName::new(name)?;
        Ok(QueuePattern(text.to_owned()))
    }
}

impl TryFrom<String> for QueuePattern {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<QueuePattern, InvalidName> {
        text.parse()
    }
}

impl From<QueuePattern> for String {
    fn from(pattern: QueuePattern) -> String {
        pattern.0
    }
}

impl fmt::Display for QueuePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What somebody may do, and to which queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// What.
    pub role: Role,
    /// To which queues; empty for all.
    pub queues: Vec<QueuePattern>,
}

impl Grant {
    /// Everything, everywhere.
    pub const ALL: Grant = Grant { role: Role::Admin, queues: Vec::new() };

    /// Whether it is limited to queues.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        !self.queues.is_empty()
    }

    /// Whether it reaches this queue.
    #[must_use]
    pub fn covers(&self, queue: &QueueName) -> bool {
        self.queues.is_empty() || self.queues.iter().any(|pattern| pattern.covers(queue))
    }
}

/// Whether a grant is enough for an operation on a queue; `None` stands for an operation that is not about one queue.
///
/// Lists are allowed to limited grants, since whoever answers leaves out what they do not cover; what changes something and
/// reaches beyond one queue is not.
///
/// # Errors
/// [`Refused`], with a sentence for the caller.
pub fn allows(grant: &Grant, operation: Operation, queue: Option<&QueueName>) -> Result<(), Refused> {
    if !grant.role.allows(operation.need()) {
        return Err(Refused::Role { role: grant.role, operation });
    }
    match queue {
        Some(queue) if !grant.covers(queue) => Err(Refused::Queue { queue: queue.clone() }),
        None if grant.is_limited() && operation.reaches_everything() => Err(Refused::Limited { operation }),
        _ => Ok(()),
    }
}

/// Why a grant is not enough.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The role does not allow it.
    #[error("a token with the role {role} does not allow {}", operation.name())]
    Role {
        /// The role.
        role: Role,
        /// What was asked.
        operation: Operation,
    },
    /// It is about another queue.
    #[error("this token is limited to other queues than {queue}")]
    Queue {
        /// The queue.
        queue: QueueName,
    },
    /// It reaches all queues.
    #[error("{} reaches every queue, and this token is limited to some", operation.name())]
    Limited {
        /// What was asked.
        operation: Operation,
    },
}

/// Where the right of a caller comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// This process itself.
    Process,
    /// Anybody: there is no token yet, and only this machine can reach the node.
    Anyone,
    /// The token of the configuration.
    Root,
    /// The password of the Faktory door.
    Password,
    /// A token of the store.
    Token(TokenId),
}

/// Who asks, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Where the right comes from.
    pub principal: Principal,
    /// The token's name, or what stands for one.
    pub name: String,
    /// Where they are, as address; empty within the process.
    pub from: String,
    /// What they may do.
    pub grant: Grant,
    /// Until when.
    pub expires_at: Option<Timestamp>,
}

impl Caller {
    /// This process, which may do everything.
    #[must_use]
    pub fn process() -> Caller {
        Caller::unlimited(Principal::Process, "process")
    }

    /// Somebody who may do everything.
    #[must_use]
    pub fn unlimited(principal: Principal, name: &str) -> Caller {
        let (name, from) = (name.to_owned(), String::new());
        Caller { principal, name, from, grant: Grant::ALL, expires_at: None }
    }

    /// The same caller at another address.
    #[must_use]
    pub fn at(mut self, from: impl Into<String>) -> Caller {
        self.from = from.into();
        self
    }
}

/// Checks a token's name.
///
/// # Errors
/// A sentence for the caller.
pub fn check_name(name: &str) -> Result<(), InvalidName> {
    let fits = !name.is_empty() && name.len() <= limits::TOKEN_NAME_BYTES_MAX;
    // A name that looks like an id would make `revoke` ambiguous.
    if fits
        && name.chars().all(|c| c.is_alphanumeric() || "-_.@/".contains(c))
        && TokenId::parse(name).is_none()
    {
        return Ok(());
    }
    Err(InvalidName(format!(
        "a token's name has 1 to {} bytes of letters, digits and -_.@/ and is no token id, not {name:?}",
        limits::TOKEN_NAME_BYTES_MAX
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(name: &str) -> QueueName {
        name.parse().unwrap()
    }

    fn grant(role: Role, queues: &[&str]) -> Grant {
        Grant { role, queues: queues.iter().map(|q| q.parse().unwrap()).collect() }
    }

    /// Written by hand, beside the rules: a letter per role that may, in the order producer, worker, viewer, operator, admin.
    const EXPECTED: [(Need, &str); 8] = [
        (Need::Known, "pwvoa"),
        (Need::Look, "pwvoa"),
        (Need::Read, "voa"),
        (Need::Enqueue, "pwoa"),
        (Need::Work, "wa"),
        (Need::Steer, "oa"),
        (Need::Review, "oa"),
        (Need::Manage, "a"),
    ];

    #[test]
    fn every_role_has_its_needs() {
        for (need, who) in EXPECTED {
            for role in Role::ALL {
                let letter = &role.name()[..1];
                assert_eq!(role.allows(need), who.contains(letter), "{role} {need:?}");
            }
        }
    }

    #[test]
    fn a_limited_grant_stays_within_its_queues() {
        let limited = grant(Role::Operator, &["mail*", "bulk"]);
        for (name, covered) in
            [("mail", true), ("mail.eu", true), ("bulk", true), ("bulk2", false), ("mai", false)]
        {
            assert_eq!(limited.covers(&queue(name)), covered, "{name}");
            assert_eq!(
                allows(&limited, Operation::PauseQueue, Some(&queue(name))).is_ok(),
                covered,
                "{name}"
            );
        }
        assert!(allows(&limited, Operation::ListQueues, None).is_ok());
        assert!(matches!(allows(&limited, Operation::StartBulk, None), Err(Refused::Limited { .. })));
        assert!(allows(&grant(Role::Operator, &[]), Operation::StartBulk, None).is_ok());
        assert!(matches!(
            allows(&grant(Role::Viewer, &["bulk"]), Operation::PauseQueue, Some(&queue("bulk"))),
            Err(Refused::Role { .. })
        ));
    }

    #[test]
    fn patterns_names_and_roles_are_checked() {
        for bad in ["", "*", "a b", "a*b", "**"] {
            assert!(bad.parse::<QueuePattern>().is_err(), "{bad}");
        }
        assert!("operators".parse::<Role>().unwrap_err().0.contains("producer, worker"));
        assert!(check_name("ci@host-1").is_ok());
        for bad in ["", "two words", "x\n", &"x".repeat(65), "0123456789abcdef"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
