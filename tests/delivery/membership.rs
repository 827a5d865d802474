//! Gossip beside heartbeats: a worker library that takes part, and one that only seems to.

use std::time::{Duration, Instant};

use windlass_scheduler::testing::TestServer;

use crate::peer::{Peer, hello, job, worker_hello};

fn gossiping() -> TestServer {
    let mut config = TestServer::config();
    config.gossip = Some(([127, 0, 0, 1], 0).into());
    TestServer::with(config).expect("loopback has free ports")
}

/// The server is a member of its own gossip, and peers learn where it is.
#[tokio::test]
async fn the_server_is_a_member() {
    let server = gossiping();
    let addr = server.node().gossip_addr().expect("gossip is on");
    assert_ne!(addr.port(), 0);
    let mut client = Peer::client(server.native_addr()).await;
    let welcome = client.welcome.clone().expect("greeted");
    assert_eq!((welcome.gossip_addr, welcome.cluster.as_str()), (addr.to_string(), "windlass"));
    let started = Instant::now();
    loop {
        let overview = client.call(windlass_core::api::Request::GetOverview).await;
        let Ok(windlass_core::api::Response::Overview(overview)) = overview else { panic!("no overview") };
        if overview.node.members.iter().any(|(id, role, _)| *id == welcome.node && role == "server") {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", overview.node.members);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A worker that says it gossips but is never heard of is not dead: heartbeats decide.
#[tokio::test]
async fn a_worker_that_is_never_heard_of_lives_by_its_heartbeats() {
    let server = gossiping();
    let mut client = Peer::client(server.native_addr()).await;
    client.enqueue("q", vec![job("a")]).await;
    let mut said = worker_hello(1);
    said.gossip_id = "worker-unheard-of".to_owned();
    let mut worker = Peer::greeted(server.native_addr(), hello(Some(said))).await;
    worker.subscribe(&[("q", 1)], true).await;
    worker.credit(1).await;
    let held = worker.jobs(1).await;
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        worker.heartbeat().await;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert_eq!(client.workers().await[0].gossip, "unknown");
    worker.ack(&held[0]).await;
}
