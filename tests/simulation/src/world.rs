//! The world: one heap of events in virtual time, and everything that happens on them. One seed is one run; there is no thread,
//! no real time, and no map whose order is not fixed.

pub mod server;
pub mod setup;

use std::collections::BTreeMap;

use windlass_core::id::{JobId, QueueName};
use windlass_core::job::JobSpec;
use windlass_core::queue::{LoadFrom, Stored};
use windlass_core::wire::Token;

use crate::clock::Clock;
use crate::disk::{self, Disk};
use crate::facts::Facts;
use crate::fault::Fault;
use crate::history::{self, Act, Acted, Key, Process};
use crate::invariants::{Judges, Wrong};
use crate::network::Network;
use crate::node::Node;
use crate::node::session::{ToServer, ToWorker};
use crate::operator::Operator;
use crate::producer::Producer;
use crate::rng::Rng;
use crate::worker::Worker;
use crate::{Options, Stats};

pub use setup::{Scheduled, Setup};

/// Longest time after the faults within which everything must have ended.
pub const DRAIN_MS_MAX: u64 = 240_000;
/// Interval of the looks whether it has.
const DRAIN_LOOK_MS: u64 = 500;
/// Events after which a run is taken for endless; no honest one comes near.
const EVENTS_MAX: u64 = 2_000_000;

/// A defect that is planted into the server around the core, to prove that the judges see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// Answers leave before their batch is durable.
    AckBeforeSync,
    /// Nobody asks the store about ids that are not in memory.
    NoLookUp,
    /// Leases end by the wall clock.
    WallClockForLeases,
    /// A firing's job and its record are two commits.
    CronInTwoSteps,
    /// Now and then the disk says that a batch is durable which it never wrote.
    LyingDisk,
    /// What is delivered to one worker is delivered to another as well.
    DeliverToTwo,
    /// Nobody tells workers that there are jobs again.
    NoNotices,
    /// The server records a success without asking a worker.
    RecordedUnseen,
    /// Answers are given twice.
    AnswerTwice,
    /// Queues hold everything in memory.
    NoWindows,
    /// The order to pause is confirmed and not passed on.
    PauseInName,
}

/// What a client asks.
#[expect(missing_docs, reason = "the fields are named after what they hold")]
#[derive(Debug, Clone)]
pub enum Body {
    /// Take on jobs.
    Enqueue { queue: usize, jobs: Vec<JobSpec> },
    /// Do something with a job.
    Act { queue: usize, act: Act, id: JobId },
    /// Pause or resume a queue.
    Pause { queue: usize, paused: bool },
    /// Retry or delete the dead.
    Dead { queue: usize, retry: bool },
    /// Set, pause or resume a schedule.
    Schedule { index: usize, pause: Option<bool> },
}

/// What the server answers.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Whether each job was a duplicate.
    Enqueued(Vec<(JobId, bool)>),
    /// Whether each report was recorded.
    Reported(Vec<bool>),
    /// Leases that go on, and those that do not.
    Resumed(Vec<(JobId, Token)>, Vec<(JobId, Token)>),
    /// What came of an act.
    Acted(Acted),
    /// Done.
    Done,
    /// Nothing happened.
    Refused(&'static str),
}

/// What happens inside the server's process, and is void when that is gone.
#[derive(Debug)]
pub enum NodeEvent {
    /// The group under way is written.
    GroupDone,
    /// The writer tells what became of batches.
    Answers(Vec<disk::Answer>),
    /// A read that a queue waits for has come back.
    Read(usize),
    /// The store is looked at for a load.
    Scan(usize, LoadFrom),
    /// A load has come back.
    Loaded(usize, LoadFrom, Vec<Stored>, bool),
    /// A queue's timer.
    Timer(usize, u64),
    /// A queue offers again what the disk had no room for.
    Resend(usize),
    /// The hub looks at a worker.
    HubLooks(Process),
    /// The schedules' timer.
    ScheduleTimer(u64),
    /// A stream is gone.
    StreamEnded(u64),
}

