//! The actor of one connection: frames in, operations on queues out, and the other way round.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler};
use windlass_core::access::{Caller, Operation};
use windlass_core::api::{ApiError, ErrorCode, Request, Response};
use windlass_core::id::{JobId, QueueName};
use windlass_core::limits;
use windlass_core::wire::{ClientFrame, LeaseRef, Report, ServerFrame, Token, Verdict, WorkerHello};

use super::joins::ReportJoin;
use super::link::Link;
use super::worker::Worker;
use super::{MAILBOX_MESSAGES_MAX, SessionParts};
use crate::access::guard::{check_frame, check_queues};
use crate::access::no_longer;
use crate::api::check_jobs;
use crate::queue::{FromQueue, Op, QueueHandle, WorkerEvent};

/// Frames in the order in which they arrived.
pub(super) struct Frames(pub Vec<ClientFrame>);

impl actix::Message for Frames {
    /// Whether the conversation goes on.
    type Result = bool;
}

/// The connection is gone.
pub(super) struct Ended;

impl actix::Message for Ended {
    /// Whether the client left in order.
    type Result = bool;
}

pub(super) struct SessionActor {
    pub(super) parts: SessionParts,
    pub(super) link: Arc<Link>,
    caller: Arc<Caller>,
    pub(super) worker: Option<Worker>,
    queues: HashMap<QueueName, QueueHandle>,
    /// Operations gathered from the frames of one message, per queue, in order.
    gathered: BTreeMap<QueueName, Vec<Op>>,
    said_goodbye: bool,
}

impl Actor for SessionActor {
    type Context = Context<SessionActor>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_MESSAGES_MAX);
    }
}

impl Handler<Frames> for SessionActor {
    type Result = bool;

    fn handle(&mut self, frames: Frames, ctx: &mut Self::Context) -> bool {
        if self.said_goodbye {
            return false;
        }
        self.link.saw(self.parts.clock.now().mono);
        if !self.parts.access.is_live(&self.caller) {
            self.link.send(&ServerFrame::Refused(no_longer()));
            self.link.finish.cancel();
            return false;
        }
        let leaves = frames.0.iter().any(|frame| matches!(frame, ClientFrame::Goodbye));
        let missing = self.missing(&frames.0);
        if missing.is_empty() {
            self.work_through(frames.0, None, ctx);
        } else {
            let registry = self.parts.registry.clone();
            let opening = async move { registry.open(&missing).await };
            ctx.wait(wrap_future::<_, Self>(opening).map(move |opened, actor, ctx| {
                let error = match opened {
                    Ok(handles) => {
                        actor
                            .queues
                            .extend(handles.into_iter().map(|handle| (handle.name().clone(), handle)));
                        None
                    }
                    Err(error) => Some(error),
                };
                actor.work_through(frames.0, error, ctx);
            }));
        }
        !leaves
    }
}

impl Handler<FromQueue> for SessionActor {
    type Result = ();

    fn handle(&mut self, told: FromQueue, ctx: &mut Self::Context) {
        for event in told.events {
            match event {
                WorkerEvent::Deliver { jobs, drained } => self.deliver(&told.queue, jobs, drained),
                WorkerEvent::Notice => {
                    if let Some(worker) = &mut self.worker {
                        worker.fetcher.notice(&told.queue);
                    }
                }
                WorkerEvent::CancelRun { id, token } => {
                    self.link.send(&ServerFrame::CancelJob(LeaseRef {
                        queue: told.queue.clone(),
                        id,
                        token,
                    }));
                }
                WorkerEvent::LeaseEnded { id, token } => {
                    self.link.let_go(&told.queue, [(id, token)]);
                    self.link.send(&ServerFrame::LeaseLost(LeaseRef {
                        queue: told.queue.clone(),
                        id,
                        token,
                    }));
                }
            }
        }
        self.pump(ctx);
    }
}

impl Handler<Ended> for SessionActor {
    type Result = bool;

    fn handle(&mut self, _: Ended, ctx: &mut Self::Context) -> bool {
        ctx.stop();
        self.said_goodbye
    }
}

