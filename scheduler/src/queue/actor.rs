//! The actor of one queue: operations in, effects out. It decides nothing.
//!
//! Reads of the store happen on a blocking thread while the mailbox waits, so that operations keep their order. What may
//! leave only when durable is held until the writer says so; a failed commit stops the queue with the first reason kept.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{Actor, AsyncContext, Context, Handler, SpawnHandle, StreamHandler};
use windlass_core::api::{ApiError, Enqueued, ErrorCode, JobView};
use windlass_core::id::{JobId, RequestId};
use windlass_core::job::{Job, JobState};
use windlass_core::queue::{
    Command, Deadline, Effects, Known, LoadFrom, Lookup, Out, Queue, Refusal, Release, Reply, Ticket, Trace,
    read,
};
use windlass_core::store::{CommitError, ReadError};
use windlass_core::time::Now;
use windlass_core::wire::ReportResult;

use super::bulk::Bulk;
use super::op::{Op, Resumed, Then, WorkerEvent};
use super::outbox::Outbox;
use super::pipeline::{Pipeline, Trouble};
use super::share::Share;
use super::translate::Step;
use super::{Figures, MAILBOX_MESSAGES_MAX, Ops};
use crate::chance::Chance;
use crate::clock::Clock;
use crate::fault::{self, Point};

/// Wait before batches that the writer had no room for are offered again.
const BUSY_RETRY: Duration = Duration::from_millis(2);
/// Wait before batches that the disk had no room for are offered again.
const FULL_RETRY: Duration = Duration::from_millis(250);
/// Shortest wait for a deadline that is due but was not settled by the last tick.
const TICK_MIN: Duration = Duration::from_millis(1);

/// What a queue actor is made of.
pub(super) struct Parts {
    pub queue: Queue,
    /// The effects of creating or recovering the queue.
    pub first: Effects,
    pub pipeline: Pipeline,
    pub clock: Clock,
    pub chance: Chance,
    pub figures: Arc<Figures>,
    pub share: Share,
}

/// The way back of a request that the queue has taken on.
pub(super) enum Waiting {
    Enqueued(Then<Vec<Enqueued>>),
    Reported(Then<Vec<ReportResult>>),
    Resumed(Then<Resumed>),
    Job(Then<Option<Box<JobView>>>),
    Done(Then<u64>),
    Bulk(Box<Bulk>),
}

/// What may leave when a ticket is durable.
struct Held {
    ticket: Ticket,
    out: Out,
    /// The session that it is meant for, if it is for a worker that has one.
    session: Option<u64>,
}

/// What the store knows of the jobs of one operation.
#[derive(Default)]
pub(super) struct Found {
    pub ids: Vec<Trace>,
    pub job: Known,
}

pub(crate) struct QueueActor {
    pub(super) queue: Queue,
    first: Option<Effects>,
    pub(super) pipeline: Pipeline,
    pub(super) clock: Clock,
    chance: Chance,
    figures: Arc<Figures>,
    share: Share,
    pending: VecDeque<Op>,
    pub(super) waiting: HashMap<RequestId, Waiting>,
    held: VecDeque<Held>,
    durable: Ticket,
    pub(super) outbox: Outbox,
    timer: Option<(SpawnHandle, Deadline)>,
    pub(super) flushes: Vec<Then<()>>,
    retrying: bool,
    pub(super) stopped: Option<CommitError>,
}

/// The writer has answered something.
struct Answered;

impl Actor for QueueActor {
    type Context = Context<QueueActor>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_MESSAGES_MAX);
        let answers = futures_util::stream::unfold(self.pipeline.watch(), |mut watch| async {
            watch.changed().await.ok()?;
            Some((Answered, watch))
        });
        ctx.add_stream(answers);
        if let Some(first) = self.first.take() {
            self.carry_out(first, ctx);
        }
        self.settle(ctx);
    }
}

impl Handler<Ops> for QueueActor {
    type Result = ();

    fn handle(&mut self, ops: Ops, ctx: &mut Self::Context) {
        self.pending.extend(ops.0);
        self.proceed(ctx);
    }
}

impl StreamHandler<Answered> for QueueActor {
    fn handle(&mut self, _: Answered, ctx: &mut Self::Context) {
        let (durable, trouble) = self.pipeline.check();
        self.made_durable(durable, ctx);
        match trouble {
            None => {}
            Some(Trouble::Full(_)) if self.retrying => {}
            Some(Trouble::Full(error)) => {
                tracing::warn!(queue = %self.queue.name(), %error, "the store is full");
                self.resend_later(FULL_RETRY, ctx);
            }
            Some(Trouble::Failed(error)) => self.stop_writing(error),
        }
        self.settle(ctx);
    }
}

