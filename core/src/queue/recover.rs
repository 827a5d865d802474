//! Rebuilding a queue from its records at start.

use std::sync::Arc;

use super::effect::Effects;
use super::finished::state_of;
use super::ids::{IdHash, IdMap};
use super::leases::Lease;
use super::machine::{Fx, Queue, Slot, Tuning};
use super::marks::{LeaseMark, QueueRecord};
use super::window::Entry;
use crate::id::QueueName;
use crate::job::{BadRecord, Job, decode_job, job_id_of};
use crate::limits;
use crate::store::keys::{self, Place, region};
use crate::time::Now;

/// A queue being rebuilt. Feed it every pair of the queue's regions in key order, the lease marks first, then ready,
/// timers, dead and kept.
#[derive(Debug)]
pub struct Recovery {
    queue: Queue,
    marks: IdMap<LeaseMark>,
    leased: Vec<Lease>,
    hot_bytes: usize,
    hot_jobs: usize,
}

impl Recovery {
    /// The regions to feed, in this order.
    pub const REGIONS: [u8; 5] = [region::LEASE, region::READY, region::TIMER, region::DEAD, region::KEPT];

    /// Begins with the queue's own record.
    #[must_use]
    pub fn new(name: QueueName, record: QueueRecord, tuning: Tuning) -> Recovery {
        let next_seq = record.seq_reserved;
        let marks = IdMap::with_hasher(IdHash(tuning.seed));
        Recovery {
            queue: Queue::empty(name, record, tuning, next_seq),
            marks,
            leased: Vec::new(),
            hot_bytes: 0,
            hot_jobs: 0,
        }
    }

    /// Takes one pair of the queue's regions.
    ///
    /// # Errors
    /// [`BadRecord`] for a pair that cannot be read; the queue must then not be opened.
    pub fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), BadRecord> {
        if key.first() == Some(&region::LEASE) {
            let id =
                keys::id_of(key).ok_or_else(|| BadRecord::Damaged("a lease key without an id".to_owned()))?;
            self.marks.insert(id, LeaseMark::from_bytes(value)?);
            return Ok(());
        }
        let Some((_, place)) = Place::from_key(key) else {
            return Err(BadRecord::Damaged("a key that names no job".to_owned()));
        };
        match place {
            Place::Ready { priority, seq } => self.ready(place, priority, seq, value),
            Place::Timer { run_at, seq } => {
                let job = decode_job(value)?;
                if self.claim(place, &job) {
                    return Ok(());
                }
                let queue = &mut self.queue;
                queue.retrying += u64::from(job.attempts() > 0);
                if queue.timers.has_room() {
                    queue.hold_timer(Entry { place, job: Arc::new(job), ticket: 0 });
                } else {
                    queue.filter.insert(&job.id);
                    queue.timers.recover_cold((run_at, seq));
                }
                Ok(())
            }
            Place::Dead { .. } => {
                self.queue.filter.insert(&job_id_of(value)?);
                self.queue.dead += 1;
                Ok(())
            }
            Place::Kept { until, .. } => {
                let job = decode_job(value)?;
                self.queue.filter.insert(&job.id);
                *self.queue.kept.entry(state_of(&job)).or_default() += 1;
                self.queue.kept_next.get_or_insert(until);
                Ok(())
            }
        }
    }

    fn ready(&mut self, place: Place, priority: i8, seq: u64, value: &[u8]) -> Result<(), BadRecord> {
        let id = job_id_of(value)?;
        if self.marks.contains_key(&id) {
            let job = decode_job(value)?;
            self.claim(place, &job);
            return Ok(());
        }
        let queue = &mut self.queue;
        let bound = queue.tuning.window;
        let full = self.hot_jobs >= bound.load || self.hot_bytes >= bound.bytes;
        if full || queue.ready.has_cold(priority) {
            queue.filter.insert(&id);
            queue.ready.recover_cold(priority, seq);
            return Ok(());
        }
        let job = decode_job(value)?;
        self.hot_jobs += 1;
        self.hot_bytes += job.weight();
        queue.hold_ready(Entry { place, job: Arc::new(job), ticket: 0 });
        Ok(())
    }

    /// A job with a lease mark is running as far as anybody knows.
    fn claim(&mut self, place: Place, job: &Job) -> bool {
        let Some(mark) = self.marks.remove(&job.id) else { return false };
        self.queue.slots.insert(job.id, Slot::Running);
        self.leased.push(Lease {
            job: Arc::new(job.clone()),
            place,
            worker: mark.worker,
            token: mark.token,
            attempt: mark.attempt,
            started_at: mark.started_at,
            cancel: mark.cancel,
            progress: None,
            recovered: true,
        });
        true
    }

    /// The queue as it was. Leases found are good for the grace time, within which their workers may come back.
    #[must_use]
    pub fn finish(self, now: Now) -> (Queue, Effects) {
        let Recovery { mut queue, marks, leased, .. } = self;
        let deadline = now.mono.plus_ms(queue.tuning.resume_grace_ms);
        for lease in leased {
            queue.leases.insert(lease, deadline);
        }
        let mut fx = Fx::default();
        // Marks without a job are left over from a batch order that no longer exists; they mean nothing.
        let mut orphans: Vec<_> = marks.into_keys().collect();
        orphans.sort_unstable();
        for id in orphans {
            fx.delete(keys::lease_key(queue.record.no, &id));
        }
        queue.record.seq_reserved += limits::SEQ_BLOCK;
        queue.save_record(&mut fx);
        let effects = queue.seal(fx);
        (queue, effects)
    }
}
