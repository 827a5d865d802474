//! Runs a worker's handlers without any server: the same pipeline, with arguments, state, layers, timeouts and panics.
//!
//! For tests against a whole server in the same process, with a clock that a test can move, see the crate
//! `windlass-scheduler`, module `testing`.
//!
//! ```
//! use windlass_worker::testing::perform;
//! use windlass_worker::{Job, JobCtx, Verdict, Worker};
//!
//! async fn halve(n: u64, job: JobCtx) -> Result<u64, Verdict> {
//!     job.progress(50, "half way").await;
//!     if n % 2 == 0 { Ok(n / 2) } else { Err(Verdict::dead("odd")) }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let worker = Worker::builder("127.0.0.1:7421").handle("halve", halve).build();
//! let done = perform(&worker, Job::new("halve", &42)?).await?;
//! assert_eq!(done.verdict, Verdict::result(&21));
//! assert_eq!(done.progress, [(50, "half way".to_owned())]);
//! assert_eq!(perform(&worker, Job::new("halve", &3)?).await?.verdict, Verdict::dead("odd"));
//! # Ok::<(), windlass_worker::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use windlass_core::limits;
use windlass_core::wire::{self, Delivery, Token};

use crate::context::{JobCtx, Running, Stop};
use crate::error::Error;
use crate::executor::{Finished, Slot, execute};
use crate::job::{IntoJob, new_id, now};
use crate::verdict::Verdict;
use crate::worker::Worker;

/// Progress notes of one performed job that are kept; later ones are dropped.
const PROGRESS_KEPT: usize = 1_024;

/// What came of a performed job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Performed {
    /// What the worker would have reported.
    pub verdict: Verdict,
    /// Progress that the handler told, in order.
    pub progress: Vec<(u8, String)>,
}

/// Runs a job as first attempt.
///
/// # Errors
/// What is wrong with the worker or the job; an attempt that fails is a [`Verdict`], not an error.
pub async fn perform(worker: &Worker, job: impl IntoJob) -> Result<Performed, Error> {
    perform_attempt(worker, job, 1).await
}

/// Runs a job as a given attempt.
///
/// # Errors
/// As [`perform`].
pub async fn perform_attempt(worker: &Worker, job: impl IntoJob, attempt: u32) -> Result<Performed, Error> {
    let plan = worker.plan().map_err(|e| Error::Setup(e.to_string()))?;
    let (queue, spec) = job.into_job()?.into_parts()?;
    let options = spec.options.unwrap_or_default();
    let deadline = options.timeout_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
    let delivery = Delivery {
        queue,
        id: spec.id.unwrap_or_else(new_id),
        token: Token { epoch: 1, delivery: u64::from(attempt) },
        attempt,
        max_attempts: options.max_attempts.unwrap_or(limits::MAX_ATTEMPTS_DEFAULT),
        kind: spec.kind,
        payload: spec.payload,
        enqueued_at: now(),
        timeout_ms: options.timeout_ms,
        headers: options.headers,
        tags: options.tags,
    };
    let (progress, mut notes) = mpsc::channel(PROGRESS_KEPT);
    let (outcomes, mut ends) = mpsc::channel(1);
    let states = Arc::clone(&plan.states);
    let running = Arc::new(Running { delivery, stop: Stop::default(), deadline, states, progress });
    let work = tokio::spawn(execute(Arc::clone(&plan.registry), Slot::new(JobCtx::new(running), outcomes)));
    let mut told = Vec::new();
    let finished = loop {
        tokio::select! {
            Some(note) = notes.recv() => {
                if told.len() < PROGRESS_KEPT {
                    told.push((note.percent, note.message));
                }
            }
            finished = ends.recv() => break finished,
        }
    };
    // The task has told its end, or panicked while it dropped the handler, which is told as well.
    let _ = work.await;
    while let Ok(note) = notes.try_recv() {
        told.push((note.percent, note.message));
    }
    match finished {
        Some(Finished { verdict: Some(verdict), .. }) => {
            Ok(Performed { verdict: from_wire(verdict), progress: told })
        }
        _ => Err(Error::Setup("the handler's end was not told: this is a defect".to_owned())),
    }
}

fn from_wire(verdict: wire::Verdict) -> Verdict {
    match verdict {
        wire::Verdict::Done(result) => Verdict::Done(result),
        wire::Verdict::Retry { error, retry_in_ms } => {
            Verdict::Retry { error, retry_in: retry_in_ms.map(Duration::from_millis) }
        }
        wire::Verdict::Snooze { ms } => Verdict::Snooze(Duration::from_millis(ms)),
        wire::Verdict::Dead { error } => Verdict::Dead { error },
        wire::Verdict::Cancelled { reason } => Verdict::Cancel { reason },
        // Only a task that is dropped gives a job back, and this one is awaited.
        wire::Verdict::Released => Verdict::retry("the runtime stopped before the handler did"),
    }
}
