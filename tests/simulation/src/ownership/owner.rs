//! A node that owns: it sends what its fence says, one statement at a time, and lets out what a commit has made true.

use std::rc::Rc;

use windlass_core::cluster::{Answer, Fence, Statement, Step};
use windlass_core::wire::Token;

use super::Planted;
use super::database::{ClaimNo, Own, Reply, Request};
use super::fact::Fact;
use super::ledger::{Group, Job, Known, Ledger, Proof, Write};
use super::node::{Mode, NodeEvent};
use super::world::{Event, World};

/// Jobs that are handed out with one group, at most.
const HAND_OUT_MAX: usize = 3;
/// Pause before a statement is sent again of which the answer was lost.
const PAUSE_MS: u64 = 50;

/// What waits for a commit.
#[derive(Debug, Clone, Copy)]
pub enum Hold {
    /// A client is told that its job is taken on.
    Confirm(Job),
    /// A worker is given a job.
    HandOut(Job, Token),
    /// A worker is told that the end of its job is recorded.
    Ended(Job),
}

/// What an owner has in memory.
#[derive(Debug)]
pub struct Owner {
    /// Its claim.
    pub claim: ClaimNo,
    /// Its fence.
    pub fence: Fence,
    /// What was in the journal at its claim.
    pub start_seq: u64,
    /// Stands for the journal as it knows it.
    pub known: u64,
    /// The jobs, once they are read.
    pub ledger: Option<Ledger>,
    /// The reading of the journal under way.
    pub load: Option<u64>,
    /// The statement under way, or the one to be sent after a pause.
    pub call: Option<u64>,
    /// Whether it is to give up.
    pub leaves: bool,
    open: (Vec<Write>, Vec<Hold>),
    flight: Option<(Rc<Group>, Vec<Hold>)>,
    sent: Option<Statement>,
    /// When a statement was last sent that showed that it lives.
    alive_at: u64,
}

impl Owner {
    /// The owner of a claim that applied.
    #[must_use]
    pub fn new(claim: ClaimNo, fence: Fence) -> Owner {
        let start_seq = fence.seq();
        Owner {
            claim,
            fence,
            start_seq,
            known: 0,
            ledger: None,
            load: None,
            call: None,
            leaves: false,
            open: (Vec::new(), Vec::new()),
            flight: None,
            sent: None,
            alive_at: 0,
        }
    }

    /// Whether it serves clients.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.ledger.is_some() && !self.leaves
    }
}

/// A number that stands for a journal: that of the one before, and its last group.
#[must_use]
pub fn chain(before: u64, group: &Group) -> u64 {
    (before ^ group.id).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
}

impl World {
    /// The owner on this node.
    pub(super) fn owner(&mut self, node: usize) -> Option<&mut Owner> {
        match &mut self.nodes[node].mode {
            Mode::Owner(owner) => Some(owner),
            Mode::Standby { .. } => None,
        }
    }

    /// Reads the journal, again if need be.
    pub(super) fn load(&mut self, node: usize) {
        let call = self.next_call();
        let Some(owner) = self.owner(node) else { return };
        owner.load = Some(call);
        let seq = owner.start_seq;
        self.ask(node, call, Request::Load { seq }, self.setup.statement_ms);
    }

    pub(super) fn loaded(&mut self, node: usize, groups: &[Rc<Group>]) {
        let (at, unread) = (self.at, self.planted == Some(Planted::EndsUnread));
        let Some(owner) = self.owner(node) else { return };
        owner.load = None;
        let claim = owner.claim;
        if (groups.len() as u64) < owner.start_seq {
            self.emit(Fact::FoundLess { node, claim });
            return self.stand_by(node);
        }
        owner.known = groups.iter().fold(0, |known, group| chain(known, group));
        owner.ledger = Some(Ledger::load(groups, at, |write| !(unread && matches!(write, Write::End(_)))));
        self.emit(Fact::Serves { node, claim });
        self.pump(node);
    }

    /// Begins whatever can begin.
    pub(super) fn pump(&mut self, node: usize) {
        let (at, beat_ms) = (self.at, self.setup.timing.beat_ms);
        self.offer(node);
        let id = self.next_call();
        let silent = self.planted == Some(Planted::SilentOwner);
        let Some(owner) = self.owner(node) else { return };
        if !owner.fence.is_idle() {
            return;
        }
        let due = at >= owner.alive_at + beat_ms && !silent;
        let statement = if due {
            owner.fence.beat()
        } else if !owner.open.0.is_empty() {
            let (writes, holds) = std::mem::take(&mut owner.open);
            owner.flight = Some((Rc::new(Group { id, claim: owner.claim, writes }), holds));
            owner.fence.begin()
        } else if owner.leaves {
            owner.fence.give_up()
        } else {
            return;
        };
        self.send(node, statement);
        self.let_out_early(node);
    }

    /// Leases jobs, into the group that is gathered.
    fn offer(&mut self, node: usize) {
        let (at, lease_ms) = (self.at, self.setup.lease_ms);
        let Some(owner) = self.owner(node) else { return };
        let epoch = owner.fence.epoch();
        let serves = owner.serves();
        let Some(ledger) = owner.ledger.as_mut().filter(|_| serves) else { return };
        for _ in owner.open.0.len()..HAND_OUT_MAX {
            let Some((job, token)) = ledger.lease(epoch, at, lease_ms) else { break };
            ledger.apply(Write::Lease(job, token), at);
            owner.open.0.push(Write::Lease(job, token));
            owner.open.1.push(Hold::HandOut(job, token));
        }
    }

