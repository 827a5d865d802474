//! Typed requests for jobs, queues, workers and schedules.

use std::time::Duration;

use windlass_core::api::{
    Enqueued, JobPage, JobQuery, JobView, Overview, QueueView, Request, Response, ScheduleView, WorkerView,
};
use windlass_core::id::{JobId, QueueName};
use windlass_core::schedule::{CatchUp, ScheduleSpec, When};
use windlass_core::time::millis;

use super::Client;
use crate::error::Error;
use crate::job::Job;

/// Unpacks the one response that answers a request.
macro_rules! ask {
    ($client:expr, $request:expr, $pattern:pat => $value:expr, $name:literal) => {
        match $client.call($request).await? {
            $pattern => Ok($value),
            _ => Err(Error::UnexpectedAnswer($name)),
        }
    };
}

/// All methods fail with [`Error::Server`] when the server refuses: no such thing, wrong state, bad name.
impl Client {
    /// Cancels a job that is not done; a running handler is told.
    ///
    /// # Errors
    /// [`Error::Server`] when the job is unknown or has ended.
    pub async fn cancel(&self, id: JobId) -> Result<JobView, Error> {
        ask!(self, Request::CancelJob { id }, Response::Job(job) => *job, "cancel")
    }

    /// Makes a dead, cancelled, expired or waiting job ready at once.
    ///
    /// # Errors
    /// [`Error::Server`] when the job is unknown or its state does not allow it.
    pub async fn retry(&self, id: JobId) -> Result<JobView, Error> {
        ask!(self, Request::RetryJob { id }, Response::Job(job) => *job, "retry")
    }

    /// Removes a job that is not running, with its history.
    ///
    /// # Errors
    /// [`Error::Server`] when the job is unknown or running.
    pub async fn delete(&self, id: JobId) -> Result<(), Error> {
        ask!(self, Request::DeleteJob { id }, Response::Done { .. } => (), "delete")
    }

    /// A page of jobs.
    ///
    /// # Errors
    /// [`Error::Server`] for a cursor or limit that the server does not take.
    pub async fn list_jobs(&self, query: JobQuery) -> Result<JobPage, Error> {
        ask!(self, Request::ListJobs(query), Response::Jobs(page) => page, "list jobs")
    }

    /// All queues, by name.
    ///
    /// # Errors
    /// [`Error`] when the server cannot be asked.
    pub async fn list_queues(&self) -> Result<Vec<QueueView>, Error> {
        ask!(self, Request::ListQueues, Response::Queues(queues) => queues, "list queues")
    }

    /// Hands out no more jobs of a queue; survives restarts.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad name.
    pub async fn pause_queue(&self, queue: &str) -> Result<(), Error> {
        let queue = QueueName::new(queue)?;
        ask!(self, Request::PauseQueue { queue }, Response::Done { .. } => (), "pause queue")
    }

    /// Hands out jobs of a queue again.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad name.
    pub async fn resume_queue(&self, queue: &str) -> Result<(), Error> {
        let queue = QueueName::new(queue)?;
        ask!(self, Request::ResumeQueue { queue }, Response::Done { .. } => (), "resume queue")
    }

    /// Sets how many finished jobs a queue remembers.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad name.
    pub async fn set_retention(&self, queue: &str, finished_max: u32) -> Result<(), Error> {
        let queue = QueueName::new(queue)?;
        ask!(self, Request::SetRetention { queue, finished_max }, Response::Done { .. } => (), "set retention")
    }

    /// Makes all dead jobs of a queue ready, of one kind or of every kind; returns how many.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad name.
    pub async fn retry_dead(&self, queue: &str, kind: Option<&str>) -> Result<u64, Error> {
        let (queue, kind) = (QueueName::new(queue)?, kind.map(str::to_owned));
        ask!(self, Request::RetryDead { queue, kind }, Response::Done { count } => count, "retry dead jobs")
    }

    /// Deletes all dead jobs of a queue, of one kind or of every kind; returns how many.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad name.
    pub async fn delete_dead(&self, queue: &str, kind: Option<&str>) -> Result<u64, Error> {
        let (queue, kind) = (QueueName::new(queue)?, kind.map(str::to_owned));
        ask!(self, Request::DeleteDead { queue, kind }, Response::Done { count } => count, "delete dead jobs")
    }

    /// All worker processes, by name.
    ///
    /// # Errors
    /// [`Error`] when the server cannot be asked.
    pub async fn list_workers(&self) -> Result<Vec<WorkerView>, Error> {
        ask!(self, Request::ListWorkers, Response::Workers(workers) => workers, "list workers")
    }

    /// Totals, rates and history of the node.
    ///
    /// # Errors
    /// [`Error`] when the server cannot be asked.
    pub async fn overview(&self) -> Result<Overview, Error> {
        ask!(self, Request::GetOverview, Response::Overview(overview) => *overview, "overview")
    }

