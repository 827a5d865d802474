//! Situations that a run came into, counted; a test holds that every one of them comes up.

use windlass_core::cluster::{Statement, Step};

use super::fact::Fact;
use super::judges::Judges;

/// Names of the situations.
pub const SITUATIONS: [&str; 19] = [
    "first claim of an empty seat",
    "claim of an owner's seat",
    "claim of one's own seat",
    "claim that was not the first",
    "commit of which the answer was lost, found",
    "commit sent again",
    "commit that matched nothing under its owner",
    "fenced",
    "regressed",
    "seat given up",
    "statement of an owner that was replaced",
    "confirmed groups lost",
    "stale report",
    "group without room",
    "several commits in flight, and one was lost",
    "some of several commits found",
    "all of several commits found",
    "none of several commits found",
    "claim of a namesake's seat",
];

/// Which situation a fact shows.
#[must_use]
pub fn situation(fact: &Fact, judges: &Judges) -> Option<usize> {
    let reopened = |to: &Statement| matches!(to, Statement::Reopen { .. });
    Some(match fact {
        Fact::Claimed { before, .. } if before.owner.is_none() => 0,
        Fact::Claimed { before, claim, .. } if before.owner.as_ref() != Some(&claim.name) => 1,
        Fact::Claimed { before, claim, .. }
            if judges.server(before.claim).is_some_and(|node| node != claim.node) =>
        {
            18
        }
        Fact::Claimed { .. } => 2,
        Fact::Raced { .. } => 3,
        Fact::Stepped { to, step: Step::Committed { .. }, .. } if reopened(to) => 4,
        Fact::Stepped { step: Step::Settled { committed: 0 }, behind: 1, .. } => 5,
        Fact::Missed { claim, statement: Statement::Commit { .. } } if judges.owns(*claim) => 6,
        Fact::Stepped { step: Step::Fenced, .. } => 7,
        Fact::Stepped { step: Step::Regressed { .. }, .. } => 8,
        Fact::Stepped { step: Step::GivenUp, .. } => 9,
        Fact::Missed { claim, .. } if !judges.owns(*claim) => 10,
        Fact::CameUp { lost, .. } if !lost.is_empty() => 11,
        Fact::Stale { .. } => 12,
        Fact::NoRoom { .. } => 13,
        Fact::Stepped { step: Step::Unsettled, .. } => 14,
        Fact::Stepped { step: Step::Settled { committed: 0 }, behind: 2.., .. } => 17,
        Fact::Stepped { step: Step::Settled { committed }, behind: behind @ 2.., .. } => {
            if committed == behind { 16 } else { 15 }
        }
        _ => return None,
    })
}
