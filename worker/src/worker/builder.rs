//! How a worker is put together.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tower::{Layer, Service};
use windlass_core::id::{QueueName, WorkerId};
use windlass_core::limits;
use windlass_core::wire::Subscription;

use super::{Plan, Worker};
use crate::address::Addresses;
use crate::blocking::{BLOCKING_THREADS_DEFAULT, BlockingPool};
use crate::client::{ConnectionEvent, EventSink};
use crate::context::{JobCtx, States};
use crate::error::Error;
use crate::executor::Registry;
use crate::handler::{BlockingHandler, BoxError, Handler, JobService, Probe};
use crate::surroundings::{Simulated, Surroundings};
use crate::verdict::Verdict;

/// Jobs run at the same time, unless the builder says otherwise.
pub const CONCURRENCY_DEFAULT: u32 = 16;
/// Time that running jobs have to finish after a stop signal, unless the builder says otherwise: a little less than the 30 s that
/// container platforms allow.
pub const STOP_DEADLINE_DEFAULT: Duration = Duration::from_secs(25);
/// Time that a handler has to stop after its job was cancelled, unless the builder says otherwise.
pub const CANCEL_GRACE_DEFAULT: Duration = Duration::from_secs(5);

type Check = Box<dyn Fn(&States) -> Result<(), String> + Send>;
/// Makes a service as soon as there is a pool for it.
type OnPool = Box<dyn FnOnce(Arc<BlockingPool>) -> JobService + Send>;
type Wrap = Box<dyn Fn(JobService) -> JobService + Send>;

/// Makes a [`Worker`]. What is wrong with it is told when the worker runs.
#[must_use = "a builder does nothing until its worker runs"]
pub struct WorkerBuilder {
    server: String,
    tls_ca: Option<PathBuf>,
    token: Option<String>,
    name: Option<String>,
    queues: Vec<(String, u32)>,
    strict: bool,
    concurrency: u32,
    handlers: HashMap<String, JobService>,
    blocking: Vec<(String, OnPool)>,
    blocking_threads: usize,
    checks: Vec<(String, Check)>,
    layers: Vec<Wrap>,
    states: States,
    gossip: bool,
    follow: bool,
    stop_deadline: Duration,
    cancel_grace: Duration,
    events: EventSink,
    surroundings: Surroundings,
    problem: Option<String>,
}

impl std::fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerBuilder")
            .field("server", &self.server)
            .field("queues", &self.queues)
            .finish_non_exhaustive()
    }
}

impl WorkerBuilder {
    pub(super) fn new(server: String) -> WorkerBuilder {
        WorkerBuilder {
            server,
            tls_ca: None,
            token: None,
            name: None,
            queues: Vec::new(),
            strict: false,
            concurrency: CONCURRENCY_DEFAULT,
            handlers: HashMap::new(),
            blocking: Vec::new(),
            blocking_threads: BLOCKING_THREADS_DEFAULT,
            checks: Vec::new(),
            layers: Vec::new(),
            states: States::default(),
            gossip: true,
            follow: true,
            stop_deadline: STOP_DEADLINE_DEFAULT,
            cancel_grace: CANCEL_GRACE_DEFAULT,
            events: EventSink::default(),
            surroundings: Surroundings::default(),
            problem: None,
        }
    }

    /// Queues that the worker takes jobs from, each with weight 1; in strict order the first goes first. Defaults to `default`.
    pub fn queues<Q: AsRef<str>>(mut self, names: impl IntoIterator<Item = Q>) -> WorkerBuilder {
        for name in names {
            self = self.queue_weight(name, 1);
        }
        self
    }

