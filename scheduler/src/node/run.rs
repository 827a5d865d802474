//! The life of a node on its thread.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer};
use futures_util::future::join_all;
use tokio::sync::watch;
use windlass_core::store::keys::meta_key;
use windlass_core::store::{Batch, Write};
use windlass_dashboard::{Dashboard, Options};

use super::descriptors::{Doors, HTTP_WORKERS, raise_limit};
use super::{NodeConfig, StartError};
use crate::api::{ApiHandle, ApiParts, History};
use crate::cluster::{Cluster, GossipConfig};
use crate::queue::{Op, Registry, RegistryParts};
use crate::schedules;
use crate::session::{Budget, Door, Greeting, Hub, HubParts, NativePort, Phases, SessionParts};
use crate::store::writer::StoreWriter;

/// Time that HTTP requests have to finish when the node stops, in seconds.
const HTTP_SHUTDOWN_S: u64 = 5;
/// Time that a client has to send the head of an HTTP request.
const HTTP_HEAD: Duration = Duration::from_secs(10);
/// Time that queues have to make durable what they have taken on.
const FLUSH_PATIENCE: Duration = Duration::from_secs(10);
/// Time that native connections have to take their last frames.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);
/// Threads for reads of the store; more would only queue at the disk.
const BLOCKING_THREADS: usize = 8;

/// What the node is to do; later ones win.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    Run,
    Stop,
    Kill,
}

/// What a start has brought about.
pub(super) struct Started {
    pub http: Option<SocketAddr>,
    pub native: Option<SocketAddr>,
    pub gossip: Option<SocketAddr>,
    pub api: ApiHandle,
}

type Ready = SyncSender<Result<Started, StartError>>;

/// Runs a node to its end.
pub(super) fn run(config: NodeConfig, ready: Ready, orders: watch::Receiver<Order>) {
    let doors = Doors::share(raise_limit());
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .build()
            .expect("the system has given this thread, and gives it a runtime")
    };
    let system = actix_rt::System::with_tokio_rt(runtime);
    let writer = system.block_on(live(config, doors, ready, orders));
    // Everything that holds the store goes before it is closed.
    drop(system);
    if let Some(writer) = writer
        && let Err(error) = writer.stop()
    {
        tracing::error!(%error, "the store was not closed in order; nothing confirmed is lost");
    }
    tracing::info!("node stopped");
}

/// The doors, bound but not open.
struct Bound {
    http: Option<TcpListener>,
    native: Option<NativePort>,
}

/// Everything of a running node that its stop needs.
struct Parts {
    api: Arc<ApiParts>,
    writer: StoreWriter,
    registry: Registry,
    schedules: schedules::Handle,
    cluster: Cluster,
    door: Option<Door>,
    phases: Phases,
    http: Option<(ServerHandle, Dashboard)>,
}

/// Starts, waits for an order, stops. Returns the writer, whose stop blocks.
async fn live(
    config: NodeConfig,
    doors: Doors,
    ready: Ready,
    mut orders: watch::Receiver<Order>,
) -> Option<StoreWriter> {
    let (parts, started) = match start(config, doors).await {
        Ok(running) => running,
        Err((error, writer)) => {
            // Whoever started the node waits for this, or is gone.
            let _ = ready.send(Err(error));
            return writer;
        }
    };
    let text = |addr: Option<SocketAddr>| addr.map_or_else(|| "off".to_owned(), |addr| addr.to_string());
    let (http, native, gossip) = (text(started.http), text(started.native), text(started.gossip));
    tracing::info!(node = parts.api.node, http, native, gossip, "node started");
    let writer = parts.writer.clone();
    if ready.send(Ok(started)).is_err() {
        return Some(writer);
    }
    // A closed channel means that the handle is gone, which ends the node as well.
    let ordered =
        async { orders.wait_for(|order| *order > Order::Run).await.map_or(Order::Kill, |order| *order) };
    let order = tokio::select! {
        biased;
        order = ordered => order,
        () = writer.lifelines().cut() => Order::Kill,
    };
    if order == Order::Stop {
        tracing::info!("node stopping");
        let mut killed = orders.clone();
        tokio::select! {
            biased;
            _ = killed.wait_for(|order| *order == Order::Kill) => {}
            () = stop(&parts) => {}
        }
    }
    if let Some((server, dashboard)) = &parts.http {
        dashboard.stop();
        // After an orderly stop this finds nothing to do; after a kill it ends the HTTP threads.
        let _ = tokio::time::timeout(Duration::from_secs(1), server.stop(false)).await;
    }
    Some(writer)
}

