//! Jobs that wait for their time: delayed ones and retries. The near future is in memory, the far future may rest.

use std::collections::BTreeMap;

use super::effect::{LoadFrom, Ticket};
use super::machine::Window;
use super::window::{Cold, Entry};
use crate::store::keys::Place;
use crate::time::Timestamp;

/// Order of timers: time, then arrival.
pub(super) type TimerKey = (Timestamp, u64);

/// The timers of a queue.
#[derive(Debug)]
pub(super) struct Timers {
    bound: Window,
    hot: BTreeMap<TimerKey, Entry>,
    bytes: usize,
    cold: Cold<TimerKey>,
    /// Since the start, nothing has been loaded.
    unread: bool,
}

impl Timers {
    pub(super) fn new(bound: Window) -> Timers {
        Timers { bound, hot: BTreeMap::new(), bytes: 0, cold: Cold::none((Timestamp(0), 0)), unread: false }
    }

    /// Takes a new timer, `due` timers being in memory as ready jobs already. Returns the one that goes to rest for it,
    /// which may be itself.
    pub(super) fn arrive(&mut self, entry: Entry, due: usize, durable: Ticket) -> Option<Entry> {
        let key = key_of(&entry);
        if self.rests(key) {
            self.add_cold(key, 1, entry.ticket, durable);
            return Some(entry);
        }
        self.put(entry);
        self.evict_beyond(due, durable)
    }

    /// Whether a timer that arrives at `key` goes to rest, being behind others that do.
    pub(super) fn rests(&self, key: TimerKey) -> bool {
        self.cold.is_before(key)
    }

    /// Counts timers that go to rest as they arrive with batch `ticket`, the first of them at `key`.
    pub(super) fn add_cold(&mut self, key: TimerKey, count: u64, ticket: Ticket, durable: Ticket) {
        self.cold.add(key, count, ticket, durable);
    }

    /// While the window is over its bound, its furthest timer goes to rest. The next one stays however large it is, or it would never
    /// come due.
    pub(super) fn evict_beyond(&mut self, due: usize, durable: Ticket) -> Option<Entry> {
        let over = self.bytes > self.bound.bytes && self.hot.len() > 1;
        if self.hot.len() + due <= self.bound.jobs && !over {
            return None;
        }
        let (key, last) = self.hot.pop_last()?;
        self.bytes -= last.job.weight();
        self.cold.add(key, 1, last.ticket, durable);
        Some(last)
    }

    pub(super) fn set_bound(&mut self, bound: Window) {
        self.bound = bound;
    }

    /// Bytes of the timers in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts a timer that belongs in memory: the nearest ones, and those that were loaded.
    pub(super) fn put(&mut self, entry: Entry) {
        self.bytes += entry.job.weight();
        self.hot.insert(key_of(&entry), entry);
    }

    /// Takes the first timer that is due.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Entry> {
        let first = self.hot.first_entry()?;
        if first.key().0 > now {
            return None;
        }
        let entry = first.remove();
        self.bytes -= entry.job.weight();
        Some(entry)
    }

    /// Removes a timer from memory.
    pub(super) fn take(&mut self, key: TimerKey) -> Option<Entry> {
        let entry = self.hot.remove(&key)?;
        self.bytes -= entry.job.weight();
        Some(entry)
    }

    /// The timer at a place in memory.
    pub(super) fn get(&self, place: Place) -> Option<&Entry> {
        match place {
            Place::Timer { run_at, seq } => self.hot.get(&(run_at, seq)),
            _ => None,
        }
    }

    /// A resting timer leaves the region without having been in memory.
    pub(super) fn forget_cold(&mut self, key: TimerKey) -> bool {
        let resting = self.cold.is_before(key);
        if resting {
            self.cold.count -= 1;
        }
        resting
    }

    /// The load that the window needs next, `due` timers of `due_bytes` being in memory as ready jobs already.
    pub(super) fn wants_load(
        &mut self,
        due: usize,
        due_bytes: usize,
        durable: Ticket,
        written: Ticket,
    ) -> Option<LoadFrom> {
        let held = self.hot.len() + due;
        let full = self.bytes + due_bytes > self.bound.bytes / 2;
        if full || held + self.bound.load > self.bound.jobs || !self.cold.may_load(durable, written) {
            return None;
        }
        self.cold.begin_load(durable, written);
        let (run_at, seq) = self.cold.from;
        Some(LoadFrom::Timers { run_at, seq, limit: self.bound.load })
    }

    /// The first key that a load on its way cannot vouch for.
    pub(super) fn load_bound(&self) -> Option<TimerKey> {
        self.cold.load_bound()
    }

    /// Takes note that a load has come back; see [`super::ready::Ready::loaded`].
    pub(super) fn loaded(
        &mut self,
        loaded: u64,
        last: Option<TimerKey>,
        exhausted: bool,
        durable: Ticket,
    ) -> u64 {
        self.unread = false;
        let next = last.map(|(run_at, seq)| (run_at, seq.saturating_add(1)));
        self.cold.end_load(loaded, next, exhausted, durable)
    }

    /// When the first timer in memory is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.hot.keys().next().map(|key| key.0)
    }

    /// All timers, wherever they are.
    pub(super) fn count(&self) -> u64 {
        self.hot.len() as u64 + self.cold.count
    }

    /// Timers that rest.
    pub(super) fn cold(&self) -> u64 {
        self.cold.count
    }

    /// Counts resting timers in at start, the first of which stands at `key`.
    pub(super) fn recover_cold(&mut self, key: TimerKey, count: u64) {
        self.cold.count_in(key, count);
        self.unread = true;
    }

    /// Whether timers that have come due before the start are still being read: until then nobody knows what goes first.
    pub(super) fn hides_due(&self, now: Timestamp) -> bool {
        self.unread && self.cold.count > 0 && self.cold.from.0 <= now
    }

    /// Every entry in memory, by time.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.hot.values()
    }
}

fn key_of(entry: &Entry) -> TimerKey {
    match entry.place {
        Place::Timer { run_at, seq } => (run_at, seq),
        _ => unreachable!("timers stand in the timer region"),
    }
}
