//! Workers that disappear, come back, or only seem to be gone.

use std::time::{Duration, Instant};

use windlass_core::api::ErrorCode;
use windlass_core::job::{AttemptOutcome, JobState};
use windlass_core::wire::{ClientFrame, ReportResult, ServerFrame, Verdict};
use windlass_scheduler::testing::TestServer;

use crate::peer::{Peer, hello, job, lease, worker_hello};

/// A server whose times are short, on the system's clock.
fn quick() -> TestServer {
    let mut config = TestServer::config();
    config.heartbeat_ms = 100;
    config.lease_ms = 800;
    config.resume_grace_ms = 300;
    TestServer::with(config).expect("loopback has free ports")
}

#[tokio::test]
async fn the_job_of_a_worker_whose_connection_breaks_runs_elsewhere() {
    let server = quick();
    let mut client = Peer::client(server.native_addr()).await;
    let id = client.enqueue("q", vec![job("a")]).await[0].id;
    let mut doomed = Peer::worker_of(server.native_addr(), 1, "q", 1).await;
    doomed.jobs(1).await;
    let mut heir = Peer::worker_of(server.native_addr(), 2, "q", 1).await;
    let gone = Instant::now();
    drop(doomed);
    let held = heir.jobs(1).await;
    let took = gone.elapsed();
    assert!(took >= Duration::from_millis(250), "the grace time was not given: {took:?}");
    assert!(took < Duration::from_secs(3), "took {took:?}");
    assert_eq!(held[0].attempt, 2);
    heir.ack(&held[0]).await;
    let view = client.view(id).await;
    assert_eq!((view.state, view.crashes), (JobState::Succeeded, 1));
    assert_eq!(view.attempts[0].outcome, Some(AttemptOutcome::Lost));
}

/// Connected, but without a sign of life: the process hangs, or the network swallows everything.
#[tokio::test]
async fn a_silent_worker_loses_its_job_and_its_connection() {
    let server = quick();
    let mut client = Peer::client(server.native_addr()).await;
    client.enqueue("q", vec![job("a")]).await;
    let mut silent = Peer::worker_of(server.native_addr(), 1, "q", 1).await;
    let lost = silent.jobs(1).await.remove(0);
    while let Some(frame) = silent.next().await {
        assert!(!matches!(frame, ServerFrame::Refused(_)), "{frame:?}");
    }
    let mut heir = Peer::worker_of(server.native_addr(), 2, "q", 1).await;
    let held = heir.jobs(1).await.remove(0);
    assert!(held.token > lost.token);
    // It wakes up, comes back, and is told.
    let mut back = Peer::worker(server.native_addr(), 1).await;
    let (kept, gone) = back.resume(vec![lease(&lost)]).await;
    assert_eq!((kept, gone), (vec![], vec![lease(&lost)]));
    assert_eq!(back.report(&lost, Verdict::Done(None)).await, ReportResult::Refused(ErrorCode::StaleLease));
    heir.ack(&held).await;
}

