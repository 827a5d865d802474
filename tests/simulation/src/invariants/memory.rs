//! **Promise.** Memory has a bound that does not depend on the backlog.
//!
//! **How it is judged.** The windows of every queue are checked with its other invariants after every step
//! ([`windlass_core::queue::invariants`]); here: batches of a queue that wait for the store stay few, since new work is
//! refused above a bound.

use super::{Verdict, Wrong};
use crate::world::World;

/// Batches above which no new work is taken, and as many for the work that was taken on before.
const IN_FLIGHT_MAX: u64 = 3 * 64;

pub(super) fn finish(world: &World) -> Verdict {
    let most = world.stats.in_flight_max;
    if most > IN_FLIGHT_MAX {
        let what = format!("{most} batches of a queue waited for the store at once");
        return Err(Wrong { invariant: "bounded memory", what, key: None });
    }
    Ok(())
}
