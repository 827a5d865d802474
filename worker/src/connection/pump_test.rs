//! A whole worker against a scripted server.

use std::future::Future;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use windlass_core::api::{ApiError, ErrorCode};
use windlass_core::wire::{ClientFrame, ServerFrame, Verdict as WireVerdict};

use super::*;
use crate::peer_test::{PATIENCE, Peer, Talk, delivery, lease, welcome};
use crate::worker::{Worker, WorkerBuilder};

struct Started {
    talk: Talk,
    credit: u32,
    stop: oneshot::Sender<()>,
    run: JoinHandle<Result<(), Error>>,
}

fn builder(peer: &Peer) -> WorkerBuilder {
    Worker::builder(peer.address()).concurrency(4).stop_deadline(PATIENCE)
}

async fn start(peer: &Peer, builder: WorkerBuilder) -> Started {
    let (stop, stopped) = oneshot::channel::<()>();
    let run = tokio::spawn(builder.build().run_until(async move {
        // A sender that is dropped stops the worker, too.
        let _ = stopped.await;
    }));
    let mut talk = peer.accept().await;
    let credit = talk.expect_credit().await;
    Started { talk, credit, stop, run }
}

async fn hang(job: JobCtx) {
    job.progress(0, "begun").await;
    std::future::pending::<()>().await;
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("took too long")
}

#[tokio::test]
async fn a_worker_introduces_itself_runs_by_credit_and_leaves_in_order() {
    let peer = Peer::bind().await;
    let builder =
        builder(&peer).name("w1").queues(["a", "b"]).handle("double", async |n: u64| Ok::<_, String>(n * 2));
    let mut started = start(&peer, builder).await;
    let hello = started.talk.hello.worker.clone().expect("a worker says so");
    assert_eq!((hello.name.as_str(), hello.kinds), ("w1", vec!["double".to_owned()]));
    assert_eq!(started.credit, 4);

    let jobs = vec![delivery(1, "double", "21"), delivery(2, "nope", "1")];
    started.talk.send(ServerFrame::Deliver(jobs)).await;
    let mut outcomes = started.talk.record().await;
    while outcomes.len() < 2 {
        outcomes.extend(started.talk.record().await);
    }
    outcomes.sort_by_key(|outcome| outcome.id);
    assert!(matches!(&outcomes[0].verdict, WireVerdict::Done(Some(result)) if &result.data[..] == b"42"));
    assert!(matches!(&outcomes[1].verdict, WireVerdict::Retry { error, .. } if error.contains("no handler")));

    while started.talk.credit < 6 {
        let frame = started.talk.next_but_beats().await;
        assert!(matches!(frame, ClientFrame::Credit { .. }), "{frame:?}");
    }
    assert_eq!(started.talk.credit, 6, "each end gives its slot back once");

    started.stop.send(()).expect("runs");
    assert_eq!(started.talk.next_but_beats().await, ClientFrame::Quiet);
    assert_eq!(started.talk.next_but_beats().await, ClientFrame::Goodbye);
    within(started.run).await.expect("no panic").expect("an orderly end");
}

#[tokio::test]
async fn a_lost_connection_is_resumed_and_the_report_is_repeated() {
    let peer = Peer::bind().await;
    let (release, released) = oneshot::channel::<()>();
    let gate = std::sync::Arc::new(std::sync::Mutex::new(Some(released)));
    let builder = builder(&peer).handle("quick", async || ()).handle("slow", async move || {
        let gate = gate.lock().expect("no panic").take();
        let _ = gate.expect("runs once").await;
    });
    let mut started = start(&peer, builder).await;
    let (quick, slow) = (delivery(1, "quick", "null"), delivery(2, "slow", "null"));
    started.talk.send(ServerFrame::Deliver(vec![quick.clone(), slow.clone()])).await;
    let report = started.talk.report().await;
    assert_eq!(report.outcomes.len(), 1);
    drop(started.talk);

    let mut talk = peer.accept().await;
    let ClientFrame::Resume(mut leases) = talk.next().await else { panic!("expected a resume") };
    leases.sort_by_key(|lease| lease.id);
    assert_eq!(leases, [lease(&quick), lease(&slow)]);
    assert_eq!(talk.record().await, report.outcomes, "the unanswered report comes again");
    assert_eq!(talk.expect_credit().await, 3, "the running job keeps its slot");
    talk.send(ServerFrame::Resumed { kept: vec![lease(&slow)], lost: vec![lease(&quick)] }).await;

    release.send(()).expect("the handler still runs");
    assert_eq!(talk.record().await[0].id, slow.id);
    started.stop.send(()).expect("runs");
    talk.expect_goodbye().await;
    within(started.run).await.expect("no panic").expect("an orderly end");
}

