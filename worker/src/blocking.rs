//! Threads for handlers that block: started when needed, never more than the bound, ended when idle.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Runtime};

use crate::verdict::Verdict;

/// Threads at most, unless the builder says otherwise.
pub(crate) const BLOCKING_THREADS_DEFAULT: usize = 64;

/// A bounded pool of threads. Jobs that wait for a thread hold their slot of the worker, so the wait is bounded, too.
#[derive(Debug)]
pub(crate) struct BlockingPool {
    /// Only its blocking threads are used. Always there until dropped.
    runtime: Option<Runtime>,
}

impl BlockingPool {
    pub(crate) fn new(threads: usize) -> io::Result<BlockingPool> {
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(threads.max(1))
            .thread_name("windlass-job")
            .build()?;
        Ok(BlockingPool { runtime: Some(runtime) })
    }

    /// Runs `work` on a thread; a panic in it goes on in the caller.
    pub(crate) fn run<W>(&self, work: W) -> impl Future<Output = Verdict> + Send + use<W>
    where
        W: FnOnce() -> Verdict + Send + 'static,
    {
        let handle = self.runtime.as_ref().map(|runtime| runtime.handle().spawn_blocking(work));
        async move {
            match handle {
                Some(handle) => match handle.await {
                    Ok(verdict) => verdict,
                    Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
                    Err(_) => Verdict::retry("the worker stopped before a thread was free"),
                },
                None => Verdict::retry("the worker stopped before a thread was free"),
            }
        }
    }
}

impl Drop for BlockingPool {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Dropping a runtime inside another one would wait for its threads; these may be stuck in a handler.
            runtime.shutdown_background();
        }
    }
}
