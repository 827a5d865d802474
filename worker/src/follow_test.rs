//! Clients and workers that are told of other nodes: when they go over to the owner, what they take along, and where they go when
//! everything that they were given is gone.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use windlass_core::wire::{ClientFrame, NodeAt, Nodes, ServerFrame, Welcome};

use crate::client::{Client, Connection};
use crate::job::Job;
use crate::peer_test::{PATIENCE, Peer, Talk, delivery, lease, welcome};
use crate::surroundings::{Conn, Simulated};
use crate::worker::Worker;

const CLUSTER: [u8; 16] = [7; 16];
/// Long enough for a first attempt to reach an owner, and for a second one to be seen if nobody waited in between.
const A_WHILE: Duration = Duration::from_millis(900);

fn node(native: &str) -> NodeAt {
    NodeAt { name: format!("node at {native}"), native: native.to_owned() }
}

fn nodes(cluster: [u8; 16], owner: &str, others: &[&str]) -> ServerFrame {
    ServerFrame::Nodes(Nodes {
        cluster,
        owner: node(owner),
        others: others.iter().map(|at| node(at)).collect(),
    })
}

/// Takes the next connection as a server of version 2 that tells of these nodes.
async fn greet(peer: &Peer, cluster: [u8; 16], owner: &str, others: &[&str]) -> Talk {
    let mut talk = peer.accept_with(Welcome { protocol: 2, ..welcome() }).await;
    assert_eq!(talk.hello.protocol, 2);
    talk.send(nodes(cluster, owner, others)).await;
    talk
}

async fn connect(servers: &str, first: impl Future<Output = Talk>) -> (Client, Talk) {
    let (client, talk) = tokio::join!(Client::connect(servers), first);
    (client.expect("connects"), talk)
}

fn job(n: u32) -> Job {
    Job::new("k", &n).expect("a number is JSON")
}

fn enqueue(client: &Client, n: u32) -> tokio::task::JoinHandle<bool> {
    let client = client.clone();
    tokio::spawn(async move { client.enqueue(job(n)).await.expect("taken").duplicate })
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("took too long")
}

/// Answers one enqueue through this connection.
async fn serves(client: &Client, talk: &mut Talk, n: u32) {
    let enqueued = enqueue(client, n);
    let (request, _, jobs) = talk.enqueue().await;
    talk.accept_jobs(request, &jobs).await;
    assert!(!within(enqueued).await.expect("no panic"));
}

