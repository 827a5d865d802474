//! A queue as one would explain it: a map of jobs with their states, and plain rules. No windows, no store, no tickets; every
//! step is durable at once.
//!
//! It is written from the documents and not from the core, and it is slow on purpose: whenever something is to be found, it
//! looks at all jobs.

use std::collections::{BTreeMap, BTreeSet};

use windlass_core::job::JobState;
use windlass_core::limits;
use windlass_core::wire::Token;

use crate::steps::{Batch, End, Proof, Spec, Start, Step};

/// Number of a job; small, so that ids come again.
pub(crate) type Id = u8;
/// Number of a worker.
pub(crate) type Worker = u8;

/// How long a lease is good.
/// The wall clock at the beginning, in milliseconds.
pub(crate) const WALL_START_MS: u64 = 1_000_000;
pub(crate) const LEASE_MS: u64 = 5_000;
/// How long a lost session may come back.
pub(crate) const GRACE_MS: u64 = 1_000;
/// By how much scheduled jobs are put off at most to be due together.
pub(crate) const WAIT_MS: u64 = 40;
/// So many jobs are worth it.
pub(crate) const TOGETHER: usize = 2;
/// Fewer jobs of a request are not put off.
pub(crate) const CROWD: usize = 4;
/// Finished jobs that a new queue remembers.
const REMEMBERED: usize = limits::FINISHED_JOBS_DEFAULT as usize;

/// What one step lets the world see.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answer {
    /// Per job of the batch, whether it was a repeat.
    Enqueued(Vec<bool>),
    /// Jobs handed out, in this order: id, token, number of the attempt.
    Delivered(Worker, Vec<(Id, Token, u32)>),
    /// Per outcome, whether it was recorded.
    Reported(Vec<bool>),
    /// Leases that go on, and leases that do not.
    Resumed(Vec<(Id, Token)>, Vec<(Id, Token)>),
    /// A job as it is after request number so-and-so.
    Job(u64, Id, JobState),
    /// Done, to so many things.
    Done(u64),
    /// A job of the batch breaks a rule.
    BadJob(usize),
    /// No such job.
    NoJob(Id),
    /// The job's state does not allow it.
    WrongState(Id, JobState),
    /// Whoever waited for the end of the job learns that it is gone.
    Gone(u64, Id),
    /// The worker should stop.
    CancelRun(Worker, Id, Token),
    /// The lease ended without the worker's doing.
    LeaseEnded(Worker, Id, Token),
}

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) worker: Worker,
    pub(crate) token: Token,
    pub(crate) cancel: bool,
    /// Held since before a restart, and not yet claimed again.
    innocent: bool,
}

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stand {
    Waiting,
    Running(Lease),
    /// With its place in the order of deaths.
    Dead(u64),
    /// Ended, and kept until then.
    Kept(JobState, u64),
    /// Ended, and remembered in memory.
    Remembered(JobState),
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) spec: Spec,
    pub(crate) run_at: u64,
    pub(crate) enqueued_at: u64,
    pub(crate) expires_at: Option<u64>,
    pub(crate) max_attempts: u32,
    pub(crate) attempts: u32,
    pub(crate) crashes: u32,
    /// Whether it has waited for a time, and its number among all arrivals.
    pub(crate) timed: bool,
    pub(crate) arrival: u64,
    pub(crate) ended_at: Option<u64>,
    pub(crate) stand: Stand,
}

/// Counters since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) enqueued: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) dead: u64,
}

/// The queue.
#[derive(Debug, Clone)]
pub(crate) struct Naive {
    /// Whether the real queue has tiny windows. The rules are the same.
    pub(crate) tiny: bool,
    pub(crate) wall: u64,
    pub(crate) mono: u64,
    pub(crate) epoch: u64,
    deliveries: u64,
    arrivals: u64,
    pub(crate) steps: u64,
    pub(crate) jobs: BTreeMap<Id, Job>,
    /// Finished jobs in order; `None` is one that was taken out of the middle.
    pub(crate) remembered: Vec<Option<Id>>,
    pub(crate) remembered_max: usize,
    pub(crate) paused: bool,
    deadlines: BTreeMap<Worker, u64>,
    /// Request and job.
    pub(crate) watchers: BTreeSet<(u64, Id)>,
    /// All tokens that a job ever had, oldest first.
    tokens: BTreeMap<Id, Vec<Token>>,
    pub(crate) totals: Totals,
    /// Leases as the last step presented them.
    pub(crate) presented: Vec<(Id, Token)>,
    /// What the last step has let the world see.
    pub(crate) answers: Vec<Answer>,
}

