//! One job as a pipeline: resolve the handler, run it under its deadline, classify how it ended, report.
//!
//! Decoding the payload is the handler's first step (see [`crate::FromJob`]), so that layers see the job before it.

use std::any::Any;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tracing::Instrument;
use windlass_core::wire;

use crate::context::{JobCtx, StopReason};
use crate::handler::{BoxError, JobService};
use crate::verdict::Verdict;

/// Time that a handler has to stop after its lease was lost, before it is dropped.
const LEASE_LOST_GRACE: Duration = Duration::from_secs(1);
/// Time that a handler has to stop after the worker's own deadline, before it is dropped and given back.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// All handlers of a worker, by kind.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) handlers: HashMap<String, JobService>,
    /// Time that a handler has to stop after somebody cancelled its job, before it is dropped.
    pub(crate) cancel_grace: Duration,
}

impl Registry {
    pub(crate) fn resolve(&self, kind: &str) -> Option<&JobService> {
        self.handlers.get(kind)
    }

    fn grace(&self, reason: StopReason) -> Duration {
        match reason {
            StopReason::Cancelled => self.cancel_grace,
            StopReason::Shutdown => SHUTDOWN_GRACE,
            StopReason::LeaseLost => LEASE_LOST_GRACE,
            StopReason::Now | StopReason::TimedOut => Duration::ZERO,
        }
    }
}

/// How an attempt ended, seen from outside of the handler.
enum Ending {
    Returned(Verdict),
    /// A layer around the handler failed.
    Broke(BoxError),
    Panicked(String),
    TimedOut,
    /// Dropped, because it did not stop when it was asked to.
    Dropped(StopReason),
    NoHandler,
}

/// The end of a job in this process.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) job: JobCtx,
    /// What to report; `None` when the job belongs to somebody else by now.
    pub(crate) verdict: Option<wire::Verdict>,
}

/// A job that occupies a slot of the worker until its end was told; also when its task is dropped half way.
#[derive(Debug)]
pub(crate) struct Slot {
    job: JobCtx,
    outcomes: Option<mpsc::Sender<Finished>>,
}

impl Slot {
    pub(crate) fn new(job: JobCtx, outcomes: mpsc::Sender<Finished>) -> Slot {
        Slot { job, outcomes: Some(outcomes) }
    }

    fn report(mut self, verdict: Option<wire::Verdict>) {
        self.tell(verdict);
    }

    fn tell(&mut self, verdict: Option<wire::Verdict>) {
        if let Some(outcomes) = self.outcomes.take() {
            // The channel holds as many ends as there are slots; it is closed only when the worker is gone.
            let _ = outcomes.try_send(Finished { job: self.job.clone(), verdict });
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = "the handler panicked while it was dropped".to_owned();
            self.tell(Some(wire::Verdict::Retry { error, retry_in_ms: None }));
        } else {
            self.tell(Some(wire::Verdict::Released));
        }
    }
}

/// Runs one job from its delivery to its report.
pub(crate) async fn execute(registry: Arc<Registry>, slot: Slot) {
    let job = slot.job.clone();
    let span = tracing::info_span!("job", id = %job.id(), queue = %job.queue(), kind = job.kind(), attempt = job.attempt());
    let ending = match registry.resolve(job.kind()) {
        Some(service) => run(&registry, service, &job).instrument(span.clone()).await,
        None => Ending::NoHandler,
    };
    let _in_span = span.entered();
    slot.report(classify(&job, ending));
}

/// Runs the handler until it returns, its time is over, or it has been asked to stop for too long.
async fn run(registry: &Registry, service: &JobService, job: &JobCtx) -> Ending {
    let called = AssertUnwindSafe(async { service.call_once(job.clone()).await });
    let deadline = job.running().deadline;
    tokio::select! {
        biased;
        result = called.catch_unwind() => match result {
            Ok(Ok(verdict)) => Ending::Returned(verdict),
            Ok(Err(e)) => Ending::Broke(e),
            Err(panic) => Ending::Panicked(panic_text(&*panic)),
        },
        () = async { tokio::time::sleep_until(deadline.unwrap_or_else(tokio::time::Instant::now)).await },
            if deadline.is_some() =>
        {
            // Whoever holds the context (a blocking thread, a spawned task) learns of it, too.
            job.running().stop.raise(StopReason::TimedOut);
            Ending::TimedOut
        }
        reason = overdue(registry, job) => Ending::Dropped(reason),
    }
}

/// Returns when the handler was asked to stop and its grace is over.
async fn overdue(registry: &Registry, job: &JobCtx) -> StopReason {
    let stop = &job.running().stop;
    let mut reason = stop.raised(None).await;
    loop {
        tokio::select! {
            biased;
            worse = stop.raised(Some(reason)) => reason = worse,
            () = tokio::time::sleep(registry.grace(reason)) => return reason,
        }
    }
}

/// What is to be reported of an ending.
fn classify(job: &JobCtx, ending: Ending) -> Option<wire::Verdict> {
    let asked = job.running().stop.reason();
    if asked == Some(StopReason::LeaseLost) {
        tracing::warn!("the lease was lost; whatever the handler did is not reported");
        return None;
    }
    let verdict = match ending {
        Ending::Returned(verdict) => verdict,
        Ending::Broke(e) => Verdict::retry(e),
        Ending::Panicked(text) => Verdict::retry(format!("the handler panicked: {text}")),
        Ending::TimedOut => Verdict::retry(timeout_text(job)),
        Ending::NoHandler => Verdict::retry(format!(
            "this worker has no handler for the kind {:?}: register one, or keep such jobs out of its queues",
            job.kind()
        )),
        Ending::Dropped(StopReason::Cancelled) => Verdict::cancel("cancelled while it ran"),
        Ending::Dropped(_) => return Some(wire::Verdict::Released),
    };
    // A handler that was asked to stop and therefore failed did not fail.
    match (asked, verdict) {
        (Some(StopReason::Cancelled), Verdict::Retry { error, .. }) => {
            Some(Verdict::cancel(format!("cancelled while it ran ({error})")).into_wire())
        }
        (Some(StopReason::Shutdown | StopReason::Now), Verdict::Retry { .. }) => {
            Some(wire::Verdict::Released)
        }
        (_, verdict) => {
            if let Verdict::Retry { error, .. } | Verdict::Dead { error } = &verdict {
                tracing::info!(error, "the attempt failed");
            }
            Some(verdict.into_wire())
        }
    }
}

fn timeout_text(job: &JobCtx) -> String {
    let ms = job.running().delivery.timeout_ms.unwrap_or_default();
    format!("the attempt took longer than its timeout of {:?}", Duration::from_millis(ms))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "(no text)".to_owned()
    }
}

#[cfg(test)]
#[path = "executor_test.rs"]
mod tests;
