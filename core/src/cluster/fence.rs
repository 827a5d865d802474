//! What an owner may believe of its statements.

use super::Nonce;
use crate::store::Epoch;

/// A statement for the seat of a shard. Each is atomic, and answers with the epoch and seq of the row it changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement {
    /// If the row has this epoch, this nonce and this seq: seq and beat go up by one, and the group stands in the journal under
    /// the new seq.
    Commit {
        /// The epoch of the row as last seen.
        epoch: Epoch,
        /// Whose claim it is.
        nonce: Nonce,
        /// The last commit that this owner knows to be in the journal.
        seq: u64,
    },
    /// If the row has this nonce: epoch and beat go up by one. It waits for a statement that is being executed, and
    /// no statement that was sent before it can apply behind it; so its answer says what became of the last commit.
    Reopen {
        /// Whose claim it is.
        nonce: Nonce,
    },
    /// If the row has this epoch and this nonce: beat goes up by one.
    Beat {
        /// The epoch of the row as last seen.
        epoch: Epoch,
        /// Whose claim it is.
        nonce: Nonce,
    },
    /// If the row has this nonce: epoch and beat go up by one, and the seat has no owner any more.
    GiveUp {
        /// Whose claim it is.
        nonce: Nonce,
    },
}

/// What came of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It changed the row.
    Applied {
        /// The row's epoch since.
        epoch: Epoch,
        /// The row's seq since.
        seq: u64,
    },
    /// It was executed, and no row matched.
    Nothing,
    /// No answer: the connection broke, or took too long. It may have been executed, or be executed yet.
    Lost,
}

/// What follows from an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The group is in the journal, once, under this seq. It may be confirmed, and the next one begun.
    Committed {
        /// Where it stands.
        seq: u64,
    },
    /// Nothing to report; the next statement may begin. A sign of life of which the answer was lost is not sent again: the
    /// next commit or the next beat will do.
    Done,
    /// This has to be sent now, after a pause if the answer before was [`Answer::Lost`]. A commit is of the same group as before.
    Send(Statement),
    /// The seat was given up.
    GivenUp,
    /// Another claim has taken the seat, or this one is lost: this owner is none any more. Nothing of it applies from now on.
    Fenced,
    /// The seat is this owner's, but the database does not hold what it has confirmed: one that copies its commits late was
    /// put into the place of one that failed. What it lost is lost, and whatever this owner has in memory rests on it.
    Regressed {
        /// The last seq that was confirmed.
        confirmed: u64,
        /// The seq of the row.
        found: u64,
    },
}

/// The writer's side of the fence: one statement at a time, and after each the one that settles it.
///
/// ```text
///                       Applied: Committed
///              ┌──────────────────────────────────────┐
///              ▼                                      │
///   begin ► idle ───────── Commit ──────────────► committing ◄──────────┐
///             ▲                                       │ Lost, Nothing   │ seq as before: the group once more
///             │ seq one higher: Committed             ▼                 │
///             └─────────────────────────────────── Reopen ──────────────┘
///                                                     │ Nothing: Fenced    other seq: Regressed
///                                                     ▼
///                                                   over
/// ```
///
/// That nothing matched a commit does not yet mean that another owner came. A Reopen of which the answer was lost may be executed
/// after its successor and raise the epoch once more; and a database that lost its newest commits has a seq that does
/// not match. Only Reopen, which asks for the nonce alone, tells these from a fence.
///
/// After [`Step::Fenced`], [`Step::Regressed`] and [`Step::GivenUp`] the fence is over: every further call is a bug of the
/// caller, and panics. To write again, a node claims again.
#[derive(Debug, Clone)]
pub struct Fence {
    claimed: Epoch,
    /// The epoch of the row, which a Reopen raises.
    row_epoch: Epoch,
    nonce: Nonce,
    seq: u64,
    state: State,
}

/// The statement in flight, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Committing,
    Beating,
    Reopening {
        /// Whether it is to tell what became of a commit.
        group: bool,
    },
    GivingUp,
    Over,
}

impl Fence {
    /// The fence of a claim that applied: `epoch` and `seq` are those in its answer.
    #[must_use]
    pub fn claimed(epoch: Epoch, nonce: Nonce, seq: u64) -> Fence {
        Fence { claimed: epoch, row_epoch: epoch, nonce, seq, state: State::Idle }
    }

