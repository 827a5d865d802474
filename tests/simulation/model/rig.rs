//! The real queue with a store that commits at once, driven by the same steps as the naive one.

use std::collections::{BTreeSet, VecDeque};

use windlass_core::id::{JobId, QueueName, RequestId, WorkerId};
use windlass_core::job::{JobSpec, Payload, RunAt};
use windlass_core::queue::{
    ChunkShape, Command, Dispatch, Effects, Known, LoadFrom, NewJobs, Out, Queue, QueueRecord, Refusal,
    Release, Reply, Stored, Tuning, Window, invariants, read,
};
use windlass_core::retry::Backoff;
use windlass_core::store::keys::{self, region};
use windlass_core::store::memory::MemoryStore;
use windlass_core::store::{Batch, Store};
use windlass_core::time::{Mono, Now, Timestamp};
use windlass_core::wire::{ReportResult, Token, Verdict};

use crate::naive::{Answer, CROWD, GRACE_MS, Id, LEASE_MS, Naive, TOGETHER, WAIT_MS, Worker};
use crate::steps::{self, End, Spec, Start, Step};

/// Number of the queue in keys.
pub(crate) const NO: u32 = 7;
/// Jobs with a smaller number have ids that carry no time.
const ELSEWHERE: Id = 30;
/// Rounds that a single fetch may need: each loads what comes next.
const ROUNDS_MAX: usize = 100;

/// The queue and all around it.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) queue: Queue,
    pub(crate) store: MemoryStore,
    pub(crate) now: Now,
    window: Window,
    loads: VecDeque<LoadFrom>,
    /// Workers that wait for a notice, and workers that have got one and have not asked since.
    pub(crate) waiting: BTreeSet<Worker>,
    pub(crate) told: BTreeSet<Worker>,
    /// What the step under way has let the world see.
    pub(crate) answers: Vec<Answer>,
    delivered: Vec<(Id, Token, u32)>,
    drained: bool,
    /// While nothing becomes durable, what waits for it.
    hasty: bool,
    held: Vec<Effects>,
}

fn tuning(epoch: u64, window: Window) -> Tuning {
    // Most batches of the model have more than one job, and some have more than three.
    let chunk = ChunkShape { jobs_min: TOGETHER, jobs_max: 3, wait_ms: WAIT_MS, crowd_min: CROWD };
    Tuning {
        epoch,
        seed: 11,
        lease_ms: LEASE_MS,
        resume_grace_ms: GRACE_MS,
        window,
        chunk,
        dispatch: Dispatch::Fast,
    }
}

pub(crate) fn job_id(id: Id) -> JobId {
    // All but some carry a time soon after the model begins: fit to be found by it in the beginning, unfit later. Two that follow each
    // other are made together, and the next but one at the edge of it, so that of the chunks some sift and some do not. The order of ids is
    // that of the numbers.
    match id {
        0..ELSEWHERE => JobId(u128::from(id).to_be_bytes()),
        _ => JobId::v7(Timestamp(crate::naive::WALL_START_MS + u64::from(id) * 4), u128::from(id)),
    }
}

fn worker_id(worker: Worker) -> WorkerId {
    WorkerId([worker; 16])
}

impl Rig {
    pub(crate) fn new(model: &Naive) -> Rig {
        let window = match model.tiny {
            true => Window { jobs: 8, load: 4, ..Window::default() },
            false => Window::default(),
        };
        let now = Now { wall: Timestamp(model.wall), mono: Mono(model.mono) };
        let (queue, effects) = Queue::create(QueueName::default(), NO, tuning(1, window), now);
        let mut rig = Rig {
            queue,
            store: MemoryStore::new(),
            now,
            window,
            loads: VecDeque::new(),
            waiting: BTreeSet::new(),
            told: BTreeSet::new(),
            answers: Vec::new(),
            delivered: Vec::new(),
            drained: false,
            hasty: false,
            held: Vec::new(),
        };
        rig.take(effects);
        rig
    }

