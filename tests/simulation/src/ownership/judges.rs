//! The judges: each hears every fact and says what is wrong, if anything. They keep books of their own and ask nobody.
//!
//! | promise | what it says |
//! |---|---|
//! | one writer | statements of one owner apply per epoch, and none of an older one behind a newer claim |
//! | groups once, in order | a group stands in the journal once, on top of what its owner knows |
//! | confirmed is committed | what an owner takes for committed, and what it tells clients, stood in the journal |
//! | no false alarm | an owner is fenced only by another claim, and regressed only when something was lost |
//! | no haste | a claim needs silence that its standby has watched, unless the seat was given up |
//! | a healthy owner stays | whoever no fault but of gossip has touched keeps the seat |
//! | drained nodes hold off | a node that was drained claims nothing before its time |
//! | hand-outs are durable | a job is handed out after the mark of its lease is in the journal |
//! | one owner per token | no two owners hand out under one token, and tokens rise |
//! | what ended rests | no job is leased after its end, or without being there |
//!
//! Two more are judged by the world: somebody owns, and everything ends.

mod seat;
mod work;

use std::collections::BTreeSet;
use std::rc::Rc;

use windlass_core::cluster::Timing;

use super::database::{ClaimNo, Own};
use super::fact::Fact;
use super::ledger::{Group, Job, Write};
use super::owner::chain;

/// All promises, for those who check that each has a bug that it catches.
pub const PROMISES: [&str; 12] = [
    "one writer",
    "groups once, in order",
    "confirmed is committed",
    "no false alarm",
    "no haste",
    "a healthy owner stays",
    "drained nodes hold off",
    "hand-outs are durable",
    "one owner per token",
    "what ended rests",
    "somebody owns",
    "everything ends",
];

/// A broken promise: which, and how.
#[derive(Debug, Clone)]
pub struct Wrong(pub &'static str, pub String);

/// What a judge says.
pub type Verdict = Result<(), Wrong>;

fn wrong(promise: &'static str, what: impl Into<String>) -> Verdict {
    Err(Wrong(promise, what.into()))
}

/// The journal as it is, and all that ever was in it.
#[derive(Debug, Default)]
pub(super) struct Journal {
    groups: Vec<Rc<Group>>,
    known: u64,
    ever: BTreeSet<u64>,
    /// Enqueues and ends that ever were in it.
    ever_written: BTreeSet<(Job, bool)>,
    lost: BTreeSet<u64>,
    lost_jobs: BTreeSet<Job>,
    /// The claim of the row.
    claim: ClaimNo,
}

impl Journal {
    fn note(&mut self, fact: &Fact) {
        match fact {
            Fact::Claimed { claim, .. } => self.claim = claim.claim,
            Fact::Wrote { own: Own { group: Some(group), .. }, .. } => {
                self.known = chain(self.known, group);
                self.ever.insert(group.id);
                self.lost.remove(&group.id);
                self.groups.push(Rc::clone(group));
                self.ever_written.extend(group.writes.iter().filter_map(|write| match write {
                    Write::Enqueue(job) => Some((*job, false)),
                    Write::End(job) => Some((*job, true)),
                    Write::Lease(..) => None,
                }));
            }
            Fact::CameUp { row, lost } => {
                self.claim = row.claim;
                self.groups.truncate(row.seq as usize);
                self.known = self.groups.iter().fold(0, |known, group| chain(known, group));
                self.lost.extend(lost.iter().map(|group| group.id));
                let writes = lost.iter().flat_map(|group| &group.writes);
                self.lost_jobs.extend(writes.filter_map(|write| match write {
                    Write::Enqueue(job) => Some(*job),
                    _ => None,
                }));
            }
            _ => {}
        }
    }
}

/// All judges.
#[derive(Debug)]
pub struct Judges {
    journal: Journal,
    seat: seat::Judge,
    work: work::Judge,
}

impl Judges {
    /// Judges of a world in which nothing has happened.
    #[must_use]
    pub fn new(timing: Timing, nodes: usize) -> Judges {
        Judges {
            journal: Journal::default(),
            seat: seat::Judge::new(timing, nodes),
            work: work::Judge::default(),
        }
    }

    /// Something has happened.
    ///
    /// # Errors
    /// The first promise that is broken.
    pub fn hear(&mut self, at: u64, fact: &Fact) -> Verdict {
        let verdict =
            self.seat.hear(at, fact, &self.journal).and_then(|()| self.work.hear(fact, &self.journal));
        self.journal.note(fact);
        self.work.note(fact, &self.journal);
        verdict
    }

    /// Whether a fail-over has lost the record of a job.
    #[must_use]
    pub fn is_lost(&self, job: Job) -> bool {
        self.journal.lost_jobs.contains(&job)
    }

    /// Whether the end of a job is in the journal.
    #[must_use]
    pub fn has_ended(&self, job: Job) -> bool {
        self.work.has_ended(job)
    }

    /// The node that serves under a claim.
    #[must_use]
    pub fn server(&self, claim: ClaimNo) -> Option<usize> {
        self.seat.server(claim)
    }

    /// Whether the seat is that of this claim.
    #[must_use]
    pub fn owns(&self, claim: ClaimNo) -> bool {
        self.journal.claim == claim
    }
}
