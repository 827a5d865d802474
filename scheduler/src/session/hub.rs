//! The workers of the node: who is connected, who is away and may come back, who is lost.
//!
//! ```text
//!   connected ──socket gone──► away ──grace time over, or gossip says dead──► lost: its leases end
//!       │  ▲                     │
//!       │  └──── same id again ──┘
//!       ├──goodbye───────────────────────────────────────────────────────────► gone
//!       └──silent for lease_ms, or gossip says dead and no fresh heartbeat───► lost
//! ```
//!
//! A fresh heartbeat outvotes the gossip: a worker whose datagrams are blocked keeps its jobs. One that never gossiped is
//! watched by heartbeats alone. The queues would end the leases by themselves in the end; the hub only makes it soon.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, AsyncContext, Context, Handler};
use windlass_core::api::{ApiError, WorkerView};
use windlass_core::id::{QueueName, WorkerId};
use windlass_core::time::{Mono, Now, Timestamp};
use windlass_core::wire::WorkerHello;

use super::link::Link;
use crate::clock::Clock;
use crate::queue::{Op, QueueHandle};

/// How often the hub looks for workers that have fallen silent.
const SWEEP: Duration = Duration::from_millis(100);
/// Heartbeat intervals for which a heartbeat counts as fresh.
const FRESH_INTERVALS: u64 = 2;
/// Time that the gossip needs to see the living again after this node stood still, in milliseconds.
const GOSSIP_RECOVERS_MS: u64 = 3_000;
/// Names of workers that are gone, kept for the histories of jobs.
const NAMES_MAX: usize = 10_000;
/// Messages that wait for the hub.
const MAILBOX_MESSAGES_MAX: usize = 16_384;

/// What the hub works with.
#[derive(Clone)]
pub struct HubParts {
    /// The node's clock.
    pub clock: Clock,
    /// Interval of heartbeats.
    pub heartbeat_ms: u64,
    /// Silence after which a worker is lost.
    pub lease_ms: u64,
    /// Time a lost session has to come back.
    pub resume_grace_ms: u64,
}

/// A cheap handle of the hub.
#[derive(Clone)]
pub struct Hub {
    addr: Addr<HubActor>,
}

/// A worker with its queues, for a list: what it runs is asked of them.
pub struct Listed {
    /// All but the running jobs.
    pub view: WorkerView,
    /// Queues that know it.
    pub queues: Vec<QueueHandle>,
}

/// A worker's session begins.
pub(super) struct Arrival {
    pub hello: WorkerHello,
    pub client: String,
    pub peer: SocketAddr,
    pub link: Arc<Link>,
}

impl actix::Message for Arrival {
    /// Queues that know the worker from before.
    type Result = Vec<QueueHandle>;
}

struct Leave {
    worker: WorkerId,
    session: u64,
    orderly: bool,
}

impl actix::Message for Leave {
    type Result = ();
}

struct List;

impl actix::Message for List {
    type Result = Vec<Listed>;
}

struct Names(Vec<WorkerId>);

impl actix::Message for Names {
    type Result = HashMap<WorkerId, String>;
}

struct Subscribers;

impl actix::Message for Subscribers {
    type Result = HashMap<QueueName, u32>;
}

/// The members that are alive, by their gossip id.
struct Alive(BTreeSet<String>);

impl actix::Message for Alive {
    type Result = ();
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gossip {
    Unknown,
    Alive,
    Dead,
}

struct Record {
    hello: WorkerHello,
    client: String,
    link: Arc<Link>,
    connected_at: Timestamp,
    /// Since when the session is gone.
    away_since: Option<Mono>,
    gossip: Gossip,
    /// Queues of earlier sessions whose leases are not yet accounted for.
    inherited: BTreeMap<QueueName, QueueHandle>,
}

struct HubActor {
    parts: HubParts,
    workers: BTreeMap<WorkerId, Record>,
    alive: BTreeSet<String>,
    names: HashMap<WorkerId, String>,
    names_order: VecDeque<WorkerId>,
}

impl Hub {
    /// Starts the hub. Must run on the arbiter.
    #[must_use]
    pub fn start(parts: HubParts) -> Hub {
        let actor = HubActor {
            parts,
            workers: BTreeMap::new(),
            alive: BTreeSet::new(),
            names: HashMap::new(),
            names_order: VecDeque::new(),
        };
        Hub { addr: actor.start() }
    }

    pub(super) async fn arrive(&self, arrival: Arrival) -> Vec<QueueHandle> {
        self.addr.send(arrival).await.unwrap_or_default()
    }

