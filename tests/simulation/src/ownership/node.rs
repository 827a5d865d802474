//! A node: a standby that watches, or an owner; and what gossip tells it.

use std::collections::BTreeSet;

use windlass_core::cluster::{Decision, Fence, Nonce, Seat, Signs, Standby, Statement};
use windlass_core::id::NodeName;
use windlass_core::time::Mono;
use windlass_core::wire::Token;

use super::Planted;
use super::database::{Claim, Reply, Request};
use super::fact::Fact;
use super::ledger::Job;
use super::owner::Owner;
use super::world::{Event, World};

/// Time after which a reading has failed.
pub const READ_MS_MAX: u64 = 400;
/// Time for which a node that stood still believes anything about the others.
const DAZED_MS: u64 = 600;

/// What a standby waits for.
#[derive(Debug)]
pub enum Asked {
    /// A reading, sent then.
    Read(Mono),
    /// A claim.
    Claim(Box<Claim>),
}

/// What a node does.
#[derive(Debug)]
pub enum Mode {
    /// It watches.
    Standby {
        /// The real thing.
        standby: Standby,
        /// What it waits for.
        asked: Option<(u64, Asked)>,
    },
    /// It owns.
    Owner(Owner),
}

/// What happens inside a node.
#[derive(Debug)]
pub enum NodeEvent {
    /// It is time to read.
    Read,
    /// An answer.
    Answer(u64, Reply),
    /// No answer has come.
    Timeout(u64),
    /// An owner's timer.
    Tick(u64),
    /// The pause before a statement is over.
    Send(u64, Statement),
    /// A client submits a job.
    Enqueue(Job),
    /// A worker reports.
    Report(Job, Token),
}

/// A node.
#[derive(Debug)]
pub struct Node {
    /// Its name, the same in every life.
    pub name: NodeName,
    /// Counted from 1.
    pub process: u64,
    /// Whether there is a process.
    pub up: bool,
    /// It stands still until then.
    pub stopped_until: u64,
    /// Since when it has not been heard, when it is dead or stands still.
    pub silent_since: u64,
    /// What it does.
    pub mode: Mode,
    /// It claims nothing until then.
    pub held_until: u64,
    /// What it believes instead of what gossip says, a bit per node, and until when.
    pub dazed: (u64, u64),
    /// Nothing passes to or from the database until then.
    pub cut_until: u64,
    /// Longest extra delay, until then.
    pub slow: (u64, u64),
    /// Lost, unanswered and late statements in a thousand, until then.
    pub lossy: (u32, u32, u32, u64),
    started_at: u64,
}

impl Node {
    /// A node that has not started, with this number in its name.
    #[must_use]
    pub fn new(number: usize) -> Node {
        let name: NodeName = format!("node-{number}").parse().expect("a word and a number make a name");
        let standby = Standby::new(name.clone(), 0, windlass_core::cluster::Timing::default());
        Node {
            name,
            process: 0,
            up: false,
            stopped_until: 0,
            silent_since: 0,
            mode: Mode::Standby { standby, asked: None },
            held_until: 0,
            dazed: (0, 0),
            cut_until: 0,
            slow: (0, 0),
            lossy: (0, 0, 0, 0),
            started_at: 0,
        }
    }

    fn mono(&self, at: u64) -> Mono {
        Mono(at.saturating_sub(self.started_at))
    }
}

impl World {
    pub(super) fn node_starts(&mut self, index: usize) {
        let at = self.at;
        let node = &mut self.nodes[index];
        node.process += 1;
        node.up = true;
        node.started_at = at;
        node.held_until = 0;
        self.emit(Fact::Up { node: index });
        self.stand_by(index);
    }

    pub(super) fn node_dies(&mut self, index: usize) {
        let at = self.at;
        let node = &mut self.nodes[index];
        if node.stopped_until <= at {
            node.silent_since = at;
        }
        node.up = false;
        node.stopped_until = 0;
        self.emit(Fact::Died { node: index });
    }

