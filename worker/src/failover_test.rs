//! A client and a worker that know several servers: which of them they ask, in which order, and what they take along.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use windlass_core::api::{ApiError, ErrorCode, Request, Response};
use windlass_core::wire::{ClientFrame, ServerFrame, Verdict as WireVerdict};

use crate::client::{Client, Connection};
use crate::error::Error;
use crate::job::Job;
use crate::peer_test::{PATIENCE, Peer, Talk, delivery, lease};
use crate::surroundings::{Conn, Simulated};
use crate::worker::Worker;

fn job(n: u32) -> Job {
    Job::new("k", &n).expect("a number is JSON")
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("took too long")
}

/// The next connection of a client that has lost another one. A server that takes connections and does not greet would cost it
/// [`HANDSHAKE_MS_MAX`](windlass_core::limits::HANDSHAKE_MS_MAX), and is not to be asked first.
async fn accept_soon(peer: &Peer) -> Talk {
    let soon = Duration::from_millis(windlass_core::limits::HANDSHAKE_MS_MAX - 1_500);
    tokio::time::timeout(soon, peer.accept()).await.expect("another server was asked first")
}

/// A client of these servers, at which `expected` answers.
async fn connect_to(servers: &str, expected: &Peer) -> (Client, Talk) {
    let (client, talk) = tokio::join!(Client::connect(servers), expected.accept());
    (client.expect("connects"), talk)
}

fn address_of(client: &Client) -> Option<String> {
    match client.connection() {
        Connection::Up { address, .. } => Some(address.to_string()),
        Connection::Away { .. } => None,
    }
}

/// Reads a hello and refuses it.
async fn refuse(peer: &Peer, code: ErrorCode) {
    peer.accept_silent().await.send(ServerFrame::Refused(ApiError::new(code, "no"))).await;
}

#[tokio::test]
async fn a_dead_address_costs_nothing_when_another_one_works() {
    let (dead, alive) = (Peer::bind().await.address(), Peer::bind().await);
    let begun = Instant::now();
    let (client, _talk) = connect_to(&format!("{dead}, {}", alive.address()), &alive).await;
    assert_eq!(address_of(&client), Some(alive.address()));
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
}

/// A machine on which one address swallows every packet.
struct Swallows(SocketAddr);

impl Simulated for Swallows {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Conn>> {
        if address == self.0 {
            return std::future::pending().boxed();
        }
        Conn::open(address).boxed()
    }

    fn random(&self) -> u64 {
        7
    }
}

#[tokio::test]
async fn an_address_that_swallows_everything_costs_a_second() {
    let (swallows, alive) = (Peer::bind().await.address(), Peer::bind().await);
    let machine = Arc::new(Swallows(swallows.parse().expect("an address")));
    let begun = Instant::now();
    let client = Client::builder(format!("{swallows},{}", alive.address())).simulated(machine).connect();
    let (client, _talk) = within(async { tokio::join!(client, alive.accept()) }).await;
    client.expect("connects");
    let took = begun.elapsed();
    assert!((900..2_500).contains(&took.as_millis()), "{took:?}");
}

/// A standby without an owner and a server that stops refuse so.
#[tokio::test]
async fn a_server_that_cannot_serve_now_is_passed_over() {
    let (stops, serves) = (Peer::bind().await, Peer::bind().await);
    let servers = format!("{},{}", stops.address(), serves.address());
    let (first, (client, _talk)) =
        within(async { tokio::join!(refuse(&stops, ErrorCode::Unavailable), connect_to(&servers, &serves)) })
            .await;
    assert_eq!((first, address_of(&client)), ((), Some(serves.address())));
}

#[tokio::test]
async fn a_round_that_fails_says_what_weighs_most() {
    let (away, there) = (Peer::bind().await.address(), Peer::bind().await);
    for (code, told) in [(ErrorCode::Denied, true), (ErrorCode::Unsupported, false)] {
        for servers in [format!("{away},{}", there.address()), format!("{},{away}", there.address())] {
            let (error, ()) =
                within(async { tokio::join!(Client::connect(servers), refuse(&there, code)) }).await;
            let error = error.expect_err("nobody takes it");
            assert_eq!(matches!(error, Error::Refused(_)), told, "{error}");
        }
    }
}