    /// Carries out a step that the model has carried out already.
    pub(crate) fn step(&mut self, step: &Step, model: &Naive) {
        self.answers.clear();
        let reply = RequestId(model.steps);
        match step {
            Step::Slow { worker, slots, id } => self.fetch_slowly(*worker, *slots, *id, reply),
            Step::Hasty { batch, worker, slots } => self.hastily(|rig| {
                rig.enqueue(batch, reply);
                rig.fetch(*worker, *slots);
            }),
            Step::Rushed(steps) => self.hastily(|rig| {
                for step in steps {
                    match step {
                        Step::Enqueue(batch) => rig.enqueue(batch, reply),
                        order => rig.order(order, reply),
                    }
                }
            }),
            Step::Enqueue(batch) => self.enqueue(batch, reply),
            Step::Fetch { worker, slots } => self.fetch(*worker, *slots),
            Step::LateFetch { worker, slots, .. } => {
                self.now = Now { wall: Timestamp(model.wall), mono: Mono(model.mono) };
                self.fetch(*worker, *slots);
            }
            Step::Report(reports) => {
                let verdicts = reports.iter().map(|(_, _, end)| verdict(end));
                let presented = model.presented.iter();
                let outcomes =
                    presented.zip(verdicts).map(|((id, token), v)| (job_id(*id), *token, v)).collect();
                self.apply(Command::Report { reply, outcomes });
            }
            Step::Renew(worker) => self.apply(Command::Renew { worker: worker_id(*worker) }),
            Step::Away(worker) => self.leaves(*worker, Command::Away { worker: worker_id(*worker) }),
            Step::Lost(worker) => {
                self.leaves(
                    *worker,
                    Command::Lost { worker: worker_id(*worker), why: "unplugged".to_owned() },
                );
            }
            Step::Resume { worker, .. } => {
                let leases = model.presented.iter().map(|(id, token)| (job_id(*id), *token)).collect();
                self.apply(Command::Resume { worker: worker_id(*worker), leases, reply });
            }
            // The model has forgotten who it was, so the order is to be given with its eyes; see `suite`.
            Step::Unwatch(_) => {}
            Step::Pass { .. } => {
                self.now = Now { wall: Timestamp(model.wall), mono: Mono(model.mono) };
                self.apply(Command::Tick);
            }
            Step::Restart => self.restart(model),
            order => self.order(order, reply),
        }
    }

    /// Carries out more than one command before the first is durable.
    fn hastily(&mut self, commands: impl FnOnce(&mut Rig)) {
        self.hasty = true;
        commands(self);
        self.hasty = false;
        std::mem::take(&mut self.held).into_iter().for_each(|effects| self.take(effects));
        self.load();
    }

    /// What a person orders.
    fn order(&mut self, step: &Step, reply: RequestId) {
        match step {
            Step::Cancel(id) => {
                let (id, known) = self.known(*id);
                self.apply(Command::Cancel { reply, id, known });
            }
            Step::Retry(id) => {
                let (id, known) = self.known(*id);
                self.apply(Command::Retry { reply, id, known });
            }
            Step::Delete(id) => {
                let (id, known) = self.known(*id);
                self.apply(Command::Delete { reply, id, known });
            }
            Step::Watch(id) => {
                let (id, known) = self.known(*id);
                self.apply(Command::Watch { reply, id, known });
            }
            Step::RetryDead(count) => {
                let dead = self.region(region::DEAD, *count).0;
                self.apply(Command::RetryDead { reply, dead });
            }
            Step::DeleteDead(count) => {
                let dead = self.region(region::DEAD, *count).0;
                self.apply(Command::DeleteDead { reply, dead });
            }
            Step::Pause(paused) => self.apply(Command::SetPaused { reply, paused: *paused }),
            Step::Remember(count) => {
                let finished_max = u32::try_from(*count).expect("the steps remember few");
                self.apply(Command::SetRetention { reply, finished_max });
            }
            _ => unreachable!("the other steps are nobody's order"),
        }
    }

    pub(crate) fn unwatch(&mut self, (request, id): (u64, Id)) {
        self.apply(Command::Unwatch { reply: RequestId(request), id: job_id(id) });
    }

    fn leaves(&mut self, worker: Worker, command: Command) {
        self.waiting.remove(&worker);
        self.told.remove(&worker);
        self.apply(command);
    }

    fn enqueue(&mut self, batch: &steps::Batch, reply: RequestId) {
        let jobs: Vec<JobSpec> = batch.jobs.iter().map(|spec| self.spec(spec)).collect();
        let suspects = self.queue.suspects(jobs.iter().filter_map(|job| job.id));
        let known = read::known(&self.store, NO, &suspects).expect("the memory store can be read");
        let new = NewJobs { jobs, known, alongside: Vec::new() };
        self.apply(Command::Enqueue { reply, new });
    }

    /// A worker asks until it has what it wants or is told to wait. What must be read from the store first comes with a notice.
    fn fetch(&mut self, worker: Worker, slots: usize) {
        self.delivered.clear();
        for _ in 0..ROUNDS_MAX {
            self.waiting.remove(&worker);
            self.told.remove(&worker);
            let left = u32::try_from(slots - self.delivered.len().min(slots)).expect("few slots");
            self.drained = false;
            self.apply(Command::Fetch { worker: worker_id(worker), slots: left });
            if left == 0 || !self.told.contains(&worker) {
                break;
            }
        }
        if slots > 0 {
            self.answers.push(Answer::Delivered(worker, std::mem::take(&mut self.delivered)));
        }
    }

