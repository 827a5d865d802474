//! Jobs that have just gone to rest in the store, or left it, remembered until their batch is durable.
//!
//! The store shows only what is durable. Between a decision of the queue and that moment, a look into the store gives an
//! old answer; here is the new one.

use std::collections::VecDeque;
use std::sync::Arc;

use super::chunks::Chunks;
use crate::id::JobId;
use crate::job::Job;
use crate::queue::Ticket;
use crate::queue::ids::{IdHash, IdMap};
use crate::store::keys::{ChunkKey, Place};

/// What is true of an id that is not in memory, until the store says the same.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rest<'a> {
    /// Its record stands here.
    At(Place, &'a Arc<Job>),
    /// It is not in the store any more.
    Gone,
}

/// The jobs between decision and durability.
#[derive(Debug)]
pub(super) struct Resting {
    map: IdMap<Note>,
    order: VecDeque<(Ticket, JobId)>,
    /// Jobs that have gone to rest as they came, by their chunks, in order of arrival. What the map says of one of them is newer.
    together: VecDeque<Together>,
}

/// What batch `ticket` makes of one id.
#[derive(Debug)]
struct Note {
    ticket: Ticket,
    /// `None` when it is gone.
    at: Option<(Place, Arc<Job>)>,
}

/// The last jobs of a chunk.
#[derive(Debug)]
struct Together {
    ticket: Ticket,
    key: ChunkKey,
    /// The place of the first of them in the chunk.
    from: usize,
    /// Beside the jobs, so that looking for one of a thousand reads no other job.
    ids: Vec<JobId>,
    jobs: Vec<Arc<Job>>,
}

impl Resting {
    pub(super) fn new(seed: u64) -> Resting {
        let map = IdMap::with_hasher(IdHash::new(seed));
        Resting { map, order: VecDeque::new(), together: VecDeque::new() }
    }

    /// The job's record stands at `place` from batch `ticket` on.
    pub(super) fn put(&mut self, ticket: Ticket, place: Place, job: Arc<Job>) {
        self.note(ticket, job.id, Some((place, job)));
    }

    /// The job is not in the store from batch `ticket` on.
    pub(super) fn put_gone(&mut self, ticket: Ticket, id: JobId) {
        self.note(ticket, id, None);
    }

    /// The jobs of a chunk that batch `ticket` writes, from the one with the number `from` on. Only those are found that the chunk
    /// [sifts](Chunks::sifts) and of which nothing else [is known](Resting::alone): the others have to be put one by one.
    pub(super) fn put_together(&mut self, ticket: Ticket, key: ChunkKey, from: usize, jobs: &[Arc<Job>]) {
        let ids = jobs.iter().map(|job| job.id).collect();
        self.together.push_back(Together { ticket, key, from, ids, jobs: jobs.to_vec() });
    }

    fn note(&mut self, ticket: Ticket, id: JobId, at: Option<(Place, Arc<Job>)>) {
        self.map.insert(id, Note { ticket, at });
        self.order.push_back((ticket, id));
    }

    /// Forgets where an id rested that has come back to memory. That an earlier job of this id is gone stays known: its record
    /// may still be seen.
    pub(super) fn recall(&mut self, id: &JobId) {
        if self.map.get(id).is_some_and(|note| note.at.is_some()) {
            self.map.remove(id);
        }
    }

    /// What is known of this id alone: all there is to know, but for a job that [has gone to rest with others](Resting::put_together)
    /// and has not moved since.
    pub(super) fn alone(&self, id: &JobId) -> Option<Rest<'_>> {
        Some(match &self.map.get(id)?.at {
            Some((place, job)) => Rest::At(*place, job),
            None => Rest::Gone,
        })
    }

    /// What is true of this id. Of a job in memory this may be where it rested before.
    pub(super) fn get(&self, id: &JobId, chunks: &Chunks) -> Option<Rest<'_>> {
        let alone = self.alone(id);
        if alone.is_some() || self.together.is_empty() {
            return alone;
        }
        chunks.sifted(id).find_map(|key| self.find(key, id))
    }

    fn find(&self, key: ChunkKey, id: &JobId) -> Option<Rest<'_>> {
        let together = self.chunk_with(key).filter(|together| together.key == key)?;
        let index = together.ids.iter().position(|one| one == id)?;
        Some(Rest::At(key.place(together.from + index), &together.jobs[index]))
    }

    /// Whether the job at this place has gone to rest with others.
    pub(super) fn has_together(&self, place: Place) -> bool {
        let Some(wanted) = ChunkKey::beginning_at(place) else { return false };
        self.chunk_with(wanted).is_some_and(|together| {
            let first = together.key.first + together.from as u64;
            let end = first + together.jobs.len() as u64;
            together.key.row == wanted.row && (first..end).contains(&wanted.first)
        })
    }

    /// The last chunk that does not begin behind this one; sequence numbers only grow.
    fn chunk_with(&self, key: ChunkKey) -> Option<&Together> {
        let behind = self.together.partition_point(|together| together.key.first <= key.first);
        self.together.get(behind.checked_sub(1)?)
    }

    /// Forgets all whose batch is durable: from now on the store says the same.
    pub(super) fn settle(&mut self, durable: Ticket) {
        while self.together.front().is_some_and(|together| together.ticket <= durable) {
            self.together.pop_front();
        }
        while let Some(&(ticket, id)) = self.order.front() {
            if ticket > durable {
                break;
            }
            self.order.pop_front();
            if self.map.get(&id).is_some_and(|latest| latest.ticket <= durable) {
                self.map.remove(&id);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty() && self.together.is_empty()
    }
}
