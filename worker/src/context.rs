//! What a handler can know about its job and do while it runs.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use windlass_core::id::{JobId, QueueName};
use windlass_core::job::{Payload, clip};
use windlass_core::limits;
use windlass_core::time::Timestamp;
use windlass_core::wire::{Delivery, LeaseRef, Token};

/// Everything about the running job; cheap to clone, and an argument that any handler may take.
#[derive(Debug, Clone)]
pub struct JobCtx(Arc<Running>);

/// A job that has been handed to this process.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) delivery: Delivery,
    pub(crate) stop: Stop,
    pub(crate) deadline: Option<Instant>,
    pub(crate) states: Arc<States>,
    pub(crate) progress: mpsc::Sender<ProgressNote>,
}

/// Progress on its way to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProgressNote {
    pub(crate) lease: LeaseRef,
    pub(crate) percent: u8,
    pub(crate) message: String,
}

impl JobCtx {
    pub(crate) fn new(running: Arc<Running>) -> JobCtx {
        JobCtx(running)
    }

    pub(crate) fn running(&self) -> &Running {
        &self.0
    }

    /// The job's id.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.0.delivery.id
    }

    /// The job's queue.
    #[must_use]
    pub fn queue(&self) -> &QueueName {
        &self.0.delivery.queue
    }

    /// Which handler runs it.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.0.delivery.kind
    }

    /// Number of this attempt, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.delivery.attempt
    }

    /// Attempts that the job may use.
    #[must_use]
    pub fn max_attempts(&self) -> u32 {
        self.0.delivery.max_attempts
    }

    /// Whether a failure of this attempt makes the job dead.
    #[must_use]
    pub fn is_last_attempt(&self) -> bool {
        self.attempt() >= self.max_attempts()
    }

    /// The fencing token: larger with every hand-out of the same job. A system that remembers the largest token it has seen
    /// can refuse a run that was given up on.
    #[must_use]
    pub fn token(&self) -> Token {
        self.0.delivery.token
    }

    /// The payload as it came.
    #[must_use]
    pub fn payload(&self) -> &Payload {
        &self.0.delivery.payload
    }

    /// When the job was enqueued.
    #[must_use]
    pub fn enqueued_at(&self) -> Timestamp {
        self.0.delivery.enqueued_at
    }

    /// The job's labels.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        &self.0.delivery.tags
    }

    /// The job's headers.
    #[must_use]
    pub fn headers(&self) -> &[(String, String)] {
        &self.0.delivery.headers
    }

    /// One header, by name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// When the job's timeout ends this attempt.
    #[must_use]
    pub fn deadline(&self) -> Option<std::time::Instant> {
        self.0.deadline.map(Instant::into_std)
    }

    /// Says how far the attempt is: 0 to 100 percent and a few words. Not durable; lost when the server is away.
    pub async fn progress(&self, percent: u8, message: impl Into<String>) {
        // The connection outlives its jobs; when it does not, nobody is there to listen.
        let _ = self.0.progress.send(self.note(percent, message.into())).await;
    }

    /// Like [`JobCtx::progress`] from a blocking handler; dropped when too much progress is under way.
    pub fn try_progress(&self, percent: u8, message: impl Into<String>) {
        let _ = self.0.progress.try_send(self.note(percent, message.into()));
    }

    fn note(&self, percent: u8, message: String) -> ProgressNote {
        let message = clip(message, limits::PROGRESS_BYTES_MAX);
        ProgressNote { lease: lease_of(&self.0.delivery), percent: percent.min(100), message }
    }

    /// Whether the handler should stop: somebody cancelled the job, its lease or time is over, or the worker stops.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.stop.reason().is_some()
    }

    /// Returns when the handler should stop.
    pub async fn cancelled(&self) {
        self.0.stop.raised(None).await;
    }
}

/// The lease that a delivery carries.
pub(crate) fn lease_of(delivery: &Delivery) -> LeaseRef {
    LeaseRef { queue: delivery.queue.clone(), id: delivery.id, token: delivery.token }
}

/// Why a handler should stop; a later one outranks an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum StopReason {
    /// Somebody cancelled the job.
    Cancelled = 1,
    /// The worker stops and its patience is over.
    Shutdown = 2,
    /// The worker stops at once.
    Now = 3,
    /// The attempt ran out of time.
    TimedOut = 4,
    /// The job belongs to somebody else by now.
    LeaseLost = 5,
}

impl StopReason {
    const ALL: [StopReason; 5] = [
        StopReason::Cancelled,
        StopReason::Shutdown,
        StopReason::Now,
        StopReason::TimedOut,
        StopReason::LeaseLost,
    ];
}

/// Tells one handler to stop. Costs one atomic while nobody does.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    level: AtomicU8,
    notify: Notify,
}

impl Stop {
    /// Asks the handler to stop.
    pub(crate) fn raise(&self, reason: StopReason) {
        self.level.fetch_max(reason as u8, Ordering::AcqRel);
        self.notify.notify_waiters();
    }

    /// Why the handler should stop, if it should.
    pub(crate) fn reason(&self) -> Option<StopReason> {
        let level = self.level.load(Ordering::Acquire);
        StopReason::ALL.into_iter().find(|reason| *reason as u8 == level)
    }

    /// Returns the reason as soon as it outranks `known`.
    pub(crate) async fn raised(&self, known: Option<StopReason>) -> StopReason {
        loop {
            let mut notified = std::pin::pin!(self.notify.notified());
            // Registered before the level is read, so that no raise falls between.
            notified.as_mut().enable();
            if let Some(reason) = self.reason()
                && Some(reason) > known
            {
                return reason;
            }
            notified.await;
        }
    }
}

/// Values that handlers ask for by type.
#[derive(Default)]
pub(crate) struct States(HashMap<TypeId, Box<dyn Any + Send + Sync>>);

impl States {
    pub(crate) fn insert<S: Clone + Send + Sync + 'static>(&mut self, state: S) {
        self.0.insert(TypeId::of::<S>(), Box::new(state));
    }

    pub(crate) fn get<S: Clone + Send + Sync + 'static>(&self) -> Result<S, String> {
        let found = self.0.get(&TypeId::of::<S>()).and_then(|state| state.downcast_ref::<S>());
        found
            .cloned()
            .ok_or_else(|| format!("there is no state of type {0}: add it with .state(…)", type_name::<S>()))
    }
}

impl std::fmt::Debug for States {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "States({})", self.0.len())
    }
}