impl Naive {
    pub(crate) fn new(tiny: bool) -> Naive {
        Naive {
            tiny,
            wall: WALL_START_MS,
            mono: 0,
            epoch: 1,
            deliveries: 0,
            arrivals: 0,
            steps: 0,
            jobs: BTreeMap::new(),
            remembered: Vec::new(),
            remembered_max: REMEMBERED,
            paused: false,
            deadlines: BTreeMap::new(),
            watchers: BTreeSet::new(),
            tokens: BTreeMap::new(),
            totals: Totals::default(),
            presented: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Carries out one step, time included.
    pub(crate) fn step(&mut self, step: &Step) {
        self.steps += 1;
        self.answers.clear();
        self.presented.clear();
        self.carry_out(step);
        self.time_has_passed();
    }

    fn carry_out(&mut self, step: &Step) {
        match step {
            Step::Enqueue(batch) => self.enqueue(batch),
            Step::Fetch { worker, slots } => self.fetch(*worker, *slots),
            Step::Slow { worker, slots, id } => {
                self.fetch(*worker, *slots);
                self.delete(*id);
            }
            Step::Hasty { batch, worker, slots } => {
                self.fetch(*worker, *slots);
                self.enqueue(batch);
            }
            Step::Rushed(steps) => steps.iter().for_each(|step| {
                self.carry_out(step);
                self.time_has_passed();
            }),
            Step::LateFetch { worker, slots, ms } => {
                (self.wall, self.mono) = (self.wall + ms, self.mono + ms);
                self.time_has_passed();
                self.fetch(*worker, *slots);
            }
            Step::Report(reports) => self.report(reports),
            Step::Renew(worker) => self.set_deadline(*worker, LEASE_MS),
            Step::Away(worker) => self.set_deadline(*worker, GRACE_MS),
            Step::Lost(worker) => self.lost(*worker),
            Step::Resume { worker, keeps, stale } => self.resume(*worker, keeps, *stale),
            Step::Cancel(id) => self.cancel(*id),
            Step::Retry(id) => self.retry(*id),
            Step::Delete(id) => self.delete(*id),
            Step::RetryDead(count) => {
                let dead = self.dead(*count);
                dead.iter().for_each(|id| self.revive(*id));
                self.answers.push(Answer::Done(dead.len() as u64));
            }
            Step::DeleteDead(count) => {
                let dead = self.dead(*count);
                self.jobs.retain(|id, _| !dead.contains(id));
                self.answers.push(Answer::Done(dead.len() as u64));
            }
            Step::Watch(id) => self.watch(*id),
            Step::Unwatch(nth) => {
                if let Some(watcher) = self.watcher(*nth) {
                    self.watchers.remove(&watcher);
                }
            }
            Step::Pause(paused) => {
                self.paused = *paused;
                self.answers.push(Answer::Done(1));
            }
            Step::Remember(count) => {
                self.remembered_max = *count;
                self.trim();
                self.answers.push(Answer::Done(1));
            }
            Step::Pass { wall_ms, mono_ms } => {
                (self.wall, self.mono) = (self.wall + wall_ms, self.mono + mono_ms);
            }
            Step::Restart => self.restart(),
        }
    }

    /// A watcher by a number that may be too large.
    pub(crate) fn watcher(&self, nth: usize) -> Option<(u64, Id)> {
        self.watchers.iter().nth(nth % self.watchers.len().max(1)).copied()
    }

    /// The jobs that died first.
    pub(crate) fn dead(&self, count: usize) -> Vec<Id> {
        let order = |job: &Job| if let Stand::Dead(order) = job.stand { Some(order) } else { None };
        let mut dead: Vec<_> = self.jobs.iter().filter_map(|(id, job)| Some((order(job)?, *id))).collect();
        dead.sort_unstable();
        dead.into_iter().take(count).map(|(_, id)| id).collect()
    }

    /// Whether a job has become ready at this very moment.
    pub(crate) fn has_news(&self) -> bool {
        self.jobs.values().any(|job| job.stand == Stand::Waiting && job.run_at == self.wall)
    }

    /// Whether a timer comes due, a lease ends or a kept job is forgotten within this time.
    pub(crate) fn is_eventful_within(&self, ms: u64) -> bool {
        let soon = |at: u64| at > self.wall && at <= self.wall + ms;
        let event = |job: &Job| match job.stand {
            Stand::Waiting => soon(job.run_at),
            Stand::Kept(_, until) => soon(until),
            _ => false,
        };
        self.jobs.values().any(event) || self.deadlines.values().any(|at| *at <= self.mono + ms)
    }

    /// Waiting jobs that expire within this time.
    pub(crate) fn expiring_within(&self, ms: u64) -> usize {
        let soon = |job: &&Job| job.expires_at.is_some_and(|at| at <= self.wall + ms);
        self.jobs.values().filter(|job| job.stand == Stand::Waiting).filter(soon).count()
    }

    /// Jobs that have waited for a time and have not ended.
    pub(crate) fn timed(&self) -> usize {
        let open = |job: &&Job| matches!(job.stand, Stand::Waiting | Stand::Running(_));
        self.jobs.values().filter(open).filter(|job| job.timed).count()
    }

    /// Jobs that could be handed out, the next one first.
    pub(crate) fn available(&self) -> Vec<Id> {
        let ready = |job: &Job| job.stand == Stand::Waiting && job.run_at <= self.wall;
        let mut ready: Vec<_> = self.jobs.iter().filter(|(_, job)| ready(job)).collect();
        // A higher priority first, then whoever has been ready for longer.
        ready.sort_by_key(|(_, job)| (-i16::from(job.spec.priority), job.run_at, job.timed, job.arrival));
        ready.into_iter().map(|(id, _)| *id).collect()
    }

    /// The state of a job.
    pub(crate) fn state(&self, id: Id) -> Option<JobState> {
        let job = self.jobs.get(&id)?;
        Some(match &job.stand {
            Stand::Waiting if job.run_at <= self.wall => JobState::Ready,
            Stand::Waiting if job.attempts > 0 => JobState::Retrying,
            Stand::Waiting => JobState::Scheduled,
            Stand::Running(_) => JobState::Running,
            Stand::Dead(_) => JobState::Dead,
            Stand::Kept(state, _) | Stand::Remembered(state) => *state,
        })
    }

    pub(crate) fn arrival(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }

    fn enqueue(&mut self, batch: &Batch) {
        if let Some(bad) = batch.jobs.iter().position(|spec| spec.bad) {
            return self.answers.push(Answer::BadJob(bad));
        }
        let mut repeats = Vec::new();
        let mut scheduled = Vec::new();
        for spec in &batch.jobs {
            repeats.push(self.jobs.contains_key(&spec.id));
            if self.jobs.contains_key(&spec.id) {
                continue;
            }
            let run_at = match spec.start {
                Start::Now | Start::Past => self.wall,
                Start::After(ms) | Start::At(ms) => self.wall + ms,
            };
            let job = Job {
                run_at,
                enqueued_at: self.wall,
                expires_at: spec.expires_ms.map(|ms| self.wall + ms),
                max_attempts: spec.max_attempts,
                attempts: 0,
                crashes: 0,
                timed: run_at > self.wall,
                arrival: self.arrival(),
                ended_at: None,
                stand: Stand::Waiting,
                spec: spec.clone(),
            };
            if job.timed {
                scheduled.push((run_at, spec.id));
            }
            self.jobs.insert(spec.id, job);
            self.totals.enqueued += 1;
        }
        self.put_together(scheduled);
        self.answers.push(Answer::Enqueued(repeats));
    }

    fn fetch(&mut self, worker: Worker, slots: usize) {
        let mut delivered = Vec::new();
        let next = if self.paused { Vec::new() } else { self.available() };
        for id in next.into_iter().take(slots) {
            self.deliveries += 1;
            let token = Token { epoch: self.epoch, delivery: self.deliveries };
            self.tokens.entry(id).or_default().push(token);
            let deadline = self.deadlines.entry(worker).or_default();
            *deadline = (*deadline).max(self.mono + LEASE_MS);
            if let Some(job) = self.jobs.get_mut(&id) {
                job.stand = Stand::Running(Lease { worker, token, cancel: false, innocent: false });
                delivered.push((id, token, job.attempts + 1));
            }
        }
        if slots > 0 {
            self.answers.push(Answer::Delivered(worker, delivered));
        }
    }

    fn lease(&self, id: Id) -> Option<&Lease> {
        match &self.jobs.get(&id)?.stand {
            Stand::Running(lease) => Some(lease),
            _ => None,
        }
    }

    /// A token as a worker might present it.
    fn token(&self, id: Id, proof: Proof) -> Token {
        let known = self.tokens.get(&id).map(Vec::as_slice).unwrap_or_default();
        let latest = known.last().copied().unwrap_or(Token { epoch: self.epoch, delivery: 1 });
        match proof {
            Proof::Latest => latest,
            Proof::Earlier => known.iter().rev().nth(1).copied().unwrap_or(Token { epoch: 0, delivery: 1 }),
            Proof::OtherEpoch => Token { epoch: latest.epoch + 1, ..latest },
            Proof::Next => Token { delivery: latest.delivery + 1, ..latest },
        }
    }

    fn report(&mut self, reports: &[(Id, Proof, End)]) {
        self.presented = reports.iter().map(|(id, proof, _)| (*id, self.token(*id, *proof))).collect();
        let mut results = Vec::new();
        for ((id, token), (_, _, end)) in self.presented.clone().into_iter().zip(reports) {
            let lease = self.lease(id).filter(|lease| lease.token == token).cloned();
            results.push(lease.is_some());
            if let Some(lease) = lease {
                self.let_go(lease.worker, id);
                self.conclude(id, &lease, end);
            }
        }
        self.answers.push(Answer::Reported(results));
    }

    fn conclude(&mut self, id: Id, lease: &Lease, end: &End) {
        if lease.cancel && *end != End::Done {
            return self.end(id, JobState::Cancelled);
        }
        match end {
            End::Done => {
                self.totals.succeeded += 1;
                self.use_attempt(id);
                self.end(id, JobState::Succeeded);
            }
            End::Retry(wait) => {
                self.totals.failed += 1;
                let job = self.use_attempt(id);
                if job.attempts >= job.max_attempts {
                    self.bury(id);
                } else {
                    let wait = wait.unwrap_or(job.spec.backoff_ms);
                    self.wait_for(id, wait);
                }
            }
            End::Snooze(ms) => self.wait_for(id, *ms),
            End::Dead => {
                self.totals.failed += 1;
                self.use_attempt(id);
                self.bury(id);
            }
            End::Cancelled => self.end(id, JobState::Cancelled),
            End::Released => self.job(id).stand = Stand::Waiting,
        }
    }

    pub(crate) fn job(&mut self, id: Id) -> &mut Job {
        self.jobs.get_mut(&id).expect("the caller has seen the job")
    }

    fn use_attempt(&mut self, id: Id) -> &mut Job {
        let job = self.job(id);
        job.attempts += 1;
        job
    }

    fn wait_for(&mut self, id: Id, ms: u64) {
        let (run_at, arrival) = (self.wall + ms, self.arrival());
        let job = self.job(id);
        (job.run_at, job.timed, job.arrival, job.stand) = (run_at, true, arrival, Stand::Waiting);
    }

    fn bury(&mut self, id: Id) {
        self.totals.dead += 1;
        let (order, wall) = (self.arrival(), self.wall);
        let job = self.job(id);
        (job.stand, job.ended_at) = (Stand::Dead(order), Some(wall));
        self.tell_watchers(id, JobState::Dead);
    }

    /// The end of a job, but not among the dead.
    pub(crate) fn end(&mut self, id: Id, state: JobState) {
        let wall = self.wall;
        let job = self.job(id);
        job.ended_at = Some(wall);
        match job.spec.retention_ms {
            Some(ms) => job.stand = Stand::Kept(state, wall + ms),
            None => {
                job.stand = Stand::Remembered(state);
                self.remembered.push(Some(id));
            }
        }
        self.tell_watchers(id, state);
        self.trim();
    }

    fn trim(&mut self) {
        while self.remembered.len() > self.remembered_max {
            if let Some(id) = self.remembered.remove(0) {
                self.jobs.remove(&id);
            }
        }
    }

    fn tell_watchers(&mut self, id: Id, state: JobState) {
        for request in self.watchers_of(id) {
            self.answers.push(Answer::Job(request, id, state));
        }
    }

    /// Takes away who waits for the end of a job.
    pub(crate) fn watchers_of(&mut self, id: Id) -> Vec<u64> {
        let of = |(_, watched): &&(u64, Id)| *watched == id;
        let requests = self.watchers.iter().filter(of).map(|(request, _)| *request).collect();
        self.watchers.retain(|(_, watched)| *watched != id);
        requests
    }

    /// The worker does not hold the job any more.
    fn let_go(&mut self, worker: Worker, id: Id) {
        let others = self.held_by(worker).into_iter().filter(|other| *other != id).count();
        if others == 0 {
            self.deadlines.remove(&worker);
        }
        // Whoever let it go says what becomes of the job; until then it waits.
        self.job(id).stand = Stand::Waiting;
    }

    fn held_by(&self, worker: Worker) -> Vec<Id> {
        let mine = |id: &Id| self.lease(*id).is_some_and(|lease| lease.worker == worker);
        self.jobs.keys().copied().filter(mine).collect()
    }

    fn set_deadline(&mut self, worker: Worker, ms: u64) {
        let deadline = self.mono + ms;
        self.deadlines.entry(worker).and_modify(|at| *at = deadline);
    }

    fn lost(&mut self, worker: Worker) {
        for id in self.held_by(worker) {
            let Some(lease) = self.lease(id).cloned() else { continue };
            self.let_go(worker, id);
            self.answers.push(Answer::LeaseEnded(worker, id, lease.token));
            self.totals.failed += 1;
            let job = self.use_attempt(id);
            job.crashes += u32::from(!lease.innocent);
            let poison = job.crashes >= limits::CRASHES_MAX;
            if lease.cancel {
                self.end(id, JobState::Cancelled);
            } else if poison || job.attempts >= job.max_attempts {
                self.bury(id);
            }
        }
    }

    fn resume(&mut self, worker: Worker, keeps: &BTreeSet<Id>, stale: Option<Id>) {
        let held = self.held_by(worker);
        let kept: Vec<Id> = held.iter().copied().filter(|id| keeps.contains(id)).collect();
        let mut presented: Vec<_> = kept.iter().map(|id| (*id, self.token(*id, Proof::Latest))).collect();
        // A lease that it has no right to: an old one, or one of another worker.
        let wrong = stale.filter(|id| !kept.contains(id)).map(|id| {
            let mine = self.lease(id).is_some_and(|lease| lease.worker == worker);
            (id, self.token(id, if mine { Proof::Earlier } else { Proof::Latest }))
        });
        let mut answers = (presented.clone(), Vec::new());
        presented.extend(wrong);
        answers.1.extend(wrong);
        self.presented = presented;
        for id in &kept {
            if let Stand::Running(lease) = &mut self.job(*id).stand {
                lease.innocent = false;
                let lease = lease.clone();
                if lease.cancel {
                    self.answers.push(Answer::CancelRun(worker, *id, lease.token));
                }
            }
        }
        // What it does not run it never received: it waits again, unless somebody wanted its end.
        for id in held.into_iter().filter(|id| !kept.contains(id)) {
            let cancel = self.lease(id).is_some_and(|lease| lease.cancel);
            self.let_go(worker, id);
            if cancel {
                self.end(id, JobState::Cancelled);
            }
        }
        self.set_deadline(worker, LEASE_MS);
        self.answers.push(Answer::Resumed(answers.0, answers.1));
    }

    /// The process dies and starts again: the store is as it was, memory is gone.
    fn restart(&mut self) {
        self.epoch += 1;
        (self.mono, self.deliveries) = (0, 0);
        self.watchers.clear();
        for id in std::mem::take(&mut self.remembered).into_iter().flatten() {
            self.jobs.remove(&id);
        }
        for job in self.jobs.values_mut() {
            if let Stand::Running(lease) = &mut job.stand {
                lease.innocent = true;
            }
        }
        self.deadlines.values_mut().for_each(|at| *at = GRACE_MS);
        self.totals = Totals::default();
    }

    /// What follows from the time alone.
    fn time_has_passed(&mut self) {
        let overdue: Vec<Worker> =
            self.deadlines.iter().filter(|(_, at)| **at <= self.mono).map(|(worker, _)| *worker).collect();
        overdue.into_iter().for_each(|worker| self.lost(worker));
        let expired =
            |job: &Job| job.stand == Stand::Waiting && job.expires_at.is_some_and(|at| at <= self.wall);
        let mut expired: Vec<_> =
            self.jobs.iter().filter(|(_, job)| expired(job)).map(|(id, job)| (job.expires_at, *id)).collect();
        expired.sort_unstable();
        expired.into_iter().for_each(|(_, id)| self.end(id, JobState::Expired));
        self.jobs.retain(|_, job| !matches!(job.stand, Stand::Kept(_, until) if until <= self.wall));
    }
}
