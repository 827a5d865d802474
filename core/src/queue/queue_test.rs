//! The queue against a store that is sometimes late and sometimes crashes, driven by seeds.
//!
//! Goal: no confirmed job is lost, no job has two leases, none runs early, counters equal a recount, whatever the order of
//! commits, late scans, crashes, lost workers and operators' actions. Method: random steps from a seed; the rig keeps its
//! own ledger of what was confirmed and compares. A failing seed is in the panic's message.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::id::{JobId, QueueName, RequestId, WorkerId};
use crate::job::{JobSpec, JobState, Payload, RunAt, decode_job};
use crate::retry::{Backoff, mix};
use crate::store::keys::{self, Place, region};
use crate::store::memory::MemoryStore;
use crate::store::{Batch, Store};
use crate::time::{Mono, Now, Timestamp};
use crate::wire::{ReportResult, Token, Verdict};

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What the outside of the queue does, and its memory of what was promised.
struct Rig {
    rng: Rng,
    queue: Queue,
    store: MemoryStore,
    epoch: u64,
    now: Now,
    /// Batches on their way to the store.
    pending: VecDeque<(Ticket, Batch)>,
    /// Outs that wait for their batch.
    held: Vec<(Ticket, Out)>,
    /// Scans done, their results on the way.
    loads: VecDeque<Command>,
    asked: BTreeMap<RequestId, Asked>,
    leases: BTreeMap<JobId, (WorkerId, Token)>,
    tokens: BTreeMap<JobId, Token>,
    /// Confirmed to the producer, and not known to have ended since.
    owed: BTreeSet<Life>,
    /// Ended by a confirmed command.
    ended: BTreeSet<Life>,
    /// The current life of each id.
    lives: BTreeMap<JobId, u32>,
    /// Cancelled while they ran: they may end with any report, and need not be remembered across a crash.
    excused: BTreeSet<JobId>,
    requests: u64,
    ids: u64,
}

/// An id, and how often it has begun anew: an id may be enqueued again once it is forgotten.
type Life = (JobId, u32);

enum Asked {
    Enqueue(Vec<Life>),
    Report(Vec<(Life, bool)>),
    End(Life),
    Other,
}

const WORKERS: u64 = 3;

fn worker(n: u64) -> WorkerId {
    WorkerId(u128::from(n).to_be_bytes())
}

/// Small enough that a few dozen jobs rest in the store.
const TINY: Window = Window { jobs: 8, bytes: 1 << 20, load: 4 };

fn tuning(epoch: u64) -> Tuning {
    Tuning { epoch, seed: 11, lease_ms: 5_000, resume_grace_ms: 1_000, window: TINY }
}

impl Rig {
    fn new(seed: u64) -> Rig {
        let now = Now { wall: Timestamp(1_000_000), mono: Mono(0) };
        let (queue, effects) = Queue::create(QueueName::default(), 7, tuning(1), now);
        let mut rig = Rig {
            rng: Rng(mix(seed)),
            queue,
            store: MemoryStore::new(),
            epoch: 1,
            now,
            pending: VecDeque::new(),
            held: Vec::new(),
            loads: VecDeque::new(),
            asked: BTreeMap::new(),
            leases: BTreeMap::new(),
            tokens: BTreeMap::new(),
            owed: BTreeSet::new(),
            ended: BTreeSet::new(),
            lives: BTreeMap::new(),
            excused: BTreeSet::new(),
            requests: 0,
            ids: 0,
        };
        rig.take(effects);
        rig
    }

    fn request(&mut self, asked: Asked) -> RequestId {
        self.requests += 1;
        self.asked.insert(RequestId(self.requests), asked);
        RequestId(self.requests)
    }

    fn apply(&mut self, command: Command) -> bool {
        let done = self.queue.apply(self.now, command);
        let granted = done.is_ok();
        if let Ok(effects) = done {
            self.take(effects);
        }
        invariants::check(&self.queue).unwrap();
        granted
    }

    fn take(&mut self, effects: Effects) {
        assert_eq!(effects.ticket.is_some(), !effects.writes.is_empty());
        if let Some(ticket) = effects.ticket {
            self.pending.push_back((
                ticket,
                Batch { writes: effects.writes, settles: effects.settles, queue: Some(7) },
            ));
        }
        for (release, out) in effects.outs {
            match release {
                Release::Now => self.release(out),
                Release::Durable(ticket) => self.held.push((ticket, out)),
            }
        }
    }

