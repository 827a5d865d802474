//! The check before each request, and what a caller who is limited to queues gets to see.

use windlass_core::access::{Caller, Operation, Target, allows};
use windlass_core::api::{ApiError, ErrorCode, Request, Response, WorkRequest};
use windlass_core::id::QueueName;
use windlass_core::wire::ClientFrame;

use super::no_longer;
use crate::api::ApiParts;

fn denied(error: impl std::fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::Denied, error.to_string())
}

/// Whether a caller may do something to each of these queues; none stands for what is not about a queue.
///
/// # Errors
/// `Denied`.
pub(crate) fn check_queues<'a>(
    caller: &Caller,
    operation: Operation,
    queues: impl IntoIterator<Item = &'a QueueName>,
) -> Result<(), ApiError> {
    let mut queues = queues.into_iter().peekable();
    if queues.peek().is_none() {
        return allows(&caller.grant, operation, None).map_err(denied);
    }
    queues.try_for_each(|queue| allows(&caller.grant, operation, Some(queue)).map_err(denied))
}

/// The same for what may name many queues: they are gathered only for a caller who is limited to some.
fn check_named<'a>(
    caller: &Caller,
    operation: Operation,
    queues: impl FnOnce() -> Vec<&'a QueueName>,
) -> Result<(), ApiError> {
    check_queues(caller, operation, if caller.grant.is_limited() { queues() } else { Vec::new() })
}

/// Whether a peer of the native protocol may send this frame, calls apart.
///
/// # Errors
/// `Denied`.
pub(crate) fn check_frame(caller: &Caller, frame: &ClientFrame) -> Result<(), ApiError> {
    check_named(caller, Operation::of_frame(frame), || Target::of_frame(frame))
}

/// Whether a caller may ask this as a worker.
///
/// # Errors
/// `Denied`.
pub(crate) fn check_work(caller: &Caller, request: &WorkRequest) -> Result<(), ApiError> {
    check_named(caller, Operation::of_work(request), || Target::of_work(request))
}

impl ApiParts {
    /// Whether a caller may ask this.
    ///
    /// # Errors
    /// `Denied`; for a job that belongs to a queue which the caller does not reach, `NotFound`, as for one that does not exist.
    pub(crate) async fn check(&self, caller: &Caller, request: &Request) -> Result<(), ApiError> {
        if !self.access.is_live(caller) {
            return Err(no_longer());
        }
        let operation = Operation::of(request);
        // The role first: nobody learns from a look-up what they may not see.
        allows(&caller.grant, operation, None).map_err(denied)?;
        if !caller.grant.is_limited() {
            return Ok(());
        }
        let queue = match Target::of(request) {
            Target::Queue(queue) => queue.clone(),
            Target::Job(id) => match self.queue_of(id).await {
                Ok(queue) if caller.grant.covers(&queue) => queue,
                Ok(_) => return Err(crate::api::no_job(id)),
                Err(error) => return Err(error),
            },
            Target::Schedule(name) => self.queue_of_schedule(name).await?,
            Target::ScheduleInto(name, queue) => {
                match self.queue_of_schedule(name).await {
                    // It would be taken from the queue that it belongs to.
                    Ok(present) => check_queues(caller, operation, [&present])?,
                    Err(error) if error.code == ErrorCode::NotFound => {}
                    Err(error) => return Err(error),
                }
                queue.clone()
            }
            Target::Nothing => return Ok(()),
        };
        check_queues(caller, operation, [&queue])
    }

    async fn queue_of_schedule(&self, name: &str) -> Result<QueueName, ApiError> {
        match self.schedules.call(Request::GetSchedule { name: name.to_owned() }).await? {
            Response::Schedule(view) => Ok(view.spec.queue),
            _ => Err(ApiError::new(ErrorCode::Internal, "the schedules gave an answer of the wrong kind")),
        }
    }
}

/// Takes out of a list what its reader does not reach.
pub(crate) fn cut(caller: &Caller, mut response: Response) -> Response {
    if !caller.grant.is_limited() {
        return response;
    }
    let reached = |queue: &QueueName| caller.grant.covers(queue);
    match &mut response {
        Response::Jobs(page) => page.jobs.retain(|job| reached(&job.queue)),
        Response::Queues(queues) => queues.retain(|queue| reached(&queue.name)),
        Response::Schedules(schedules) => schedules.retain(|schedule| reached(&schedule.spec.queue)),
        Response::Workers(workers) => {
            for worker in workers.iter_mut() {
                worker.queues.retain(|(queue, _)| reached(queue));
                worker.running.retain(|job| reached(&job.queue));
            }
        }
        Response::Enqueued(_)
        | Response::Job(_)
        | Response::Done { .. }
        | Response::Overview(_)
        | Response::Schedule(_)
        | Response::Bulk(_)
        | Response::Bulks(_)
        | Response::TokenMade(_)
        | Response::Tokens(_)
        | Response::Audit(_)
        | Response::Cluster(_) => {}
    }
    response
}

/// What a request is done to, for people.
pub(crate) fn describe(request: &Request) -> String {
    match request {
        Request::StartBulk(spec) if spec.reason.is_empty() => format!("{} {}", spec.act.name(), spec.filter),
        Request::StartBulk(spec) => format!("{} {} ({})", spec.act.name(), spec.filter, spec.reason),
        Request::GetBulk { id } | Request::CancelBulk { id } => format!("bulk {id}"),
        Request::DrainNode { node, hold_ms } => {
            format!("node {}, for {hold_ms} ms", node.as_deref().unwrap_or("that was asked"))
        }
        Request::CreateToken(spec) => format!("token {} ({})", spec.name, spec.role),
        Request::RevokeToken { token } => format!("token {token}"),
        Request::RetryDead { queue, kind: Some(kind) } | Request::DeleteDead { queue, kind: Some(kind) } => {
            format!("queue {queue}, kind {kind}")
        }
        Request::SetRetention { queue, finished_max } => format!("queue {queue}, {finished_max} finished"),
        other => match Target::of(other) {
            Target::Queue(queue) => format!("queue {queue}"),
            Target::Job(id) => format!("job {id}"),
            Target::Schedule(name) => format!("schedule {name}"),
            Target::ScheduleInto(name, queue) => format!("schedule {name} into queue {queue}"),
            Target::Nothing => String::new(),
        },
    }
}

/// How many things an answer says it was done to.
pub(crate) fn count(response: &Response) -> u64 {
    match response {
        Response::Done { count } => *count,
        Response::Enqueued(jobs) => jobs.len() as u64,
        _ => 1,
    }
}
