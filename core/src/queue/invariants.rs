//! What must hold after every step. Tests and the simulator call it; it costs time in proportion to what is in memory.

use super::machine::{Queue, Slot};

/// Checks a queue against itself.
///
/// # Errors
/// The first thing that does not hold, as a sentence.
pub fn check(queue: &Queue) -> Result<(), String> {
    let holds =
        |what: bool, why: &str| if what { Ok(()) } else { Err(format!("queue {}: {why}", queue.name())) };
    let (ticket, durable) = queue.tickets();
    holds(durable <= ticket, "more is durable than was written")?;
    let (mut ready, mut timers, mut running, mut together) = (0, 0, 0, 0);
    for entry in queue.ready.entries() {
        ready += 1;
        let slot = queue.slots.get(&entry.job.id);
        holds(slot == Some(&Slot::Ready(entry.place, entry.job.priority)), "a ready job has another slot")?;
        holds(entry.job.past.as_ref().is_none_or(|p| p.ended.is_none()), "a job that ended is ready")?;
    }
    for entry in queue.timers.entries() {
        timers += 1;
        holds(queue.slots.get(&entry.job.id) == Some(&Slot::Timer(entry.place)), "a timer has another slot")?;
    }
    for (no, lease) in queue.leases.iter() {
        running += 1;
        together += usize::from(lease.hand_out.is_some());
        holds(lease.hand_out.is_some() || lease.marked_alone, "a lease has no mark")?;
        holds(queue.slots.get(&lease.job.id) == Some(&Slot::Running(no)), "a lease has another slot")?;
        holds(lease.attempt > lease.job.attempts(), "a lease runs an attempt that was used")?;
        holds(lease.token.epoch <= queue.tuning.epoch, "a token is from the future")?;
    }
    holds(queue.slots.len() == ready + timers + running, "the ids in memory are not the jobs in memory")?;
    holds(running == queue.leases.count(), "leases and holders disagree")?;
    holds(together == queue.hand_outs.leases(), "leases and hand-outs disagree")?;
    holds(queue.ready.hot() == ready, "the ready window has lost count")?;
    queue.chunks.check().map_err(|why| format!("queue {}: {why}", queue.name()))?;
    let bound = queue.tuning.window.jobs + queue.tuning.window.load;
    holds(queue.ready.window() <= bound, "the ready window is over its bound")?;
    holds(timers <= bound, "the timer window is over its bound")
}
