//! The gossip, through chitchat 0.13. Nothing else in this crate knows that library.
//!
//! Settings: a round every 200 ms, an initial interval of 500 ms, phi 8: a killed member is noticed after about a second,
//! one that has just started after about two and a half.
//!
//! The gossip may end (its socket broke, an assertion on somebody else's state): that is logged and it is started again; the
//! node goes on meanwhile, with heartbeats alone.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use chitchat::transport::UdpTransport;
use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion, spawn_chitchat,
};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use windlass_core::time::Now;

use super::circle::{Circle, Said};
use super::facts::{self, Facts};
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
/// Least time between two changes of the own facts: every change travels to every member.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// How a server takes part.
#[derive(Debug, Clone)]
pub struct GossipConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Host by which others reach this node; that of `listen` without one. A name is looked up whenever the gossip starts.
    pub advertise: Option<String>,
    /// Only members with the same cluster id hear each other.
    pub cluster: String,
    /// Members to start from, `host:port`.
    pub seeds: Vec<String>,
    /// Stable id of this node.
    pub node: String,
    /// What others may know of it, at first: role, addresses, version. [`Cluster::set`](super::Cluster::set) changes it later.
    pub facts: Facts,
}

/// The gossip cannot start.
#[derive(Debug, thiserror::Error)]
#[error("gossip cannot listen on {addr}/udp: {reason}")]
pub struct GossipError {
    addr: SocketAddr,
    reason: String,
}

/// A running gossip.
pub(super) struct Gossip {
    pub addr: SocketAddr,
    /// What was heard of all members, this one included.
    pub circle: watch::Receiver<Circle>,
    /// What is told of this one.
    pub facts: watch::Sender<Facts>,
}

/// Starts the gossip and keeps it running until `stop`.
pub(super) async fn start(
    mut config: GossipConfig,
    clock: Clock,
    stop: CancellationToken,
) -> Result<Gossip, GossipError> {
    let mut handle = open(&mut config, &clock).await?;
    let addr = config.listen;
    let (circle, watch) = watch::channel(Circle::default());
    let (facts, mut told) = watch::channel(config.facts.clone());
    actix_rt::spawn(async move {
        loop {
            follow(&handle, &circle, &mut told, &clock, &stop).await;
            if stop.is_cancelled() {
                // Whoever still hears us finds out by our silence; there is nothing to wait for.
                let _ = handle.initiate_shutdown();
                return;
            }
            handle.abort();
            handle = loop {
                tokio::time::sleep(RESTART).await;
                config.facts.clone_from(&told.borrow_and_update());
                match open(&mut config, &clock).await {
                    Ok(handle) => break handle,
                    Err(error) => tracing::warn!(%error, "gossip stopped"),
                }
            };
        }
    });
    Ok(Gossip { addr, circle: watch, facts })
}

