//! **Promise.** Within a queue higher priority goes first, then arrival; a job that comes back keeps its place.
//!
//! **How it is judged.** At each hand-out of a job, against every other job of the queue that arrived ready, waits, and is
//! durable: none has a higher priority, and none of the same priority arrived earlier, if this one arrived ready too. A
//! moment at which the queue has something on its way to the disk says nothing: what is not durable yet lets others
//! pass. Jobs that waited for their time are between the others by that time, and are left out here.

use super::{Verdict, wrong};
use crate::facts::{Facts, Phase};
use crate::history::Event;

pub(super) fn hear(event: &Event, facts: &Facts) -> Verdict {
    let Event::HandedOut { key, ticket, wall, .. } = event else { return Ok(()) };
    let queue = &facts.queues[key.0];
    // The hand-out itself may be the batch under way.
    if queue.told + 1 < *ticket || queue.tickets.0 > queue.told + 1 {
        return Ok(());
    }
    let this = facts.job(key).latest();
    let latest = facts.latest_wall.max(*wall);
    for (other, book) in facts.jobs.iter().filter(|(other, _)| other.0 == key.0 && *other != key) {
        let fact = book.latest();
        let waits = fact.phase == Phase::Live && fact.lease.is_none() && !fact.may_be_expired(latest);
        let Some(arrival) = fact.arrival.filter(|_| waits && book.is_settled()) else { continue };
        let earlier = fact.priority() == this.priority() && this.arrival.is_some_and(|mine| arrival < mine);
        if fact.priority() > this.priority() || earlier {
            let why = if earlier { "arrived earlier" } else { "has a higher priority" };
            return wrong("order", *key, format!("handed out while {} waits and {why}", other.1));
        }
    }
    Ok(())
}
