//! The queue itself: bytes are read as commands with values of any size, over the memory store, with late commits, late scans and
//! crashes. After every step the queue's own invariants hold; and nothing that was confirmed is lost.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use windlass_core::id::{JobId, QueueName, RequestId, WorkerId};
use windlass_core::job::{JobSpec, Payload, RunAt};
use windlass_core::queue::{
    ChunkShape, Command, Dispatch, Effects, Known, LoadFrom, NewJobs, Out, Queue, QueueRecord, Release,
    Reply, Ticket, Tuning, Window, invariants, read,
};
use windlass_core::retry::Backoff;
use windlass_core::store::keys::{self, region};
use windlass_core::store::memory::MemoryStore;
use windlass_core::store::{Batch, Store};
use windlass_core::time::{Mono, Now, Timestamp};
use windlass_core::wire::{ReportResult, Token, Verdict};

use super::reader::Reader;

/// Steps of one run, so that a long input does not take for ever.
const STEPS_MAX: usize = 400;
const IDS: usize = 24;
const WORKERS: usize = 3;
const QUEUE: u32 = 7;

/// A flaw that the checks must see.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// None.
    Sound,
    /// Answers leave before what they say is durable.
    EarlyAnswers,
    /// Every seventh batch is called durable and is not written.
    LostBatches,
    /// A lease that the queue has ended is handed out as if nothing had been said.
    KeptLeases,
}

struct World<'a> {
    plant: Plant,
    commits: u64,
    input: Reader<'a>,
    queue: Queue,
    store: MemoryStore,
    epoch: u64,
    now: Now,
    pending: VecDeque<(Ticket, Batch)>,
    held: VecDeque<(Ticket, Out)>,
    loads: VecDeque<Command>,
    requests: u64,
    /// Jobs of enqueues that are not confirmed yet, each with the number of its life: an id that is forgotten may begin another.
    asked: BTreeMap<RequestId, Vec<(JobId, u32)>>,
    lives: BTreeMap<JobId, u32>,
    leases: BTreeMap<JobId, (WorkerId, Token)>,
    /// The last token of each job.
    tokens: BTreeMap<JobId, Token>,
    /// Confirmed, with the moment at which it may vanish by itself.
    owed: BTreeMap<JobId, Timestamp>,
    /// Ended, or about to.
    over: BTreeSet<JobId>,
    expiries: BTreeMap<JobId, Timestamp>,
}

/// Runs the commands that the bytes spell.
pub fn core_step(data: &[u8]) {
    planted_step(data, Plant::Sound);
}

/// The same with a flaw.
pub fn planted_step(data: &[u8], plant: Plant) {
    let now = Now { wall: Timestamp(1_767_225_600_000), mono: Mono(0) };
    let (queue, effects) = Queue::create(QueueName::default(), QUEUE, tuning(1), now);
    let mut world = World {
        plant,
        commits: 0,
        input: Reader(data),
        queue,
        store: MemoryStore::new(),
        epoch: 1,
        now,
        pending: VecDeque::new(),
        held: VecDeque::new(),
        loads: VecDeque::new(),
        requests: 0,
        asked: BTreeMap::new(),
        lives: BTreeMap::new(),
        leases: BTreeMap::new(),
        tokens: BTreeMap::new(),
        owed: BTreeMap::new(),
        over: BTreeSet::new(),
        expiries: BTreeMap::new(),
    };
    world.take(effects);
    for _ in 0..STEPS_MAX {
        if !world.input.has_more() {
            break;
        }
        world.step();
        world.check();
    }
    world.settle();
    world.check_owed();
    world.crash();
    world.check_owed();
}

fn tuning(epoch: u64) -> Tuning {
    let window = Window { jobs: 6, bytes: 1 << 20, load: 3 };
    let chunk = ChunkShape { jobs_min: 2, jobs_max: 3, wait_ms: 20, crowd_min: 2 };
    Tuning {
        epoch,
        seed: 3,
        lease_ms: 5_000,
        resume_grace_ms: 1_000,
        window,
        chunk,
        dispatch: Dispatch::Fast,
    }
}

fn worker(n: usize) -> WorkerId {
    WorkerId((n as u128).to_be_bytes())
}

