//! The actor of one worker that comes by requests: its fetches, one after the other, and the leases it has to name.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler};
use tokio::sync::oneshot;
use windlass_core::api::{ApiError, Fetched, Standing};
use windlass_core::id::{JobId, QueueName, WorkerId};
use windlass_core::job::Job;
use windlass_core::limits;
use windlass_core::time::Mono;
use windlass_core::wire::{Delivery, LeaseRef, Token, Verdict};

use super::leases::{Leases, Overdue};
use super::{PollParts, Workers, lock};
use crate::queue::{FromQueue, NotTaken, Op, QueueHandle, WorkerEvent, WorkerLink, busy, stopping};
use crate::session::fetch::Fetcher;
use crate::session::link::{Link, Subscribed};
use crate::session::worker::delivery;

/// How often leases are looked through.
const TICK: Duration = Duration::from_millis(250);
/// Wait before a queue is asked again that was too busy.
const PAUSE: Duration = Duration::from_millis(5);
/// Bytes of jobs in one answer, unless a single job is larger; what is over goes back unused.
const ANSWER_BYTES_MAX: usize = limits::FRAME_BYTES_MAX;
/// Messages that wait for one worker.
const MAILBOX_MESSAGES_MAX: usize = 1_024;

/// A fetch, with its way back.
pub(super) struct Poll {
    pub(super) queues: Vec<(QueueHandle, u32)>,
    pub(super) strict: bool,
    pub(super) count: u32,
    pub(super) wait_ms: u64,
    pub(super) lease_ms: u64,
    pub(super) reply: oneshot::Sender<Result<Fetched, ApiError>>,
}

impl actix::Message for Poll {
    type Result = ();
}

/// The worker spoke of these leases.
pub(super) struct Named(pub(super) Vec<LeaseRef>);

impl actix::Message for Named {
    /// How each stands, as far as it is known here, and how long they are good now.
    type Result = (Vec<Option<Standing>>, u64);
}

/// A lease of an earlier life of the server, found good.
pub(super) struct Adopt {
    pub(super) lease: LeaseRef,
    pub(super) handle: QueueHandle,
    pub(super) cancel: bool,
}

impl actix::Message for Adopt {
    type Result = ();
}

/// A report was taken, or its lease was gone.
pub(super) struct Settled(pub(super) LeaseRef);

impl actix::Message for Settled {
    type Result = ();
}

/// The worker goes for good.
pub(super) struct Depart;

impl actix::Message for Depart {
    type Result = ();
}

/// A fetch under way.
struct Waiting {
    serial: u64,
    poll: Poll,
    jobs: Vec<Delivery>,
    bytes: usize,
    /// Its time is over: it ends as soon as no queue is left to be asked.
    over: bool,
}

pub(super) struct PollActor {
    parts: PollParts,
    link: Arc<Link>,
    id: WorkerId,
    workers: Workers,
    queues: BTreeMap<QueueName, QueueHandle>,
    fetcher: Fetcher,
    subscribed: Subscribed,
    /// The first has begun when `began`; the others wait for it.
    fetches: VecDeque<Waiting>,
    began: bool,
    /// The queue whose answer is awaited.
    asked: Option<QueueName>,
    leases: Leases,
    lease_ms: u64,
    /// When it last said something.
    heard_at: Mono,
    serial: u64,
    pausing: bool,
}

impl Actor for PollActor {
    type Context = Context<PollActor>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_MESSAGES_MAX);
        ctx.run_interval(TICK, PollActor::tick);
        let broken = self.link.broken.clone();
        let lost = wrap_future::<_, Self>(async move { broken.cancelled().await });
        ctx.spawn(lost.map(|(), _, ctx| ctx.stop()));
        let draining = self.parts.draining.clone();
        let drained = wrap_future::<_, Self>(async move { draining.cancelled().await });
        ctx.spawn(drained.map(|(), actor, _| actor.refuse_all()));
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        let mut workers = lock(&self.workers);
        if workers.get(&self.id).is_some_and(|(session, _)| *session == self.link.session) {
            workers.remove(&self.id);
        }
        drop(workers);
        // While the node stops there may be no hub any more, and nobody is to be missed.
        if !self.parts.draining.is_cancelled() {
            self.parts.hub.leave(self.id, self.link.session, false);
        }
    }
}

impl Handler<Poll> for PollActor {
    type Result = ();

