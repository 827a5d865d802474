//! One dispatcher for every request, whichever door it came through: the native port, HTTP, pages, the command line.
//!
//! The handle is cheap and may be used from any thread; the work is done by the actors. Nothing is decided here but which
//! actor is asked.

mod cluster;
mod history;
mod jobs;
mod overview;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use tokio_util::task::TaskTracker;
use windlass_core::access::{Caller, Operation, Principal};
use windlass_core::api::{
    ApiError, ErrorCode, JobView, NodeState, Request, Response, WorkRequest, WorkResponse,
};
use windlass_core::filter::Filter;
use windlass_core::id::QueueName;
use windlass_core::job::JobSpec;
use windlass_core::limits;
use windlass_core::store::Space;
use windlass_core::time::Timestamp;
use windlass_dashboard::NodeFigures;

pub use history::History;
pub(crate) use jobs::no_job;
pub(crate) use overview::resident_bytes;

use crate::access::guard::{check_work, count, cut, describe};
use crate::access::{Access, Audit, no_longer};
use crate::bulk::Bulks;
use crate::clock::Clock;
use crate::cluster::{Cluster, Seats};
use crate::faktory::Desk;
use crate::queue::{Act, DeadAct, Op, QueueHandle, Registry, no_queue, stopping};
use crate::relay::Traffic;
use crate::schedules;
use crate::session::{Budget, Hub, Polls};
use crate::store::writer::StoreWriter;

/// What requests are answered from.
pub struct ApiParts {
    /// The queues.
    pub registry: Registry,
    /// The workers.
    pub hub: Hub,
    /// Workers that come by requests.
    pub polls: Polls,
    /// Operations on many jobs.
    pub bulks: Bulks,
    /// The workers of the Faktory door.
    pub faktory: Desk,
    /// Who is let in.
    pub access: Access,
    /// What operators did.
    pub audit: Audit,
    /// The schedules.
    pub schedules: schedules::Handle,
    /// The membership.
    pub cluster: Cluster,
    /// Who owns what.
    pub seats: Seats,
    /// What the node has carried to others.
    pub traffic: Traffic,
    /// For figures of the store.
    pub writer: StoreWriter,
    /// The node's clock.
    pub clock: Clock,
    /// Rates and history.
    pub history: History,
    /// For the number of connections.
    pub budget: Arc<Budget>,
    /// Stable id of the node.
    pub node: String,
    /// When it started.
    pub started_at: Timestamp,
    /// From when this is set, every request is answered with `Unavailable`.
    pub stopping: AtomicBool,
    /// What operators have asked for and have no answer to yet.
    pub changes: TaskTracker,
}

/// A cheap handle that carries out requests; usable from any thread. It does not keep the node's store open: when the node
/// is gone, it answers `Unavailable`.
#[derive(Clone)]
pub struct ApiHandle {
    parts: Weak<ApiParts>,
    caller: Arc<Caller>,
}

impl Default for ApiHandle {
    /// A handle that leads nowhere: every request is answered with `Unavailable`.
    fn default() -> ApiHandle {
        ApiHandle { parts: Weak::new(), caller: Arc::new(Caller::process()) }
    }
}

impl ApiHandle {
    /// A handle over the node's actors.
    #[must_use]
    pub fn new(parts: &Arc<ApiParts>) -> ApiHandle {
        ApiHandle { parts: Arc::downgrade(parts), caller: Arc::new(Caller::process()) }
    }

    /// The same handle for somebody else: what they may not do is refused.
    #[must_use]
    pub fn on_behalf_of(&self, caller: Arc<Caller>) -> ApiHandle {
        ApiHandle { parts: Weak::clone(&self.parts), caller }
    }

    /// Carries out one request. Dropping the future gives up waiting, not what was asked.
    pub fn call(&self, request: Request) -> impl Future<Output = Result<Response, ApiError>> + Send + use<> {
        let parts = self.parts.upgrade().filter(|parts| !parts.stopping.load(Ordering::Relaxed));
        let caller = Arc::clone(&self.caller);
        async move {
            match parts {
                Some(parts) => parts.carry_out(&caller, request).await,
                None => Err(stopping()),
            }
        }
    }

    /// Carries out what a worker asks that comes by requests. Dropping the future of a fetch gives the fetch up.
    pub fn work(
        &self,
        request: WorkRequest,
    ) -> impl Future<Output = Result<WorkResponse, ApiError>> + Send + use<> {
        let parts = self.parts.upgrade().filter(|parts| !parts.stopping.load(Ordering::Relaxed));
        let caller = Arc::clone(&self.caller);
        async move {
            let Some(parts) = parts else { return Err(stopping()) };
            if !parts.access.is_live(&caller) {
                return Err(no_longer());
            }
            check_work(&caller, &request)?;
            // A fetch waits; the node must not wait for it.
            let polls = parts.polls.clone();
            drop(parts);
            polls.call(request).await
        }
    }

