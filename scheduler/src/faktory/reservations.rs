//! Who has which job until when: leases as the protocol knows them, by jid, outliving their connections. Pure: time is an
//! argument.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use windlass_core::id::{JobId, WorkerId};
use windlass_core::limits;
use windlass_core::time::{Mono, Timestamp};
use windlass_core::wire::Token;

use super::workers::Key;
use crate::queue::QueueHandle;

/// Retries of a job that does not say.
pub(super) const RETRY_DEFAULT: i64 = 25;
/// A reservation that was not asked for, in milliseconds.
pub(super) const RESERVE_MS_DEFAULT: u64 = 1_800_000;
/// The shortest reservation, in milliseconds.
pub(super) const RESERVE_MS_MIN: u64 = 60_000;

/// Attempts of a job with so many retries that has failed `earlier` times before it was pushed.
pub(super) fn attempts(retry: i64, earlier: u32) -> u32 {
    let runs = u32::try_from(retry.saturating_add(1)).unwrap_or(if retry > 0 { u32::MAX } else { 1 });
    runs.saturating_sub(earlier).clamp(1, limits::ATTEMPTS_MAX)
}

/// What a job's reservation and its failure depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Terms {
    /// Retries; negative means dead at the first failure.
    pub(super) retry: i64,
    /// How often it has failed before this run.
    pub(super) failures: u32,
    /// How long a run may take.
    pub(super) reserve_ms: u64,
}

/// One reserved job.
#[derive(Clone)]
pub(super) struct Reservation {
    pub(super) jid: Arc<str>,
    pub(super) queue: QueueHandle,
    pub(super) id: JobId,
    pub(super) token: Token,
    /// The holder of the lease: a connection of the worker.
    pub(super) holder: WorkerId,
    pub(super) worker: Key,
    pub(super) kind: String,
    pub(super) attempt: u32,
    pub(super) started_at: Timestamp,
    pub(super) expires: Mono,
    pub(super) terms: Terms,
}

/// All reservations.
#[derive(Default)]
pub(super) struct Reservations {
    /// By number, which is the order in which they were made.
    all: BTreeMap<u64, Reservation>,
    by_jid: HashMap<Arc<str>, BTreeSet<u64>>,
    by_time: BTreeSet<(Mono, u64)>,
    /// Leases to renew: for each queue the holders, with how many.
    holders: HashMap<(WorkerId, u32), (QueueHandle, usize)>,
    next: u64,
}

impl Reservations {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn add(&mut self, reservation: Reservation) -> u64 {
        let number = self.next;
        self.next += 1;
        self.by_jid.entry(Arc::clone(&reservation.jid)).or_default().insert(number);
        self.by_time.insert((reservation.expires, number));
        let queue = &reservation.queue;
        self.holders.entry((reservation.holder, queue.no())).or_insert_with(|| (queue.clone(), 0)).1 += 1;
        self.all.insert(number, reservation);
        number
    }

    /// Takes the oldest reservation of a jid.
    pub(super) fn take(&mut self, jid: &str) -> Option<Reservation> {
        let number = *self.by_jid.get(jid)?.first()?;
        self.remove(number)
    }

    /// The queue of the reservation that [`take`](Self::take) would take.
    pub(super) fn queue_of(&self, jid: &str) -> Option<&QueueHandle> {
        let number = self.by_jid.get(jid)?.first()?;
        self.all.get(number).map(|reservation| &reservation.queue)
    }

    /// Takes one by its number.
    pub(super) fn remove(&mut self, number: u64) -> Option<Reservation> {
        let gone = self.all.remove(&number)?;
        self.by_time.remove(&(gone.expires, number));
        if let Some(numbers) = self.by_jid.get_mut(&*gone.jid) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_jid.remove(&*gone.jid);
            }
        }
        let holder = (gone.holder, gone.queue.no());
        if let Some((_, count)) = self.holders.get_mut(&holder) {
            *count -= 1;
            if *count == 0 {
                self.holders.remove(&holder);
            }
        }
        Some(gone)
    }

    /// Takes at most `max` whose time is over.
    pub(super) fn take_expired(&mut self, now: Mono, max: usize) -> Vec<Reservation> {
        let over: Vec<_> = self
            .by_time
            .iter()
            .take_while(|(at, _)| *at <= now)
            .take(max)
            .map(|(_, number)| *number)
            .collect();
        over.into_iter().filter_map(|number| self.remove(number)).collect()
    }

    /// Takes all.
    pub(super) fn take_all(&mut self) -> Vec<Reservation> {
        let all = std::mem::take(&mut self.all).into_values().collect();
        *self = Reservations { next: self.next, ..Reservations::default() };
        all
    }

    /// Takes those of a worker.
    pub(super) fn take_of(&mut self, worker: Key) -> Vec<Reservation> {
        let numbers: Vec<_> =
            self.all.iter().filter(|(_, held)| held.worker == worker).map(|(number, _)| *number).collect();
        numbers.into_iter().filter_map(|number| self.remove(number)).collect()
    }

    /// Whether a worker holds any.
    pub(super) fn any_of(&self, worker: Key) -> bool {
        self.all.values().any(|held| held.worker == worker)
    }

    /// All, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Reservation> {
        self.all.values()
    }

    /// Whose leases are to be renewed in which queues.
    pub(super) fn holders(&self) -> impl Iterator<Item = (WorkerId, &QueueHandle)> {
        self.holders.iter().map(|((holder, _), (queue, _))| (*holder, queue))
    }

    /// The leases of a holder in a queue.
    pub(super) fn leases_of(&self, holder: WorkerId, queue: &QueueHandle) -> Vec<(JobId, Token)> {
        if !self.holders.contains_key(&(holder, queue.no())) {
            return Vec::new();
        }
        let own = |held: &&Reservation| held.holder == holder && held.queue.no() == queue.no();
        self.all.values().filter(own).map(|held| (held.id, held.token)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_become_attempts() {
        let cases = [(25, 0, 26), (0, 0, 1), (-1, 0, 1), (-9, 5, 1), (2, 1, 2), (2, 9, 1)];
        for (retry, earlier, expected) in cases {
            assert_eq!(attempts(retry, earlier), expected, "{retry} {earlier}");
        }
        assert_eq!(attempts(i64::MAX, 0), limits::ATTEMPTS_MAX);
        assert_eq!(attempts(i64::MIN, 0), 1);
    }
}
