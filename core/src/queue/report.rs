//! Ends of attempts: what a worker reports, and what happens when a worker is lost.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::effect::{Out, Reply};
use super::leases::Ended;
use super::machine::{Fx, Queue, Slot};
use super::window::Entry;
use crate::api::ErrorCode;
use crate::id::{JobId, RequestId, WorkerId};
use crate::job::{AttemptOutcome, AttemptRecord, Job, JobState, Payload, clip, encode_job};
use crate::limits;
use crate::retry::mix;
use crate::store::keys::{self, Place};
use crate::time::Now;
use crate::wire::{ReportResult, Token, Verdict};

impl Queue {
    pub(super) fn report(
        &mut self,
        now: Now,
        reply: RequestId,
        outcomes: Vec<(JobId, Token, Verdict)>,
        fx: &mut Fx,
    ) {
        let mut results = Vec::with_capacity(outcomes.len());
        for (id, token, verdict) in outcomes {
            results.push(if self.prove(&id, token).is_none() {
                ReportResult::Refused(ErrorCode::StaleLease)
            } else {
                self.conclude(now, &id, verdict, fx);
                ReportResult::Recorded
            });
        }
        fx.reply(reply, Reply::Reported(results));
    }

    fn conclude(&mut self, now: Now, id: &JobId, verdict: Verdict, fx: &mut Fx) {
        let Some((job, lease)) = self.end_lease(id, fx) else { return };
        // Somebody asked for the end of this job: only a handler that finished all the same has another say.
        let verdict = match verdict {
            Verdict::Done(result) => Verdict::Done(result),
            _ if lease.cancel => Verdict::Cancelled { reason: "cancelled on request".to_owned() },
            other => other,
        };
        match verdict {
            Verdict::Done(result) => self.succeed(now, job, lease, result, fx),
            Verdict::Retry { error, retry_in_ms } => self.fail(now, job, lease, error, retry_in_ms, fx),
            Verdict::Snooze { ms } => {
                let mut job = noted(now, job, &lease, AttemptOutcome::Snoozed, String::new());
                Arc::make_mut(&mut job).run_at = now.wall.plus_ms(ms.min(limits::DELAY_MS_MAX));
                self.move_to_timer(lease.place, job, fx);
            }
            Verdict::Dead { error } => {
                let job = noted(now, job, &lease, AttemptOutcome::Failed, error.clone());
                self.totals.failed += 1;
                self.bury(now, lease.place, job, clip(error, limits::ERROR_BYTES_MAX), fx);
            }
            Verdict::Cancelled { reason } => {
                let job = noted(now, job, &lease, AttemptOutcome::Cancelled, reason.clone());
                self.finish(now, lease.place, job, JobState::Cancelled, reason, fx);
            }
            Verdict::Released => {
                let job = noted(now, job, &lease, AttemptOutcome::Released, String::new());
                self.make_ready_again(lease.place, job, fx);
            }
        }
    }

    /// Takes the lease away; the record at its place is dealt with by the caller.
    fn end_lease(&mut self, id: &JobId, fx: &mut Fx) -> Option<(Arc<Job>, Ended)> {
        let no = self.lease_no(id)?;
        self.slots.remove(id);
        let lease = self.leases.remove(no);
        if let Some(first) = lease.hand_out {
            self.hand_outs.end(first, lease.token);
        }
        if lease.marked_alone {
            fx.delete(keys::lease_key(self.record.no, id));
        }
        Some(lease.end())
    }

    fn succeed(&mut self, now: Now, job: Arc<Job>, lease: Ended, result: Option<Payload>, fx: &mut Fx) {
        let mut job = noted(now, job, &lease, AttemptOutcome::Succeeded, String::new());
        let result = result.filter(|result| result.data.len() <= limits::RESULT_BYTES_MAX);
        Arc::make_mut(&mut job).past_mut().result = result;
        self.totals.succeeded += 1;
        self.finish(now, lease.place, job, JobState::Succeeded, String::new(), fx);
    }

    fn fail(
        &mut self,
        now: Now,
        job: Arc<Job>,
        lease: Ended,
        error: String,
        retry_in_ms: Option<u64>,
        fx: &mut Fx,
    ) {
        self.totals.failed += 1;
        let mut job = noted(now, job, &lease, AttemptOutcome::Failed, error);
        if job.attempts() >= job.max_attempts() {
            let reason = format!("failed {} of {} attempts", job.attempts(), job.max_attempts());
            self.bury(now, lease.place, job, reason, fx);
            return;
        }
        let backoff = job.options.as_ref().and_then(|o| o.backoff.clone()).unwrap_or_default();
        let seed = mix(self.tuning.seed ^ u64::from_le_bytes(first_half(&job.id)));
        let wait = retry_in_ms.unwrap_or_else(|| backoff.delay_ms(job.attempts(), seed));
        Arc::make_mut(&mut job).run_at = now.wall.plus_ms(wait.min(limits::DELAY_MS_MAX));
        self.move_to_timer(lease.place, job, fx);
    }

