//! The client: enqueues jobs, waits for results, steers the server. One connection, shared by all clones.
//!
//! ```text
//!   Client (clones) ──Submit──► Engine task ──frames──► server
//!      ▲    budget: jobs, bytes    │ Calls: what waits for an answer, what shares a frame
//!      └────────── answers ◄───────┘
//! ```

mod admin;
mod budget;
mod bulk;
mod calls;
mod engine;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use windlass_core::api::{Enqueued, ErrorCode, JobView, Request, Response};
use windlass_core::id::{JobId, QueueName};
use windlass_core::job::{JobSpec, JobState};
use windlass_core::limits;
use windlass_core::time::millis;
use windlass_core::wire::Token;

pub use admin::{IntoSchedule, Schedule};
pub use bulk::{BulkError, BulkSummary, EnqueueMany};

use crate::address::Addresses;
use crate::error::Error;
use crate::follow::Follow;
use crate::job::{IntoJob, new_id, wire_bytes};
use crate::surroundings::{Simulated, Surroundings};
use crate::transport::{ConnectError, Link, connect, hello};
use budget::Budget;
use calls::{Bounced, Calls, Submit};
use engine::{Engine, Route};

/// Jobs that wait for the server's answer at most, unless the builder says otherwise.
pub const BUFFER_JOBS_DEFAULT: usize = 100_000;
/// Bytes of jobs that wait for the server's answer at most, unless the builder says otherwise.
pub const BUFFER_BYTES_DEFAULT: usize = 64 * 1024 * 1024;
/// Calls handed to the engine and not yet taken by it; a full inbox makes callers wait.
const INBOX_CALLS: usize = 4_096;
/// Bytes that a call without jobs counts for.
const CALL_BYTES: usize = 256;
/// Time that the server gets to answer a wait before the client stops listening.
const WAIT_SLACK: Duration = Duration::from_secs(5);

/// How a client is connected at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Connection {
    /// Connected.
    Up {
        /// Name and version of the server.
        server: String,
        /// Where it is.
        address: SocketAddr,
    },
    /// Not connected: enqueued jobs wait, up to the buffer's bound.
    Away {
        /// Why the connection ended.
        reason: String,
    },
}

impl Connection {
    /// Whether the server is reachable.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self, Connection::Up { .. })
    }
}

/// Something that happened to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// A server has taken the connection. Without a loss before, the connection has gone over to the node that owns the queues.
    Connected {
        /// Name and version of the server.
        server: String,
        /// Where it is.
        address: SocketAddr,
    },
    /// The connection has ended.
    Lost {
        /// Why.
        reason: String,
    },
    /// An attempt to reach a server has failed; another one follows.
    Unreachable {
        /// Why.
        reason: String,
        /// Failed attempts since the loss.
        attempts: u32,
    },
    /// The server has answered a worker's report of the end of a job.
    Reported {
        /// The job's queue.
        queue: QueueName,
        /// The job.
        id: JobId,
        /// The lease that was reported with.
        token: Token,
        /// Why the report changed nothing, such as [`ErrorCode::StaleLease`]; `None` when it was recorded.
        refused: Option<ErrorCode>,
    },
}

/// Where connection events go.
#[derive(Clone, Default)]
pub(crate) struct EventSink(Option<Arc<OnEvent>>);

type OnEvent = dyn Fn(&ConnectionEvent) + Send + Sync;

impl EventSink {
    pub(crate) fn new(sink: impl Fn(&ConnectionEvent) + Send + Sync + 'static) -> EventSink {
        EventSink(Some(Arc::new(sink)))
    }

    pub(crate) fn emit(&self, event: &ConnectionEvent) {
        if let Some(sink) = &self.0 {
            sink(event);
        }
    }

    /// For events that would be made in vain for every job while nobody listens.
    pub(crate) fn emit_with(&self, event: impl FnOnce() -> ConnectionEvent) {
        if let Some(sink) = &self.0 {
            sink(&event());
        }
    }
}

impl std::fmt::Debug for EventSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "EventSink(set)" } else { "EventSink(none)" })
    }
}

