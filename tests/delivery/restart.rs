//! A node on sled that stops or is killed: everything confirmed is there again, and running jobs go on.

use windlass_core::api::Request;
use windlass_core::job::{JobState, RunAt};
use windlass_core::wire::{ServerFrame, Verdict};
use windlass_scheduler::node::{Node, NodeConfig, RunningNode};
use windlass_scheduler::store::StoreConfig;
use windlass_scheduler::testing::TestServer;

use crate::peer::{Peer, job, kinds, lease, queue};

fn start(dir: &std::path::Path) -> RunningNode {
    let config = NodeConfig { store: StoreConfig::sled(dir), ..TestServer::config() };
    Node::start(config).expect("the node starts")
}

/// Fills a node with a job in every state, ends it with `end`, and looks at all of them again.
async fn everything_survives(end: impl AsyncFnOnce(&RunningNode)) {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path());
    let mut client = Peer::client(node.native_addr().expect("it is on")).await;
    let mut later = job("later");
    later.run_at = RunAt::AfterMs(3_600_000);
    let mut low = job("low");
    low.priority = -1;
    let specs = vec![low, job("dead"), job("retry"), job("running"), job("done"), later];
    let ids: Vec<_> = client.enqueue("q", specs).await.iter().map(|e| e.id).collect();
    client.enqueue("paused", vec![job("held")]).await;
    client.done(Request::PauseQueue { queue: queue("paused") }).await;
    let mut worker = Peer::worker_of(node.native_addr().expect("it is on"), 1, "q", 4).await;
    let held = worker.jobs(4).await;
    assert_eq!(kinds(&held), ["dead", "retry", "running", "done"]);
    worker.report(&held[0], Verdict::Dead { error: "no".to_owned() }).await;
    worker.report(&held[1], Verdict::Retry { error: "again".to_owned(), retry_in_ms: Some(3_600_000) }).await;
    worker.ack(&held[3]).await;
    // The lease mark is written with the next group; the last report came after it.
    end(&node).await;
    drop((client, worker, node));

    let node = start(dir.path());
    let addr = node.native_addr().expect("it is on");
    let mut client = Peer::client(addr).await;
    let mut state = async |index: usize| client.view(ids[index]).await.state;
    assert_eq!(state(0).await, JobState::Ready);
    assert_eq!(state(1).await, JobState::Dead);
    assert_eq!(state(2).await, JobState::Retrying);
    assert_eq!(state(3).await, JobState::Running, "leases survive");
    assert_eq!(state(5).await, JobState::Scheduled);
    let queues = client.queues().await;
    assert!(queues.iter().any(|queue| queue.name.as_str() == "paused" && queue.paused));
    // The worker is back with its lease, and its job runs on.
    let mut worker = Peer::worker(addr, 1).await;
    let (kept, lost) = worker.resume(vec![lease(&held[2])]).await;
    assert_eq!((kept, lost), (vec![lease(&held[2])], vec![]));
    worker.ack(&held[2]).await;
    worker.subscribe(&[("q", 1)], true).await;
    worker.credit(5).await;
    assert_eq!(kinds(&worker.jobs(1).await), ["low"]);
    worker.no_jobs().await;
    node.stop().await;
    node.stop().await;
}

#[tokio::test]
async fn an_orderly_stop_keeps_everything() {
    everything_survives(async |node| node.stop().await).await;
}

#[tokio::test]
async fn a_kill_keeps_everything_confirmed() {
    everything_survives(async |node| node.kill()).await;
}

#[tokio::test]
async fn peers_are_told_of_a_stop_and_a_stopped_node_is_gone() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    let mut worker = Peer::worker_of(server.native_addr(), 1, "q", 1).await;
    worker.heartbeat().await;
    server.stop().await;
    for peer in [&mut client, &mut worker] {
        let mut frames = Vec::new();
        while let Some(frame) = peer.next().await {
            frames.push(frame);
        }
        assert!(frames.contains(&ServerFrame::Draining), "{frames:?}");
    }
    assert!(tokio::net::TcpStream::connect(server.native_addr()).await.is_err());
    let error = server.api().call(Request::ListQueues).await.unwrap_err();
    assert_eq!(error.code, windlass_core::api::ErrorCode::Unavailable);
}

/// Two nodes on one directory would be two owners: the second is refused, and says so.
#[tokio::test]
async fn a_directory_has_one_node() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path());
    let second = Node::start(NodeConfig { store: StoreConfig::sled(dir.path()), ..TestServer::config() });
    let Err(error) = second else { panic!("a second node started") };
    assert!(error.to_string().contains("in use"), "{error}");
    node.kill();
    start(dir.path()).stop().await;
}

#[tokio::test]
async fn a_taken_port_is_an_error_before_the_store_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = NodeConfig { store: StoreConfig::sled(dir.path().join("data")), ..TestServer::config() };
    config.native = Some(taken.local_addr().unwrap());
    let Err(error) = Node::start(config) else { panic!("the port was taken") };
    assert!(error.to_string().contains("in use"), "{error}");
    assert!(!dir.path().join("data").exists());
}
