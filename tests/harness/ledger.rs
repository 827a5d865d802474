//! What was promised to producers and what was seen to run, kept outside of the server under test.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use windlass_core::id::JobId;

/// The ledger; shared by producers and handlers.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    confirmed: BTreeMap<JobId, ()>,
    runs: BTreeMap<JobId, u32>,
    ended: BTreeMap<JobId, u32>,
}

impl Ledger {
    /// A producer was told that the job is durable.
    pub fn confirmed(&self, id: JobId) {
        self.lock().confirmed.insert(id, ());
    }

    /// A handler began to run the job.
    pub fn ran(&self, id: JobId) {
        *self.lock().runs.entry(id).or_default() += 1;
    }

    /// A handler came to its end.
    pub fn ended(&self, id: JobId) {
        *self.lock().ended.entry(id).or_default() += 1;
    }

    /// Numbers of jobs confirmed, jobs run, and runs beyond the first.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, u32) {
        let entries = self.lock();
        let again = entries.runs.values().map(|n| n - 1).sum();
        (entries.confirmed.len(), entries.runs.len(), again)
    }

    /// How often a job was run.
    #[must_use]
    pub fn runs_of(&self, id: &JobId) -> u32 {
        self.lock().runs.get(id).copied().unwrap_or(0)
    }

    /// Waits until every confirmed job has come to its end.
    ///
    /// # Errors
    /// After `limit`, with the jobs that are lost.
    pub async fn settled(&self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            let lost: Vec<_> = {
                let entries = self.lock();
                entries.confirmed.keys().filter(|id| !entries.ended.contains_key(*id)).copied().collect()
            };
            if lost.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                bail!(
                    "{} confirmed jobs did not run within {limit:?}, among them {:?}",
                    lost.len(),
                    &lost[..lost.len().min(5)]
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // A panicking test thread leaves counts, not an invariant.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