impl QueueActor {
    pub(super) fn new(parts: Parts) -> QueueActor {
        QueueActor {
            queue: parts.queue,
            first: Some(parts.first),
            pipeline: parts.pipeline,
            clock: parts.clock,
            chance: parts.chance,
            figures: parts.figures,
            share: parts.share,
            pending: VecDeque::new(),
            waiting: HashMap::new(),
            held: VecDeque::new(),
            durable: 0,
            outbox: Outbox::default(),
            timer: None,
            flushes: Vec::new(),
            retrying: false,
            stopped: None,
        }
    }

    /// Works through the operations of a message; one that needs the store makes the mailbox wait.
    fn proceed(&mut self, ctx: &mut Context<Self>) {
        while let Some(mut op) = self.pending.pop_front() {
            let now = self.clock.now();
            if let Op::Enqueue { jobs, .. } = &mut op {
                for job in jobs {
                    job.id.get_or_insert_with(|| JobId::v7(now.wall, self.chance.u128()));
                }
            }
            let (ids, job) = self.unknown(&op);
            if !ids.is_empty() || job.is_some() {
                self.look_up(op, ids, job, ctx);
                break;
            }
            self.operate(now, op, Found::default(), ctx);
        }
        self.settle(ctx);
    }

    /// Ids that only the store can say something about.
    fn unknown(&self, op: &Op) -> (Vec<Lookup>, Option<Lookup>) {
        match op {
            Op::Enqueue { jobs, .. } => (self.queue.suspects(jobs.iter().filter_map(|job| job.id)), None),
            Op::Job { id, .. } | Op::Knows { id, .. } | Op::Get { id, .. } | Op::Watch { id, .. } => {
                (Vec::new(), self.queue.may_store(id).then(|| self.queue.lookup(*id)))
            }
            _ => (Vec::new(), None),
        }
    }

    fn look_up(&mut self, op: Op, ids: Vec<Lookup>, job: Option<Lookup>, ctx: &mut Context<Self>) {
        let no = self.queue.no();
        let reading = self.pipeline.writer().read(move |store| {
            let ids = read::known(store, no, &ids)?;
            let job = job.map_or(Ok(None), |lookup| read::by_id(store, no, &lookup))?;
            Ok(Found { ids, job })
        });
        ctx.wait(wrap_future::<_, Self>(reading).map(|found, actor, ctx| {
            match found {
                Ok(found) => actor.operate(actor.clock.now(), op, found, ctx),
                Err(error) => op.refuse(unreadable(&error)),
            }
            actor.proceed(ctx);
        }));
    }

    fn operate(&mut self, now: Now, op: Op, found: Found, ctx: &mut Context<Self>) {
        let op = match self.answer_from_memory(now, op, &found) {
            Some(op) => op,
            None => return,
        };
        if let Some(reason) = &self.stopped {
            if let Op::Fetch { link, .. } = op {
                // An empty answer, so that the worker asks its other queues.
                let worker = link.worker;
                self.outbox.attach(link);
                self.outbox.put(worker, WorkerEvent::Deliver { jobs: Vec::new(), drained: true });
                return;
            }
            return op.refuse(store_failed(reason));
        }
        match self.translate(now, op, found) {
            Step::Request(request, waiting, command) => self.request(now, request, waiting, command, ctx),
            Step::Tell(command) => self.tell(now, command, ctx),
            Step::Bulk(bulk) => self.bulk_step(bulk, ctx),
            Step::Nothing => {}
        }
    }

    /// Applies a command that somebody waits for.
    pub(super) fn request(
        &mut self,
        now: Now,
        request: RequestId,
        waiting: Waiting,
        command: Command,
        ctx: &mut Context<Self>,
    ) {
        self.waiting.insert(request, waiting);
        match self.queue.apply(now, command) {
            Ok(effects) => self.carry_out(effects, ctx),
            Err(refusal) => self.refuse(request, refusal),
        }
    }

    fn refuse(&mut self, request: RequestId, refusal: Refusal) {
        if let Some(waiting) = self.waiting.remove(&request) {
            waiting.refuse(refusal.into());
        }
    }

    /// Applies a command that nobody waits for.
    fn tell(&mut self, now: Now, command: Command, ctx: &mut Context<Self>) {
        if self.stopped.is_some() {
            return;
        }
        match self.queue.apply(now, command) {
            Ok(effects) => self.carry_out(effects, ctx),
            Err(refusal) => {
                tracing::error!(queue = %self.queue.name(), error = %refusal, "queue found a fault in itself");
            }
        }
    }

