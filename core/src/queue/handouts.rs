//! Lease marks of jobs that were handed out together: one record per hand-out, and a note of whose lease has ended.
//!
//! The note makes the marks exact: a job that has ended, and whose id comes again, is not taken for the one that was leased.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::ids::{IdHash, IdMap};
use super::marks::{HandOut, LeaseMark};
use crate::id::JobId;
use crate::job::{BadRecord, Holes};
use crate::store::Write;
use crate::store::keys::{self, QueueNo};
use crate::wire::Token;

#[derive(Debug)]
struct State {
    jobs: usize,
    left: usize,
    ended: Holes,
    /// Whether a note of ended leases may be in the store.
    noted: bool,
    dirty: bool,
}

/// The hand-outs of which leases go on, by their first token.
#[derive(Debug, Default)]
pub(super) struct HandOuts {
    by_first: BTreeMap<Token, State>,
    dirty: Vec<Token>,
}

impl HandOuts {
    /// Jobs were handed out: the first with this token, the others with those behind it.
    pub(super) fn insert(&mut self, first: Token, jobs: usize) {
        let state = State { jobs, left: jobs, ended: Holes::default(), noted: false, dirty: false };
        self.by_first.insert(first, state);
    }

    /// A hand-out found at start of which only some leases go on.
    fn recover(&mut self, first: Token, jobs: usize, goes_on: impl Fn(usize) -> bool) {
        let mut state = State { jobs, left: jobs, ended: Holes::default(), noted: true, dirty: false };
        for index in (0..jobs).filter(|index| !goes_on(*index)) {
            state.left -= usize::from(state.ended.add(index));
        }
        state.dirty = state.left == 0;
        self.dirty.extend(state.dirty.then_some(first));
        self.by_first.insert(first, state);
    }

    /// A lease of a hand-out has ended.
    pub(super) fn end(&mut self, first: Token, token: Token) {
        let Some(state) = self.by_first.get_mut(&first) else { return };
        let index = token.delivery.checked_sub(first.delivery).and_then(|index| usize::try_from(index).ok());
        let Some(index) = index.filter(|index| *index < state.jobs) else { return };
        state.left -= usize::from(state.ended.add(index));
        if !std::mem::replace(&mut state.dirty, true) {
            self.dirty.push(first);
        }
    }

    /// Whether a note is owed.
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Writes down whose leases have ended since the last time.
    pub(super) fn write(&mut self, queue: QueueNo, writes: &mut Vec<Write>) {
        for first in self.dirty.drain(..) {
            let Some(state) = self.by_first.get_mut(&first) else { continue };
            if state.left > 0 {
                (state.dirty, state.noted) = (false, true);
                writes.push(Write::Put { key: keys::ended_key(queue, first), value: state.ended.encode() });
                continue;
            }
            writes.push(Write::Delete { key: keys::hand_out_key(queue, first) });
            if state.noted {
                writes.push(Write::Delete { key: keys::ended_key(queue, first) });
            }
            self.by_first.remove(&first);
        }
    }

    /// Leases that go on.
    pub(super) fn leases(&self) -> usize {
        self.by_first.values().map(|state| state.left).sum()
    }
}

/// The lease marks of a queue as found in a store.
#[derive(Debug)]
pub struct Marks {
    by_job: IdMap<Found>,
    hand_outs: BTreeMap<Token, Vec<JobId>>,
}

#[derive(Debug)]
struct Found {
    mark: LeaseMark,
    /// First token of the hand-out that it belongs to, if any, and whether it has a record of its own.
    hand_out: Option<Token>,
    alone: bool,
}

impl Marks {
    /// No marks yet; `seed` decides hashing.
    #[must_use]
    pub fn new(seed: u64) -> Marks {
        Marks { by_job: IdMap::with_hasher(IdHash::new(seed)), hand_outs: BTreeMap::new() }
    }

    /// Takes the mark of one job. These come before the hand-outs.
    pub(super) fn alone(&mut self, id: JobId, mark: LeaseMark) {
        self.by_job.insert(id, Found { mark, hand_out: None, alone: true });
    }

    /// Takes a record of the hand-out region; a note of ended leases comes right behind its hand-out.
    ///
    /// # Errors
    /// [`BadRecord`] for bytes that are neither.
    pub(super) fn hand_out(&mut self, key: &[u8], value: &Bytes) -> Result<(), BadRecord> {
        let damaged = |text: &str| BadRecord::Damaged(text.to_owned());
        let (first, ended) = keys::hand_out_of(key).ok_or_else(|| damaged("a key that names no hand-out"))?;
        if ended {
            let ended = Holes::decode(value)?;
            for (index, id) in self.hand_outs.get(&first).into_iter().flatten().enumerate() {
                let marks = |found: &Found| found.mark.token == first.behind(index);
                if ended.has(index) && self.by_job.get(id).is_some_and(marks) {
                    self.by_job.remove(id);
                }
            }
            return Ok(());
        }
        let HandOut { worker, started_at, jobs } = HandOut::from_bytes(value)?;
        for (index, (id, attempt)) in jobs.iter().enumerate() {
            let token = first.behind(index);
            let mark = LeaseMark { worker, token, attempt: *attempt, started_at, cancel: false };
            match self.by_job.get_mut(id) {
                // Its own record says more: that somebody asked for its end.
                Some(found) if found.mark.token == token => found.hand_out = Some(first),
                Some(found) if found.mark.token > token => {}
                _ => {
                    self.by_job.insert(*id, Found { mark, hand_out: Some(first), alone: false });
                }
            }
        }
        self.hand_outs.insert(first, jobs.into_iter().map(|(id, _)| id).collect());
        Ok(())
    }

    /// Whether there is a mark of this job.
    pub(super) fn has(&self, id: &JobId) -> bool {
        self.by_job.contains_key(id)
    }

    /// The mark of a job, with the first token of its hand-out.
    pub(super) fn take(&mut self, id: &JobId) -> Option<(LeaseMark, Option<Token>, bool)> {
        self.by_job.remove(id).map(|found| (found.mark, found.hand_out, found.alone))
    }

    /// What is left belongs to no job: hand-outs go on with `claimed` alone, and ids with a record of their own are
    /// returned in order.
    pub(super) fn finish(self, claimed: &dyn Fn(&JobId, Token) -> bool, outs: &mut HandOuts) -> Vec<JobId> {
        for (first, ids) in &self.hand_outs {
            outs.recover(*first, ids.len(), |index| claimed(&ids[index], first.behind(index)));
        }
        let mut orphans: Vec<_> =
            self.by_job.into_iter().filter(|(_, found)| found.alone).map(|(id, _)| id).collect();
        orphans.sort_unstable();
        orphans
    }

    /// All marks, in order of ids.
    #[must_use]
    pub fn all(&self) -> BTreeMap<JobId, LeaseMark> {
        let mut all = BTreeMap::new();
        for (id, found) in &self.by_job {
            all.insert(*id, found.mark.clone());
        }
        all
    }
}
