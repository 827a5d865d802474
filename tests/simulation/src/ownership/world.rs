//! The world: one heap of events in virtual time.

use std::collections::{BTreeMap, BTreeSet};

use windlass_core::cluster::Timing;
use windlass_core::wire::Token;

use super::database::{Careless, Database, Sent};
use super::fact::Fact;
use super::fault::{self, Fault, What};
use super::judges::{Judges, Wrong};
use super::ledger::Job;
use super::node::{Mode, Node, NodeEvent};
use super::wire::Lane;
use super::{Options, Planted, Stats, reached};
use crate::rng::Rng;

/// Events after which a run is taken for endless.
const EVENTS_MAX: u64 = 400_000;
/// From the last faults to the time at which all is well.
const LAST_FAULTS_MS: u64 = 3_000;
/// Time within which every job has ended, once there is an owner again.
const DRAIN_MS_MAX: u64 = 30_000;
/// Interval of the looks whether that is so.
const LOOK_MS: u64 = 200;
/// Beyond what is promised: two statements of which the answer was lost, and the reading of the journal.
const SLACK_MS: u64 = 500;
/// Longest time by which a node goes on after the database, when all stood still.
const FREEZE_LATER_MS: u64 = 400;
/// Times a worker reports before it lets go.
const REPORTS_MAX: u32 = 30;

/// What was drawn for a seed.
#[derive(Debug)]
pub struct Setup {
    /// Nodes.
    pub nodes: usize,
    /// The times of a change of owner.
    pub timing: Timing,
    /// How long the answer to a statement is waited for.
    pub statement_ms: u64,
    /// How long gossip takes to miss a node.
    pub missed_ms: u64,
    /// How long a lease is good.
    pub lease_ms: u64,
    /// Faults begin before.
    pub faults_ms: u64,
    /// Mean time between two jobs.
    pub job_every_ms: u64,
    /// The last node was given the name of the first.
    pub namesakes: bool,
    /// Commits that an owner has in flight, at most.
    pub window: usize,
    /// Whether it sends again one by one.
    pub again_alone: bool,
}

impl Setup {
    fn draw(rng: &mut Rng) -> Setup {
        Setup {
            nodes: rng.pick(&[2, 2, 3, 3, 3, 4, 5]),
            timing: Timing::default(),
            statement_ms: rng.pick(&[500, 900, 2_000]),
            missed_ms: rng.pick(&[300, 1_000, 2_500]),
            lease_ms: rng.pick(&[1_500, 4_000]),
            faults_ms: rng.pick(&[6_000, 12_000, 18_000]),
            job_every_ms: rng.pick(&[10, 40, 150, 400]),
            namesakes: rng.chance(150),
            window: rng.pick(&[1, 2, 4, 8]),
            again_alone: rng.chance(500),
        }
    }
}

impl Setup {
    /// The number in a node's name.
    fn name_of(&self, index: usize) -> usize {
        if self.namesakes && index + 1 == self.nodes { 0 } else { index }
    }
}

/// What happens.
#[expect(missing_docs, reason = "the fields are named after what they hold")]
#[derive(Debug)]
pub enum Event {
    /// Inside this life of a node.
    Node(usize, u64, NodeEvent),
    /// A node starts.
    NodeStarts(usize),
    /// A request is at the database.
    Arrives(Sent),
    /// The statement under way is done.
    Executed(u64),
    /// The database comes back.
    ComesUp { life: u64, lost: u64 },
    /// A client has a new job.
    Submit,
    /// A client submits a job again if it was not confirmed.
    Again(Job),
    /// A worker reports the end of a job.
    Report { job: Job, token: Token, tries: u32 },
    /// Something goes wrong.
    Fault(usize),
    /// All is well.
    Heal,
    /// Is it?
    Look,
}

/// The world.
#[derive(Debug)]
pub struct World {
    /// True time in milliseconds.
    pub at: u64,
    /// What was drawn.
    pub setup: Setup,
    /// The faults.
    pub faults: Vec<Fault>,
    /// A defect to plant.
    pub planted: Option<Planted>,
    /// Figures.
    pub stats: Stats,
    /// What was found wrong, and when.
    pub violation: Option<(u64, Wrong)>,
    /// What happened, if wanted.
    pub history: Option<Vec<(u64, Fact)>>,
    pub(super) db: Database,
    pub(super) db_slow: (u64, u64),
    pub(super) db_full_until: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) gossip_cut: (u64, u64),
    pub(super) gossip_late: (u64, u64),
    /// To the database, and back from it, by session.
    pub(super) lanes: BTreeMap<(u64, bool), Lane>,
    pub(super) rng: Rng,
    judges: Judges,
    healed: bool,
    heal_at: u64,
    /// Jobs that are not confirmed, and those that are and have not ended.
    submitted: BTreeSet<Job>,
    running: BTreeSet<Job>,
    /// The last answer to each token of a worker: whether it is done with it.
    settled: BTreeSet<(Job, Token)>,
    events: BTreeMap<(u64, u64), Event>,
    calls: u64,
    jobs: u64,
    ended: bool,
}

