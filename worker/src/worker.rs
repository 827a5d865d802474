//! The worker: takes jobs by credit, runs them, reports.
//!
//! ```text
//!   connection thread: socket, heartbeats, gossip          application's runtime
//!     frames ──► Ledger (slots, leases, reports) ──jobs──► executor: one task per running job
//!                   ▲                                          │
//!                   └──────────── outcomes ◄───────────────────┘
//! ```
//!
//! The connection has a thread of its own, so that a handler that blocks the application's runtime does not cost the leases.

mod builder;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use windlass_core::id::WorkerId;
use windlass_core::wire::{Subscription, WorkerHello};

pub use builder::{CANCEL_GRACE_DEFAULT, CONCURRENCY_DEFAULT, STOP_DEADLINE_DEFAULT, WorkerBuilder};

use crate::address::Addresses;
use crate::client::EventSink;
use crate::connection::{self, Control};
use crate::context::States;
use crate::error::Error;
use crate::executor::Registry;
use crate::surroundings::Surroundings;

/// Everything that a running worker needs.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) addresses: Addresses,
    pub(crate) token: Option<String>,
    pub(crate) id: WorkerId,
    pub(crate) name: Option<String>,
    pub(crate) subscription: Subscription,
    pub(crate) concurrency: u32,
    pub(crate) registry: Arc<Registry>,
    pub(crate) states: Arc<States>,
    pub(crate) gossip: bool,
    pub(crate) stop_deadline: Duration,
    pub(crate) events: EventSink,
    pub(crate) surroundings: Surroundings,
}

impl Plan {
    /// What the server is told about this process.
    pub(crate) fn introduce(&self) -> WorkerHello {
        let (host, pid) = (host_name(), std::process::id());
        let mut kinds: Vec<String> = self.registry.handlers.keys().cloned().collect();
        kinds.sort();
        WorkerHello {
            id: self.id,
            name: self.name.clone().unwrap_or_else(|| format!("{host}:{pid}")),
            host,
            pid,
            kinds,
            gossip_id: if self.gossip { gossip_id(self.id) } else { String::new() },
        }
    }
}

/// The worker's node id in the gossip: the whole id, not only the part that people see.
pub(crate) fn gossip_id(id: WorkerId) -> String {
    format!("worker-{}", hex(id))
}

/// All digits of a worker's id.
pub(crate) fn hex(id: WorkerId) -> String {
    format!("{:032x}", u128::from_be_bytes(id.0))
}

fn host_name() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    kernel
        .or_else(|| std::env::var("HOSTNAME").ok())
        .or_else(|| std::env::var("COMPUTERNAME").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown-host".to_owned())
}

/// Runs jobs until it is told to stop.
///
/// ```no_run
/// # #[tokio::main]
/// # async fn main() -> Result<(), windlass_worker::Error> {
/// use windlass_worker::Worker;
/// Worker::builder("127.0.0.1:7421")
///     .queues(["critical", "default"])
///     .concurrency(64)
///     .handle("greet", async |name: String| println!("hello, {name}"))
///     .build()
///     .run()
///     .await
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a worker does nothing until it runs"]
pub struct Worker {
    id: WorkerId,
    plan: Result<Plan, Error>,
}

impl Worker {
    /// A worker for the server at `host:port`, or with TLS at `tls://host:port`, or the first that serves of several separated by
    /// commas; see [servers](crate#servers). Its running jobs go on while it changes from one to another.
    pub fn builder(server: impl Into<String>) -> WorkerBuilder {
        WorkerBuilder::new(server.into())
    }

    /// The id under which the server knows this process.
    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.id
    }

    pub(crate) fn plan(&self) -> Result<&Plan, &Error> {
        self.plan.as_ref()
    }

    /// Runs until the process gets SIGTERM or SIGINT: then it takes nothing new, finishes what runs within the stop deadline,
    /// gives the rest back and returns. A second signal ends this at once. While no server answers it keeps trying.
    ///
    /// # Errors
    /// [`Error::Setup`] for a mistake in the builder, [`Error::Refused`] when the server does not want this worker.
    pub async fn run(self) -> Result<(), Error> {
        let plan = self.plan?;
        // Before the first job, so that no signal is missed; after the last mistake, so that a failed start leaves signals alone.
        let mut signals = signals()?;
        let mut running = connection::start(plan)?;
        tokio::select! {
            biased;
            ended = running.ended() => return ended,
            name = signals.next() => tracing::info!(signal = name, "the worker stops; running jobs may finish"),
        }
        running.tell(Control::Stop).await;
        tokio::select! {
            biased;
            ended = running.ended() => return ended,
            name = signals.next() => tracing::warn!(signal = name, "the worker stops at once; running jobs are given back"),
        }
        running.tell(Control::StopNow).await;
        running.ended().await
    }

    /// Runs until `stop` is ready, then stops in order, as [`Worker::run`] does on a signal; signals are left alone. Dropping
    /// this future stops at once.
    ///
    /// # Errors
    /// As [`Worker::run`].
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        let mut running = connection::start(self.plan?)?;
        tokio::select! {
            biased;
            ended = running.ended() => return ended,
            () = stop => {}
        }
        running.tell(Control::Stop).await;
        running.ended().await
    }
}

/// The signals that stop a worker.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
fn signals() -> Result<Signals, Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let on = |kind| signal(kind).map_err(|e| Error::Setup(format!("signals cannot be received: {e}")));
    Ok(Signals { terminate: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())? })
}

#[cfg(not(unix))]
fn signals() -> Result<Signals, Error> {
    Ok(Signals {})
}

impl Signals {
    #[cfg(unix)]
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) -> &'static str {
        // Without Ctrl-C there is no other sign; waiting for ever leaves the process to its owner.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    }
}