/// How a client is made.
#[derive(Debug)]
#[must_use = "a builder does nothing until it connects"]
pub struct ClientBuilder {
    server: String,
    tls_ca: Option<PathBuf>,
    token: Option<String>,
    buffer_jobs: usize,
    buffer_bytes: usize,
    lazy: bool,
    follow: bool,
    give_up_after: Option<Duration>,
    events: EventSink,
    surroundings: Surroundings,
}

impl ClientBuilder {
    /// Lives in a simulation. Defaults to the real machine.
    #[doc(hidden)]
    pub fn simulated(mut self, machine: Arc<dyn Simulated>) -> ClientBuilder {
        self.surroundings = Surroundings::simulated(machine);
        self
    }

    /// Access token, when the server asks for one. Defaults to none.
    pub fn token(mut self, token: impl Into<String>) -> ClientBuilder {
        self.token = Some(token.into());
        self
    }

    /// PEM file with the certificates of the authorities to trust, and no others; speaks TLS with all servers, whether their
    /// addresses begin with `tls://` or not. Defaults to the authorities that this system trusts.
    pub fn tls_ca(mut self, file: impl Into<PathBuf>) -> ClientBuilder {
        self.tls_ca = Some(file.into());
        self
    }

    /// How much may wait for the server's answer: while it is away this is the buffer. Defaults to 100,000 jobs and 64 MiB.
    pub fn buffer(mut self, jobs: usize, bytes: usize) -> ClientBuilder {
        (self.buffer_jobs, self.buffer_bytes) = (jobs, bytes);
        self
    }

    /// Does not wait for a server: [`ClientBuilder::connect`] returns at once and jobs are buffered until one is there. Defaults
    /// to off.
    pub fn lazy(mut self) -> ClientBuilder {
        self.lazy = true;
        self
    }

    /// Whether the client learns the other nodes of a cluster and goes over to the one that owns the queues, see
    /// [servers](crate#servers). Defaults to on.
    pub fn follow(mut self, follow: bool) -> ClientBuilder {
        self.follow = follow;
        self
    }

    /// How long calls wait for a server that is away, before they end with [`Error::Unreachable`]; an enqueue may still have been
    /// taken before the loss. The client keeps trying to connect. Defaults to as long as it takes.
    pub fn give_up_after(mut self, patience: Duration) -> ClientBuilder {
        self.give_up_after = Some(patience);
        self
    }

    /// Is called with every change of the connection; must not block. Defaults to nothing.
    pub fn on_event(mut self, sink: impl Fn(&ConnectionEvent) + Send + Sync + 'static) -> ClientBuilder {
        self.events = EventSink::new(sink);
        self
    }

    /// Connects. The connection lives in a task of the present tokio runtime.
    ///
    /// # Errors
    /// [`Error::BadAddress`]; [`Error::Trust`] for a CA file that cannot be used; [`Error::Untrusted`]; [`Error::Unreachable`] when no server answers now; [`Error::Refused`].
    pub async fn connect(self) -> Result<Client, Error> {
        let addresses = Addresses::parse(&self.server, self.tls_ca.as_deref())?.following(self.follow);
        let (hello, surroundings) = (hello(self.token, None), self.surroundings);
        let follow = Follow::new(hello.clone(), surroundings.clone());
        let route = Arc::new(Route { addresses, hello, surroundings });
        let first = if self.lazy { None } else { Some(first_link(&route).await?) };
        let begin = match &first {
            Some(link) => Connection::Up { server: link.welcome.server.clone(), address: link.here.peer },
            None => Connection::Away { reason: "not connected yet".to_owned() },
        };
        let connection = Arc::new(watch::Sender::new(begin));
        let (submit, inbox) = mpsc::channel(INBOX_CALLS);
        let engine = Engine {
            route,
            inbox,
            calls: Calls::default(),
            connection: Arc::clone(&connection),
            events: self.events,
            give_up_after: self.give_up_after,
            closing: false,
            follow,
            over: None,
        };
        tokio::spawn(engine.run(first));
        let budget = Budget::new(self.buffer_jobs, self.buffer_bytes);
        Ok(Client { shared: Arc::new(Shared { submit, budget, connection }) })
    }
}

