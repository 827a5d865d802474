//! The end of a token: revoked while its holder is connected, expired, and what is written down about all that.

use std::time::Duration;

use windlass_core::access::Role;
use windlass_core::api::{AuditEntry, Request, Response, TokenSpec};
use windlass_scheduler::testing::TestServer;
use windlass_worker::{JobCtx, Worker};

use crate::support::{closed, connect, is_denied, job, make, queue, spec};

/// A worker that waits for jobs gets none any more, and ends; a job that comes then is run by another.
#[tokio::test]
async fn a_revoked_token_ends_open_connections_at_once() {
    let (server, _) = closed(false).await;
    let token = make(&server, spec("gone", Role::Worker)).await.expect("a token");
    let client = connect(&server, &token.secret).await.expect("a good token");
    let worker = |secret: &str| {
        Worker::builder(server.native_addr().to_string())
            .token(secret)
            .gossip(false)
            .queues(["a"])
            .handle("k", |_job: JobCtx| async {})
            .build()
    };
    let revoked = tokio::spawn(worker(&token.secret).run_until(std::future::pending()));
    client.call(Request::Enqueue { queue: queue("a"), jobs: vec![job()] }).await.expect("it may");
    let api = server.api();
    api.call(Request::RevokeToken { token: token.view.id.to_string() }).await.expect("revoked");
    let denied = client.call(Request::Enqueue { queue: queue("a"), jobs: vec![job()] }).await;
    assert!(denied.is_err(), "{denied:?}");
    let ended = tokio::time::timeout(Duration::from_secs(5), revoked).await.expect("soon").expect("no panic");
    assert!(is_denied(&ended), "{ended:?}");
    let Ok(Response::Enqueued(made)) =
        api.call(Request::Enqueue { queue: queue("a"), jobs: vec![job()] }).await
    else {
        panic!("the node itself may");
    };
    let heir = make(&server, spec("heir", Role::Worker)).await.expect("a token");
    let working = tokio::spawn(worker(&heir.secret).run_until(std::future::pending()));
    let waited = api.call(Request::WaitJob { id: made[0].id, timeout_ms: 20_000 }).await;
    assert!(waited.is_ok(), "{waited:?}");
    working.abort();
}

#[tokio::test]
async fn a_token_expires_by_itself() {
    let (server, _) = closed(false).await;
    let short = TokenSpec { expires_in_ms: Some(400), ..spec("short", Role::Producer) };
    let token = make(&server, short).await.expect("a token");
    let client = connect(&server, &token.secret).await.expect("still good");
    client.call(Request::Enqueue { queue: queue("a"), jobs: vec![job()] }).await.expect("still good");
    tokio::time::sleep(Duration::from_millis(700)).await;
    let late = client.call(Request::Enqueue { queue: queue("a"), jobs: vec![job()] }).await;
    assert!(late.is_err(), "{late:?}");
    let again = connect(&server, &token.secret).await.map(|_| ());
    assert!(is_denied(&again), "{again:?}");
}

async fn audit(server: &TestServer) -> Vec<AuditEntry> {
    match server.api().call(Request::ListAudit { before: None, limit: Some(100) }).await {
        Ok(Response::Audit(page)) => page.entries,
        other => panic!("{other:?}"),
    }
}

/// Who, what, to what, with which outcome; reading and enqueueing leave no entry, and neither does what was refused.
#[tokio::test]
async fn operators_leave_a_trail() {
    let (server, tokens) = closed(false).await;
    let before = audit(&server).await.len();
    let of = |role: Role| &tokens.iter().find(|(r, _)| *r == role).expect("one each").1;
    let operator = connect(&server, &of(Role::Operator).secret).await.expect("a good token");
    let viewer = connect(&server, &of(Role::Viewer).secret).await.expect("a good token");
    operator.call(Request::Enqueue { queue: queue("a"), jobs: vec![job()] }).await.expect("it may");
    operator.call(Request::ListQueues).await.expect("it may");
    operator.call(Request::PauseQueue { queue: queue("a") }).await.expect("it may");
    operator.call(Request::PauseQueue { queue: queue("absent") }).await.expect_err("there is none");
    viewer.call(Request::PauseQueue { queue: queue("a") }).await.expect_err("it may not");
    let entries = audit(&server).await;
    assert_eq!(entries.len() - before, 2, "{entries:?}");
    let [failed, paused] = &entries[..2] else { panic!("newest first") };
    assert!(failed.seq > paused.seq && failed.error.as_deref().is_some_and(|e| e.contains("absent")));
    assert_eq!(
        (paused.who.as_str(), paused.operation.as_str(), paused.target.as_str(), paused.count, &paused.error),
        ("operator", "queue.pause", "queue a", 1, &None)
    );
    assert_eq!(paused.token, Some(of(Role::Operator).view.id));
    assert!(paused.from.starts_with("127.0.0.1:"), "{paused:?}");
}
