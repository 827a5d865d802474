//! What a person or an operator does to jobs: cancel, retry, delete, watch, pause.

use std::sync::Arc;

use super::command::{Known, Stored};
use super::effect::{Out, Refusal, Reply};
use super::finished::state_of;
use super::machine::{Fx, Queue, Slot};
use super::marks::LeaseMark;
use super::resting::Rest;
use crate::id::{JobId, RequestId};
use crate::job::{Job, JobState};
use crate::limits;
use crate::store::keys::{self, Place};
use crate::time::Now;

/// A job that is not running, taken out of wherever it was.
struct Taken {
    /// Where its record stands; `None` for one that is only remembered.
    place: Option<Place>,
    job: Arc<Job>,
}

impl Queue {
    pub(super) fn cancel(
        &mut self,
        now: Now,
        reply: RequestId,
        id: JobId,
        known: Known,
        fx: &mut Fx,
    ) -> Result<(), Refusal> {
        if let Some(no) = self.lease_no(&id) {
            let lease = self.leases.get_mut(no);
            (lease.cancel, lease.marked_alone) = (true, true);
            let (worker, token, job) = (lease.worker, lease.token, lease.job.clone());
            let mark = LeaseMark {
                worker,
                token,
                attempt: lease.attempt,
                started_at: lease.started_at,
                cancel: true,
            };
            fx.put(keys::lease_key(self.record.no, &id), mark.to_bytes());
            fx.now(Out::CancelRun { worker, id, token });
            fx.reply(reply, Reply::Job(job, JobState::Running));
            return Ok(());
        }
        let state = self.state_at_rest(&id, known.as_deref())?;
        if state.is_final() {
            return Err(Refusal::WrongState { id, state, advice: "it has ended already; it can be deleted" });
        }
        let Some(Taken { place: Some(place), job }) = self.take_out(&id, known) else {
            return Err(Refusal::NoJob(id));
        };
        let reason = "cancelled on request".to_owned();
        let job = self.finish(now, place, job, JobState::Cancelled, reason, fx);
        fx.reply(reply, Reply::Job(job, JobState::Cancelled));
        Ok(())
    }

    pub(super) fn retry(
        &mut self,
        now: Now,
        reply: RequestId,
        id: JobId,
        known: Known,
        fx: &mut Fx,
    ) -> Result<(), Refusal> {
        let state = self.state_at_rest(&id, known.as_deref())?;
        match state {
            JobState::Running => {
                return Err(Refusal::WrongState { id, state, advice: "it runs; cancel it first" });
            }
            JobState::Succeeded => {
                return Err(Refusal::WrongState { id, state, advice: "enqueue a new job to run it again" });
            }
            _ => {}
        }
        let Some(taken) = self.take_out(&id, known) else { return Err(Refusal::NoJob(id)) };
        let job = self.revive(now, taken, fx);
        fx.reply(reply, Reply::Job(job, JobState::Ready));
        Ok(())
    }

    pub(super) fn delete(
        &mut self,
        reply: RequestId,
        id: JobId,
        known: Known,
        fx: &mut Fx,
    ) -> Result<(), Refusal> {
        let state = self.state_at_rest(&id, known.as_deref())?;
        if state == JobState::Running {
            return Err(Refusal::WrongState { id, state, advice: "it runs; cancel it first" });
        }
        let Some(taken) = self.take_out(&id, known) else { return Err(Refusal::NoJob(id)) };
        if let Some(place) = taken.place {
            self.erase(place, &taken.job, fx);
        }
        for request in self.watchers.take(&id) {
            fx.reply(request, Reply::Refused(Refusal::NoJob(id)));
        }
        fx.reply(reply, Reply::Done(1));
        Ok(())
    }

    pub(super) fn bury_waiting(
        &mut self,
        now: Now,
        reply: RequestId,
        id: JobId,
        known: Known,
        fx: &mut Fx,
    ) -> Result<(), Refusal> {
        let state = self.state_at_rest(&id, known.as_deref())?;
        if !matches!(state, JobState::Scheduled | JobState::Retrying) {
            return Err(Refusal::WrongState {
                id,
                state,
                advice: "only a job that waits for its time can be made dead",
            });
        }
        let Some(Taken { place: Some(place), job }) = self.take_out(&id, known) else {
            return Err(Refusal::NoJob(id));
        };
        let job = self.bury(now, place, job, "made dead on request".to_owned(), fx);
        fx.reply(reply, Reply::Job(job, JobState::Dead));
        Ok(())
    }

    pub(super) fn retry_dead(&mut self, now: Now, reply: RequestId, dead: Vec<Stored>, fx: &mut Fx) {
        let mut count = 0;
        for stored in dead {
            if let Some(taken) = self.take_dead(stored) {
                self.revive(now, taken, fx);
                count += 1;
            }
        }
        fx.reply(reply, Reply::Done(count));
    }

    pub(super) fn delete_dead(&mut self, reply: RequestId, dead: Vec<Stored>, fx: &mut Fx) {
        let mut count = 0;
        for stored in dead {
            if let Some(Taken { place: Some(place), job }) = self.take_dead(stored) {
                self.erase(place, &job, fx);
                count += 1;
            }
        }
        fx.reply(reply, Reply::Done(count));
    }

    pub(super) fn watch(
        &mut self,
        reply: RequestId,
        id: JobId,
        known: Known,
        fx: &mut Fx,
    ) -> Result<(), Refusal> {
        let state = self.state_at_rest(&id, known.as_deref())?;
        if state.is_final() {
            let job = self.remembered(&id).or_else(|| self.at_rest(&id, known).map(|(_, job)| job));
            let Some(job) = job else { return Err(Refusal::NoJob(id)) };
            fx.reply(reply, Reply::Job(job, state));
        } else if !self.watchers.add(id, reply) {
            return Err(Refusal::TooManyWatchers(limits::WATCHERS_PER_QUEUE_MAX));
        }
        Ok(())
    }

