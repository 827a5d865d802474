//! Workers that come by requests: each has an actor here and a line in the hub like a worker on the native port, but no
//! connection that says by itself whether it lives.
//!
//! ```text
//!   POST fetch ──► Polls ──► PollActor ──Op::Fetch──► queue actors        jobs come back as deliveries, and the fetch ends
//!   heartbeat ───► Polls ──► PollActor ──Op::Renew──► queue actors        the lease is named, so it goes on
//!   ack, fail ───► Polls ──Op::Report──────────────► queue actor         proved by its token, whatever this door knows
//! ```
//!
//! A request may get lost on its way, and an answer too. So every lease has to be named from time to time, beside the worker
//! itself: a job whose delivery never arrived goes back although its worker is well.
//!
//! After a restart of the server this door knows nobody. A lease that is presented is checked against its queue, and its worker
//! is taken in again.

mod leases;
mod worker;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::{Actor, Addr, Context, Handler};
use tokio_util::sync::CancellationToken;
use windlass_core::api::{
    ApiError, ErrorCode, FetchJobs, HeldLease, Standing, WorkRequest, WorkResponse, WorkerCard,
    worker_to_text,
};
use windlass_core::id::{QueueName, WorkerId};
use windlass_core::job::{JobState, clip};
use windlass_core::limits;
use windlass_core::wire::{ReportResult, Verdict, WorkerHello};

use self::worker::{Adopt, Depart, Named, Poll, PollActor, Settled};
use super::hub::{Arrival, Hub};
use super::link::Link;
use crate::chance::Chance;
use crate::clock::Clock;
use crate::queue::{Op, QueueHandle, Registry, busy, stopping};

/// Longest text that a worker says about itself.
const TEXT_BYTES_MAX: usize = 256;
/// Most kinds that are kept for lists.
const KINDS_MAX: usize = 256;
/// Workers that wait to be taken in.
const MAILBOX_MESSAGES_MAX: usize = 1_024;

/// What this door works with.
#[derive(Clone)]
pub struct PollParts {
    /// The queues.
    pub registry: Registry,
    /// The workers.
    pub hub: Hub,
    /// The node's clock.
    pub clock: Clock,
    /// Where draws between queues and new ids come from.
    pub chance: Chance,
    /// How often workers are asked to send a heartbeat.
    pub heartbeat_ms: u64,
    /// Silence after which a worker is lost, unless it asked for more.
    pub lease_ms: u64,
    /// From then on no fetch waits any more.
    pub draining: CancellationToken,
}

/// The workers at this door, by id, each with the number of its session.
type Workers = Arc<Mutex<BTreeMap<WorkerId, (u64, Addr<PollActor>)>>>;

/// A cheap handle of this door; usable from any thread.
#[derive(Clone)]
pub struct Polls {
    parts: PollParts,
    workers: Workers,
    /// Two first requests of one worker make one actor.
    entering: Arc<tokio::sync::Mutex<()>>,
    addr: Addr<PollStarter>,
}

/// Starts the actors, since only the arbiter can.
struct PollStarter;

struct Enter(Box<PollActor>);

impl actix::Message for Enter {
    type Result = Addr<PollActor>;
}

impl Actor for PollStarter {
    type Context = Context<PollStarter>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_MESSAGES_MAX);
    }
}

impl Handler<Enter> for PollStarter {
    type Result = actix::MessageResult<Enter>;

    fn handle(&mut self, enter: Enter, _: &mut Self::Context) -> Self::Result {
        actix::MessageResult(enter.0.start())
    }
}

impl Polls {
    /// Opens this door. Must run on the arbiter.
    #[must_use]
    pub fn open(parts: PollParts) -> Polls {
        let (workers, entering) = (Workers::default(), Arc::default());
        Polls { parts, workers, entering, addr: PollStarter.start() }
    }

    /// Carries out what a worker asks. Dropping the future of a fetch gives the fetch up.
    ///
    /// # Errors
    /// `Invalid` for what breaks a rule, `Busy`, `Unavailable`, or what a queue says. A stale lease is an answer.
    pub async fn call(&self, request: WorkRequest) -> Result<WorkResponse, ApiError> {
        match request {
            WorkRequest::Fetch(fetch) => self.fetch(fetch).await,
            WorkRequest::Report { lease, verdict } => self.report(lease, verdict).await,
            WorkRequest::Heartbeat { leases } => self.heartbeat(leases).await,
            WorkRequest::Progress { lease, percent, message } => {
                let handle = self.parts.registry.find(&lease.lease.queue);
                let (id, token) = (lease.lease.id, lease.lease.token);
                let answer = self.heartbeat(vec![lease]).await?;
                let lost =
                    matches!(&answer, WorkResponse::Standing { leases, .. } if leases[0] == Standing::Lost);
                if let Some(handle) = handle.filter(|_| !lost) {
                    handle.post(vec![Op::Progress { id, token, percent, message }]).map_err(|_| busy())?;
                }
                Ok(answer)
            }
            WorkRequest::Leave { worker } => self.leave(worker).await,
        }
    }

