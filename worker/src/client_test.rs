//! The client against a scripted server.

use std::sync::Mutex;

use super::*;
use crate::job::Job;
use crate::peer_test::{PATIENCE, Peer};
use windlass_core::api::ApiError;

fn job(n: u32) -> Job {
    Job::new("k", &n).expect("a number is JSON")
}

async fn connect_to(peer: &Peer) -> (Client, crate::peer_test::Talk) {
    let (client, talk) = tokio::join!(Client::connect(peer.address()), peer.accept());
    (client.expect("connects"), talk)
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("took too long")
}

#[tokio::test]
async fn nobody_there_is_told_at_once() {
    let free = Peer::bind().await.address();
    let error = Client::connect(free.clone()).await.expect_err("nobody listens");
    assert!(matches!(&error, Error::Unreachable { addresses, .. } if *addresses == free), "{error}");
}

#[tokio::test]
async fn a_refusal_is_told_as_such() {
    let peer = Peer::bind().await;
    let refuse = async {
        let mut talk = peer.accept_silent().await;
        let error = ApiError::new(ErrorCode::Denied, "no token");
        talk.send(windlass_core::wire::ServerFrame::Refused(error)).await;
    };
    let (client, ()) = tokio::join!(Client::connect(peer.address()), refuse);
    assert_eq!(client.expect_err("refused").code(), Some(ErrorCode::Denied));
}

#[tokio::test]
async fn concurrent_enqueues_are_coalesced() {
    let peer = Peer::bind().await;
    let (client, mut talk) = connect_to(&peer).await;
    let callers: Vec<_> = (0..100)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.enqueue(job(n)).await })
        })
        .collect();
    let (mut frames, mut jobs) = (0, 0);
    while jobs < 100 {
        let (request, _, specs) = talk.enqueue().await;
        talk.accept_jobs(request, &specs).await;
        frames += 1;
        jobs += specs.len();
    }
    assert!(frames <= 10, "100 concurrent calls took {frames} frames");
    for caller in callers {
        assert!(!caller.await.expect("no panic").expect("taken").duplicate);
    }
}

#[tokio::test]
async fn what_was_not_answered_is_sent_again_with_the_same_id() {
    let peer = Peer::bind().await;
    let (client, mut talk) = connect_to(&peer).await;
    let caller = tokio::spawn({
        let client = client.clone();
        async move { client.enqueue(job(1)).await }
    });
    let (_, _, first) = talk.enqueue().await;
    drop(talk);
    let mut talk = peer.accept().await;
    let (request, _, again) = talk.enqueue().await;
    assert_eq!(first, again);
    // The server had taken it the first time; for the caller it is no duplicate all the same.
    let answer = Enqueued { id: again[0].id.expect("made here"), duplicate: true };
    talk.reply(request, Ok(Response::Enqueued(vec![answer]))).await;
    assert!(!within(caller).await.expect("no panic").expect("taken").duplicate);
}

#[tokio::test]
async fn an_own_id_that_is_known_is_a_duplicate() {
    let peer = Peer::bind().await;
    let (client, mut talk) = connect_to(&peer).await;
    let id = JobId([7; 16]);
    let serve = async {
        let (request, _, _) = talk.enqueue().await;
        talk.reply(request, Ok(Response::Enqueued(vec![Enqueued { id, duplicate: true }]))).await;
    };
    let (enqueued, ()) = tokio::join!(client.enqueue(job(1).id(id)), serve);
    assert!(enqueued.expect("taken").duplicate);
}

