//! **Promise.** A job does not start before its time.
//!
//! **Which clock.** The server's wall clock as its process reads it: it follows the machine's clock forward, waits out small
//! steps back, and follows large ones. A job with a time of day waits until that clock shows it. A delay, a backoff and a snooze count
//! from the reading at which the server took the job on, or took the report. So a clock that is set forward makes delayed
//! jobs due, a clock that is set far back makes them wait for longer, and neither makes the server hand a job out before its
//! own clock has shown the job's time. What was due by that clock, in this process, stays due when it is set back.
//!
//! **How it is judged.** At each hand-out: the reading at that moment against the time that the book works out from the
//! producer's wish, the worker's report and the job's own policy, without its jitter, which only adds.

use super::{Verdict, wrong};
use crate::facts::Facts;
use crate::history::Event;

pub(super) fn hear(event: &Event, facts: &Facts) -> Verdict {
    let Event::HandedOut { key, wall, .. } = event else { return Ok(()) };
    let due = facts.job(key).latest().not_before;
    if *wall < due && !facts.came_due.contains(key) {
        return wrong("never early", *key, format!("handed out {} ms early", due.0 - wall.0));
    }
    Ok(())
}