    /// The lease ended because its worker is gone.
    fn lose(&mut self, now: Now, id: &JobId, why: &str, fx: &mut Fx) {
        let Some((job, lease)) = self.end_lease(id, fx) else { return };
        fx.now(Out::LeaseEnded { worker: lease.worker, id: *id, token: lease.token });
        self.totals.failed += 1;
        let mut job = noted(now, job, &lease, AttemptOutcome::Lost, why.to_owned());
        let past = Arc::make_mut(&mut job).past_mut();
        // After a restart of the server the worker may be gone for a reason that has nothing to do with the job.
        past.crashes += u32::from(!lease.recovered);
        let crashes = past.crashes;
        if lease.cancel {
            let reason = "cancelled on request; its worker was lost".to_owned();
            self.finish(now, lease.place, job, JobState::Cancelled, reason, fx);
        } else if crashes >= limits::CRASHES_MAX {
            let reason = format!("took its worker down with it {crashes} times; last: {why}");
            self.bury(now, lease.place, job, reason, fx);
        } else if job.attempts() >= job.max_attempts() {
            let reason = format!("its worker was lost in the last of {} attempts: {why}", job.max_attempts());
            self.bury(now, lease.place, job, reason, fx);
        } else {
            self.make_ready_again(lease.place, job, fx);
        }
    }

    /// Back to its place in the queue, without a wait.
    fn make_ready_again(&mut self, place: Place, job: Arc<Job>, fx: &mut Fx) {
        if self.chunks.take(place) {
            // With a history it has a record of its own from now on.
            self.write_at(place, &job, fx);
        } else {
            fx.put(place.key(self.record.no), encode_job(&job));
        }
        let ticket = self.this_ticket();
        self.take_back(Entry { place, job, ticket });
    }

    fn move_to_timer(&mut self, from: Place, job: Arc<Job>, fx: &mut Fx) {
        let place = Place::Timer { run_at: job.run_at, seq: self.take_seq(fx) };
        self.leave(from, fx);
        self.write_at(place, &job, fx);
        self.admit_timer(place, job);
    }

    /// Ends a job for good: remembered in memory, or kept durably when it asks for that. Returns it as it ended.
    pub(super) fn finish(
        &mut self,
        now: Now,
        from: Place,
        mut job: Arc<Job>,
        state: JobState,
        reason: String,
        fx: &mut Fx,
    ) -> Arc<Job> {
        let past = Arc::make_mut(&mut job).past_mut();
        past.ended = Some((state, now.wall));
        past.reason = clip(reason, limits::ERROR_BYTES_MAX);
        let id = job.id;
        match job.options.as_ref().and_then(|o| o.retention_ms) {
            Some(retention_ms) if retention_ms > 0 => {
                let until = now.wall.plus_ms(retention_ms.min(limits::DELAY_MS_MAX));
                let place = Place::Kept { until, seq: self.take_seq(fx) };
                self.leave(from, fx);
                self.write_at(place, &job, fx);
                *self.kept.entry(state).or_default() += 1;
                self.kept_next = Some(self.kept_next.map_or(until, |next| next.min(until)));
                self.filter.insert(&id);
                self.resting.put(self.this_ticket(), place, job.clone());
            }
            _ => {
                self.erase(from, &job, fx);
                self.finished.push(job.clone());
            }
        }
        self.tell_watchers(&job, state, fx);
        job
    }

    /// Puts a job among the dead, where it stays until somebody acts. Returns it as it ended.
    pub(super) fn bury(
        &mut self,
        now: Now,
        from: Place,
        mut job: Arc<Job>,
        reason: String,
        fx: &mut Fx,
    ) -> Arc<Job> {
        let past = Arc::make_mut(&mut job).past_mut();
        past.ended = Some((JobState::Dead, now.wall));
        past.reason = reason;
        let place = Place::Dead { seq: self.take_seq(fx) };
        self.leave(from, fx);
        self.write_at(place, &job, fx);
        self.dead += 1;
        self.totals.dead += 1;
        self.filter.insert(&job.id);
        self.resting.put(self.this_ticket(), place, job.clone());
        self.tell_watchers(&job, JobState::Dead, fx);
        job
    }

    fn tell_watchers(&mut self, job: &Arc<Job>, state: JobState, fx: &mut Fx) {
        for request in self.watchers.take(&job.id) {
            fx.reply(request, Reply::Job(job.clone(), state));
        }
    }

