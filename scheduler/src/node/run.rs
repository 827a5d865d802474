//! The life of a node on its thread.

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use super::descriptors::{Doors, raise_limit};
use super::local::{Addrs, LocalNode, Membership};
use super::ports::Ports;
use super::{NodeConfig, StartError, terms};
use crate::api::ApiHandle;
use crate::store::Engine;
use crate::store::writer::StoreWriter;

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
    pub addrs: Addrs,
    /// The way to the dispatcher; one that answers nothing while another node owns the store.
    pub api: Arc<RwLock<ApiHandle>>,
}

type Ready = SyncSender<Result<Started, StartError>>;

/// The runtime of a thread with an arbiter.
pub(super) fn current_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .expect("the system has given this thread, and gives it a runtime")
}

/// Runs a node to its end.
pub(super) fn run(config: NodeConfig, ready: Ready, orders: watch::Receiver<Order>) {
    if config.store.engine == Engine::Postgres {
        return terms::run(config, ready, orders);
    }
    let doors = Doors::share(raise_limit());
    let system = actix_rt::System::with_tokio_rt(current_thread);
    let (started, writer) = system.block_on(live(config, doors, ready, orders));
    // Everything that holds the store goes before it is closed.
    drop(system);
    if let Some(writer) = writer
        && let Err(error) = writer.stop()
    {
        tracing::error!(%error, "the store was not closed in order; nothing confirmed is lost");
    }
    // A start that was refused has nothing to say but why.
    if started {
        tracing::info!("node stopped");
    }
}

/// Starts, waits for an order, stops. Returns whether it had started, and the writer, whose stop blocks.
async fn live(
    config: NodeConfig,
    doors: Doors,
    ready: Ready,
    orders: watch::Receiver<Order>,
) -> (bool, Option<StoreWriter>) {
    let node = match start(config, doors).await {
        Ok(node) => node,
        Err((error, writer)) => {
            // Whoever started the node waits for this, or is gone.
            let _ = ready.send(Err(error));
            return (false, writer);
        }
    };
    let addrs = node.addrs;
    let [http, native, faktory, gossip] = addrs.shown();
    tracing::info!(node = node.api.node, http, native, faktory, gossip, "node started");
    let writer = node.writer().clone();
    let api = Arc::new(RwLock::new(node.api()));
    if ready.send(Ok(Started { addrs, api })).is_ok() {
        serve(&node, &writer, orders).await;
    }
    (true, Some(writer))
}

/// Serves until an order, or until a part breaks that the node cannot do without.
pub(super) async fn serve(node: &LocalNode, writer: &StoreWriter, mut orders: watch::Receiver<Order>) {
    let mut killed = orders.clone();
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
        tokio::select! {
            biased;
            _ = killed.wait_for(|order| *order == Order::Kill) => {}
            () = node.stop() => {}
        }
    }
    if let Some((server, dashboard)) = &node.http {
        dashboard.stop();
        // After an orderly stop this finds nothing to do; after a kill it ends the HTTP threads.
        let _ = tokio::time::timeout(Duration::from_secs(1), server.stop(false)).await;
    }
}

async fn start(config: NodeConfig, doors: Doors) -> Result<LocalNode, (StartError, Option<StoreWriter>)> {
    let bound =
        Ports::bind(&config).and_then(|ports| Ok(ports.adopt(None)?)).map_err(|error| (error, None))?;
    let store = crate::store::open(&config.store).map_err(|error| (error.into(), None))?;
    let writer = StoreWriter::bounded(store, config.memory.waiting_bytes());
    let writer = writer.map_err(|error| (error.into(), None))?;
    let membership = Membership::Joins;
    let composed = LocalNode::compose(config, doors, bound, writer.clone(), membership).await;
    composed.map_err(|error| (error, Some(writer)))
}
