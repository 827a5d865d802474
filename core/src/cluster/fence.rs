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
        /// The number of the commit before it, which is in the journal or in flight.
        seq: u64,
    },
    /// If the row has this nonce: epoch and beat go up by one. It waits for a statement that is being executed, and
    /// no statement that was sent before it can apply behind it; so its answer says which commits are in the journal.
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
    /// No answer: the connection broke, or took too long. It may have been executed, or be executed yet. A statement that was refused
    /// for want of space counts as lost too: it is sent again until there is room.
    Lost,
}

/// What follows from an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The oldest group is in the journal, once, under this seq. It may be confirmed, and another one begun.
    Committed {
        /// Where it stands.
        seq: u64,
    },
    /// What became of the oldest group is not known, and so not of those behind it: they stand on it. Nothing is sent before all that
    /// are in flight have their answers, or are given up for [`Answer::Lost`].
    Unsettled,
    /// So many of the oldest groups are in the journal, in order, and may be confirmed. Those behind them are not, and are sent
    /// [again](Fence::again), in order, before another one is begun.
    Settled {
        /// How many.
        committed: u64,
    },
    /// Nothing to report; the next statement may begin. A sign of life of which the answer was lost is not sent again: the
    /// next commit or the next beat will do.
    Done,
    /// This has to be sent now, after a pause if the answer before was [`Answer::Lost`].
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

/// The writer's side of the fence: a row of commits in flight, one behind the other, or one statement of another kind; and after
/// trouble the one that settles it.
///
/// ```text
///     begin, again: Commit         Applied, to the oldest: Committed
///               ┌───┐ ┌──────┐
///               │   ▼ ▼      │
///   beat ◄────►  open  ──────┘          Lost, Nothing: Unsettled
///               ▲    │                 ┌─────────────┐
///               │    │ Lost, Nothing   ▼             │ any answer
///               │    └────────────► unsettled ───────┘
///               │                      │ all are answered, or given up
///               │   Applied: Settled   ▼
///               └─────────────────── Reopen ◄──┐ Lost
///                                      │  └────┘
///                                      │ Nothing: Fenced    impossible seq: Regressed
///                                      ▼
///                                     over
/// ```
///
/// A commit names the number of the one before it, which may be in flight still. So the database takes none before the one it
/// stands on, and whatever goes wrong, what it has of a row of commits is a beginning of it. A group keeps its number
/// for as long as this owner lives: it is sent until it is in the journal, never withdrawn, and no other one gets its number. So the row's
/// seq says which groups the journal has, even if one came into it by a statement that was given up for lost long before.
///
/// That nothing matched a commit does not yet mean that another owner came. A Reopen of which the answer was lost may be executed
/// after its successor and raise the epoch once more, between two commits in flight as well; and a database that lost its newest
/// commits has a seq that does not match. Only Reopen, which asks for the nonce alone, tells these from a fence.
///
/// After [`Step::Fenced`], [`Step::Regressed`] and [`Step::GivenUp`] the fence is over: every further call is a bug of the
/// caller, and panics. To write again, a node claims again.
#[derive(Debug, Clone)]
pub struct Fence {
    claimed: Epoch,
    /// The epoch of the row, which a Reopen raises.
    row_epoch: Epoch,
    nonce: Nonce,
    /// The last commit that is surely in the journal.
    seq: u64,
    /// Groups behind it that were begun: their numbers are the next ones, in order.
    begun: u64,
    /// The first so many of these have a statement in flight.
    in_flight: u64,
    state: State,
}

/// What may be sent, or which answer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Commits, or one statement of another kind.
    Open,
    /// Nothing, until all commits in flight have their answers.
    Unsettled,
    Beating,
    Reopening,
    GivingUp,
    Over,
}

impl Fence {
    /// The fence of a claim that applied: `epoch` and `seq` are those in its answer.
    #[must_use]
    pub fn claimed(epoch: Epoch, nonce: Nonce, seq: u64) -> Fence {
        Fence { claimed: epoch, row_epoch: epoch, nonce, seq, begun: 0, in_flight: 0, state: State::Open }
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

    /// Whether everything that was begun is settled, and a statement of any kind may begin.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.state == State::Open && self.begun == 0
    }

    /// Whether a group may begin: nothing is unsettled, and all that were begun before it are in flight.
    #[must_use]
    pub fn may_begin(&self) -> bool {
        self.state == State::Open && self.in_flight == self.begun
    }

