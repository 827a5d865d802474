//! Promises about the seat: who may write, who may claim, and who may stop.

use std::collections::{BTreeMap, BTreeSet};

use windlass_core::cluster::{Step, Timing};
use windlass_core::store::Epoch;

use super::{Journal, Verdict, wrong};
use crate::ownership::database::{Claim, ClaimNo, Own, Row};
use crate::ownership::fact::Fact;

/// Beyond the silence that an owner is granted: a statement of which the answer was lost just before its fault was over, a pause,
/// and the reading of the journal.
const RECOVERY_MS: u64 = 3_000;

/// Signs of life that an owner of one's own name is granted.
const NAMESAKE_BEATS: u64 = 3;

/// The judge.
#[derive(Debug)]
pub(super) struct Judge {
    timing: Timing,
    /// Until when a fault has harmed each node, and the database.
    harmed_until: Vec<u64>,
    database_harmed_until: u64,
    /// From when and until when each node may claim nothing.
    held: Vec<(u64, u64)>,
    /// Who serves, by node.
    serves: Vec<Option<ClaimNo>>,
    writers: BTreeMap<Epoch, ClaimNo>,
    /// Claims that were the seat's, and then were not.
    replaced: BTreeSet<ClaimNo>,
    /// Claims under which the database lost something.
    regressed: BTreeSet<ClaimNo>,
    claims: BTreeSet<ClaimNo>,
}

impl Judge {
    pub(super) fn new(timing: Timing, nodes: usize) -> Judge {
        Judge {
            timing,
            harmed_until: vec![0; nodes],
            database_harmed_until: 0,
            held: vec![(0, 0); nodes],
            serves: vec![None; nodes],
            writers: BTreeMap::new(),
            replaced: BTreeSet::new(),
            regressed: BTreeSet::new(),
            claims: BTreeSet::new(),
        }
    }

    pub(super) fn hear(&mut self, at: u64, fact: &Fact, journal: &Journal) -> Verdict {
        match fact {
            Fact::Broken { what, until } => {
                match what.harms() {
                    Some(Some(node)) => self.harm(node, *until),
                    Some(None) => self.database_harmed_until = self.database_harmed_until.max(*until),
                    None => {}
                }
                Ok(())
            }
            Fact::Died { node } | Fact::Up { node } => {
                self.serves[*node] = None;
                self.held[*node] = (0, 0);
                self.harm(*node, at);
                Ok(())
            }
            Fact::CameUp { row, lost } => {
                self.database_harmed_until = self.database_harmed_until.max(at);
                if row.claim != journal.claim {
                    self.replaced.insert(journal.claim);
                }
                // What was written under those epochs is no more.
                self.writers.retain(|epoch, _| *epoch <= row.epoch);
                if !lost.is_empty() {
                    self.regressed.extend(&self.claims);
                }
                Ok(())
            }
            Fact::Drained { node, until } => {
                self.held[*node] = (at, *until);
                Ok(())
            }
            Fact::Serves { node, claim } => {
                self.serves[*node] = Some(*claim);
                Ok(())
            }
            Fact::Claimed { claim, before, changed_at, up_since, .. } => {
                // A database that fell between the decision and the claim changes nothing.
                let up_since = if *up_since > claim.decided_at { 0 } else { *up_since };
                self.claimed(at, claim, before, up_since.max(*changed_at))
            }
            Fact::Wrote { own, before, .. } => self.wrote(own, before),
            Fact::Stepped { node, claim, step, .. } => self.stepped(*node, *claim, step),
            _ => Ok(()),
        }
    }

    fn harm(&mut self, node: usize, until: u64) {
        self.harmed_until[node] = self.harmed_until[node].max(until);
    }

    fn claimed(&mut self, at: u64, claim: &Claim, before: &Row, still_since: u64) -> Verdict {
        self.claims.insert(claim.claim);
        self.replaced.insert(before.claim);
        let (held_at, held_until) = self.held[claim.node];
        if (held_at..held_until).contains(&claim.decided_at) {
            return wrong("drained nodes hold off", format!("{} claims while it is held", claim.name));
        }
        let Some(owner) = &before.owner else { return Ok(()) };
        let granted_ms = match claim.told_dead {
            _ if *owner == claim.name => NAMESAKE_BEATS * self.timing.beat_ms,
            true => self.timing.dead_silence_ms,
            false => self.timing.silence_ms,
        };
        let still_ms = claim.decided_at.saturating_sub(still_since);
        if still_ms < granted_ms {
            return wrong(
                "no haste",
                format!(
                    "{} claims the seat of {owner}, which stood still for {still_ms} of {granted_ms} ms",
                    claim.name
                ),
            );
        }
        self.stays(at, before)
    }

    /// The node that serves under a claim.
    pub(super) fn server(&self, claim: ClaimNo) -> Option<usize> {
        self.serves.iter().position(|serves| *serves == Some(claim))
    }

    /// An owner who serves and whom nothing has harmed is not replaced.
    fn stays(&self, at: u64, before: &Row) -> Verdict {
        let Some(node) = self.server(before.claim) else { return Ok(()) };
        let harmed_until = self.harmed_until[node].max(self.database_harmed_until);
        if at > harmed_until + self.timing.silence_ms + RECOVERY_MS {
            return wrong(
                "a healthy owner stays",
                format!("node {node} is replaced, {} ms after the last fault", at - harmed_until),
            );
        }
        Ok(())
    }

    fn wrote(&mut self, own: &Own, before: &Row) -> Verdict {
        if own.claim != before.claim {
            let what =
                format!("{:?} of claim {} applies under claim {}", own.statement, own.claim, before.claim);
            return wrong("one writer", what);
        }
        let writer = *self.writers.entry(before.epoch).or_insert(own.claim);
        if writer != own.claim {
            let what = format!("claims {writer} and {} both write under epoch {}", own.claim, before.epoch);
            return wrong("one writer", what);
        }
        Ok(())
    }

    fn stepped(&mut self, node: usize, claim: ClaimNo, step: &Step) -> Verdict {
        let (over, alarm) = match step {
            Step::Fenced => (true, !self.replaced.contains(&claim)),
            Step::Regressed { .. } => (true, !self.regressed.contains(&claim)),
            Step::GivenUp => (true, false),
            Step::Committed { .. } | Step::Unsettled | Step::Settled { .. } | Step::Done | Step::Send(_) => {
                (false, false)
            }
        };
        if over {
            self.serves[node] = None;
        }
        if alarm {
            return wrong(
                "no false alarm",
                format!("node {node} stops with {step:?}, and nothing has happened"),
            );
        }
        Ok(())
    }
}
