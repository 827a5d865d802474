//! Workers: processes that take jobs over a stream, run them for a while, and report. They crash, stand still, lose their
//! connection and come back with their leases; some go on with a job that is not theirs any more and report it all the
//! same, or report twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use windlass_core::job::Payload;
use windlass_core::wire::{Token, Verdict};

use crate::history::{Event, Key, Process};
use crate::node::session::{ToServer, ToWorker};
use crate::rng::Rng;
use crate::world::{Event as WorldEvent, World};

/// Heartbeats without an answer after which a worker gives its connection up.
const SILENT_BEATS: u64 = 3;

#[derive(Debug, Clone, Copy)]
struct Run {
    cancelled: bool,
    lost: bool,
}

#[derive(Debug, Clone)]
struct Outcome {
    key: Key,
    token: Token,
    verdict: Verdict,
}

/// What a worker does with jobs.
#[derive(Debug, Clone)]
pub struct Habits {
    /// Jobs at a time.
    pub slots: u32,
    /// Queues that it takes jobs from.
    pub queues: Vec<usize>,
    /// In this order, or at random.
    pub strict: bool,
    /// Longest run of a handler in milliseconds.
    pub run_ms: u64,
    /// Failed runs in a thousand.
    pub fails: u32,
    /// Runs in a thousand that take their worker down.
    pub poison: u32,
    /// Whether it reports jobs that it was told to let go of.
    pub stubborn: bool,
    /// Reports in a thousand that are sent twice.
    pub twice: u32,
}

/// One of the world's workers.
#[derive(Debug)]
pub struct Worker {
    /// What it does.
    pub habits: Habits,
    rng: Rng,
    /// Its life; 0 before the first.
    pub life: u32,
    /// Whether there is a process.
    pub alive: bool,
    /// It stands still until then.
    pub paused_until: u64,
    /// Its handlers are slow until then.
    pub slow_until: u64,
    stream: Option<(u64, bool)>,
    known: bool,
    granted: u32,
    running: BTreeMap<(Key, Token), Run>,
    finished: VecDeque<Outcome>,
    unanswered: BTreeMap<u64, Vec<Outcome>>,
    last_report: u64,
    asked_at: Option<u64>,
    /// Leases of its past.
    past: VecDeque<(Key, Token)>,
    /// Since when it has been connected and free to take jobs.
    pub idle_since: Option<u64>,
}

impl Worker {
    /// A worker that has not begun yet.
    #[must_use]
    pub fn new(seed: u64, index: usize, habits: Habits) -> Worker {
        Worker {
            habits,
            rng: Rng::new(seed, 30 + index as u64),
            life: 0,
            alive: false,
            paused_until: 0,
            slow_until: 0,
            stream: None,
            known: false,
            granted: 0,
            running: BTreeMap::new(),
            finished: VecDeque::new(),
            unanswered: BTreeMap::new(),
            last_report: 0,
            asked_at: None,
            past: VecDeque::new(),
            idle_since: None,
        }
    }

    fn leases(&self) -> Vec<(Key, Token)> {
        let running = self.running.iter().filter(|(_, run)| !run.lost).map(|(lease, _)| *lease);
        running.chain(self.finished.iter().map(|outcome| (outcome.key, outcome.token))).collect()
    }

    fn mark_idle(&mut self, at: u64) {
        let free = self.running.len() < self.habits.slots as usize;
        let connected = self.stream.is_some_and(|(_, welcomed)| welcomed);
        if free && connected && self.alive {
            self.idle_since.get_or_insert(at);
        } else {
            self.idle_since = None;
        }
    }
}

impl World {
    fn process(&self, worker: usize) -> Process {
        Process { worker, life: self.workers[worker].life }
    }

    /// A process begins.
    pub(crate) fn worker_begins(&mut self, worker: usize) {
        if self.workers[worker].alive {
            return;
        }
        let it = &mut self.workers[worker];
        it.life += 1;
        it.alive = true;
        it.known = false;
        self.emit(Event::WorkerBorn { by: self.process(worker) });
        self.worker_connects(worker, self.workers[worker].life);
    }