    fn handle(&mut self, poll: Poll, ctx: &mut Self::Context) {
        self.heard();
        if self.parts.draining.is_cancelled() || self.fetches.len() >= limits::FETCHES_WAITING_MAX {
            let error = if self.parts.draining.is_cancelled() { stopping() } else { busy() };
            // A caller that has gone wants no answer.
            let _ = poll.reply.send(Err(error));
            return;
        }
        self.serial += 1;
        let serial = self.serial;
        ctx.run_later(Duration::from_millis(poll.wait_ms), move |actor, ctx| {
            if let Some(waiting) = actor.fetches.iter_mut().find(|waiting| waiting.serial == serial) {
                waiting.over = true;
            }
            actor.proceed(ctx);
        });
        self.fetches.push_back(Waiting { serial, poll, jobs: Vec::new(), bytes: 0, over: false });
        self.proceed(ctx);
    }
}

impl Handler<FromQueue> for PollActor {
    type Result = ();

    fn handle(&mut self, told: FromQueue, ctx: &mut Self::Context) {
        let queue = told.queue;
        let lease = |id, token| LeaseRef { queue: queue.clone(), id, token };
        for event in told.events {
            match event {
                WorkerEvent::Deliver { jobs, drained } => self.deliver(&queue, jobs, drained),
                WorkerEvent::Notice => self.fetcher.notice(&queue),
                WorkerEvent::CancelRun { id, token } => self.leases.cancel(&lease(id, token)),
                WorkerEvent::LeaseEnded { id, token } => self.end(&lease(id, token)),
            }
        }
        self.proceed(ctx);
    }
}

impl Handler<Named> for PollActor {
    type Result = actix::MessageResult<Named>;

    fn handle(&mut self, named: Named, _: &mut Self::Context) -> Self::Result {
        let now = self.heard();
        let lease_ms = self.lease_ms;
        let standing = named.0.iter().map(|lease| self.leases.name(lease, now, lease_ms)).collect();
        self.renew();
        actix::MessageResult((standing, lease_ms))
    }
}

impl Handler<Adopt> for PollActor {
    type Result = ();

    fn handle(&mut self, adopt: Adopt, ctx: &mut Self::Context) {
        let Adopt { lease, handle, cancel } = adopt;
        let now = self.heard();
        self.link.touch(&handle);
        self.link.hold(&lease.queue, [(lease.id, lease.token)]);
        self.leases.hold(&lease, now, self.lease_ms, None);
        if cancel {
            self.leases.cancel(&lease);
        }
        let queue = lease.queue;
        self.queues.insert(queue.clone(), handle);
        // Asking for nothing tells the queue where its worker is now, and takes back a wish that may be there.
        self.give_up(vec![queue.clone()], ctx);
        self.fetcher.notice(&queue);
        self.renew();
        self.proceed(ctx);
    }
}

impl Handler<Settled> for PollActor {
    type Result = ();

    fn handle(&mut self, settled: Settled, _: &mut Self::Context) {
        self.heard();
        self.end(&settled.0);
    }
}

impl Handler<Depart> for PollActor {
    type Result = ();

    fn handle(&mut self, _: Depart, ctx: &mut Self::Context) {
        for lease in self.leases.take_all() {
            self.report(&lease, Verdict::Released);
        }
        self.parts.hub.leave(self.id, self.link.session, true);
        ctx.stop();
    }
}

impl PollActor {
    pub(super) fn new(parts: PollParts, link: Arc<Link>, id: WorkerId, workers: Workers) -> PollActor {
        let heard_at = parts.clock.now().mono;
        PollActor {
            lease_ms: parts.lease_ms,
            parts,
            link,
            id,
            workers,
            queues: BTreeMap::new(),
            fetcher: Fetcher::default(),
            subscribed: Subscribed::default(),
            fetches: VecDeque::new(),
            began: false,
            asked: None,
            leases: Leases::default(),
            heard_at,
            serial: 0,
            pausing: false,
        }
    }

    /// A sign of life.
    fn heard(&mut self) -> Mono {
        let now = self.parts.clock.now().mono;
        self.heard_at = now;
        self.link.saw(now);
        now
    }

    fn worker_link(&self, ctx: &Context<Self>) -> WorkerLink {
        WorkerLink {
            worker: self.id,
            session: self.link.session,
            to: ctx.address().recipient(),
            broken: self.link.broken.clone(),
        }
    }

