//! The life of a node that shares its store with others: it watches, owns the shard for a term, and watches again.
//!
//! ```text
//!            ┌──────────── claim ─────────────┐
//!        watching                           owning
//!   relays at the ports,             a thread with everything a
//!   the shard's row is read          single node has, at the same ports
//!            └─ fenced, failed, drained ──────┘
//! ```
//!
//! Ports are bound once and stay bound: peers that come between two terms wait a moment. The gossip goes on through all terms.

use std::collections::BTreeSet;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use windlass_core::api::NodeState;
use windlass_core::cluster::{Decision, Nonce, Signs, Standby, Timing};
use windlass_core::id::NodeName;
use windlass_core::limits;
use windlass_core::store::{Epoch, Store};
use windlass_core::time::Mono;

use super::board::{Board, drained, keep_board, read_board};
use super::descriptors::{Doors, raise_limit};
use super::kin::Kin;
use super::knock::Knocks;
use super::local::{Addrs, LocalNode, Membership, gossip, own_facts};
use super::ports::{House, Ports, Relays, presence};
use super::run::{Order, Started, current_thread, serve};
use super::{NodeConfig, StartError};
use crate::api::ApiHandle;
use crate::cluster::{Cluster, Load, facts, keep_pulse};
use crate::door::{IntroductionKey, Introductions};
use crate::relay::Traffic;
use crate::store::postgres::database::{Database, DbError, Session};
use crate::store::postgres::seat::{self, SeatRow};
use crate::store::postgres::{ClaimError, Claimant, PgStore, SHARD, Unfit, prepare};
use crate::store::writer::StoreWriter;

/// How long a start waits for the database.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Wait before the database is tried again at start.
const START_AGAIN: Duration = Duration::from_millis(500);
/// Wait after a term that could not begin; somebody else may have more luck.
const AFTER_FAILURE_MS: u64 = 5_000;
/// How often an owner is looked at from outside.
const LOOK: Duration = Duration::from_millis(50);

type Ready = SyncSender<Result<Started, StartError>>;

/// What stays the same through all terms.
struct Life {
    config: NodeConfig,
    doors: Doors,
    ports: Ports,
    cluster: Cluster,
    database: Database,
    session: Arc<tokio::sync::Mutex<Session>>,
    who: Claimant,
    api: Arc<RwLock<ApiHandle>>,
    orders: watch::Receiver<Order>,
    board: Board,
    house: House,
    kin: Kin,
}

/// Why watching has ended.
enum Watched {
    /// Nobody owns the shard any more, by this reading.
    Claim {
        row: SeatRow,
        why: String,
    },
    Ordered(Order),
}

/// How a term has ended.
enum Ended {
    Ordered(Order),
    /// It was told to give the shard up.
    Drained {
        hold: Duration,
    },
    /// It did not begin, or not go on.
    Lost,
}

/// Runs a node to its end.
pub(super) fn run(config: NodeConfig, ready: Ready, orders: watch::Receiver<Order>) {
    let system = actix_rt::System::with_tokio_rt(current_thread);
    system.block_on(async {
        match Life::begin(config, orders).await {
            Ok(life) => life.live(ready).await,
            // Whoever started the node waits for this, or is gone.
            Err(error) => drop(ready.send(Err(error))),
        }
    });
}

impl Life {
    async fn begin(config: NodeConfig, mut orders: watch::Receiver<Order>) -> Result<Life, StartError> {
        let doors = Doors::share(raise_limit());
        let ports = Ports::bind(&config)?;
        let name = node_name(&config, &ports)?;
        let url = config.store.database.clone();
        let url = url.ok_or_else(|| StartError::Failed("no database is named".to_owned()))?;
        let database = Database::new(url).map_err(StartError::Failed)?;
        let session = Arc::new(tokio::sync::Mutex::new(Session::new(database.clone())));
        tokio::select! {
            biased;
            _ = orders.wait_for(|order| *order > Order::Run) => {
                return Err(StartError::Failed("it was stopped before it was ready".to_owned()));
            }
            prepared = prepared(&database, &session) => prepared?,
        }
        let presence = presence(ports.addrs, config.advertise.as_deref());
        let cluster = gossip(&config, name.as_str(), own_facts(&presence)).await?;
        let kin = Kin::keep(cluster.clone(), name.clone());
        let (node, traffic, clock) = (name.as_str().into(), Traffic::default(), config.clock.clone());
        let house = House { node, traffic, clock };
        let who = Claimant { name, presence, shard: SHARD };
        let (api, board) = (Arc::default(), Board::new());
        Ok(Life { config, doors, ports, cluster, database, session, who, api, orders, board, kin, house })
    }