    /// Whether this owner may write no more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Commits the next group, behind those in flight. How many may be in flight at a time is up to the caller.
    ///
    /// # Panics
    /// When it [may not begin](Fence::may_begin).
    pub fn begin(&mut self) -> Statement {
        assert!(
            self.may_begin(),
            "a group behind one that is unsettled, or when the fence is over: {self:?}"
        );
        self.begun += 1;
        self.again().expect("one more was begun than is in flight")
    }

    /// The commit of the oldest group that was begun and has no statement in flight, after [`Step::Settled`]; `None` when there is none, or
    /// nothing may be sent.
    pub fn again(&mut self) -> Option<Statement> {
        if self.state != State::Open || self.in_flight == self.begun {
            return None;
        }
        let seq = self.seq + self.in_flight;
        self.in_flight += 1;
        Some(Statement::Commit { epoch: self.row_epoch, nonce: self.nonce, seq })
    }

    /// Shows that this owner lives.
    ///
    /// # Panics
    /// When the fence is not idle; so does [`give_up`](Fence::give_up).
    pub fn beat(&mut self) -> Statement {
        self.leave_idle(State::Beating);
        Statement::Beat { epoch: self.row_epoch, nonce: self.nonce }
    }

    /// Gives the seat up, when everything is committed.
    pub fn give_up(&mut self) -> Statement {
        self.leave_idle(State::GivingUp);
        Statement::GiveUp { nonce: self.nonce }
    }

    /// Takes the answer to the statement in flight, to the oldest if there are several.
    ///
    /// # Panics
    /// When none is in flight.
    pub fn answered(&mut self, answer: Answer) -> Step {
        match self.state {
            State::Open if self.in_flight > 0 => match answer {
                Answer::Applied { seq, .. } if self.seq.checked_add(1) == Some(seq) => self.committed(seq),
                Answer::Applied { seq, .. } => self.regressed(seq),
                Answer::Nothing | Answer::Lost => self.unsettled(),
            },
            State::Unsettled => self.unsettled(),
            State::Beating => match answer {
                Answer::Applied { seq, .. } if seq == self.seq => self.done(),
                Answer::Applied { seq, .. } => self.regressed(seq),
                Answer::Nothing => self.reopen(),
                Answer::Lost => self.done(),
            },
            State::Reopening => match answer {
                Answer::Applied { epoch, seq } => self.reopened(epoch, seq),
                Answer::Nothing => self.over(Step::Fenced),
                Answer::Lost => self.reopen(),
            },
            State::GivingUp => match answer {
                Answer::Applied { .. } => self.over(Step::GivenUp),
                Answer::Nothing => self.over(Step::Fenced),
                Answer::Lost => Step::Send(Statement::GiveUp { nonce: self.nonce }),
            },
            State::Open | State::Over => panic!("an answer, and no statement in flight: {self:?}"),
        }
    }

    fn leave_idle(&mut self, state: State) {
        assert!(self.is_idle(), "only when nothing is in flight, and not when the fence is over: {self:?}");
        self.state = state;
    }

    fn committed(&mut self, seq: u64) -> Step {
        self.seq = seq;
        self.begun -= 1;
        self.in_flight -= 1;
        Step::Committed { seq }
    }

    /// One of the commits in flight is answered, and one before it or it itself did not apply, as far as is known. What its answer says does not
    /// matter: the seq that a Reopen finds counts.
    fn unsettled(&mut self) -> Step {
        self.in_flight -= 1;
        if self.in_flight == 0 {
            return self.reopen();
        }
        self.state = State::Unsettled;
        Step::Unsettled
    }

    fn reopen(&mut self) -> Step {
        self.state = State::Reopening;
        Step::Send(Statement::Reopen { nonce: self.nonce })
    }

    /// A Reopen applied: the row stands still until this owner's next statement, and says which groups are in the journal.
    fn reopened(&mut self, epoch: Epoch, seq: u64) -> Step {
        self.row_epoch = epoch;
        match seq.checked_sub(self.seq) {
            Some(committed) if committed <= self.begun => {
                self.seq = seq;
                self.begun -= committed;
                self.state = State::Open;
                Step::Settled { committed }
            }
            _ => self.regressed(seq),
        }
    }

    fn done(&mut self) -> Step {
        self.state = State::Open;
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