    /// Creates a schedule, or replaces the one of the same name.
    ///
    /// # Errors
    /// [`Error::Invalid`] when its job breaks a rule, [`Error::Server`] for a bad expression or zone.
    pub async fn put_schedule(&self, schedule: impl IntoSchedule) -> Result<ScheduleView, Error> {
        let spec = schedule.into_spec()?;
        ask!(self, Request::PutSchedule(spec), Response::Schedule(view) => *view, "put schedule")
    }

    /// All schedules, by name.
    ///
    /// # Errors
    /// [`Error`] when the server cannot be asked.
    pub async fn list_schedules(&self) -> Result<Vec<ScheduleView>, Error> {
        ask!(self, Request::ListSchedules, Response::Schedules(schedules) => schedules, "list schedules")
    }

    /// One schedule.
    ///
    /// # Errors
    /// [`Error::Server`] when there is none of that name.
    pub async fn get_schedule(&self, name: &str) -> Result<ScheduleView, Error> {
        let name = name.to_owned();
        ask!(self, Request::GetSchedule { name }, Response::Schedule(view) => *view, "get schedule")
    }

    /// Lets a schedule fire no more until it is resumed.
    ///
    /// # Errors
    /// [`Error::Server`] when there is none of that name.
    pub async fn pause_schedule(&self, name: &str) -> Result<ScheduleView, Error> {
        let name = name.to_owned();
        ask!(self, Request::PauseSchedule { name }, Response::Schedule(view) => *view, "pause schedule")
    }

    /// Lets a schedule fire again; what was missed meanwhile is not caught up.
    ///
    /// # Errors
    /// [`Error::Server`] when there is none of that name.
    pub async fn resume_schedule(&self, name: &str) -> Result<ScheduleView, Error> {
        let name = name.to_owned();
        ask!(self, Request::ResumeSchedule { name }, Response::Schedule(view) => *view, "resume schedule")
    }

    /// Fires a schedule once now, beside its plan.
    ///
    /// # Errors
    /// [`Error::Server`] when there is none of that name; [`Error::AnswerLost`] when the connection broke meanwhile.
    pub async fn trigger_schedule(&self, name: &str) -> Result<Enqueued, Error> {
        let name = name.to_owned();
        let answers =
            ask!(self, Request::TriggerSchedule { name }, Response::Enqueued(answers) => answers, "trigger")?;
        answers.first().copied().ok_or(Error::UnexpectedAnswer("trigger"))
    }

    /// Removes a schedule; its jobs stay.
    ///
    /// # Errors
    /// [`Error::Server`] when there is none of that name.
    pub async fn delete_schedule(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        ask!(self, Request::DeleteSchedule { name }, Response::Done { .. } => (), "delete schedule")
    }
}

/// A schedule to be created.
///
/// ```
/// use windlass_worker::{Job, Schedule};
/// let nightly = Schedule::cron("nightly-report", "0 3 * * *", Job::new("report", &())?).zone("Europe/Berlin");
/// # Ok::<(), windlass_worker::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a schedule does nothing until it is put"]
pub struct Schedule {
    name: String,
    when: When,
    zone: String,
    catch_up: CatchUp,
    job: Job,
}

impl Schedule {
    /// Fires as a cron expression of five, six or seven fields says, or `@daily` and its kin.
    pub fn cron(name: impl Into<String>, expression: impl Into<String>, job: Job) -> Schedule {
        Schedule::new(name.into(), When::Cron(expression.into()), job)
    }

    /// Fires at a fixed interval, at least one second, counted from its creation.
    pub fn every(name: impl Into<String>, interval: Duration, job: Job) -> Schedule {
        Schedule::new(name.into(), When::EveryMs(millis(interval)), job)
    }

    fn new(name: String, when: When, job: Job) -> Schedule {
        Schedule { name, when, zone: "UTC".to_owned(), catch_up: CatchUp::default(), job }
    }

    /// IANA zone in which a cron expression is read. Defaults to `UTC`.
    pub fn zone(mut self, zone: impl Into<String>) -> Schedule {
        self.zone = zone.into();
        self
    }

    /// Does not fire for times that passed while no server ran. Defaults to firing once for the latest of them.
    pub fn skip_missed(mut self) -> Schedule {
        self.catch_up = CatchUp::Skip;
        self
    }
}

/// What [`Client::put_schedule`] takes: a [`Schedule`], or the wire form.
pub trait IntoSchedule {
    /// The wire form.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the job breaks a rule.
    fn into_spec(self) -> Result<ScheduleSpec, Error>;
}

impl IntoSchedule for ScheduleSpec {
    fn into_spec(self) -> Result<ScheduleSpec, Error> {
        Ok(self)
    }
}

impl IntoSchedule for Schedule {
    fn into_spec(self) -> Result<ScheduleSpec, Error> {
        let (queue, job) = self.job.into_parts()?;
        Ok(ScheduleSpec {
            name: self.name,
            when: self.when,
            zone: self.zone,
            catch_up: self.catch_up,
            queue,
            job,
        })
    }
}
