//! Promises about groups and jobs: what stands in the journal, and what may be said of it.

use std::collections::{BTreeMap, BTreeSet};

use windlass_core::cluster::Step;
use windlass_core::wire::Token;

use super::{Journal, Verdict, wrong};
use crate::ownership::database::{ClaimNo, Own};
use crate::ownership::fact::Fact;
use crate::ownership::ledger::{Group, Job, Write};

/// A job in the journal.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    token: Option<Token>,
    ended: bool,
}

/// The judge.
#[derive(Debug, Default)]
pub(super) struct Judge {
    jobs: BTreeMap<Job, Entry>,
    /// Every mark of a lease that ever was in the journal.
    marks: BTreeSet<(Job, Token)>,
    /// By whom each token was given to a worker, with which job. A token is not used again for another job either.
    handed_out: BTreeMap<Token, (ClaimNo, Job)>,
    /// The groups that each owner has begun, in order.
    begun: BTreeMap<ClaimNo, Vec<u64>>,
}

impl Judge {
    pub(super) fn hear(&mut self, fact: &Fact, journal: &Journal) -> Verdict {
        match fact {
            Fact::Wrote { own: Own { group: Some(group), known, .. }, .. } => {
                self.grouped(group, *known, journal)?;
                self.written(group)
            }
            Fact::Stepped { step: Step::Committed { seq }, group: Some(group), .. } => {
                committed(*seq, group, journal)
            }
            Fact::Confirmed { job, .. } if !journal.ever_written.contains(&(*job, false)) => wrong(
                "confirmed is committed",
                format!("job {job} is confirmed and was never in the journal"),
            ),
            Fact::Ended { job, .. } if !journal.ever_written.contains(&(*job, true)) => {
                wrong("confirmed is committed", format!("the end of job {job} was never in the journal"))
            }
            Fact::HandedOut { job, token, claim } => self.handed_out(*job, *token, *claim),
            _ => Ok(()),
        }
    }

    pub(super) fn has_ended(&self, job: Job) -> bool {
        self.jobs.get(&job).is_some_and(|entry| entry.ended)
    }

    /// A group is about to stand in the journal.
    fn grouped(&self, group: &Group, known: u64, journal: &Journal) -> Verdict {
        let promise = "groups once, in order";
        if journal.groups.iter().any(|other| other.id == group.id) {
            return wrong(promise, format!("group {} stands in the journal twice", group.id));
        }
        let before = journal.groups.iter().filter(|other| other.claim == group.claim).count();
        let next = self.begun.get(&group.claim).and_then(|begun| begun.get(before));
        if next != Some(&group.id) {
            return wrong(
                promise,
                format!("group {} stands in the journal without {next:?} before it", group.id),
            );
        }
        if known != journal.known {
            let seq = journal.groups.len();
            return wrong(
                promise,
                format!("group {} stands on {seq} groups that its owner does not know", group.id),
            );
        }
        Ok(())
    }

    fn written(&self, group: &Group) -> Verdict {
        for write in &group.writes {
            let Write::Lease(job, token) = write else { continue };
            let entry = self.jobs.get(job).copied();
            let Some(entry) = entry.filter(|entry| !entry.ended) else {
                return wrong("what ended rests", format!("job {job} is leased, and was {entry:?}"));
            };
            if entry.token.is_some_and(|before| before >= *token) {
                return wrong(
                    "one owner per token",
                    format!("job {job} has {token:?} after {:?}", entry.token),
                );
            }
        }
        Ok(())
    }

    fn handed_out(&mut self, job: Job, token: Token, claim: ClaimNo) -> Verdict {
        if !self.marks.contains(&(job, token)) {
            return wrong(
                "hand-outs are durable",
                format!("job {job} is handed out, and {token:?} is in no journal"),
            );
        }
        match self.handed_out.insert(token, (claim, job)) {
            None => Ok(()),
            Some((other, of)) => wrong(
                "one owner per token",
                format!(
                    "job {job} is handed out as {token:?} by claim {claim}; job {of} was by claim {other}"
                ),
            ),
        }
    }

    /// After the journal has taken note.
    pub(super) fn note(&mut self, fact: &Fact, journal: &Journal) {
        match fact {
            Fact::Wrote { own: Own { group: Some(group), .. }, .. } => self.apply(group),
            Fact::Begun { claim, group } => self.begun.entry(*claim).or_default().push(group.id),
            Fact::CameUp { lost, .. } if !lost.is_empty() => {
                self.jobs.clear();
                journal.groups.iter().for_each(|group| self.apply(group));
            }
            _ => {}
        }
    }

    fn apply(&mut self, group: &Group) {
        for write in &group.writes {
            match *write {
                Write::Enqueue(job) => {
                    self.jobs.entry(job).or_default();
                }
                Write::Lease(job, token) => {
                    self.jobs.entry(job).or_default().token = Some(token);
                    self.marks.insert((job, token));
                }
                Write::End(job) => self.jobs.entry(job).or_default().ended = true,
            }
        }
    }
}

/// An owner takes a group for committed.
fn committed(seq: u64, group: &Group, journal: &Journal) -> Verdict {
    let stands = (seq as usize).checked_sub(1).and_then(|index| journal.groups.get(index));
    let is_there = stands.is_some_and(|there| there.id == group.id);
    if is_there || journal.lost.contains(&group.id) {
        return Ok(());
    }
    let ever = journal.ever.contains(&group.id);
    wrong(
        "confirmed is committed",
        format!("group {} is taken for committed as {seq}; it was in the journal ever: {ever}", group.id),
    )
}
