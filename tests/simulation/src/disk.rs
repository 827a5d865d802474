//! The store, with what is durable apart from what is not.
//!
//! Batches wait, the writer takes all that wait as one group, and after a while the group is durable, batch after batch. A
//! crash loses what waits; of the group under way it keeps none, all, or the first few: each batch is atomic. Reads see
//! what is durable and nothing else, as the contract of [`windlass_core::store::Store`] says.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use bytes::Bytes;
use windlass_core::queue::Ticket;
use windlass_core::queue::read::Reads;
use windlass_core::store::keys::QueueNo;
use windlass_core::store::{Batch, ReadError, Write};

use crate::rng::Rng;

/// Who sent a batch: a queue, or the schedules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The queue with this index.
    Queue(usize),
    /// The schedule with this index.
    Schedule(usize),
}

/// A batch on its way.
#[derive(Debug, Clone)]
pub struct Submission {
    /// From whom.
    pub source: Source,
    /// The last ticket in it.
    pub ticket: Ticket,
    /// What is written.
    pub batch: Batch,
}

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Room {
    /// Enough.
    #[default]
    Ample,
    /// Only batches that settle earlier work fit.
    Low,
    /// Nothing fits, from a batch on that is drawn for each group.
    None,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Whose batch.
    pub source: Source,
    /// The last ticket in it.
    pub ticket: Ticket,
    /// Whether it is durable; if not, the disk is full.
    pub fits: bool,
}

/// The disk and the writer in front of it.
#[derive(Debug)]
pub struct Disk {
    durable: BTreeMap<Bytes, Bytes>,
    waiting: VecDeque<Submission>,
    group: Vec<Submission>,
    room: Room,
    /// Queues of which a batch was refused: nothing of theirs is written until they begin again with that one.
    refused: Vec<QueueNo>,
    epoch: u64,
    rng: Rng,
    /// Groups made durable.
    pub groups: u64,
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64) -> Disk {
        Disk {
            durable: BTreeMap::new(),
            waiting: VecDeque::new(),
            group: Vec::new(),
            room: Room::Ample,
            refused: Vec::new(),
            epoch: 0,
            rng: Rng::new(seed, 1),
            groups: 0,
        }
    }

    /// A process opens the store. Returns its epoch, larger than all before.
    pub fn open(&mut self) -> u64 {
        self.epoch += 1;
        self.epoch
    }

    /// Sets how much room there is.
    pub fn set_room(&mut self, room: Room) {
        self.room = room;
    }

    /// How much room there is.
    #[must_use]
    pub fn room(&self) -> Room {
        self.room
    }

    /// Takes a batch.
    pub fn submit(&mut self, submission: Submission) {
        self.waiting.push_back(submission);
    }

    /// Begins a group with all that waits; `false` when one is under way or nothing waits.
    pub fn begin_group(&mut self) -> bool {
        if !self.group.is_empty() || self.waiting.is_empty() {
            return false;
        }
        self.group = self.waiting.drain(..).collect();
        true
    }

    /// The group is written: what fits is durable now. A disk that lies leaves the last batch out and says nothing.
    pub fn end_group(&mut self, lies: bool) -> Vec<Answer> {
        self.groups += 1;
        let group = std::mem::take(&mut self.group);
        let fitting = match self.room {
            Room::None => self.rng.below(group.len() as u64 + 1) as usize,
            Room::Ample | Room::Low => group.len(),
        };
        let mut answers = Vec::with_capacity(group.len());
        for (number, Submission { source, ticket, batch }) in group.into_iter().enumerate() {
            let behind = batch.queue.is_some_and(|queue| self.refused.contains(&queue));
            let fits = !behind && number < fitting && (self.room != Room::Low || batch.settles);
            if !fits && !behind {
                self.refused.extend(batch.queue);
            }
            answers.push(Answer { source, ticket, fits });
            if fits && !(lies && number + 1 == fitting) {
                self.write(batch);
            }
        }
        answers
    }

    /// A queue begins again with the batch that was refused.
    pub fn resume(&mut self, queue: QueueNo) {
        self.refused.retain(|refused| *refused != queue);
    }

    fn write(&mut self, batch: Batch) {
        for write in batch.writes {
            match write {
                Write::Put { key, value } => self.durable.insert(key, value),
                Write::Delete { key } => self.durable.remove(&key),
            };
        }
    }

    /// The process dies: what waits is lost, and of the group under way the first `keep` batches survive. Returns those.
    pub fn crash(&mut self, keep: u64) -> Vec<Answer> {
        self.waiting.clear();
        let group = std::mem::take(&mut self.group);
        let keep = if self.room == Room::Ample { keep % (group.len() as u64 + 1) } else { 0 };
        let refused = std::mem::take(&mut self.refused);
        let mut kept = Vec::new();
        for Submission { source, ticket, batch } in group.into_iter().take(keep as usize) {
            if batch.queue.is_none_or(|queue| !refused.contains(&queue)) {
                kept.push(Answer { source, ticket, fits: true });
                self.write(batch);
            }
        }
        kept
    }

    /// The durable value of a key.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.durable.get(key).cloned()
    }

    /// The durable pairs from `first` up to `end`, `end` not included.
    pub fn scan(&self, first: &[u8], end: &[u8]) -> impl Iterator<Item = (&Bytes, &Bytes)> + use<'_> {
        // A range that ends before it begins is empty, but the map would not take it.
        let end = end.max(first);
        self.durable.range::<[u8], _>((Bound::Included(first), Bound::Excluded(end)))
    }
}

impl Reads for Disk {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(Disk::get(self, key))
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        each: &mut dyn FnMut(&[u8], Bytes) -> bool,
    ) -> Result<(), ReadError> {
        Disk::scan(self, from, to).all(|(key, value)| each(key, value.clone()));
        Ok(())
    }
}
