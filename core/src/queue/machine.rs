//! The queue's state, and the door to it: one command in, effects out.

use super::chunks::{ChunkShape, Chunks};
use super::command::Command;
use super::effect::{Effects, LoadFrom, Out, Refusal, Release, Reply, Ticket};
use super::filter::Filter;
use super::finished::{Finished, Watchers, state_of};
use super::handouts::HandOuts;
use super::ids::{IdHash, IdMap};
use super::leases::{Lease, LeaseNo, Leases};
use super::marks::QueueRecord;
use super::ready::Ready;
use super::resting::Resting;
use super::timers::Timers;
use crate::api::StateCounts;
use crate::id::{JobId, QueueName, RequestId};
use crate::job::{Job, encode_job};
use crate::limits;
use crate::store::keys::{self, Place, QueueNo};
use crate::store::{Epoch, Write};
use crate::time::{Mono, Now, Timestamp};
use crate::wire::Token;

/// What a queue is told once, at its birth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// Epoch of the store; first half of every token.
    pub epoch: Epoch,
    /// Decides jitter and hashing; a random number from outside.
    pub seed: u64,
    /// How long a lease is good without a sign of life. Defaults to [`limits::LEASE_MS_DEFAULT`].
    pub lease_ms: u64,
    /// How long a lost session may come back. Defaults to [`limits::RESUME_GRACE_MS_DEFAULT`].
    pub resume_grace_ms: u64,
    /// How much of the ready jobs, and of the timers, is held in memory.
    pub window: Window,
    /// How many jobs that arrive together share a record.
    pub chunk: ChunkShape,
    /// Whether a job may leave before its lease is durable.
    pub dispatch: Dispatch,
}

/// When jobs leave for their worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dispatch {
    /// At once; the mark of the lease is written with the next group. Right where nobody else can own the store meanwhile.
    #[default]
    Fast,
    /// When the mark is durable, so that an owner who was replaced unawares hands nothing out.
    Safe,
}

/// The part of a region that a queue holds in memory. Tests make it tiny, so that a few dozen jobs exercise what takes
/// thousands in service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Jobs held. Defaults to [`limits::WINDOW_JOBS`].
    pub jobs: usize,
    /// Bytes held. Defaults to [`limits::WINDOW_BYTES`].
    pub bytes: usize,
    /// Jobs fetched at a time when the window runs low; fewer than `jobs`. Defaults to [`limits::WINDOW_LOAD_JOBS`].
    pub load: usize,
}

impl Default for Window {
    fn default() -> Window {
        Window { jobs: limits::WINDOW_JOBS, bytes: limits::WINDOW_BYTES, load: limits::WINDOW_LOAD_JOBS }
    }
}

/// When the outside must send [`Command::Tick`] at the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deadline {
    /// By the wall clock: timers, expiries.
    pub wall: Option<Timestamp>,
    /// By the monotonic clock: leases.
    pub mono: Option<Mono>,
}

/// Counters since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Jobs enqueued.
    pub enqueued: u64,
    /// Jobs succeeded.
    pub succeeded: u64,
    /// Attempts failed or lost.
    pub failed: u64,
    /// Jobs gone dead.
    pub dead: u64,
}

/// Where a job in memory stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// In the ready window.
    Ready(Place, i8),
    /// In the timer window.
    Timer(Place),
    /// Leased, with the number of the lease.
    Running(LeaseNo),
}

/// A queue. See the module for what it holds.
#[derive(Debug)]
pub struct Queue {
    pub(super) name: QueueName,
    pub(super) record: QueueRecord,
    pub(super) tuning: Tuning,
    pub(super) next_seq: u64,
    /// Hand-outs under this epoch; second half of the tokens.
    pub(super) deliveries: u64,
    pub(super) ticket: Ticket,
    pub(super) durable: Ticket,
    pub(super) slots: IdMap<Slot>,
    pub(super) ready: Ready,
    pub(super) chunks: Chunks,
    pub(super) timers: Timers,
    pub(super) leases: Leases,
    pub(super) hand_outs: HandOuts,
    pub(super) finished: Finished,
    pub(super) watchers: Watchers,
    pub(super) resting: Resting,
    pub(super) filter: Filter,
    pub(super) expiries: std::collections::BTreeSet<(Timestamp, JobId)>,
    pub(super) retrying: u64,
    pub(super) dead: u64,
    /// Ended jobs that are kept durably, by their state.
    pub(super) kept: StateCounts,
    pub(super) kept_next: Option<Timestamp>,
    pub(super) kept_loading: bool,
    pub(super) loads: u32,
    pub(super) totals: Totals,
}