    async fn fetch(&self, fetch: FetchJobs) -> Result<WorkResponse, ApiError> {
        check(&fetch)?;
        let FetchJobs { worker: card, queues, strict, count, wait_ms, lease_ms } = fetch;
        let names: Vec<QueueName> = queues.iter().map(|(name, _)| name.clone()).collect();
        let handles = self.parts.registry.open(&names).await?;
        let id = card.id.unwrap_or_else(|| WorkerId(self.parts.chance.u128().to_be_bytes()));
        let worker = self.enter(id, card).await?;
        let (reply, answered) = tokio::sync::oneshot::channel();
        let queues = handles.into_iter().zip(queues).map(|(handle, (_, weight))| (handle, weight)).collect();
        let lease_ms = lease_ms.unwrap_or(self.parts.lease_ms);
        worker
            .send(Poll { queues, strict, count, wait_ms, lease_ms, reply })
            .await
            .map_err(|_| session_over())?;
        answered.await.unwrap_or_else(|_| Err(session_over())).map(WorkResponse::Fetched)
    }

    async fn report(&self, held: HeldLease, verdict: Verdict) -> Result<WorkResponse, ApiError> {
        if let Verdict::Done(Some(result)) = &verdict
            && result.data.len() > limits::RESULT_BYTES_MAX
        {
            let text = format!(
                "the result has {} bytes, at most {} are taken; put large data elsewhere and its address here",
                result.data.len(),
                limits::RESULT_BYTES_MAX
            );
            return Err(ApiError::new(ErrorCode::TooLarge, text));
        }
        // The token proves the lease, and is easily guessed; that it is this worker's is not.
        let standing = self.standing(std::slice::from_ref(&held)).await?;
        let HeldLease { worker, lease } = held;
        let handle = self.parts.registry.find(&lease.queue).filter(|_| standing.0[0] != Standing::Lost);
        let Some(handle) = handle else {
            return Ok(WorkResponse::Reported(ReportResult::Refused(ErrorCode::StaleLease)));
        };
        let outcomes = vec![(lease.id, lease.token, verdict)];
        let results = handle.ask(|then| Op::Report { outcomes, then }).await?;
        let result = results.first().copied().unwrap_or(ReportResult::Refused(ErrorCode::Internal));
        let ended = matches!(result, ReportResult::Recorded | ReportResult::Refused(ErrorCode::StaleLease));
        if ended && let Some(worker) = self.find(&worker) {
            // A worker that is gone by now holds nothing.
            let _ = worker.send(Settled(lease)).await;
        }
        Ok(WorkResponse::Reported(result))
    }

    async fn heartbeat(&self, leases: Vec<HeldLease>) -> Result<WorkResponse, ApiError> {
        let invalid = |text: String| Err(ApiError::new(ErrorCode::Invalid, text));
        if leases.is_empty() || leases.len() > limits::HEARTBEAT_LEASES_MAX {
            return invalid(format!("a heartbeat names 1 to {} leases", limits::HEARTBEAT_LEASES_MAX));
        }
        if leases.iter().any(|held| held.worker != leases[0].worker) {
            return invalid("a heartbeat names the leases of one worker; send one for each".to_owned());
        }
        let (leases, lease_ms) = self.standing(&leases).await?;
        Ok(WorkResponse::Standing { leases, lease_ms })
    }

    /// How leases of one worker stand, and how long they are good now.
    async fn standing(&self, leases: &[HeldLease]) -> Result<(Vec<Standing>, u64), ApiError> {
        let worker = leases.first().and_then(|held| self.find(&held.worker));
        let known = match worker {
            Some(worker) => {
                let named = leases.iter().map(|held| held.lease.clone()).collect();
                worker.send(Named(named)).await.ok()
            }
            None => None,
        };
        let (mut standing, lease_ms) =
            known.unwrap_or_else(|| (vec![None; leases.len()], self.parts.lease_ms));
        for (held, standing) in leases.iter().zip(&mut standing) {
            if standing.is_none() {
                *standing = Some(self.look_up(held).await?);
            }
        }
        Ok((standing.into_iter().map(|standing| standing.unwrap_or(Standing::Lost)).collect(), lease_ms))
    }

