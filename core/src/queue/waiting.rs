//! Waiting jobs: into a window in memory, or to rest in the store.

use std::sync::Arc;

use super::command::Known;
use super::machine::{Queue, Slot, Window};
use super::resting::Rest;
use super::window::Entry;
use crate::id::JobId;
use crate::job::Job;
use crate::store::keys::{ChunkKey, Place};

impl Queue {
    /// Before a ready job of this priority arrives: a full window lets a job of lower priority go for it.
    pub(super) fn make_room(&mut self, priority: i8) {
        if let Some(evicted) = self.ready.evict_below(priority, self.durable) {
            self.send_to_rest(evicted);
        }
    }

    /// Makes a job ready whose record is being written at `place` in the ready region. [Room](Queue::make_room) was made for it.
    pub(super) fn admit_ready(&mut self, place: Place, job: Arc<Job>) {
        let (id, priority, ticket) = (job.id, job.priority, self.this_ticket());
        self.watch_expiry(&job);
        match self.ready.arrive(Entry { place, job, ticket }, self.durable) {
            Ok(()) => {
                self.slots.insert(id, Slot::Ready(place, priority));
                self.resting.recall(&id);
            }
            Err(entry) => self.rest(entry),
        }
    }

    /// Takes on a timer whose record is being written at `place`.
    pub(super) fn admit_timer(&mut self, place: Place, job: Arc<Job>) {
        let (id, ticket) = (job.id, self.this_ticket());
        self.retrying += u64::from(job.attempts() > 0);
        self.watch_expiry(&job);
        self.slots.insert(id, Slot::Timer(place));
        self.resting.recall(&id);
        if let Some(evicted) =
            self.timers.arrive(Entry { place, job, ticket }, self.ready.due(), self.durable)
        {
            self.send_to_rest(evicted);
        }
    }

    /// Holds a ready job in memory whose record stands at its place.
    pub(super) fn hold_ready(&mut self, entry: Entry) {
        self.watch_expiry(&entry.job);
        self.slots.insert(entry.job.id, Slot::Ready(entry.place, entry.job.priority));
        self.ready.put(entry);
    }

    /// Holds a timer in memory whose record stands at its place.
    pub(super) fn hold_timer(&mut self, entry: Entry) {
        self.watch_expiry(&entry.job);
        self.slots.insert(entry.job.id, Slot::Timer(entry.place));
        self.timers.put(entry);
    }

    /// Takes a job back from a worker, to its old place: when jobs before it rest meanwhile, it rests with them.
    pub(super) fn take_back(&mut self, entry: Entry) {
        if self.ready.rests_behind(&entry, self.durable) {
            self.send_to_rest(entry);
        } else {
            self.hold_ready(entry);
            self.trim_ready();
        }
    }

    /// Takes a timer out of the window in memory.
    pub(super) fn take_timer(&mut self, place: Place) -> Option<Entry> {
        let Place::Timer { run_at, seq } = place else { return None };
        let entry = self.timers.take((run_at, seq))?;
        self.timer_out(place, &entry.job);
        Some(entry)
    }

    /// Keeps the count of retries: a job leaves the timers, in memory or at rest.
    pub(super) fn timer_out(&mut self, place: Place, job: &Job) {
        if matches!(place, Place::Timer { .. }) && job.attempts() > 0 {
            self.retrying = self.retrying.saturating_sub(1);
        }
    }

    fn watch_expiry(&mut self, job: &Job) {
        if let Some(at) = job.expires_at() {
            self.expiries.insert((at, job.id));
        }
    }

    pub(super) fn unwatch_expiry(&mut self, job: &Job) {
        if let Some(at) = job.expires_at() {
            self.expiries.remove(&(at, job.id));
        }
    }

    /// Holds no more than this in memory from now on: what is over rests until the window comes to it again.
    pub fn resize(&mut self, window: Window) {
        self.tuning.window = window;
        self.ready.set_bound(window);
        self.timers.set_bound(window);
        while let Some(evicted) = self.ready.evict_beyond(self.durable) {
            self.send_to_rest(evicted);
        }
        self.trim_timers();
    }

    /// Bytes of waiting jobs in memory, and the bounds in force.
    #[must_use]
    pub fn held(&self) -> (usize, Window) {
        (self.ready.bytes() + self.timers.bytes(), self.tuning.window)
    }

