//! The database: one row for the seat, one journal, and what a shared database does to its clients.
//!
//! Statements that change the row are executed one after another, because each locks the row; one may take long, and what
//! waits behind it looks at the row when its own turn comes. Readings see the last state and wait for nobody. When the
//! database falls, the statement under way happens or does not, and those that wait are gone, or lie with a proxy that hands
//! them over when it can. A fail-over to a copy that lags brings an earlier state back.

use std::collections::VecDeque;
use std::rc::Rc;

use windlass_core::cluster::{Answer, Nonce, Seat, Statement};
use windlass_core::id::NodeName;
use windlass_core::store::Epoch;

use super::ledger::Group;

/// A claim that was sent, whatever became of it. The judges tell owners apart by it; the database does not know it.
pub type ClaimNo = u64;

/// States that a copy may lag behind, at most.
const PAST_MAX: usize = 64;

/// The row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// See [`Seat::epoch`].
    pub epoch: Epoch,
    /// Of the last claim.
    pub nonce: Nonce,
    /// Groups in the journal.
    pub seq: u64,
    /// See [`Seat::beat`].
    pub beat: u64,
    /// See [`Seat::owner`].
    pub owner: Option<NodeName>,
    /// The last claim, for the judges alone.
    pub claim: ClaimNo,
}

/// What is asked of the database.
#[derive(Debug, Clone)]
pub enum Request {
    /// The seat.
    Read,
    /// The first so many groups of the journal.
    Load {
        /// How many.
        seq: u64,
    },
    /// A claim.
    Claim(Claim),
    /// A statement of an owner.
    Own(Own),
}

/// A claim.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Which.
    pub claim: ClaimNo,
    /// By which node.
    pub node: usize,
    /// Its name.
    pub name: NodeName,
    /// The epoch it has seen.
    pub seen: Epoch,
    /// The beat it has seen.
    pub beat: u64,
    /// Fresh.
    pub nonce: Nonce,
    /// Whether gossip had told it that the owner is dead.
    pub told_dead: bool,
    /// When it was decided.
    pub decided_at: u64,
}

/// A statement of an owner.
#[derive(Debug, Clone)]
pub struct Own {
    /// Of which claim.
    pub claim: ClaimNo,
    /// What.
    pub statement: Statement,
    /// What is committed.
    pub group: Option<Rc<Group>>,
    /// Stands for the journal as its owner knows it, for the judges alone.
    pub known: u64,
}

/// A request on its way.
#[derive(Debug, Clone)]
pub struct Sent {
    /// By which node.
    pub node: usize,
    /// In which of its lives.
    pub process: u64,
    /// Tells its answer from others.
    pub call: u64,
    /// What is asked.
    pub request: Request,
    /// Whether the answer reaches the node.
    pub heard: bool,
    /// The session it goes over; what has one is in order with the others of it.
    pub session: Option<u64>,
}

/// What the database answers.
#[derive(Debug, Clone)]
pub enum Reply {
    /// The seat.
    Seat(Seat),
    /// Groups of the journal.
    Journal(Vec<Rc<Group>>),
    /// What came of a claim: the epoch and seq of the row.
    Claimed(Option<(Epoch, u64)>),
    /// What came of a statement.
    Own(Answer),
    /// There is no room for the group; nothing was written.
    Full,
    /// The database is away.
    Away,
}

/// What the database leaves out, to prove that the judges see it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Careless {
    /// Claims look neither at the epoch nor at the beat.
    pub seen: bool,
    /// Claims do not look at the beat.
    pub beat: bool,
    /// Commits do not look at the seq.
    pub seq: bool,
}

/// The database.
#[derive(Debug)]
pub struct Database {
    /// The row.
    pub row: Row,
    /// The journal.
    pub journal: Vec<Rc<Group>>,
    /// When the row last changed.
    pub changed_at: u64,
    /// When it last came up.
    pub up_since: u64,
    /// Whether it is up.
    pub up: bool,
    /// Raised with every fall: what was under way is void.
    pub life: u64,
    /// The statement under way first, then those that wait.
    pub waiting: VecDeque<Sent>,
    /// What a proxy hands over when the database is back.
    pub held: Vec<Sent>,
    /// What it leaves out.
    pub careless: Careless,
    /// Earlier states: the row, since when it was so, and the length of the journal.
    past: VecDeque<(Row, u64, usize)>,
}

impl Database {
    /// A database in which nobody has claimed anything.
    #[must_use]
    pub fn new(careless: Careless) -> Database {
        let row = Row { epoch: 0, nonce: Nonce(0), seq: 0, beat: 0, owner: None, claim: 0 };
        Database {
            row,
            journal: Vec::new(),
            changed_at: 0,
            up_since: 0,
            up: true,
            life: 0,
            waiting: VecDeque::new(),
            held: Vec::new(),
            careless,
            past: VecDeque::new(),
        }
    }

    /// What a standby reads.
    #[must_use]
    pub fn seat(&self) -> Seat {
        Seat { epoch: self.row.epoch, beat: self.row.beat, owner: self.row.owner.clone() }
    }

    /// Executes a claim.
    pub fn claim(&mut self, at: u64, claim: &Claim) -> Option<(Epoch, u64)> {
        let seen = self.row.epoch == claim.seen || self.careless.seen;
        let beat = self.row.beat == claim.beat || self.careless.beat || self.careless.seen;
        if !(seen && beat) {
            return None;
        }
        self.keep(at);
        let row = &mut self.row;
        row.epoch += claim.nonce.leap();
        row.nonce = claim.nonce;
        row.beat += 1;
        row.owner = Some(claim.name.clone());
        row.claim = claim.claim;
        Some((row.epoch, row.seq))
    }

    /// Executes a statement of an owner; `None` when its group needs room, and there is none.
    pub fn own(&mut self, at: u64, own: &Own, full: bool) -> Option<Answer> {
        let row = &self.row;
        let matches = match own.statement {
            Statement::Commit { epoch, nonce, seq } => {
                row.epoch == epoch && row.nonce == nonce && (row.seq == seq || self.careless.seq)
            }
            Statement::Beat { epoch, nonce } => row.epoch == epoch && row.nonce == nonce,
            Statement::Reopen { nonce } | Statement::GiveUp { nonce } => row.nonce == nonce,
        };
        if !matches {
            return Some(Answer::Nothing);
        }
        if full && own.group.is_some() {
            return None;
        }
        self.keep(at);
        match own.statement {
            Statement::Commit { .. } => {
                self.row.seq += 1;
                self.row.beat += 1;
                self.journal.extend(own.group.clone());
            }
            Statement::Beat { .. } => self.row.beat += 1,
            Statement::Reopen { .. } => {
                self.row.epoch += 1;
                self.row.beat += 1;
            }
            Statement::GiveUp { .. } => {
                self.row.epoch += 1;
                self.row.beat += 1;
                self.row.owner = None;
            }
        }
        Some(Answer::Applied { epoch: self.row.epoch, seq: self.row.seq })
    }

    /// Goes so many states back. Returns the groups that are lost.
    pub fn lose(&mut self, states: u64) -> Vec<Rc<Group>> {
        let mut length = self.journal.len();
        for _ in 0..states {
            let Some((row, since, groups)) = self.past.pop_back() else { break };
            self.row = row;
            self.changed_at = since;
            length = groups;
        }
        self.journal.split_off(length)
    }

    fn keep(&mut self, at: u64) {
        self.past.push_back((self.row.clone(), self.changed_at, self.journal.len()));
        self.changed_at = at;
        if self.past.len() > PAST_MAX {
            self.past.pop_front();
        }
    }
}