    /// Goes on with the first fetch, as far as that goes without waiting.
    fn proceed(&mut self, ctx: &mut Context<Self>) {
        while self.asked.is_none() && self.step(ctx) {}
        let unused = self.fetcher.unused_notices();
        self.give_up(unused, ctx);
    }

    /// `false` when there is nothing to do but to wait.
    fn step(&mut self, ctx: &mut Context<Self>) -> bool {
        let Some(first) = self.fetches.front() else { return false };
        // Its caller may have gone while it waited for its turn.
        if first.poll.reply.is_closed() || first.jobs.len() >= first.poll.count as usize {
            self.finish();
            return true;
        }
        let (over, empty) = (first.over, first.jobs.is_empty());
        self.begin(ctx);
        match self.fetcher.next(self.parts.chance.u64()) {
            Some((name, slots)) => {
                if self.ask(&name, slots, ctx) {
                    self.asked = Some(name);
                } else if over || !empty {
                    self.fetcher.not_asked();
                    self.finish();
                    return true;
                } else {
                    self.fetcher.not_asked();
                    self.proceed_later(ctx);
                }
                false
            }
            None if over || !empty => {
                self.finish();
                true
            }
            None => false,
        }
    }

    /// The first fetch says what is wanted now.
    fn begin(&mut self, ctx: &Context<Self>) {
        if std::mem::replace(&mut self.began, true) {
            return;
        }
        let Some(first) = self.fetches.front() else { return };
        let poll = &first.poll;
        let (count, strict) = (poll.count, poll.strict);
        self.lease_ms = poll.lease_ms;
        let queues: Vec<_> =
            poll.queues.iter().map(|(handle, weight)| (handle.name().clone(), *weight)).collect();
        self.queues.extend(poll.queues.iter().map(|(handle, _)| (handle.name().clone(), handle.clone())));
        if queues != self.subscribed.queues || strict != self.subscribed.strict {
            let dropped = self.fetcher.subscribe(&queues, strict);
            self.subscribed = Subscribed { queues, strict };
            self.link.subscribe(self.subscribed.clone());
            self.give_up(dropped, ctx);
        }
        self.fetcher.add_credit(count);
        self.link.set_free_slots(self.fetcher.credit());
    }

    fn ask(&self, name: &QueueName, slots: u32, ctx: &Context<Self>) -> bool {
        let Some(handle) = self.queues.get(name) else { return false };
        self.link.touch(handle);
        handle.post(vec![Op::Fetch { link: self.worker_link(ctx), slots }]).map_err(NotTaken::refuse).is_ok()
    }