    /// Keeps the window's bound after jobs have come back from workers.
    pub(super) fn trim_ready(&mut self) {
        while let Some(evicted) = self.ready.evict_over(self.durable) {
            self.send_to_rest(evicted);
        }
    }

    /// Keeps the timers' bound after it has become smaller, also when a load was on its way then.
    pub(super) fn trim_timers(&mut self) {
        while let Some(evicted) = self.timers.evict_beyond(self.ready.due(), self.durable) {
            self.send_to_rest(evicted);
        }
    }

    /// A waiting job leaves memory for the store.
    fn send_to_rest(&mut self, entry: Entry) {
        self.slots.remove(&entry.job.id);
        self.rest(entry);
    }

    /// A job that is not among those in memory rests in the store.
    fn rest(&mut self, entry: Entry) {
        let id = entry.job.id;
        self.unwatch_expiry(&entry.job);
        if !(id.is_timed(entry.job.enqueued_at) && self.chunks.sifts(entry.place)) {
            self.filter.insert(&id);
        }
        if entry.ticket > self.durable || self.loads > 0 {
            self.resting.put(entry.ticket.max(self.durable), entry.place, entry.job);
        }
    }

    /// Whether a job that arrives at `place` goes to rest, and with it all that arrive behind.
    pub(super) fn rests(&self, place: Place) -> bool {
        match place {
            Place::Ready { priority, seq } => self.ready.rests(priority, seq),
            Place::Timer { run_at, seq } => self.timers.rests((run_at, seq)),
            Place::Dead { .. } | Place::Kept { .. } => false,
        }
    }

    /// New jobs that stand in one chunk go to rest as they come, the first of them as number `from` of the chunk, which tells with
    /// `sifts` whether it knows its ids by itself.
    pub(super) fn rest_together(&mut self, key: ChunkKey, from: usize, jobs: &[Arc<Job>], sifts: bool) {
        let (ticket, count) = (self.this_ticket(), jobs.len() as u64);
        match key.place(from) {
            Place::Timer { run_at, seq } => {
                self.timers.add_cold((run_at, seq), count, ticket, self.durable);
            }
            Place::Ready { priority, seq } => {
                self.ready.add_cold(priority, seq, count, ticket, self.durable);
            }
            Place::Dead { .. } | Place::Kept { .. } => unreachable!("chunks stand among what waits"),
        }
        for (index, job) in jobs.iter().enumerate() {
            let sifted = sifts && job.id.is_timed(job.enqueued_at);
            if !sifted {
                self.filter.insert(&job.id);
            }
            if !sifted || self.resting.alone(&job.id).is_some() {
                self.resting.put(ticket, key.place(from + index), Arc::clone(job));
            }
        }
        self.resting.put_together(ticket, key, from, jobs);
    }

    /// What is true of an id that is not in memory, while the store does not show it.
    pub(super) fn rest_of(&self, id: &JobId) -> Option<Rest<'_>> {
        self.resting.get(id, &self.chunks)
    }

    /// What is true of an id that is not in memory: the queue's own newer word first, then the store's.
    pub(super) fn at_rest(&self, id: &JobId, known: Known) -> Option<(Place, Arc<Job>)> {
        match self.rest_of(id) {
            Some(Rest::At(place, job)) => Some((place, job.clone())),
            Some(Rest::Gone) => None,
            None => known
                .filter(|stored| stored.job.id == *id && !self.has_left(stored.place, stored.in_chunk))
                .map(|stored| (stored.place, Arc::new(stored.job))),
        }
    }

    /// Whether what the store showed in a chunk is no longer there.
    pub(super) fn has_left(&self, place: Place, in_chunk: bool) -> bool {
        in_chunk && !self.chunks.has(place)
    }

    /// While a scan is on its way its records may be older than what is durable, so nothing is forgotten.
    pub(super) fn settle_resting(&mut self) {
        if self.loads == 0 {
            self.resting.settle(self.durable);
            let rests = self.ready.cold() + self.timers.cold() + self.dead + self.kept_count();
            if rests == 0 && self.resting.is_empty() {
                self.filter.clear();
            }
        }
    }
}
