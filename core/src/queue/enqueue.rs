//! Taking on jobs, and handing them out.

use std::sync::Arc;

use super::chunks::ChunkShape;
use super::command::NewJobs;
use super::effect::{LoadFrom, Out, Refusal, Reply};
use super::ids::{IdHash, IdMap};
use super::leases::Lease;
use super::machine::{Fx, Queue, Slot};
use super::marks::HandOut;
use super::resting::Rest;
use super::window::Entry;
use super::{Command, Lookup, Stored};
use crate::api::Enqueued;
use crate::id::{JobId, RequestId, WorkerId};
use crate::job::{Chunk, Holes, Job, JobSpec, RunAt};
use crate::limits;
use crate::store::keys::{self, ChunkKey, Place, Row};
use crate::time::{Now, Timestamp};
use crate::wire::Token;

/// A job on its way to a worker, with the token of its lease and the number of the attempt.
type Handed = (Arc<Job>, Token, u32);

impl Queue {
    /// Ids among these that the store may know while the queue's memory does not: to be looked up, and those found
    /// handed over in [`NewJobs::known`].
    #[must_use]
    pub fn suspects(&self, ids: impl Iterator<Item = JobId>) -> Vec<Lookup> {
        if self.filter.is_empty() && self.chunks.is_empty() {
            return Vec::new();
        }
        ids.filter(|id| self.may_store(id)).map(|id| self.lookup(id)).collect()
    }

    /// Where the store may have an id that is not in memory.
    #[must_use]
    pub fn lookup(&self, id: JobId) -> Lookup {
        Lookup { id, chunks: self.chunks.candidates(&id) }
    }

    /// Whether the id is in memory, so that no look into the store is needed.
    #[must_use]
    pub fn holds(&self, id: &JobId) -> bool {
        self.slots.contains_key(id) || self.finished.get(id).is_some() || self.rest_of(id).is_some()
    }

    /// Whether the store may know an id that is not in memory.
    #[must_use]
    pub fn may_store(&self, id: &JobId) -> bool {
        (self.chunks.may_hold(id) || self.filter.may_hold(id)) && !self.holds(id)
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
        fx.writes.extend(new.alongside);
        let jobs = new.jobs.into_iter().zip(&answers).filter(|(_, answer)| !answer.duplicate);
        let jobs = jobs.map(|(spec, answer)| Arc::new(accepted(now, answer.id, spec)));
        self.take_on(now, jobs.collect(), fx);
        fx.reply(reply, Reply::Enqueued(answers));
        Ok(())
    }

    /// Which jobs of a batch are new.
    fn judge(&self, new: &NewJobs) -> Vec<Enqueued> {
        // Where ids ascend, a look at the neighbours proves that none stands twice. Ids made within one millisecond do not.
        let ascending = new.jobs.is_sorted_by(|a, b| a.id < b.id);
        let seen_max = if ascending { 0 } else { new.jobs.len() };
        let mut seen = IdMap::with_capacity_and_hasher(seen_max, IdHash::new(self.tuning.seed));
        let judge_one = |id: JobId| {
            let again = !ascending && seen.insert(id, ()).is_some();
            let stored = new.known.binary_search_by_key(&id, |trace| trace.id).is_ok_and(|at| {
                let trace = new.known[at];
                !self.is_gone(&id) && !self.has_left(trace.place, trace.in_chunk)
            });
            Enqueued { id, duplicate: again || stored || self.is_known(&id) }
        };
        new.jobs.iter().filter_map(|job| job.id).map(judge_one).collect()
    }

    fn is_known(&self, id: &JobId) -> bool {
        self.slots.contains_key(id)
            || self.finished.get(id).is_some()
            || matches!(self.rest_of(id), Some(Rest::At(..)))
    }

    /// The store may still show a job that has just left it.
    fn is_gone(&self, id: &JobId) -> bool {
        matches!(self.rest_of(id), Some(Rest::Gone))
    }

    fn take_on(&mut self, now: Now, jobs: Vec<Arc<Job>>, fx: &mut Fx) {
        self.totals.enqueued += jobs.len() as u64;
        let (mut timers, mut ready): (Vec<_>, Vec<_>) =
            jobs.into_iter().partition(|job| job.run_at > now.wall);
        // What a chunk has in common brings them together; within it the order of arrival stays.
        timers.sort_by_key(|job| job.run_at);
        self.put_together(now.wall, &mut timers);
        for together in timers.chunk_by(|a, b| a.run_at == b.run_at) {
            self.take_on_row(Row::Timer { run_at: together[0].run_at }, together, fx);
        }
        ready.sort_by_key(|job| std::cmp::Reverse(job.priority));
        for together in ready.chunk_by(|a, b| a.priority == b.priority) {
            self.take_on_row(Row::Ready { priority: together[0].priority }, together, fx);
        }
    }