async fn first_link(route: &Route) -> Result<Link, Error> {
    connect(&route.addresses, &route.hello, &route.surroundings).await.map_err(|e| match e {
        ConnectError::Refused(e) => Error::Refused(e),
        ConnectError::Untrusted { address, reason } => Error::Untrusted { address, reason },
        ConnectError::Unreachable(reason) => {
            Error::Unreachable { addresses: route.addresses.to_string(), reason }
        }
    })
}

/// A connection to a Windlass server; cheap to clone, all clones share it.
///
/// Calls are pipelined, and enqueues that wait in the same moment share a frame. After a loss the client comes back by itself, to the
/// next server where it knows several ([servers](crate#servers)). What was not answered is sent again there: enqueues, which makes no
/// second job, since ids are made on this side and all servers of a cluster share their queues; and every other request but those
/// that trigger a schedule or delete something, which end with [`Error::AnswerLost`].
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    submit: mpsc::Sender<Submit>,
    budget: Budget,
    connection: Arc<watch::Sender<Connection>>,
}

impl Client {
    /// Connects to `host:port`, or with TLS to `tls://host:port`, or to the first that serves of several separated by commas; see
    /// [servers](crate#servers).
    ///
    /// # Errors
    /// See [`ClientBuilder::connect`].
    pub async fn connect(server: impl Into<String>) -> Result<Client, Error> {
        Client::builder(server).connect().await
    }