/// Publishes what is heard, and tells what changes, until the gossip ends or `stop`.
async fn follow(
    handle: &ChitchatHandle,
    circle: &watch::Sender<Circle>,
    told: &mut watch::Receiver<Facts>,
    clock: &Clock,
    stop: &CancellationToken,
) {
    let mut live = handle.with_chitchat(|chitchat| chitchat.live_nodes_watcher()).await;
    let ended = handle.termination_watcher();
    tokio::pin!(ended);
    let mut tell_at = Instant::now();
    loop {
        let all: Vec<Said> = live
            .borrow_and_update()
            .iter()
            .map(|(id, state)| Said {
                id: id.node_id.to_string(),
                addr: id.gossip_advertise_addr,
                facts: facts::keep(state.key_values()),
            })
            .collect();
        // Members tell their machines' clocks, so it is the machine's that they are compared with.
        let now = Now { wall: clock.system_wall(), ..clock.now() };
        circle.send_if_modified(|known| {
            let next = known.hear(all, now);
            let changed = *known != next;
            *known = next;
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
            () = changed_after(told, tell_at) => {
                tell(handle, told).await;
                tell_at = Instant::now() + TELL_INTERVAL;
            }
        }
    }
}

/// Resolves when there is something new to tell, and not before `at`.
async fn changed_after(told: &mut watch::Receiver<Facts>, at: Instant) {
    tokio::time::sleep_until(at).await;
    if told.changed().await.is_err() {
        // Nobody is left who could change anything.
        std::future::pending::<()>().await;
    }
}

/// Tells the own facts; those that have not changed cost nothing.
async fn tell(handle: &ChitchatHandle, told: &mut watch::Receiver<Facts>) {
    let facts = told.borrow_and_update().clone();
    handle
        .with_chitchat(|chitchat| {
            let own = chitchat.self_node_state();
            facts.iter().for_each(|(name, value)| own.set(name, value));
        })
        .await;
}

/// Opens the socket. A port that was left open is decided here and kept from then on.
async fn open(config: &mut GossipConfig, clock: &Clock) -> Result<ChitchatHandle, GossipError> {
    let wanted = config.listen;
    let failed = |reason: String| GossipError { addr: wanted, reason };
    let tries = if wanted.port() == 0 { PORT_TRIES } else { 1 };
    let mut last = String::new();
    let host = match &config.advertise {
        Some(host) => look_up(host, wanted).await,
        None => None,
    };
    for _ in 0..tries {
        let listen = match wanted.port() {
            // The library wants to know its own address before it binds, so a free port is looked for first.
            0 => {
                let probe = UdpSocket::bind(wanted).map_err(|e| failed(e.to_string()))?;
                probe.local_addr().map_err(|e| failed(e.to_string()))?
            }
            _ => wanted,
        };
        let facts = config.facts.clone().into_iter().collect();
        let advertised = SocketAddr::new(host.unwrap_or(listen.ip()), listen.port());
        match spawn_chitchat(settings(config, listen, advertised, clock), facts, &UdpTransport).await {
            Ok(handle) => {
                config.listen = listen;
                return Ok(handle);
            }
            Err(error) => last = format!("{error:#}"),
        }
    }
    Err(failed(last))
}

/// The address behind the name of a host, of the kind that is listened at. Without one the gossip is of less use, and no reason not
/// to start.
async fn look_up(host: &str, listen: SocketAddr) -> Option<IpAddr> {
    let found = match tokio::net::lookup_host((host, listen.port())).await {
        Ok(mut found) => found.find(|addr| addr.is_ipv4() == listen.is_ipv4()),
        Err(error) => {
            tracing::warn!(host, %error, "the advertised host cannot be looked up; the gossip names the address it listens on");
            return None;
        }
    };
    found.map(|addr| addr.ip())
}

fn settings(
    config: &GossipConfig,
    listen: SocketAddr,
    advertised: SocketAddr,
    clock: &Clock,
) -> ChitchatConfig {
    // A later start has to have a larger number, or the others take it for the old one.
    let generation = clock.system_wall().0;
    ChitchatConfig {
        chitchat_id: ChitchatId::new(config.node.as_str(), generation, advertised),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config(node: &str, seeds: Vec<String>) -> GossipConfig {
        let role = (facts::ROLE.to_owned(), facts::SERVER.to_owned());
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        GossipConfig {
            listen,
            advertise: None,
            cluster: "test".to_owned(),
            seeds,
            node: node.to_owned(),
            facts: [role].into(),
        }
    }

    async fn until(circle: &mut watch::Receiver<Circle>, holds: impl Fn(&Circle) -> bool) {
        let seen = tokio::time::timeout(Duration::from_secs(30), circle.wait_for(holds)).await;
        seen.expect("within the time").expect("the gossip runs");
    }

    /// Who listens everywhere is nowhere to be found unless it says where.
    #[actix_rt::test]
    async fn others_hear_the_advertised_address() {
        let stop = CancellationToken::new();
        let _guard = stop.clone().drop_guard();
        let clock = Clock::system();
        let named = GossipConfig {
            listen: SocketAddr::from(([127, 0, 0, 2], 0)),
            advertise: Some("127.0.0.1".to_owned()),
            ..config("a", Vec::new())
        };
        let a = start(named, clock.clone(), stop.clone()).await.expect("a starts");
        let mut b =
            start(config("b", vec![a.addr.to_string()]), clock, stop.clone()).await.expect("b starts");
        let at = SocketAddr::from(([127, 0, 0, 1], a.addr.port()));
        until(&mut b.circle, |circle| circle.live.get("a").is_some_and(|a| a.addr == at)).await;
    }

    #[actix_rt::test]
    async fn a_fact_that_changes_is_heard_by_others() {
        let stop = CancellationToken::new();
        let _guard = stop.clone().drop_guard();
        let clock = Clock::system();
        let a = start(config("a", Vec::new()), clock.clone(), stop.clone()).await.expect("a starts");
        let seeds = vec![a.addr.to_string()];
        let mut b = start(config("b", seeds), clock, stop.clone()).await.expect("b starts");
        until(&mut b.circle, |circle| circle.live.len() == 2).await;
        let begun = Instant::now();
        for epoch in 1..=3 {
            a.facts.send_modify(|facts| _ = facts.insert(facts::EPOCH.to_owned(), epoch.to_string()));
            let told = |circle: &Circle| facts::number(&circle.live["a"].facts, facts::EPOCH) == Some(epoch);
            until(&mut b.circle, told).await;
        }
        assert!(begun.elapsed() >= 2 * TELL_INTERVAL, "changes are told at most once a second");
    }
}
