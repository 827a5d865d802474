//! Jobs that have just gone to rest in the store, or left it, remembered until their batch is durable.
//!
//! The store shows only what is durable. Between a decision of the queue and that moment, a look into the store gives an
//! old answer; here is the new one.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::id::JobId;
use crate::job::Job;
use crate::queue::Ticket;
use crate::queue::ids::{IdHash, IdMap};
use crate::store::keys::Place;

/// What is true of an id that is not in memory, until the store says the same.
#[derive(Debug, Clone)]
pub(super) enum Rest {
    /// Its record stands here.
    At(Place, Arc<Job>),
    /// It is not in the store any more.
    Gone,
}

/// The jobs between decision and durability.
#[derive(Debug)]
pub(super) struct Resting {
    map: IdMap<(Ticket, Rest)>,
    order: VecDeque<(Ticket, JobId)>,
}

impl Resting {
    pub(super) fn new(seed: u64) -> Resting {
        Resting { map: IdMap::with_hasher(IdHash::new(seed)), order: VecDeque::new() }
    }

    pub(super) fn put(&mut self, ticket: Ticket, id: JobId, rest: Rest) {
        self.map.insert(id, (ticket, rest));
        self.order.push_back((ticket, id));
    }

    /// Forgets where an id rested that has come back to memory. That an earlier job of this id is gone stays known: its record
    /// may still be seen.
    pub(super) fn recall(&mut self, id: &JobId) {
        if matches!(self.get(id), Some(Rest::At(..))) {
            self.map.remove(id);
        }
    }

    pub(super) fn get(&self, id: &JobId) -> Option<&Rest> {
        self.map.get(id).map(|(_, rest)| rest)
    }

    /// Forgets all whose batch is durable: from now on the store says the same.
    pub(super) fn settle(&mut self, durable: Ticket) {
        while let Some(&(ticket, id)) = self.order.front() {
            if ticket > durable {
                break;
            }
            self.order.pop_front();
            if self.map.get(&id).is_some_and(|(latest, _)| *latest <= durable) {
                self.map.remove(&id);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}
