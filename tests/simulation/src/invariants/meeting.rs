//! **Promise.** An idle worker and an eligible job meet: no job waits while somebody could run it.
//!
//! **How it is judged.** After the last fault, once the longest nap and the longest delay that were under way have passed: no job
//! that is durable, due and not paused is seen at several looks in a row while a worker of its queue is connected and has
//! a free slot all the time. Jobs behind it in the order need not be looked at: the first one is enough.

use std::collections::BTreeMap;

use windlass_core::time::Timestamp;

use super::{Verdict, wrong};
use crate::facts::Phase;
use crate::history::Key;
use crate::world::World;

/// Time after the last fault within which delays of before may still be felt.
const CALM_MS: u64 = 10_000;
/// Time in which the two must have met.
const MEET_MS: u64 = 1_500;

/// The judge.
#[derive(Debug, Default)]
pub struct Judge {
    /// Since when a job has been seen waiting.
    waits: BTreeMap<Key, u64>,
}

impl Judge {
    pub(super) fn look(&mut self, world: &World, wall: Timestamp) -> Verdict {
        let calm = world.healed_at.is_some_and(|healed_at| world.at > healed_at + CALM_MS);
        let mut waits = BTreeMap::new();
        if calm && world.node.up {
            for (key, book) in &world.facts.jobs {
                let fact = book.latest();
                let eligible = fact.phase == Phase::Live
                    && fact.lease.is_none()
                    && book.is_settled()
                    && fact.due_by.plus_ms(MEET_MS) <= wall
                    && !world.facts.queues[key.0].is_paused();
                if eligible {
                    waits.insert(*key, self.waits.get(key).copied().unwrap_or(world.at));
                }
            }
        }
        self.waits = waits;
        for (key, since) in &self.waits {
            let waited = world.at - since;
            let idle = world.idle_workers(key.0).is_some_and(|idle_since| world.at - idle_since >= MEET_MS);
            if waited >= MEET_MS && idle {
                return wrong(
                    "workers and jobs meet",
                    *key,
                    format!("it waits for {waited} ms beside an idle worker"),
                );
            }
        }
        Ok(())
    }
}
