//! The last finished jobs, remembered in memory for API and dashboard, and who waits for an end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::ids::{IdHash, IdMap};
use crate::id::{JobId, RequestId};
use crate::job::{Job, JobState};
use crate::limits;

/// A bounded memory of finished jobs.
#[derive(Debug)]
pub(super) struct Finished {
    ring: VecDeque<Option<Arc<Job>>>,
    /// Number of the ring's first slot since the start.
    first: u64,
    index: IdMap<u64>,
    bytes: usize,
    jobs_max: u32,
    counts: BTreeMap<JobState, u64>,
}

impl Finished {
    pub(super) fn new(seed: u64, jobs_max: u32) -> Finished {
        Finished {
            ring: VecDeque::new(),
            first: 0,
            index: IdMap::with_hasher(IdHash::new(seed)),
            bytes: 0,
            jobs_max,
            counts: BTreeMap::new(),
        }
    }

    pub(super) fn push(&mut self, job: Arc<Job>) {
        if self.jobs_max == 0 {
            return;
        }
        *self.counts.entry(state_of(&job)).or_default() += 1;
        self.bytes += job.weight();
        self.index.insert(job.id, self.first + self.ring.len() as u64);
        self.ring.push_back(Some(job));
        self.trim();
    }

    pub(super) fn set_max(&mut self, jobs_max: u32) {
        self.jobs_max = jobs_max;
        self.trim();
    }

    pub(super) fn jobs_max(&self) -> u32 {
        self.jobs_max
    }

    pub(super) fn get(&self, id: &JobId) -> Option<&Arc<Job>> {
        let slot = self.index.get(id)?.checked_sub(self.first)?;
        self.ring.get(usize::try_from(slot).ok()?)?.as_ref()
    }

    pub(super) fn remove(&mut self, id: &JobId) -> Option<Arc<Job>> {
        let slot = self.index.remove(id)?.checked_sub(self.first)?;
        let job = self.ring.get_mut(usize::try_from(slot).ok()?)?.take()?;
        self.forget(&job);
        Some(job)
    }

    /// Newest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.ring.iter().rev().flatten()
    }

    pub(super) fn counts(&self) -> &BTreeMap<JobState, u64> {
        &self.counts
    }

    fn trim(&mut self) {
        let over = |ring: &Finished| {
            ring.ring.len() > ring.jobs_max as usize
                || ring.bytes > limits::FINISHED_BYTES_MAX && ring.ring.len() > 1
        };
        while over(self) {
            let Some(slot) = self.ring.pop_front() else { break };
            let number = self.first;
            self.first += 1;
            if let Some(job) = slot {
                // The same id may have finished again since; its newer slot stays.
                if self.index.get(&job.id) == Some(&number) {
                    self.index.remove(&job.id);
                }
                self.forget(&job);
            }
        }
    }

    fn forget(&mut self, job: &Job) {
        self.bytes = self.bytes.saturating_sub(job.weight());
        if let Some(count) = self.counts.get_mut(&state_of(job)) {
            *count = count.saturating_sub(1);
        }
    }
}

/// The final state a finished job carries.
pub(super) fn state_of(job: &Job) -> JobState {
    job.past.as_ref().and_then(|past| past.ended).map_or(JobState::Succeeded, |(state, _)| state)
}

/// Requests that wait for ends.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    by_job: BTreeMap<JobId, Vec<RequestId>>,
    count: usize,
}

impl Watchers {
    /// `false` when there are too many already.
    pub(super) fn add(&mut self, id: JobId, request: RequestId) -> bool {
        if self.count >= limits::WATCHERS_PER_QUEUE_MAX {
            return false;
        }
        let requests = self.by_job.entry(id).or_default();
        if requests.len() >= limits::WATCHERS_PER_JOB_MAX {
            return false;
        }
        requests.push(request);
        self.count += 1;
        true
    }

    pub(super) fn remove(&mut self, id: &JobId, request: RequestId) {
        if let Some(requests) = self.by_job.get_mut(id) {
            let before = requests.len();
            requests.retain(|r| *r != request);
            self.count -= before - requests.len();
            if requests.is_empty() {
                self.by_job.remove(id);
            }
        }
    }

    pub(super) fn take(&mut self, id: &JobId) -> Vec<RequestId> {
        if self.count == 0 {
            return Vec::new();
        }
        let requests = self.by_job.remove(id).unwrap_or_default();
        self.count -= requests.len();
        requests
    }
}