impl SessionActor {
    pub(super) fn new(
        parts: SessionParts,
        link: Arc<Link>,
        caller: Arc<Caller>,
        worker: Option<&WorkerHello>,
        inherited: Vec<QueueHandle>,
    ) -> SessionActor {
        let worker = worker.map(|hello| Worker::new(hello.id, inherited));
        let parts = SessionParts { api: parts.api.on_behalf_of(Arc::clone(&caller)), ..parts };
        SessionActor {
            parts,
            link,
            caller,
            worker,
            queues: HashMap::new(),
            gathered: BTreeMap::new(),
            said_goodbye: false,
        }
    }

    /// Queues named by these frames that have to be made or found first. A report or a lease makes no queue.
    fn missing(&self, frames: &[ClientFrame]) -> Vec<QueueName> {
        let mut missing = BTreeSet::new();
        for frame in frames {
            match frame {
                ClientFrame::Call { body: Request::Enqueue { queue, .. }, .. }
                    if !self.queues.contains_key(queue)
                        && check_queues(&self.caller, Operation::Enqueue, [queue]).is_ok() =>
                {
                    missing.insert(queue.clone());
                }
                ClientFrame::Subscribe(subscription)
                    if subscription.queues.len() <= limits::WORKER_QUEUES_MAX
                        && check_frame(&self.caller, frame).is_ok() =>
                {
                    let names = subscription.queues.iter().map(|(name, _)| name);
                    missing.extend(names.filter(|name| !self.queues.contains_key(*name)).cloned());
                }
                _ => {}
            }
        }
        missing.into_iter().collect()
    }

    pub(super) fn find(&mut self, name: &QueueName) -> Option<QueueHandle> {
        if let Some(handle) = self.queues.get(name) {
            return Some(handle.clone());
        }
        let handle = self.parts.registry.find(name)?;
        self.queues.insert(name.clone(), handle.clone());
        Some(handle)
    }

    fn work_through(&mut self, frames: Vec<ClientFrame>, error: Option<ApiError>, ctx: &mut Context<Self>) {
        for frame in frames {
            if let Err(broken) = self.frame(frame, error.as_ref(), ctx) {
                tracing::warn!(session = self.link.session, error = %broken, "connection broke a rule");
                self.link.send(&ServerFrame::Refused(broken));
                self.link.finish.cancel();
                break;
            }
        }
        self.post_gathered();
        self.pump(ctx);
    }

    /// Carries out one frame. An error ends the conversation.
    fn frame(
        &mut self,
        frame: ClientFrame,
        open_error: Option<&ApiError>,
        ctx: &mut Context<Self>,
    ) -> Result<(), ApiError> {
        // A refused call is answered; a refused word about jobs ends the conversation, since nothing else would tell.
        let is_call = matches!(frame, ClientFrame::Call { .. });
        if !is_call {
            check_frame(&self.caller, &frame)?;
        }
        match frame {
            ClientFrame::Hello(_) => {
                return Err(broken("a second Hello came; it opens a conversation only once"));
            }
            ClientFrame::Call { request, body } => self.call(request, body, open_error, ctx),
            ClientFrame::Heartbeat { seq } => self.heartbeat(seq),
            ClientFrame::Goodbye => {
                self.said_goodbye = true;
                self.link.finish.cancel();
            }
            _ if self.worker.is_none() => {
                return Err(broken(
                    "only a connection that said it is a worker may take jobs or report on them",
                ));
            }
            ClientFrame::Resume(leases) => self.resume(leases, ctx),
            ClientFrame::Subscribe(subscription) => self.subscribe(&subscription, open_error, ctx)?,
            ClientFrame::Credit { add } => {
                if let Some(worker) = &mut self.worker {
                    worker.fetcher.add_credit(add);
                    self.link.set_free_slots(worker.fetcher.credit());
                }
            }
            ClientFrame::Report(report) => self.report(report),
            ClientFrame::Progress { lease, percent, message } => {
                let LeaseRef { queue, id, token } = lease;
                if let Some(handle) = self.find(&queue) {
                    self.gather(&handle, Op::Progress { id, token, percent, message });
                }
            }
            ClientFrame::Quiet => self.quiet(ctx),
        }
        Ok(())
    }

