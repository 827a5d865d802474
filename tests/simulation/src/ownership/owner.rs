//! A node that owns: it sends what its fence says, several commits in flight, and lets out what a commit has made true.

use std::collections::VecDeque;
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
    /// The statement under way that is alone, or the one to be sent after a pause.
    pub call: Option<(u64, Statement)>,
    /// Whether it is to give up.
    pub leaves: bool,
    open: (Vec<Write>, Vec<Hold>),
    /// Groups that were begun and are not known to be in the journal, oldest first.
    flight: VecDeque<(Rc<Group>, Vec<Hold>)>,
    /// The commits in flight, which are of the first groups, with what is heard of them.
    calls: VecDeque<(u64, Statement, Option<Reply>)>,
    /// The connection that they go over.
    session: u64,
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
            flight: VecDeque::new(),
            calls: VecDeque::new(),
            session: claim,
            alive_at: 0,
        }
    }

    /// Whether it serves clients.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.ledger.is_some() && !self.leaves
    }

    /// Whether it waits for this answer.
    #[must_use]
    pub fn awaits(&self, call: u64) -> bool {
        self.call.is_some_and(|(alone, _)| alone == call) || self.calls.iter().any(|(sent, ..)| *sent == call)
    }
}

/// What the fence hears. A group for which there is no room is sent again like one that was lost.
fn answer_of(reply: &Reply) -> Answer {
    match reply {
        Reply::Own(answer) => *answer,
        _ => Answer::Lost,
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
        self.ask(node, call, Request::Load { seq }, self.setup.statement_ms, None);
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
        let silent = self.planted == Some(Planted::SilentOwner);
        let Some(owner) = self.owner(node) else { return };
        if at >= owner.alive_at + beat_ms && !silent && owner.fence.is_idle() {
            let statement = owner.fence.beat();
            return self.send(node, statement);
        }
        while self.commit_next(node) {}
        self.let_out_early(node);
        let Some(owner) = self.owner(node) else { return };
        if owner.leaves && owner.open.0.is_empty() && owner.fence.is_idle() {
            let statement = owner.fence.give_up();
            self.send(node, statement);
        }
    }

    /// Sends a commit, of a group that was sent before or of a new one; `false` when none may be sent now.
    fn commit_next(&mut self, node: usize) -> bool {
        let (id, call, window) = (self.next_call(), self.next_call(), self.setup.window);
        let (alone, planted) = (self.setup.again_alone, self.planted);
        let Some(owner) = self.owner(node) else { return false };
        let flying = owner.calls.len();
        let again = flying < owner.flight.len();
        if again && alone && flying > 0 || flying >= window {
            return false;
        }
        let hasty = again && planted == Some(Planted::NewBeforeRest) && !owner.open.0.is_empty();
        let (statement, index) = match owner.fence.again() {
            Some(statement) if again && planted == Some(Planted::RestBackwards) => {
                (statement, owner.flight.len() - 1 - flying)
            }
            Some(statement) if !hasty => (statement, flying),
            Some(statement) => (statement, owner.flight.len()),
            None if owner.open.0.is_empty() || !owner.fence.may_begin() => return false,
            None => (owner.fence.begin(), flying),
        };
        let claim = owner.claim;
        if index == owner.flight.len() {
            let (writes, holds) = std::mem::take(&mut owner.open);
            let group = Rc::new(Group { id, claim, writes });
            owner.flight.push_back((Rc::clone(&group), holds));
            self.emit(Fact::Begun { claim, group });
        }
        let Some(owner) = self.owner(node) else { return false };
        owner.calls.push_back((call, statement, None));
        let known =
            owner.flight.iter().take(index).fold(owner.known, |known, (group, _)| chain(known, group));
        let group = Some(Rc::clone(&owner.flight[index].0));
        self.ask_for_owner(node, call, Own { claim, statement, group, known });
        true
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

    /// Sends a statement that is alone.
    fn send(&mut self, node: usize, statement: Statement) {
        let call = self.next_call();
        let Some(owner) = self.owner(node) else { return };
        owner.call = Some((call, statement));
        let own = Own { claim: owner.claim, statement, group: None, known: owner.known };
        self.ask_for_owner(node, call, own);
    }

    fn ask_for_owner(&mut self, node: usize, call: u64, own: Own) {
        let at = self.at;
        let Some(owner) = self.owner(node) else { return };
        owner.alive_at = at;
        let session = owner.session;
        self.ask(node, call, Request::Own(own), self.setup.statement_ms, Some(session));
    }

    /// An answer. Those to commits are worked off in the order in which these were sent.
    pub(super) fn owner_hears(&mut self, node: usize, call: u64, reply: &Reply) {
        let session = self.next_call();
        let Some(owner) = self.owner(node) else { return };
        if let Some((_, to)) = owner.call.take_if(|(alone, _)| *alone == call) {
            let answer = answer_of(reply);
            if answer == Answer::Lost {
                owner.session = session;
            }
            let step = owner.fence.answered(answer);
            return self.follow(node, to, answer, step);
        }
        let waits = owner.calls.iter_mut().find(|(sent, _, heard)| *sent == call && heard.is_none());
        let Some((_, _, heard)) = waits else { return };
        *heard = Some(reply.clone());
        while let Some(owner) = self.owner(node)
            && let Some((_, to, Some(reply))) = owner.calls.front().cloned()
        {
            owner.calls.pop_front();
            self.commit_heard(node, to, &reply);
        }
    }

    /// What came of the oldest commit in flight.
    fn commit_heard(&mut self, node: usize, to: Statement, reply: &Reply) {
        let session = self.next_call();
        let left_behind = self.planted == Some(Planted::RefusedLeftBehind);
        let Some(owner) = self.owner(node) else { return };
        let answer = answer_of(reply);
        let mut step = owner.fence.answered(answer);
        let full = matches!(reply, Reply::Full);
        if answer == Answer::Lost && !full {
            // The session is given up, and with it all that is in flight behind.
            owner.session = session;
            owner.calls.clear();
            while step == Step::Unsettled {
                step = owner.fence.answered(Answer::Lost);
            }
        }
        if full {
            let (group, _) = owner.flight.front().expect("a commit is of a group");
            let fact = Fact::NoRoom { claim: owner.claim, group: Rc::clone(group) };
            if left_behind && let Some((group, holds)) = owner.flight.pop_front() {
                owner.open.0.splice(0..0, group.writes.iter().copied());
                owner.open.1.splice(0..0, holds);
            }
            self.emit(fact);
        }
        self.follow(node, to, answer, step);
    }

    /// Does what the fence says to the answer to a statement.
    fn follow(&mut self, node: usize, to: Statement, answer: Answer, step: Step) {
        let Some(owner) = self.owner(node) else { return };
        let (claim, seq) = (owner.claim, owner.fence.seq());
        let group = owner.flight.front().map(|(group, _)| Rc::clone(group));
        let behind = owner.flight.len() as u64;
        self.emit(Fact::Stepped { node, claim, to, step, group, behind });
        match step {
            Step::Committed { .. } => {
                self.committed(node);
                self.pump(node);
            }
            Step::Settled { committed } => {
                for number in seq - committed + 1..=seq {
                    self.found(node, to, number);
                }
                self.pump(node);
            }
            Step::Unsettled => {}
            Step::Done => self.pump(node),
            Step::Send(statement) if answer == Answer::Lost => {
                let call = self.next_call();
                if let Some(owner) = self.owner(node) {
                    owner.call = Some((call, statement));
                }
                self.node_later(node, PAUSE_MS, NodeEvent::Send(call, statement));
            }
            Step::Send(statement) => self.send(node, statement),
            Step::GivenUp | Step::Fenced | Step::Regressed { .. } => self.stand_by(node),
        }
    }

    /// A reopen has found the oldest group in the journal, under this number.
    fn found(&mut self, node: usize, to: Statement, seq: u64) {
        let Some(owner) = self.owner(node) else { return };
        let (claim, behind) = (owner.claim, owner.flight.len() as u64);
        let group = owner.flight.front().map(|(group, _)| Rc::clone(group));
        self.emit(Fact::Stepped { node, claim, to, step: Step::Committed { seq }, group, behind });
        self.committed(node);
    }

    /// The pause is over.
    pub(super) fn send_now(&mut self, node: usize, call: u64, statement: Statement) {
        if self.owner(node).is_some_and(|owner| owner.call == Some((call, statement))) {
            self.send(node, statement);
        }
    }

    /// The oldest group is in the journal.
    fn committed(&mut self, node: usize) {
        let window = self.planted == Some(Planted::ConfirmWindow);
        let Some(owner) = self.owner(node) else { return };
        let (group, mut holds) = owner.flight.pop_front().expect("a commit is of a group");
        owner.known = chain(owner.known, &group);
        if window {
            owner.flight.iter_mut().for_each(|(_, behind)| holds.append(behind));
        }
        if let Some(ledger) = &mut owner.ledger {
            group.writes.iter().for_each(|write| ledger.durable(*write));
        }
        let claim = owner.claim;
        self.let_out(claim, &holds);
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
        let mut now: Vec<Hold> = Vec::new();
        for (_, holds) in &mut owner.flight {
            now.extend(holds.extract_if(.., |hold| early(hold)));
        }
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