    fn release(&mut self, out: Out) {
        match out {
            Out::Reply(request, reply) => self.answered(request, reply),
            Out::Deliver { worker, jobs, .. } => {
                for (job, token, attempt) in jobs {
                    assert!(job.run_at <= self.now.wall, "{} is early", job.id);
                    let before = self.leases.insert(job.id, (worker, token));
                    assert_eq!(before, None, "{} has two leases", job.id);
                    let last = self.tokens.insert(job.id, token);
                    assert!(last < Some(token), "{}: token {token:?} after {last:?}", job.id);
                    assert!(attempt <= job.max_attempts());
                    assert!(
                        !self.ended.contains(&self.life(job.id)),
                        "{} was delivered after its end was confirmed",
                        job.id
                    );
                }
            }
            Out::LeaseEnded { id, token, .. } => {
                assert_eq!(self.leases.remove(&id).map(|(_, t)| t), Some(token));
            }
            Out::Load(from) => self.scan(from),
            Out::Fault(text) => panic!("fault: {text}"),
            Out::Notice { .. } | Out::CancelRun { .. } => {}
        }
    }

    fn answered(&mut self, request: RequestId, reply: Reply) {
        match (self.asked.remove(&request).expect("each request is answered once"), reply) {
            (Asked::Enqueue(lives), Reply::Enqueued(answers)) => {
                for (life, answer) in lives.into_iter().zip(answers) {
                    // A repeat of a job that has ended promises nothing; after a crash that may be an earlier life.
                    let over = self.ended.range((life.0, 0)..=(life.0, life.1)).next().is_some();
                    if !(self.ended.contains(&life) || answer.duplicate && over) {
                        self.owed.insert(life);
                    }
                }
            }
            (Asked::Report(outcomes), Reply::Reported(results)) => {
                for ((life, ends), result) in outcomes.into_iter().zip(results) {
                    assert_eq!(result, ReportResult::Recorded, "{life:?}");
                    if ends {
                        self.end(life);
                    }
                }
            }
            (Asked::End(life), Reply::Done(_) | Reply::Job(_, JobState::Cancelled)) => self.end(life),
            _ => {}
        }
    }

    fn end(&mut self, life: Life) {
        // A crash may have undone the beginning of this life, so that it ends an earlier one.
        self.owed.retain(|owed| owed.0 != life.0 || owed.1 > life.1);
        self.ended.insert(life);
    }

    fn life(&self, id: JobId) -> Life {
        (id, self.lives.get(&id).copied().unwrap_or(0))
    }

    /// A forgotten id is enqueued again.
    fn begins_anew(&mut self, id: JobId) {
        let old = self.life(id);
        *self.lives.entry(id).or_default() += 1;
        if self.excused.remove(&id) {
            self.owed.remove(&old);
        }
    }

    /// The job's life goes on: an end that is still to be confirmed is none.
    fn goes_on(&mut self, id: JobId) {
        let life = self.life(id);
        self.ended.remove(&life);
        for asked in self.asked.values_mut() {
            match asked {
                Asked::End(ended) if *ended == life => *asked = Asked::Other,
                Asked::Report(outcomes) => {
                    outcomes
                        .iter_mut()
                        .filter(|(ended, _)| *ended == life)
                        .for_each(|(_, ends)| *ends = false);
                }
                _ => {}
            }
        }
    }

    /// The store is looked at now; the queue sees the answer later.
    fn scan(&mut self, from: LoadFrom) {
        let no = self.queue.no();
        let ((low, high), limit) = match from {
            LoadFrom::Ready { priority, seq, limit } => (keys::level_range(no, priority, seq), limit),
            LoadFrom::Timers { run_at, seq, limit } => {
                ((Place::Timer { run_at, seq }.key(no), keys::queue_range(region::TIMER, no).1), limit)
            }
            LoadFrom::Kept { limit, .. } => (keys::queue_range(region::KEPT, no), limit),
        };
        let (found, exhausted) = self.read(&low, &high, limit);
        self.loads.push_back(Command::Loaded { from, found, exhausted });
    }