/// When an out may leave, before the ticket of its own batch is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    Now,
    Commit,
}

/// Effects in the making.
#[derive(Debug, Default)]
pub(super) struct Fx {
    pub(super) writes: Vec<Write>,
    pub(super) outs: Vec<(Hold, Out)>,
    /// Whether new work is taken on.
    pub(super) grows: bool,
}

impl Fx {
    pub(super) fn put(&mut self, key: bytes::Bytes, value: bytes::Bytes) {
        self.writes.push(Write::Put { key, value });
    }

    pub(super) fn delete(&mut self, key: bytes::Bytes) {
        self.writes.push(Write::Delete { key });
    }

    /// An answer that must not leave before what it says is durable.
    pub(super) fn reply(&mut self, request: RequestId, reply: Reply) {
        self.outs.push((Hold::Commit, Out::Reply(request, reply)));
    }

    pub(super) fn now(&mut self, out: Out) {
        self.outs.push((Hold::Now, out));
    }
}

impl Queue {
    /// A new queue, with the effect that records it.
    #[must_use]
    pub fn create(name: QueueName, no: QueueNo, tuning: Tuning, now: Now) -> (Queue, Effects) {
        let record = QueueRecord {
            no,
            paused_at: None,
            finished_max: limits::FINISHED_JOBS_DEFAULT,
            seq_reserved: limits::SEQ_BLOCK,
            created_at: now.wall,
        };
        let mut queue = Queue::empty(name, record, tuning, 1);
        let mut fx = Fx::default();
        queue.save_record(&mut fx);
        let effects = queue.seal(fx);
        (queue, effects)
    }

    pub(super) fn empty(name: QueueName, record: QueueRecord, tuning: Tuning, next_seq: u64) -> Queue {
        let seed = tuning.seed;
        Queue {
            finished: Finished::new(seed, record.finished_max),
            name,
            record,
            tuning,
            next_seq,
            deliveries: 0,
            ticket: 0,
            durable: 0,
            slots: IdMap::with_hasher(IdHash::new(seed)),
            ready: Ready::new(tuning.window),
            chunks: Chunks::new(seed),
            timers: Timers::new(tuning.window),
            leases: Leases::new(),
            hand_outs: HandOuts::default(),
            watchers: Watchers::default(),
            resting: Resting::new(seed),
            filter: Filter::new(seed),
            expiries: std::collections::BTreeSet::new(),
            retrying: 0,
            dead: 0,
            kept: StateCounts::new(),
            kept_next: None,
            kept_loading: false,
            loads: 0,
            totals: Totals::default(),
        }
    }