#[tokio::test]
async fn the_buffer_is_bounded_while_the_server_is_away() {
    let peer = Peer::bind().await;
    let client = Client::builder(peer.address()).buffer(2, 1 << 20).connect();
    let (client, talk) = tokio::join!(client, peer.accept());
    let client = client.expect("connects");
    drop(talk);
    within(async {
        let mut watcher = client.shared.connection.subscribe();
        watcher.wait_for(|c| !c.is_up()).await.expect("lives");
    })
    .await;
    // Nobody answers the greeting of the reconnect, so the client stays away.
    let waiting: Vec<_> = (0..2)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.enqueue(job(n)).await })
        })
        .collect();
    while client.buffered().0 < 2 {
        tokio::task::yield_now().await;
    }
    let error = within(client.enqueue(job(9))).await.expect_err("the buffer is full");
    assert!(matches!(error, Error::BufferFull { jobs: 2, .. }), "{error}");

    let mut talk = peer.accept().await;
    let (request, _, jobs) = talk.enqueue().await;
    assert_eq!(jobs.len(), 2, "both were buffered, in one frame");
    talk.accept_jobs(request, &jobs).await;
    for caller in waiting {
        within(caller).await.expect("no panic").expect("taken in the end");
    }
    assert_eq!(client.buffered(), (0, 0));
}

#[tokio::test]
async fn patience_with_a_server_that_is_away_can_end() {
    let peer = Peer::bind().await;
    let builder = Client::builder(peer.address()).give_up_after(Duration::from_millis(30));
    let (client, mut talk) = tokio::join!(builder.connect(), peer.accept());
    let client = client.expect("connects");
    let serve = async {
        talk.enqueue().await;
        drop(talk);
    };
    let (enqueued, ()) = within(async { tokio::join!(client.enqueue(job(1)), serve) }).await;
    assert!(matches!(enqueued, Err(Error::Unreachable { .. })), "{enqueued:?}");
    assert!(matches!(within(client.enqueue(job(2))).await, Err(Error::Unreachable { .. })));
    // The server is back, and so is the client.
    let mut talk = peer.accept().await;
    let serve = async {
        let (request, _, jobs) = talk.enqueue().await;
        talk.accept_jobs(request, &jobs).await;
    };
    let (enqueued, ()) = within(async { tokio::join!(enqueue_when_up(&client), serve) }).await;
    enqueued.expect("taken");
}

async fn enqueue_when_up(client: &Client) -> Result<Enqueued, Error> {
    client.connected().await;
    client.enqueue(job(3)).await
}