    /// Puts off scheduled jobs, sorted by their times, that come in crowds: those that are due shortly after each other become due
    /// together, with the last of them, where only that lets them share a chunk; see [`ChunkShape::wait_ms`]. Jobs that may expire
    /// keep their times, and those between them.
    fn put_together(&self, now: Timestamp, timers: &mut [Arc<Job>]) {
        let shape = self.tuning.chunk;
        let (mut windows, mut crowd, mut from) = (Vec::new(), 0, 0);
        while let Some(first) = timers.get(from) {
            let wait_ms = shape.wait_ms.min(first.run_at.since_ms(now) / limits::CHUNK_WAIT_PART);
            let end = first.run_at.plus_ms(wait_ms);
            let window = from..from + timers[from..].partition_point(|job| job.run_at <= end);
            from = window.end;
            if shape.gains(&timers[window.clone()]) {
                crowd += window.len();
                windows.push(window);
            }
        }
        if crowd < shape.crowd_min {
            return;
        }
        for window in windows {
            let together = &mut timers[window];
            let Some(due) = together.last().map(|job| job.run_at) else { continue };
            together.iter_mut().for_each(|job| Arc::make_mut(job).run_at = due);
        }
    }

    /// Takes on jobs that may share chunks.
    fn take_on_row(&mut self, row: Row, mut jobs: &[Arc<Job>], fx: &mut Fx) {
        let shape = self.tuning.chunk;
        while !jobs.is_empty() {
            let fits = fits_a_chunk(jobs, shape.jobs_max);
            let (together, rest) = jobs.split_at(fits);
            jobs = rest;
            let key = ChunkKey { row, first: self.take_seqs(fits, fx) };
            let sifts = (fits >= shape.jobs_min).then(|| self.write_chunk(key, together, fx));
            for (index, job) in together.iter().enumerate() {
                let place = key.place(index);
                if let Row::Ready { priority } = row {
                    self.make_room(priority);
                }
                match sifts {
                    // Where one of a chunk rests, all behind it do.
                    Some(sifts) if self.rests(place) => {
                        self.rest_together(key, index, &together[index..], sifts);
                        break;
                    }
                    Some(_) => {}
                    None => self.write_at(place, job, fx),
                }
                match row {
                    Row::Ready { .. } => self.admit_ready(place, Arc::clone(job)),
                    Row::Timer { .. } => self.admit_timer(place, Arc::clone(job)),
                }
            }
        }
    }

    /// Writes jobs as a chunk, and tells whether it sifts their ids.
    fn write_chunk(&mut self, key: ChunkKey, jobs: &[Arc<Job>], fx: &mut Fx) -> bool {
        fx.put(key.key(self.record.no), Chunk::encode(jobs.iter().map(|job| &**job)));
        for (index, job) in jobs.iter().enumerate() {
            if !job.id.is_timed(job.enqueued_at) {
                fx.put(keys::index_key(self.record.no, &job.id), key.place(index).to_value());
            }
        }
        let timed = jobs.iter().filter(|job| job.id.is_timed(job.enqueued_at)).map(|job| job.id);
        self.chunks.insert(key, jobs.len(), Holes::default(), &timed.collect::<Vec<_>>())
    }

    pub(super) fn fetch(&mut self, now: Now, worker: WorkerId, slots: u32, fx: &mut Fx) {
        self.leases.stop_waiting(&worker);
        if slots == 0 {
            return;
        }
        let slots = slots.min(limits::WORKER_SLOTS_MAX) as usize;
        let mut jobs = Vec::new();
        let mut hand_out = self.next_token();
        if !self.holds_back(now) {
            while jobs.len() < slots {
                let Some(entry) = self.ready.pull(self.durable) else { break };
                if entry.job.is_expired(now.wall) {
                    self.end_expired(now, entry, fx);
                } else {
                    if jobs.len().is_multiple_of(limits::HAND_OUT_JOBS_MAX) {
                        hand_out = self.next_token();
                    }
                    jobs.push(self.lease(now, worker, entry, hand_out));
                }
            }
        }
        for together in jobs.chunks(limits::HAND_OUT_JOBS_MAX) {
            self.mark_hand_out(now, worker, together, fx);
        }
        let drained = jobs.len() < slots;
        if drained {
            self.leases.wait(worker);
        }
        fx.now(Out::Deliver { worker, jobs, drained });
    }

    /// The token of the next lease.
    fn next_token(&self) -> Token {
        Token { epoch: self.tuning.epoch, delivery: self.deliveries + 1 }
    }

    fn lease(&mut self, now: Now, worker: WorkerId, entry: Entry, hand_out: Token) -> Handed {
        self.unwatch_expiry(&entry.job);
        let token = self.next_token();
        self.deliveries += 1;
        let attempt = entry.job.attempts() + 1;
        let lease = Lease {
            job: entry.job.clone(),
            place: entry.place,
            worker,
            token,
            attempt,
            started_at: now.wall,
            cancel: false,
            hand_out: Some(hand_out),
            marked_alone: false,
            progress: None,
            recovered: false,
        };
        let no = self.leases.insert(lease, now.mono.plus_ms(self.tuning.lease_ms));
        self.slots.insert(entry.job.id, Slot::Running(no));
        (entry.job, token, attempt)
    }