impl World {
    /// The world of a seed, before anything has happened.
    #[must_use]
    pub fn new(seed: u64, options: &Options) -> World {
        let setup = Setup::draw(&mut Rng::new(seed, 21));
        let plan = || fault::plan(&mut Rng::new(seed, 22), setup.nodes, setup.faults_ms);
        let planted = |what| options.planted == Some(what);
        let careless = Careless {
            seen: planted(Planted::ClaimUnseen),
            beat: planted(Planted::ClaimWithoutBeat),
            seq: planted(Planted::CommitWithoutSeq),
        };
        let mut world = World {
            at: 0,
            faults: options.faults.clone().unwrap_or_else(plan),
            planted: options.planted,
            stats: Stats::default(),
            violation: None,
            history: options.trace.then(Vec::new),
            db: Database::new(careless),
            db_slow: (0, 0),
            db_full_until: 0,
            nodes: (0..setup.nodes).map(|index| Node::new(setup.name_of(index))).collect(),
            gossip_cut: (0, 0),
            gossip_late: (0, 0),
            lanes: BTreeMap::new(),
            rng: Rng::new(seed, 23),
            judges: Judges::new(setup.timing, setup.nodes),
            healed: false,
            heal_at: setup.faults_ms + LAST_FAULTS_MS,
            submitted: BTreeSet::new(),
            running: BTreeSet::new(),
            settled: BTreeSet::new(),
            events: BTreeMap::new(),
            calls: 0,
            jobs: 0,
            ended: false,
            setup,
        };
        for node in 0..world.setup.nodes {
            let wait_ms = world.rng.below(50);
            world.later(wait_ms, Event::NodeStarts(node));
        }
        for (index, fault) in world.faults.clone().iter().enumerate() {
            world.later(fault.at, Event::Fault(index));
        }
        world.later(10, Event::Submit);
        world.at_time(world.heal_at, Event::Heal);
        world
    }

