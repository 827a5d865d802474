//! The worker as a member of the server's gossip: its death is noticed within about a second. Soft state only, and never an
//! error: where UDP does not get through, the heartbeats of the connection are enough.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use chitchat::transport::{Socket, Transport, UdpTransport};
use chitchat::{ChitchatConfig, ChitchatId, FailureDetectorConfig, ProtocolVersion, spawn_chitchat};
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

/// Which cluster is gossiped with, from where.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    cluster: String,
    seed: String,
    local: SocketAddr,
}

/// The worker's membership.
#[derive(Debug)]
pub(crate) struct Gossip {
    id: Option<WorkerId>,
    place: Option<Place>,
    member: Option<JoinHandle<()>>,
}

impl Gossip {
    /// `None` never gossips.
    pub(crate) fn new(id: Option<WorkerId>) -> Gossip {
        Gossip { id, place: None, member: None }
    }

    /// Joins the gossip of the server that the worker is connected to, unless it is a member there already.
    pub(crate) fn follow(&mut self, plan: &Plan, welcome: &Welcome, local: SocketAddr, peer: SocketAddr) {
        let Some(id) = self.id else { return };
        let place = (!welcome.gossip_addr.is_empty()).then(|| Place {
            cluster: welcome.cluster.clone(),
            seed: seed(&welcome.gossip_addr, peer),
            local: SocketAddr::new(local.ip(), 0),
        });
        let lives = self.member.as_ref().is_some_and(|member| !member.is_finished());
        if place == self.place && (lives || place.is_none()) {
            return;
        }
        if let Some(old) = self.member.take() {
            old.abort();
        }
        self.member = place.clone().map(|place| {
            let name = plan.introduce().name;
            tokio::spawn(async move {
                if let Err(e) = member(id, name, place).await {
                    tracing::warn!(error = %format!("{e:#}"), "the worker does not gossip; heartbeats alone tell that it lives");
                }
            })
        });
        self.place = place;
    }
}

impl Drop for Gossip {
    fn drop(&mut self) {
        if let Some(member) = self.member.take() {
            member.abort();
        }
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

async fn member(id: WorkerId, name: String, place: Place) -> anyhow::Result<()> {
    // Opened first, since the members are told the port and it is only known then.
    let socket = UdpTransport.open(place.local).await?;
    let address = socket.local_addr()?;
    let config = ChitchatConfig {
        // A process that joins again is a newer generation of itself.
        chitchat_id: ChitchatId::new(gossip_id(id), now().0, address),
        cluster_id: place.cluster,
        gossip_interval: INTERVAL,
        listen_addr: address,
        seed_nodes: vec![place.seed],
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
    handle.termination_watcher().await
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