    /// The first answer of a fetch, then the deletion, and only then what a scan of before has found.
    fn fetch_slowly(&mut self, worker: Worker, slots: usize, id: Id, reply: RequestId) {
        self.waiting.remove(&worker);
        self.told.remove(&worker);
        self.delivered.clear();
        let wanted = u32::try_from(slots).expect("few slots");
        self.apply_one(Command::Fetch { worker: worker_id(worker), slots: wanted });
        let first = std::mem::take(&mut self.delivered);
        let scans: Vec<_> = self.loads.drain(..).collect();
        let scans: Vec<_> = scans.into_iter().map(|from| (from, self.scan(from))).collect();
        let (id, known) = self.known(id);
        self.apply_one(Command::Delete { reply, id, known });
        for (from, (found, exhausted)) in scans {
            self.apply_one(Command::Loaded { from, found, exhausted });
        }
        self.load();
        let left = slots - first.len().min(slots);
        if left > 0 && self.told.contains(&worker) {
            self.fetch(worker, left);
        } else {
            self.answers.push(Answer::Delivered(worker, Vec::new()));
        }
        if let Some(Answer::Delivered(_, jobs)) = self.answers.last_mut() {
            jobs.splice(0..0, first);
        }
    }

    fn apply(&mut self, command: Command) {
        self.apply_one(command);
        self.load();
    }

    fn load(&mut self) {
        while let Some(from) = self.loads.pop_front() {
            let (found, exhausted) = self.scan(from);
            self.apply_one(Command::Loaded { from, found, exhausted });
        }
    }

    fn apply_one(&mut self, command: Command) {
        match self.queue.apply(self.now, command) {
            Ok(effects) => self.take(effects),
            Err(refusal) => self.answers.push(refused(&refusal)),
        }
        invariants::check(&self.queue).expect("the queue agrees with itself");
    }

    /// Commits at once, and lets go what waited for it.
    fn take(&mut self, effects: Effects) {
        assert_eq!(effects.ticket.is_some(), !effects.writes.is_empty(), "a ticket is for writes");
        let mut effects = effects;
        if self.hasty {
            let outs = std::mem::take(&mut effects.outs).into_iter();
            let (now, later) = outs.partition(|(when, _)| *when == Release::Now);
            effects.outs = later;
            self.held.push(effects);
            let now: Vec<(Release, Out)> = now;
            return now.into_iter().for_each(|(_, out)| self.release(out));
        }
        let (now, later): (Vec<_>, Vec<_>) =
            effects.outs.into_iter().partition(|(when, _)| *when == Release::Now);
        now.into_iter().for_each(|(_, out)| self.release(out));
        if let Some(ticket) = effects.ticket {
            let batch = Batch { writes: effects.writes, settles: effects.settles, ..Batch::default() };
            assert!(self.store.commit(vec![batch]).iter().all(Result::is_ok), "the memory store takes all");
            self.apply_one(Command::Durable(ticket));
        }
        for (when, out) in later {
            assert!(
                when <= Release::Durable(self.queue.tickets().1),
                "an answer waits for what was not written"
            );
            self.release(out);
        }
    }

    fn release(&mut self, out: Out) {
        match out {
            Out::Reply(request, reply) => self.answered(request, reply),
            Out::Deliver { worker, jobs, drained } => {
                let jobs = jobs.into_iter().map(|(job, token, attempt)| (number(&job.id), token, attempt));
                self.delivered.extend(jobs);
                self.drained = drained;
                if drained {
                    self.waiting.insert(worker.0[0]);
                }
            }
            Out::Notice { worker } => {
                assert!(self.waiting.remove(&worker.0[0]), "a notice for a worker that does not wait");
                self.told.insert(worker.0[0]);
            }
            Out::CancelRun { worker, id, token } => {
                self.answers.push(Answer::CancelRun(worker.0[0], number(&id), token));
            }
            Out::LeaseEnded { worker, id, token } => {
                self.answers.push(Answer::LeaseEnded(worker.0[0], number(&id), token));
            }
            Out::Load(from) => self.loads.push_back(from),
            Out::Fault(text) => panic!("fault: {text}"),
        }
    }

    fn answered(&mut self, RequestId(request): RequestId, reply: Reply) {
        let leases =
            |leases: Vec<(JobId, Token)>| leases.iter().map(|(id, token)| (number(id), *token)).collect();
        self.answers.push(match reply {
            Reply::Enqueued(jobs) => Answer::Enqueued(jobs.iter().map(|job| job.duplicate).collect()),
            Reply::Reported(all) => {
                Answer::Reported(all.iter().map(|r| *r == ReportResult::Recorded).collect())
            }
            Reply::Resumed { kept, lost } => Answer::Resumed(leases(kept), leases(lost)),
            Reply::Job(job, state) => Answer::Job(request, number(&job.id), state),
            Reply::Done(count) => Answer::Done(count),
            Reply::Refused(Refusal::NoJob(id)) => Answer::Gone(request, number(&id)),
            Reply::Refused(other) => panic!("an answer that nobody expects: {other}"),
        });
    }