    /// Adds a queue, or changes its weight: twice the weight is asked twice as often while both have jobs.
    pub fn queue_weight(mut self, name: impl AsRef<str>, weight: u32) -> WorkerBuilder {
        let name = name.as_ref();
        match self.queues.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = weight,
            None => self.queues.push((name.to_owned(), weight)),
        }
        self
    }

    /// Asks a later queue only when all earlier ones are empty; weights do not count. Defaults to off.
    pub fn strict(mut self) -> WorkerBuilder {
        self.strict = true;
        self
    }

    /// Jobs run at the same time. An idle slot costs nothing. Defaults to 16.
    pub fn concurrency(mut self, jobs: u32) -> WorkerBuilder {
        self.concurrency = jobs;
        self
    }

    /// A name for people. Defaults to host and process id.
    pub fn name(mut self, name: impl Into<String>) -> WorkerBuilder {
        self.name = Some(name.into());
        self
    }

    /// Access token, when the server asks for one. Defaults to none.
    pub fn token(mut self, token: impl Into<String>) -> WorkerBuilder {
        self.token = Some(token.into());
        self
    }

    /// PEM file with the certificates of the authorities to trust, and no others; speaks TLS with all servers, whether their
    /// addresses begin with `tls://` or not. Defaults to the authorities that this system trusts.
    pub fn tls_ca(mut self, file: impl Into<PathBuf>) -> WorkerBuilder {
        self.tls_ca = Some(file.into());
        self
    }

    /// Runs jobs of `kind` with an async function; see [`crate::handler`] for its arguments and [`crate::IntoVerdict`] for
    /// what it may return.
    pub fn handle<M: 'static, H: Handler<M>>(mut self, kind: impl Into<String>, handler: H) -> WorkerBuilder {
        let kind = kind.into();
        self.checks.push((kind.clone(), Box::new(|states| H::check(&Probe(states)))));
        self.claim(&kind);
        self.handlers.insert(kind, JobService::from_async(handler));
        self
    }

    /// Runs jobs of `kind` with a plain function on a thread of its own pool. A timeout reports the attempt as failed, but
    /// cannot end the thread: long functions should look at [`JobCtx::is_cancelled`].
    pub fn handle_blocking<M: 'static, H: BlockingHandler<M>>(
        mut self,
        kind: impl Into<String>,
        handler: H,
    ) -> WorkerBuilder {
        let kind = kind.into();
        self.checks.push((kind.clone(), Box::new(|states| H::check(&Probe(states)))));
        self.claim(&kind);
        self.blocking.push((kind, Box::new(move |pool| JobService::from_blocking(handler, pool))));
        self
    }

    fn claim(&mut self, kind: &str) {
        if self.handlers.contains_key(kind) || self.blocking.iter().any(|(known, _)| known == kind) {
            self.problem.get_or_insert(format!("there are two handlers for the kind {kind:?}"));
        }
    }

    /// Threads for blocking handlers at most. Defaults to 64.
    pub fn blocking_threads(mut self, threads: usize) -> WorkerBuilder {
        self.blocking_threads = threads;
        self
    }

    /// A value that handlers may take as [`crate::State`], one per type; it is cloned for every job.
    pub fn state<S: Clone + Send + Sync + 'static>(mut self, state: S) -> WorkerBuilder {
        self.states.insert(state);
        self
    }

    /// Puts a tower layer around every handler, also around those that are added later. The layer added last is outermost. An
    /// error of a layer is a failed attempt.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower::{Layer, Service, ServiceExt, layer::layer_fn, service_fn};
    /// use windlass_worker::{JobCtx, JobService, Verdict, Worker};
    ///
    /// let log = layer_fn(|inner: JobService| {
    ///     service_fn(move |job: JobCtx| {
    ///         let inner = inner.clone();
    ///         async move {
    ///             let verdict = inner.oneshot(job.clone()).await?;
    ///             println!("{} attempt {}: {verdict:?}", job.kind(), job.attempt());
    ///             Ok::<_, windlass_worker::BoxError>(verdict)
    ///         }
    ///     })
    /// });
    /// let worker = Worker::builder("127.0.0.1:7421").layer(log).handle("noop", async || ()).build();
    /// ```
    pub fn layer<L>(mut self, layer: L) -> WorkerBuilder
    where
        L: Layer<JobService> + Send + 'static,
        L::Service: Service<JobCtx, Response = Verdict> + Clone + Send + Sync + 'static,
        <L::Service as Service<JobCtx>>::Error: Into<BoxError>,
        <L::Service as Service<JobCtx>>::Future: Send,
    {
        self.layers.push(Box::new(move |inner| JobService::from_layered(layer.layer(inner))));
        self
    }

    /// Whether the worker joins the server's gossip, so that its death is noticed within about a second. Without it the
    /// heartbeats alone tell. Defaults to on.
    pub fn gossip(mut self, gossip: bool) -> WorkerBuilder {
        self.gossip = gossip;
        self
    }

    /// Whether the worker learns the other nodes of a cluster and goes over to the one that owns the queues, see
    /// [servers](crate#servers). Defaults to on.
    pub fn follow(mut self, follow: bool) -> WorkerBuilder {
        self.follow = follow;
        self
    }

    /// Time that running jobs have to finish after a stop signal; what is left is given back without using an attempt. Defaults
    /// to 25 s.
    pub fn stop_deadline(mut self, deadline: Duration) -> WorkerBuilder {
        self.stop_deadline = deadline;
        self
    }

    /// Time that a handler has to stop after its job was cancelled, before its future is dropped. Defaults to 5 s.
    pub fn cancel_grace(mut self, grace: Duration) -> WorkerBuilder {
        self.cancel_grace = grace;
        self
    }

    /// Is called with every change of the connection, on the connection's own thread; must not block. Defaults to nothing.
    pub fn on_event(mut self, sink: impl Fn(&ConnectionEvent) + Send + Sync + 'static) -> WorkerBuilder {
        self.events = EventSink::new(sink);
        self
    }

    /// Lives in a simulation: the connection shares the runtime of the handlers. Defaults to the real machine.
    #[doc(hidden)]
    pub fn simulated(mut self, machine: Arc<dyn Simulated>) -> WorkerBuilder {
        self.surroundings = Surroundings::simulated(machine);
        self
    }

    /// The worker. A mistake in its making is told by [`Worker::run`].
    pub fn build(self) -> Worker {
        let id = WorkerId(self.surroundings.bytes());
        Worker { id, plan: self.plan(id) }
    }

    fn plan(mut self, id: WorkerId) -> Result<Plan, Error> {
        let setup = Error::Setup;
        if let Some(problem) = self.problem {
            return Err(setup(problem));
        }
        for (kind, check) in &self.checks {
            check(&self.states).map_err(|e| setup(format!("handler of {kind:?}: {e}")))?;
        }
        if self.concurrency == 0 || self.concurrency > limits::WORKER_SLOTS_MAX {
            return Err(setup(format!("concurrency is 1 to {}", limits::WORKER_SLOTS_MAX)));
        }
        if !self.blocking.is_empty() {
            let pool = BlockingPool::new(self.blocking_threads)
                .map_err(|e| setup(format!("no thread pool: {e}")))?;
            let pool = Arc::new(pool);
            for (kind, make) in self.blocking {
                self.handlers.insert(kind, make(Arc::clone(&pool)));
            }
        }
        for wrap in &self.layers {
            self.handlers = self.handlers.into_iter().map(|(kind, service)| (kind, wrap(service))).collect();
        }
        Ok(Plan {
            addresses: Addresses::parse(&self.server, self.tls_ca.as_deref())?.following(self.follow),
            token: self.token,
            id,
            name: self.name,
            subscription: subscription(self.queues, self.strict)?,
            concurrency: self.concurrency,
            registry: Arc::new(Registry { handlers: self.handlers, cancel_grace: self.cancel_grace }),
            states: Arc::new(self.states),
            gossip: self.gossip,
            stop_deadline: self.stop_deadline,
            events: self.events,
            surroundings: self.surroundings,
        })
    }
}

fn subscription(mut queues: Vec<(String, u32)>, strict: bool) -> Result<Subscription, Error> {
    if queues.is_empty() {
        queues.push((QueueName::default().as_str().to_owned(), 1));
    }
    if queues.len() > limits::WORKER_QUEUES_MAX {
        return Err(Error::Setup(format!(
            "a worker takes jobs from at most {} queues",
            limits::WORKER_QUEUES_MAX
        )));
    }
    let mut named = Vec::with_capacity(queues.len());
    for (name, weight) in queues {
        if weight == 0 {
            return Err(Error::Setup(format!(
                "queue {name:?} has weight 0 and would never be asked: leave it out"
            )));
        }
        named.push((QueueName::new(&name)?, weight));
    }
    Ok(Subscription { queues: named, strict })
}