    fn read(&self, low: &[u8], high: &[u8], limit: usize) -> (Vec<Stored>, bool) {
        let mut found = Vec::new();
        self.store
            .scan(low, high, &mut |key, value| {
                let place = Place::from_key(key).unwrap().1;
                found.push(Stored { place, job: decode_job(&value).unwrap() });
                found.len() <= limit
            })
            .unwrap();
        let exhausted = found.len() <= limit;
        found.truncate(limit);
        (found, exhausted)
    }

    fn lookup(&self, id: &JobId) -> Known {
        if !self.queue.may_store(id) {
            return None;
        }
        let place = Place::from_value(&self.store.get(&keys::index_key(7, id)).unwrap()?).unwrap();
        let record = self.store.get(&place.key(7)).unwrap().expect("the index points at a record");
        Some(Box::new(Stored { place, job: decode_job(&record).unwrap() }))
    }

    fn commit(&mut self, count: usize) {
        for _ in 0..count {
            let Some((ticket, batch)) = self.pending.pop_front() else { break };
            assert!(self.store.commit(vec![batch])[0].is_ok());
            self.apply(Command::Durable(ticket));
            let (ready, held) = std::mem::take(&mut self.held).into_iter().partition(|(t, _)| *t <= ticket);
            self.held = held;
            let ready: Vec<(Ticket, Out)> = ready;
            ready.into_iter().for_each(|(_, out)| self.release(out));
        }
    }

    /// The process dies: what was not committed is gone, and so is everything in memory. Workers live on.
    fn crash(&mut self) {
        self.pending.clear();
        self.held.clear();
        self.loads.clear();
        self.asked.clear();
        self.epoch += 1;
        let record = self.store.get(&keys::queue_key(&QueueName::default())).unwrap();
        let Some(record) = record else {
            let seed = self.rng.next();
            *self = Rig::new(seed);
            return;
        };
        let mut recovery = Recovery::new(
            QueueName::default(),
            QueueRecord::from_bytes(&record).unwrap(),
            tuning(self.epoch),
        );
        for region in Recovery::REGIONS {
            let (low, high) = keys::queue_range(region, 7);
            self.store
                .scan(&low, &high, &mut |key, value| {
                    recovery.record(key, &value).map_or_else(|e| panic!("{e}"), |()| true)
                })
                .unwrap();
        }
        self.now.mono = Mono(0);
        let (queue, effects) = recovery.finish(self.now);
        self.queue = queue;
        self.take(effects);
        invariants::check(&self.queue).unwrap();
        self.reconnect();
    }

    /// Workers present what they run; some never come back.
    fn reconnect(&mut self) {
        let leases = std::mem::take(&mut self.leases);
        for n in 0..WORKERS {
            if self.rng.one_in(4) {
                continue;
            }
            let mine: Vec<_> = leases
                .iter()
                .filter(|(_, (w, _))| *w == worker(n))
                .map(|(id, (_, token))| (*id, *token))
                .collect();
            let reply = self.request(Asked::Other);
            let done = self
                .queue
                .apply(self.now, Command::Resume { worker: worker(n), leases: mine, reply })
                .unwrap();
            let kept = done.outs.iter().find_map(|(_, out)| match out {
                Out::Reply(_, Reply::Resumed { kept, .. }) => Some(kept.clone()),
                _ => None,
            });
            for (id, token) in kept.expect("a resume is answered") {
                self.leases.insert(id, (worker(n), token));
            }
            self.take(done);
        }
        // Leases of workers that did not come back are still the queue's until the grace time ends.
        for view in self.queue.running().collect::<Vec<_>>() {
            let token = view.attempts.last().and_then(|a| a.token).unwrap();
            self.leases.entry(view.id).or_insert((view.attempts.last().unwrap().worker, token));
        }
    }

    fn spec(&mut self) -> JobSpec {
        let id = if self.ids > 0 && self.rng.one_in(8) { self.rng.next() % self.ids } else { self.ids };
        self.ids = self.ids.max(id + 1);
        let mut spec = JobSpec::new("work", Payload::json("1"));
        spec.id = Some(job_id(id));
        spec.priority = [0, 0, 0, 5, -3][self.rng.below(5)];
        if self.rng.one_in(3) {
            spec.run_at = RunAt::AfterMs(self.rng.next() % 3_000);
        }
        let options = spec.options_mut();
        options.max_attempts = Some(1 + (id % 4) as u32);
        options.backoff = Some(Backoff::Fixed { delay_ms: 200, jitter_percent: 50 });
        options.retention_ms = (id % 3 == 0).then_some(1_500);
        spec
    }

