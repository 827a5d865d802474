//! Ready jobs: higher priority first, then arrival. Of each priority level the head is in memory, the tail may rest.
//!
//! A level merges two streams by arrival: jobs that were ready when they came (ordered by sequence number) and timers
//! that have come due (ordered by their time). Neither is rewritten in the store when it becomes ready.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::effect::{LoadFrom, Ticket};
use super::machine::Window;
use super::window::{Cold, Entry};
use crate::store::keys::Place;
use crate::time::Timestamp;

/// The ready jobs of a queue.
#[derive(Debug)]
pub(super) struct Ready {
    bound: Window,
    levels: BTreeMap<Reverse<i8>, Level>,
    /// Jobs in memory that arrived ready.
    hot: usize,
    /// Timers in memory that have come due.
    due: usize,
    bytes: usize,
    due_bytes: usize,
    cold: u64,
}

#[derive(Debug)]
struct Level {
    /// Jobs that arrived ready, by sequence number.
    ready: BTreeMap<u64, Entry>,
    ready_bytes: usize,
    /// Timers that have come due.
    due: BTreeMap<(Timestamp, u64), Entry>,
    cold: Cold<u64>,
}

impl Level {
    fn new() -> Level {
        Level { ready: BTreeMap::new(), ready_bytes: 0, due: BTreeMap::new(), cold: Cold::none(0) }
    }

    /// Whether nothing is left to remember. An answer on its way is: it must not be taken for that of a later load.
    fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.due.is_empty() && self.cold.count == 0 && !self.cold.is_loading()
    }
}

/// The head of a level, or why there is none to take.
enum Head {
    Take(Place),
    NotYetDurable,
    OnItsWay,
    Nothing,
}

impl Ready {
    pub(super) fn new(bound: Window) -> Ready {
        Ready { bound, levels: BTreeMap::new(), hot: 0, due: 0, bytes: 0, due_bytes: 0, cold: 0 }
    }

    /// Takes a job that arrives ready. Returns it when its place is behind resting jobs or the window is full: then it
    /// is counted as resting.
    pub(super) fn arrive(&mut self, entry: Entry, durable: Ticket) -> Result<(), Entry> {
        let Place::Ready { priority, seq } = entry.place else {
            unreachable!("arrivals stand in the ready region")
        };
        if self.rests(priority, seq) {
            self.add_cold(priority, seq, 1, entry.ticket, durable);
            return Err(entry);
        }
        self.put(entry);
        Ok(())
    }

    /// Whether a job that arrives at this place goes to rest: it is behind resting jobs, or the window is full.
    pub(super) fn rests(&self, priority: i8, seq: u64) -> bool {
        let full = self.hot >= self.bound.jobs || self.bytes >= self.bound.bytes;
        full || self.is_behind_cold(priority, seq)
    }

    fn is_behind_cold(&self, priority: i8, seq: u64) -> bool {
        self.levels.get(&Reverse(priority)).is_some_and(|level| level.cold.is_before(seq))
    }

    /// Counts jobs that go to rest, written by batch `ticket`, the first of them at `seq`.
    pub(super) fn add_cold(&mut self, priority: i8, seq: u64, count: u64, ticket: Ticket, durable: Ticket) {
        let level = self.levels.entry(Reverse(priority)).or_insert_with(Level::new);
        level.cold.add(seq, count, ticket, durable);
        self.cold += count;
    }

    /// Whether a job that comes back stands behind resting ones: then it is counted as resting too.
    pub(super) fn rests_behind(&mut self, entry: &Entry, durable: Ticket) -> bool {
        let Place::Ready { priority, seq } = entry.place else { return false };
        let behind = self.is_behind_cold(priority, seq);
        if behind {
            self.add_cold(priority, seq, 1, entry.ticket, durable);
        }
        behind
    }

    /// Puts a job that belongs in memory: back from a worker, come due, or loaded.
    pub(super) fn put(&mut self, entry: Entry) {
        let bytes = entry.job.weight();
        self.bytes += bytes;
        let level = self.levels.entry(Reverse(entry.job.priority)).or_insert_with(Level::new);
        match entry.place {
            Place::Timer { run_at, seq } => {
                self.due += 1;
                self.due_bytes += bytes;
                level.due.insert((run_at, seq), entry);
            }
            Place::Ready { seq, .. } => {
                self.hot += 1;
                level.ready_bytes += bytes;
                level.ready.insert(seq, entry);
            }
            Place::Dead { .. } | Place::Kept { .. } => unreachable!("jobs at rest are not ready"),
        }
    }