#[tokio::test]
async fn cancel_and_lost_leases_reach_the_handler() {
    let peer = Peer::bind().await;
    let builder = builder(&peer).handle("wait", async |job: JobCtx| {
        job.progress(1, "waits").await;
        job.cancelled().await;
        Err::<(), _>("was told to stop")
    });
    let mut started = start(&peer, builder).await;
    let (one, two) = (delivery(1, "wait", "null"), delivery(2, "wait", "null"));
    started.talk.send(ServerFrame::Deliver(vec![one.clone(), two.clone()])).await;
    started.talk.expect_begun().await;
    started.talk.expect_begun().await;
    started.talk.send(ServerFrame::LeaseLost(lease(&one))).await;
    let frame = started.talk.next_but_beats().await;
    assert_eq!(frame, ClientFrame::Credit { add: 1 }, "a lost lease frees its slot and is not reported");

    started.talk.send(ServerFrame::CancelJob(lease(&two))).await;
    let outcomes = started.talk.record().await;
    assert_eq!(outcomes[0].id, two.id);
    assert!(matches!(&outcomes[0].verdict, WireVerdict::Cancelled { .. }), "{outcomes:?}");
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_given_back() {
    let peer = Peer::bind().await;
    let builder = builder(&peer).stop_deadline(Duration::from_millis(20)).handle("hang", hang);
    let mut started = start(&peer, builder).await;
    started.talk.send(ServerFrame::Deliver(vec![delivery(1, "hang", "null")])).await;
    started.talk.expect_begun().await;
    started.stop.send(()).expect("runs");
    let outcomes = started.talk.record().await;
    assert_eq!(outcomes[0].verdict, WireVerdict::Released);
    started.talk.expect_goodbye().await;
    within(started.run).await.expect("no panic").expect("an orderly end");
}

#[tokio::test]
async fn a_job_that_comes_after_quiet_is_given_back_unrun() {
    let peer = Peer::bind().await;
    let (release, released) = oneshot::channel::<()>();
    let gate = std::sync::Arc::new(std::sync::Mutex::new(Some(released)));
    let builder = builder(&peer).handle("k", async move |job: JobCtx| {
        job.progress(0, "begun").await;
        let gate = gate.lock().expect("no panic").take();
        let _ = gate.expect("runs once").await;
    });
    let mut started = start(&peer, builder).await;
    started.talk.send(ServerFrame::Deliver(vec![delivery(1, "k", "null")])).await;
    started.talk.expect_begun().await;
    started.stop.send(()).expect("runs");
    assert_eq!(started.talk.next_but_beats().await, ClientFrame::Quiet);
    started.talk.send(ServerFrame::Deliver(vec![delivery(2, "k", "null")])).await;
    let outcomes = started.talk.record().await;
    assert_eq!((outcomes[0].id, &outcomes[0].verdict), (delivery(2, "k", "null").id, &WireVerdict::Released));
    release.send(()).expect("the first one runs on");
    assert_eq!(started.talk.record().await[0].verdict, WireVerdict::Done(None));
    assert_eq!(started.talk.next_but_beats().await, ClientFrame::Goodbye);
    within(started.run).await.expect("no panic").expect("an orderly end");
}

#[tokio::test]
async fn dropping_the_future_gives_everything_back() {
    let peer = Peer::bind().await;
    let builder = builder(&peer).handle("hang", hang);
    let mut started = start(&peer, builder).await;
    started.talk.send(ServerFrame::Deliver(vec![delivery(1, "hang", "null")])).await;
    started.talk.expect_begun().await;
    started.run.abort();
    assert_eq!(started.talk.record().await[0].verdict, WireVerdict::Released);
    started.talk.expect_goodbye().await;
}

#[tokio::test]
async fn heartbeats_go_on_while_the_handlers_block_the_runtime() {
    let peer = Peer::bind().await;
    let address = peer.address();
    // A runtime of its own, whose only thread the handler blocks.
    let (stop, stopped) = oneshot::channel::<()>();
    let (unblock, blocked) = std::sync::mpsc::sync_channel::<()>(1);
    let blocked = std::sync::Arc::new(std::sync::Mutex::new(blocked));
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let worker = Worker::builder(address).handle("block", async move || {
            let gate = blocked.lock().expect("no panic");
            let _ = gate.recv_timeout(PATIENCE);
        });
        runtime.block_on(worker.build().run_until(async move {
            let _ = stopped.await;
        }))
    });
    let mut talk = peer.accept_with(Welcome { heartbeat_ms: 50, ..welcome() }).await;
    talk.expect_credit().await;
    talk.send(ServerFrame::Deliver(vec![delivery(1, "block", "null")])).await;
    for _ in 0..5 {
        let frame = talk.next().await;
        let ClientFrame::Heartbeat { seq } = frame else { panic!("expected a heartbeat, got {frame:?}") };
        talk.send(ServerFrame::HeartbeatAck { seq }).await;
    }
    unblock.send(()).expect("the handler waits");
    assert_eq!(talk.record().await.len(), 1);
    stop.send(()).expect("runs");
    talk.expect_goodbye().await;
    thread.join().expect("no panic").expect("an orderly end");
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left() {
    let peer = Peer::bind().await;
    let run = tokio::spawn(builder(&peer).handle("k", async || ()).build().run_until(std::future::pending()));
    let mut talk = peer.accept_with(Welcome { heartbeat_ms: 50, ..welcome() }).await;
    while talk.try_next().await.is_some() {}
    let mut again = peer.accept().await;
    assert_eq!(again.next().await, ClientFrame::Resume(Vec::new()));
    run.abort();
}

