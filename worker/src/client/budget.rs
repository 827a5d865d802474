//! How much may wait for an answer: jobs and bytes. While the server is there a full budget makes callers wait; while it is
//! away it refuses them.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::Connection;
use crate::error::Error;

/// The bound of one client.
#[derive(Debug)]
pub(crate) struct Budget {
    jobs: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    jobs_max: usize,
    bytes_max: usize,
}

/// A share of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    _jobs: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Budget {
    pub(crate) fn new(jobs_max: usize, bytes_max: usize) -> Budget {
        let jobs_max = jobs_max.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let bytes_max = bytes_max.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Budget {
            jobs: Arc::new(Semaphore::new(jobs_max)),
            bytes: Arc::new(Semaphore::new(bytes_max)),
            jobs_max,
            bytes_max,
        }
    }

    /// Jobs and bytes that wait.
    pub(crate) fn used(&self) -> (usize, usize) {
        (self.jobs_max - self.jobs.available_permits(), self.bytes_max - self.bytes.available_permits())
    }

    /// Takes a share. Something larger than the whole budget takes all of it, so that it passes when nothing else waits.
    pub(crate) async fn hold(
        &self,
        jobs: usize,
        bytes: usize,
        connection: &watch::Sender<Connection>,
    ) -> Result<Hold, Error> {
        let share = |n: usize, max: usize| u32::try_from(n.min(max)).unwrap_or(u32::MAX);
        let (jobs, bytes) = (share(jobs, self.jobs_max), share(bytes, self.bytes_max));
        let both = async {
            // The semaphores live as long as the budget and are never closed.
            let jobs = Arc::clone(&self.jobs).acquire_many_owned(jobs).await.expect("never closed");
            let bytes = Arc::clone(&self.bytes).acquire_many_owned(bytes).await.expect("never closed");
            Hold { _jobs: jobs, _bytes: bytes }
        };
        let mut watcher = connection.subscribe();
        let away = async {
            // The sender is borrowed, so that it cannot close before.
            let _ = watcher.wait_for(|now| !now.is_up()).await;
        };
        tokio::select! {
            biased;
            hold = both => Ok(hold),
            () = away => {
                let (jobs, bytes) = self.used();
                Err(Error::BufferFull { jobs, bytes })
            }
        }
    }
}