    /// Runs to the end, or to the first violation.
    pub fn run(&mut self) {
        while self.violation.is_none() && !self.ended {
            let Some(((at, _), event)) = self.events.pop_first() else { break };
            self.at = at;
            self.stats.events += 1;
            if self.stats.events > EVENTS_MAX {
                self.violated("everything ends", "the run does not end".to_owned());
            }
            self.happen(event);
        }
        self.stats.virtual_ms = self.at;
        self.stats.jobs = self.jobs;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Node(index, process, event) => {
                let node = &self.nodes[index];
                if !node.up || node.process != process {
                } else if self.at < node.stopped_until {
                    self.at_time(node.stopped_until, Event::Node(index, process, event));
                } else {
                    self.node_happens(index, event);
                }
            }
            Event::NodeStarts(index) => self.node_starts(index),
            Event::Arrives(sent) => self.arrives(sent),
            Event::Executed(life) => self.executed(life),
            Event::ComesUp { life, lost } => self.comes_up(life, lost),
            Event::Submit => {
                self.jobs += 1;
                self.submitted.insert(self.jobs);
                self.submit(self.jobs);
                if !self.healed {
                    let wait_ms = self.rng.between(1, self.setup.job_every_ms * 2);
                    self.later(wait_ms, Event::Submit);
                }
            }
            Event::Again(job) => {
                if self.submitted.contains(&job) {
                    self.submit(job);
                }
            }
            Event::Report { job, token, tries } => self.report(job, token, tries),
            Event::Fault(index) => self.go_wrong(self.faults[index].what),
            Event::Heal => self.heal(),
            Event::Look => self.look(),
        }
    }

    /// A node that takes itself for the owner: relays lead to any of them.
    fn believer(&mut self) -> Option<usize> {
        let owners: Vec<usize> = (0..self.nodes.len())
            .filter(|index| self.nodes[*index].up && matches!(&self.nodes[*index].mode, Mode::Owner(_)))
            .collect();
        (!owners.is_empty()).then(|| self.rng.pick(&owners))
    }

    fn submit(&mut self, job: Job) {
        if let Some(index) = self.believer() {
            let way_ms = self.rng.between(1, 5);
            self.node_later(index, way_ms, NodeEvent::Enqueue(job));
        }
        self.later(700, Event::Again(job));
    }

    fn report(&mut self, job: Job, token: Token, tries: u32) {
        if tries >= REPORTS_MAX || self.settled.contains(&(job, token)) || !self.running.contains(&job) {
            return;
        }
        if let Some(index) = self.believer() {
            let way_ms = self.rng.between(1, 5);
            self.node_later(index, way_ms, NodeEvent::Report(job, token));
        }
        self.later(500, Event::Report { job, token, tries: tries + 1 });
    }

    fn go_wrong(&mut self, what: What) {
        self.stats.faults[what.kind()] += 1;
        let until = (self.at + what.lasts_ms()).min(self.heal_at);
        self.emit(Fact::Broken { what, until });
        match what {
            What::NodeKill { node, .. } => {
                if self.nodes[node].up {
                    self.node_dies(node);
                    self.at_time(until, Event::NodeStarts(node));
                }
            }
            What::NodeStop { node, .. } => self.node_stops(node, until),
            What::NodeDrain { node, .. } => self.node_drains(node, until),
            What::GossipCut { sides, .. } => self.gossip_cut = (sides, until),
            What::GossipWrong { node, alive, .. } => self.nodes[node].dazed = (alive, until),
            What::GossipLate { late_ms, .. } => self.gossip_late = (late_ms, until),
            What::WireCut { node, .. } => self.nodes[node].cut_until = until,
            What::WireSlow { node, delay_ms, .. } => self.nodes[node].slow = (delay_ms, until),
            What::WireLossy { node, lost, unanswered, late, .. } => {
                self.nodes[node].lossy = (lost, unanswered, late, until);
            }
            What::Outage { .. } => self.falls(until, 0),
            What::Slow { delay_ms, .. } => self.db_slow = (delay_ms, until),
            What::FailOver { lost, .. } => self.falls(until, lost),
            What::Full { .. } => self.db_full_until = until,
            What::Freeze { .. } => {
                self.falls(until, 0);
                for node in 0..self.nodes.len() {
                    let later_ms = self.rng.below(FREEZE_LATER_MS);
                    self.node_stops(node, until + later_ms);
                }
            }
        }
    }

    fn heal(&mut self) {
        self.healed = true;
        self.emit(Fact::Healed);
        self.later(self.owned_within_ms(), Event::Look);
    }

    /// Longest time without an owner when all is well again: a statement or reading that is still waited for, the silence of
    /// the last owner, every other node's turn, and what the claim and its reading take.
    fn owned_within_ms(&self) -> u64 {
        let timing = &self.setup.timing;
        let turns_ms = timing.turn_ms * (self.setup.nodes as u64 - 1);
        timing.silence_ms + turns_ms + 2 * self.setup.statement_ms + SLACK_MS
    }

    /// Whether there is an owner, and everything has ended.
    fn look(&mut self) {
        let claim = self.db.row.claim;
        let owns = |node: &Node| matches!(&node.mode, Mode::Owner(owner) if owner.claim == claim && owner.ledger.is_some());
        // Late statements of an owner that is gone are signs of its life.
        let quiet_ms = self.at - self.db.changed_at.max(self.heal_at);
        if !self.nodes.iter().any(|node| node.up && owns(node)) && quiet_ms >= self.owned_within_ms() {
            return self
                .violated("somebody owns", format!("no owner, and the seat is still for {quiet_ms} ms"));
        }
        // The journal says what has ended: who was told may be gone.
        let judges = &self.judges;
        self.running.retain(|job| !judges.is_lost(*job) && !judges.has_ended(*job));
        if self.submitted.is_empty() && self.running.is_empty() {
            self.ended = true;
        } else if self.at > self.heal_at + self.owned_within_ms() + DRAIN_MS_MAX {
            let what = format!("jobs {:?} wait, {:?} have not ended", self.submitted, self.running);
            self.violated("everything ends", what);
        } else {
            self.later(LOOK_MS, Event::Look);
        }
    }

    /// Something has happened: the judges hear of it.
    pub(super) fn emit(&mut self, fact: Fact) {
        match &fact {
            Fact::Confirmed { job, .. } if self.submitted.remove(job) => {
                self.running.insert(*job);
            }
            Fact::Ended { job, .. } => {
                self.running.remove(job);
            }
            Fact::Stale { job, token, .. } => {
                self.settled.insert((*job, *token));
            }
            Fact::Wrote { own, .. } if own.group.is_some() => self.stats.groups += 1,
            Fact::Claimed { .. } => self.stats.claims += 1,
            _ => {}
        }
        if let Some(situation) = reached::situation(&fact, &self.judges) {
            self.stats.reached[situation] += 1;
        }
        if self.violation.is_none()
            && let Err(wrong) = self.judges.hear(self.at, &fact)
        {
            self.violated(wrong.0, wrong.1);
        }
        if let Some(history) = &mut self.history
            && !fact.is_routine()
        {
            history.push((self.at, fact));
        }
    }

    pub(super) fn violated(&mut self, promise: &'static str, what: String) {
        self.violation.get_or_insert((self.at, Wrong(promise, what)));
    }

    /// Something will happen after a while.
    pub(super) fn later(&mut self, wait_ms: u64, event: Event) {
        self.at_time(self.at + wait_ms, event);
    }

    pub(super) fn at_time(&mut self, at: u64, event: Event) {
        self.stats.scheduled += 1;
        self.events.insert((at.max(self.at), self.stats.scheduled), event);
    }

    pub(super) fn next_call(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }
}