    fn enqueue(&mut self) {
        let jobs: Vec<_> = (0..=self.rng.below(6)).map(|_| self.spec()).collect();
        let ids: Vec<_> = jobs.iter().filter_map(|j| j.id).collect();
        let mut known: Vec<_> =
            self.queue.suspects(&ids).into_iter().filter(|id| self.lookup(id).is_some()).collect();
        known.sort_unstable();
        let reply = self.request(Asked::Other);
        let new = NewJobs { jobs, known, alongside: Vec::new() };
        let effects = self.queue.apply(self.now, Command::Enqueue { reply, new }).unwrap();
        for (_, out) in &effects.outs {
            let Out::Reply(_, Reply::Enqueued(answers)) = out else { continue };
            for answer in answers.iter().filter(|answer| !answer.duplicate) {
                self.begins_anew(answer.id);
            }
        }
        let lives = ids.iter().map(|id| self.life(*id)).collect();
        self.asked.insert(reply, Asked::Enqueue(lives));
        self.take(effects);
        invariants::check(&self.queue).unwrap();
    }

    fn report(&mut self) {
        let Some((id, (_, token))) = self.pick_lease() else { return };
        let (verdict, ends) = match self.rng.below(8) {
            0 => (Verdict::Retry { error: "no".into(), retry_in_ms: None }, false),
            1 => (Verdict::Snooze { ms: 300 }, false),
            2 => (Verdict::Released, false),
            3 => (Verdict::Dead { error: "never".into() }, false),
            _ => (Verdict::Done(Some(Payload::json("2"))), true),
        };
        self.leases.remove(&id);
        let reply = self.request(Asked::Report(vec![(self.life(id), ends)]));
        self.apply(Command::Report { reply, outcomes: vec![(id, token, verdict.clone())] });
        // The same report again is stale, and changes nothing.
        let reply = self.request(Asked::Other);
        self.apply(Command::Report { reply, outcomes: vec![(id, token, verdict)] });
    }

    fn pick_lease(&mut self) -> Option<(JobId, (WorkerId, Token))> {
        let index = self.rng.below(self.leases.len());
        self.leases.iter().nth(index).map(|(id, lease)| (*id, *lease))
    }

    fn operate(&mut self) {
        let id = job_id(self.rng.next() % self.ids.max(1));
        let known = self.lookup(&id);
        match self.rng.below(6) {
            0 => {
                let reply = self.request(Asked::End(self.life(id)));
                if self.apply(Command::Cancel { reply, id, known }) {
                    self.excused.insert(id);
                }
            }
            1 => {
                let reply = self.request(Asked::Other);
                if self.apply(Command::Retry { reply, id, known }) {
                    self.goes_on(id);
                }
            }
            2 => {
                let reply = self.request(Asked::End(self.life(id)));
                self.apply(Command::Delete { reply, id, known });
            }
            3 => {
                let (low, high) = keys::queue_range(region::DEAD, 7);
                let (dead, _) = self.read(&low, &high, 5);
                let ids: Vec<_> = dead.iter().map(|stored| stored.job.id).collect();
                let reply = self.request(Asked::Other);
                self.apply(Command::RetryDead { reply, dead });
                for id in ids {
                    if self.queue.view(&id).is_some_and(|view| view.state == JobState::Ready) {
                        self.goes_on(id);
                    }
                }
            }
            _ => {
                let paused = self.rng.one_in(2);
                let reply = self.request(Asked::Other);
                self.apply(Command::SetPaused { reply, paused });
            }
        }
    }