    /// Asks the queue about a lease that this door does not know, and takes its worker in when it is good.
    async fn look_up(&self, held: &HeldLease) -> Result<Standing, ApiError> {
        let HeldLease { worker, lease } = held;
        let Some(handle) = self.parts.registry.find(&lease.queue) else { return Ok(Standing::Lost) };
        let id = lease.id;
        let view = handle.ask(|then| Op::Get { id, then }).await?;
        let good = view.filter(|view| {
            view.state == JobState::Running
                && view
                    .attempts
                    .last()
                    .is_some_and(|run| run.token == Some(lease.token) && run.worker == *worker)
        });
        let Some(view) = good else { return Ok(Standing::Lost) };
        let cancel = view.cancel_requested;
        let actor = self.enter(*worker, WorkerCard::default()).await?;
        actor.send(Adopt { lease: lease.clone(), handle, cancel }).await.map_err(|_| session_over())?;
        Ok(if cancel { Standing::Cancelled } else { Standing::Held })
    }

    async fn leave(&self, id: WorkerId) -> Result<WorkResponse, ApiError> {
        let unknown = || {
            let text = format!("there is no worker {} over HTTP", worker_to_text(id));
            ApiError::new(ErrorCode::NotFound, text)
        };
        let worker = self.find(&id).ok_or_else(unknown)?;
        worker.send(Depart).await.map_err(|_| unknown())?;
        Ok(WorkResponse::Left)
    }

    fn find(&self, id: &WorkerId) -> Option<Addr<PollActor>> {
        lock(&self.workers).get(id).map(|(_, addr)| addr.clone()).filter(Addr::connected)
    }

    /// The actor of a worker, made when it has none.
    async fn enter(&self, id: WorkerId, card: WorkerCard) -> Result<Addr<PollActor>, ApiError> {
        let _turn = self.entering.lock().await;
        if let Some(worker) = self.find(&id) {
            return Ok(worker);
        }
        let count = lock(&self.workers).len();
        if count >= limits::HTTP_WORKERS_MAX {
            let text = format!("there are {count} workers over HTTP already; send it again later");
            return Err(ApiError::new(ErrorCode::Busy, text));
        }
        let link = Link::new(self.parts.clock.now().mono);
        let (hello, client) = hello(id, card);
        // Its requests come on any connection, so it has no address of its own.
        let peer = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let arrival = Arrival { hello, client, peer, link: Arc::clone(&link) };
        let inherited: Vec<QueueHandle> = self.parts.hub.arrive(arrival).await;
        inherited.iter().for_each(|queue| link.touch(queue));
        let session = link.session;
        let actor = PollActor::new(self.parts.clone(), link, id, Arc::clone(&self.workers));
        let worker = self.addr.send(Enter(Box::new(actor))).await.map_err(|_| stopping())?;
        lock(&self.workers).insert(id, (session, worker.clone()));
        Ok(worker)
    }
}

fn lock(workers: &Workers) -> MutexGuard<'_, BTreeMap<WorkerId, (u64, Addr<PollActor>)>> {
    // A map of addresses, whole after every step.
    workers.lock().unwrap_or_else(PoisonError::into_inner)
}

fn check(fetch: &FetchJobs) -> Result<(), ApiError> {
    let invalid = |text: String| Err(ApiError::new(ErrorCode::Invalid, text));
    let queues = &fetch.queues;
    if queues.is_empty() || queues.len() > limits::WORKER_QUEUES_MAX {
        return invalid(format!("a worker takes jobs from 1 to {} queues", limits::WORKER_QUEUES_MAX));
    }
    if fetch.count == 0 || fetch.count > limits::FETCH_JOBS_MAX {
        return invalid(format!("count is 1 to {}", limits::FETCH_JOBS_MAX));
    }
    if fetch.wait_ms > limits::FETCH_WAIT_MS_MAX {
        return invalid(format!(
            "wait_ms is at most {}; fetch again when it is over",
            limits::FETCH_WAIT_MS_MAX
        ));
    }
    let asked = limits::LEASE_MS_ASKED_MIN..=limits::LEASE_MS_ASKED_MAX;
    if fetch.lease_ms.is_some_and(|ms| !asked.contains(&ms)) {
        return invalid(format!("lease_ms is {} to {}", asked.start(), asked.end()));
    }
    Ok(())
}

/// What the hub shows of it, bounded, since it is kept.
fn hello(id: WorkerId, card: WorkerCard) -> (WorkerHello, String) {
    let short = |text: String| clip(text, TEXT_BYTES_MAX);
    let name = if card.name.is_empty() { format!("http-{id}") } else { short(card.name) };
    let kinds = card.kinds.into_iter().take(KINDS_MAX).map(short).collect();
    let client = if card.client.is_empty() { "http".to_owned() } else { short(card.client) };
    let host = short(card.host);
    (WorkerHello { id, name, host, pid: card.pid, kinds, gossip_id: String::new() }, client)
}

/// The worker was lost, or the server stops, while a request of it waited.
fn session_over() -> ApiError {
    ApiError::new(ErrorCode::Unavailable, "the wait was broken off; send the request again")
}