    /// While the window is full and a lower level has a tail in memory, that tail goes to rest: a job of a higher
    /// priority must never wait for the backlog below it.
    pub(super) fn evict_below(&mut self, priority: i8, durable: Ticket) -> Option<Entry> {
        let lowest = self.levels.iter().rev().find(|(_, level)| !level.ready.is_empty())?.0.0;
        if self.hot < self.bound.jobs || lowest >= priority { None } else { self.evict(lowest, durable) }
    }

    /// While jobs that came back from workers have taken the window over its bound, its tail goes to rest.
    pub(super) fn evict_over(&mut self, durable: Ticket) -> Option<Entry> {
        let lowest = self.levels.iter().rev().find(|(_, level)| !level.ready.is_empty())?.0.0;
        if self.hot <= self.bound.jobs + self.bound.load { None } else { self.evict(lowest, durable) }
    }

    /// While the window is over a bound that has become smaller, its tail goes to rest.
    pub(super) fn evict_beyond(&mut self, durable: Ticket) -> Option<Entry> {
        let lowest = self.levels.iter().rev().find(|(_, level)| !level.ready.is_empty())?.0.0;
        let over = self.hot > self.bound.jobs || self.bytes > self.bound.bytes && self.hot > 1;
        if over { self.evict(lowest, durable) } else { None }
    }

    pub(super) fn set_bound(&mut self, bound: Window) {
        self.bound = bound;
    }