    /// Why the node does not take work right now, one sentence each; empty when it does.
    #[must_use]
    pub fn obstacles(&self) -> Vec<String> {
        self.parts.upgrade().map_or_else(|| vec![STOPPING.to_owned()], |parts| parts.obstacles())
    }
}

const STOPPING: &str = "the server is stopping";

impl ApiParts {
    /// Resolves when everything that operators have asked for has its answer, with the connection it came by: one that is ended in
    /// order from then on sends it first.
    pub(crate) async fn answered(&self) {
        self.changes.close();
        self.changes.wait().await;
    }

    /// From now on every request is answered with `Unavailable`.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn obstacles(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.stopping.load(Ordering::Relaxed) {
            reasons.push(STOPPING.to_owned());
        }
        let trouble = self.writer.store().trouble();
        let failed = trouble.is_some() && self.writer.space() == Space::Ample;
        reasons.extend(trouble);
        // What has stopped the store has stopped its queues.
        if failed {
            return reasons;
        }
        if let Some(queue) = self.registry.all().iter().find(|q| q.figures().stopped.load(Ordering::Relaxed))
        {
            reasons.push(format!("queue {} has stopped writing; the server's log says why", queue.name()));
        }
        reasons
    }

    /// Checks, does, and writes down what an operator did.
    async fn carry_out(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let operation = Operation::of(&request);
        // Given back when the answer is ready. Whoever waits for it hands it to the connection before anything else happens there.
        let _unanswered = operation.is_audited().then(|| self.changes.token());
        let target = if operation.is_audited() { describe(&request) } else { String::new() };
        let result = match self.check(caller, &request).await {
            Ok(()) => self.dispatch(request).await.map(|response| cut(caller, response)),
            Err(error) => Err(error),
        };
        // What this process does by itself is not an operator's doing.
        if caller.principal != Principal::Process {
            self.audit.note(caller, operation, target, result.as_ref().map(count)).await;
        }
        result
    }

    async fn dispatch(&self, request: Request) -> Result<Response, ApiError> {
        let done = |count: u64| Response::Done { count };
        match request {
            Request::Enqueue { queue, jobs } => {
                check_jobs(&jobs)?;
                self.registry.enqueue(&queue, jobs, Vec::new()).await.map(Response::Enqueued)
            }
            Request::GetJob { id } => self.get_job(id).await.map(job),
            Request::ListJobs(query) => {
                let filter = Filter::of_query(&query);
                self.list_jobs(&filter, query.cursor.as_deref(), query.limit).await
            }
            Request::SearchJobs(search) => {
                let filter = Filter::parse(&search.filter)
                    .map_err(|e| ApiError::new(ErrorCode::Invalid, format!("the filter: {e}")))?;
                self.list_jobs(&filter, search.cursor.as_deref(), search.limit).await
            }
            Request::StartBulk(spec) => self.bulks.start(spec),
            Request::ListBulks => Ok(self.bulks.list()),
            Request::GetBulk { id } => self.bulks.get(id),
            Request::CancelBulk { id } => self.bulks.cancel(id),
            Request::CreateToken(spec) => {
                self.access.create(spec).await.map(|made| Response::TokenMade(Box::new(made)))
            }
            Request::ListTokens => Ok(Response::Tokens(self.access.list())),
            Request::RevokeToken { token } => {
                self.access.revoke(&token).await.map(|view| Response::Tokens(vec![view]))
            }
            Request::ListAudit { before, limit } => self.audit.page(before, limit).map(Response::Audit),
            Request::CancelJob { id } => self.act(id, Act::Cancel).await?.map(job).ok_or_else(odd),
            Request::RetryJob { id } => self.act(id, Act::Retry).await?.map(job).ok_or_else(odd),
            Request::DeleteJob { id } => self.act(id, Act::Delete).await.map(|_| done(1)),
            Request::WaitJob { id, timeout_ms } => self.wait_job(id, timeout_ms).await.map(job),
            Request::RetryDead { queue, kind } => {
                self.queue(&queue)?.ask(|then| Op::Dead { act: DeadAct::Retry, kind, then }).await.map(done)
            }
            Request::DeleteDead { queue, kind } => {
                self.queue(&queue)?.ask(|then| Op::Dead { act: DeadAct::Delete, kind, then }).await.map(done)
            }
            Request::ListQueues => self.list_queues().await.map(Response::Queues),
            Request::PauseQueue { queue } => {
                self.queue(&queue)?.ask(|then| Op::SetPaused { paused: true, then }).await.map(done)
            }
            Request::ResumeQueue { queue } => {
                self.queue(&queue)?.ask(|then| Op::SetPaused { paused: false, then }).await.map(done)
            }
            Request::SetRetention { queue, finished_max } => {
                self.queue(&queue)?.ask(|then| Op::SetRetention { finished_max, then }).await.map(done)
            }
            Request::ListWorkers => self.list_workers().await.map(Response::Workers),
            Request::GetOverview => {
                self.overview().await.map(|overview| Response::Overview(Box::new(overview)))
            }
            Request::GetCluster => self.cluster_view().await.map(|view| Response::Cluster(Box::new(view))),
            Request::DrainNode { node, hold_ms } => self.drain(node, hold_ms).await,
            schedule @ (Request::PutSchedule(_)
            | Request::ListSchedules
            | Request::GetSchedule { .. }
            | Request::PauseSchedule { .. }
            | Request::ResumeSchedule { .. }
            | Request::TriggerSchedule { .. }
            | Request::DeleteSchedule { .. }) => self.schedules.call(schedule).await,
        }
    }

    async fn list_jobs(
        &self,
        filter: &Filter,
        cursor: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Response, ApiError> {
        let mut page = self.registry.list_jobs(filter, cursor, limit, self.clock.now().wall).await?;
        self.name_workers(&mut page.jobs).await;
        Ok(Response::Jobs(page))
    }

    fn queue(&self, name: &QueueName) -> Result<QueueHandle, ApiError> {
        self.registry.find(name).ok_or_else(|| no_queue(name))
    }
}

