//! What people and programs do to jobs: cancel, retry, delete, pause, wait, list.

use windlass_core::api::{ErrorCode, JobQuery, Request, Response};
use windlass_core::job::{JobState, RunAt};
use windlass_core::wire::{ServerFrame, Verdict};
use windlass_scheduler::testing::TestServer;

use crate::peer::{Peer, job, kinds, lease, queue};

#[tokio::test]
async fn a_running_job_is_cancelled_through_its_worker() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    let id = client.enqueue("q", vec![job("a")]).await[0].id;
    let mut worker = Peer::worker_of(server.native_addr(), 1, "q", 1).await;
    let held = worker.jobs(1).await.remove(0);
    let Ok(Response::Job(view)) = client.call(Request::CancelJob { id }).await else { panic!("no job") };
    assert!(view.state == JobState::Running && view.cancel_requested);
    let told = worker
        .pick(|frame| if let ServerFrame::CancelJob(lease) = frame { Some(lease.clone()) } else { None });
    assert_eq!(told.await, lease(&held));
    worker.report(&held, Verdict::Cancelled { reason: "asked to".to_owned() }).await;
    assert_eq!(client.view(id).await.state, JobState::Cancelled);
}

#[tokio::test]
async fn waiting_jobs_are_cancelled_retried_and_deleted() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    let mut later = job("later");
    later.run_at = RunAt::AfterMs(60_000);
    let ids: Vec<_> = client.enqueue("q", vec![job("now"), later]).await.iter().map(|e| e.id).collect();
    for id in &ids {
        let Ok(Response::Job(view)) = client.call(Request::CancelJob { id: *id }).await else {
            panic!("no job")
        };
        assert_eq!(view.state, JobState::Cancelled);
        let error = client.call(Request::CancelJob { id: *id }).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Conflict, "{error}");
    }
    let mut worker = Peer::worker_of(server.native_addr(), 1, "q", 5).await;
    worker.no_jobs().await;
    client.call(Request::RetryJob { id: ids[1] }).await.unwrap();
    assert_eq!(kinds(&worker.jobs(1).await), ["later"]);
    let error = client.call(Request::DeleteJob { id: ids[1] }).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Conflict, "a running job is not deleted: {error}");
    assert_eq!(client.done(Request::DeleteJob { id: ids[0] }).await, 1);
    assert_eq!(client.call(Request::GetJob { id: ids[0] }).await.unwrap_err().code, ErrorCode::NotFound);
    assert_eq!(client.call(Request::DeleteJob { id: ids[0] }).await.unwrap_err().code, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_paused_queue_hands_out_nothing_and_takes_everything() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    let mut worker = Peer::worker_of(server.native_addr(), 1, "q", 5).await;
    worker.no_jobs().await;
    client.done(Request::PauseQueue { queue: queue("q") }).await;
    client.enqueue("q", vec![job("a")]).await;
    worker.no_jobs().await;
    let view = client.queues().await.remove(0);
    assert!(view.paused && view.workers == 1);
    let Ok(Response::Overview(overview)) = client.call(Request::GetOverview).await else {
        panic!("no overview")
    };
    assert!(overview.problems.iter().any(|text| text.contains("paused")), "{:?}", overview.problems);
    client.done(Request::ResumeQueue { queue: queue("q") }).await;
    assert_eq!(kinds(&worker.jobs(1).await), ["a"]);
    let error = client.call(Request::PauseQueue { queue: queue("no-such") }).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_wait_ends_with_the_job_or_with_its_time() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    let id = client.enqueue("q", vec![job("a")]).await[0].id;
    assert_eq!(client.wait(id, 30).await.unwrap_err().code, ErrorCode::Timeout);
    assert_eq!(client.wait(id, u64::MAX).await.unwrap_err().code, ErrorCode::Invalid);
    let waiting = client.start_call(Request::WaitJob { id, timeout_ms: 10_000 }).await;
    let mut worker = Peer::worker_of(server.native_addr(), 1, "q", 1).await;
    let held = worker.jobs(1).await;
    worker.ack(&held[0]).await;
    assert!(
        matches!(client.answer(waiting).await, Ok(Response::Job(view)) if view.state == JobState::Succeeded)
    );
    // One that has ended is answered at once.
    assert_eq!(client.wait(id, 0).await.map(|view| view.state), Ok(JobState::Succeeded));
}