async fn start(
    config: NodeConfig,
    doors: Doors,
) -> Result<(Parts, Started), (StartError, Option<StoreWriter>)> {
    let bound = bind(&config).map_err(|error| (error, None))?;
    let store = crate::store::open(&config.store).map_err(|error| (error.into(), None))?;
    let writer = StoreWriter::start(store).map_err(|error| (error.into(), None))?;
    compose(config, doors, bound, writer.clone()).await.map_err(|error| (error, Some(writer)))
}

fn bind(config: &NodeConfig) -> Result<Bound, StartError> {
    let failed = |door, addr| move |source| StartError::Bind { door, addr, source };
    let http = match config.http {
        Some(addr) => Some(bind_http(addr).map_err(failed("HTTP", addr))?),
        None => None,
    };
    let native = match config.native {
        Some(addr) => Some(NativePort::bind(addr).map_err(failed("the native port", addr))?),
        None => None,
    };
    Ok(Bound { http, native })
}

fn bind_http(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::STREAM, None)?;
    // A restart must not wait until connections of the last run are forgotten by the system.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(1_024)?;
    Ok(socket.into())
}

async fn compose(
    config: NodeConfig,
    doors: Doors,
    bound: Bound,
    writer: StoreWriter,
) -> Result<(Parts, Started), StartError> {
    let clock = config.clock.clone();
    actix_rt::spawn(clock.clone().keep_pace());
    let node = node_id(&writer)?;
    let registry = Registry::recover(RegistryParts {
        writer: writer.clone(),
        clock: clock.clone(),
        lease_ms: config.lease_ms,
        resume_grace_ms: config.resume_grace_ms,
    })?;
    let hub = Hub::start(HubParts {
        clock: clock.clone(),
        heartbeat_ms: config.heartbeat_ms,
        lease_ms: config.lease_ms,
        resume_grace_ms: config.resume_grace_ms,
    });
    let schedules = schedules::start(registry.clone(), writer.clone(), clock.clone())?;
    let http_addr = bound.http.as_ref().map(TcpListener::local_addr).transpose()?;
    let native_addr = bound.native.as_ref().map(NativePort::addr);
    let cluster = match config.gossip {
        Some(listen) => {
            let facts = facts(http_addr, native_addr);
            let (cluster, seeds) = (config.cluster.clone(), config.seeds.clone());
            let gossip = GossipConfig { listen, cluster, seeds, node: node.clone(), facts };
            Cluster::join(gossip, clock.clone(), hub.clone()).await?
        }
        None => Cluster::alone(),
    };
    let budget = Arc::new(Budget::new(doors.native));
    let history = History::default();
    history.follow(registry.clone(), clock.clone());
    let parts = Arc::new(ApiParts {
        registry: registry.clone(),
        hub: hub.clone(),
        schedules: schedules.clone(),
        cluster: cluster.clone(),
        writer: writer.clone(),
        clock: clock.clone(),
        history,
        budget: Arc::clone(&budget),
        node: node.clone(),
        started_at: clock.now().wall,
        stopping: AtomicBool::new(false),
    });
    let api = ApiHandle::new(&parts);
    let phases = Phases::default();
    let sessions = SessionParts {
        registry: registry.clone(),
        api: api.clone(),
        hub,
        clock,
        greeting: Arc::new(greeting(&config, node, &cluster)),
        tokens: Arc::new(config.tokens.clone()),
        heartbeat_ms: config.heartbeat_ms,
        lease_ms: config.lease_ms,
        resume_grace_ms: config.resume_grace_ms,
        budget,
        phases: phases.clone(),
    };
    let door = bound.native.map(|port| port.open(sessions));
    let http =
        bound.http.map(|listener| serve_http(listener, &config, doors, &api, native_addr)).transpose()?;
    let started = Started { http: http_addr, native: native_addr, gossip: cluster.addr(), api };
    Ok((Parts { api: parts, writer, registry, schedules, cluster, door, phases, http }, started))
}