    /// Carries out one command.
    ///
    /// # Errors
    /// A [`Refusal`]: the caller's request cannot be granted, and nothing has changed.
    pub fn apply(&mut self, now: Now, command: Command) -> Result<Effects, Refusal> {
        let mut fx = Fx::default();
        match command {
            Command::Enqueue { reply, new } => self.enqueue(now, reply, new, &mut fx)?,
            Command::Fetch { worker, slots } => self.fetch(now, worker, slots, &mut fx),
            Command::Report { reply, outcomes } => self.report(now, reply, outcomes, &mut fx),
            Command::Progress { id, token, percent, message } => self.progress(&id, token, percent, message),
            Command::Renew { worker } => self.renew(now, &worker),
            Command::Resume { worker, leases, reply } => self.resume(now, worker, leases, reply, &mut fx),
            Command::Away { worker } => self.away(now, &worker),
            Command::Lost { worker, why } => self.lost(now, &worker, &why, &mut fx),
            Command::Cancel { reply, id, known } => self.cancel(now, reply, id, known, &mut fx)?,
            Command::Retry { reply, id, known } => self.retry(now, reply, id, known, &mut fx)?,
            Command::Delete { reply, id, known } => self.delete(reply, id, known, &mut fx)?,
            Command::Bury { reply, id, known } => self.bury_waiting(now, reply, id, known, &mut fx)?,
            Command::RetryDead { reply, dead } => self.retry_dead(now, reply, dead, &mut fx),
            Command::DeleteDead { reply, dead } => self.delete_dead(reply, dead, &mut fx),
            Command::Watch { reply, id, known } => self.watch(reply, id, known, &mut fx)?,
            Command::Unwatch { reply, id } => self.watchers.remove(&id, reply),
            Command::SetPaused { reply, paused } => self.set_paused(now, reply, paused, &mut fx),
            Command::SetRetention { reply, finished_max } => self.set_retention(reply, finished_max, &mut fx),
            Command::Loaded { from, found, exhausted } => self.loaded(now, from, found, exhausted, &mut fx),
            Command::Durable(ticket) => self.made_durable(ticket),
            Command::Tick => {}
        }
        self.advance(now, &mut fx);
        Ok(self.seal(fx))
    }