#[tokio::test]
async fn pages_show_every_job_once_and_end() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    for name in ["a.1", "b"] {
        let mut specs: Vec<_> = (0..30).map(|_| job("plain")).collect();
        for index in 0..7 {
            let mut later = job("later");
            later.run_at = RunAt::AfterMs(60_000 + index);
            specs.push(later);
        }
        client.enqueue(name, specs).await;
    }
    let mut worker = Peer::worker_of(server.native_addr(), 1, "b", 5).await;
    let held = worker.jobs(5).await;
    worker.ack(&held[0]).await;
    worker.report(&held[1], Verdict::Dead { error: "no".to_owned() }).await;
    worker.report(&held[2], Verdict::Retry { error: "again".to_owned(), retry_in_ms: Some(5_000) }).await;

    let all = every(&mut client, JobQuery { limit: Some(10), ..JobQuery::default() }).await;
    assert_eq!(all.len(), 74);
    let states = |state| all.iter().filter(|(_, s)| *s == state).count();
    assert_eq!(states(JobState::Ready), 55);
    assert_eq!(states(JobState::Scheduled), 14);
    assert_eq!(states(JobState::Running), 2);
    assert_eq!((states(JobState::Retrying), states(JobState::Dead), states(JobState::Succeeded)), (1, 1, 1));

    for (state, count) in
        [(JobState::Ready, 25), (JobState::Scheduled, 7), (JobState::Running, 2), (JobState::Dead, 1)]
    {
        let query =
            JobQuery { queue: Some(queue("b")), state: Some(state), limit: Some(3), ..JobQuery::default() };
        assert_eq!(every(&mut client, query).await.len(), count, "{state}");
    }
    let later = JobQuery { kind: Some("later".to_owned()), limit: Some(4), ..JobQuery::default() };
    assert_eq!(every(&mut client, later).await.len(), 14);

    // A delayed job that is due is ready, wherever its record stands.
    server.advance_ms(100_000);
    let ready = JobQuery { queue: Some(queue("a.1")), state: Some(JobState::Ready), ..JobQuery::default() };
    assert_eq!(every(&mut client, ready).await.len(), 37);
    for bad in [
        JobQuery { cursor: Some("nonsense".to_owned()), ..JobQuery::default() },
        JobQuery { limit: Some(0), ..JobQuery::default() },
        JobQuery { limit: Some(1_000_000), ..JobQuery::default() },
    ] {
        assert_eq!(client.call(Request::ListJobs(bad)).await.unwrap_err().code, ErrorCode::Invalid);
    }
}

/// Follows the pages to the end; every job may come once.
async fn every(client: &mut Peer, mut query: JobQuery) -> Vec<(windlass_core::id::JobId, JobState)> {
    let mut seen = Vec::new();
    let mut ids = std::collections::BTreeSet::new();
    loop {
        let page = client.page(query.clone()).await;
        assert!(page.jobs.len() <= query.limit.unwrap_or(50) as usize);
        for job in page.jobs {
            assert!(ids.insert(job.id), "job {} came twice", job.id);
            seen.push((job.id, job.state));
        }
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return seen,
        }
    }
}

#[tokio::test]
async fn all_dead_jobs_of_a_kind_are_retried_or_deleted() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    let specs: Vec<_> = (0..2_500).map(|n| job(if n % 5 == 0 { "odd" } else { "common" })).collect();
    client.enqueue("q", specs).await;
    let mut worker = Peer::worker_of(server.native_addr(), 1, "q", 2_500).await;
    let held = worker.jobs(2_500).await;
    let dead = |job| crate::peer::outcome(job, Verdict::Dead { error: "no".to_owned() });
    worker.report_all(held.iter().map(dead).collect()).await;
    let kind = Some("odd".to_owned());
    assert_eq!(client.done(Request::RetryDead { queue: queue("q"), kind }).await, 500);
    worker.credit(10_000).await;
    let again = worker.jobs(500).await;
    assert!(again.iter().all(|job| job.kind == "odd"));
    assert_eq!(client.done(Request::DeleteDead { queue: queue("q"), kind: None }).await, 2_000);
    assert_eq!(client.done(Request::DeleteDead { queue: queue("q"), kind: None }).await, 0);
    let counts = client.queues().await.remove(0).counts;
    assert_eq!(counts.get(&JobState::Dead), Some(&0));
}

#[tokio::test]
async fn progress_is_seen_while_the_job_runs() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    let id = client.enqueue("q", vec![job("a")]).await[0].id;
    let mut worker = Peer::worker_of(server.native_addr(), 1, "q", 1).await;
    let held = worker.jobs(1).await.remove(0);
    let progress = windlass_core::wire::ClientFrame::Progress {
        lease: lease(&held),
        percent: 40,
        message: "half way".to_owned(),
    };
    worker.send(progress).await;
    worker.heartbeat().await;
    assert_eq!(client.view(id).await.progress, Some((40, "half way".to_owned())));
}