#[tokio::test]
async fn events_tell_of_loss_and_return() {
    let peer = Peer::bind().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let builder = Client::builder(peer.address()).on_event(move |event| {
        let word = match event {
            ConnectionEvent::Connected { .. } => "connected",
            ConnectionEvent::Lost { .. } => "lost",
            ConnectionEvent::Unreachable { .. } => "unreachable",
            ConnectionEvent::Reported { .. } => "reported",
        };
        sink.lock().expect("no panic").push(word);
    });
    let (client, talk) = tokio::join!(builder.connect(), peer.accept());
    let client = client.expect("connects");
    drop(talk);
    let _talk = peer.accept().await;
    within(async {
        while seen.lock().expect("no panic").len() < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(*seen.lock().expect("no panic"), ["connected", "lost", "connected"]);
    assert!(client.connection().is_up());
}

#[tokio::test]
async fn a_bulk_is_framed_by_queue_and_finds_the_bad_job() {
    let peer = Peer::bind().await;
    let (client, mut talk) = connect_to(&peer).await;
    let jobs = (0..2_500).map(|n| match n {
        17 => Job::new("", &n),
        _ => Ok(job(n).queue(if n % 2 == 0 { "even" } else { "odd" })),
    });
    let serve = async {
        let mut taken = 0;
        let mut largest = 0;
        while taken < 2_499 {
            let (request, queue, jobs) = talk.enqueue().await;
            let parity = u32::from(queue.as_str() == "odd");
            for spec in &jobs {
                let n: u32 = serde_json::from_slice(&spec.payload.data).expect("a number");
                assert_eq!(n % 2, parity, "job {n} went to {queue}");
            }
            talk.accept_jobs(request, &jobs).await;
            taken += jobs.len();
            largest = largest.max(jobs.len());
        }
        assert!((100..=1_000).contains(&largest), "the largest frame had {largest} jobs");
    };
    let mut told = Vec::new();
    let bulk = async {
        client.enqueue_many(jobs).on_result(|index, result| told.push((index, result.is_ok()))).await
    };
    let (result, ()) = within(async { tokio::join!(bulk, serve) }).await;
    let error = result.expect_err("job 17 has no kind");
    assert_eq!((error.summary.enqueued, error.summary.refused, error.index), (2_499, 1, 17));
    told.sort_unstable();
    assert_eq!(told.len(), 2_500);
    assert!(told.iter().enumerate().all(|(n, (index, ok))| n as u64 == *index && *ok == (n != 17)));
}

#[tokio::test]
async fn a_result_is_typed_and_a_failure_is_told() {
    let peer = Peer::bind().await;
    let (client, mut talk) = connect_to(&peer).await;
    let id = JobId([1; 16]);
    let serve = async {
        let (request, asked) = talk.call().await;
        assert!(matches!(asked, Request::WaitJob { .. }), "{asked:?}");
        talk.reply(request, Ok(Response::Job(Box::new(view(id, JobState::Succeeded, Some(b"[1,2]")))))).await;
        let (request, _) = talk.call().await;
        talk.reply(request, Ok(Response::Job(Box::new(view(id, JobState::Dead, None))))).await;
        let (request, _) = talk.call().await;
        talk.reply(request, Err(ApiError::new(ErrorCode::Timeout, "not yet"))).await;
    };
    let ask = async {
        let list: Vec<u8> = client.wait(id, PATIENCE).await.expect("succeeded");
        assert_eq!(list, [1, 2]);
        let failed = client.wait::<()>(id, PATIENCE).await.expect_err("dead");
        assert!(
            matches!(&failed, Error::JobFailed { state: JobState::Dead, reason, .. } if reason == "no luck")
        );
        let late = client.wait::<()>(id, Duration::ZERO).await.expect_err("not yet");
        assert!(matches!(late, Error::Timeout(Duration::ZERO)), "{late}");
    };
    within(async { tokio::join!(serve, ask) }).await;
}

#[tokio::test]
async fn closing_waits_for_answers_and_says_goodbye() {
    let peer = Peer::bind().await;
    let (client, mut talk) = connect_to(&peer).await;
    let caller = tokio::spawn({
        let client = client.clone();
        async move { client.enqueue(job(1)).await }
    });
    let (request, _, jobs) = talk.enqueue().await;
    let other = client.clone();
    let close = tokio::spawn(client.close());
    talk.accept_jobs(request, &jobs).await;
    assert_eq!(talk.next().await, windlass_core::wire::ClientFrame::Goodbye);
    within(close).await.expect("no panic");
    within(caller).await.expect("no panic").expect("taken");
    assert!(matches!(other.enqueue(job(2)).await, Err(Error::Closed | Error::BufferFull { .. })));
}

fn view(id: JobId, state: JobState, result: Option<&'static [u8]>) -> JobView {
    JobView {
        id,
        queue: QueueName::default(),
        kind: "k".to_owned(),
        state,
        priority: 0,
        payload: windlass_core::job::Payload::json(&b"1"[..]),
        enqueued_at: windlass_core::time::Timestamp(1),
        run_at: windlass_core::time::Timestamp(1),
        ended_at: None,
        expires_at: None,
        timeout_ms: None,
        attempt: 1,
        max_attempts: 1,
        backoff: windlass_core::retry::Backoff::default(),
        retention_ms: None,
        crashes: 0,
        attempts: Vec::new(),
        result: result.map(windlass_core::job::Payload::json),
        reason: "no luck".to_owned(),
        progress: None,
        cancel_requested: false,
        tags: Vec::new(),
        headers: Vec::new(),
    }
}