    /// Watches from now on; what an owner had in memory is gone.
    pub(super) fn stand_by(&mut self, index: usize) {
        let timing = self.setup.timing;
        let forgets = self.planted == Some(Planted::HoldForgotten);
        let node = &mut self.nodes[index];
        let mut standby = Standby::new(node.name.clone(), 0, timing);
        if !forgets {
            standby.hold_until(node.mono(node.held_until));
        }
        node.mode = Mode::Standby { standby, asked: None };
        self.node_later(index, 1, NodeEvent::Read);
    }

    pub(super) fn node_drains(&mut self, index: usize, until: u64) {
        let forgets = self.planted == Some(Planted::HoldForgotten);
        let node = &mut self.nodes[index];
        if !node.up {
            return;
        }
        node.held_until = until;
        let mono = node.mono(until);
        match &mut node.mode {
            Mode::Standby { standby, .. } if !forgets => standby.hold_until(mono),
            Mode::Standby { .. } => {}
            Mode::Owner(owner) => owner.leaves = true,
        }
        self.emit(Fact::Drained { node: index, until });
    }

    pub(super) fn node_happens(&mut self, index: usize, event: NodeEvent) {
        match event {
            NodeEvent::Read => self.read(index),
            NodeEvent::Answer(call, reply) => self.hears(index, call, &reply),
            NodeEvent::Timeout(call) => self.hears(index, call, &Reply::Away),
            NodeEvent::Tick(claim) => {
                if self.owner(index).is_some_and(|owner| owner.claim == claim) {
                    self.pump(index);
                    let tick_ms = self.setup.timing.beat_ms / 2;
                    self.node_later(index, tick_ms, NodeEvent::Tick(claim));
                }
            }
            NodeEvent::Send(call, statement) => self.send_now(index, call, statement),
            NodeEvent::Enqueue(job) => self.enqueue(index, job),
            NodeEvent::Report(job, token) => self.reported(index, job, token),
        }
    }

    fn read(&mut self, index: usize) {
        let (at, call) = (self.at, self.next_call());
        let node = &mut self.nodes[index];
        let now = node.mono(at);
        let Mode::Standby { asked, .. } = &mut node.mode else { return };
        if asked.is_none() {
            *asked = Some((call, Asked::Read(now)));
            self.ask(index, call, Request::Read, READ_MS_MAX, None);
        }
    }

    /// An answer, or none in time, which is as if the database were away.
    fn hears(&mut self, index: usize, call: u64, reply: &Reply) {
        match &mut self.nodes[index].mode {
            Mode::Standby { asked, .. } => {
                if let Some((_, what)) = asked.take_if(|(waits, _)| *waits == call) {
                    self.standby_hears(index, what, reply);
                }
            }
            Mode::Owner(owner) if owner.load == Some(call) => match reply {
                Reply::Journal(groups) => self.loaded(index, groups),
                _ => self.load(index),
            },
            Mode::Owner(owner) if owner.awaits(call) => self.owner_hears(index, call, reply),
            Mode::Owner(_) => {}
        }
    }

    fn standby_hears(&mut self, index: usize, what: Asked, reply: &Reply) {
        match (what, reply) {
            (Asked::Read(asked), Reply::Seat(seat)) => return self.decide(index, asked, seat),
            (Asked::Claim(claim), Reply::Claimed(Some((epoch, seq)))) => {
                let fence = Fence::claimed(*epoch, claim.nonce, *seq);
                self.nodes[index].mode = Mode::Owner(Owner::new(claim.claim, fence));
                self.emit(Fact::Owns { node: index, claim: claim.claim });
                if self.nodes[index].held_until > self.at
                    && let Some(owner) = self.owner(index)
                {
                    // It was drained while its claim was under way.
                    owner.leaves = true;
                }
                self.load(index);
                self.node_later(index, 0, NodeEvent::Tick(claim.claim));
                return;
            }
            (Asked::Claim(_), Reply::Claimed(None)) => {}
            (Asked::Read(_) | Asked::Claim(_), _) => {
                if let Mode::Standby { standby, .. } = &mut self.nodes[index].mode {
                    standby.unreadable();
                }
            }
        }
        self.node_later(index, self.setup.timing.read_ms, NodeEvent::Read);
    }

