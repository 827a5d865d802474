//! The worker's side of a session: which leases it has, which queues it takes jobs from, how many it may still be given.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{AsyncContext, Context};
use windlass_core::api::ApiError;
use windlass_core::id::{JobId, QueueName, WorkerId};
use windlass_core::job::Job;
use windlass_core::limits;
use windlass_core::wire::{Delivery, LeaseRef, ServerFrame, Subscription, Token, Verdict};

use super::actor::{SessionActor, broken};
use super::fetch::Fetcher;
use super::joins::ResumeJoin;
use super::link::Subscribed;
use super::{DELIVER_BYTES_MAX, OUTGOING_BYTES_SOFT};
use crate::queue::{Op, QueueHandle, WorkerLink};

/// Wait before a queue is asked again that was too busy, or before a worker that reads slowly is given more.
const PAUSE: Duration = Duration::from_millis(5);

/// What a session knows of its worker.
pub(super) struct Worker {
    pub id: WorkerId,
    pub fetcher: Fetcher,
    /// Queues that know the worker from an earlier session, until it has said which leases it still runs.
    inherited: Vec<QueueHandle>,
    pumping: bool,
}

impl Worker {
    pub(super) fn new(id: WorkerId, inherited: Vec<QueueHandle>) -> Worker {
        Worker { id, fetcher: Fetcher::default(), inherited, pumping: false }
    }
}

impl SessionActor {
    fn worker_link(&self, worker: WorkerId, ctx: &Context<Self>) -> WorkerLink {
        WorkerLink {
            worker,
            session: self.link.session,
            to: ctx.address().recipient(),
            broken: self.link.broken.clone(),
        }
    }

    /// The leases the worker says it runs. What it does not name it never received, in every queue that knows it.
    pub(super) fn resume(&mut self, leases: Vec<LeaseRef>, ctx: &Context<Self>) {
        let Some(worker) = &mut self.worker else { return };
        let id = worker.id;
        let mut by_queue: BTreeMap<QueueName, (QueueHandle, Vec<(JobId, Token)>)> =
            std::mem::take(&mut worker.inherited)
                .into_iter()
                .map(|handle| (handle.name().clone(), (handle, Vec::new())))
                .collect();
        let mut lost = Vec::new();
        for lease in leases {
            if let Some((_, known)) = by_queue.get_mut(&lease.queue) {
                known.push((lease.id, lease.token));
            } else if let Some(handle) = self.find(&lease.queue) {
                by_queue.insert(lease.queue, (handle, vec![(lease.id, lease.token)]));
            } else {
                lost.push(lease);
            }
        }
        let join = ResumeJoin::new(Arc::clone(&self.link), lost, by_queue.len());
        if by_queue.is_empty() {
            join.answer_if_empty();
        }
        for (name, (handle, leases)) in by_queue {
            self.link.touch(&handle);
            self.link.hold(&name, leases.iter().copied());
            let link = self.worker_link(id, ctx);
            self.gather(&handle, Op::Resume { link, leases, then: join.part(name) });
        }
    }

    pub(super) fn subscribe(
        &mut self,
        subscription: &Subscription,
        open_error: Option<&ApiError>,
        ctx: &Context<Self>,
    ) -> Result<(), ApiError> {
        let queues = &subscription.queues;
        if queues.is_empty() || queues.len() > limits::WORKER_QUEUES_MAX {
            let text = format!("a worker takes jobs from 1 to {} queues", limits::WORKER_QUEUES_MAX);
            return Err(broken(&text));
        }
        if let Some(error) = open_error
            && queues.iter().any(|(name, _)| self.find(name).is_none())
        {
            return Err(error.clone());
        }
        // A worker that came back without a word about its leases runs none of them.
        if self.worker.as_ref().is_some_and(|worker| !worker.inherited.is_empty()) {
            self.resume(Vec::new(), ctx);
        }
        let Some(worker) = &mut self.worker else { return Ok(()) };
        let dropped = worker.fetcher.subscribe(queues, subscription.strict);
        self.link.subscribe(Subscribed { queues: queues.clone(), strict: subscription.strict });
        self.give_up(dropped, ctx);
        Ok(())
    }