    pub(super) fn set_paused(&mut self, now: Now, reply: RequestId, paused: bool, fx: &mut Fx) {
        if paused != self.record.paused_at.is_some() {
            self.record.paused_at = paused.then_some(now.wall);
            self.save_record(fx);
        }
        fx.reply(reply, Reply::Done(1));
    }

    pub(super) fn set_retention(&mut self, reply: RequestId, finished_max: u32, fx: &mut Fx) {
        self.record.finished_max = finished_max;
        self.finished.set_max(finished_max);
        self.save_record(fx);
        fx.reply(reply, Reply::Done(1));
    }

    /// A finished job that is remembered, or was kept a moment ago.
    fn remembered(&self, id: &JobId) -> Option<Arc<Job>> {
        self.finished.get(id).cloned().or_else(|| match self.rest_of(id) {
            Some(Rest::At(_, job)) => Some(job.clone()),
            _ => None,
        })
    }

    /// The state of any job that the queue or the store knows.
    fn state_at_rest(&self, id: &JobId, known: Option<&Stored>) -> Result<JobState, Refusal> {
        let from_slot = self.slots.get(id).map(|slot| match slot {
            Slot::Running(_) => JobState::Running,
            Slot::Ready(..) => JobState::Ready,
            Slot::Timer(_) => JobState::Scheduled,
        });
        let from_memory = || self.finished.get(id).map(|job| state_of(job));
        let from_rest = || match self.rest_of(id) {
            Some(Rest::At(place, job)) => Some(state_of_stored(place, job)),
            Some(Rest::Gone) => None,
            None => known
                .filter(|s| s.job.id == *id && !self.has_left(s.place, s.in_chunk))
                .map(|s| state_of_stored(s.place, &s.job)),
        };
        from_slot.or_else(from_memory).or_else(from_rest).ok_or(Refusal::NoJob(*id))
    }

    /// Takes a job that does not run out of memory and counters. Its record still stands.
    fn take_out(&mut self, id: &JobId, known: Known) -> Option<Taken> {
        match self.slots.get(id).copied() {
            Some(Slot::Running(_)) => None,
            Some(Slot::Ready(place, priority)) => {
                let entry = self.ready.take(place, priority)?;
                self.slots.remove(id);
                self.unwatch_expiry(&entry.job);
                Some(Taken { place: Some(place), job: entry.job })
            }
            Some(Slot::Timer(place)) => {
                let entry = self.take_timer(place)?;
                self.slots.remove(id);
                self.unwatch_expiry(&entry.job);
                Some(Taken { place: Some(place), job: entry.job })
            }
            None => {
                if let Some(job) = self.finished.remove(id) {
                    return Some(Taken { place: None, job });
                }
                let (place, job) = self.at_rest(id, known)?;
                self.leave_rest(place, &job).then_some(Taken { place: Some(place), job })
            }
        }
    }

    /// Counts a resting job out. `false` when the place does not rest: then the answer of the store was old.
    fn leave_rest(&mut self, place: Place, job: &Job) -> bool {
        match place {
            Place::Ready { priority, seq } => self.ready.forget_cold(priority, seq),
            Place::Timer { run_at, seq } => {
                let resting = self.timers.forget_cold((run_at, seq));
                if resting {
                    self.timer_out(place, job);
                }
                resting
            }
            Place::Dead { .. } => {
                self.dead = self.dead.saturating_sub(1);
                true
            }
            Place::Kept { .. } => {
                self.kept_out(job);
                true
            }
        }
    }

    /// A dead job of a bulk operation, unless it has left the dead since it was read.
    fn take_dead(&mut self, stored: Stored) -> Option<Taken> {
        let is_dead = matches!(stored.place, Place::Dead { .. });
        if !is_dead || self.is_old_news(&stored.job.id, stored.place, stored.in_chunk) {
            return None;
        }
        self.dead = self.dead.saturating_sub(1);
        Some(Taken { place: Some(stored.place), job: Arc::new(stored.job) })
    }

    /// Makes a job ready at once, with at least one attempt more.
    fn revive(&mut self, now: Now, taken: Taken, fx: &mut Fx) -> Arc<Job> {
        let mut job = Arc::unwrap_or_clone(taken.job);
        job.run_at = now.wall;
        if job.attempts() >= job.max_attempts() {
            let attempts = job.attempts();
            job.options.get_or_insert_with(Box::default).max_attempts = Some(attempts + 1);
        }
        if let Some(options) = &mut job.options
            && options.expires_at.is_some_and(|at| at <= now.wall)
        {
            options.expires_at = None;
        }
        if let Some(past) = &mut job.past {
            past.crashes = 0;
            past.ended = None;
            past.result = None;
            past.reason.clear();
        }
        if let Some(place) = taken.place {
            self.leave(place, fx);
        }
        let place = Place::Ready { priority: job.priority, seq: self.take_seq(fx) };
        self.write_at(place, &job, fx);
        let job = Arc::new(job);
        self.make_room(job.priority);
        self.admit_ready(place, job.clone());
        job
    }
}

/// The state of a job whose record stands at `place`.
pub(super) fn state_of_stored(place: Place, job: &Job) -> JobState {
    match place {
        Place::Ready { .. } => JobState::Ready,
        Place::Timer { .. } if job.attempts() > 0 => JobState::Retrying,
        Place::Timer { .. } => JobState::Scheduled,
        Place::Dead { .. } => JobState::Dead,
        Place::Kept { .. } => state_of(job),
    }
}
