//! The judges: one file per promise. Each hears every event before the book of facts does, and says what is wrong, if anything.
//!
//! | file | promise |
//! |---|---|
//! | [`confirmed_kept`] | what was confirmed is durable, and no confirmed job is lost |
//! | [`ran_and_ended`] | a confirmed job runs and ends, unless somebody ended it |
//! | [`one_live_lease`] | one live lease per job; a worker that lives keeps it |
//! | [`tokens_rise`] | tokens rise, and none is used twice |
//! | [`stale_refused`] | a report is taken exactly when its token proves the lease |
//! | [`no_resurrection`] | what ended does not run again unless somebody wants it |
//! | [`attempts`] | attempts count 1, 2, 3 … and never exceed what was allowed |
//! | [`never_early`] | no job starts before its time by the server's wall clock |
//! | [`one_firing`] | one job per nominal time of a schedule, and none left out without being counted |
//! | [`unique_ids`] | an id that the queue knows is a duplicate, and no other is |
//! | [`dead_stay`] | dead jobs stay until somebody acts |
//! | [`conservation`] | store, counters and history agree; every index entry names its record |
//! | [`paused`] | a paused queue hands nothing out |
//! | [`order`] | higher priority first, then arrival |
//! | [`answered_once`] | each request is answered once, and no queue finds itself wrong |
//! | [`leases_end`] | a worker that is gone costs no more than its lease |
//! | [`memory`] | what a queue holds in memory is bounded |
//! | [`meeting`] | an idle worker and an eligible job meet |
//! | [`liveness`] | when all is well, everything ends |

pub mod answered_once;
pub mod attempts;
pub mod confirmed_kept;
pub mod conservation;
pub mod dead_stay;
pub mod leases_end;
pub mod liveness;
pub mod meeting;
pub mod memory;
pub mod never_early;
pub mod no_resurrection;
pub mod one_firing;
pub mod one_live_lease;
pub mod order;
pub mod paused;
pub mod ran_and_ended;
pub mod stale_refused;
pub mod tokens_rise;
pub mod unique_ids;

use windlass_core::time::Timestamp;

use crate::facts::Facts;
use crate::history::{Event, Key};
use crate::world::{Setup, World};

/// A broken promise.
#[derive(Debug, Clone)]
pub struct Wrong {
    /// Which.
    pub invariant: &'static str,
    /// How.
    pub what: String,
    /// Of which job.
    pub key: Option<Key>,
}

/// What a judge says.
pub type Verdict = Result<(), Wrong>;

/// A broken promise about a job.
pub(crate) fn wrong(invariant: &'static str, key: Key, what: impl Into<String>) -> Verdict {
    Err(Wrong { invariant, what: what.into(), key: Some(key) })
}

/// All judges.
#[derive(Debug)]
pub struct Judges {
    confirmed_kept: confirmed_kept::Judge,
    ran_and_ended: ran_and_ended::Judge,
    one_live_lease: one_live_lease::Judge,
    tokens_rise: tokens_rise::Judge,
    no_resurrection: no_resurrection::Judge,
    one_firing: one_firing::Judge,
    paused: paused::Judge,
    unique_ids: unique_ids::Judge,
    leases_end: leases_end::Judge,
    meeting: meeting::Judge,
}

impl Judges {
    /// Judges for a world.
    #[must_use]
    pub fn new(setup: &Setup) -> Judges {
        Judges {
            confirmed_kept: confirmed_kept::Judge::default(),
            ran_and_ended: ran_and_ended::Judge::default(),
            one_live_lease: one_live_lease::Judge::new(setup),
            tokens_rise: tokens_rise::Judge::default(),
            no_resurrection: no_resurrection::Judge::default(),
            one_firing: one_firing::Judge::default(),
            paused: paused::Judge::default(),
            unique_ids: unique_ids::Judge,
            leases_end: leases_end::Judge::new(setup),
            meeting: meeting::Judge::default(),
        }
    }

    /// Something has happened.
    ///
    /// # Errors
    /// The first promise that it breaks.
    pub fn hear(&mut self, at: u64, event: &Event, facts: &Facts) -> Verdict {
        self.confirmed_kept.hear(event, facts)?;
        self.ran_and_ended.hear(event);
        self.one_live_lease.hear(at, event, facts)?;
        self.tokens_rise.hear(event)?;
        stale_refused::hear(event, facts)?;
        self.no_resurrection.hear(event, facts)?;
        attempts::hear(event, facts)?;
        never_early::hear(event, facts)?;
        self.one_firing.hear(event, facts)?;
        self.unique_ids.hear(event, facts)?;
        dead_stay::hear(event, facts)?;
        self.paused.hear(event, facts)?;
        order::hear(event, facts)?;
        answered_once::hear(event)?;
        self.leases_end.hear(at, event, facts)
    }

    /// A look around after the faults. Returns a job that has not ended, if there is one.
    ///
    /// # Errors
    /// The first promise that is broken.
    pub fn look(&mut self, world: &World, wall: Timestamp) -> Result<Option<Key>, Wrong> {
        self.meeting.look(world, wall)?;
        Ok(liveness::unfinished(world))
    }

    /// Everything is over.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub fn finish(&mut self, world: &World) -> Verdict {
        self.confirmed_kept.finish(&world.facts)?;
        self.ran_and_ended.finish(&world.facts)?;
        self.one_firing.finish(world)?;
        dead_stay::finish(world)
    }
}
