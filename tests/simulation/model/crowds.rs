//! When scheduled jobs that come together are due, as the naive queue has it.

use crate::naive::{CROWD, Id, Naive, TOGETHER, WAIT_MS};

impl Naive {
    /// Jobs that came in one request and are due shortly after each other are due with the last of them, in the order of their times, if
    /// many are: none is put off by more than a fiftieth of its delay, none that may expire is put off at all, and nobody is where all
    /// have company at their own time.
    pub(crate) fn put_together(&mut self, mut scheduled: Vec<(u64, Id)>) {
        scheduled.sort_by_key(|(run_at, _)| *run_at);
        let mut put_off = Vec::new();
        let mut rest = &scheduled[..];
        while let Some((first, _)) = rest.first() {
            let end = first + WAIT_MS.min((first - self.wall) / 50);
            let window: Vec<_> = rest.iter().filter(|(run_at, _)| *run_at <= end).copied().collect();
            rest = &rest[window.len()..];
            let alone = |at: u64| window.iter().filter(|(run_at, _)| *run_at == at).count() < TOGETHER;
            let due = window.iter().map(|(run_at, _)| *run_at).max().unwrap_or_default();
            if window.len() >= TOGETHER
                && window.iter().any(|(run_at, _)| alone(*run_at))
                && window.iter().all(|(_, id)| self.jobs[id].expires_at.is_none())
            {
                put_off.extend(window.iter().map(|(_, id)| (*id, due)));
            }
        }
        for (_, id) in &scheduled {
            let arrival = self.arrival();
            self.jobs.get_mut(id).expect("it was just put in").arrival = arrival;
        }
        for (id, due) in put_off.iter().filter(|_| put_off.len() >= CROWD) {
            self.jobs.get_mut(id).expect("it was just put in").run_at = *due;
        }
    }
}