    /// The process dies, and all it runs with it.
    pub(crate) fn worker_dies(&mut self, worker: usize, down_ms: u64) {
        if !self.workers[worker].alive {
            return;
        }
        self.emit(Event::WorkerDied { by: self.process(worker) });
        let it = &mut self.workers[worker];
        it.alive = false;
        it.running.clear();
        it.finished.clear();
        it.unanswered.clear();
        it.idle_since = None;
        if let Some((stream, _)) = it.stream.take() {
            self.cut(stream);
            self.server_learns(stream);
        }
        self.later(down_ms, WorldEvent::WorkerBegins(worker));
    }

    /// The worker tries to connect.
    pub(crate) fn worker_connects(&mut self, worker: usize, life: u32) {
        let it = &mut self.workers[worker];
        if !it.alive || it.life != life || it.stream.is_some() {
            return;
        }
        if !self.node.up {
            let wait_ms = it.rng.between(20, 300);
            return self.later(wait_ms, WorldEvent::WorkerConnects(worker, life));
        }
        let stream = self.net.connect(self.process(worker), self.node.process);
        let it = &mut self.workers[worker];
        it.stream = Some((stream, false));
        it.granted = 0;
        it.asked_at = Some(self.at);
        let mut again: VecDeque<Outcome> =
            std::mem::take(&mut it.unanswered).into_values().flatten().collect();
        again.append(&mut it.finished);
        it.finished = again;
        self.send_to_server(stream, ToServer::Hello);
        self.later(self.setup.beat_ms, WorldEvent::WorkerBeats(worker, stream));
    }

    /// A heartbeat is due.
    pub(crate) fn worker_beats(&mut self, worker: usize, stream: u64) {
        let it = &mut self.workers[worker];
        if it.stream.is_none_or(|(mine, _)| mine != stream) {
            return;
        }
        if it.asked_at.is_some_and(|since| self.at - since >= self.setup.beat_ms * SILENT_BEATS) {
            self.cut(stream);
            self.server_learns(stream);
            return self.worker_unplugged(worker, stream);
        }
        it.asked_at.get_or_insert(self.at);
        self.send_to_server(stream, ToServer::Heartbeat(self.at));
        self.later(self.setup.beat_ms, WorldEvent::WorkerBeats(worker, stream));
    }

    /// The worker learns that its connection is gone.
    pub(crate) fn worker_unplugged(&mut self, worker: usize, stream: u64) {
        let it = &mut self.workers[worker];
        if it.stream.is_none_or(|(mine, _)| mine != stream) {
            return;
        }
        it.stream = None;
        it.idle_since = None;
        let (wait_ms, life) = (it.rng.between(1, 400), it.life);
        self.later(wait_ms, WorldEvent::WorkerConnects(worker, life));
    }

    /// A frame has arrived at a worker.
    pub(crate) fn worker_hears(&mut self, worker: usize, stream: u64, frame: ToWorker) {
        let by = self.process(worker);
        let it = &mut self.workers[worker];
        if it.stream.is_none_or(|(mine, _)| mine != stream) {
            return;
        }
        it.asked_at = None;
        match frame {
            ToWorker::Welcome => self.worker_welcome(worker, stream),
            ToWorker::Deliver(jobs) => {
                for (key, token, attempt) in jobs {
                    self.emit(Event::Received { by, key, token, attempt });
                    let it = &mut self.workers[worker];
                    it.granted = it.granted.saturating_sub(1);
                    it.running.insert((key, token), Run { cancelled: false, lost: false });
                    let slow = if self.at < it.slow_until { self.setup.lease_ms } else { 0 };
                    let long = it.rng.pick(&[1, 20, it.habits.run_ms]) + slow;
                    let ms = it.rng.between(0, long);
                    let life = it.life;
                    self.later(ms, WorldEvent::WorkerEnds { worker, life, key, token });
                }
            }
            ToWorker::Reported { request, results } => {
                let outcomes = it.unanswered.remove(&request).unwrap_or_default();
                for (outcome, recorded) in outcomes.into_iter().zip(results) {
                    let (key, token) = (outcome.key, outcome.token);
                    self.emit(Event::ReportAnswered { by, key, token, recorded });
                }
            }
            ToWorker::Resumed { queue, lost, .. } => {
                for (id, token) in lost {
                    self.worker_loses(worker, (queue, id), token);
                }
            }
            ToWorker::Cancel(key, token) => {
                if let Some(run) = it.running.get_mut(&(key, token)) {
                    run.cancelled = true;
                }
            }
            ToWorker::LeaseLost(key, token) => self.worker_loses(worker, key, token),
            ToWorker::HeartbeatAck => {}
        }
        self.worker_writes(worker);
    }