async fn is_at(client: &Client, peer: &Peer) {
    within(async {
        while !matches!(client.connection(), Connection::Up { address, .. } if address.to_string() == peer.address()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_goes_over_to_the_owner_when_its_calls_are_answered() {
    let (relay, owner) = (Peer::bind().await, Peer::bind().await);
    let at = owner.address();
    let (client, mut relayed) = connect(&relay.address(), greet(&relay, CLUSTER, &at, &[])).await;
    let first = enqueue(&client, 1);
    let (request, _, jobs) = relayed.enqueue().await;
    let mut direct = greet(&owner, CLUSTER, &at, &[]).await;
    // What comes now waits for the better connection, and what was asked before is answered on the old one and asked only once.
    let waits = {
        let client = client.clone();
        tokio::spawn(async move { client.wait_end(windlass_core::id::JobId([1; 16]), PATIENCE).await })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    let second = enqueue(&client, 2);
    tokio::time::sleep(Duration::from_millis(50)).await;
    relayed.accept_jobs(request, &jobs).await;
    assert!(!within(first).await.expect("no panic"));
    relayed.expect_goodbye().await;
    let mut taken = 0;
    while taken < 1 {
        if let (request, windlass_core::api::Request::Enqueue { jobs, .. }) = direct.call().await {
            assert_eq!(jobs.len(), 1);
            direct.accept_jobs(request, &jobs).await;
            taken += 1;
        }
    }
    assert!(!within(second).await.expect("no panic"));
    is_at(&client, &owner).await;
    waits.abort();
}

/// A machine with a firewall before one address: a connection there is refused, and counted.
struct Firewall {
    closed: SocketAddr,
    knocks: AtomicUsize,
}

impl Simulated for Firewall {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Conn>> {
        if address == self.closed {
            self.knocks.fetch_add(1, Ordering::Relaxed);
            return async { Err(io::ErrorKind::ConnectionRefused.into()) }.boxed();
        }
        Conn::open(address).boxed()
    }

    fn random(&self) -> u64 {
        7
    }
}

#[tokio::test]
async fn an_owner_behind_a_firewall_is_tried_seldom_and_the_relay_serves() {
    let (relay, owner) = (Peer::bind().await, Peer::bind().await);
    let at = owner.address();
    let machine = Arc::new(Firewall { closed: at.parse().expect("an address"), knocks: AtomicUsize::new(0) });
    let connecting = Client::builder(relay.address()).simulated(machine.clone()).connect();
    let (client, mut relayed) = tokio::join!(connecting, greet(&relay, CLUSTER, &at, &[]));
    let client = client.expect("connects");
    serves(&client, &mut relayed, 1).await;
    tokio::time::sleep(A_WHILE).await;
    serves(&client, &mut relayed, 2).await;
    let knocks = machine.knocks.load(Ordering::Relaxed);
    assert_eq!(knocks, 1, "it is tried, and not again so soon");
    within(async {
        while machine.knocks.load(Ordering::Relaxed) < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    is_at(&client, &relay).await;
}

#[tokio::test]
async fn a_client_that_is_not_to_follow_stays() {
    let (relay, owner) = (Peer::bind().await, Peer::bind().await);
    let at = owner.address();
    let connecting = Client::builder(relay.address()).follow(false).connect();
    let (client, mut relayed) = tokio::join!(connecting, greet(&relay, CLUSTER, &at, &[]));
    let client = client.expect("connects");
    assert!(tokio::time::timeout(A_WHILE, owner.accept_silent()).await.is_err(), "it has followed");
    serves(&client, &mut relayed, 1).await;
}

/// The owner by the last word comes first, then what was given, then what was learnt, and of that only the same cluster.
#[tokio::test]
async fn a_client_of_one_dead_server_comes_back_to_a_learnt_one_of_the_same_cluster() {
    let (given, stranger, old, other) =
        (Peer::bind().await, Peer::bind().await, Peer::bind().await, Peer::bind().await);
    let others = [stranger.address(), old.address(), other.address()];
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    let at = given.address();
    let (client, mut talk) = connect(&at, greet(&given, CLUSTER, &at, &others)).await;
    serves(&client, &mut talk, 1).await;
    let enqueued = enqueue(&client, 2);
    let (_, _, jobs) = talk.enqueue().await;
    drop((talk, given));
    let _stranger = within(greet(&stranger, [8; 16], "127.0.0.1:1", &[])).await;
    // A server of version 1 says of no cluster that it belongs to it.
    let _old = within(old.accept()).await;
    let mut talk = within(greet(&other, CLUSTER, others[2], &[])).await;
    let (request, _, again) = talk.enqueue().await;
    assert_eq!(again, jobs, "what was not answered is sent again, to nobody but the same cluster");
    talk.accept_jobs(request, &again).await;
    assert!(!within(enqueued).await.expect("no panic"));
    is_at(&client, &other).await;
}

#[tokio::test]
async fn the_owner_is_asked_first_after_a_loss_and_its_successor_when_it_has_moved() {
    let (relay, owner, next) = (Peer::bind().await, Peer::bind().await, Peer::bind().await);
    let (at, then) = (owner.address(), next.address());
    let servers = format!("{},{then}", relay.address());
    let (client, relayed) = connect(&servers, greet(&relay, CLUSTER, &at, &[])).await;
    let direct = greet(&owner, CLUSTER, &at, &[&then]).await;
    is_at(&client, &owner).await;
    drop(direct);
    let mut direct = within(greet(&owner, CLUSTER, &at, &[&then])).await;
    is_at(&client, &owner).await;
    direct.send(ServerFrame::Moved { to: relay.address() }).await;
    direct.send(ServerFrame::Draining).await;
    serves(&client, &mut direct, 1).await;
    drop((relayed, direct));
    let _talk = within(greet(&relay, CLUSTER, &relay.address(), &[])).await;
    is_at(&client, &relay).await;
}

#[tokio::test]
async fn a_worker_goes_over_with_its_jobs_and_misses_none() {
    let (relay, owner) = (Peer::bind().await, Peer::bind().await);
    let at = owner.address();
    let (runs, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (counter, opened) = (Arc::clone(&runs), Arc::clone(&gate));
    let worker = Worker::builder(relay.address()).concurrency(4).handle("long", move || {
        let (counter, opened) = (Arc::clone(&counter), Arc::clone(&opened));
        async move {
            counter.fetch_add(1, Ordering::Relaxed);
            let _ = opened.acquire().await;
        }
    });
    let run = tokio::spawn(worker.build().run_until(std::future::pending()));
    let mut relayed = relay.accept_with(Welcome { protocol: 2, ..welcome() }).await;
    let id = relayed.hello.worker.as_ref().expect("a worker").id;
    relayed.expect_credit().await;
    let jobs = [delivery(1, "long", "null"), delivery(2, "long", "null")];
    relayed.send(ServerFrame::Deliver(vec![jobs[0].clone()])).await;
    relayed.send(nodes(CLUSTER, &at, &[])).await;
    // The way is tried out by a connection that is no worker's, so that the session stands until it is known to be open.
    let probe = within(greet(&owner, CLUSTER, &at, &[])).await;
    assert!(probe.hello.worker.is_none());
    while relayed.next_but_beats().await != ClientFrame::Quiet {}
    let ClientFrame::Heartbeat { seq } = relayed.next().await else { panic!("no barrier behind the quiet") };
    // A job that was on its way is not lost.
    relayed.send(ServerFrame::Deliver(vec![jobs[1].clone()])).await;
    relayed.send(ServerFrame::HeartbeatAck { seq }).await;
    let mut direct = within(greet(&owner, CLUSTER, &at, &[])).await;
    assert_eq!(direct.hello.worker.as_ref().map(|hello| hello.id), Some(id), "the same worker");
    let held: Vec<_> = jobs.iter().map(lease).collect();
    let ClientFrame::Resume(mut leases) = direct.next().await else { panic!("no leases are presented") };
    leases.sort_by_key(|lease| lease.id);
    assert_eq!(leases, held);
    direct.send(ServerFrame::Resumed { kept: held, lost: Vec::new() }).await;
    assert!(matches!(direct.next().await, ClientFrame::Subscribe(_)));
    assert_eq!(direct.next().await, ClientFrame::Credit { add: 2 });
    gate.add_permits(2);
    let mut done = direct.record().await.len();
    while done < 2 {
        done += direct.record().await.len();
    }
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    // It has arrived: nobody tries the way any more.
    assert!(tokio::time::timeout(A_WHILE, owner.accept_silent()).await.is_err());
    run.abort();
}