impl windlass_dashboard::Backend for ApiHandle {
    fn call(
        &self,
        caller: &Arc<Caller>,
        request: Request,
    ) -> Pin<Box<dyn Future<Output = Result<Response, ApiError>> + Send>> {
        Box::pin(self.on_behalf_of(Arc::clone(caller)).call(request))
    }

    fn work(&self, caller: &Arc<Caller>, request: WorkRequest) -> windlass_dashboard::WorkAnswer {
        Box::pin(self.on_behalf_of(Arc::clone(caller)).work(request))
    }

    fn identify(&self, token: Option<&str>, from: &str) -> Result<Caller, ApiError> {
        self.parts.upgrade().ok_or_else(stopping)?.access.identify(token, from)
    }

    fn is_live(&self, caller: &Caller) -> bool {
        self.parts.upgrade().is_some_and(|parts| parts.access.is_live(caller))
    }

    fn leave(&self, caller: &Arc<Caller>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let access = self.parts.upgrade().map(|parts| parts.access.clone());
        let caller = Arc::clone(caller);
        Box::pin(async move {
            if let Some(access) = access {
                access.leave(&caller).await;
            }
        })
    }

    fn ready(&self) -> Result<(), Vec<String>> {
        let obstacles = self.obstacles();
        if obstacles.is_empty() { Ok(()) } else { Err(obstacles) }
    }

    fn figures(&self) -> NodeFigures {
        let Some(parts) = self.parts.upgrade() else { return NodeFigures::default() };
        NodeFigures {
            name: parts.node.clone(),
            state: NodeState::Owner,
            has_owner: true,
            rss_bytes: resident_bytes(),
            relays: parts.traffic.all(),
        }
    }
}

fn job(view: Box<JobView>) -> Response {
    Response::Job(view)
}

fn odd() -> ApiError {
    ApiError::new(ErrorCode::Internal, "the queue did not say what became of the job")
}

/// Checks the size of an enqueue request; returns roughly its bytes. What is in the jobs is checked by the queue.
pub(crate) fn check_jobs(jobs: &[JobSpec]) -> Result<usize, ApiError> {
    if jobs.is_empty() {
        return Err(ApiError::new(ErrorCode::Invalid, "there is no job in the request"));
    }
    if jobs.len() > limits::BATCH_JOBS_MAX {
        let text = format!(
            "{} jobs in one request, at most {} are taken; send several requests",
            jobs.len(),
            limits::BATCH_JOBS_MAX
        );
        return Err(ApiError::new(ErrorCode::TooLarge, text));
    }
    let bytes = jobs.iter().map(|job| job.payload.data.len() + job.kind.len() + 128).sum();
    if bytes > BATCH_BYTES_MAX {
        let text =
            format!("the jobs have {bytes} bytes, one request takes at most {BATCH_BYTES_MAX}; send several");
        return Err(ApiError::new(ErrorCode::TooLarge, text));
    }
    Ok(bytes)
}

/// Most bytes of the jobs of one request: as much as fits into a frame, and far below what a store takes at once.
pub const BATCH_BYTES_MAX: usize = limits::FRAME_BYTES_MAX + limits::BATCH_JOBS_MAX * 128;