    fn decide(&mut self, index: usize, asked: Mono, seat: &Seat) {
        let signs = Signs { alive: self.view(index), refused: self.is_refused(index, seat) };
        let at = self.at;
        let node = &mut self.nodes[index];
        let answered = node.mono(at);
        let Mode::Standby { standby, .. } = &mut node.mode else { return };
        match standby.observe(asked, answered, seat, &signs) {
            Decision::Wait => self.node_later(index, self.setup.timing.read_ms, NodeEvent::Read),
            Decision::Claim { seen, beat } => self.claims(index, seat, (seen, beat), &signs),
        }
    }

    fn claims(&mut self, index: usize, seat: &Seat, (seen, beat): (u64, u64), signs: &Signs) {
        let (call, claim) = (self.next_call(), self.next_call());
        let mut nonce = Nonce(u128::from(self.rng.next()) << 64 | u128::from(self.rng.next()));
        if self.planted == Some(Planted::NonceReused) {
            nonce = Nonce(1 + index as u128);
        }
        let name = self.nodes[index].name.clone();
        let Signs { alive, refused } = signs;
        let sees_others = alive.iter().any(|other| *other != name);
        let unheard = sees_others && seat.owner.as_ref().is_some_and(|owner| !alive.contains(owner));
        let told_dead = unheard || *refused;
        let claim = Claim { claim, node: index, name, seen, beat, nonce, told_dead, decided_at: self.at };
        if let Mode::Standby { asked, .. } = &mut self.nodes[index].mode {
            *asked = Some((call, Asked::Claim(Box::new(claim.clone()))));
        }
        self.ask(index, call, Request::Claim(claim), self.setup.statement_ms, None);
    }

    /// Whether the owner's machine refuses this node's connections: a process that is dead, and one that something in between speaks for,
    /// when the node believes wrong things of it.
    fn is_refused(&self, index: usize, seat: &Seat) -> bool {
        let me = &self.nodes[index];
        let owner = self.nodes.iter().position(|node| seat.owner.as_ref() == Some(&node.name));
        owner.filter(|owner| *owner != index).is_some_and(|owner| match self.at < me.dazed.1 {
            true => me.dazed.0 >> owner & 1 == 0,
            false => !self.nodes[owner].up,
        })
    }

    /// The servers that gossip calls alive, as this node sees it.
    fn view(&self, index: usize) -> BTreeSet<NodeName> {
        let me = &self.nodes[index];
        let bit = |bits: u64, node: usize| bits >> node & 1;
        let (sides, cut_until) = self.gossip_cut;
        let late_ms = if self.at < self.gossip_late.1 { self.gossip_late.0 } else { self.setup.missed_ms };
        let alive = |node: usize| {
            let other = &self.nodes[node];
            let silent = !other.up || other.stopped_until > self.at;
            if node == index {
                true
            } else if self.at < me.dazed.1 {
                bit(me.dazed.0, node) == 1
            } else if self.at < cut_until && bit(sides, node) != bit(sides, index) {
                false
            } else {
                !silent || self.at < other.silent_since + late_ms
            }
        };
        let names = self.nodes.iter().enumerate();
        names.filter(|(node, _)| alive(*node)).map(|(_, node)| node.name.clone()).collect()
    }

    /// A node stands still.
    pub(super) fn node_stops(&mut self, index: usize, until: u64) {
        let bits = self.rng.next();
        let at = self.at;
        let node = &mut self.nodes[index];
        if !node.up || node.stopped_until > at {
            return;
        }
        node.silent_since = at;
        node.stopped_until = until;
        node.dazed = (bits, until + DAZED_MS);
    }

    /// Something will happen inside this life of a node.
    pub(super) fn node_later(&mut self, index: usize, wait_ms: u64, event: NodeEvent) {
        let process = self.nodes[index].process;
        self.later(wait_ms, Event::Node(index, process, event));
    }
}