    fn worker_welcome(&mut self, worker: usize, stream: u64) {
        let it = &mut self.workers[worker];
        it.stream = Some((stream, true));
        if it.known {
            let leases = it.leases();
            self.send_to_server(stream, ToServer::Resume(leases));
        }
        let it = &mut self.workers[worker];
        it.known = true;
        let (queues, strict) = (it.habits.queues.clone(), it.habits.strict);
        self.send_to_server(stream, ToServer::Subscribe(queues, strict));
    }

    fn worker_loses(&mut self, worker: usize, key: Key, token: Token) {
        self.emit(Event::ToldLost { by: self.process(worker), key, token });
        if let Some(run) = self.workers[worker].running.get_mut(&(key, token)) {
            run.lost = true;
        }
    }

    /// A handler has ended.
    pub(crate) fn worker_ends(&mut self, worker: usize, life: u32, key: Key, token: Token) {
        let healed = self.healed_at.is_some();
        let it = &mut self.workers[worker];
        if !it.alive || it.life != life {
            return;
        }
        let Some(run) = it.running.remove(&(key, token)) else { return };
        if !healed && it.rng.chance(it.habits.poison) {
            it.running.insert((key, token), run);
            let down_ms = it.rng.between(1, 1_000);
            return self.worker_dies(worker, down_ms);
        }
        if run.lost && !it.habits.stubborn {
            return self.worker_writes(worker);
        }
        let verdict = match it.rng.below(1_000) {
            _ if run.cancelled && it.rng.chance(500) => Verdict::Cancelled { reason: "told".to_owned() },
            roll if healed || roll >= u64::from(it.habits.fails) => {
                Verdict::Done(it.rng.chance(200).then(|| Payload::json("2")))
            }
            roll => match roll % 8 {
                0 => Verdict::Snooze { ms: it.rng.below(800) },
                1 => Verdict::Released,
                2 => Verdict::Dead { error: "never".to_owned() },
                3 => Verdict::Cancelled { reason: "no need".to_owned() },
                4 => Verdict::Retry { error: "no".to_owned(), retry_in_ms: Some(it.rng.below(1_500)) },
                _ => Verdict::Retry { error: "no".to_owned(), retry_in_ms: None },
            },
        };
        it.past.push_back((key, token));
        if it.past.len() > 8 {
            it.past.pop_front();
        }
        it.finished.push_back(Outcome { key, token, verdict });
        if it.rng.chance(it.habits.twice) {
            // The same again, or one of long ago.
            let pick = it.rng.below(it.past.len() as u64) as usize;
            let (key, token) = it.past[pick];
            it.finished.push_back(Outcome { key, token, verdict: Verdict::Done(None) });
        }
        self.worker_writes(worker);
    }

    /// Reports and credit go out.
    fn worker_writes(&mut self, worker: usize) {
        let by = self.process(worker);
        let it = &mut self.workers[worker];
        it.mark_idle(self.at);
        let Some((stream, true)) = it.stream else { return };
        let queues: BTreeSet<usize> = it.finished.iter().map(|outcome| outcome.key.0).collect();
        for queue in queues {
            let it = &mut self.workers[worker];
            let (mine, rest): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(&mut it.finished).into_iter().partition(|outcome| outcome.key.0 == queue);
            it.finished = rest;
            it.last_report += 1;
            let request = it.last_report;
            let outcomes = mine.iter().map(|o| (o.key.1, o.token, o.verdict.clone())).collect();
            let sent: Vec<Outcome> = mine.into();
            it.unanswered.insert(request, sent.clone());
            for Outcome { key, token, verdict } in sent {
                self.emit(Event::ReportSent { by, key, token, verdict });
            }
            self.send_to_server(stream, ToServer::Report { request, queue, outcomes });
        }
        let it = &mut self.workers[worker];
        let free = it.habits.slots.saturating_sub(it.running.len() as u32);
        let add = free.saturating_sub(it.granted);
        if add > 0 {
            it.granted += add;
            self.send_to_server(stream, ToServer::Credit(add));
        }
    }

    /// When each worker became idle and free to take jobs of a queue.
    pub(crate) fn idle_workers(&self, queue: usize) -> Option<u64> {
        let of_queue = |worker: &&Worker| worker.habits.queues.contains(&queue);
        self.workers.iter().filter(of_queue).filter_map(|worker| worker.idle_since).min()
    }
}