    fn scan(&self, from: LoadFrom) -> (Vec<Stored>, bool) {
        // Of the kept ones it is shown more than it asks for, so that it knows to the millisecond when the next runs out.
        if let LoadFrom::Kept { limit, .. } = from {
            return self.region(region::KEPT, limit);
        }
        let found = read::load(&self.store, NO, from).expect("the memory store can be read");
        (found.stored, found.exhausted)
    }

    /// The first records of a region, and whether these are all.
    pub(crate) fn region(&self, region: u8, limit: usize) -> (Vec<Stored>, bool) {
        let (low, high) = keys::queue_range(region, NO);
        let found = read::scan(&self.store, &low, &high, limit).expect("the memory store can be read");
        (found.stored, found.exhausted)
    }

    /// The record of a job, looked up by its id.
    pub(crate) fn stored(&self, id: &JobId) -> Known {
        read::by_id(&self.store, NO, &self.queue.lookup(*id)).expect("the memory store can be read")
    }

    /// What the outside hands over with an order about a job.
    fn known(&self, id: Id) -> (JobId, Known) {
        let id = job_id(id);
        let known = if self.queue.may_store(&id) { self.stored(&id) } else { None };
        (id, known)
    }

    fn restart(&mut self, model: &Naive) {
        let record =
            self.store.get(&keys::queue_key(&QueueName::default())).expect("the memory store can be read");
        let record =
            QueueRecord::from_bytes(&record.expect("a queue writes itself down")).expect("a whole record");
        self.now = Now { wall: Timestamp(model.wall), mono: Mono(model.mono) };
        self.loads.clear();
        self.waiting.clear();
        self.told.clear();
        let tuning = tuning(model.epoch, self.window);
        let begun = read::recover(&self.store, QueueName::default(), record, tuning, self.now);
        let (queue, effects) = begun.expect("records that were just written");
        self.queue = queue;
        self.take(effects);
        self.apply(Command::Tick);
    }

    fn spec(&self, spec: &Spec) -> JobSpec {
        let mut job = JobSpec::new(if spec.bad { "" } else { "work" }, Payload::json("1"));
        job.id = Some(job_id(spec.id));
        job.priority = spec.priority;
        job.run_at = match spec.start {
            Start::Now => RunAt::Now,
            Start::Past => RunAt::At(Timestamp(self.now.wall.0 - 1)),
            Start::After(ms) => RunAt::AfterMs(ms),
            Start::At(ms) => RunAt::At(self.now.wall.plus_ms(ms)),
        };
        let options = job.options_mut();
        options.max_attempts = Some(spec.max_attempts);
        options.backoff = Some(Backoff::Fixed { delay_ms: spec.backoff_ms, jitter_percent: 0 });
        options.retention_ms = spec.retention_ms;
        options.expires_at = spec.expires_ms.map(|ms| self.now.wall.plus_ms(ms));
        job
    }
}

fn verdict(end: &End) -> Verdict {
    match end {
        End::Done => Verdict::Done(Some(Payload::json("2"))),
        End::Retry(retry_in_ms) => Verdict::Retry { error: "no".to_owned(), retry_in_ms: *retry_in_ms },
        End::Snooze(ms) => Verdict::Snooze { ms: *ms },
        End::Dead => Verdict::Dead { error: "never".to_owned() },
        End::Cancelled => Verdict::Cancelled { reason: "not needed".to_owned() },
        End::Released => Verdict::Released,
    }
}

fn refused(refusal: &Refusal) -> Answer {
    match refusal {
        Refusal::BadJob { index, .. } => Answer::BadJob(*index),
        Refusal::NoJob(id) => Answer::NoJob(number(id)),
        Refusal::WrongState { id, state, .. } => Answer::WrongState(number(id), *state),
        Refusal::TooManyWatchers(_) => panic!("few watch"),
    }
}

/// The number of a job.
pub(crate) fn number(id: &JobId) -> Id {
    id.0[15]
}

/// What the lookup by id shows of a job, in memory or at rest.
pub(crate) fn look(rig: &Rig, id: Id) -> Option<windlass_core::api::JobView> {
    let id = job_id(id);
    if let Some(view) = rig.queue.view(&id) {
        return Some(view);
    }
    let stored = rig.stored(&id)?;
    assert!(rig.queue.may_store(&id), "the queue denies that the store may know {id}");
    rig.queue.view_of(&stored)
}
