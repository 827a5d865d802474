//! Requests about one schedule, apart from reading.

use tokio::sync::oneshot;
use windlass_core::api::{ApiError, Enqueued, ErrorCode, Request, Response};
use windlass_core::schedule::{Firing, Record, ScheduleSpec, encode_record};
use windlass_core::store::{Write, keys};

/// The way back of an answer.
pub(super) type Reply = oneshot::Sender<Result<Response, ApiError>>;

/// What somebody wants done to a schedule.
pub(super) enum Order {
    Put(Box<ScheduleSpec>),
    Pause,
    Resume,
    Trigger,
    Delete,
}

impl Order {
    /// The order in a request, with the name of its schedule.
    pub(super) fn of(request: Request) -> Option<(String, Order)> {
        match request {
            Request::PutSchedule(spec) => Some((spec.name.clone(), Order::Put(Box::new(spec)))),
            Request::PauseSchedule { name } => Some((name, Order::Pause)),
            Request::ResumeSchedule { name } => Some((name, Order::Resume)),
            Request::TriggerSchedule { name } => Some((name, Order::Trigger)),
            Request::DeleteSchedule { name } => Some((name, Order::Delete)),
            _ => None,
        }
    }
}

/// A change of one schedule that is on its way to the disk.
pub(super) struct Change {
    /// The record once it is durable; `None` when the schedule is gone then.
    pub(super) next: Option<Record>,
    /// The job that is enqueued in the same commit.
    pub(super) firing: Option<Firing>,
    /// Whether it is taken when space is low; see [`windlass_core::store::Batch::settles`].
    pub(super) settles: bool,
    /// Who wants to know; nobody when the plan fired.
    pub(super) reply: Option<Reply>,
}

impl Change {
    /// A change ordered by somebody, without a job.
    pub(super) fn ordered(next: Option<Record>, settles: bool, reply: Reply) -> Change {
        Change { next, firing: None, settles, reply: Some(reply) }
    }

    /// A firing: its job and the record are one commit.
    pub(super) fn firing(next: Record, firing: Firing, reply: Option<Reply>) -> Change {
        Change { next: Some(next), firing: Some(firing), settles: false, reply }
    }

    /// What the store has to take.
    pub(super) fn write(&self, name: &str) -> Write {
        let key = keys::schedule_key(name);
        match &self.next {
            Some(record) => Write::Put { key, value: encode_record(record) },
            None => Write::Delete { key },
        }
    }
}

/// What came of a change.
pub(super) enum Outcome {
    Enqueued(Vec<Enqueued>),
    Committed,
}

/// The answer for a name that no schedule has.
pub(super) fn no_schedule(name: &str) -> ApiError {
    ApiError::new(ErrorCode::NotFound, format!("there is no schedule {name:?}"))
}
