//! The parts of a node, put together on the present arbiter and stopped in order. [`Node::start`](super::Node::start) does it on
//! a thread of its own; a simulation does it on a simulated host, with a listener and a writer of its own.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use windlass_core::api::NodeState;
use windlass_core::store::keys::meta_key;
use windlass_core::store::{Epoch, Write};
use windlass_core::wire::NodeAt;
use windlass_dashboard::{Dashboard, Options};

use super::descriptors::Doors;
use super::ports::presence;
use super::{NodeConfig, StartError, http};
use crate::access::{Access, Audit, Roots};
use crate::api::{ApiHandle, ApiParts, History};
use crate::bulk::Bulks;
use crate::chance::Chance;
use crate::clock::Clock;
use crate::cluster::facts::{self, Facts};
use crate::cluster::{Cluster, GossipConfig, Seats, keep_pulse};
use crate::door::{Door, Introductions, Listen, Port, Tls};
use crate::faktory::{self, Desk, DeskParts, FaktoryParts};
use crate::queue::{Op, Registry, RegistryParts, Shared};
use crate::relay::Traffic;
use crate::schedules;
use crate::session::{self, Budget, Greeting, Hub, HubParts, Peers, Phases, PollParts, Polls, SessionParts};
use crate::store::postgres::seat::Presence;
use crate::store::writer::StoreWriter;

/// Time that operators' changes have to be done and answered before anybody is told to go elsewhere.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// Time that queues have to make durable what they have taken on.
const FLUSH_PATIENCE: Duration = Duration::from_secs(10);
/// Time that native connections have to take their last frames.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);

/// The doors, bound but not open.
pub(super) struct Bound<L> {
    pub(super) http: Option<TcpListener>,
    pub(super) native: Option<(L, SocketAddr)>,
    pub(super) faktory: Option<(Port, SocketAddr)>,
    pub(super) tls: Option<Tls>,
    /// By whom peers of the HTTP door may be introduced; the other doors have their own.
    pub(super) introductions: Option<Introductions>,
}

/// How a node takes part in the gossip.
pub(super) enum Membership {
    /// It joins, and leaves when it stops.
    Joins,
    /// It is a member before and after; a supervisor knows who owns what, and which other nodes clients may be told of. It has relayed
    /// while it owned nothing.
    Member { cluster: Cluster, seats: Seats, others: watch::Receiver<Vec<NodeAt>>, traffic: Traffic },
}

/// What a node has of its cluster.
struct Joined {
    cluster: Cluster,
    seats: Seats,
    /// Whether the gossip ends with the node.
    leaves: bool,
    /// The other nodes, where there can be any.
    others: Option<watch::Receiver<Vec<NodeAt>>>,
    /// What it has relayed.
    traffic: Traffic,
}

impl Membership {
    /// Joins, or takes what is there.
    async fn take(
        self,
        config: &NodeConfig,
        node: &str,
        own: Facts,
        epoch: Epoch,
    ) -> Result<Joined, StartError> {
        Ok(match self {
            Membership::Joins => Joined {
                cluster: gossip(config, node, own).await?,
                seats: Seats::alone(node, epoch, &config.clock),
                leaves: true,
                others: None,
                traffic: Traffic::default(),
            },
            Membership::Member { cluster, seats, others, traffic } => {
                Joined { cluster, seats, leaves: false, others: Some(others), traffic }
            }
        })
    }
}

impl<L> Bound<L> {
    /// Where they are, with the real ports; the gossip has no door of its own yet.
    fn addrs(&self) -> std::io::Result<Addrs> {
        Ok(Addrs {
            http: self.http.as_ref().map(TcpListener::local_addr).transpose()?,
            native: self.native.as_ref().map(|(_, addr)| *addr),
            faktory: self.faktory.as_ref().map(|(_, addr)| *addr),
            gossip: None,
        })
    }
}

/// A node that lives on the present arbiter and ends with it.
pub struct LocalNode {
    pub(super) api: Arc<ApiParts>,
    writer: StoreWriter,
    registry: Registry,
    schedules: schedules::Handle,
    cluster: Cluster,
    leaves: bool,
    door: Option<Door>,
    faktory: Option<Door>,
    phases: Phases,
    pub(super) http: Option<(ServerHandle, Dashboard)>,
    pub(super) addrs: Addrs,
}

/// Where the doors are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addrs {
    pub(super) http: Option<SocketAddr>,
    pub(super) native: Option<SocketAddr>,
    pub(super) faktory: Option<SocketAddr>,
    pub(super) gossip: Option<SocketAddr>,
}

impl Addrs {
    /// For people: HTTP, native, Faktory, gossip.
    pub(super) fn shown(&self) -> [String; 4] {
        let shown = |addr: Option<SocketAddr>| addr.map_or_else(|| "off".to_owned(), |addr| addr.to_string());
        [self.http, self.native, self.faktory, self.gossip].map(shown)
    }
}