    /// The epoch of the claim, which stays the same for as long as this owner does: that of its tokens.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.claimed
    }

    /// The last commit that is surely in the journal.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Whether a statement may begin: none is in flight, and the fence is not over.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Whether this owner may write no more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Commits the next group.
    ///
    /// # Panics
    /// When the fence is not idle; so do [`beat`](Fence::beat) and [`give_up`](Fence::give_up).
    pub fn begin(&mut self) -> Statement {
        self.leave_idle(State::Committing);
        self.commit()
    }

    /// Shows that this owner lives.
    pub fn beat(&mut self) -> Statement {
        self.leave_idle(State::Beating);
        Statement::Beat { epoch: self.row_epoch, nonce: self.nonce }
    }

    /// Gives the seat up, when everything is committed.
    pub fn give_up(&mut self) -> Statement {
        self.leave_idle(State::GivingUp);
        Statement::GiveUp { nonce: self.nonce }
    }

    /// The database has refused the commit in flight for want of space: it did not happen, and the fence is idle again.
    ///
    /// # Panics
    /// When no commit is in flight.
    pub fn withdrawn(&mut self) {
        assert!(matches!(self.state, State::Committing), "no commit is in flight: {self:?}");
        self.state = State::Idle;
    }

    /// Takes the answer to the statement in flight.
    ///
    /// # Panics
    /// When none is in flight.
    pub fn answered(&mut self, answer: Answer) -> Step {
        match self.state {
            State::Committing => match answer {
                Answer::Applied { seq, .. } if self.seq.checked_add(1) == Some(seq) => self.committed(seq),
                Answer::Applied { seq, .. } => self.regressed(seq),
                Answer::Nothing | Answer::Lost => self.reopen(true),
            },
            State::Beating => match answer {
                Answer::Applied { seq, .. } => self.settled(seq),
                Answer::Nothing => self.reopen(false),
                Answer::Lost => self.done(),
            },
            State::Reopening { group } => match answer {
                Answer::Applied { epoch, seq } => self.reopened(group, epoch, seq),
                Answer::Nothing => self.over(Step::Fenced),
                Answer::Lost => self.reopen(group),
            },
            State::GivingUp => match answer {
                Answer::Applied { .. } => self.over(Step::GivenUp),
                Answer::Nothing => self.over(Step::Fenced),
                Answer::Lost => Step::Send(Statement::GiveUp { nonce: self.nonce }),
            },
            State::Idle | State::Over => panic!("an answer, and no statement in flight: {self:?}"),
        }
    }

    fn leave_idle(&mut self, state: State) {
        assert!(self.is_idle(), "one statement at a time, and none when the fence is over: {self:?}");
        self.state = state;
    }

    fn commit(&self) -> Statement {
        Statement::Commit { epoch: self.row_epoch, nonce: self.nonce, seq: self.seq }
    }

    fn reopen(&mut self, group: bool) -> Step {
        self.state = State::Reopening { group };
        Step::Send(Statement::Reopen { nonce: self.nonce })
    }

    /// A Reopen applied: the row stands still until this owner's next statement, and says what became of the last.
    fn reopened(&mut self, group: bool, epoch: Epoch, seq: u64) -> Step {
        self.row_epoch = epoch;
        if !group {
            return self.settled(seq);
        }
        if self.seq.checked_add(1) == Some(seq) {
            return self.committed(seq);
        }
        if seq != self.seq {
            return self.regressed(seq);
        }
        self.state = State::Committing;
        Step::Send(self.commit())
    }

    fn committed(&mut self, seq: u64) -> Step {
        self.seq = seq;
        self.state = State::Idle;
        Step::Committed { seq }
    }

    /// No commit was in flight, so the row must stand where this owner left it.
    fn settled(&mut self, seq: u64) -> Step {
        if seq == self.seq { self.done() } else { self.regressed(seq) }
    }

    fn done(&mut self) -> Step {
        self.state = State::Idle;
        Step::Done
    }

    fn regressed(&mut self, found: u64) -> Step {
        self.over(Step::Regressed { confirmed: self.seq, found })
    }

    fn over(&mut self, step: Step) -> Step {
        self.state = State::Over;
        step
    }
}

#[cfg(test)]
#[path = "fence_test.rs"]
mod tests;