#[tokio::test]
async fn heartbeats_keep_a_long_job() {
    let server = quick();
    let mut client = Peer::client(server.native_addr()).await;
    client.enqueue("q", vec![job("long")]).await;
    let mut worker = Peer::worker_of(server.native_addr(), 1, "q", 1).await;
    let held = worker.jobs(1).await;
    let mut rival = Peer::worker_of(server.native_addr(), 2, "q", 1).await;
    let until = Instant::now() + Duration::from_millis(2_000);
    while Instant::now() < until {
        worker.heartbeat().await;
        rival.heartbeat().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    rival.no_jobs().await;
    worker.ack(&held[0]).await;
}

#[tokio::test]
async fn a_worker_that_comes_back_in_time_keeps_its_jobs() {
    let server = TestServer::with(TestServer::config()).unwrap();
    let mut client = Peer::client(server.native_addr()).await;
    client.enqueue("q", vec![job("a"), job("b"), job("c")]).await;
    let mut first = Peer::worker_of(server.native_addr(), 1, "q", 3).await;
    let held = first.jobs(3).await;
    drop(first);
    // Of three deliveries it says that it received two.
    let mut back = Peer::worker(server.native_addr(), 1).await;
    let (kept, lost) = back.resume(vec![lease(&held[0]), lease(&held[1])]).await;
    assert_eq!((kept.len(), lost.len()), (2, 0));
    back.subscribe(&[("q", 1)], true).await;
    back.ack(&held[0]).await;
    // The third was never received, so it comes again, at once and without an attempt used.
    back.credit(1).await;
    let again = back.jobs(1).await.remove(0);
    assert_eq!((again.id, again.attempt), (held[2].id, 1));
    back.ack(&held[1]).await;
    back.ack(&again).await;
}

/// The new connection of a process takes the place of the old one, which the server may not yet know to be dead.
#[tokio::test]
async fn a_second_connection_replaces_the_first() {
    let server = TestServer::with(TestServer::config()).unwrap();
    let mut client = Peer::client(server.native_addr()).await;
    client.enqueue("q", vec![job("a")]).await;
    let mut first = Peer::worker_of(server.native_addr(), 1, "q", 1).await;
    let held = first.jobs(1).await.remove(0);
    let mut second = Peer::worker(server.native_addr(), 1).await;
    let (kept, _) = second.resume(vec![lease(&held)]).await;
    assert_eq!(kept, [lease(&held)]);
    assert_eq!(first.next().await, None, "the first connection is closed");
    second.ack(&held).await;
    assert_eq!(client.workers().await.len(), 1);
}

/// A worker that reconnects without a word about its leases runs none of them.
#[tokio::test]
async fn leases_that_nobody_presents_are_given_back() {
    let server = TestServer::with(TestServer::config()).unwrap();
    let mut client = Peer::client(server.native_addr()).await;
    client.enqueue("q", vec![job("a")]).await;
    let mut first = Peer::worker_of(server.native_addr(), 1, "q", 1).await;
    let held = first.jobs(1).await.remove(0);
    drop(first);
    let mut second = Peer::worker_of(server.native_addr(), 1, "q", 1).await;
    let again = second.jobs(1).await.remove(0);
    assert_eq!(again.id, held.id);
    second.ack(&again).await;
}

#[tokio::test]
async fn a_worker_that_leaves_in_order_leaves_nothing_behind() {
    let server = TestServer::with(TestServer::config()).unwrap();
    let mut client = Peer::client(server.native_addr()).await;
    client.enqueue("q", vec![job("a")]).await;
    let mut leaver = Peer::worker_of(server.native_addr(), 1, "q", 1).await;
    leaver.jobs(1).await;
    let mut heir = Peer::worker_of(server.native_addr(), 2, "q", 1).await;
    let left = Instant::now();
    leaver.send(ClientFrame::Goodbye).await;
    heir.jobs(1).await;
    assert!(left.elapsed() < Duration::from_secs(2), "a goodbye needs no grace time");
    assert_eq!(leaver.next().await, None);
    assert_eq!(client.workers().await.len(), 1);
}

/// The poison guard: a job that takes its worker down three times is not handed out a fourth time.
#[tokio::test]
async fn a_job_that_kills_its_workers_goes_dead() {
    let server = quick();
    let mut client = Peer::client(server.native_addr()).await;
    let id = client.enqueue("q", vec![job("poison")]).await[0].id;
    for victim in 1..=3 {
        let mut worker = Peer::worker_of(server.native_addr(), victim, "q", 1).await;
        worker.jobs(1).await;
    }
    let view = client.wait(id, 10_000).await.unwrap();
    assert_eq!((view.state, view.crashes), (JobState::Dead, 3));
    assert!(view.reason.contains("3 times"), "{}", view.reason);
}

#[tokio::test]
async fn the_list_of_workers_tells_what_they_run() {
    let server = TestServer::with(TestServer::config()).unwrap();
    let mut client = Peer::client(server.native_addr()).await;
    client.enqueue("q", vec![job("a")]).await;
    let mut said = hello(Some(worker_hello(7)));
    said.client = "test/2".to_owned();
    let mut worker = Peer::greeted(server.native_addr(), said).await;
    worker.subscribe(&[("q", 3), ("r", 1)], false).await;
    worker.credit(4).await;
    let held = worker.jobs(1).await;
    let listed = client.workers().await.remove(0);
    assert_eq!(
        (listed.name.as_str(), listed.client.as_str(), listed.status.as_str()),
        ("worker-7", "test/2", "connected")
    );
    assert_eq!((listed.free_slots, listed.running_count, listed.running[0].id), (3, 1, held[0].id));
    assert_eq!(listed.queues.len(), 2);
    assert_eq!(listed.gossip, "unknown");
    let q = client.queues().await.into_iter().find(|queue| queue.name.as_str() == "q").unwrap();
    assert_eq!(q.workers, 1);
    drop(worker);
    let away = loop {
        let listed = client.workers().await;
        if listed.first().is_none_or(|worker| worker.status != "connected") {
            break listed;
        }
    };
    assert_eq!(away[0].status, "away");
}
