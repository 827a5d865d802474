//! Jobs as an owner sees them: what it has read from the journal, and what it has written since.
//!
//! A small stand-in for the queue, which has a simulation of its own: here it matters what is durable when, and who hands out
//! what under which token.

use std::collections::BTreeMap;
use std::rc::Rc;

use windlass_core::wire::Token;

use super::database::ClaimNo;

/// A job.
pub type Job = u64;

/// One change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// There is a job.
    Enqueue(Job),
    /// It is leased.
    Lease(Job, Token),
    /// It has ended.
    End(Job),
}

/// What is committed by one statement.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    /// Its own number; no two groups share one.
    pub id: u64,
    /// Who wrote it.
    pub claim: ClaimNo,
    /// The changes.
    pub writes: Vec<Write>,
}

/// A job in memory.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    durable: bool,
    ended: bool,
    ended_durably: bool,
    /// The lease, and since when it counts.
    lease: Option<(Token, u64)>,
}

/// The jobs.
#[derive(Debug, Default)]
pub struct Ledger {
    jobs: BTreeMap<Job, Entry>,
    deliveries: u64,
}

/// What an owner knows of a job that is submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Nothing yet.
    New,
    /// It is on its way to the journal.
    OnItsWay,
    /// It is in the journal.
    Durable,
}

/// What a report is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Its token is that of the lease.
    Holds,
    /// It is not.
    Stale,
    /// The end of the job is on its way to the journal.
    Ends,
    /// The end of the job is in the journal.
    Ended,
}

impl Ledger {
    /// The jobs of a journal, of the changes that `reads` says. Leases count from `at`: the time in which nobody could report is
    /// not held against them.
    #[must_use]
    pub fn load(groups: &[Rc<Group>], at: u64, reads: impl Fn(&Write) -> bool) -> Ledger {
        let mut ledger = Ledger::default();
        for write in groups.iter().flat_map(|group| &group.writes).filter(|write| reads(write)) {
            ledger.apply(*write, at);
            ledger.durable(*write);
        }
        ledger
    }

    /// What is known of a job.
    #[must_use]
    pub fn known(&self, job: Job) -> Known {
        match self.jobs.get(&job) {
            None => Known::New,
            Some(entry) if entry.durable => Known::Durable,
            Some(_) => Known::OnItsWay,
        }
    }

    /// What a report with this token is worth.
    #[must_use]
    pub fn proves(&self, job: Job, token: Token) -> Proof {
        let entry = self.jobs.get(&job).copied().unwrap_or_default();
        match (entry.ended, entry.lease) {
            (true, _) if entry.ended_durably => Proof::Ended,
            (true, _) => Proof::Ends,
            (false, Some((held, _))) if held == token => Proof::Holds,
            (false, _) => Proof::Stale,
        }
    }

    /// Leases the oldest job that is durable and free.
    pub fn lease(&mut self, epoch: u64, at: u64, lease_ms: u64) -> Option<(Job, Token)> {
        let free = |entry: &Entry| {
            let leased = entry.lease.is_some_and(|(_, since)| at < since + lease_ms);
            entry.durable && !entry.ended && !leased
        };
        let job = self.jobs.iter().find(|(_, entry)| free(entry)).map(|(job, _)| *job)?;
        self.deliveries += 1;
        Some((job, Token { epoch, delivery: self.deliveries }))
    }

    /// Takes a change over.
    pub fn apply(&mut self, write: Write, at: u64) {
        match write {
            Write::Enqueue(job) => {
                self.jobs.entry(job).or_default();
            }
            Write::Lease(job, token) => self.jobs.entry(job).or_default().lease = Some((token, at)),
            Write::End(job) => self.jobs.entry(job).or_default().ended = true,
        }
    }

    /// A change is in the journal.
    pub fn durable(&mut self, write: Write) {
        match write {
            Write::Enqueue(job) => self.jobs.entry(job).or_default().durable = true,
            Write::End(job) => self.jobs.entry(job).or_default().ended_durably = true,
            Write::Lease(..) => {}
        }
    }
}
