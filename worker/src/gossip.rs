//! The worker as a member of the server's gossip: its death is noticed within about a second. Soft state only, and never an
//! error: where UDP does not get through, the heartbeats of the connection are enough.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use chitchat::transport::{Socket, Transport, UdpTransport};
use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion, spawn_chitchat,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use windlass_core::id::WorkerId;
use windlass_core::wire::Welcome;

use crate::job::now;
use crate::worker::{Plan, gossip_id, hex};

/// Time between two rounds of gossip.
const INTERVAL: Duration = Duration::from_millis(200);
/// Interval that the failure detector assumes before it has seen any.
const INITIAL_INTERVAL: Duration = Duration::from_millis(500);
/// Longer intervals are not learned from.
const INTERVAL_MAX: Duration = Duration::from_secs(3);
/// Silence in mean intervals after which a member counts as dead.
const PHI: f64 = 8.0;
/// Intervals that the failure detector learns from.
const SAMPLES: usize = 1_000;
/// How long dead members and deleted keys are remembered.
const GRACE: Duration = Duration::from_secs(15 * 60);
/// Time between two words to a server that is not known yet.
const APPROACH: Duration = Duration::from_millis(500);
/// Words to such a server at most: where so many datagrams are lost, the heartbeats have to do.
const APPROACHES_MAX: u32 = 20;

/// Which cluster is gossiped with, from where.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    cluster: String,
    local: SocketAddr,
}

/// A membership that lasts for as long as this is there.
#[derive(Debug)]
struct Member {
    place: Place,
    /// Where the server gossips that the worker is connected to.
    server: watch::Sender<String>,
    task: JoinHandle<()>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The worker's membership.
#[derive(Debug)]
pub(crate) struct Gossip {
    id: Option<WorkerId>,
    member: Option<Member>,
}

impl Gossip {
    /// `None` never gossips.
    pub(crate) fn new(id: Option<WorkerId>) -> Gossip {
        Gossip { id, member: None }
    }

    /// Joins the gossip of the server that the worker is connected to. Who is a member of its cluster already stays what it is and
    /// makes itself known to this server, so that a move to another one looks like nothing to the rest.
    pub(crate) fn follow(&mut self, plan: &Plan, welcome: &Welcome, local: SocketAddr, peer: SocketAddr) {
        let Some(id) = self.id else { return };
        if welcome.gossip_addr.is_empty() {
            self.member = None;
            return;
        }
        let place = Place { cluster: welcome.cluster.clone(), local: SocketAddr::new(local.ip(), 0) };
        let server = seed(&welcome.gossip_addr, peer);
        if let Some(member) = self.member.as_ref()
            && member.place == place
            && !member.task.is_finished()
        {
            // To the same server, too: it may be another process that knows nobody yet.
            member.server.send_replace(server);
            return;
        }
        let name = plan.introduce().name;
        let (server, servers) = watch::channel(server);
        let joining = member(id, name, place.clone(), servers);
        let task = tokio::spawn(async move {
            if let Err(e) = joining.await {
                tracing::warn!(error = %format!("{e:#}"), "the worker does not gossip; heartbeats alone tell that it lives");
            }
        });
        self.member = Some(Member { place, server, task });
    }
}

/// Where the server gossips; a server that listens everywhere is meant at the address where it was reached.
fn seed(address: &str, peer: SocketAddr) -> String {
    match address.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_unspecified() => {
            SocketAddr::new(peer.ip(), address.port()).to_string()
        }
        _ => address.to_owned(),
    }
}

async fn member(
    id: WorkerId,
    name: String,
    place: Place,
    mut servers: watch::Receiver<String>,
) -> anyhow::Result<()> {
    // Opened first, since the members are told the port and it is only known then.
    let socket = UdpTransport.open(place.local).await?;
    let address = socket.local_addr()?;
    let config = ChitchatConfig {
        // A process that joins again is a newer generation of itself.
        chitchat_id: ChitchatId::new(gossip_id(id), now().0, address),
        cluster_id: place.cluster,
        gossip_interval: INTERVAL,
        listen_addr: address,
        seed_nodes: vec![servers.borrow_and_update().clone()],
        failure_detector_config: FailureDetectorConfig::new(
            PHI,
            SAMPLES,
            INTERVAL_MAX,
            INITIAL_INTERVAL,
            GRACE,
        ),
        marked_for_deletion_grace_period: GRACE,
        catchup_callback: None,
        extra_liveness_predicate: None,
        protocol_version: ProtocolVersion::V1,
    };
    let keys = [
        ("role", "worker".to_owned()),
        ("worker", hex(id)),
        ("name", name),
        ("pid", std::process::id().to_string()),
    ];
    let keys = keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let handle = spawn_chitchat(config, keys, &Opened(Mutex::new(Some(socket)))).await?;
    // The handle is held by this task: when the task is aborted, the member falls silent.
    tokio::select! {
        ended = handle.termination_watcher() => ended,
        never = approach(&handle, servers) => match never {},
    }
}

/// Makes the member known to every server that the worker moves to: the library itself goes on asking the first one alone.
async fn approach(handle: &ChitchatHandle, mut servers: watch::Receiver<String>) -> Infallible {
    while servers.changed().await.is_ok() {
        let server = servers.borrow_and_update().clone();
        for _ in 0..APPROACHES_MAX {
            if servers.has_changed().unwrap_or(false) {
                break;
            }
            // A name that cannot be looked up, or a member that has ended, may be better at the next try.
            if let Ok(mut found) = tokio::net::lookup_host(&server).await
                && let Some(address) = found.next()
            {
                let hears = |node: &ChitchatId| node.gossip_advertise_addr == address;
                if handle.with_chitchat(|chitchat| chitchat.live_nodes().any(hears)).await {
                    break;
                }
                let _ = handle.gossip(address);
            }
            tokio::time::sleep(APPROACH).await;
        }
    }
    // The worker has gone, and takes this task with it.
    std::future::pending().await
}

/// Hands over a socket that is open already.
struct Opened(Mutex<Option<Box<dyn Socket>>>);

impl Transport for Opened {
    fn open<'a, 'b>(
        &'a self,
        _: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = anyhow::Result<Box<dyn Socket>>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let socket = self.0.lock().map_or(None, |mut socket| socket.take());
        Box::pin(
            async move { socket.ok_or_else(|| anyhow::anyhow!("the gossip's socket was taken already")) },
        )
    }
}

#[cfg(test)]
#[path = "gossip_test.rs"]
mod tests;