impl LocalNode {
    /// Starts a node whose native connections come from `listener` at `addr`, and whose batches go to `writer`. The addresses
    /// and the store in `config` are not looked at: there is neither HTTP nor gossip.
    ///
    /// # Errors
    /// [`StartError`] when what the store holds cannot be read.
    pub async fn start<L: Listen>(
        config: NodeConfig,
        listener: L,
        addr: SocketAddr,
        writer: StoreWriter,
    ) -> Result<LocalNode, StartError> {
        // Only the simulation can reach a listener of its own.
        let config = NodeConfig {
            http: None,
            native: Some(addr),
            faktory: None,
            gossip: None,
            insecure_bind: true,
            ..config
        };
        let bound = Bound {
            http: None,
            native: Some((listener, addr)),
            faktory: None,
            tls: None,
            introductions: None,
        };
        // Where there are no descriptors they cannot run out.
        let doors = Doors::share(u64::from(u32::MAX));
        LocalNode::compose(config, doors, bound, writer, Membership::Joins).await
    }

    pub(super) async fn compose<L: Listen>(
        config: NodeConfig,
        doors: Doors,
        bound: Bound<L>,
        writer: StoreWriter,
        membership: Membership,
    ) -> Result<LocalNode, StartError> {
        let (clock, chance) = (config.clock.clone(), config.chance.clone());
        actix_rt::spawn(clock.clone().keep_pace());
        let node = name_of(&config, &writer, &chance).await?;
        let guards = guards(&config, &writer)?;
        let registry = recover(&config, &writer)?;
        let hub = hub(&config);
        let schedules = schedules::start(registry.clone(), writer.clone(), clock.clone(), chance.clone())?;
        let addrs = bound.addrs()?;
        let own = own_facts(&presence(addrs, config.advertise.as_deref()));
        let joined = membership.take(&config, &node, own, writer.store().epoch()).await?;
        let peers = peers(&joined, &node, &writer, &chance).await?;
        let Joined { cluster, seats, leaves, traffic, .. } = joined;
        cluster.tell(hub.clone());
        let budget = Arc::new(Budget::new(doors.native, config.memory.enqueue_bytes()));
        let phases = Phases::default();
        let polls = polls(&config, &registry, &hub, &phases);
        let desk = desk(&config, doors, &registry);
        let parts = Arc::new(ApiParts {
            registry: registry.clone(),
            hub: hub.clone(),
            polls,
            bulks: Bulks::new(registry.clone(), clock.clone()),
            faktory: desk.clone(),
            access: guards.0.clone(),
            audit: guards.1.clone(),
            schedules: schedules.clone(),
            cluster: cluster.clone(),
            seats,
            traffic,
            writer: writer.clone(),
            clock: clock.clone(),
            history: history(&registry, &clock),
            budget,
            node: node.clone(),
            started_at: clock.now().wall,
            stopping: AtomicBool::new(false),
            changes: TaskTracker::new(),
        });
        let api = ApiHandle::new(&parts);
        pulse(&parts);
        let sessions = sessions(&config, &parts, greeting(&config, node, &cluster), peers, &phases);
        let faktory = open_faktory(bound.faktory, desk, guards, &config, &phases).await?;
        let door = bound.native.map(|(listener, _)| session::open(listener, sessions));
        let (tls, introductions) = (bound.tls, bound.introductions);
        let entry = bound.http.map(|listener| http::Entry { listener, tls, introductions });
        let http = entry.map(|entry| serve_http(entry, &config, doors, &api, addrs.native)).transpose()?;
        let addrs = Addrs { gossip: cluster.addr(), ..addrs };
        Ok(LocalNode {
            api: parts,
            writer,
            registry,
            schedules,
            cluster,
            leaves,
            door,
            faktory,
            phases,
            http,
            addrs,
        })
    }

    /// Carries out requests without a socket.
    #[must_use]
    pub fn api(&self) -> ApiHandle {
        ApiHandle::new(&self.api)
    }

    /// The writer, whose stop blocks, so that it is stopped from outside.
    pub(super) fn writer(&self) -> &StoreWriter {
        &self.writer
    }

    /// Stops in order; see [`super`] for the order.
    pub async fn stop(&self) {
        // The order to stop may be among them, and would be given to the next owner again for want of an answer.
        let _ = timeout(ANSWER_PATIENCE, self.api.answered()).await;
        if let Some(door) = &self.door {
            door.drain();
        }
        if let Some(door) = &self.faktory {
            door.drain();
        }
        self.phases.draining.cancel();
        if let Some((server, dashboard)) = &self.http {
            dashboard.stop();
            server.stop(true).await;
        }
        self.schedules.stop().await;
        flush(&self.registry).await;
        self.api.stop();
        if let Some(door) = &self.faktory {
            door.close(CLOSE_PATIENCE).await;
        }
        if let Some(door) = &self.door {
            door.close(CLOSE_PATIENCE).await;
        }
        // What came in while the connections were closing.
        flush(&self.registry).await;
        if self.leaves {
            self.cluster.leave();
        }
    }
}