/// What happens.
#[expect(missing_docs, reason = "the fields are named after what they hold")]
#[derive(Debug)]
pub enum Event {
    /// Inside this process of the server.
    Node(u64, NodeEvent),
    /// A frame arrives at the server.
    ToServer(u64, ToServer),
    /// A frame arrives at a worker.
    ToWorker(u64, ToWorker),
    /// A worker learns that its stream is gone.
    Unplugged(u64),
    /// A call arrives at the server.
    CallIn { client: usize, call: u64, body: Body },
    /// An answer arrives at a client.
    CallOut { client: usize, call: u64, answer: Answer },
    /// A client loses its patience.
    Timeout { client: usize, call: u64 },
    /// A producer acts.
    Producer(usize),
    /// A producer repeats a call.
    AskAgain { index: usize, jobs: Box<(usize, Vec<JobSpec>, u32)> },
    /// The operator acts.
    Operator,
    /// A worker process begins.
    WorkerBegins(usize),
    /// A worker connects.
    WorkerConnects(usize, u32),
    /// A worker's heartbeat is due.
    WorkerBeats(usize, u64),
    /// A handler ends.
    WorkerEnds { worker: usize, life: u32, key: Key, token: Token },
    /// The server starts.
    ServerStarts,
    /// A fault.
    Fault(usize),
    /// The disk has room again.
    RoomAgain,
    /// Faults are over.
    Heal,
    /// The store is counted.
    Recount,
    /// Has everything ended?
    Look,
}

/// A violation, as the judges found it.
#[derive(Debug, Clone)]
pub struct Found {
    /// Which judge.
    pub invariant: &'static str,
    /// What is wrong.
    pub what: String,
    /// With which job.
    pub key: Option<Key>,
    /// When.
    pub at: u64,
}

/// The world.
#[derive(Debug)]
pub struct World {
    /// True time in milliseconds.
    pub at: u64,
    /// What was drawn for this seed.
    pub setup: Setup,
    /// The faults.
    pub faults: Vec<Fault>,
    /// A defect to plant.
    pub planted: Option<Planted>,
    /// When the faults were over.
    pub healed_at: Option<u64>,
    /// Figures.
    pub stats: Stats,
    /// What was found wrong.
    pub violation: Option<Found>,
    /// Everything that happened, if wanted.
    pub history: Option<Vec<(u64, history::Event)>>,
    pub(crate) clock: Clock,
    pub(crate) disk: Disk,
    pub(crate) net: Network,
    pub(crate) node: Node,
    pub(crate) workers: Vec<Worker>,
    pub(crate) producers: Vec<Producer>,
    pub(crate) operator: Operator,
    pub(crate) facts: Facts,
    pub(crate) ids: BTreeMap<usize, Vec<JobId>>,
    pub(crate) last_id: u64,
    pub(crate) rng: Rng,
    pub(crate) slow_disk: (u64, u64),
    pub(crate) slow_reads: (u64, u64),
    judges: Option<Judges>,
    events: BTreeMap<(u64, u64), Event>,
    event_count: u64,
    calls: u64,
    ended: bool,
}

/// The name of a queue of the world.
#[must_use]
pub fn queue_name(index: usize) -> QueueName {
    QueueName::new(&format!("q{index}")).expect("a letter and a number make a name")
}