    fn carry_out(&mut self, effects: Effects, ctx: &mut Context<Self>) {
        if let Some(ticket) = effects.ticket {
            self.pipeline.push(ticket, effects.writes, effects.settles);
        }
        for (release, out) in effects.outs {
            match release {
                Release::Durable(ticket) if ticket > self.durable => {
                    let session = out.worker().and_then(|worker| self.outbox.session_of(&worker));
                    self.held.push_back(Held { ticket, out, session });
                }
                _ => self.release(out, ctx),
            }
        }
    }

    /// What a worker was to be told is void for a later session of it, and a job whose lease has ended meanwhile stays here.
    fn release_held(&mut self, held: Held, ctx: &mut Context<Self>) {
        let Held { mut out, session, .. } = held;
        if out.worker().is_some_and(|worker| self.outbox.session_of(&worker) != session) {
            return;
        }
        if let Out::Deliver { jobs, .. } = &mut out {
            jobs.retain(|(job, token, _)| self.queue.is_leased(&job.id, *token));
        }
        self.release(out, ctx);
    }

    fn release(&mut self, out: Out, ctx: &mut Context<Self>) {
        match out {
            Out::Reply(request, reply) => self.reply(request, reply, ctx),
            Out::Deliver { worker, jobs, drained } => {
                self.outbox.put(worker, WorkerEvent::Deliver { jobs, drained });
            }
            Out::Notice { worker } => self.outbox.put(worker, WorkerEvent::Notice),
            Out::CancelRun { worker, id, token } => {
                self.outbox.put(worker, WorkerEvent::CancelRun { id, token });
            }
            Out::LeaseEnded { worker, id, token } => {
                self.outbox.put(worker, WorkerEvent::LeaseEnded { id, token });
            }
            Out::Load(from) => self.load(from, ctx),
            Out::Fault(error) => {
                tracing::error!(queue = %self.queue.name(), %error, "queue found a fault in itself");
            }
        }
    }

    fn reply(&mut self, request: RequestId, reply: Reply, ctx: &mut Context<Self>) {
        let Some(waiting) = self.waiting.remove(&request) else { return };
        match (waiting, reply) {
            (Waiting::Enqueued(then), Reply::Enqueued(answers)) => then(Ok(answers)),
            (Waiting::Reported(then), Reply::Reported(results)) => then(Ok(results)),
            (Waiting::Resumed(then), Reply::Resumed { kept, lost }) => then(Ok(Resumed { kept, lost })),
            (Waiting::Job(then), Reply::Job(job, state)) => then(Ok(Some(Box::new(self.view(&job, state))))),
            (Waiting::Job(then), Reply::Done(_)) => then(Ok(None)),
            (Waiting::Done(then), Reply::Done(count)) => then(Ok(count)),
            (Waiting::Bulk(bulk), Reply::Done(count)) => self.bulk_page_done(bulk, count, ctx),
            (waiting, Reply::Refused(refusal)) => waiting.refuse(refusal.into()),
            (waiting, _) => {
                waiting
                    .refuse(ApiError::new(ErrorCode::Internal, "the queue gave an answer of the wrong kind"));
            }
        }
    }

    /// The job in this state, with what is known of its run when it still runs.
    fn view(&self, job: &Job, state: JobState) -> JobView {
        match self.queue.view(&job.id) {
            Some(view) if view.state == state => view,
            _ => self.queue.show(job, state),
        }
    }

    fn load(&mut self, from: LoadFrom, ctx: &mut Context<Self>) {
        let no = self.queue.no();
        let reading = self.pipeline.writer().read(move |store| read::load(store, no, from));
        ctx.spawn(wrap_future::<_, Self>(reading).map(move |found, actor, ctx| {
            match found {
                Ok(found) => {
                    let (found, exhausted) = (found.stored, found.exhausted);
                    actor.tell(actor.clock.now(), Command::Loaded { from, found, exhausted }, ctx);
                }
                // Without its backlog the queue would run jobs out of order; better none.
                Err(error) => actor.stop_writing(CommitError::Failed(error.to_string())),
            }
            actor.settle(ctx);
        }));
    }

    fn made_durable(&mut self, durable: Ticket, ctx: &mut Context<Self>) {
        if durable <= self.durable || self.stopped.is_some() {
            return;
        }
        fault::pass(Point::QueueBeforeRelease);
        self.durable = durable;
        while self.held.front().is_some_and(|held| held.ticket <= durable) {
            if let Some(held) = self.held.pop_front() {
                self.release_held(held, ctx);
            }
        }
        self.tell(self.clock.now(), Command::Durable(durable), ctx);
        if self.pipeline.is_idle() {
            self.flushes.drain(..).for_each(|then| then(Ok(())));
        }
    }