    pub(super) fn leave(&self, worker: WorkerId, session: u64, orderly: bool) {
        let leave = Leave { worker, session, orderly };
        if let Err(error) = self.addr.try_send(leave) {
            // The sweep finds out by the silence.
            tracing::warn!(%worker, %error, "the hub is too busy to hear of a session's end");
        }
    }

    /// Tells who is alive by the gossip.
    pub fn gossip(&self, alive: BTreeSet<String>) {
        if let Err(error) = self.addr.try_send(Alive(alive)) {
            tracing::warn!(%error, "the hub is too busy for the gossip");
        }
    }

    /// All workers, by name.
    ///
    /// # Errors
    /// `Unavailable` while the node stops.
    pub async fn list(&self) -> Result<Vec<Listed>, ApiError> {
        self.addr.send(List).await.map_err(|_| crate::queue::stopping())
    }

    /// Names of workers, as far as they are remembered.
    pub async fn names(&self, ids: Vec<WorkerId>) -> HashMap<WorkerId, String> {
        self.addr.send(Names(ids)).await.unwrap_or_default()
    }

    /// How many connected workers take jobs from each queue.
    pub async fn subscribers(&self) -> HashMap<QueueName, u32> {
        self.addr.send(Subscribers).await.unwrap_or_default()
    }
}

impl Actor for HubActor {
    type Context = Context<HubActor>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_MESSAGES_MAX);
        ctx.run_interval(SWEEP, |actor, _| actor.sweep());
    }
}

impl Handler<Arrival> for HubActor {
    type Result = actix::MessageResult<Arrival>;

    fn handle(&mut self, arrival: Arrival, _: &mut Self::Context) -> Self::Result {
        let Arrival { hello, client, peer, link } = arrival;
        let id = hello.id;
        let now = self.parts.clock.now();
        let mut inherited = BTreeMap::new();
        let back = self.workers.remove(&id);
        if let Some(old) = &back {
            inherited = old.queues();
            // The same process on a new connection: the old one is dead, whatever its socket says.
            old.link.broken.cancel();
        }
        let event = if back.is_some() { "worker back" } else { "worker connected" };
        tracing::info!(worker = %id, worker_name = hello.name, %peer, "{event}");
        self.remember_name(id, hello.name.clone());
        let gossip = match back {
            Some(old) => old.gossip,
            None if self.alive.contains(&hello.gossip_id) => Gossip::Alive,
            None => Gossip::Unknown,
        };
        let queues = inherited.values().cloned().collect();
        let record =
            Record { hello, client, link, connected_at: now.wall, away_since: None, gossip, inherited };
        self.workers.insert(id, record);
        actix::MessageResult(queues)
    }
}

impl Handler<Leave> for HubActor {
    type Result = ();

    fn handle(&mut self, leave: Leave, _: &mut Self::Context) {
        let now = self.parts.clock.now();
        let Some(record) = self.workers.get_mut(&leave.worker) else { return };
        if record.link.session != leave.session {
            return;
        }
        let name = &record.hello.name;
        if leave.orderly {
            tracing::info!(worker = %leave.worker, worker_name = name, "worker left");
            self.lose(&leave.worker, "its worker left without giving it back");
            return;
        }
        tracing::info!(worker = %leave.worker, worker_name = name, "worker away");
        record.away_since = Some(now.mono);
        record.tell(|worker, session| Op::Away { worker, session });
    }
}

impl Handler<Alive> for HubActor {
    type Result = ();

    fn handle(&mut self, alive: Alive, _: &mut Self::Context) {
        self.alive = alive.0;
        for record in self.workers.values_mut() {
            record.gossip = match record.gossip {
                _ if self.alive.contains(&record.hello.gossip_id) => Gossip::Alive,
                Gossip::Unknown => Gossip::Unknown,
                Gossip::Alive | Gossip::Dead => Gossip::Dead,
            };
        }
        self.sweep();
    }
}

impl Handler<List> for HubActor {
    type Result = actix::MessageResult<List>;

    fn handle(&mut self, _: List, _: &mut Self::Context) -> Self::Result {
        let now = self.parts.clock.now();
        let mut listed: Vec<_> = self
            .workers
            .values()
            .map(|record| Listed { view: record.view(now), queues: record.queues().into_values().collect() })
            .collect();
        listed.sort_by(|a, b| a.view.name.cmp(&b.view.name).then(a.view.id.cmp(&b.view.id)));
        actix::MessageResult(listed)
    }
}

impl Handler<Names> for HubActor {
    type Result = actix::MessageResult<Names>;

