//! What happened in a run: in the database, which knows the truth, and at nodes, workers and clients, who believe it. The judges
//! see nothing else.

use std::rc::Rc;

use windlass_core::cluster::{Statement, Step};
use windlass_core::wire::Token;

use super::database::{Claim, ClaimNo, Own, Row};
use super::fault::What;
use super::ledger::{Group, Job};

/// What happened.
#[expect(missing_docs, reason = "the fields are named after what they hold")]
#[derive(Debug, Clone)]
pub enum Fact {
    /// A node has started.
    Up { node: usize },
    /// A node has died.
    Died { node: usize },
    /// Something goes wrong, until then.
    Broken { what: What, until: u64 },
    /// Nothing goes wrong any more.
    Healed,
    /// The database is away.
    Fell,
    /// The database is back, and has lost these.
    CameUp { row: Row, lost: Vec<Rc<Group>> },
    /// A claim was executed and applied. `up_since` is when the database last came up.
    Claimed { claim: Claim, before: Row, row: Row, changed_at: u64, up_since: u64 },
    /// A claim was executed and somebody was quicker.
    Raced { claim: ClaimNo },
    /// A statement of an owner was executed and applied.
    Wrote { own: Own, before: Row, row: Row },
    /// A statement of an owner was executed and matched nothing.
    Missed { claim: ClaimNo, statement: Statement },
    /// A node knows that it has claimed.
    Owns { node: usize, claim: ClaimNo },
    /// It has read the journal and serves.
    Serves { node: usize, claim: ClaimNo },
    /// An owner has begun a group, behind all that it has begun before.
    Begun { claim: ClaimNo, group: Rc<Group> },
    /// What the fence of an owner said to the answer to a statement. The group is the oldest of so many that are not settled.
    Stepped { node: usize, claim: ClaimNo, to: Statement, step: Step, group: Option<Rc<Group>>, behind: u64 },
    /// An owner has heard that there was no room for a group.
    NoRoom { claim: ClaimNo, group: Rc<Group> },
    /// A new owner has found less in the journal than its claim said.
    FoundLess { node: usize, claim: ClaimNo },
    /// A node was told to give up and to claim nothing until then.
    Drained { node: usize, until: u64 },
    /// A client is told that its job is taken on.
    Confirmed { job: Job, claim: ClaimNo },
    /// A worker is given a job.
    HandedOut { job: Job, token: Token, claim: ClaimNo },
    /// A worker is told that the end of its job is recorded.
    Ended { job: Job, claim: ClaimNo },
    /// A worker is told that its token proves nothing.
    Stale { job: Job, token: Token, claim: ClaimNo },
}

impl Fact {
    /// Signs of life would fill the history.
    #[must_use]
    pub fn is_routine(&self) -> bool {
        match self {
            Fact::Wrote { own, .. } => matches!(own.statement, Statement::Beat { .. }),
            Fact::Stepped { step, .. } => *step == Step::Done,
            Fact::Begun { .. } => true,
            _ => false,
        }
    }
}