impl World {
    /// The world of a seed, before anything has happened.
    #[must_use]
    pub fn new(seed: u64, options: &Options) -> World {
        let setup = Setup::draw(seed);
        let faults = options.faults.clone().unwrap_or_else(|| {
            let mut rng = Rng::new(seed, 4);
            crate::fault::plan(&mut rng, setup.size())
        });
        let clients = setup.workers + setup.producers + 1;
        let workers = setup.habits.iter().enumerate().map(|(i, h)| Worker::new(seed, i, h.clone())).collect();
        let share = setup.jobs / setup.producers as u64;
        let mut world = World {
            at: 0,
            faults,
            planted: options.planted,
            healed_at: None,
            stats: Stats::default(),
            violation: None,
            history: options.trace.then(Vec::new),
            clock: Clock::new(),
            disk: Disk::new(seed),
            net: Network::new(seed, clients),
            node: Node::down(0),
            workers,
            producers: (0..setup.producers).map(|i| Producer::new(seed, i, share)).collect(),
            operator: Operator::new(seed),
            facts: Facts::new(setup.queues),
            ids: BTreeMap::new(),
            last_id: 0,
            rng: Rng::new(seed, 5),
            slow_disk: (0, 0),
            slow_reads: (0, 0),
            judges: Some(Judges::new(&setup)),
            events: BTreeMap::new(),
            event_count: 0,
            calls: 0,
            ended: false,
            setup,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.later(0, Event::ServerStarts);
        for index in 0..self.setup.schedules.len() {
            let call = self.next_call();
            let body = Body::Schedule { index, pause: None };
            self.later(5, Event::CallIn { client: self.setup.workers + self.setup.producers, call, body });
        }
        for worker in 0..self.setup.workers {
            self.later(worker as u64 * 3, Event::WorkerBegins(worker));
        }
        for index in 0..self.setup.producers {
            self.later(10 + index as u64, Event::Producer(index));
        }
        if self.setup.operate_ms > 0 {
            self.later(50, Event::Operator);
        }
        for (index, fault) in self.faults.clone().iter().enumerate() {
            self.later(fault.at, Event::Fault(index));
        }
        self.later(self.setup.faults_ms, Event::Heal);
        self.later(self.setup.faults_ms / 2, Event::Recount);
    }

    /// Runs to the end, or to the first violation.
    pub fn run(&mut self) {
        while self.violation.is_none() && !self.ended {
            let Some(((at, _), event)) = self.events.pop_first() else { break };
            self.at = at;
            self.event_count += 1;
            if self.event_count > EVENTS_MAX {
                self.violated("liveness", "the run does not end".to_owned(), None);
            }
            self.happen(event);
            self.deliver_local();
        }
        self.stats.events = self.event_count;
        self.stats.virtual_ms = self.at;
        self.stats.jobs = self.facts.jobs.len() as u64;
        self.stats.groups = self.disk.groups;
    }

    fn happen(&mut self, event: Event) {
        if is_for_server(&event) {
            if self.at < self.node.paused_until {
                return self.push(self.node.paused_until, event);
            }
            if let Some(since) = self.node.paused_since.take() {
                self.clock.stood_still(self.node.paused_until - since);
            }
        }
        if let Some(worker) = self.is_for_worker(&event)
            && self.at < self.workers[worker].paused_until
        {
            return self.push(self.workers[worker].paused_until, event);
        }
        match event {
            Event::Node(process, event) => {
                if process == self.node.process && self.node.up {
                    self.node_happen(event);
                }
            }
            Event::ToServer(stream, frame) => {
                if self.arrives_at_server(stream) {
                    self.heard(stream, frame);
                }
            }
            Event::ToWorker(stream, frame) => {
                if let Some(stream_of) = self.net.streams.get(&stream)
                    && !stream_of.cut
                {
                    self.worker_hears(stream_of.of.worker, stream, frame);
                }
            }
            Event::Unplugged(stream) => {
                if let Some(worker) = self.net.streams.get(&stream).map(|stream| stream.of.worker) {
                    self.worker_unplugged(worker, stream);
                }
            }
            Event::CallIn { client, call, body } => self.called(client, call, body),
            Event::CallOut { client, call, answer } => self.client_hears(client, call, answer),
            Event::Timeout { client, call } => self.client_timeout(client, call),
            Event::Producer(index) => self.producer_wakes(index),
            Event::AskAgain { index, jobs } => {
                let (queue, jobs, tries) = *jobs;
                self.producer_retries(index, queue, jobs, tries);
            }
            Event::Operator => self.operator_wakes(),
            Event::WorkerBegins(worker) => self.worker_begins(worker),
            Event::WorkerConnects(worker, life) => self.worker_connects(worker, life),
            Event::WorkerBeats(worker, stream) => self.worker_beats(worker, stream),
            Event::WorkerEnds { worker, life, key, token } => self.worker_ends(worker, life, key, token),
            Event::ServerStarts => self.server_starts(),
            Event::Fault(index) => self.go_wrong(index),
            Event::RoomAgain => self.disk.set_room(disk::Room::Ample),
            Event::Heal => self.heal(),
            Event::Recount => self.recount(),
            Event::Look => self.look(),
        }
    }

    fn is_for_worker(&self, event: &Event) -> Option<usize> {
        match event {
            Event::ToWorker(stream, _) | Event::Unplugged(stream) => {
                self.net.streams.get(stream).map(|stream| stream.of.worker)
            }
            Event::WorkerBeats(worker, _)
            | Event::WorkerEnds { worker, .. }
            | Event::WorkerConnects(worker, _) => Some(*worker),
            _ => None,
        }
    }

    fn client_hears(&mut self, client: usize, call: u64, answer: Answer) {
        let index = client - self.setup.workers;
        if index < self.setup.producers {
            self.producer_hears(index, call, answer);
        } else {
            self.operator_hears(call, &answer);
        }
    }

    fn client_timeout(&mut self, client: usize, call: u64) {
        let index = client - self.setup.workers;
        if index < self.setup.producers {
            self.producer_timeout(index, call);
        } else {
            self.operator_timeout(call);
        }
    }

    /// Faults are over.
    fn heal(&mut self) {
        self.healed_at = Some(self.at);
        self.emit(history::Event::Healed);
        self.net.heal();
        self.clock.heal(self.at);
        self.disk.set_room(disk::Room::Ample);
        self.slow_disk = (0, 0);
        self.slow_reads = (0, 0);
        self.operator_begins_to_tidy();
        self.later(DRAIN_LOOK_MS, Event::Look);
    }

    /// Whether everything has come to its end.
    fn look(&mut self) {
        self.recount();
        if self.violation.is_some() {
            return;
        }
        self.operator_looks();
        let wall = self.clock.now(self.at).wall;
        let waits = self.producers.iter().any(|p| !p.is_done()) || !self.operator.is_done() || !self.node.up;
        let busy = self.node.shells.iter().any(|shell| !shell.is_idle());
        let mut judges = self.judges.take().expect("taken for the length of a call");
        let live = judges.look(self, wall);
        self.judges = Some(judges);
        let live = match live {
            Ok(live) => live,
            Err(wrong) => return self.wrong(wrong),
        };
        if !waits && !busy && live.is_none() {
            return self.finish();
        }
        let healed_at = self.healed_at.unwrap_or(self.at);
        if self.at - healed_at > DRAIN_MS_MAX {
            let what = match live {
                Some(_) => "the job has not ended long after the last fault".to_owned(),
                None => {
                    format!("no rest long after the last fault: clients wait {waits}, queues busy {busy}")
                }
            };
            return self.violated("liveness", what, live);
        }
        self.later(DRAIN_LOOK_MS, Event::Look);
    }

    fn finish(&mut self) {
        self.ended = true;
        let mut judges = self.judges.take().expect("taken for the length of a call");
        let end = judges.finish(self);
        self.judges = Some(judges);
        if let Err(wrong) = end {
            self.wrong(wrong);
        }
    }

    /// Compares the store with the history.
    pub(crate) fn recount(&mut self) {
        let result = crate::invariants::conservation::recount(self);
        if let Err(wrong) = result {
            self.wrong(wrong);
        }
    }

    /// Something has happened: the judges hear of it.
    pub(crate) fn emit(&mut self, event: history::Event) {
        if let Some(history) = &mut self.history {
            history.push((self.at, event.clone()));
        }
        if self.violation.is_none()
            && let Some(judges) = &mut self.judges
            && let Err(wrong) = judges.hear(self.at, &event, &self.facts)
        {
            self.wrong(wrong);
        }
        let undurable = self.facts.queues.iter().any(|queue| queue.tickets.0 > queue.tickets.1);
        if let Some(situation) = crate::reached::situation(&event, undurable) {
            self.stats.reached[situation] += 1;
        }
        self.facts.note(&event);
    }

    fn wrong(&mut self, wrong: Wrong) {
        self.violated(wrong.invariant, wrong.what, wrong.key);
    }

    pub(crate) fn violated(&mut self, invariant: &'static str, what: String, key: Option<Key>) {
        self.violation.get_or_insert(Found { invariant, what, key, at: self.at });
    }

    fn push(&mut self, at: u64, event: Event) {
        self.stats.scheduled += 1;
        self.events.insert((at, self.stats.scheduled), event);
    }

    /// Something will happen after a while.
    pub(crate) fn later(&mut self, wait_ms: u64, event: Event) {
        self.push(self.at + wait_ms, event);
    }

    pub(crate) fn at_time(&mut self, at: u64, event: Event) {
        self.push(at.max(self.at), event);
    }

    pub(crate) fn next_call(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }
}

fn is_for_server(event: &Event) -> bool {
    matches!(event, Event::Node(..) | Event::ToServer(..) | Event::CallIn { .. })
}