impl World<'_> {
    fn step(&mut self) {
        match self.input.byte() % 20 {
            0..=3 => self.enqueue(),
            4..=5 => {
                let (worker, slots) = (worker(self.input.below(WORKERS)), u32::from(self.input.byte()) % 8);
                self.apply(Command::Fetch { worker, slots });
            }
            6..=8 => self.report(),
            9..=10 => {
                let count = self.input.below(5);
                self.commit(count);
            }
            11 => {
                if let Some(load) = self.loads.pop_front() {
                    self.apply(load);
                }
            }
            12 => {
                // A day at most, so that ten years of delays stay ahead; leases and timers are minutes.
                let ms = self.input.number() % 86_400_000;
                self.now = Now { wall: self.now.wall.plus_ms(ms), mono: self.now.mono.plus_ms(ms) };
                self.apply(Command::Tick);
            }
            13 => self.worker_event(),
            14 | 15 => self.operate(),
            16 => self.bulk(),
            17 => self.settings(),
            18 => self.resume(),
            _ if self.input.below(4) == 0 => self.crash(),
            _ => {
                let (id, token) = self.some_lease();
                let message = "x".repeat(self.input.byte().into());
                self.apply(Command::Progress { id, token, percent: self.input.0.len() as u8, message });
            }
        }
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    fn apply(&mut self, command: Command) -> Option<Vec<Out>> {
        let effects = self.queue.apply(self.now, command).ok()?;
        let outs = effects.outs.iter().map(|(_, out)| out.clone()).collect();
        self.take(effects);
        Some(outs)
    }

    fn take(&mut self, effects: Effects) {
        assert_eq!(effects.ticket.is_some(), !effects.writes.is_empty());
        if let Some(ticket) = effects.ticket {
            let batch = Batch { writes: effects.writes, settles: effects.settles, ..Batch::default() };
            self.pending.push_back((ticket, batch));
        }
        for (release, out) in effects.outs {
            match release {
                Release::Durable(_) if self.plant == Plant::EarlyAnswers => self.release(out),
                Release::Now => self.release(out),
                Release::Durable(ticket) => self.held.push_back((ticket, out)),
            }
        }
    }

    fn release(&mut self, out: Out) {
        match out {
            Out::Reply(request, Reply::Enqueued(_)) => {
                for (id, life) in self.asked.remove(&request).unwrap_or_default() {
                    if self.lives.get(&id) == Some(&life) && !self.over.contains(&id) {
                        self.owed.insert(id, self.expiries.get(&id).copied().unwrap_or(Timestamp::MAX));
                    }
                }
            }
            Out::Deliver { worker, jobs, .. } => {
                for (job, token, attempt) in jobs {
                    assert!(job.run_at <= self.now.wall, "{} is early", job.id);
                    assert!(attempt >= 1 && attempt <= job.max_attempts(), "attempt {attempt}");
                    let before = self.leases.insert(job.id, (worker, token));
                    assert_eq!(before, None, "{} has two leases", job.id);
                    let last = self.tokens.insert(job.id, token);
                    assert!(last < Some(token), "{token:?} after {last:?}");
                }
            }
            Out::LeaseEnded { .. } if self.plant == Plant::KeptLeases => {}
            Out::LeaseEnded { id, token, .. } => {
                assert_eq!(self.leases.remove(&id).map(|(_, held)| held), Some(token));
            }
            Out::Load(from) => self.scan(from),
            Out::Fault(text) => panic!("fault: {text}"),
            Out::Reply(..) | Out::Notice { .. } | Out::CancelRun { .. } => {}
        }
    }

    fn spec(&mut self) -> JobSpec {
        let input = &mut self.input;
        let mut spec = JobSpec::new("k", Payload::json(vec![b'1'; input.below(9)]));
        let id = JobId((input.below(IDS) as u128 + 1).to_be_bytes());
        spec.id = Some(id);
        spec.priority = input.byte() as i8;
        spec.run_at = match input.byte() % 6 {
            0 => RunAt::AfterMs(input.number()),
            1 => RunAt::At(Timestamp(input.number())),
            2 => RunAt::At(self.now.wall.plus_ms(input.number())),
            _ => RunAt::Now,
        };
        if input.flag() {
            let now = self.now.wall;
            let options = spec.options_mut();
            options.expires_at = input.flag().then(|| now.plus_ms(input.number()));
            options.timeout_ms = input.flag().then(|| input.number());
            options.max_attempts = input.flag().then(|| input.number() as u32);
            options.retention_ms = input.flag().then(|| input.number());
            options.backoff = match input.byte() % 4 {
                0 => Some(Backoff::Fixed { delay_ms: input.number(), jitter_percent: input.byte() }),
                1 => Some(Backoff::Exponential {
                    base_ms: input.number(),
                    factor_tenths: input.number() as u32,
                    max_ms: input.number(),
                    jitter_percent: input.byte(),
                }),
                2 => Some(Backoff::List {
                    delays_ms: vec![input.number(); input.below(4)],
                    jitter_percent: 10,
                }),
                _ => None,
            };
        }
        spec
    }

    fn enqueue(&mut self) {
        let mut jobs: Vec<_> = (0..=self.input.below(4)).map(|_| self.spec()).collect();
        // As of a request with one time for all, or nearly.
        let together = self.input.byte();
        if together < 64 {
            let ms = self.input.number();
            for (index, job) in jobs.iter_mut().enumerate() {
                job.run_at = RunAt::AfterMs(ms.saturating_add(index as u64 * u64::from(together % 16)));
            }
        }
        let ids: Vec<_> = jobs.iter().filter_map(|job| job.id).collect();
        let suspects = self.queue.suspects(ids.iter().copied());
        let known = read::known(&self.store, QUEUE, &suspects).expect("memory can be read");
        let expiries: Vec<_> =
            jobs.iter().map(|job| job.options.as_ref().and_then(|o| o.expires_at)).collect();
        let reply = self.request();
        let new = NewJobs { jobs, known, alongside: Vec::new() };
        let Ok(effects) = self.queue.apply(self.now, Command::Enqueue { reply, new }) else { return };
        for (_, out) in &effects.outs {
            let Out::Reply(_, Reply::Enqueued(answers)) = out else { continue };
            assert_eq!(answers.iter().map(|answer| answer.id).collect::<Vec<_>>(), ids);
            for (answer, expiry) in answers.iter().zip(&expiries).filter(|(answer, _)| !answer.duplicate) {
                self.over.remove(&answer.id);
                *self.lives.entry(answer.id).or_default() += 1;
                self.expiries.insert(answer.id, expiry.unwrap_or(Timestamp::MAX));
            }
        }
        let lives = ids.iter().map(|id| (*id, self.lives.get(id).copied().unwrap_or(0)));
        self.asked.insert(reply, lives.collect());
        self.take(effects);
    }

    /// A lease that is held, or one that nobody has.
    fn some_lease(&mut self) -> (JobId, Token) {
        let which = self.input.below(self.leases.len() + 1);
        match self.leases.iter().nth(which) {
            Some((id, (_, token))) if self.input.below(8) != 0 => (*id, *token),
            _ => {
                let id = JobId((self.input.below(IDS) as u128 + 1).to_be_bytes());
                let delivery = self.input.number();
                (id, Token { epoch: self.epoch.saturating_sub(self.input.below(2) as u64), delivery })
            }
        }
    }

    fn report(&mut self) {
        let (id, token) = self.some_lease();
        let verdict = match self.input.byte() % 8 {
            0 => Verdict::Retry { error: "no".into(), retry_in_ms: None },
            1 => Verdict::Retry { error: "no".into(), retry_in_ms: Some(self.input.number()) },
            2 => Verdict::Snooze { ms: self.input.number() },
            3 => Verdict::Dead { error: String::new() },
            4 => Verdict::Cancelled { reason: "no".into() },
            5 => Verdict::Released,
            _ => Verdict::Done(self.input.flag().then(|| Payload::json("2"))),
        };
        let holds = self.leases.get(&id).is_some_and(|(_, held)| *held == token);
        let ends = matches!(verdict, Verdict::Done(_) | Verdict::Cancelled { .. });
        if holds {
            self.leases.remove(&id);
            // Somebody may have cancelled it, and then any report ends it.
            if ends || self.over.contains(&id) {
                self.end(id);
            }
        }
        let reply = self.request();
        let outs =
            self.apply(Command::Report { reply, outcomes: vec![(id, token, verdict)] }).unwrap_or_default();
        let recorded = outs.iter().any(
            |out| matches!(out, Out::Reply(_, Reply::Reported(results)) if results[..] == [ReportResult::Recorded]),
        );
        assert_eq!(recorded, holds, "a report counts if and only if its lease does");
    }

    fn end(&mut self, id: JobId) {
        self.owed.remove(&id);
        self.over.insert(id);
    }

    fn worker_event(&mut self) {
        let worker = worker(self.input.below(WORKERS));
        let command = match self.input.byte() % 4 {
            0 => Command::Away { worker },
            1 => Command::Lost { worker, why: "unplugged".into() },
            _ => Command::Renew { worker },
        };
        self.apply(command);
    }

    fn resume(&mut self) {
        let worker = worker(self.input.below(WORKERS));
        let leases: Vec<_> = (0..self.input.below(4)).map(|_| self.some_lease()).collect();
        let mine: BTreeMap<_, _> =
            self.leases.iter().filter(|(_, (w, _))| *w == worker).map(|(i, l)| (*i, *l)).collect();
        // What is not kept is given back, and may be handed out again by the same command.
        self.leases.retain(|_, (holder, _)| *holder != worker);
        let reply = self.request();
        let Ok(effects) = self.queue.apply(self.now, Command::Resume { worker, leases, reply }) else {
            return;
        };
        for (_, out) in &effects.outs {
            let Out::Reply(_, Reply::Resumed { kept, .. }) = out else { continue };
            for (id, token) in kept {
                assert_eq!(mine.get(id), Some(&(worker, *token)), "a lease was kept that nobody had");
                self.leases.insert(*id, (worker, *token));
            }
        }
        self.take(effects);
    }

    fn operate(&mut self) {
        let id = JobId((self.input.below(IDS) as u128 + 1).to_be_bytes());
        let (known, reply) = (self.lookup(&id), self.request());
        let (command, ends) = match self.input.byte() % 6 {
            0 | 1 => (Command::Cancel { reply, id, known }, true),
            2 => (Command::Retry { reply, id, known }, false),
            3 => (Command::Delete { reply, id, known }, true),
            4 => (Command::Watch { reply, id, known }, false),
            _ => (Command::Unwatch { reply: RequestId(self.input.number()), id }, false),
        };
        if self.apply(command).is_some() && ends {
            self.end(id);
        }
    }

    fn bulk(&mut self) {
        let (low, high) = keys::queue_range(region::DEAD, QUEUE);
        let dead = read::scan(&self.store, &low, &high, 4).expect("memory can be read").stored;
        let reply = self.request();
        if self.input.flag() {
            self.apply(Command::RetryDead { reply, dead });
        } else {
            dead.iter().for_each(|stored| self.end(stored.job.id));
            self.apply(Command::DeleteDead { reply, dead });
        }
    }

    fn settings(&mut self) {
        let reply = self.request();
        let command = if self.input.flag() {
            Command::SetPaused { reply, paused: self.input.below(4) == 0 }
        } else {
            Command::SetRetention { reply, finished_max: self.input.number() as u32 }
        };
        self.apply(command);
    }

    fn scan(&mut self, from: LoadFrom) {
        let found = read::load(&self.store, QUEUE, from).expect("memory can be read");
        self.loads.push_back(Command::Loaded { from, found: found.stored, exhausted: found.exhausted });
    }

    fn lookup(&self, id: &JobId) -> Known {
        if !self.queue.may_store(id) {
            return None;
        }
        read::by_id(&self.store, QUEUE, &self.queue.lookup(*id)).expect("memory can be read")
    }

    fn commit(&mut self, count: usize) {
        for _ in 0..count {
            let Some((ticket, batch)) = self.pending.pop_front() else { break };
            self.commits += 1;
            if self.plant != Plant::LostBatches || !self.commits.is_multiple_of(7) {
                assert!(self.store.commit(vec![batch])[0].is_ok());
            }
            self.apply(Command::Durable(ticket));
            while self.held.front().is_some_and(|(held, _)| *held <= ticket) {
                let (_, out) = self.held.pop_front().expect("there is one in front");
                self.release(out);
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..1_000 {
            self.commit(usize::MAX);
            match self.loads.pop_front() {
                Some(load) => drop(self.apply(load)),
                None if self.pending.is_empty() => return,
                None => {}
            }
        }
        panic!("the queue never comes to rest");
    }

    /// The process dies: what is not committed is gone, and so is what it had in memory.
    fn crash(&mut self) {
        self.pending.clear();
        self.held.clear();
        self.loads.clear();
        self.asked.clear();
        let Some(record) = self.store.get(&keys::queue_key(self.queue.name())).expect("memory can be read")
        else {
            return self.commit_birth();
        };
        self.epoch += 1;
        let record = QueueRecord::from_bytes(&record).expect("the queue wrote its record");
        self.now.mono = Mono(0);
        let tuning = tuning(self.epoch);
        let begun = read::recover(&self.store, QueueName::default(), record, tuning, self.now);
        let (queue, effects) = begun.expect("the queue wrote its records");
        self.queue = queue;
        self.leases.clear();
        for view in self.queue.running() {
            let last = view.attempts.last().expect("a running job has an attempt");
            self.leases.insert(view.id, (last.worker, last.token.expect("a running attempt has a token")));
        }
        self.take(effects);
        self.check_owed();
    }

    /// A crash before the queue itself was durable: it begins anew.
    fn commit_birth(&mut self) {
        assert!(self.owed.is_empty(), "jobs were confirmed before their queue was");
        let (queue, effects) = Queue::create(QueueName::default(), QUEUE, tuning(self.epoch), self.now);
        self.queue = queue;
        self.leases.clear();
        self.tokens.clear();
        self.take(effects);
    }

    fn check(&mut self) {
        if let Err(text) = invariants::check(&self.queue) {
            panic!("{text}");
        }
        let _ = self.queue.next_deadline();
        let counts = self.queue.snapshot(self.now).counts;
        assert!(counts.values().all(|count| *count < 1 << 32), "a counter went below zero: {counts:?}");
    }

    /// Everything that was confirmed and has not ended is somewhere.
    fn check_owed(&mut self) {
        let wall = self.now.wall;
        for (id, _) in self.owed.iter().filter(|(_, until)| **until > wall) {
            let found = self.queue.view(id).is_some() || self.lookup(id).is_some();
            assert!(found, "{id} was confirmed, and is nowhere");
        }
    }
}
