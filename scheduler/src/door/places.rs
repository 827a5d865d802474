//! Places at a door: how many connections there are, and how many of them are still strangers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::UNGREETED_MAX;

/// Bounds of one door.
#[derive(Debug)]
pub struct Places {
    taken: AtomicU32,
    max: u32,
    strangers: Arc<Semaphore>,
}

impl Places {
    /// At most `max` connections, of which at most [`UNGREETED_MAX`] have not said hello.
    #[must_use]
    pub fn new(max: u32) -> Places {
        Places { taken: AtomicU32::new(0), max, strangers: Arc::new(Semaphore::new(UNGREETED_MAX)) }
    }

    /// Open connections.
    #[must_use]
    pub fn taken(&self) -> u32 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Most connections.
    #[must_use]
    pub fn max(&self) -> u32 {
        self.max
    }

    /// Waits until one more stranger may come in. The semaphore is never closed, so there is always a permit in the end.
    pub(super) async fn stranger(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.strangers).acquire_owned().await.ok()
    }

    /// A place for a connection; `None` when there are as many as there may be.
    pub(super) fn take(self: &Arc<Self>) -> Option<Place> {
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(self));
        (before < self.max).then_some(place)
    }
}

/// The place of one open connection.
#[derive(Debug)]
pub(super) struct Place(Arc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a connection holds for as long as it lasts.
#[derive(Debug)]
pub struct Pass {
    _place: Place,
    stranger: Option<OwnedSemaphorePermit>,
    deadline: Instant,
}

impl Pass {
    pub(super) fn new(place: Place, stranger: Option<OwnedSemaphorePermit>, deadline: Instant) -> Pass {
        Pass { _place: place, stranger, deadline }
    }

    /// When the peer must have said hello.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The peer has said hello and may stay: its place among the strangers is free again.
    pub fn greeted(&mut self) {
        self.stranger = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn strangers_wait_until_one_of_them_is_known_or_gone() {
        let places = Arc::new(Places::new(10_000));
        let mut inside = Vec::new();
        for _ in 0..UNGREETED_MAX {
            let stranger = places.stranger().await;
            inside.push(Pass::new(places.take().expect("a place"), stranger, Instant::now()));
        }
        let waits = |places: Arc<Places>| async move {
            tokio::time::timeout(std::time::Duration::from_millis(20), places.stranger()).await.is_err()
        };
        assert!(waits(Arc::clone(&places)).await, "one more stranger waits");
        inside[0].greeted();
        assert!(!waits(Arc::clone(&places)).await, "who is known is no stranger");
        assert_eq!(places.taken() as usize, UNGREETED_MAX, "and keeps its place");
        drop(inside);
        assert_eq!(places.taken(), 0);
    }

    #[test]
    fn there_are_as_many_places_as_there_are() {
        let places = Arc::new(Places::new(2));
        let (first, second) = (places.take(), places.take());
        assert!(first.is_some() && second.is_some() && places.take().is_none());
        drop(first);
        assert!(places.take().is_some());
    }
}
