//! The gossip, through chitchat 0.13. Nothing else in this crate knows that library.
//!
//! Settings: a round every 200 ms, an initial interval of 500 ms, phi 8: a killed member is noticed after about a second,
//! one that has just started after about two and a half.
//!
//! The gossip may end (its socket broke, an assertion on somebody else's state): that is logged and it is started again; the
//! node goes on meanwhile, with heartbeats alone.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use chitchat::transport::UdpTransport;
use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion, spawn_chitchat,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

const INTERVAL: Duration = Duration::from_millis(200);
const INITIAL_INTERVAL: Duration = Duration::from_millis(500);
const MAX_INTERVAL: Duration = Duration::from_secs(3);
const PHI: f64 = 8.0;
const SAMPLES: usize = 1_000;
/// How long dead members and deleted keys are remembered.
const GRACE: Duration = Duration::from_secs(15 * 60);
/// Wait before the gossip is started again.
const RESTART: Duration = Duration::from_secs(1);
/// Tries to find a free port when the port is left open.
const PORT_TRIES: usize = 16;

/// How a server takes part.
#[derive(Debug, Clone)]
pub struct GossipConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Only members with the same cluster id hear each other.
    pub cluster: String,
    /// Members to start from, `host:port`.
    pub seeds: Vec<String>,
    /// Stable id of this node.
    pub node: String,
    /// What others may know of it: role, addresses, version.
    pub facts: Vec<(String, String)>,
}

/// The gossip cannot start.
#[derive(Debug, thiserror::Error)]
#[error("gossip cannot listen on {addr}/udp: {reason}")]
pub struct GossipError {
    addr: SocketAddr,
    reason: String,
}

/// A live member.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Its stable id.
    pub id: String,
    /// `server` or `worker`, or what it says.
    pub role: String,
    /// Its gossip address.
    pub addr: SocketAddr,
}

/// A running gossip.
pub(super) struct Gossip {
    pub addr: SocketAddr,
    /// The live members, this one included.
    pub members: watch::Receiver<Vec<Member>>,
}

/// Starts the gossip and keeps it running until `stop`.
pub(super) async fn start(
    mut config: GossipConfig,
    clock: Clock,
    stop: CancellationToken,
) -> Result<Gossip, GossipError> {
    let mut handle = open(&mut config, &clock).await?;
    let addr = config.listen;
    let (members, watch) = watch::channel(Vec::new());
    actix_rt::spawn(async move {
        loop {
            follow(&handle, &members, &stop).await;
            if stop.is_cancelled() {
                // Whoever still hears us finds out by our silence; there is nothing to wait for.
                let _ = handle.initiate_shutdown();
                return;
            }
            handle.abort();
            handle = loop {
                tokio::time::sleep(RESTART).await;
                match open(&mut config, &clock).await {
                    Ok(handle) => break handle,
                    Err(error) => tracing::warn!(%error, "gossip stopped"),
                }
            };
        }
    });
    Ok(Gossip { addr, members: watch })
}

/// Publishes the live members until the gossip ends or `stop`.
async fn follow(handle: &ChitchatHandle, members: &watch::Sender<Vec<Member>>, stop: &CancellationToken) {
    let mut live = handle.with_chitchat(|chitchat| chitchat.live_nodes_watcher()).await;
    let ended = handle.termination_watcher();
    tokio::pin!(ended);
    loop {
        let list: Vec<Member> = live
            .borrow_and_update()
            .iter()
            .map(|(id, state)| Member {
                id: id.node_id.to_string(),
                role: state.get("role").unwrap_or("unknown").to_owned(),
                addr: id.gossip_advertise_addr,
            })
            .collect();
        members.send_if_modified(|known| {
            let changed = *known != list;
            *known = list;
            changed
        });
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            result = &mut ended => {
                let error = result.err().map_or_else(|| "it ended by itself".to_owned(), |e| e.to_string());
                tracing::warn!(error, "gossip stopped");
                return;
            }
            changed = live.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// Opens the socket. A port that was left open is decided here and kept from then on.
async fn open(config: &mut GossipConfig, clock: &Clock) -> Result<ChitchatHandle, GossipError> {
    let wanted = config.listen;
    let failed = |reason: String| GossipError { addr: wanted, reason };
    let tries = if wanted.port() == 0 { PORT_TRIES } else { 1 };
    let mut last = String::new();
    for _ in 0..tries {
        let listen = match wanted.port() {
            // The library wants to know its own address before it binds, so a free port is looked for first.
            0 => {
                let probe = UdpSocket::bind(wanted).map_err(|e| failed(e.to_string()))?;
                probe.local_addr().map_err(|e| failed(e.to_string()))?
            }
            _ => wanted,
        };
        match spawn_chitchat(settings(config, listen, clock), config.facts.clone(), &UdpTransport).await {
            Ok(handle) => {
                config.listen = listen;
                return Ok(handle);
            }
            Err(error) => last = format!("{error:#}"),
        }
    }
    Err(failed(last))
}

fn settings(config: &GossipConfig, listen: SocketAddr, clock: &Clock) -> ChitchatConfig {
    // A later start has to have a larger number, or the others take it for the old one.
    let generation = clock.system_wall().0;
    ChitchatConfig {
        chitchat_id: ChitchatId::new(config.node.as_str(), generation, listen),
        cluster_id: config.cluster.clone(),
        gossip_interval: INTERVAL,
        listen_addr: listen,
        seed_nodes: config.seeds.clone(),
        failure_detector_config: FailureDetectorConfig::new(
            PHI,
            SAMPLES,
            MAX_INTERVAL,
            INITIAL_INTERVAL,
            GRACE,
        ),
        marked_for_deletion_grace_period: GRACE,
        catchup_callback: None,
        extra_liveness_predicate: None,
        protocol_version: ProtocolVersion::V1,
    }
}