/// Who is let in, and what operators did; refuses doors that nothing guards.
fn guards(config: &NodeConfig, writer: &StoreWriter) -> Result<(Access, Audit), StartError> {
    let (clock, chance) = (config.clock.clone(), config.chance.clone());
    let access = Access::recover(writer.clone(), clock.clone(), chance, Roots::of(config))?;
    config.check_exposure(access.is_closed())?;
    Ok((access, Audit::recover(writer.clone(), clock)?))
}

fn history(registry: &Registry, clock: &Clock) -> History {
    let history = History::default();
    history.follow(registry.clone(), clock.clone());
    history
}

fn recover(config: &NodeConfig, writer: &StoreWriter) -> Result<Registry, StartError> {
    let parts = RegistryParts {
        writer: writer.clone(),
        clock: config.clock.clone(),
        chance: config.chance.clone(),
        lease_ms: config.lease_ms,
        resume_grace_ms: config.resume_grace_ms,
        memory: Shared::new(config.memory.window_bytes()),
    };
    Ok(Registry::recover(parts)?)
}

fn sessions(
    config: &NodeConfig,
    api: &Arc<ApiParts>,
    greeting: Greeting,
    peers: Option<Peers>,
    phases: &Phases,
) -> SessionParts {
    SessionParts {
        registry: api.registry.clone(),
        api: ApiHandle::new(api),
        hub: api.hub.clone(),
        clock: config.clock.clone(),
        chance: config.chance.clone(),
        greeting: Arc::new(greeting),
        peers,
        access: api.access.clone(),
        heartbeat_ms: config.heartbeat_ms,
        lease_ms: config.lease_ms,
        resume_grace_ms: config.resume_grace_ms,
        budget: Arc::clone(&api.budget),
        phases: phases.clone(),
    }
}

fn hub(config: &NodeConfig) -> Hub {
    Hub::start(HubParts {
        clock: config.clock.clone(),
        heartbeat_ms: config.heartbeat_ms,
        lease_ms: config.lease_ms,
        resume_grace_ms: config.resume_grace_ms,
    })
}

fn polls(config: &NodeConfig, registry: &Registry, hub: &Hub, phases: &Phases) -> Polls {
    Polls::open(PollParts {
        registry: registry.clone(),
        hub: hub.clone(),
        clock: config.clock.clone(),
        chance: config.chance.clone(),
        heartbeat_ms: config.heartbeat_ms,
        lease_ms: config.lease_ms,
        draining: phases.draining.clone(),
    })
}

fn desk(config: &NodeConfig, doors: Doors, registry: &Registry) -> Desk {
    Desk::new(DeskParts {
        registry: registry.clone(),
        clock: config.clock.clone(),
        chance: config.chance.clone(),
        lease_ms: config.lease_ms,
        connections_max: doors.faktory,
    })
}

async fn open_faktory(
    bound: Option<(Port, SocketAddr)>,
    desk: Desk,
    guards: (Access, Audit),
    config: &NodeConfig,
    phases: &Phases,
) -> Result<Option<Door>, StartError> {
    let Some((listener, _)) = bound else { return Ok(None) };
    let adopted = desk.adopt().await;
    adopted.map_err(|e| StartError::Failed(format!("the reserved jobs cannot be read: {e}")))?;
    let parts = FaktoryParts::new(desk, config.faktory_password.clone(), guards, phases.clone());
    Ok(Some(faktory::open(listener, parts)))
}

pub(super) async fn gossip(config: &NodeConfig, node: &str, facts: Facts) -> Result<Cluster, StartError> {
    let Some(listen) = config.gossip else { return Ok(Cluster::alone(&config.cluster, facts)) };
    let (cluster, seeds) = (config.cluster.clone(), config.seeds.clone());
    let advertise = config.advertise.clone();
    let gossip = GossipConfig { listen, advertise, cluster, seeds, node: node.to_owned(), facts };
    Ok(Cluster::open(gossip, config.clock.clone()).await?)
}

/// Where others reach what listens at `addr`: at `host` if it is given.
pub(super) fn reached(addr: SocketAddr, host: Option<&str>) -> String {
    match host {
        // An address of version 6 without brackets.
        Some(host) if host.parse::<Ipv6Addr>().is_ok() => format!("[{host}]:{}", addr.port()),
        Some(host) => format!("{host}:{}", addr.port()),
        None => addr.to_string(),
    }
}