    /// When [`Command::Tick`] is due at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Deadline {
        let expiry = self.expiries.first().map(|(at, _)| *at);
        let kept = if self.kept_loading { None } else { self.kept_next };
        let wall = [self.timers.next(), expiry, kept].into_iter().flatten().min();
        Deadline { wall, mono: self.leases.next() }
    }

    /// What every command ends with: time has passed, jobs may have become ready, windows may run low.
    pub(super) fn advance(&mut self, now: Now, fx: &mut Fx) {
        self.end_overdue_leases(now, fx);
        while let Some(entry) = self.timers.pop_due(now.wall) {
            self.timer_out(entry.place, &entry.job);
            self.slots.insert(entry.job.id, Slot::Ready(entry.place, entry.job.priority));
            self.ready.put(entry);
        }
        while let Some(&(at, id)) = self.expiries.first() {
            if at > now.wall {
                break;
            }
            self.expiries.pop_first();
            self.expire(now, &id, fx);
        }
        let notes = self.chunks.is_dirty() || self.hand_outs.is_dirty();
        let written = self.ticket + u64::from(!fx.writes.is_empty() || notes);
        let (due, due_bytes) = (self.ready.due(), self.ready.due_bytes());
        let timers = self.timers.wants_load(due, due_bytes, self.durable, written);
        let ready = self.ready.wants_load(self.durable, written);
        for load in [timers, ready].into_iter().flatten() {
            self.request_load(load, fx);
        }
        if let Some(until) = self.kept_next
            && until <= now.wall
            && !self.kept_loading
        {
            self.kept_loading = true;
            self.request_load(LoadFrom::Kept { until: now.wall, limit: self.tuning.window.load }, fx);
        }
        self.send_notices(now, fx);
    }

    fn request_load(&mut self, load: LoadFrom, fx: &mut Fx) {
        self.loads += 1;
        fx.now(Out::Load(load));
    }

    /// Whether nothing may be handed out: the queue is paused, or what was overdue at the start is still being read.
    pub(super) fn holds_back(&self, now: Now) -> bool {
        self.record.paused_at.is_some() || self.timers.hides_due(now.wall)
    }

    /// Tells waiting workers that there are jobs: one worker per job, so that none is told in vain.
    fn send_notices(&mut self, now: Now, fx: &mut Fx) {
        if !self.leases.has_waiting() || self.ready.hot() == 0 {
            return;
        }
        if !self.ready.can_pull(self.durable) || self.holds_back(now) {
            return;
        }
        for worker in self.leases.take_waiting(self.ready.hot()) {
            fx.now(Out::Notice { worker });
        }
    }

    fn made_durable(&mut self, ticket: Ticket) {
        debug_assert!(ticket <= self.ticket, "batch {ticket} of {} is durable", self.ticket);
        self.durable = self.durable.max(ticket);
        self.settle_resting();
    }

    pub(super) fn seal(&mut self, mut fx: Fx) -> Effects {
        self.chunks.write(self.record.no, &mut fx.writes);
        self.hand_outs.write(self.record.no, &mut fx.writes);
        let ticket = (!fx.writes.is_empty()).then(|| {
            self.ticket += 1;
            self.ticket
        });
        let commit = if self.ticket > self.durable { Release::Durable(self.ticket) } else { Release::Now };
        let safe = self.tuning.dispatch == Dispatch::Safe;
        // All that a worker is told, or the end of a lease would overtake its beginning.
        let release = |hold: Hold, out: &Out| {
            let hold = if safe && out.worker().is_some() { Hold::Commit } else { hold };
            if hold == Hold::Now { Release::Now } else { commit }
        };
        Effects {
            ticket,
            writes: fx.writes,
            settles: !fx.grows,
            outs: fx.outs.into_iter().map(|(hold, out)| (release(hold, &out), out)).collect(),
        }
    }

    /// The ticket that the batch in the making will get.
    pub(super) fn this_ticket(&self) -> Ticket {
        self.ticket + 1
    }

    pub(super) fn take_seq(&mut self, fx: &mut Fx) -> u64 {
        self.take_seqs(1, fx)
    }

    /// Takes so many sequence numbers in a row and returns the first.
    pub(super) fn take_seqs(&mut self, count: usize, fx: &mut Fx) -> u64 {
        let seq = self.next_seq;
        self.next_seq += count as u64;
        if self.next_seq >= self.record.seq_reserved {
            self.record.seq_reserved = self.next_seq + limits::SEQ_BLOCK;
            self.save_record(fx);
        }
        seq
    }

    /// Ended jobs that are kept durably.
    pub(super) fn kept_count(&self) -> u64 {
        self.kept.values().sum()
    }

    /// A kept job is no longer.
    pub(super) fn kept_out(&mut self, job: &Job) {
        if let Some(count) = self.kept.get_mut(&state_of(job)) {
            *count = count.saturating_sub(1);
        }
    }

    pub(super) fn save_record(&self, fx: &mut Fx) {
        fx.put(keys::queue_key(&self.name), self.record.to_bytes());
    }

    /// Writes a job's record and its index entry at a new place.
    pub(super) fn write_at(&self, place: Place, job: &Job, fx: &mut Fx) {
        fx.put(place.key(self.record.no), encode_job(job));
        fx.put(keys::index_key(self.record.no, &job.id), place.to_value());
    }

    /// A job leaves its place in the store; its index entry, if it has one, is the caller's to deal with. Tells whether it stood
    /// in a chunk.
    pub(super) fn leave(&mut self, place: Place, fx: &mut Fx) -> bool {
        let was_in_chunk = self.chunks.take(place);
        if !was_in_chunk {
            fx.delete(place.key(self.record.no));
        }
        was_in_chunk
    }

    /// The lease of a job that runs.
    pub(super) fn lease_of(&self, id: &JobId) -> Option<&Lease> {
        self.lease_no(id).map(|no| self.leases.get(no))
    }

    /// The lease of `id`, if `token` proves it.
    pub(super) fn prove(&mut self, id: &JobId, token: Token) -> Option<&mut Lease> {
        let no = self.lease_no(id)?;
        Some(self.leases.get_mut(no)).filter(|lease| lease.token == token)
    }

    pub(super) fn lease_no(&self, id: &JobId) -> Option<LeaseNo> {
        match self.slots.get(id) {
            Some(Slot::Running(no)) => Some(*no),
            _ => None,
        }
    }

    /// The queue's name.
    #[must_use]
    pub fn name(&self) -> &QueueName {
        &self.name
    }

    /// The queue's number in keys.
    #[must_use]
    pub fn no(&self) -> QueueNo {
        self.record.no
    }

    /// Counters since the start.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The last batch, and the last that is durable.
    #[must_use]
    pub fn tickets(&self) -> (Ticket, Ticket) {
        (self.ticket, self.durable)
    }
}