fn facts(http: Option<SocketAddr>, native: Option<SocketAddr>) -> Vec<(String, String)> {
    let mut facts = vec![
        ("role".to_owned(), "server".to_owned()),
        ("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ];
    facts.extend(http.map(|addr| ("http".to_owned(), addr.to_string())));
    facts.extend(native.map(|addr| ("native".to_owned(), addr.to_string())));
    facts
}

fn greeting(config: &NodeConfig, node: String, cluster: &Cluster) -> Greeting {
    Greeting {
        server: concat!("windlass/", env!("CARGO_PKG_VERSION")).to_owned(),
        node,
        gossip_addr: cluster.addr().map(|addr| addr.to_string()).unwrap_or_default(),
        cluster: config.cluster.clone(),
    }
}

fn serve_http(
    listener: TcpListener,
    config: &NodeConfig,
    doors: Doors,
    api: &ApiHandle,
    native: Option<SocketAddr>,
) -> Result<(ServerHandle, Dashboard), StartError> {
    let options = Options {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        read_only: config.read_only_dashboard,
        badge: config.badge.clone(),
        native_addr: native.map(|addr| addr.to_string()),
        ..Options::default()
    };
    let dashboard = Dashboard::new(Arc::new(api.clone()), options);
    let pages = dashboard.clone();
    let server = HttpServer::new(move || {
        let pages = pages.clone();
        App::new().configure(move |cfg| pages.configure(cfg))
    })
    .workers(HTTP_WORKERS)
    .max_connections(doors.http)
    .shutdown_timeout(HTTP_SHUTDOWN_S)
    .client_request_timeout(HTTP_HEAD)
    .disable_signals()
    .listen(listener)?
    .run();
    let handle = server.handle();
    actix_rt::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "HTTP ended");
        }
    });
    Ok((handle, dashboard))
}

/// The node's stable id, made at the first start of the store.
fn node_id(writer: &StoreWriter) -> Result<String, StartError> {
    let key = meta_key("node");
    let failed =
        |error: String| StartError::Failed(format!("the node's id cannot be read or written: {error}"));
    if let Some(value) = writer.store().get(&key).map_err(|e| failed(e.to_string()))? {
        return Ok(String::from_utf8_lossy(&value).into_owned());
    }
    let id = format!("node-{:016x}", rand::random::<u64>());
    let batch =
        Batch { writes: vec![Write::Put { key, value: id.clone().into() }], settles: true, queue: None };
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let done = Box::new(move |result| {
        // The other side waits until this is sent.
        let _ = tell.send(result);
    });
    writer.submit(batch, done).map_err(|e| failed(e.to_string()))?;
    told.recv().map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
    Ok(id)
}

/// The orderly stop; see the module above for the order.
async fn stop(parts: &Parts) {
    if let Some(door) = &parts.door {
        door.drain();
    }
    parts.phases.draining.cancel();
    if let Some((server, dashboard)) = &parts.http {
        dashboard.stop();
        server.stop(true).await;
    }
    parts.schedules.stop().await;
    flush(&parts.registry).await;
    parts.api.stop();
    if let Some(door) = &parts.door {
        door.close(CLOSE_PATIENCE).await;
    }
    // What came in while the connections were closing.
    flush(&parts.registry).await;
    parts.cluster.leave();
}

async fn flush(registry: &Registry) {
    let queues = registry.all();
    let flushes = join_all(queues.iter().map(|queue| queue.ask(|then| Op::Flush { then })));
    match tokio::time::timeout(FLUSH_PATIENCE, flushes).await {
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
