//! Messages of one queue to sessions, gathered while a message is carried out and sent as one per worker.

use std::collections::HashMap;

use windlass_core::id::{QueueName, WorkerId};

use super::op::{FromQueue, WorkerEvent, WorkerLink};

/// Who can be reached, and what they are to be told.
#[derive(Default)]
pub(super) struct Outbox {
    links: HashMap<WorkerId, WorkerLink>,
    events: Vec<(WorkerId, Vec<WorkerEvent>)>,
}

impl Outbox {
    /// Remembers how to reach a worker. An older session than the one that is known changes nothing.
    pub(super) fn attach(&mut self, link: WorkerLink) {
        match self.links.get(&link.worker) {
            Some(known) if known.session >= link.session => {}
            _ => {
                self.links.insert(link.worker, link);
            }
        }
    }

    /// Whether `session` is the last one that is known of this worker, or none is known.
    pub(super) fn is_last(&self, worker: &WorkerId, session: u64) -> bool {
        self.links.get(worker).is_none_or(|link| link.session <= session)
    }

    /// The last session that is known of this worker.
    pub(super) fn session_of(&self, worker: &WorkerId) -> Option<u64> {
        self.links.get(worker).map(|link| link.session)
    }

    /// Forgets how to reach a worker.
    pub(super) fn detach(&mut self, worker: &WorkerId) {
        self.links.remove(worker);
    }

    /// Takes an event for a worker.
    pub(super) fn put(&mut self, worker: WorkerId, event: WorkerEvent) {
        // Few workers are told something in one message; the last one mostly again.
        match self.events.iter_mut().rev().find(|(to, _)| *to == worker) {
            Some((_, events)) => events.push(event),
            None => self.events.push((worker, vec![event])),
        }
    }

    /// Sends everything. A worker without a session learns what it needs when it comes back with its leases.
    pub(super) fn send(&mut self, queue: &QueueName) {
        for (worker, events) in self.events.drain(..) {
            if let Some(link) = self.links.get(&worker)
                && link.to.try_send(FromQueue { queue: queue.clone(), events }).is_err()
            {
                link.broken.cancel();
            }
        }
    }
}