    /// Bytes of the jobs in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn evict(&mut self, priority: i8, durable: Ticket) -> Option<Entry> {
        let level = self.levels.get_mut(&Reverse(priority))?;
        let (seq, entry) = level.ready.pop_last()?;
        level.ready_bytes -= entry.job.weight();
        self.hot -= 1;
        self.bytes -= entry.job.weight();
        self.add_cold(priority, seq, 1, entry.ticket, durable);
        Some(entry)
    }

    /// Takes the next job that may be handed out.
    pub(super) fn pull(&mut self, durable: Ticket) -> Option<Entry> {
        let (place, priority) = self.next(durable)?;
        self.take(place, priority)
    }

    /// Whether there is a job that may be handed out.
    pub(super) fn can_pull(&self, durable: Ticket) -> bool {
        self.next(durable).is_some()
    }

    fn next(&self, durable: Ticket) -> Option<(Place, i8)> {
        for (priority, level) in &self.levels {
            match level.head(durable) {
                Head::Take(place) => return Some((place, priority.0)),
                // A job that is not durable yet is no reason to keep lower ones waiting.
                Head::NotYetDurable | Head::Nothing => {}
                // Higher priority goes first even if it must be read from the store.
                Head::OnItsWay => return None,
            }
        }
        None
    }

    /// Removes the job at a place from memory.
    pub(super) fn take(&mut self, place: Place, priority: i8) -> Option<Entry> {
        let level = self.levels.get_mut(&Reverse(priority))?;
        let entry = match place {
            Place::Timer { run_at, seq } => {
                let entry = level.due.remove(&(run_at, seq))?;
                self.due -= 1;
                self.due_bytes -= entry.job.weight();
                entry
            }
            Place::Ready { seq, .. } => {
                let entry = level.ready.remove(&seq)?;
                self.hot -= 1;
                level.ready_bytes -= entry.job.weight();
                entry
            }
            Place::Dead { .. } | Place::Kept { .. } => return None,
        };
        self.bytes -= entry.job.weight();
        if level.is_empty() {
            self.levels.remove(&Reverse(priority));
        }
        Some(entry)
    }

    /// The job at a place in memory.
    pub(super) fn get(&self, place: Place, priority: i8) -> Option<&Entry> {
        let level = self.levels.get(&Reverse(priority))?;
        match place {
            Place::Timer { run_at, seq } => level.due.get(&(run_at, seq)),
            Place::Ready { seq, .. } => level.ready.get(&seq),
            Place::Dead { .. } | Place::Kept { .. } => None,
        }
    }

    /// A resting job leaves the region without having been in memory. `false` when the place is not behind the window.
    pub(super) fn forget_cold(&mut self, priority: i8, seq: u64) -> bool {
        let Some(level) = self.levels.get_mut(&Reverse(priority)) else { return false };
        if !level.cold.is_before(seq) {
            return false;
        }
        level.cold.count -= 1;
        self.cold -= 1;
        if level.is_empty() {
            self.levels.remove(&Reverse(priority));
        }
        true
    }

    /// The load that the window needs next: for the highest level that rests, once what stands before its tail runs low.
    /// Lower levels make room for it.
    pub(super) fn wants_load(&mut self, durable: Ticket, written: Ticket) -> Option<LoadFrom> {
        let (mut before, mut bytes_before) = (0, 0);
        for (priority, level) in &mut self.levels {
            before += level.ready.len();
            bytes_before += level.ready_bytes;
            if before > self.bound.load || bytes_before > self.bound.bytes / 2 {
                return None;
            }
            if level.cold.count > 0 {
                if !level.cold.may_load(durable, written) {
                    return None;
                }
                level.cold.begin_load(durable, written);
                let (priority, seq) = (priority.0, level.cold.from);
                return Some(LoadFrom::Ready { priority, seq, limit: self.bound.load });
            }
        }
        None
    }

    /// The first sequence number that a load of this level on its way cannot vouch for.
    pub(super) fn load_bound(&self, priority: i8) -> Option<u64> {
        self.levels.get(&Reverse(priority))?.cold.load_bound()
    }

    /// Takes note that a load has come back, having moved `loaded` jobs to memory and reached `last`. Returns the number
    /// of jobs that should be there and are not.
    pub(super) fn loaded(
        &mut self,
        priority: i8,
        loaded: u64,
        last: Option<u64>,
        exhausted: bool,
        durable: Ticket,
    ) -> u64 {
        let Some(level) = self.levels.get_mut(&Reverse(priority)) else { return 0 };
        let before = level.cold.count;
        let missing = level.cold.end_load(loaded, last.map(|seq| seq.saturating_add(1)), exhausted, durable);
        self.cold -= before - level.cold.count;
        if level.is_empty() {
            self.levels.remove(&Reverse(priority));
        }
        missing
    }

    /// Jobs in memory.
    pub(super) fn hot(&self) -> usize {
        self.hot + self.due
    }

    /// Timers in memory that have come due.
    pub(super) fn due(&self) -> usize {
        self.due
    }

    /// Bytes of those.
    pub(super) fn due_bytes(&self) -> usize {
        self.due_bytes
    }

    /// Jobs in memory that arrived ready; bounded by the window and one load.
    pub(super) fn window(&self) -> usize {
        self.hot
    }

    /// All ready jobs, wherever they are.
    pub(super) fn count(&self) -> u64 {
        (self.hot + self.due) as u64 + self.cold
    }

    /// Jobs that rest.
    pub(super) fn cold(&self) -> u64 {
        self.cold
    }

    /// When the job that waits longest became ready.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.levels.values().filter_map(Level::oldest).min()
    }

    /// Every entry in memory, in order of delivery within each stream.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.levels.values().flat_map(|level| level.ready.values().chain(level.due.values()))
    }

    /// Counts resting jobs in at start, the first of which stands at `seq`.
    pub(super) fn recover_cold(&mut self, priority: i8, seq: u64, count: u64) {
        let level = self.levels.entry(Reverse(priority)).or_insert_with(Level::new);
        level.cold.count_in(seq, count);
        self.cold += count;
    }
}

impl Level {
    fn head(&self, durable: Ticket) -> Head {
        let ready = self.ready.values().next();
        let due = self.due.values().next();
        if ready.is_none() && self.cold.count > 0 {
            return Head::OnItsWay;
        }
        let head = match (ready, due) {
            (Some(ready), Some(due)) => {
                // By when each became ready, which for a job that was made ready again is not when it was enqueued.
                if due.job.run_at < ready.job.run_at { due } else { ready }
            }
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => return Head::Nothing,
        };
        if head.ticket > durable { Head::NotYetDurable } else { Head::Take(head.place) }
    }

    fn oldest(&self) -> Option<Timestamp> {
        let ready = self.ready.values().next().map(|entry| entry.job.run_at);
        let due = self.due.values().next().map(|entry| entry.job.run_at);
        ready.into_iter().chain(due).min()
    }
}
