//! What becomes of a job after each verdict, and of reports that prove nothing.

use windlass_core::api::{ErrorCode, Request};
use windlass_core::job::{AttemptOutcome, JobState, Payload};
use windlass_core::retry::Backoff;
use windlass_core::wire::{ReportResult, Token, Verdict};
use windlass_scheduler::testing::TestServer;

use crate::peer::{Peer, job, kinds, outcome, queue};

#[tokio::test]
async fn done_keeps_the_result() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    let id = client.enqueue("q", vec![job("a")]).await[0].id;
    let waiting = client.start_call(Request::WaitJob { id, timeout_ms: 10_000 }).await;
    let mut worker = Peer::worker_of(server.native_addr(), 1, "q", 1).await;
    let held = worker.jobs(1).await;
    assert_eq!(client.view(id).await.state, JobState::Running);
    let result = Payload::json("[1,2]");
    assert_eq!(worker.report(&held[0], Verdict::Done(Some(result.clone()))).await, ReportResult::Recorded);
    let Ok(windlass_core::api::Response::Job(view)) = client.answer(waiting).await else { panic!("no job") };
    assert_eq!((view.state, view.result, view.attempt), (JobState::Succeeded, Some(result), 1));
    assert_eq!(view.attempts[0].outcome, Some(AttemptOutcome::Succeeded));
    assert_eq!(view.attempts[0].worker_name, "worker-1");
}

#[tokio::test]
async fn a_failed_job_waits_runs_again_and_dies_of_its_last_attempt() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    let mut spec = job("a");
    spec.options_mut().max_attempts = Some(2);
    spec.options_mut().backoff = Some(Backoff::Fixed { delay_ms: 5_000, jitter_percent: 0 });
    let id = client.enqueue("q", vec![spec]).await[0].id;
    let mut worker = Peer::worker_of(server.native_addr(), 1, "q", 5).await;
    let fail = |error: &str| Verdict::Retry { error: error.to_owned(), retry_in_ms: None };
    let held = worker.jobs(1).await;
    worker.report(&held[0], fail("first")).await;
    let view = client.view(id).await;
    assert_eq!((view.state, view.attempt, view.reason.as_str()), (JobState::Retrying, 1, "first"));
    server.advance_ms(4_999);
    worker.no_jobs().await;
    server.advance_ms(1);
    let held = worker.jobs(1).await;
    assert_eq!(held[0].attempt, 2);
    worker.report(&held[0], fail("second")).await;
    let view = client.view(id).await;
    assert_eq!((view.state, view.attempts.len()), (JobState::Dead, 2));
    assert_eq!(view.attempts[1].error, "second");

    // A person gives it one more try.
    client.call(Request::RetryJob { id }).await.unwrap();
    let held = worker.jobs(1).await;
    assert_eq!(held[0].attempt, 3);
    worker.ack(&held[0]).await;
    assert_eq!(client.view(id).await.state, JobState::Succeeded);
}

#[tokio::test]
async fn snooze_and_release_use_no_attempt() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    let id = client.enqueue("q", vec![job("a")]).await[0].id;
    let mut worker = Peer::worker_of(server.native_addr(), 1, "q", 5).await;
    let held = worker.jobs(1).await;
    worker.report(&held[0], Verdict::Snooze { ms: 1_000 }).await;
    assert_eq!(client.view(id).await.attempt, 0);
    server.advance_ms(1_000);
    let held = worker.jobs(1).await;
    assert_eq!(held[0].attempt, 1);
    worker.report(&held[0], Verdict::Released).await;
    let held = worker.jobs(1).await;
    assert_eq!(held[0].attempt, 1);
    worker.report(&held[0], Verdict::Dead { error: "no use".to_owned() }).await;
    let view = client.view(id).await;
    assert_eq!((view.state, view.reason.as_str()), (JobState::Dead, "no use"));
}

/// Only the holder of the lease has a say: a wrong token, an old one and one of a queue that does not exist change nothing.
#[tokio::test]
async fn a_stale_token_is_refused() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    let id = client.enqueue("q", vec![job("a")]).await[0].id;
    let mut worker = Peer::worker_of(server.native_addr(), 1, "q", 5).await;
    let first = worker.jobs(1).await.remove(0);
    worker.report(&first, Verdict::Released).await;
    let second = worker.jobs(1).await.remove(0);
    assert!(second.token > first.token, "tokens grow");
    let stale = ReportResult::Refused(ErrorCode::StaleLease);
    assert_eq!(worker.report(&first, Verdict::Done(None)).await, stale);
    let mut forged = second.clone();
    forged.token = Token { epoch: u64::MAX, delivery: second.token.delivery };
    assert_eq!(worker.report(&forged, Verdict::Done(None)).await, stale);
    let mut elsewhere = second.clone();
    elsewhere.queue = queue("no-such-queue");
    assert_eq!(worker.report(&elsewhere, Verdict::Done(None)).await, stale);
    assert_eq!(client.view(id).await.state, JobState::Running);
    assert_eq!(client.queues().await.len(), 1, "a report makes no queue");
    worker.ack(&second).await;
    assert_eq!(worker.report(&second, Verdict::Done(None)).await, stale, "once is enough");
}

#[tokio::test]
async fn one_report_over_several_queues_is_answered_in_its_order() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    client.enqueue("a", vec![job("a")]).await;
    client.enqueue("b", vec![job("b")]).await;
    let mut worker = Peer::worker(server.native_addr(), 1).await;
    worker.subscribe(&[("a", 1), ("b", 1)], true).await;
    worker.credit(2).await;
    let held = worker.jobs(2).await;
    assert_eq!(kinds(&held), ["a", "b"]);
    let mut stale = held[1].clone();
    stale.token.delivery += 1;
    let outcomes = vec![
        outcome(&stale, Verdict::Done(None)),
        outcome(&held[0], Verdict::Done(None)),
        outcome(&held[1], Verdict::Done(None)),
    ];
    let results = worker.report_all(outcomes).await;
    assert_eq!(
        results,
        [ReportResult::Refused(ErrorCode::StaleLease), ReportResult::Recorded, ReportResult::Recorded]
    );
    assert_eq!(worker.report_all(Vec::new()).await, []);
}