    /// Writes down who runs these jobs.
    fn mark_hand_out(&mut self, now: Now, worker: WorkerId, jobs: &[Handed], fx: &mut Fx) {
        let Some((_, first, _)) = jobs.first() else { return };
        let marked = jobs.iter().map(|(job, _, attempt)| (job.id, *attempt)).collect();
        let record = HandOut { worker, started_at: now.wall, jobs: marked };
        fx.put(keys::hand_out_key(self.record.no, *first), record.to_bytes());
        self.hand_outs.insert(*first, jobs.len());
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
        self.trim_timers();
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
        for Stored { place, in_chunk, job } in found {
            let key = key_of(place);
            if bound.is_some_and(|bound| key >= Some(bound)) {
                return (loaded, last, false);
            }
            last = key;
            let id = job.id;
            if self.is_old_news(&id, place, in_chunk) {
                continue;
            }
            loaded += 1;
            // Another load on its way may bring what the store showed before.
            if self.loads == 0 {
                self.resting.recall(&id);
            }
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
    pub(super) fn is_old_news(&self, id: &JobId, place: Place, in_chunk: bool) -> bool {
        // One that has gone to rest with others, and of which no more is known, has not moved.
        let moved = match self.resting.alone(id) {
            Some(Rest::Gone) => true,
            Some(Rest::At(newer, _)) => newer != place,
            None => false,
        };
        moved || self.slots.contains_key(id) || self.has_left(place, in_chunk)
    }

    fn drop_kept(&mut self, until: Timestamp, found: Vec<Stored>, exhausted: bool, fx: &mut Fx) {
        self.kept_loading = false;
        let mut next = None;
        for Stored { place, in_chunk, job } in found {
            let Place::Kept { until: kept_until, .. } = place else { continue };
            if kept_until > until {
                next = Some(kept_until);
                break;
            }
            if self.is_old_news(&job.id, place, in_chunk) {
                continue;
            }
            self.kept_out(&job);
            self.erase(place, &job, fx);
        }
        // After the last one that ran out, the next may run out at any later moment; asking once a second is cheap.
        self.kept_next = match (self.kept_count(), exhausted, next) {
            (0, _, _) => None,
            (_, _, Some(next)) => Some(next),
            (_, true, None) => Some(until.plus_ms(1_000)),
            (_, false, None) => Some(until),
        };
    }

    /// Removes a job that leaves the store, and its index entry.
    pub(super) fn erase(&mut self, place: Place, job: &Job, fx: &mut Fx) {
        let (was_in_chunk, ticket) = (self.leave(place, fx), self.this_ticket());
        if !(was_in_chunk && job.id.is_timed(job.enqueued_at)) {
            fx.delete(keys::index_key(self.record.no, &job.id));
        }
        // Who has left a chunk is known from the chunk, for as long as anybody may ask. But the store may still show where the job
        // rested before, or an earlier job of this id.
        let is_remembered = || self.resting.alone(&job.id).is_some() || self.resting.has_together(place);
        if !was_in_chunk || is_remembered() {
            self.resting.put_gone(ticket, job.id);
        }
    }
}

/// The job that a spec becomes when it is accepted.
fn accepted(now: Now, id: JobId, spec: JobSpec) -> Job {
    let run_at = match spec.run_at {
        RunAt::Now => now.wall,
        RunAt::At(at) => at,
        RunAt::AfterMs(ms) => now.wall.plus_ms(ms),
    };
    Job {
        id,
        kind: spec.kind,
        payload: spec.payload,
        priority: spec.priority,
        enqueued_at: now.wall,
        run_at: run_at.max(now.wall),
        options: spec.options,
        past: None,
    }
}

impl ChunkShape {
    /// Whether these jobs, sorted by their times, share chunks if they are due together, do not otherwise, and may be put off.
    fn gains(self, together: &[Arc<Job>]) -> bool {
        let share = fits_a_chunk(together, self.jobs_max) >= self.jobs_min;
        let shared_anyway = together
            .chunk_by(|one, next| one.run_at == next.run_at)
            .all(|at_once| fits_a_chunk(at_once, self.jobs_max) >= self.jobs_min);
        share && !shared_anyway && together.iter().all(|job| job.expires_at().is_none())
    }
}

/// How many of these jobs make up the next chunk; at least one.
fn fits_a_chunk(jobs: &[Arc<Job>], jobs_max: usize) -> usize {
    let mut bytes = 0;
    let fits = |job: &&Arc<Job>| {
        let before = bytes;
        bytes += job.weight();
        before == 0 || bytes <= limits::CHUNK_BYTES_MAX
    };
    jobs.iter().take(jobs_max).take_while(fits).count()
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
