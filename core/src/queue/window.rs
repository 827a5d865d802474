//! What the two windows share: an entry in memory, and the bookkeeping of what rests in the store behind a window.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::job::Job;
use crate::queue::Ticket;
use crate::store::keys::Place;

/// A waiting job in memory.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Where its record stands.
    pub(super) place: Place,
    /// The job.
    pub(super) job: Arc<Job>,
    /// The batch that makes it durable; it is not handed out before.
    pub(super) ticket: Ticket,
}

/// The part of an ordered region that rests in the store: everything from `from` on that is not in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cold<K> {
    /// How many jobs.
    pub(super) count: u64,
    /// The first key that may rest; meaningless while `count` is 0.
    pub(super) from: K,
    /// The load on its way, if any.
    load: Option<Load<K>>,
    /// A load found nothing while this was the last durable batch: what is missing is on its way to the store, and
    /// another look before the next batch is durable would be in vain.
    stalled_at: Option<Ticket>,
    /// Keys that went to rest and are not durable yet, in order of their batches: a scan does not see them. Of jobs that went
    /// together, the first.
    unseen: VecDeque<(Ticket, K)>,
}

/// A load on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Load<K> {
    /// Whether everything was durable when it was asked for, so that the scan must have seen all.
    all_durable: bool,
    /// Jobs that went to rest since then, which the scan may have missed.
    added: u64,
    /// The first key that the scan may have missed. What it found from there on is left for the next load, or a job
    /// that was not seen would be left behind.
    bound: Option<K>,
}

impl<K: Copy + Ord> Cold<K> {
    pub(super) fn none(from: K) -> Cold<K> {
        Cold { count: 0, from, load: None, stalled_at: None, unseen: VecDeque::new() }
    }

    /// So many more jobs rest, the first of them at `key`, written by batch `ticket`.
    pub(super) fn add(&mut self, key: K, count: u64, ticket: Ticket, durable: Ticket) {
        self.count_in(key, count);
        if let Some(load) = &mut self.load {
            load.added += count;
            load.bound = Some(load.bound.map_or(key, |bound| bound.min(key)));
        }
        self.forget_seen(durable);
        if ticket > durable {
            self.unseen.push_back((ticket, key));
        }
    }

    /// So many more jobs rest, the first of them at `key`. That is all at start, when they are durable and no load is on its way.
    pub(super) fn count_in(&mut self, key: K, count: u64) {
        self.from = if self.count == 0 { key } else { self.from.min(key) };
        self.count += count;
    }

    fn forget_seen(&mut self, durable: Ticket) {
        while self.unseen.front().is_some_and(|(ticket, _)| *ticket <= durable) {
            self.unseen.pop_front();
        }
    }

    /// Whether a load makes sense now, `durable` being the last durable batch of `written`.
    pub(super) fn may_load(&self, durable: Ticket, written: Ticket) -> bool {
        self.count > 0 && self.load.is_none() && (durable == written || self.stalled_at != Some(durable))
    }

    /// Notes that a load is on its way.
    pub(super) fn begin_load(&mut self, durable: Ticket, written: Ticket) {
        self.forget_seen(durable);
        let bound = self.unseen.iter().filter(|(ticket, _)| *ticket > durable).map(|(_, key)| *key).min();
        self.load = Some(Load { all_durable: durable == written, added: 0, bound });
        self.stalled_at = None;
    }

    /// Whether a load is on its way.
    pub(super) fn is_loading(&self) -> bool {
        self.load.is_some()
    }

    /// The first key that the load on its way cannot vouch for.
    pub(super) fn load_bound(&self) -> Option<K> {
        self.load.and_then(|load| load.bound)
    }

    /// Notes that a load has come back, having moved `loaded` jobs to memory; `next` is the first key it has not seen.
    /// Returns how many jobs should have been there and were not.
    pub(super) fn end_load(&mut self, loaded: u64, next: Option<K>, exhausted: bool, durable: Ticket) -> u64 {
        let Some(load) = self.load.take() else { return 0 };
        self.count = self.count.saturating_sub(loaded);
        if let Some(next) = next {
            self.from = load.bound.map_or(next, |bound| bound.min(next));
        }
        if loaded == 0 {
            self.stalled_at = Some(durable);
        }
        if !load.all_durable || !exhausted || self.count <= load.added {
            return 0;
        }
        let missing = self.count - load.added;
        self.count = load.added;
        missing
    }

    /// Whether a job at `key` would stand behind resting ones.
    pub(super) fn is_before(&self, key: K) -> bool {
        self.count > 0 && self.from <= key
    }
}
