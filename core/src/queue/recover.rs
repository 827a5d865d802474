//! Rebuilding a queue from its records at start.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::effect::Effects;
use super::finished::state_of;
use super::handouts::Marks;
use super::leases::Lease;
use super::machine::{Fx, Queue, Slot, Tuning};
use super::marks::{LeaseMark, QueueRecord};
use crate::id::{JobId, QueueName};
use crate::job::{BadRecord, Chunk, Holes, Job, decode_job, job_id_of};
use crate::limits;
use crate::store::keys::{self, ChunkKey, Place, Row, region};
use crate::time::Now;

/// A queue being rebuilt. Feed it every pair of the queue's regions in key order, region after region; or let
/// [`recover`](super::read::recover) do it. Waiting jobs all rest at first; the windows load them like any others.
#[derive(Debug)]
pub struct Recovery {
    queue: Queue,
    marks: Marks,
    leased: Vec<Lease>,
    holes: BTreeMap<ChunkKey, Holes>,
}

impl Recovery {
    /// The regions to feed, in this order.
    pub const REGIONS: [u8; 10] = [
        region::LEASE,
        region::HAND_OUT,
        region::HOLES,
        region::CHUNK,
        region::TIMER_HOLES,
        region::TIMER_CHUNK,
        region::READY,
        region::TIMER,
        region::DEAD,
        region::KEPT,
    ];

    /// Begins with the queue's own record.
    #[must_use]
    pub fn new(name: QueueName, record: QueueRecord, tuning: Tuning) -> Recovery {
        let next_seq = record.seq_reserved;
        Recovery {
            queue: Queue::empty(name, record, tuning, next_seq),
            marks: Marks::new(tuning.seed),
            leased: Vec::new(),
            holes: BTreeMap::new(),
        }
    }

    /// Takes one pair of the queue's regions.
    ///
    /// # Errors
    /// [`BadRecord`] for a pair that cannot be read; the queue must then not be opened.
    pub fn record(&mut self, key: &[u8], value: Bytes) -> Result<(), BadRecord> {
        let damaged = |text: &str| BadRecord::Damaged(text.to_owned());
        match key.first() {
            Some(&region::LEASE) => {
                let id = keys::id_of(key).ok_or_else(|| damaged("a lease key without an id"))?;
                self.marks.alone(id, LeaseMark::from_bytes(&value)?);
                return Ok(());
            }
            Some(&region::HAND_OUT) => return self.marks.hand_out(key, &value),
            Some(&at @ (region::CHUNK | region::TIMER_CHUNK | region::HOLES | region::TIMER_HOLES)) => {
                let (_, chunk) =
                    ChunkKey::from_key(key).ok_or_else(|| damaged("a key that names no chunk"))?;
                if matches!(at, region::CHUNK | region::TIMER_CHUNK) {
                    return self.chunk(chunk, value);
                }
                self.holes.insert(chunk, Holes::decode(&value)?);
                return Ok(());
            }
            _ => {}
        }
        let Some((_, place)) = Place::from_key(key) else {
            return Err(damaged("a key that names no job"));
        };
        match place {
            Place::Ready { priority, seq } => {
                let id = job_id_of(&value)?;
                if self.marks.has(&id) {
                    self.claim(place, &decode_job(&value)?);
                } else {
                    self.queue.filter.insert(&id);
                    self.queue.ready.recover_cold(priority, seq, 1);
                }
                Ok(())
            }
            Place::Timer { run_at, seq } => {
                let job = decode_job(&value)?;
                if !self.claim(place, &job) {
                    self.queue.retrying += u64::from(job.attempts() > 0);
                    self.queue.filter.insert(&job.id);
                    self.queue.timers.recover_cold((run_at, seq), 1);
                }
                Ok(())
            }
            Place::Dead { .. } => {
                self.queue.filter.insert(&job_id_of(&value)?);
                self.queue.dead += 1;
                Ok(())
            }
            Place::Kept { until, .. } => {
                let job = decode_job(&value)?;
                self.queue.filter.insert(&job.id);
                *self.queue.kept.entry(state_of(&job)).or_default() += 1;
                self.queue.kept_next.get_or_insert(until);
                Ok(())
            }
        }
    }

    /// The jobs of a chunk rest, run, or have left it.
    fn chunk(&mut self, key: ChunkKey, value: Bytes) -> Result<(), BadRecord> {
        let chunk = Chunk::decode(value)?;
        // They arrived together.
        let enqueued_at = chunk.job(0)?.enqueued_at;
        let holes = self.holes.remove(&key).unwrap_or_default();
        let ids = (0..chunk.jobs()).map(|index| chunk.id(index)).collect::<Vec<_>>();
        let mut rest = Vec::with_capacity(ids.len());
        let mut first = None;
        for (index, id) in ids.iter().enumerate().filter(|(index, _)| !holes.has(*index)) {
            if self.marks.has(id) {
                self.claim(key.place(index), &chunk.job(index)?);
            } else {
                first.get_or_insert(key.first + index as u64);
                rest.push(*id);
            }
        }
        let timed = ids.into_iter().filter(|id| id.is_timed(enqueued_at)).collect::<Vec<_>>();
        let sifts = self.queue.chunks.insert(key, chunk.jobs(), holes, &timed);
        if let Some(first) = first {
            let count = rest.len() as u64;
            if sifts {
                rest.retain(|id| !id.is_timed(enqueued_at));
            }
            self.queue.filter.insert_all(&rest);
            match key.row {
                Row::Ready { priority } => self.queue.ready.recover_cold(priority, first, count),
                // Retries stand alone, so none of these is one.
                Row::Timer { run_at } => self.queue.timers.recover_cold((run_at, first), count),
            }
        }
        Ok(())
    }

    /// A job with a lease mark is running as far as anybody knows.
    fn claim(&mut self, place: Place, job: &Job) -> bool {
        let Some((mark, hand_out, marked_alone)) = self.marks.take(&job.id) else { return false };
        self.leased.push(Lease {
            job: Arc::new(job.clone()),
            place,
            worker: mark.worker,
            token: mark.token,
            attempt: mark.attempt,
            started_at: mark.started_at,
            cancel: mark.cancel,
            hand_out,
            marked_alone,
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
            let id = lease.job.id;
            let no = queue.leases.insert(lease, deadline);
            queue.slots.insert(id, Slot::Running(no));
        }
        let mut fx = Fx::default();
        // Marks without a job are left over from a batch order that no longer exists; they mean nothing.
        let mut hand_outs = std::mem::take(&mut queue.hand_outs);
        let claimed = |id: &JobId, token| queue.is_leased(id, token);
        let left_over = marks.finish(&claimed, &mut hand_outs);
        queue.hand_outs = hand_outs;
        for id in left_over {
            fx.delete(keys::lease_key(queue.record.no, &id));
        }
        queue.record.seq_reserved += limits::SEQ_BLOCK;
        queue.save_record(&mut fx);
        queue.advance(now, &mut fx);
        let effects = queue.seal(fx);
        (queue, effects)
    }
}