    /// Takes the wish for a notice back.
    fn give_up(&mut self, queues: Vec<QueueName>, ctx: &Context<Self>) {
        let Some(worker) = self.worker.as_ref().map(|worker| worker.id) else { return };
        for name in queues {
            if let Some(handle) = self.find(&name) {
                let link = self.worker_link(worker, ctx);
                self.gather(&handle, Op::Fetch { link, slots: 0 });
            }
        }
    }

    pub(super) fn quiet(&mut self, ctx: &Context<Self>) {
        self.link.set_quiet();
        self.link.set_free_slots(0);
        let Some(worker) = &mut self.worker else { return };
        let queues = worker.fetcher.quiet();
        self.give_up(queues, ctx);
    }

    /// Passes jobs on, within the credit; what is over after a worker went quiet goes back unused.
    pub(super) fn deliver(
        &mut self,
        queue: &QueueName,
        mut jobs: Vec<(Arc<Job>, Token, u32)>,
        drained: bool,
    ) {
        let Some(worker) = &mut self.worker else { return };
        let count = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
        let granted = worker.fetcher.answered(queue, count, drained);
        self.link.set_free_slots(worker.fetcher.credit());
        let unwanted = jobs.split_off(granted as usize);
        if !unwanted.is_empty()
            && let Some(handle) = self.find(queue)
        {
            let outcomes =
                unwanted.into_iter().map(|(job, token, _)| (job.id, token, Verdict::Released)).collect();
            // If it cannot be told now, the leases end with the session or its next resume.
            self.gather(&handle, Op::Report { outcomes, then: Box::new(|_| {}) });
        }
        self.link.hold(queue, jobs.iter().map(|(job, token, _)| (job.id, *token)));
        let mut frame = Vec::new();
        let mut bytes = 0;
        for (job, token, attempt) in jobs {
            bytes += job.weight();
            frame.push(delivery(queue, &job, token, attempt));
            if bytes >= DELIVER_BYTES_MAX {
                self.link.send(&ServerFrame::Deliver(std::mem::take(&mut frame)));
                bytes = 0;
            }
        }
        if !frame.is_empty() {
            self.link.send(&ServerFrame::Deliver(frame));
        }
    }

    /// Asks the next queue, if there is credit and no answer is awaited.
    pub(super) fn pump(&mut self, ctx: &mut Context<Self>) {
        let behind = self.link.outgoing_bytes() > OUTGOING_BYTES_SOFT;
        let Some(worker) = &mut self.worker else { return };
        if behind {
            return self.pump_later(ctx);
        }
        let id = worker.id;
        if let Some((name, slots)) = worker.fetcher.next(self.parts.chance.u64()) {
            let asked = self.find(&name).is_some_and(|handle| {
                self.link.touch(&handle);
                let link = self.worker_link(id, ctx);
                // Behind what was gathered for the queue: a report frees the slot that is asked for.
                self.gather(&handle, Op::Fetch { link, slots });
                let ops = self.take_gathered(&name);
                handle.post(ops).map_err(crate::queue::NotTaken::refuse).is_ok()
            });
            if !asked {
                if let Some(worker) = &mut self.worker {
                    worker.fetcher.not_asked();
                }
                self.pump_later(ctx);
            }
        }
        let unused = self.worker.as_mut().map(|worker| worker.fetcher.unused_notices()).unwrap_or_default();
        self.give_up(unused, ctx);
        self.post_gathered();
    }

    fn pump_later(&mut self, ctx: &mut Context<Self>) {
        let Some(worker) = &mut self.worker else { return };
        if !std::mem::replace(&mut worker.pumping, true) {
            ctx.run_later(PAUSE, |actor, ctx| {
                if let Some(worker) = &mut actor.worker {
                    worker.pumping = false;
                }
                actor.pump(ctx);
            });
        }
    }
}

pub(super) fn delivery(queue: &QueueName, job: &Job, token: Token, attempt: u32) -> Delivery {
    let options = job.options.as_deref();
    Delivery {
        queue: queue.clone(),
        id: job.id,
        token,
        attempt,
        max_attempts: job.max_attempts(),
        kind: job.kind.clone(),
        payload: job.payload.clone(),
        enqueued_at: job.enqueued_at,
        timeout_ms: options.and_then(|o| o.timeout_ms),
        headers: options.map(|o| o.headers.clone()).unwrap_or_default(),
        tags: options.map(|o| o.tags.clone()).unwrap_or_default(),
    }
}