    /// A client with options.
    pub fn builder(server: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            server: server.into(),
            tls_ca: None,
            token: None,
            buffer_jobs: BUFFER_JOBS_DEFAULT,
            buffer_bytes: BUFFER_BYTES_DEFAULT,
            lazy: false,
            follow: true,
            give_up_after: None,
            events: EventSink::default(),
            surroundings: Surroundings::default(),
        }
    }

    /// Enqueues a job; returns when it is durable on the server. While the server is away this waits for it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a job that breaks a rule, [`Error::BufferFull`] while the server is away and too much waits,
    /// [`Error::Server`] for what the server refuses.
    pub async fn enqueue(&self, job: impl IntoJob) -> Result<Enqueued, Error> {
        let (queue, mut spec) = job.into_job()?.into_parts()?;
        let made = spec.id.is_none();
        spec.id.get_or_insert_with(new_id);
        let answers = self.submit_jobs(queue, vec![spec]).await.map_err(|bounced| bounced.error)?;
        let answer = answers.first().copied().ok_or(Error::UnexpectedAnswer("enqueue"))?;
        // An id made here is known to the server only when this very call was sent twice.
        Ok(Enqueued { duplicate: answer.duplicate && !made, ..answer })
    }

    /// Asks anything else; the typed methods are made of this.
    ///
    /// # Errors
    /// [`Error::Server`] with the server's refusal, [`Error::AnswerLost`] when the connection broke and asking twice could do
    /// it twice.
    pub async fn call(&self, mut body: Request) -> Result<Response, Error> {
        let (mut jobs, mut bytes) = (1, CALL_BYTES);
        if let Request::Enqueue { jobs: specs, .. } = &mut body {
            specs.iter_mut().for_each(|spec| _ = spec.id.get_or_insert_with(new_id));
            (jobs, bytes) = (specs.len(), specs.iter().map(wire_bytes).sum());
        }
        let hold = self.shared.budget.hold(jobs, bytes, &self.shared.connection).await?;
        let (reply, answer) = oneshot::channel();
        let submit = Submit::Call { body: Box::new(body), reply, hold };
        self.shared.submit.send(submit).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// The jobs must have ids.
    async fn submit_jobs(&self, queue: QueueName, jobs: Vec<JobSpec>) -> Result<Vec<Enqueued>, Bounced> {
        let bytes = jobs.iter().map(wire_bytes).sum();
        let hold = match self.shared.budget.hold(jobs.len(), bytes, &self.shared.connection).await {
            Ok(hold) => hold,
            Err(error) => return Err(Bounced { error, jobs }),
        };
        let (reply, answer) = oneshot::channel();
        if let Err(back) = self.shared.submit.send(Submit::Enqueue { queue, jobs, reply, hold }).await {
            let jobs = if let Submit::Enqueue { jobs, .. } = back.0 { jobs } else { Vec::new() };
            return Err(Bounced { error: Error::Closed, jobs });
        }
        answer.await.unwrap_or_else(|_| Err(Bounced { error: Error::Closed, jobs: Vec::new() }))
    }

    /// Waits until a job has succeeded and returns its result.
    ///
    /// # Errors
    /// [`Error::JobFailed`] when it ended otherwise, [`Error::Timeout`] when it had not ended by then,
    /// [`Error::Decode`] when the result is no `R`.
    pub async fn wait<R: DeserializeOwned>(&self, id: JobId, timeout: Duration) -> Result<R, Error> {
        let job = self.wait_end(id, timeout).await?;
        if job.state != JobState::Succeeded {
            return Err(Error::JobFailed { id, state: job.state, reason: why(&job) });
        }
        let data = job.result.as_ref().map_or(&b"null"[..], |payload| &payload.data);
        serde_json::from_slice(data).map_err(|source| Error::Decode { id, source })
    }

    /// Waits until a job has ended, however it ended.
    ///
    /// # Errors
    /// [`Error::Timeout`] when it had not ended by then; [`Error::Server`] when there is no such job.
    pub async fn wait_end(&self, id: JobId, timeout: Duration) -> Result<JobView, Error> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout_ms = millis(left).clamp(1, limits::WAIT_MS_MAX);
            let patience = Duration::from_millis(timeout_ms).saturating_add(WAIT_SLACK);
            let asked = self.call(Request::WaitJob { id, timeout_ms });
            match tokio::time::timeout(patience, asked).await {
                Ok(Ok(Response::Job(job))) => return Ok(*job),
                Ok(Ok(_)) => return Err(Error::UnexpectedAnswer("wait")),
                Ok(Err(e)) if e.code() != Some(ErrorCode::Timeout) => return Err(e),
                Ok(Err(_)) | Err(_) if Instant::now() < deadline => {}
                Ok(Err(_)) | Err(_) => return Err(Error::Timeout(timeout)),
            }
        }
    }

    /// A job as it stands; `None` when the server does not know it (any more).
    ///
    /// # Errors
    /// [`Error`] when the server cannot be asked.
    pub async fn status(&self, id: JobId) -> Result<Option<JobView>, Error> {
        match self.call(Request::GetJob { id }).await {
            Ok(Response::Job(job)) => Ok(Some(*job)),
            Ok(_) => Err(Error::UnexpectedAnswer("status")),
            Err(e) if e.code() == Some(ErrorCode::NotFound) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// How the client is connected at this moment.
    #[must_use]
    pub fn connection(&self) -> Connection {
        self.shared.connection.borrow().clone()
    }

    /// Returns when the server is reachable; at once when it is.
    pub async fn connected(&self) {
        let mut watcher = self.shared.connection.subscribe();
        // The sender lives as long as this client.
        let _ = watcher.wait_for(Connection::is_up).await;
    }

    /// Jobs and bytes that wait for the server's answer.
    #[must_use]
    pub fn buffered(&self) -> (usize, usize) {
        self.shared.budget.used()
    }

    /// Waits for the answers of all calls, says goodbye and closes the connection; all clones are closed with it.
    pub async fn close(self) {
        // A closed inbox means that the engine has ended already.
        let _ = self.shared.submit.send(Submit::Close).await;
        self.shared.submit.closed().await;
    }
}

/// Why a job failed: the reason of its state, and the last attempt's error when that does not say it already.
fn why(job: &JobView) -> String {
    match job.attempts.last().map(|attempt| attempt.error.as_str()) {
        Some(error) if !error.is_empty() && !job.reason.contains(error) => format!("{}: {error}", job.reason),
        _ => job.reason.clone(),
    }
}

#[cfg(test)]
#[path = "client_test.rs"]
mod tests;