    fn step(&mut self) {
        match self.rng.below(14) {
            0..=2 => self.enqueue(),
            3..=4 => {
                let (n, slots) = (self.rng.next() % WORKERS, self.rng.below(6) as u32);
                self.apply(Command::Fetch { worker: worker(n), slots });
            }
            5..=6 => self.report(),
            7..=8 => {
                let count = self.rng.below(6);
                self.commit(count);
            }
            9 => {
                if let Some(load) = self.loads.pop_front() {
                    self.apply(load);
                }
            }
            10 => self.pass(self.rng.0 % 900),
            11 => self.operate(),
            12 if self.rng.one_in(3) => {
                let n = self.rng.next() % WORKERS;
                self.apply(Command::Lost { worker: worker(n), why: "unplugged".into() });
            }
            13 if self.rng.one_in(6) => self.crash(),
            _ => (0..WORKERS).for_each(|n| {
                self.apply(Command::Renew { worker: worker(n) });
            }),
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now.wall = self.now.wall.plus_ms(ms);
        self.now.mono = self.now.mono.plus_ms(ms);
        self.apply(Command::Tick);
    }

    fn settle(&mut self) {
        while !self.pending.is_empty() || !self.loads.is_empty() {
            self.commit(usize::MAX);
            if let Some(load) = self.loads.pop_front() {
                self.apply(load);
            }
        }
    }

    /// With everything durable, the counters are what a recount of the store finds.
    fn recount(&mut self) {
        self.settle();
        let mut seen: BTreeMap<JobState, u64> = BTreeMap::new();
        for region in [region::READY, region::TIMER, region::DEAD, region::KEPT] {
            let (low, high) = keys::queue_range(region, 7);
            for stored in self.read(&low, &high, usize::MAX - 1).0 {
                let view = self.queue.view_of(&stored).expect("a durable record is no news");
                *seen.entry(view.state).or_default() += 1;
                let index = self.store.get(&keys::index_key(7, &stored.job.id)).unwrap();
                let index =
                    index.unwrap_or_else(|| panic!("{:?} is not indexed: {:?}", stored.place, stored.job));
                assert_eq!(Place::from_value(&index), Some(stored.place));
            }
        }
        let counts = self.queue.snapshot(self.now).counts;
        for state in
            [JobState::Ready, JobState::Running, JobState::Scheduled, JobState::Retrying, JobState::Dead]
        {
            assert_eq!(counts.get(&state), Some(seen.get(&state).unwrap_or(&0)), "{state}");
        }
    }

    /// Faults stop; everything owed must come to its end.
    fn drain(&mut self) {
        let reply = self.request(Asked::Other);
        self.apply(Command::SetPaused { reply, paused: false });
        for _ in 0..10_000 {
            self.settle();
            self.pass(500);
            self.settle();
            for n in 0..WORKERS {
                self.apply(Command::Renew { worker: worker(n) });
                self.apply(Command::Fetch { worker: worker(n), slots: 5 });
            }
            for (id, (_, token)) in self.leases.clone() {
                self.leases.remove(&id);
                let reply = self.request(Asked::Report(vec![(self.life(id), true)]));
                self.apply(Command::Report { reply, outcomes: vec![(id, token, Verdict::Done(None))] });
            }
            self.settle();
            let counts = self.queue.snapshot(self.now).counts;
            let open = [JobState::Ready, JobState::Running, JobState::Scheduled, JobState::Retrying];
            if open.iter().all(|s| counts.get(s) == Some(&0)) {
                break;
            }
        }
        let owed = std::mem::take(&mut self.owed);
        for (id, _) in owed.into_iter().filter(|(id, _)| !self.excused.contains(id)) {
            let known = self.lookup(&id);
            let state = self
                .queue
                .view(&id)
                .map(|v| v.state)
                .or_else(|| known.map(|k| self.queue.view_of(&k).unwrap().state));
            assert!(
                matches!(
                    state,
                    Some(JobState::Dead | JobState::Cancelled | JobState::Expired | JobState::Succeeded)
                ),
                "{id} was confirmed and is lost: {state:?}"
            );
        }
    }
}

fn job_id(n: u64) -> JobId {
    JobId((u128::from(mix(n)) << 64 | u128::from(n)).to_be_bytes())
}

fn run(seed: u64) {
    let mut rig = Rig::new(seed);
    for step in 0..150 {
        rig.step();
        if step % 50 == 49 {
            rig.recount();
        }
    }
    rig.drain();
    rig.recount();
}

#[test]
fn nothing_is_lost_whatever_happens() {
    let (first, count) = match std::env::var("WINDLASS_SEED").ok().and_then(|s| s.parse().ok()) {
        Some(seed) => (seed, 1),
        None => (0, std::env::var("WINDLASS_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(2_000)),
    };
    for seed in first..first + count {
        if std::panic::catch_unwind(|| run(seed)).is_err() {
            panic!("run again with WINDLASS_SEED={seed}");
        }
    }
}