#[tokio::test]
async fn a_server_that_does_not_want_the_worker_ends_it() {
    let peer = Peer::bind().await;
    let run = tokio::spawn(builder(&peer).build().run_until(std::future::pending()));
    let mut talk = peer.accept_silent().await;
    talk.send(ServerFrame::Refused(ApiError::new(ErrorCode::Denied, "no token"))).await;
    let error = within(run).await.expect("no panic").expect_err("refused");
    assert_eq!(error.code(), Some(ErrorCode::Denied));
}

#[tokio::test]
async fn a_worker_leaves_only_when_nothing_is_on_its_way_any_more() {
    let peer = Peer::bind().await;
    let mut started = start(&peer, builder(&peer).handle("k", async || ())).await;
    started.stop.send(()).expect("runs");
    assert_eq!(started.talk.next().await, ClientFrame::Quiet);
    let ClientFrame::Heartbeat { seq } = started.talk.next().await else { panic!("expected the barrier") };
    // This job was on its way when the server read Quiet.
    started.talk.send(ServerFrame::Deliver(vec![delivery(1, "k", "null")])).await;
    started.talk.send(ServerFrame::HeartbeatAck { seq }).await;
    assert_eq!(started.talk.record().await[0].verdict, WireVerdict::Released);
    assert_eq!(started.talk.next_but_beats().await, ClientFrame::Goodbye);
    within(started.run).await.expect("no panic").expect("an orderly end");
}

/// How fast the worker alone is, against a server that only deals out jobs: `cargo test -p windlass-worker noop_rate -- --ignored --nocapture`
/// (with optimisation, or the figure says nothing).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a test"]
async fn noop_rate() {
    const JOBS: u64 = 500_000;
    for slots in [1, 64, 10_000] {
        let peer = Peer::bind().await;
        let worker = builder(&peer).concurrency(slots).handle("noop", async || ());
        let mut started = start(&peer, worker).await;
        let jobs = if slots == 1 { JOBS / 50 } else { JOBS };
        let begin = Instant::now();
        let (mut sent, mut done) = (0, 0);
        while done < jobs {
            let open = u64::from(started.talk.credit).saturating_sub(sent).min(jobs - sent);
            for at in (0..open).step_by(1_000) {
                let batch = (at..open.min(at + 1_000)).map(|n| {
                    let mut job = delivery(1, "noop", "null");
                    job.token.delivery = sent + n;
                    job
                });
                started.talk.send(ServerFrame::Deliver(batch.collect())).await;
            }
            sent += open;
            match started.talk.next_but_beats().await {
                ClientFrame::Report(report) => {
                    done += report.outcomes.len() as u64;
                    let results = vec![windlass_core::wire::ReportResult::Recorded; report.outcomes.len()];
                    started.talk.send(ServerFrame::Reported { request: report.request, results }).await;
                }
                ClientFrame::Credit { .. } => {}
                other => panic!("expected a report, got {other:?}"),
            }
        }
        let rate = f64::from(u32::try_from(jobs).expect("fits")) / begin.elapsed().as_secs_f64();
        println!("{slots} slots: {rate:.0} no-op jobs per second");
        started.run.abort();
    }
}
