//! Higher priority first, then arrival; never early.

use windlass_core::job::RunAt;
use windlass_scheduler::testing::TestServer;

use crate::peer::{Peer, job, kinds};

#[tokio::test]
async fn priority_then_arrival() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    let with = |kind: &str, priority| {
        let mut spec = job(kind);
        spec.priority = priority;
        spec
    };
    client.enqueue("q", vec![with("first", 0), with("low", -5), with("second", 0)]).await;
    client.enqueue("q", vec![with("high", 100), with("third", 0)]).await;
    let mut worker = Peer::worker_of(server.native_addr(), 1, "q", 10).await;
    assert_eq!(kinds(&worker.jobs(5).await), ["high", "first", "second", "third", "low"]);
}

#[tokio::test]
async fn a_delayed_job_waits_for_its_time() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    let mut late = job("late");
    late.run_at = RunAt::AfterMs(3_600_000);
    client.enqueue("q", vec![late, job("now")]).await;
    let mut worker = Peer::worker_of(server.native_addr(), 1, "q", 10).await;
    assert_eq!(kinds(&worker.jobs(1).await), ["now"]);
    server.advance_ms(3_599_999);
    worker.no_jobs().await;
    server.advance_ms(1);
    assert_eq!(kinds(&worker.jobs(1).await), ["late"]);
}

/// On the system's clock: not early, and not later than the promise of 10 ms on an idle node, in the middle of many.
#[tokio::test]
async fn a_delayed_job_is_hardly_late() {
    let server = TestServer::with(TestServer::config()).unwrap();
    let mut client = Peer::client(server.native_addr()).await;
    let mut worker = Peer::worker_of(server.native_addr(), 1, "q", 1_000).await;
    let mut lateness = Vec::new();
    for round in 0..40_u64 {
        let mut spec = job("timed");
        spec.run_at = RunAt::AfterMs(15 + round % 7);
        let id = client.enqueue("q", vec![spec]).await[0].id;
        let due = client.view(id).await.run_at;
        worker.jobs(1).await;
        let started = client.view(id).await.attempts[0].started_at;
        assert!(started >= due, "started {started:?}, due {due:?}");
        lateness.push(started.since_ms(due));
    }
    lateness.sort_unstable();
    assert!(lateness[lateness.len() / 2] <= 10, "late by {lateness:?} ms");
}

#[tokio::test]
async fn the_same_id_is_one_job() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    let first = client.enqueue("q", vec![job("a")]).await[0];
    assert!(!first.duplicate);
    let mut again = job("b");
    again.id = Some(first.id);
    let second = client.enqueue("q", vec![again]).await[0];
    assert!(second.duplicate && second.id == first.id);
    let mut worker = Peer::worker_of(server.native_addr(), 1, "q", 10).await;
    assert_eq!(kinds(&worker.jobs(1).await), ["a"]);
    worker.no_jobs().await;
}
