//! What is known of the way to the database: there, away, out of space; and whether it is still worth to wait for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use windlass_core::store::{CommitError, Space};

/// Time without the database that nobody is told of: a connection that broke is made anew.
const PATIENCE: Duration = Duration::from_millis(500);
/// Time that a node which ends still waits for the database.
const ENDING_WAIT: Duration = Duration::from_secs(2);

/// The state of the way.
#[derive(Debug, Default)]
pub(super) struct Link {
    trouble: Mutex<Option<Trouble>>,
    ending: AtomicBool,
    cut: AtomicBool,
}

#[derive(Debug)]
struct Trouble {
    since: Instant,
    text: String,
    /// For want of space rather than of a connection.
    full: bool,
}

impl Link {
    /// PostgreSQL has answered. That it takes signs of life does not say that it has room for groups: only one that was `written` does.
    pub(super) fn is_here(&self, written: bool) {
        if let Some(trouble) = self.trouble().take_if(|trouble| written || !trouble.full) {
            tracing::info!(seconds = trouble.since.elapsed().as_secs_f32(), "PostgreSQL answers again");
        }
    }

    pub(super) fn is_away(&self, text: String) {
        let mut trouble = self.trouble();
        match &mut *trouble {
            Some(trouble) => trouble.text = text,
            None => {
                tracing::warn!(error = text, "PostgreSQL does not answer; it is asked again");
                *trouble = Some(Trouble { since: Instant::now(), text, full: false });
            }
        }
    }

    pub(super) fn is_full(&self, text: String) {
        let mut trouble = self.trouble();
        let since =
            trouble.as_ref().filter(|trouble| trouble.full).map_or_else(Instant::now, |full| full.since);
        if trouble.as_ref().is_none_or(|trouble| !trouble.full) {
            tracing::warn!(error = text, "PostgreSQL has no room; it is asked again");
        }
        *trouble = Some(Trouble { since, text, full: true });
    }

    fn trouble(&self) -> std::sync::MutexGuard<'_, Option<Trouble>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// New work is refused while the database is away: it would wait in memory with nobody told.
    pub(super) fn space(&self) -> Space {
        match &*self.trouble() {
            Some(trouble) if trouble.full || trouble.since.elapsed() > PATIENCE => Space::Low,
            _ => Space::Ample,
        }
    }

    /// What keeps new work out, for people.
    pub(super) fn text(&self) -> Option<String> {
        let trouble = self.trouble();
        let trouble =
            trouble.as_ref().filter(|trouble| trouble.full || trouble.since.elapsed() > PATIENCE)?;
        let since = trouble.since.elapsed().as_secs();
        Some(format!("{}; for {since} s; the server goes on by itself when PostgreSQL does", trouble.text))
    }

    /// The node is to end: what is away is waited for a moment longer and no more.
    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Nothing is waited for any more.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// `Unknown`, when there shall be none.
    pub(super) async fn pause(&self, time: Duration) -> Result<(), CommitError> {
        let away = self.trouble().as_ref().map(|trouble| (trouble.since.elapsed(), trouble.text.clone()));
        let (elapsed, text) = away.unwrap_or_default();
        let ending = self.ending.load(Ordering::Relaxed) && elapsed > ENDING_WAIT;
        if self.cut.load(Ordering::Relaxed) || ending {
            return Err(CommitError::Unknown(text));
        }
        tokio::time::sleep(time).await;
        Ok(())
    }
}
