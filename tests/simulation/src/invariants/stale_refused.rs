//! **Promise.** A report with a stale token is refused and changes nothing; one that proves the lease is recorded.
//!
//! **How it is judged.** At every judgement of a queue, by the history: the lease is the one of the last hand-out that has not
//! ended since. That a refused report changed nothing shows in [`super::conservation`], since the book ignores it.

use super::{Verdict, wrong};
use crate::facts::Facts;
use crate::history::Event;

const NAME: &str = "stale reports are refused";

pub(super) fn hear(event: &Event, facts: &Facts) -> Verdict {
    let Event::Judged { key, token, recorded, .. } = event else { return Ok(()) };
    let lease = facts.job(key).latest().lease;
    match (lease.is_some_and(|lease| lease.token == *token), recorded) {
        (false, true) => {
            wrong(NAME, *key, format!("a report with {token:?} was recorded; the lease is {lease:?}"))
        }
        (true, false) => {
            wrong(NAME, *key, format!("a report with {token:?} was refused, and it has the lease"))
        }
        _ => Ok(()),
    }
}
