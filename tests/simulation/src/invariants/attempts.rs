//! **Promise.** Attempts count up from 1 without gaps or repeats, and never exceed what was allowed. A run that its worker
//! gave back, put off or never received uses none; a lost worker uses one.
//!
//! **How it is judged.** At each hand-out against the book, which counts from reports and ends of leases.

use super::{Verdict, wrong};
use crate::facts::Facts;
use crate::history::Event;

const NAME: &str = "attempts count up";

pub(super) fn hear(event: &Event, facts: &Facts) -> Verdict {
    let Event::HandedOut { key, attempt, .. } = event else { return Ok(()) };
    let fact = facts.job(key).latest();
    if *attempt != fact.attempts + 1 {
        return wrong(NAME, *key, format!("attempt {attempt} after {} were used", fact.attempts));
    }
    if *attempt > fact.max_attempts {
        return wrong(NAME, *key, format!("attempt {attempt} of {}", fact.max_attempts));
    }
    Ok(())
}
