//! **Promise.** An id is an idempotency key: enqueueing an id that the queue knows makes no second job, and an id that it does
//! not know is never taken for a duplicate.
//!
//! **What a queue knows.** Jobs that wait, run or are dead; results that are kept until they run out; and of the jobs that
//! ended otherwise the last ones, in memory, until a restart.
//!
//! **How it is judged.** At each judgement of a queue, against the book. Within one request the first of two equal ids counts.

use windlass_core::limits::FINISHED_JOBS_DEFAULT;

use super::{Verdict, wrong};
use crate::facts::{Facts, Phase};
use crate::history::Event;

const NAME: &str = "ids are unique";

/// The judge.
#[derive(Debug)]
pub struct Judge;

impl Judge {
    pub(super) fn hear(&mut self, event: &Event, facts: &Facts) -> Verdict {
        let Event::Accepted { key, duplicate, wall, .. } = event else { return Ok(()) };
        let fact = facts.job(key).latest();
        let wall = (*wall).max(facts.latest_wall);
        let ended = facts.queues[key.0].ended;
        let known = match fact.phase {
            Phase::Live if fact.may_be_expired(wall) => None,
            Phase::Live | Phase::Dead => Some(true),
            Phase::Kept(_, until) if until > wall => Some(true),
            // It is dropped a little later.
            Phase::Kept(..) => None,
            Phase::Ended(_, Some(number)) if ended - number < u64::from(FINISHED_JOBS_DEFAULT) => Some(true),
            // One that expired unseen may be remembered.
            Phase::Ended(windlass_core::job::JobState::Expired, _) => None,
            Phase::Ended(..) | Phase::Absent => Some(false),
        };
        match (known, duplicate) {
            (Some(true), false) => wrong(NAME, *key, format!("taken on again while it is {:?}", fact.phase)),
            (Some(false), true) => {
                wrong(NAME, *key, format!("called a duplicate while it is {:?}", fact.phase))
            }
            _ => Ok(()),
        }
    }
}
