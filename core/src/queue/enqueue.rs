//! Taking on jobs, and handing them out.

use std::sync::Arc;

use super::command::NewJobs;
use super::effect::{LoadFrom, Out, Refusal, Reply};
use super::ids::{IdHash, IdMap};
use super::leases::Lease;
use super::machine::{Fx, Queue, Slot};
use super::marks::LeaseMark;
use super::resting::Rest;
use super::window::Entry;
use super::{Command, Stored};
use crate::api::Enqueued;
use crate::id::{JobId, RequestId, WorkerId};
use crate::job::{Job, JobSpec, RunAt};
use crate::limits;
use crate::store::keys::{self, Place};
use crate::time::{Now, Timestamp};
use crate::wire::Token;

impl Queue {
    /// Ids among these that the store may know while the queue's memory does not: to be looked up, and those found
    /// handed over in [`NewJobs::known`].
    #[must_use]
    pub fn suspects(&self, ids: &[JobId]) -> Vec<JobId> {
        ids.iter().filter(|id| self.may_store(id)).copied().collect()
    }

    /// Whether the id is in memory, so that no look into the store is needed.
    #[must_use]
    pub fn holds(&self, id: &JobId) -> bool {
        self.slots.contains_key(id) || self.finished.get(id).is_some() || self.resting.get(id).is_some()
    }

    /// Whether the store may know an id that is not in memory.
    #[must_use]
    pub fn may_store(&self, id: &JobId) -> bool {
        !self.holds(id) && self.filter.may_hold(id)
    }

    pub(super) fn enqueue(
        &mut self,
        now: Now,
        reply: RequestId,
        new: NewJobs,
        fx: &mut Fx,
    ) -> Result<(), Refusal> {
        for (index, job) in new.jobs.iter().enumerate() {
            let bad = |reason: String| Refusal::BadJob { index, reason };
            job.validate(now.wall).map_err(|e| bad(e.0))?;
            if job.id.is_none() {
                return Err(bad("it has no id".to_owned()));
            }
        }
        // All are judged before the first is taken on: taking one on may send another to rest, out of sight.
        let answers = self.judge(&new);
        fx.grows = true;
        fx.writes.reserve(new.jobs.len() * 2 + new.alongside.len());
        fx.writes.extend(new.alongside);
        for (spec, answer) in new.jobs.into_iter().zip(&answers) {
            if !answer.duplicate {
                self.take_on(now, answer.id, spec, fx);
            }
        }
        fx.reply(reply, Reply::Enqueued(answers));
        Ok(())
    }

    /// Which jobs of a batch are new.
    fn judge(&self, new: &NewJobs) -> Vec<Enqueued> {
        let mut seen = IdMap::with_capacity_and_hasher(new.jobs.len(), IdHash(self.tuning.seed));
        let judge_one = |id: JobId| {
            let stored = new.known.binary_search(&id).is_ok() && !self.is_gone(&id);
            Enqueued { id, duplicate: seen.insert(id, ()).is_some() || stored || self.is_known(&id) }
        };
        new.jobs.iter().filter_map(|job| job.id).map(judge_one).collect()
    }

    fn is_known(&self, id: &JobId) -> bool {
        self.slots.contains_key(id)
            || self.finished.get(id).is_some()
            || matches!(self.resting.get(id), Some(Rest::At(..)))
    }

    /// The store may still show a job that has just left it.
    fn is_gone(&self, id: &JobId) -> bool {
        matches!(self.resting.get(id), Some(Rest::Gone))
    }

    fn take_on(&mut self, now: Now, id: JobId, spec: JobSpec, fx: &mut Fx) {
        let run_at = match spec.run_at {
            RunAt::Now => now.wall,
            RunAt::At(at) => at,
            RunAt::AfterMs(ms) => now.wall.plus_ms(ms),
        };
        let job = Job {
            id,
            kind: spec.kind,
            payload: spec.payload,
            priority: spec.priority,
            enqueued_at: now.wall,
            run_at: run_at.max(now.wall),
            options: spec.options,
            past: None,
        };
        self.totals.enqueued += 1;
        let job = Arc::new(job);
        let seq = self.take_seq(fx);
        if job.run_at > now.wall {
            let place = Place::Timer { run_at: job.run_at, seq };
            self.write_at(place, &job, fx);
            self.admit_timer(place, job);
        } else {
            let place = Place::Ready { priority: job.priority, seq };
            self.write_at(place, &job, fx);
            self.admit_ready(place, job);
        }
    }

    pub(super) fn fetch(&mut self, now: Now, worker: WorkerId, slots: u32, fx: &mut Fx) {
        self.leases.stop_waiting(&worker);
        if slots == 0 {
            return;
        }
        let slots = slots.min(limits::WORKER_SLOTS_MAX) as usize;
        let mut jobs = Vec::new();
        if self.record.paused_at.is_none() {
            while jobs.len() < slots {
                let Some(entry) = self.ready.pull(self.durable) else { break };
                if entry.job.is_expired(now.wall) {
                    self.end_expired(now, entry, fx);
                } else {
                    jobs.push(self.lease(now, worker, entry, fx));
                }
            }
        }
        let drained = jobs.len() < slots;
        if drained {
            self.leases.wait(worker);
        }
        fx.now(Out::Deliver { worker, jobs, drained });
    }