    fn proceed_later(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.pausing, true) {
            ctx.run_later(PAUSE, |actor, ctx| {
                actor.pausing = false;
                actor.proceed(ctx);
            });
        }
    }

    /// Takes the wish for a notice back.
    fn give_up(&self, queues: Vec<QueueName>, ctx: &Context<Self>) {
        for handle in queues.iter().filter_map(|name| self.queues.get(name)) {
            handle.post_or_refuse(Op::Fetch { link: self.worker_link(ctx), slots: 0 });
        }
    }

    /// A queue has answered. What came too late, or is too much for one answer, goes back unused.
    fn deliver(&mut self, queue: &QueueName, mut jobs: Vec<(Arc<Job>, Token, u32)>, drained: bool) {
        self.asked.take_if(|asked| asked == queue);
        let count = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
        let granted = self.fetcher.answered(queue, count, drained);
        let mut unwanted = jobs.split_off(granted as usize);
        let now = self.parts.clock.now().mono;
        for (job, token, attempt) in jobs {
            let lease = LeaseRef { queue: queue.clone(), id: job.id, token };
            let first = self.fetches.front_mut();
            match first.filter(|first| {
                first.jobs.is_empty() || first.bytes.saturating_add(job.weight()) <= ANSWER_BYTES_MAX
            }) {
                Some(first) => {
                    first.bytes += job.weight();
                    let given = delivery(queue, &job, token, attempt);
                    self.link.hold(queue, [(job.id, token)]);
                    self.leases.hold(&lease, now, first.poll.lease_ms, given.timeout_ms);
                    first.jobs.push(given);
                }
                None => unwanted.push((job, token, attempt)),
            }
        }
        self.link.set_free_slots(self.fetcher.credit());
        self.release(queue, unwanted.into_iter().map(|(job, token, _)| (job.id, token)).collect());
    }

    fn release(&self, queue: &QueueName, leases: Vec<(JobId, Token)>) {
        if let Some(handle) = self.queues.get(queue).filter(|_| !leases.is_empty()) {
            let outcomes = leases.into_iter().map(|(id, token)| (id, token, Verdict::Released)).collect();
            // If it cannot be told now, the leases end with the worker.
            handle.post_or_refuse(Op::Report { outcomes, then: Box::new(|_| {}) });
        }
    }

    /// Answers the first fetch with what it has.
    fn finish(&mut self) {
        let Some(Waiting { poll, jobs, .. }) = self.fetches.pop_front() else { return };
        self.began = false;
        // The free slots were those of this fetch. Wishes stay: what they bring is passed on.
        self.fetcher.quiet();
        self.link.set_free_slots(0);
        let (worker, heartbeat_ms) = (self.id, self.parts.heartbeat_ms);
        let fetched = Fetched { worker, jobs, lease_ms: poll.lease_ms, heartbeat_ms };
        if let Err(Ok(fetched)) = poll.reply.send(Ok(fetched)) {
            for Delivery { queue, id, token, .. } in fetched.jobs {
                let lease = LeaseRef { queue, id, token };
                self.end(&lease);
                self.release(&lease.queue, vec![(id, token)]);
            }
        }
    }

    fn refuse_all(&mut self) {
        for Waiting { poll, jobs, .. } in std::mem::take(&mut self.fetches) {
            for Delivery { queue, id, token, .. } in jobs {
                self.release(&queue, vec![(id, token)]);
            }
            // A caller that has gone wants no answer.
            let _ = poll.reply.send(Err(stopping()));
        }
        self.began = false;
        self.fetcher.quiet();
    }

    fn end(&mut self, lease: &LeaseRef) {
        self.leases.end(lease);
        self.link.let_go(&lease.queue, [(lease.id, lease.token)]);
    }

    /// A lease that goes on here goes on in its queue.
    fn renew(&self) {
        for queue in self.leases.queues() {
            if let Some(handle) = self.queues.get(&queue) {
                handle.post_or_refuse(Op::Renew { worker: self.id });
            }
        }
    }

    fn report(&self, lease: &LeaseRef, verdict: Verdict) {
        self.link.let_go(&lease.queue, [(lease.id, lease.token)]);
        if let Some(handle) = self.queues.get(&lease.queue) {
            let outcomes = vec![(lease.id, lease.token, verdict)];
            // If it cannot be told now, the lease ends with the worker, or when nobody renews it.
            handle.post_or_refuse(Op::Report { outcomes, then: Box::new(|_| {}) });
        }
    }

    /// Ends the leases that nobody named in time, and keeps those that were asked for longer than the node's.
    fn tick(&mut self, ctx: &mut Context<Self>) {
        // Whoever waits for a job is there.
        let now = if self.fetches.is_empty() { self.parts.clock.now().mono } else { self.heard() };
        let silent_ms = now.0.saturating_sub(self.heard_at.0);
        if silent_ms >= self.lease_ms {
            return self.lose(silent_ms, ctx);
        }
        for (lease, why) in self.leases.take_overdue(now) {
            let (error, retry_in_ms) = match why {
                Overdue::Silent => {
                    let ms = self.lease_ms;
                    (format!("its worker said nothing of it for {ms} ms, but lives"), Some(0))
                }
                Overdue::TimedOut(ms) => (format!("it ran longer than its timeout of {ms} ms"), None),
            };
            self.report(&lease, Verdict::Retry { error, retry_in_ms });
        }
        if self.lease_ms > self.parts.lease_ms && !self.leases.queues().is_empty() {
            self.link.saw(now);
            self.renew();
        }
    }

    /// The hub does the same after the node's lease time; this is for those that asked for another one, and for a moment sooner.
    fn lose(&mut self, silent_ms: u64, ctx: &mut Context<Self>) {
        let held = self.link.held_count();
        let why = format!("its worker was silent for {silent_ms} ms");
        if held > 0 {
            tracing::warn!(worker = %self.id, held, why, "worker lost");
        }
        for handle in self.link.touched() {
            let (worker, session) = (self.id, self.link.session);
            handle.post_or_refuse(Op::Lost { worker, session, why: why.clone() });
        }
        self.parts.hub.leave(self.id, self.link.session, true);
        ctx.stop();
    }
}