    fn handle(&mut self, names: Names, _: &mut Self::Context) -> Self::Result {
        let known = names.0.into_iter().filter_map(|id| Some((id, self.names.get(&id)?.clone()))).collect();
        actix::MessageResult(known)
    }
}

impl Handler<Subscribers> for HubActor {
    type Result = actix::MessageResult<Subscribers>;

    fn handle(&mut self, _: Subscribers, _: &mut Self::Context) -> Self::Result {
        let mut counts = HashMap::new();
        for record in self.workers.values().filter(|record| record.away_since.is_none()) {
            for (queue, _) in record.link.subscribed().queues {
                *counts.entry(queue).or_default() += 1;
            }
        }
        actix::MessageResult(counts)
    }
}

impl HubActor {
    /// Ends the leases of every worker that is known to be gone.
    fn sweep(&mut self) {
        let now = self.parts.clock.now().mono;
        let lost: Vec<_> =
            self.workers.iter().filter_map(|(id, record)| Some((*id, self.verdict(record, now)?))).collect();
        for (id, why) in lost {
            self.lose(&id, &why);
        }
    }

    /// Why a worker is lost, if it is.
    fn verdict(&self, record: &Record, now: Mono) -> Option<String> {
        let silent_ms = record.link.silent_ms(now);
        // After a stall of this node everybody looks dead to it, until their gossip is heard again.
        let gossips_dead =
            record.gossip == Gossip::Dead && self.parts.clock.awake_ms(now) > GOSSIP_RECOVERS_MS;
        if let Some(since) = record.away_since {
            let away_ms = now.0.saturating_sub(since.0);
            if gossips_dead {
                return Some("its worker's connection closed and the gossip says it is dead".to_owned());
            }
            return (away_ms >= self.parts.resume_grace_ms).then(|| {
                format!("its worker's connection closed and did not come back within {away_ms} ms")
            });
        }
        if gossips_dead && silent_ms > FRESH_INTERVALS * self.parts.heartbeat_ms {
            return Some(format!("the gossip says its worker is dead, and it was silent for {silent_ms} ms"));
        }
        (silent_ms >= self.parts.lease_ms).then(|| format!("its worker was silent for {silent_ms} ms"))
    }

    fn lose(&mut self, id: &WorkerId, why: &str) {
        let Some(record) = self.workers.remove(id) else { return };
        let held = record.link.held_count();
        if held > 0 {
            tracing::warn!(worker = %id, worker_name = record.hello.name, held, why, "worker lost");
        }
        record.link.broken.cancel();
        record.tell(|worker, session| Op::Lost { worker, session, why: why.to_owned() });
    }

    fn remember_name(&mut self, id: WorkerId, name: String) {
        if self.names.insert(id, name).is_none() {
            self.names_order.push_back(id);
        }
        if self.names_order.len() > NAMES_MAX
            && let Some(oldest) = self.names_order.pop_front()
        {
            self.names.remove(&oldest);
        }
    }
}

impl Record {
    /// Queues that may hold leases of this worker.
    fn queues(&self) -> BTreeMap<QueueName, QueueHandle> {
        let touched = self.link.touched().into_iter().map(|handle| (handle.name().clone(), handle));
        self.inherited.clone().into_iter().chain(touched).collect()
    }

    /// Posts an operation to every queue that knows the worker.
    fn tell(&self, op: impl Fn(WorkerId, u64) -> Op) {
        for handle in self.queues().into_values() {
            let posted = handle.post(vec![op(self.hello.id, self.link.session)]);
            if posted.is_err() {
                // Its leases there end by themselves when their time runs out.
                tracing::warn!(queue = %handle.name(), worker = %self.hello.id, "queue too busy to hear of a worker");
            }
        }
    }

    fn view(&self, now: Now) -> WorkerView {
        let subscribed = self.link.subscribed();
        let status = match self.away_since {
            Some(_) => "away",
            None if self.link.is_quiet() => "quiet",
            None => "connected",
        };
        let gossip = match self.gossip {
            Gossip::Unknown => "unknown",
            Gossip::Alive => "alive",
            Gossip::Dead => "dead",
        };
        WorkerView {
            id: self.hello.id,
            name: self.hello.name.clone(),
            host: self.hello.host.clone(),
            pid: self.hello.pid,
            client: self.client.clone(),
            queues: subscribed.queues,
            strict: subscribed.strict,
            kinds: self.hello.kinds.clone(),
            free_slots: self.link.free_slots(),
            running: Vec::new(),
            running_count: 0,
            connected_at: self.connected_at,
            heartbeat_age_ms: self.link.silent_ms(now.mono),
            status: status.to_owned(),
            gossip: gossip.to_owned(),
        }
    }
}