#[tokio::test]
async fn what_was_not_answered_goes_to_the_next_server_and_later_back() {
    let (first, second) = (Peer::bind().await, Peer::bind().await);
    let servers = format!("{},{}", first.address(), second.address());
    let (client, mut talk) = connect_to(&servers, &first).await;
    let caller = tokio::spawn({
        let client = client.clone();
        async move { client.enqueue(job(1)).await }
    });
    let trigger = tokio::spawn({
        let client = client.clone();
        async move { client.trigger_schedule("daily").await }
    });
    let (mut jobs, mut triggered) = (None, false);
    while jobs.is_none() || !triggered {
        match talk.call().await {
            (_, Request::Enqueue { jobs: specs, .. }) => jobs = Some(specs),
            (_, Request::TriggerSchedule { .. }) => triggered = true,
            (_, other) => panic!("{other:?}"),
        }
    }
    // The first server would take connections again; the other one is asked all the same.
    drop(talk);
    let mut talk = accept_soon(&second).await;
    let (request, _, again) = talk.enqueue().await;
    assert_eq!(jobs, Some(again.clone()), "the same jobs with the same ids");
    talk.accept_jobs(request, &again).await;
    assert!(!within(caller).await.expect("no panic").expect("taken").duplicate);
    let lost = within(trigger).await.expect("no panic");
    assert!(matches!(lost, Err(Error::AnswerLost)), "what could be done twice is not sent again: {lost:?}");
    assert_eq!(address_of(&client), Some(second.address()));
    drop(talk);
    let _talk = accept_soon(&first).await;
}

#[tokio::test]
async fn a_client_of_dead_servers_comes_back_with_the_first_that_lives() {
    let (first, second) = (Peer::bind().await, Peer::bind().await);
    let addresses = [first.address(), second.address()];
    let (client, talk) = connect_to(&addresses.join(","), &first).await;
    drop((talk, first, second));
    let caller = tokio::spawn({
        let client = client.clone();
        async move { client.enqueue(job(1)).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!caller.is_finished() && !client.connection().is_up());
    let back = Peer::bind_at(&addresses[1]).await;
    let mut talk = back.accept().await;
    let (request, _, jobs) = talk.enqueue().await;
    talk.accept_jobs(request, &jobs).await;
    within(caller).await.expect("no panic").expect("taken");
}

#[tokio::test]
async fn a_worker_takes_its_jobs_along_and_runs_them_once() {
    let (first, second) = (Peer::bind().await, Peer::bind().await);
    let (runs, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (counter, opened) = (Arc::clone(&runs), Arc::clone(&gate));
    let worker = Worker::builder(format!("{},{}", first.address(), second.address()));
    let worker = worker.concurrency(4).handle("long", move || {
        let (counter, opened) = (Arc::clone(&counter), Arc::clone(&opened));
        async move {
            counter.fetch_add(1, Ordering::Relaxed);
            let _ = opened.acquire().await;
        }
    });
    let run = tokio::spawn(worker.build().run_until(std::future::pending()));
    let mut talk = first.accept().await;
    let id = talk.hello.worker.as_ref().expect("a worker").id;
    talk.expect_credit().await;
    let delivered = delivery(1, "long", "null");
    talk.send(ServerFrame::Deliver(vec![delivered.clone()])).await;
    within(async {
        while runs.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(talk);
    // The second one has no owner yet, and the first one stops: neither is waited for longer than a round.
    let refused = refuse(&second, ErrorCode::Unavailable);
    tokio::time::timeout(Duration::from_secs(3), refused).await.expect("the second one is asked first");
    refuse(&first, ErrorCode::Unavailable).await;
    let mut talk = second.accept().await;
    assert_eq!(talk.hello.worker.as_ref().map(|hello| hello.id), Some(id), "the same worker");
    let held = vec![lease(&delivered)];
    assert_eq!(talk.next().await, ClientFrame::Resume(held.clone()));
    talk.send(ServerFrame::Resumed { kept: held, lost: Vec::new() }).await;
    assert!(matches!(talk.next().await, ClientFrame::Subscribe(_)));
    assert_eq!(talk.next().await, ClientFrame::Credit { add: 3 });
    gate.add_permits(1);
    let outcomes = talk.record().await;
    assert_eq!((outcomes[0].id, &outcomes[0].verdict), (delivered.id, &WireVerdict::Done(None)));
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    run.abort();
}

/// A frame that says that the server stops is no reason to go: it still answers what it has been asked.
#[tokio::test]
async fn a_server_that_stops_answers_first() {
    let (first, second) = (Peer::bind().await, Peer::bind().await);
    let (client, mut talk) = connect_to(&format!("{},{}", first.address(), second.address()), &first).await;
    let caller = tokio::spawn({
        let client = client.clone();
        async move { client.call(Request::ListQueues).await }
    });
    let (request, _) = talk.call().await;
    talk.send(ServerFrame::Draining).await;
    talk.reply(request, Ok(Response::Queues(Vec::new()))).await;
    assert_eq!(within(caller).await.expect("no panic").expect("answered"), Response::Queues(Vec::new()));
    drop(talk);
    let _talk = accept_soon(&second).await;
}
