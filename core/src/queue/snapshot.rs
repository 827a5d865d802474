//! The queue as others may see it: the same snapshots for pages, API, metrics and tests.

use super::admin::state_of_stored;
use super::command::Stored;
use super::finished::state_of;
use super::leases::Lease;
use super::machine::{Queue, Slot};
use super::resting::Rest;
use crate::api::{AttemptView, JobView, QueueView, WorkerJob};
use crate::id::{JobId, WorkerId};
use crate::job::{Job, JobState};
use crate::time::Now;
use crate::wire::Token;

impl Queue {
    /// Counts and settings. Rates and the number of workers are the outside's to fill in.
    #[must_use]
    pub fn snapshot(&self, now: Now) -> QueueView {
        let mut counts = self.finished.counts().clone();
        counts.entry(JobState::Succeeded).or_default();
        for (state, kept) in &self.kept {
            *counts.entry(*state).or_default() += kept;
        }
        counts.insert(JobState::Ready, self.ready.count());
        counts.insert(JobState::Running, self.leases.count() as u64);
        counts.insert(JobState::Retrying, self.retrying);
        counts.insert(JobState::Scheduled, self.timers.count().saturating_sub(self.retrying));
        counts.insert(JobState::Dead, self.dead);
        QueueView {
            name: self.name.clone(),
            paused: self.record.paused_at.is_some(),
            paused_at: self.record.paused_at,
            counts,
            oldest_wait_ms: self.ready.oldest().map_or(0, |oldest| now.wall.since_ms(oldest)),
            enqueued_total: self.totals.enqueued,
            succeeded_total: self.totals.succeeded,
            failed_total: self.totals.failed,
            dead_total: self.totals.dead,
            enqueue_rate: 0.0,
            done_rate: 0.0,
            workers: 0,
            finished_max: self.finished.jobs_max(),
        }
    }

    /// Whether this lease still stands. What was to be delivered when its lease is durable may have lost it by then, and must not
    /// leave any more.
    #[must_use]
    pub fn is_leased(&self, id: &JobId, token: Token) -> bool {
        self.lease_of(id).is_some_and(|lease| lease.token == token)
    }

    /// A job that is in memory; see [`Queue::may_store`] for the others.
    #[must_use]
    pub fn view(&self, id: &JobId) -> Option<JobView> {
        match self.slots.get(id) {
            Some(Slot::Running(no)) => Some(self.running_view(self.leases.get(*no))),
            Some(Slot::Ready(place, priority)) => {
                self.ready.get(*place, *priority).map(|entry| self.show(&entry.job, JobState::Ready))
            }
            Some(Slot::Timer(place)) => self
                .timers
                .get(*place)
                .map(|entry| self.show(&entry.job, state_of_stored(*place, &entry.job))),
            None => match self.rest_of(id) {
                Some(Rest::At(place, job)) => Some(self.show(job, state_of_stored(place, job))),
                _ => self.finished.get(id).map(|job| self.show(job, state_of(job))),
            },
        }
    }

    /// A job as read from the store. A running one is shown as it runs; `None` when the queue knows that the record is
    /// out of date.
    #[must_use]
    pub fn view_of(&self, stored: &Stored) -> Option<JobView> {
        let id = &stored.job.id;
        if self.slots.contains_key(id) {
            return self.view(id);
        }
        match self.rest_of(id) {
            Some(Rest::Gone) => None,
            Some(Rest::At(place, job)) => Some(self.show(job, state_of_stored(place, job))),
            None if self.has_left(stored.place, stored.in_chunk) => None,
            None => Some(self.show(&stored.job, state_of_stored(stored.place, &stored.job))),
        }
    }

    /// Views of the running jobs, by worker and id.
    pub fn running(&self) -> impl Iterator<Item = JobView> {
        self.leases.iter().map(|(_, lease)| self.running_view(lease))
    }

    /// The jobs that a worker runs.
    #[must_use]
    pub fn running_of(&self, worker: &WorkerId) -> Vec<WorkerJob> {
        let held = self.leases.held_by(worker);
        held.into_iter()
            .map(|(_, lease)| WorkerJob {
                queue: self.name.clone(),
                id: lease.job.id,
                kind: lease.job.kind.clone(),
                attempt: lease.attempt,
                started_at: lease.started_at,
            })
            .collect()
    }

    /// Remembered finished jobs, newest first.
    pub fn finished(&self) -> impl Iterator<Item = JobView> {
        self.finished.iter().map(|job| self.show(job, state_of(job)))
    }

    fn running_view(&self, lease: &Lease) -> JobView {
        let mut view = self.show(&lease.job, JobState::Running);
        view.attempt = lease.attempt;
        view.progress.clone_from(&lease.progress);
        view.cancel_requested = lease.cancel;
        view.attempts.push(AttemptView {
            attempt: lease.attempt,
            worker: lease.worker,
            worker_name: String::new(),
            started_at: lease.started_at,
            ended_at: None,
            outcome: None,
            error: String::new(),
            token: Some(lease.token),
        });
        view
    }

    /// Ready jobs, in memory and at rest.
    #[must_use]
    pub fn ready_count(&self) -> u64 {
        self.ready.count()
    }

    /// A job of this queue in this state, as others see it.
    #[must_use]
    pub fn show(&self, job: &Job, state: JobState) -> JobView {
        show(job, state, self.name.clone())
    }
}

fn show(job: &Job, state: JobState, queue: crate::id::QueueName) -> JobView {
    let options = job.options.as_deref();
    let past = job.past.as_deref();
    let history = past.map(|p| p.history.as_slice()).unwrap_or_default();
    let last_error = history.last().map(|a| a.error.clone()).unwrap_or_default();
    JobView {
        id: job.id,
        queue,
        kind: job.kind.clone(),
        state,
        priority: job.priority,
        payload: job.payload.clone(),
        enqueued_at: job.enqueued_at,
        run_at: job.run_at,
        ended_at: past.and_then(|p| p.ended).map(|(_, at)| at),
        expires_at: job.expires_at(),
        timeout_ms: options.and_then(|o| o.timeout_ms),
        attempt: job.attempts(),
        max_attempts: job.max_attempts(),
        backoff: options.and_then(|o| o.backoff.clone()).unwrap_or_default(),
        retention_ms: options.and_then(|o| o.retention_ms),
        crashes: past.map_or(0, |p| p.crashes),
        attempts: history
            .iter()
            .map(|a| AttemptView {
                attempt: a.attempt,
                worker: a.worker,
                worker_name: String::new(),
                started_at: a.started_at,
                ended_at: Some(a.ended_at),
                outcome: Some(a.outcome),
                error: a.error.clone(),
                token: None,
            })
            .collect(),
        result: past.and_then(|p| p.result.clone()),
        reason: past.map(|p| p.reason.clone()).filter(|r| !r.is_empty()).unwrap_or(last_error),
        progress: None,
        cancel_requested: false,
        tags: options.map(|o| o.tags.clone()).unwrap_or_default(),
        headers: options.map(|o| o.headers.clone()).unwrap_or_default(),
    }
}
