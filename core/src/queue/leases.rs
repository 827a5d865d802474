//! Who runs what, until when. A lease's deadline is its worker's: one sign of life renews them all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::ids::{IdHash, IdMap};
use crate::id::{JobId, WorkerId};
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

/// What a worker holds in this queue.
#[derive(Debug)]
struct Holder {
    deadline: Mono,
    jobs: IdMap<()>,
}

impl Holder {
    /// Its jobs by id: the order of a map of ids is nobody's business.
    fn in_order(&self) -> Vec<JobId> {
        let mut jobs: Vec<_> = self.jobs.keys().copied().collect();
        jobs.sort_unstable();
        jobs
    }
}

/// The leases of a queue, and the workers that wait for jobs.
#[derive(Debug)]
pub(super) struct Leases {
    by_job: IdMap<Lease>,
    holders: BTreeMap<WorkerId, Holder>,
    /// No deadline is earlier than this, so that most messages need not look at all holders.
    check_at: Option<Mono>,
    waiting: VecDeque<WorkerId>,
    is_waiting: BTreeSet<WorkerId>,
}

impl Leases {
    pub(super) fn new(seed: u64) -> Leases {
        Leases {
            by_job: IdMap::with_hasher(IdHash(seed)),
            holders: BTreeMap::new(),
            check_at: None,
            waiting: VecDeque::new(),
            is_waiting: BTreeSet::new(),
        }
    }

    pub(super) fn insert(&mut self, lease: Lease, deadline: Mono) {
        let id = lease.job.id;
        let hash = *self.by_job.hasher();
        let new = || Holder { deadline, jobs: IdMap::with_hasher(hash) };
        let holder = self.holders.entry(lease.worker).or_insert_with(new);
        holder.deadline = holder.deadline.max(deadline);
        holder.jobs.insert(id, ());
        self.check_at = Some(self.check_at.map_or(deadline, |at| at.min(deadline)));
        self.by_job.insert(id, lease);
    }

    pub(super) fn get(&self, id: &JobId) -> Option<&Lease> {
        self.by_job.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &JobId) -> Option<&mut Lease> {
        self.by_job.get_mut(id)
    }

    /// The lease of `id`, if `token` proves it.
    pub(super) fn prove(&mut self, id: &JobId, token: Token) -> Option<&mut Lease> {
        self.by_job.get_mut(id).filter(|lease| lease.token == token)
    }

    pub(super) fn remove(&mut self, id: &JobId) -> Option<Lease> {
        let lease = self.by_job.remove(id)?;
        if let Some(holder) = self.holders.get_mut(&lease.worker) {
            holder.jobs.remove(id);
            if holder.jobs.is_empty() {
                self.holders.remove(&lease.worker);
            }
        }
        Some(lease)
    }

    /// Moves a worker's deadline; `true` when it holds anything here.
    pub(super) fn set_deadline(&mut self, worker: &WorkerId, deadline: Mono) -> bool {
        let Some(holder) = self.holders.get_mut(worker) else { return false };
        holder.deadline = deadline;
        self.check_at = Some(self.check_at.map_or(deadline, |at| at.min(deadline)));
        true
    }

    /// The jobs that a worker holds, by id.
    pub(super) fn held_by(&self, worker: &WorkerId) -> Vec<JobId> {
        self.holders.get(worker).map(Holder::in_order).unwrap_or_default()
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
        self.by_job.len()
    }

    /// Every lease, by worker and id.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.holders.values().flat_map(Holder::in_order).filter_map(|id| self.by_job.get(&id))
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
