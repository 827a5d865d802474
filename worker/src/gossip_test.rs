//! The worker's membership against a real member.

use std::time::Duration;

use super::*;
use crate::peer_test::{PATIENCE, Peer, welcome};
use crate::worker::Worker;

#[test]
fn a_server_that_listens_everywhere_is_meant_where_it_was_reached() {
    let peer = "10.0.0.7:7421".parse().expect("an address");
    assert_eq!(seed("0.0.0.0:7422", peer), "10.0.0.7:7422");
    assert_eq!(seed("10.0.0.8:7422", peer), "10.0.0.8:7422");
    assert_eq!(seed("node-1:7422", peer), "node-1:7422");
}

/// A server's membership.
async fn server(id: &str) -> (ChitchatHandle, SocketAddr) {
    let socket = UdpTransport.open(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    let address = socket.local_addr().expect("bound");
    let config = ChitchatConfig {
        chitchat_id: ChitchatId::new(id, 1, address),
        cluster_id: "test".to_owned(),
        gossip_interval: Duration::from_millis(50),
        listen_addr: address,
        seed_nodes: Vec::new(),
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
    let server =
        spawn_chitchat(config, Vec::new(), &Opened(Mutex::new(Some(socket)))).await.expect("gossips");
    (server, address)
}

/// Waits until a server hears the worker; which life of it that is.
async fn heard(server: &ChitchatHandle, id: WorkerId) -> u64 {
    let mut live = server.with_chitchat(|chitchat| chitchat.live_nodes_watcher()).await;
    let seen = live.wait_for(|nodes| {
        nodes.iter().any(|(node, state)| {
            *node.node_id == *gossip_id(id)
                && state.get("role") == Some("worker")
                && state.get("worker") == Some(&hex(id))
        })
    });
    let seen = tokio::time::timeout(PATIENCE, seen).await.expect("the worker never joined").expect("watches");
    let worker = seen.keys().find(|node| *node.node_id == *gossip_id(id));
    worker.expect("just seen").generation_id
}

fn greeting(address: SocketAddr) -> Welcome {
    Welcome { gossip_addr: address.to_string(), cluster: "test".to_owned(), ..welcome() }
}

#[tokio::test]
async fn the_server_sees_the_worker_come_and_go() {
    let (server, address) = server("server").await;
    let peer = Peer::bind().await;
    let worker = Worker::builder(peer.address()).handle("k", async || ()).build();
    let id = worker.id();
    let run = tokio::spawn(worker.run_until(std::future::pending()));
    let talk = peer.accept_with(greeting(address)).await;
    assert_eq!(talk.hello.worker.as_ref().map(|hello| hello.gossip_id.clone()), Some(gossip_id(id)));
    heard(&server, id).await;
    run.abort();
    let mut live = server.with_chitchat(|chitchat| chitchat.live_nodes_watcher()).await;
    let gone = live.wait_for(|nodes| nodes.keys().all(|node| *node.node_id != *gossip_id(id)));
    tokio::time::timeout(PATIENCE, gone).await.expect("the worker was never missed").expect("watches");
}

/// Two servers that do not know each other: only the worker's own word can tell the second one of it.
#[tokio::test]
async fn a_worker_that_moves_makes_itself_known_to_the_next_server() {
    let (first, second) = (server("first").await, server("second").await);
    let (here, there) = (Peer::bind().await, Peer::bind().await);
    let worker = Worker::builder(format!("{},{}", here.address(), there.address()));
    let worker = worker.handle("k", async || ()).build();
    let id = worker.id();
    let run = tokio::spawn(worker.run_until(std::future::pending()));
    let talk = here.accept_with(greeting(first.1)).await;
    let life = heard(&first.0, id).await;
    drop(talk);
    let _talk = there.accept_with(greeting(second.1)).await;
    assert_eq!(heard(&second.0, id).await, life, "it is still the same member");
    assert_eq!(heard(&first.0, id).await, life, "and the first server hears it, too");
    run.abort();
}
