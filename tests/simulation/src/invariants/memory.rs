//! **Promise.** Memory has a bound that does not depend on the backlog: a queue holds a window of the ready jobs and one of
//! the timers, and the rest rests in the store.
//!
//! **How it is judged.** Whenever the store is counted, for each queue that has nothing under way: of the jobs that wait by the
//! history, it holds no more than both windows, what one load may bring on top, and what may have come back from workers. While a load
//! is on its way it may remember more, until that is over. (The queue's own invariants look at each window after every
//! step.)

use super::{Verdict, Wrong};
use crate::facts::Phase;
use crate::world::World;

pub(super) fn look(world: &World) -> Verdict {
    let window = world.setup.window;
    for (queue, shell) in world.node.shells.iter().enumerate() {
        let most = 2 * (window.jobs + window.load) + world.facts.queues[queue].leases_max;
        let (written, durable) = shell.queue.tickets();
        if written != durable || !shell.is_idle() || shell.loads > 0 {
            continue;
        }
        let waits = |fact: &crate::facts::Fact| fact.phase == Phase::Live && fact.lease.is_none();
        let of_queue = world.facts.jobs.iter().filter(|(key, book)| key.0 == queue && waits(book.latest()));
        let held = of_queue.filter(|(key, _)| shell.queue.holds(&key.1)).count();
        if held > most {
            let what = format!("queue {queue} holds {held} waiting jobs in memory, {most} are allowed");
            return Err(Wrong { invariant: "bounded memory", what, key: None });
        }
    }
    Ok(())
}
