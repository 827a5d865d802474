//! **Promise.** When all is well, everything ends: every job runs, dies, expires or is cancelled, and every client gets its answer.
//!
//! **How it is judged.** After the last fault handlers succeed, and the world looks every half second of its time whether a
//! job is still open, a client still waits or a queue is still busy. After [`crate::world::DRAIN_MS_MAX`] that is a
//! violation.

use crate::facts::Phase;
use crate::history::Key;
use crate::world::World;

/// A job that has not ended.
pub(super) fn unfinished(world: &World) -> Option<Key> {
    let open = |book: &crate::facts::Book| book.latest().phase == Phase::Live || !book.is_settled();
    world.facts.jobs.iter().find(|(_, book)| open(book)).map(|(key, _)| *key)
}