    /// A waiting job's expiry has come.
    pub(super) fn expire(&mut self, now: Now, id: &JobId, fx: &mut Fx) {
        let entry = match self.slots.get(id).copied() {
            Some(Slot::Ready(place, priority)) => self.ready.take(place, priority),
            Some(Slot::Timer(place)) => self.take_timer(place),
            _ => None,
        };
        if let Some(entry) = entry {
            self.end_expired(now, entry, fx);
        }
    }

    /// Ends an entry that has left its window because its expiry came before a worker did.
    pub(super) fn end_expired(&mut self, now: Now, entry: Entry, fx: &mut Fx) {
        self.unwatch_expiry(&entry.job);
        self.slots.remove(&entry.job.id);
        let reason = "no worker took it before it expired".to_owned();
        self.finish(now, entry.place, entry.job, JobState::Expired, reason, fx);
    }

    pub(super) fn progress(&mut self, id: &JobId, token: Token, percent: u8, message: String) {
        if let Some(lease) = self.prove(id, token) {
            lease.progress = Some((percent.min(100), clip(message, limits::PROGRESS_BYTES_MAX)));
        }
    }

    pub(super) fn renew(&mut self, now: Now, worker: &WorkerId) {
        self.leases.set_deadline(worker, now.mono.plus_ms(self.tuning.lease_ms));
    }

    pub(super) fn away(&mut self, now: Now, worker: &WorkerId) {
        self.leases.stop_waiting(worker);
        self.leases.set_deadline(worker, now.mono.plus_ms(self.tuning.resume_grace_ms));
    }

    pub(super) fn lost(&mut self, now: Now, worker: &WorkerId, why: &str, fx: &mut Fx) {
        self.leases.stop_waiting(worker);
        self.end_leases_of(now, worker, why, fx);
    }

    /// A worker that was only late may still wait for jobs in its session, and would never ask again without a notice: its
    /// wish ends with its session.
    pub(super) fn end_overdue_leases(&mut self, now: Now, fx: &mut Fx) {
        for worker in self.leases.overdue(now.mono) {
            self.end_leases_of(now, &worker, "its worker was silent until the lease ran out", fx);
        }
    }

    /// The jobs that a worker holds, by id.
    fn held_by(&self, worker: &WorkerId) -> Vec<JobId> {
        self.leases.held_by(worker).into_iter().map(|(_, lease)| lease.job.id).collect()
    }

    fn end_leases_of(&mut self, now: Now, worker: &WorkerId, why: &str, fx: &mut Fx) {
        for id in self.held_by(worker) {
            self.lose(now, &id, why, fx);
        }
    }

    /// The worker is back. What it no longer runs it never received, or reports on its own.
    pub(super) fn resume(
        &mut self,
        now: Now,
        worker: WorkerId,
        presented: Vec<(JobId, Token)>,
        reply: RequestId,
        fx: &mut Fx,
    ) {
        let (mut kept, mut lost) = (Vec::new(), Vec::new());
        let mut runs = BTreeSet::new();
        for (id, token) in presented {
            match self.prove(&id, token) {
                Some(lease) if lease.worker == worker => {
                    lease.recovered = false;
                    if lease.cancel {
                        fx.now(Out::CancelRun { worker, id, token });
                    }
                    kept.push((id, token));
                    runs.insert(id);
                }
                _ => lost.push((id, token)),
            }
        }
        for id in self.held_by(&worker) {
            if !runs.contains(&id) {
                self.conclude(now, &id, Verdict::Released, fx);
            }
        }
        self.leases.set_deadline(&worker, now.mono.plus_ms(self.tuning.lease_ms));
        fx.reply(reply, Reply::Resumed { kept, lost });
    }
}

fn first_half(id: &JobId) -> [u8; 8] {
    let mut half = [0; 8];
    half.copy_from_slice(&id.0[8..]);
    half
}

/// The job with this run in its history.
fn noted(now: Now, mut job: Arc<Job>, lease: &Ended, outcome: AttemptOutcome, error: String) -> Arc<Job> {
    // Nobody else holds it any more, unless the hand-out is still on its way to the worker.
    let past = Arc::make_mut(&mut job).past_mut();
    let used = matches!(outcome, AttemptOutcome::Succeeded | AttemptOutcome::Failed | AttemptOutcome::Lost);
    if used {
        past.attempts = lease.attempt;
    }
    if past.history.len() >= limits::ATTEMPT_HISTORY_MAX {
        past.history.remove(0);
    }
    // Most have one, and there are many.
    past.history.reserve_exact(1);
    past.history.push(AttemptRecord {
        attempt: lease.attempt,
        worker: lease.worker,
        started_at: lease.started_at,
        ended_at: now.wall,
        outcome,
        error: clip(error, limits::ERROR_BYTES_MAX),
    });
    job
}