    /// What every message ends with: batches, messages and figures go out, the timer is set.
    pub(super) fn settle(&mut self, ctx: &mut Context<Self>) {
        if self.stopped.is_none() {
            match self.pipeline.flush() {
                Ok(true) => {}
                Ok(false) => self.resend_later(BUSY_RETRY, ctx),
                Err(error) => self.stop_writing(error),
            }
        }
        self.outbox.send(self.queue.name());
        self.share.balance(&mut self.queue);
        self.set_timer(ctx);
        self.publish();
    }

    fn resend_later(&mut self, after: Duration, ctx: &mut Context<Self>) {
        if self.retrying {
            return;
        }
        self.retrying = true;
        ctx.run_later(after, move |actor, ctx| {
            actor.retrying = false;
            match actor.pipeline.resend() {
                Ok(true) => {}
                Ok(false) => actor.resend_later(after, ctx),
                Err(error) => actor.stop_writing(error),
            }
            actor.settle(ctx);
        });
    }

    /// Fail-stop: what was promised to nobody yet is refused, with the first reason; reads go on.
    fn stop_writing(&mut self, error: CommitError) {
        if self.stopped.is_some() {
            return;
        }
        tracing::error!(queue = %self.queue.name(), %error, "queue stopped writing");
        self.held.clear();
        for (_, waiting) in self.waiting.drain() {
            waiting.refuse(store_failed(&error));
        }
        self.flushes.drain(..).for_each(|then| then(Err(store_failed(&error))));
        self.stopped = Some(error);
    }

    fn set_timer(&mut self, ctx: &mut Context<Self>) {
        let next = if self.stopped.is_some() { Deadline::default() } else { self.queue.next_deadline() };
        if let Some((handle, armed)) = self.timer {
            // One that rings too early costs a tick; most messages move the deadline back, few forward.
            if is_no_later(armed, next) {
                return;
            }
            ctx.cancel_future(handle);
            self.timer = None;
        }
        if next == Deadline::default() {
            return;
        }
        let now = self.clock.now();
        let due = next.wall.is_some_and(|at| at <= now.wall) || next.mono.is_some_and(|at| at <= now.mono);
        let clock = self.clock.clone();
        let sleep = async move {
            if due {
                tokio::time::sleep(TICK_MIN).await;
            }
            clock.sleep_until(next.wall, next.mono).await;
        };
        let handle = ctx.spawn(wrap_future::<_, Self>(sleep).map(|(), actor, ctx| {
            actor.timer = None;
            actor.tell(actor.clock.now(), Command::Tick, ctx);
            actor.settle(ctx);
        }));
        self.timer = Some((handle, next));
    }

    fn publish(&self) {
        let totals = self.queue.totals();
        let figures = &self.figures;
        figures.enqueued.store(totals.enqueued, Ordering::Relaxed);
        figures.succeeded.store(totals.succeeded, Ordering::Relaxed);
        figures.failed.store(totals.failed, Ordering::Relaxed);
        figures.dead.store(totals.dead, Ordering::Relaxed);
        figures.ready.store(self.queue.ready_count(), Ordering::Relaxed);
        figures.stopped.store(self.stopped.is_some(), Ordering::Relaxed);
    }
}

impl Waiting {
    fn refuse(self, error: ApiError) {
        match self {
            Waiting::Enqueued(then) => then(Err(error)),
            Waiting::Reported(then) => then(Err(error)),
            Waiting::Resumed(then) => then(Err(error)),
            Waiting::Job(then) => then(Err(error)),
            Waiting::Done(then) => then(Err(error)),
            Waiting::Bulk(bulk) => bulk.refuse(error),
        }
    }
}

/// Whether a timer set for `armed` rings in time for `next`.
fn is_no_later(armed: Deadline, next: Deadline) -> bool {
    let wall = next.wall.is_none_or(|at| armed.wall.is_some_and(|armed| armed <= at));
    let mono = next.mono.is_none_or(|at| armed.mono.is_some_and(|armed| armed <= at));
    wall && mono
}

pub(super) fn store_failed(reason: &CommitError) -> ApiError {
    let text = format!("{reason}; nothing more is written until the server is started again");
    ApiError::new(ErrorCode::StoreFailed, text)
}

pub(super) fn unreadable(error: &ReadError) -> ApiError {
    ApiError::new(ErrorCode::StoreFailed, error.to_string())
}

#[cfg(test)]
#[path = "actor_test.rs"]
mod tests;
