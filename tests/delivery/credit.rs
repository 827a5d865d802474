//! Delivery by credit: never more, strict or weighted, several workers.

use windlass_core::wire::{ClientFrame, Verdict};
use windlass_scheduler::testing::TestServer;

use crate::peer::{Peer, job, kinds};

#[tokio::test]
async fn credit_is_never_exceeded() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    client.enqueue("q", (0..50).map(|_| job("a")).collect()).await;
    let mut worker = Peer::worker_of(server.native_addr(), 1, "q", 3).await;
    let held = worker.jobs(3).await;
    worker.no_jobs().await;
    // A report does not give its slot back by itself.
    worker.ack(&held[0]).await;
    worker.no_jobs().await;
    worker.credit(2).await;
    worker.jobs(2).await;
    worker.no_jobs().await;
}

/// The jobs of one queue are spread over two queues' worth of credit only once: the sum over all queues counts.
#[tokio::test]
async fn credit_is_shared_by_all_queues() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    for name in ["a", "b", "c"] {
        client.enqueue(name, (0..10).map(|_| job(name)).collect()).await;
    }
    for strict in [true, false] {
        let mut worker = Peer::worker(server.native_addr(), u8::from(strict)).await;
        worker.subscribe(&[("a", 1), ("b", 1), ("c", 1)], strict).await;
        worker.credit(4).await;
        worker.jobs(4).await;
        worker.no_jobs().await;
    }
}

#[tokio::test]
async fn strict_order_empties_earlier_queues_first() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    client.enqueue("low", (0..3).map(|_| job("low")).collect()).await;
    client.enqueue("high", (0..3).map(|_| job("high")).collect()).await;
    let mut worker = Peer::worker(server.native_addr(), 1).await;
    worker.subscribe(&[("high", 1), ("low", 100)], true).await;
    worker.credit(4).await;
    assert_eq!(kinds(&worker.jobs(4).await), ["high", "high", "high", "low"]);
    client.enqueue("high", vec![job("high")]).await;
    worker.credit(2).await;
    assert_eq!(kinds(&worker.jobs(2).await), ["high", "low"]);
}

#[tokio::test]
async fn weights_share_the_deliveries() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    for name in ["seldom", "often"] {
        client.enqueue(name, (0..400).map(|_| job(name)).collect()).await;
    }
    let mut worker = Peer::worker(server.native_addr(), 1).await;
    worker.subscribe(&[("seldom", 1), ("often", 4)], false).await;
    let mut often = 0;
    for _ in 0..300 {
        worker.credit(1).await;
        often += usize::from(worker.jobs(1).await[0].kind == "often");
    }
    // Binomial with p = 0.8: 240 ± 5 standard deviations.
    assert!((205..=275).contains(&often), "{often} of 300");
}

/// A worker without credit passes the news of a job on to the next one.
#[tokio::test]
async fn a_notice_is_not_swallowed_by_a_busy_worker() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    let mut workers = Vec::new();
    for id in 1..=3 {
        let mut worker = Peer::worker_of(server.native_addr(), id, "q", 1).await;
        worker.no_jobs().await;
        workers.push(worker);
    }
    client.enqueue("q", vec![job("a")]).await;
    client.enqueue("q", vec![job("b")]).await;
    client.enqueue("q", vec![job("c")]).await;
    let mut seen = Vec::new();
    for worker in &mut workers {
        seen.extend(worker.jobs(1).await);
    }
    let mut seen = kinds(&seen);
    seen.sort_unstable();
    assert_eq!(seen, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_quiet_worker_gets_nothing_more() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    let mut quiet = Peer::worker_of(server.native_addr(), 1, "q", 5).await;
    client.enqueue("q", vec![job("a")]).await;
    let held = quiet.jobs(1).await;
    quiet.send(ClientFrame::Quiet).await;
    quiet.no_jobs().await;
    client.enqueue("q", vec![job("b")]).await;
    quiet.no_jobs().await;
    assert_eq!(client.workers().await[0].status, "quiet");
    let mut other = Peer::worker_of(server.native_addr(), 2, "q", 5).await;
    assert_eq!(kinds(&other.jobs(1).await), ["b"]);
    assert_eq!(
        quiet.report(&held[0], Verdict::Done(None)).await,
        windlass_core::wire::ReportResult::Recorded
    );
}