/// What the node says of itself. A server on an engine that is opened once owns what there is as soon as it can say so.
pub(super) fn own_facts(presence: &Presence) -> Facts {
    let Presence { http, native, faktory } = presence.clone();
    let doors = [(facts::HTTP, http), (facts::NATIVE, native), (facts::FAKTORY, faktory)];
    let words = [
        (facts::ROLE, facts::SERVER.to_owned()),
        (facts::VERSION, env!("CARGO_PKG_VERSION").to_owned()),
        (facts::SEAT, NodeState::Owner.name().to_owned()),
    ];
    let doors = doors.into_iter().filter_map(|(door, addr)| Some((door, addr?)));
    doors.chain(words).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Tells other nodes that this one lives, where there can be others.
fn pulse(parts: &Arc<ApiParts>) {
    if parts.seats.is_alone() {
        return;
    }
    let weak = Arc::downgrade(parts);
    keep_pulse(parts.cluster.clone(), parts.clock.clone(), async move || {
        let parts = weak.upgrade()?;
        parts.load().await.ok()
    });
}

fn greeting(config: &NodeConfig, node: String, cluster: &Cluster) -> Greeting {
    Greeting {
        server: concat!("windlass/", env!("CARGO_PKG_VERSION")).to_owned(),
        node,
        // Through a relay, the address that a worker has reached is not this node's.
        gossip_addr: cluster
            .addr()
            .map(|addr| reached(addr, config.advertise.as_deref()))
            .unwrap_or_default(),
        cluster: config.cluster.clone(),
    }
}

fn serve_http(
    entry: http::Entry,
    config: &NodeConfig,
    doors: Doors,
    api: &ApiHandle,
    native: Option<SocketAddr>,
) -> Result<(ServerHandle, Dashboard), StartError> {
    let options = Options {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hosts: config.hosts.iter().chain(&config.advertise).cloned().collect(),
        read_only: config.read_only_dashboard,
        badge: config.badge.clone(),
        native_addr: native
            .map(|addr| if entry.tls.is_some() { format!("tls://{addr}") } else { addr.to_string() }),
        tls: entry.tls.is_some(),
    };
    let dashboard = Dashboard::new(Arc::new(api.clone()), options);
    let handle = http::serve(entry, doors.http, &dashboard)?;
    Ok((handle, dashboard))
}

/// The name that was given, or the one that the store remembers.
async fn name_of(config: &NodeConfig, writer: &StoreWriter, chance: &Chance) -> Result<String, StartError> {
    match &config.name {
        Some(name) => Ok(name.to_string()),
        None => node_id(writer, chance).await,
    }
}

/// The node's stable id, made at the first start of the store.
async fn node_id(writer: &StoreWriter, chance: &Chance) -> Result<String, StartError> {
    let made = format!("node-{:016x}", chance.u64());
    let id = remembered(writer, "node", made.into()).await?;
    Ok(String::from_utf8_lossy(&id).into_owned())
}

/// What clients are told of the nodes, where there can be others.
async fn peers(
    joined: &Joined,
    node: &str,
    writer: &StoreWriter,
    chance: &Chance,
) -> Result<Option<Peers>, StartError> {
    let Some(others) = joined.others.clone() else { return Ok(None) };
    let made = Bytes::copy_from_slice(&chance.u128().to_be_bytes());
    let cluster = remembered(writer, "cluster", made).await?;
    let cluster = cluster.as_ref().try_into().map_err(|_| {
        StartError::Failed(format!("the cluster's id has {} bytes and not 16", cluster.len()))
    })?;
    let native = joined.cluster.facts().get(facts::NATIVE).cloned().unwrap_or_default();
    Ok(Some(Peers { cluster, owner: NodeAt { name: node.to_owned(), native }, others }))
}

/// What the store has under this name; `made` from now on, if it has nothing.
async fn remembered(writer: &StoreWriter, name: &str, made: Bytes) -> Result<Bytes, StartError> {
    let key = meta_key(name);
    let failed =
        |error: String| StartError::Failed(format!("the {name}'s id cannot be read or written: {error}"));
    if let Some(value) = writer.store().get(&key).map_err(|e| failed(e.to_string()))? {
        return Ok(value);
    }
    let put = Write::Put { key, value: made.clone() };
    writer.write(vec![put], true).await.map_err(|e| failed(e.to_string()))?;
    Ok(made)
}

async fn flush(registry: &Registry) {
    let queues = registry.all();
    let flushes = join_all(queues.iter().map(|queue| queue.ask(|then| Op::Flush { then })));
    match timeout(FLUSH_PATIENCE, flushes).await {
        Ok(results) => {
            for error in results.into_iter().filter_map(Result::err) {
                tracing::warn!(%error, "a queue could not make everything durable");
            }
        }
        Err(_) => {
            tracing::warn!("queues did not make everything durable in time; what was confirmed is safe");
        }
    }
}