    fn lease(&mut self, now: Now, worker: WorkerId, entry: Entry, fx: &mut Fx) -> (Arc<Job>, Token, u32) {
        self.unwatch_expiry(&entry.job);
        self.deliveries += 1;
        let token = Token { epoch: self.tuning.epoch, delivery: self.deliveries };
        let attempt = entry.job.attempts() + 1;
        let mark = LeaseMark { worker, token, attempt, started_at: now.wall, cancel: false };
        fx.put(keys::lease_key(self.record.no, &entry.job.id), mark.to_bytes());
        self.slots.insert(entry.job.id, Slot::Running);
        let lease = Lease {
            job: entry.job.clone(),
            place: entry.place,
            worker,
            token,
            attempt,
            started_at: now.wall,
            cancel: false,
            progress: None,
            recovered: false,
        };
        self.leases.insert(lease, now.mono.plus_ms(self.tuning.lease_ms));
        (entry.job, token, attempt)
    }

    pub(super) fn loaded(
        &mut self,
        now: Now,
        from: LoadFrom,
        found: Vec<Stored>,
        exhausted: bool,
        fx: &mut Fx,
    ) {
        self.loads = self.loads.saturating_sub(1);
        let missing = match from {
            LoadFrom::Ready { priority, .. } => {
                let bound = self.ready.load_bound(priority);
                let (loaded, last, whole) = self.take_loaded(now, found, ready_key, bound, fx);
                self.ready.loaded(priority, loaded, last, exhausted && whole, self.durable)
            }
            LoadFrom::Timers { .. } => {
                let bound = self.timers.load_bound();
                let (loaded, last, whole) = self.take_loaded(now, found, timer_key, bound, fx);
                self.timers.loaded(loaded, last, exhausted && whole, self.durable)
            }
            LoadFrom::Kept { until, .. } => {
                self.drop_kept(until, found, exhausted, fx);
                0
            }
        };
        if missing > 0 {
            fx.now(Out::Fault(format!(
                "{missing} waiting jobs of queue {} were counted but are not in the store",
                self.name
            )));
        }
        self.trim_ready();
        self.settle_resting();
    }

    /// Takes records into memory up to `bound`. Returns how many of them were counted as resting, the last key taken, and
    /// whether all were.
    fn take_loaded<K: Ord + Copy>(
        &mut self,
        now: Now,
        found: Vec<Stored>,
        key_of: fn(Place) -> Option<K>,
        bound: Option<K>,
        fx: &mut Fx,
    ) -> (u64, Option<K>, bool) {
        let (mut loaded, mut last) = (0, None);
        for Stored { place, job } in found {
            let key = key_of(place);
            if bound.is_some_and(|bound| key >= Some(bound)) {
                return (loaded, last, false);
            }
            last = key;
            let id = job.id;
            if self.is_old_news(&id, place) {
                continue;
            }
            loaded += 1;
            self.resting.remove(&id);
            let entry = Entry { place, job: Arc::new(job), ticket: 0 };
            if entry.job.is_expired(now.wall) {
                self.timer_out(place, &entry.job);
                self.end_expired(now, entry, fx);
                continue;
            }
            if timer_key(place).is_some() {
                self.hold_timer(entry);
            } else {
                self.hold_ready(entry);
            }
        }
        (loaded, last, true)
    }

    /// Whether a record that a scan found at `place` is no longer the truth: the job is in memory (it never rested, or has
    /// come back), or it is gone, or it has moved since the scan looked.
    pub(super) fn is_old_news(&self, id: &JobId, place: Place) -> bool {
        let moved = match self.resting.get(id) {
            Some(Rest::Gone) => true,
            Some(Rest::At(newer, _)) => *newer != place,
            None => false,
        };
        moved || self.slots.contains_key(id)
    }

    fn drop_kept(&mut self, until: Timestamp, found: Vec<Stored>, exhausted: bool, fx: &mut Fx) {
        self.kept_loading = false;
        let mut next = None;
        for Stored { place, job } in found {
            let Place::Kept { until: kept_until, .. } = place else { continue };
            if kept_until > until {
                next = Some(kept_until);
                break;
            }
            if self.is_old_news(&job.id, place) {
                continue;
            }
            self.kept_out(&job);
            self.erase(place, &job.id, fx);
        }
        // After the last one that ran out, the next may run out at any later moment; asking once a second is cheap.
        self.kept_next = match (self.kept_count(), exhausted, next) {
            (0, _, _) => None,
            (_, _, Some(next)) => Some(next),
            (_, true, None) => Some(until.plus_ms(1_000)),
            (_, false, None) => Some(until),
        };
    }

    /// Removes record and index entry of a job that leaves the store.
    pub(super) fn erase(&mut self, place: Place, id: &JobId, fx: &mut Fx) {
        fx.delete(place.key(self.record.no));
        fx.delete(keys::index_key(self.record.no, id));
        let ticket = self.this_ticket();
        self.resting.put(ticket, *id, Rest::Gone);
    }
}

fn ready_key(place: Place) -> Option<u64> {
    match place {
        Place::Ready { seq, .. } => Some(seq),
        _ => None,
    }
}

fn timer_key(place: Place) -> Option<(Timestamp, u64)> {
    match place {
        Place::Timer { run_at, seq } => Some((run_at, seq)),
        _ => None,
    }
}

impl Command {
    /// Whether the command takes on new work, so that it is refused while the store's space is low.
    #[must_use]
    pub fn grows(&self) -> bool {
        matches!(self, Command::Enqueue { .. })
    }
}
