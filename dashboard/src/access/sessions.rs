//! Sessions of browsers: in memory, bounded, ending by themselves. A restart of the node signs everybody out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use windlass_core::access::Caller;
use windlass_core::api::{ApiError, ErrorCode};

use crate::problem::Problem;

/// Cookie with the id of a session.
pub(crate) const COOKIE: &str = "windlass_session";
/// How long a session lasts.
pub(crate) const LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// Most sessions; the one that would end first makes room for a new one.
const SESSIONS_MAX: usize = 1_000;
/// Wait before a wrong token is answered.
const WRONG_WAIT: Duration = Duration::from_millis(500);
/// Wrong tokens that wait at the same time; with the wait this bounds guesses to 32 per second, whatever the number of connections.
const WRONG_MAX: usize = 16;

/// Who, until when; by the hash of the id, so that what is in memory signs nobody in.
type Open = BTreeMap<[u8; 32], (Arc<Caller>, Instant)>;

/// All sessions of a node.
pub(crate) struct Sessions {
    open: Mutex<Open>,
    wrong: Semaphore,
}

impl Default for Sessions {
    fn default() -> Sessions {
        Sessions { open: Mutex::default(), wrong: Semaphore::new(WRONG_MAX) }
    }
}

impl Sessions {
    /// A new session; returns its id.
    pub(super) fn begin(&self, caller: Arc<Caller>) -> String {
        let id: String = rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect();
        let now = Instant::now();
        let mut open = self.lock();
        open.retain(|_, (_, ends)| *ends > now);
        if open.len() >= SESSIONS_MAX
            && let Some(oldest) = open.iter().min_by_key(|(_, (_, ends))| *ends).map(|(key, _)| *key)
        {
            open.remove(&oldest);
        }
        open.insert(key(&id), (caller, now + LIFETIME));
        id
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<Caller>> {
        let open = self.lock();
        open.get(&key(id)).filter(|(_, ends)| *ends > Instant::now()).map(|(caller, _)| Arc::clone(caller))
    }

    pub(super) fn end(&self, id: &str) {
        self.lock().remove(&key(id));
    }

    /// Holds up whoever shows a wrong token; a right one never waits.
    ///
    /// # Errors
    /// `Busy` when many are held up already.
    pub(super) async fn slow_down(&self) -> Result<(), Problem> {
        let Ok(_turn) = self.wrong.try_acquire() else {
            return Err(
                ApiError::new(ErrorCode::Busy, "too many wrong tokens at once; try again later").into()
            );
        };
        tokio::time::sleep(WRONG_WAIT).await;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Whole between any two statements that hold the lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(id: &str) -> [u8; 32] {
    Sha256::digest(id).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_bounded_and_end() {
        let sessions = Sessions::default();
        let caller = Arc::new(Caller::process());
        let first = sessions.begin(Arc::clone(&caller));
        assert!(sessions.find(&first).is_some() && sessions.find("other").is_none());
        let second = sessions.begin(Arc::clone(&caller));
        for _ in 0..SESSIONS_MAX - 1 {
            sessions.begin(Arc::clone(&caller));
        }
        assert_eq!(sessions.lock().len(), SESSIONS_MAX);
        assert!(sessions.find(&first).is_none(), "the oldest made room");
        sessions.end(&second);
        assert!(sessions.find(&second).is_none());
    }
}
