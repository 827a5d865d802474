//! Who runs what, until when. A lease's deadline is its worker's: one sign of life renews them all.
//!
//! The queue's table of ids says which lease a job has; here they stand by number, and those of a worker in a list.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use slab::Slab;

use crate::id::WorkerId;
use crate::job::Job;
use crate::store::keys::Place;
use crate::time::{Mono, Timestamp};
use crate::wire::Token;

/// The right to run one attempt.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    pub(super) job: Arc<Job>,
    pub(super) place: Place,
    pub(super) worker: WorkerId,
    pub(super) token: Token,
    pub(super) attempt: u32,
    pub(super) started_at: Timestamp,
    pub(super) cancel: bool,
    /// First token of the hand-out whose record has its mark.
    pub(super) hand_out: Option<Token>,
    /// Whether it has a mark of its own in the store.
    pub(super) marked_alone: bool,
    pub(super) progress: Option<(u8, String)>,
    /// Found in the store at start, and not yet claimed by its worker: if it never is, the job is innocent.
    pub(super) recovered: bool,
}

/// What is left to say of a lease that has ended, apart from its job.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) place: Place,
    pub(super) worker: WorkerId,
    pub(super) token: Token,
    pub(super) attempt: u32,
    pub(super) started_at: Timestamp,
    pub(super) cancel: bool,
    pub(super) recovered: bool,
}

impl Lease {
    /// The lease ends: the job is free for what comes next.
    pub(super) fn end(self) -> (Arc<Job>, Ended) {
        let Lease { job, place, worker, token, attempt, started_at, cancel, recovered, .. } = self;
        (job, Ended { place, worker, token, attempt, started_at, cancel, recovered })
    }
}

/// The number of a lease, for as long as it goes on.
pub(super) type LeaseNo = usize;

/// A lease in the list of its worker's.
#[derive(Debug)]
struct Held {
    lease: Lease,
    before: Option<LeaseNo>,
    behind: Option<LeaseNo>,
}

/// What a worker holds in this queue.
#[derive(Debug)]
struct Holder {
    deadline: Mono,
    newest: LeaseNo,
}

/// The leases of a queue, and the workers that wait for jobs.
#[derive(Debug)]
pub(super) struct Leases {
    held: Slab<Held>,
    holders: BTreeMap<WorkerId, Holder>,
    /// No deadline is earlier than this, so that most messages need not look at all holders.
    check_at: Option<Mono>,
    waiting: VecDeque<WorkerId>,
    is_waiting: BTreeSet<WorkerId>,
}

impl Leases {
    pub(super) fn new() -> Leases {
        Leases {
            held: Slab::new(),
            holders: BTreeMap::new(),
            check_at: None,
            waiting: VecDeque::new(),
            is_waiting: BTreeSet::new(),
        }
    }

    pub(super) fn insert(&mut self, lease: Lease, deadline: Mono) -> LeaseNo {
        self.check_at = Some(self.check_at.map_or(deadline, |at| at.min(deadline)));
        let worker = lease.worker;
        let no = self.held.insert(Held { lease, before: None, behind: None });
        let holder = self.holders.entry(worker).or_insert(Holder { deadline, newest: no });
        holder.deadline = holder.deadline.max(deadline);
        let before = std::mem::replace(&mut holder.newest, no);
        if before != no {
            self.held[no].before = Some(before);
            self.held[before].behind = Some(no);
        }
        no
    }

    pub(super) fn get(&self, no: LeaseNo) -> &Lease {
        &self.held[no].lease
    }

    pub(super) fn get_mut(&mut self, no: LeaseNo) -> &mut Lease {
        &mut self.held[no].lease
    }

    pub(super) fn remove(&mut self, no: LeaseNo) -> Lease {
        let Held { lease, before, behind } = self.held.remove(no);
        if let Some(before) = before {
            self.held[before].behind = behind;
        }
        match (behind, before) {
            (Some(behind), _) => self.held[behind].before = before,
            (None, Some(before)) => {
                if let Some(holder) = self.holders.get_mut(&lease.worker) {
                    holder.newest = before;
                }
            }
            (None, None) => _ = self.holders.remove(&lease.worker),
        }
        lease
    }

    /// Moves a worker's deadline; `true` when it holds anything here.
    pub(super) fn set_deadline(&mut self, worker: &WorkerId, deadline: Mono) -> bool {
        let Some(holder) = self.holders.get_mut(worker) else { return false };
        holder.deadline = deadline;
        self.check_at = Some(self.check_at.map_or(deadline, |at| at.min(deadline)));
        true
    }

    /// The leases that a worker holds, by id.
    pub(super) fn held_by(&self, worker: &WorkerId) -> Vec<(LeaseNo, &Lease)> {
        self.holders.get(worker).map(|holder| self.of(holder)).unwrap_or_default()
    }

    fn of(&self, holder: &Holder) -> Vec<(LeaseNo, &Lease)> {
        let older = |no: &LeaseNo| self.held[*no].before;
        let mut held: Vec<_> =
            std::iter::successors(Some(holder.newest), older).map(|no| (no, self.get(no))).collect();
        held.sort_unstable_by_key(|(_, lease)| lease.job.id);
        held
    }

    /// Workers whose deadline has passed; also finds the next moment worth looking.
    pub(super) fn overdue(&mut self, now: Mono) -> Vec<WorkerId> {
        if self.check_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let overdue: Vec<_> =
            self.holders.iter().filter(|(_, h)| h.deadline <= now).map(|(w, _)| *w).collect();
        self.check_at = self.holders.values().map(|h| h.deadline).filter(|d| *d > now).min();
        overdue
    }

    /// The earliest moment at which a lease may end.
    pub(super) fn next(&self) -> Option<Mono> {
        if self.holders.is_empty() { None } else { self.check_at }
    }

    pub(super) fn count(&self) -> usize {
        self.held.len()
    }

    /// Every lease, by worker and id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (LeaseNo, &Lease)> {
        self.holders.values().flat_map(|holder| self.of(holder))
    }

    /// The worker wants a notice when there are jobs.
    pub(super) fn wait(&mut self, worker: WorkerId) {
        if self.is_waiting.insert(worker) {
            self.waiting.push_back(worker);
        }
    }

    /// The worker wants no notice any more.
    pub(super) fn stop_waiting(&mut self, worker: &WorkerId) {
        if self.is_waiting.remove(worker) {
            self.waiting.retain(|w| w != worker);
        }
    }

    /// Takes up to `count` waiting workers, longest wait first.
    pub(super) fn take_waiting(&mut self, count: usize) -> Vec<WorkerId> {
        let count = count.min(self.waiting.len());
        let taken: Vec<_> = self.waiting.drain(..count).collect();
        for worker in &taken {
            self.is_waiting.remove(worker);
        }
        taken
    }

    /// Whether anybody waits.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}