    async fn live(mut self, ready: Ready) {
        let mut ready = Some(ready);
        // Through all terms: the clock stands still when nobody notes that the node runs, and a term's own note ends with it.
        actix_rt::spawn(self.config.clock.clone().keep_pace());
        let mut standby = Standby::new(self.who.name.clone(), SHARD, Timing::default());
        let [http, native, faktory, gossip] = self.addrs().shown();
        let database = self.database.place();
        tracing::info!(node = %self.who.name, http, native, faktory, gossip, database, "node started");
        loop {
            let order = match self.watch(&mut standby, &mut ready).await {
                Watched::Ordered(order) => order,
                Watched::Claim { row, why } => match self.own(&row, &why, &mut ready).await {
                    Ended::Ordered(order) => order,
                    Ended::Drained { hold } => {
                        standby.hold_until(self.later(hold));
                        Order::Run
                    }
                    Ended::Lost => {
                        // A claim without an answer may have gone through.
                        standby.unreadable();
                        standby.hold_until(self.later(Duration::from_millis(AFTER_FAILURE_MS)));
                        Order::Run
                    }
                },
            };
            if order > Order::Run {
                break;
            }
        }
        self.cluster.leave();
        tracing::info!("node stopped");
    }

    fn later(&self, time: Duration) -> Mono {
        let now = self.config.clock.now().mono;
        Mono(now.0 + u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    fn addrs(&self) -> Addrs {
        Addrs { gossip: self.cluster.addr(), ..self.ports.addrs }
    }

    fn tell(&self, ready: &mut Option<Ready>) -> bool {
        let started = Started { addrs: self.addrs(), api: Arc::clone(&self.api) };
        ready.take().is_none_or(|ready| ready.send(Ok(started)).is_ok())
    }

    /// Carries connections to the owner and reads the shard's row until it is this node's turn.
    async fn watch(&mut self, standby: &mut Standby, ready: &mut Option<Ready>) -> Watched {
        let relays = Relays::open(&self.ports, self.doors, &self.house);
        self.show(NodeState::Standby, 0);
        let watching = CancellationToken::new();
        let _ended = watching.clone().drop_guard();
        let traffic = self.house.traffic.clone();
        keep_pulse(self.cluster.clone(), self.config.clock.clone(), async move || {
            let load = Load { connections: traffic.connections(), ..Load::default() };
            (!watching.is_cancelled()).then_some(load)
        });
        let mut orders = self.orders.clone();
        let watched = tokio::select! {
            biased;
            order = orders.wait_for(|order| *order > Order::Run) => {
                Watched::Ordered(order.map_or(Order::Kill, |order| *order))
            }
            watched = self.watch_row(standby, &relays, ready) => watched,
        };
        relays.close().await;
        watched
    }

    async fn watch_row(&self, standby: &mut Standby, relays: &Relays, ready: &mut Option<Ready>) -> Watched {
        let mut tick = tokio::time::interval(Duration::from_millis(limits::SEAT_READ_MS));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut first, mut said) = (None, false);
        let mut knocks = Knocks::default();
        loop {
            tick.tick().await;
            let asked = self.config.clock.now().mono;
            let row = match self.read().await {
                Ok(row) => row,
                Err(error) => {
                    standby.unreadable();
                    tracing::debug!(%error, "the shard's row cannot be read");
                    continue;
                }
            };
            self.kin.read(row.nonce);
            let now = self.config.clock.now().mono;
            relays.follow(&row, &self.who.name);
            let signs = self.signs(&row, standby.doubts(now), &mut knocks).await;
            let decision = standby.observe(asked, now, &row.seat, &signs);
            let lives = *first.get_or_insert(row.seat.beat) != row.seat.beat;
            let namesake = row.seat.owner.as_ref() == Some(&self.who.name);
            if namesake && lives && !std::mem::replace(&mut said, true) {
                let text =
                    "another server has this node's name and owns the shard; give one of them another --name";
                tracing::error!(node = %self.who.name, text);
            }
            if let Decision::Claim { .. } = decision {
                let why = match &row.seat.owner {
                    None if row.seat.epoch == 0 => "nobody had ever owned it".to_owned(),
                    None => "it had been given up".to_owned(),
                    Some(owner) if *owner == self.who.name => "this node was its owner before".to_owned(),
                    Some(owner) => format!("{owner} was silent for {} ms", standby.silence_ms(now)),
                };
                return Watched::Claim { row, why };
            }
            // Somebody was seen to serve, so this node does, too.
            if lives && row.seat.owner.is_some() && !namesake && !self.tell(ready) {
                return Watched::Ordered(Order::Kill);
            }
        }
    }

    async fn read(&self) -> Result<SeatRow, DbError> {
        let session = Arc::clone(&self.session);
        let row =
            self.database.run(async move { seat::read(&mut *session.lock().await, SHARD).await }).await?;
        row.ok_or_else(|| DbError::Refused("the table of shards is empty".to_owned()))
    }

    /// What is known of the others; while there is doubt of the owner, its port is knocked at, too.
    async fn signs(&self, row: &SeatRow, doubt: bool, knocks: &mut Knocks) -> Signs {
        let other = row.seat.owner.as_ref().is_some_and(|owner| *owner != self.who.name);
        let refused = match row.presence.any() {
            Some(door) if doubt && other => knocks.find_closed(door).await,
            _ => {
                knocks.forget();
                false
            }
        };
        Signs { alive: self.alive(), refused }
    }

    /// The live servers by the gossip, this one included.
    fn alive(&self) -> BTreeSet<NodeName> {
        let servers = self.cluster.members().into_iter().filter(|member| member.role == "server");
        let mut alive: BTreeSet<_> = servers.filter_map(|member| NodeName::new(&member.id).ok()).collect();
        alive.insert(self.who.name.clone());
        alive
    }

    /// Takes the shard and serves until an order, or until the shard is somebody else's.
    async fn own(&mut self, row: &SeatRow, why: &str, ready: &mut Option<Ready>) -> Ended {
        let nonce = Nonce(self.config.chance.u128());
        let (database, who, bounds) = (self.database.clone(), self.who.clone(), self.config.store.bounds());
        let (seat, reason) = (row.seat.clone(), why.to_owned());
        let claim = move || PgStore::claim(&database, &who, &seat, nonce, bounds, &reason);
        let store = match tokio::task::spawn_blocking(claim).await {
            Ok(Ok(store)) => Arc::new(store),
            Ok(Err(ClaimError::Raced)) => return Ended::Ordered(Order::Run),
            Ok(Err(error)) => {
                tracing::error!(%error, "the shard was not taken");
                return Ended::Lost;
            }
            Err(error) => {
                tracing::error!(%error, "the shard was not taken");
                return Ended::Lost;
            }
        };
        self.kin.read(nonce);
        read_board(&self.board.publish, &self.session, &self.database).await;
        // Relays may not have heard of this claim yet.
        let keys = [Some(nonce), row.introduced_with].into_iter().flatten().map(IntroductionKey::from);
        match self.term(&store, Introductions::new(keys, self.config.clock.clone())) {
            Ok(term) => self.serve(&store, term, ready).await,
            Err(error) => {
                tracing::error!(%error, "the node could not take the shard's work up");
                Ended::Lost
            }
        }
    }

    /// Tells the others what this node does.
    fn show(&self, state: NodeState, epoch: Epoch) {
        self.cluster.set_all([
            (facts::SEAT, state.name().to_owned()),
            (facts::EPOCH, epoch.to_string()),
            (facts::SINCE, self.config.clock.now().wall.0.to_string()),
        ]);
    }

    /// Starts the thread with everything an owner has.
    fn term(&self, store: &Arc<PgStore>, introductions: Introductions) -> Result<Term, StartError> {
        let bound = self.ports.share()?;
        let writer = StoreWriter::bounded(Arc::clone(store) as _, self.config.memory.waiting_bytes())?;
        let config = NodeConfig { name: Some(self.who.name.clone()), ..self.config.clone() };
        let (doors, cluster) = (self.doors, self.cluster.clone());
        let (seats, others) = (self.board.seats.clone(), self.kin.others());
        let traffic = self.house.traffic.clone();
        let (orders, ordered) = watch::channel(Order::Run);
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (tell_ended, ended) = watch::channel(false);
        let thread = std::thread::Builder::new().name("windlass-owner".to_owned()).spawn(move || {
            let system = actix_rt::System::with_tokio_rt(current_thread);
            system.block_on(async {
                let bound = match bound.adopt(Some(&introductions)) {
                    Ok(bound) => bound,
                    Err(error) => return drop(begun.send(Err(error.into()))),
                };
                let membership = Membership::Member { cluster, seats, others, traffic };
                match LocalNode::compose(config, doors, bound, writer.clone(), membership).await {
                    Ok(node) => {
                        // The other side is there until this thread ends.
                        let _ = begun.send(Ok(node.api()));
                        serve(&node, &writer, ordered).await;
                    }
                    Err(error) => drop(begun.send(Err(error))),
                }
            });
            // Everything that holds the store goes before it is closed.
            drop(system);
            if let Err(error) = writer.stop() {
                tracing::warn!(%error, "the shard was not given up in order; nothing confirmed is lost");
            }
            tell_ended.send_replace(true);
        })?;
        Ok(Term { orders, begun: has_begun, ended, thread })
    }

    async fn serve(&mut self, store: &Arc<PgStore>, term: Term, ready: &mut Option<Ready>) -> Ended {
        let Term { orders, begun, mut ended, thread } = term;
        let began = match begun.await {
            Ok(Ok(api)) => {
                *self.api.write().unwrap_or_else(PoisonError::into_inner) = api;
                self.tell(ready)
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the node could not take the shard's work up");
                orders.send_replace(Order::Kill);
                true
            }
            Err(_) => true,
        };
        self.show(NodeState::Owner, store.epoch());
        let mut own_orders = self.orders.clone();
        let mut result = Ended::Lost;
        let (cluster, me) = (self.cluster.clone(), self.who.name.clone());
        let (drains, publish) = (&mut self.board.drains, &self.board.publish);
        let published = keep_board(publish, &self.session, &self.database);
        let failed = async {
            while store.failure().is_none() {
                tokio::time::sleep(LOOK).await;
            }
        };
        if began {
            tokio::select! {
                biased;
                order = own_orders.wait_for(|order| *order > Order::Run) => {
                    result = Ended::Ordered(order.map_or(Order::Kill, |order| *order));
                }
                _ = ended.wait_for(|ended| *ended) => {}
                hold = drained(drains, &cluster, &me) => result = Ended::Drained { hold },
                never = published => match never {},
                () = failed => tracing::warn!("the shard is not ours any more; this node stands by"),
            }
        } else {
            result = Ended::Ordered(Order::Kill);
        }
        // In order when it is asked for, at once when the shard is lost.
        let order = match &result {
            Ended::Ordered(order) => *order,
            Ended::Drained { .. } => Order::Stop,
            Ended::Lost => Order::Kill,
        };
        if order == Order::Stop {
            self.show(NodeState::Draining, store.epoch());
        }
        orders.send_replace(order);
        let mut killed = self.orders.clone();
        let kill = tokio::select! {
            biased;
            _ = ended.wait_for(|ended| *ended) => false,
            _ = killed.wait_for(|order| *order == Order::Kill) => true,
        };
        if kill {
            orders.send_replace(Order::Kill);
            // An error means that it has ended.
            let _ = ended.wait_for(|ended| *ended).await;
        }
        *self.api.write().unwrap_or_else(PoisonError::into_inner) = ApiHandle::default();
        if thread.join().is_err() {
            tracing::error!("the owner's thread has panicked; this node stands by");
        }
        result
    }
}

/// A term under way.
struct Term {
    orders: watch::Sender<Order>,
    begun: tokio::sync::oneshot::Receiver<Result<ApiHandle, StartError>>,
    ended: watch::Receiver<bool>,
    thread: std::thread::JoinHandle<()>,
}

/// Tables are there, and nothing about the database breaks a promise. A database that is away is waited for.
async fn prepared(database: &Database, session: &Arc<tokio::sync::Mutex<Session>>) -> Result<(), StartError> {
    let place = database.place();
    let refuse = |error: &dyn std::fmt::Display| StartError::Database(format!("{place}: {error}"));
    let deadline = tokio::time::Instant::now() + START_PATIENCE;
    let mut said = false;
    loop {
        let theirs = Arc::clone(session);
        let tried = database.run(async move { Ok(prepare(&mut *theirs.lock().await).await) }).await;
        match tried.map_err(|e| refuse(&e))? {
            Ok(()) => return Ok(()),
            Err(Unfit::Db(error @ (DbError::Away(_) | DbError::Lost(_))))
                if tokio::time::Instant::now() < deadline =>
            {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!(%error, database = place, "waiting for the database");
                }
                tokio::time::sleep(START_AGAIN).await;
            }
            Err(error) => return Err(refuse(&error)),
        }
    }
}

/// The name that was given, or one that stays the same on this machine at this port.
fn node_name(config: &NodeConfig, ports: &Ports) -> Result<NodeName, StartError> {
    if let Some(name) = &config.name {
        return Ok(name.clone());
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let port = ports.addrs.native.map_or(0, |addr| addr.port());
    let host: String =
        host.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).take(48).collect();
    let name = format!("{}:{port}", if host.is_empty() { "node" } else { &host });
    NodeName::new(&name).map_err(|error| StartError::Failed(format!("the node's name {name}: {error}")))
}