    pub(super) fn gather(&mut self, queue: &QueueHandle, op: Op) {
        self.gathered.entry(queue.name().clone()).or_default().push(op);
    }

    pub(super) fn post_gathered(&mut self) {
        for (name, ops) in std::mem::take(&mut self.gathered) {
            let Some(handle) = self.find(&name) else { continue };
            if let Err(back) = handle.post(ops) {
                back.refuse();
            }
        }
    }

    /// What was gathered for one queue.
    pub(super) fn take_gathered(&mut self, queue: &QueueName) -> Vec<Op> {
        self.gathered.remove(queue).unwrap_or_default()
    }

    fn call(&mut self, request: u64, body: Request, open_error: Option<&ApiError>, ctx: &mut Context<Self>) {
        let link = Arc::clone(&self.link);
        let reply = move |result| link.send(&ServerFrame::Reply { request, result });
        let Some(guard) = self.link.begin_call() else { return reply(Err(crate::queue::busy())) };
        match body {
            Request::Enqueue { queue, jobs } => {
                if let Err(error) = check_queues(&self.caller, Operation::Enqueue, [&queue]) {
                    return reply(Err(error));
                }
                let bytes = match check_jobs(&jobs) {
                    Ok(bytes) => bytes,
                    Err(error) => return reply(Err(error)),
                };
                let Some(share) = self.parts.budget.take(bytes) else {
                    return reply(Err(crate::queue::busy()));
                };
                let Some(handle) = self.find(&queue) else {
                    return reply(Err(open_error.cloned().unwrap_or_else(crate::queue::stopping)));
                };
                let then = Box::new(move |result: Result<_, ApiError>| {
                    reply(result.map(Response::Enqueued));
                    drop((guard, share));
                });
                self.gather(&handle, Op::Enqueue { jobs, alongside: Vec::new(), then });
            }
            body => {
                // What was sent before this request on the same connection is seen by it.
                self.post_gathered();
                let calling = self.parts.api.call(body);
                ctx.spawn(wrap_future::<_, Self>(async move {
                    reply(calling.await);
                    drop(guard);
                }));
            }
        }
    }

    fn heartbeat(&mut self, seq: u64) {
        self.link.send(&ServerFrame::HeartbeatAck { seq });
        if let Some(worker) = self.worker.as_ref().map(|worker| worker.id) {
            for queue in self.link.lease_queues() {
                if let Some(handle) = self.find(&queue) {
                    self.gather(&handle, Op::Renew { worker });
                }
            }
        }
    }

    fn report(&mut self, report: Report) {
        let mut by_queue: BTreeMap<QueueName, Vec<(usize, JobId, Token, Verdict)>> = BTreeMap::new();
        let count = report.outcomes.len();
        for (position, outcome) in report.outcomes.into_iter().enumerate() {
            let entry = (position, outcome.id, outcome.token, outcome.verdict);
            by_queue.entry(outcome.queue).or_default().push(entry);
        }
        // A queue that does not exist has no leases: its outcomes stay refused.
        let known: Vec<_> =
            by_queue.into_iter().filter_map(|(name, outcomes)| Some((self.find(&name)?, outcomes))).collect();
        let join = ReportJoin::new(Arc::clone(&self.link), report.request, count, known.len());
        if known.is_empty() {
            join.answer_if_empty();
        }
        for (handle, outcomes) in known {
            let positions =
                outcomes.iter().map(|(position, id, token, _)| (*position, *id, *token)).collect();
            let then = join.part(handle.name().clone(), positions);
            let outcomes = outcomes.into_iter().map(|(_, id, token, verdict)| (id, token, verdict)).collect();
            self.gather(&handle, Op::Report { outcomes, then });
        }
    }
}

/// The conversation cannot go on.
pub(super) fn broken(text: &str) -> ApiError {
    ApiError::new(ErrorCode::Invalid, text)
}