    /// Sends a statement of the fence.
    fn send(&mut self, node: usize, statement: Statement) {
        let (at, call) = (self.at, self.next_call());
        let Some(owner) = self.owner(node) else { return };
        owner.call = Some(call);
        owner.sent = Some(statement);
        owner.alive_at = at;
        let group = match statement {
            Statement::Commit { .. } => owner.flight.as_ref().map(|(group, _)| Rc::clone(group)),
            _ => None,
        };
        let own = Own { claim: owner.claim, statement, group, known: owner.known };
        self.ask(node, call, Request::Own(own), self.setup.statement_ms);
    }

    /// What came of the statement under way.
    pub(super) fn owner_hears(&mut self, node: usize, reply: &Reply) {
        let Some(owner) = self.owner(node) else { return };
        owner.call = None;
        if matches!(reply, Reply::Full) {
            return self.withdraw(node);
        }
        let answer = match reply {
            Reply::Own(answer) => *answer,
            _ => Answer::Lost,
        };
        let step = owner.fence.answered(answer);
        let group = owner.flight.as_ref().map(|(group, _)| Rc::clone(group));
        let claim = owner.claim;
        let to = owner.sent.expect("an answer follows a statement");
        self.emit(Fact::Stepped { node, claim, to, step, group });
        match step {
            Step::Committed { .. } => self.committed(node),
            Step::Done => self.pump(node),
            Step::Send(statement) if answer == Answer::Lost => {
                let call = self.next_call();
                if let Some(owner) = self.owner(node) {
                    owner.call = Some(call);
                }
                self.node_later(node, PAUSE_MS, NodeEvent::Send(call, statement));
            }
            Step::Send(statement) => self.send(node, statement),
            Step::GivenUp | Step::Fenced | Step::Regressed { .. } => self.stand_by(node),
        }
    }

    /// There is no room for the group: what is in it goes into the next one, which is tried with the next tick.
    fn withdraw(&mut self, node: usize) {
        let beat_ms = self.setup.timing.beat_ms;
        let Some(owner) = self.owner(node) else { return };
        owner.fence.withdrawn();
        owner.alive_at = owner.alive_at.saturating_sub(beat_ms);
        let (group, holds) = owner.flight.take().expect("a commit is of a group");
        owner.open.0.splice(0..0, group.writes.iter().copied());
        owner.open.1.splice(0..0, holds);
        let claim = owner.claim;
        self.emit(Fact::Withdrawn { claim, group });
    }

    /// The pause is over.
    pub(super) fn send_now(&mut self, node: usize, call: u64, statement: Statement) {
        if self.owner(node).is_some_and(|owner| owner.call == Some(call)) {
            self.send(node, statement);
        }
    }

    fn committed(&mut self, node: usize) {
        let Some(owner) = self.owner(node) else { return };
        let (group, holds) = owner.flight.take().expect("a commit is of a group");
        owner.known = chain(owner.known, &group);
        if let Some(ledger) = &mut owner.ledger {
            group.writes.iter().for_each(|write| ledger.durable(*write));
        }
        let claim = owner.claim;
        self.let_out(claim, &holds);
        self.pump(node);
    }

    fn let_out(&mut self, claim: ClaimNo, holds: &[Hold]) {
        for hold in holds {
            match *hold {
                Hold::Confirm(job) => self.emit(Fact::Confirmed { job, claim }),
                Hold::Ended(job) => self.emit(Fact::Ended { job, claim }),
                Hold::HandOut(job, token) => {
                    self.emit(Fact::HandedOut { job, token, claim });
                    let runs_ms = self.rng.between(20, 800);
                    self.later(runs_ms, Event::Report { job, token, tries: 0 });
                }
            }
        }
    }

    /// Planted: what must wait for the answer does not.
    fn let_out_early(&mut self, node: usize) {
        let planted = self.planted;
        let early = |hold: &Hold| match hold {
            Hold::HandOut(..) => planted == Some(Planted::HandOutAtOnce),
            Hold::Confirm(_) | Hold::Ended(_) => planted == Some(Planted::ConfirmAtOnce),
        };
        let Some(owner) = self.owner(node) else { return };
        let claim = owner.claim;
        let Some((_, holds)) = &mut owner.flight else { return };
        let (now, later) = holds.iter().partition(|hold| early(hold));
        *holds = later;
        let now: Vec<Hold> = now;
        self.let_out(claim, &now);
    }

    /// A client submits a job.
    pub(super) fn enqueue(&mut self, node: usize, job: Job) {
        let at = self.at;
        let Some(owner) = self.owner(node) else { return };
        let (claim, serves) = (owner.claim, owner.serves());
        let Some(ledger) = owner.ledger.as_mut().filter(|_| serves) else { return };
        match ledger.known(job) {
            Known::New => {
                ledger.apply(Write::Enqueue(job), at);
                owner.open.0.push(Write::Enqueue(job));
                owner.open.1.push(Hold::Confirm(job));
                self.pump(node);
            }
            // The client asks again.
            Known::OnItsWay => {}
            Known::Durable => self.emit(Fact::Confirmed { job, claim }),
        }
    }

    /// A worker reports.
    pub(super) fn reported(&mut self, node: usize, job: Job, token: Token) {
        let at = self.at;
        let Some(owner) = self.owner(node) else { return };
        let (claim, serves) = (owner.claim, owner.serves());
        let Some(ledger) = owner.ledger.as_mut().filter(|_| serves) else { return };
        match ledger.proves(job, token) {
            Proof::Holds => {
                ledger.apply(Write::End(job), at);
                owner.open.0.push(Write::End(job));
                owner.open.1.push(Hold::Ended(job));
                self.pump(node);
            }
            Proof::Stale => self.emit(Fact::Stale { job, token, claim }),
            // The worker asks again.
            Proof::Ends => {}
            Proof::Ended => self.emit(Fact::Ended { job, claim }),
        }
    }
}
