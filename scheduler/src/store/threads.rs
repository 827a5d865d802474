//! The threads of a store: a panic of one is told, and all are joined when the store stops.

use std::sync::Mutex;
use std::thread::JoinHandle;

use super::lock;

/// Threads that were started for one store.
#[derive(Debug, Default)]
pub(super) struct Threads {
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    /// Starts one. `panicked` hears of its panic: such a thread prepares and moves nothing any more, and commits would wait for it
    /// for ever.
    pub(super) fn spawn(
        &self,
        name: &str,
        panicked: impl FnOnce(String) + Send + 'static,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), String> {
        let stays = Stays { name: name.to_owned(), panicked: Some(panicked) };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _stays = stays;
            run();
        });
        let thread = thread.map_err(|error| format!("failed to start a thread: {error}"))?;
        lock(&self.handles).push(thread);
        Ok(())
    }

    /// Waits until all have ended, which they were told to; `false` when one had panicked.
    pub(super) fn join(&self) -> bool {
        let ended: Vec<_> = lock(&self.handles).drain(..).map(JoinHandle::join).collect();
        ended.iter().all(Result::is_ok)
    }
}

/// Held by a thread.
struct Stays<F: FnOnce(String)> {
    name: String,
    panicked: Option<F>,
}

impl<F: FnOnce(String)> Drop for Stays<F> {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(panicked) = self.panicked.take()
        {
            panicked(format!("the thread {} has panicked", self.name));
        }
    }
}
