//! Goal: a client that was given one address finds the others, goes over to the owner when it can, and works on when it cannot; who
//! speaks version 1 is served as ever. Method: three nodes, clients that know one of them, and that one killed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::BytesMut;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use windlass_core::api::Request;
use windlass_core::limits;
use windlass_core::wire::{
    ClientFrame, Hello, Nodes, PROTOCOL, ServerFrame, decode_exact, encode_frame, next_frame,
};
use windlass_tests::certs::{Authority, Signed};
use windlass_tests::process::Server;
use windlass_worker::surroundings::{Conn, Simulated};
use windlass_worker::{Client, Connection, ConnectionEvent, Job, Worker};

use crate::fleet::Fleet;

const NAMES: [&str; 3] = ["n1", "n2", "n3"];
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection that is looked at frame by frame.
struct Raw {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Raw {
    /// Says hello in this version and returns the version of the welcome.
    async fn greet(at: SocketAddr, protocol: u16) -> Result<(Raw, u16)> {
        let mut raw = Raw { stream: TcpStream::connect(at).await?, buffer: BytesMut::new() };
        let client = "raw/1".to_owned();
        let hello = Hello { magic: *b"WLSS", protocol, client, token: None, worker: None };
        raw.send(&ClientFrame::Hello(hello)).await?;
        match raw.next().await? {
            ServerFrame::Welcome(welcome) => Ok((raw, welcome.protocol)),
            other => bail!("no welcome: {other:?}"),
        }
    }

    async fn send(&mut self, frame: &ClientFrame) -> Result<()> {
        let mut out = BytesMut::new();
        encode_frame(&mut out, frame);
        Ok(self.stream.write_all(&out).await?)
    }

    async fn next(&mut self) -> Result<ServerFrame> {
        let reading = async {
            loop {
                if let Some(body) = next_frame(&mut self.buffer, limits::FRAME_BYTES_MAX)? {
                    return Ok(decode_exact(&body)?);
                }
                ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the connection was closed");
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.context("no frame comes")?
    }

    async fn nodes(&mut self) -> Result<Nodes> {
        loop {
            if let ServerFrame::Nodes(nodes) = self.next().await? {
                return Ok(nodes);
            }
        }
    }

    /// Waits for a word about so many other nodes.
    async fn told_of(&mut self, others: usize) -> Result<Nodes> {
        loop {
            let nodes = self.nodes().await?;
            if nodes.others.len() == others {
                return Ok(nodes);
            }
        }
    }

    /// All frames that come before the answer to a heartbeat.
    async fn before_an_answer(&mut self) -> Result<Vec<ServerFrame>> {
        self.send(&ClientFrame::Heartbeat { seq: 1 }).await?;
        let mut frames = Vec::new();
        loop {
            match self.next().await? {
                ServerFrame::HeartbeatAck { .. } => return Ok(frames),
                frame => frames.push(frame),
            }
        }
    }
}

impl Fleet {
    /// The owner's name, and that of a standby.
    fn two(&self) -> Result<(String, String)> {
        let (owner, _) = self.owner()?;
        let standby = NAMES.iter().find(|name| **name != owner).context("three nodes")?;
        Ok((owner, (*standby).to_owned()))
    }

    /// Waits until clients are told of all nodes.
    async fn is_told(&self, owner: &str) -> Result<Nodes> {
        let (mut raw, _) = Raw::greet(self.nodes[owner].native, PROTOCOL).await?;
        raw.told_of(NAMES.len() - 1).await
    }
}

/// What has happened to a client.
#[derive(Debug, Default)]
struct Seen {
    connected: AtomicU32,
    lost: AtomicU32,
}

impl Seen {
    fn note(&self, event: &ConnectionEvent) {
        match event {
            ConnectionEvent::Connected { .. } => _ = self.connected.fetch_add(1, Ordering::Relaxed),
            ConnectionEvent::Lost { .. } => _ = self.lost.fetch_add(1, Ordering::Relaxed),
            _ => {}
        }
    }
}

async fn is_at(client: &Client, at: SocketAddr) -> Result<()> {
    let begun = Instant::now();
    while !matches!(client.connection(), Connection::Up { address, .. } if address == at) {
        ensure!(begun.elapsed() < PATIENCE, "it is {:?} and not at {at}", client.connection());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Enqueues one job after the other until it is told to stop; returns how many, and the longest time for one.
fn enqueues(client: &Client, stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<Result<(u64, Duration)>> {
    let (client, stop) = (client.clone(), Arc::clone(stop));
    tokio::spawn(async move {
        let (mut count, mut longest) = (0, Duration::ZERO);
        while !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            ensure!(!client.enqueue(Job::new("k", &count)?.queue("followed")).await?.duplicate);
            longest = longest.max(begun.elapsed());
            count += 1;
        }
        Ok((count, longest))
    })
}

async fn waiting(client: &Client) -> Result<u64> {
    let queues = client.list_queues().await?;
    Ok(queues.iter().filter(|queue| queue.name.as_str() == "followed").flat_map(|q| q.counts.values()).sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_a_standby_goes_to_the_owner_and_does_not_notice_the_standbys_death() -> Result<()> {
    let Some(mut fleet) = Fleet::start(&NAMES, false)? else { return Ok(()) };
    let (owner, standby) = fleet.two()?;
    fleet.is_told(&owner).await?;
    let (servers, at) = (fleet.nodes[&standby].address(), fleet.nodes[&owner].native);
    let (seen, runs) = (Arc::new(Seen::default()), Arc::new(AtomicU64::new(0)));
    let (noted, worked, counter) = (Arc::clone(&seen), Arc::new(Seen::default()), Arc::clone(&runs));
    let client = Client::builder(&*servers).on_event(move |event| noted.note(event)).connect().await?;
    let noted = Arc::clone(&worked);
    let worker = Worker::builder(&*servers)
        .queues(["followed"])
        .on_event(move |event| noted.note(event))
        .handle("k", move |_: u64| {
            counter.fetch_add(1, Ordering::Relaxed);
            async {}
        });
    let working = tokio::spawn(worker.build().run_until(std::future::pending()));
    let stop = Arc::new(AtomicBool::new(false));
    let enqueued = enqueues(&client, &stop);
    is_at(&client, at).await?;
    let begun = Instant::now();
    while worked.connected.load(Ordering::Relaxed) < 2 {
        ensure!(begun.elapsed() < PATIENCE, "the worker does not go over");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fleet.node(&standby).kill()?;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    stop.store(true, Ordering::Relaxed);
    let (count, longest) = enqueued.await??;
    let begun = Instant::now();
    while runs.load(Ordering::Relaxed) < count {
        ensure!(begun.elapsed() < PATIENCE, "{runs:?} of {count} have run");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    working.abort();
    println!("a standby killed: {count} jobs enqueued and run, the longest enqueue took {longest:?}");
    for seen in [&seen, &worked] {
        let (connected, lost) = (seen.connected.load(Ordering::Relaxed), seen.lost.load(Ordering::Relaxed));
        ensure!((connected, lost) == (2, 0), "{connected} connections, {lost} losses");
    }
    ensure!(runs.load(Ordering::Relaxed) == count, "{runs:?} runs of {count} jobs");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_was_given_the_owner_alone_finds_the_next_one() -> Result<()> {
    let Some(mut fleet) = Fleet::start(&NAMES, false)? else { return Ok(()) };
    let (owner, _) = fleet.two()?;
    let told = fleet.is_told(&owner).await?;
    ensure!(told.owner.native == fleet.nodes[&owner].address(), "{told:?}");
    let client = Client::connect(fleet.nodes[&owner].address()).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let enqueued = enqueues(&client, &stop);
    tokio::time::sleep(Duration::from_millis(500)).await;
    fleet.node(&owner).kill()?;
    let (next, _) = fleet.owned_by_another(&owner, PATIENCE).await?;
    is_at(&client, fleet.nodes[&next].native).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let (count, longest) = enqueued.await??;
    println!(
        "the only server that was named killed: {count} jobs confirmed, the longest enqueue took {longest:?}"
    );
    ensure!(
        waiting(&client).await? == count,
        "{} of {count} confirmed jobs are there",
        waiting(&client).await?
    );
    Ok(())
}

/// The certificate is good for a name alone and nodes are learnt by their addresses: what counts is the name that the user gave.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_tls_learnt_nodes_prove_the_name_that_the_user_gave() -> Result<()> {
    let authority = Authority::new();
    authority.sign(&Signed { names: &["localhost"], ..Signed::default() });
    let Some(mut fleet) = Fleet::start_with(&NAMES, false, &authority.flags())? else { return Ok(()) };
    let (owner, standby) = fleet.two()?;
    let at = |name: &str| fleet.nodes[name].native;
    let by_address = Client::builder(format!("tls://{}", at(&owner))).tls_ca(authority.ca()).connect().await;
    ensure!(by_address.is_err(), "the certificate is not good for an address");
    let given = format!("tls://localhost:{}", at(&standby).port());
    let client = Client::builder(given).tls_ca(authority.ca()).connect().await?;
    let stop = Arc::new(AtomicBool::new(false));
    let enqueued = enqueues(&client, &stop);
    is_at(&client, at(&owner)).await?;
    // It hears of the third node when that has proved in the gossip that it is one, at its next greeting.
    tokio::time::sleep(Duration::from_secs(3)).await;
    // What was given is gone as well, so that only a learnt node is left.
    fleet.node(&standby).kill()?;
    fleet.node(&owner).kill()?;
    let (next, _) = fleet.owned_by_another(&owner, PATIENCE).await?;
    is_at(&client, fleet.nodes[&next].native).await?;
    stop.store(true, Ordering::Relaxed);
    let (count, longest) = enqueued.await??;
    println!("under TLS: {count} jobs confirmed, the longest enqueue took {longest:?}");
    ensure!(waiting(&client).await? == count, "{} of {count} are there", waiting(&client).await?);
    Ok(())
}

/// A machine that reaches all but one address.
struct Firewall {
    closed: SocketAddr,
    knocks: AtomicU32,
}

impl Simulated for Firewall {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Conn>> {
        if address == self.closed {
            self.knocks.fetch_add(1, Ordering::Relaxed);
            return std::future::pending().boxed();
        }
        Conn::open(address).boxed()
    }

    fn random(&self) -> u64 {
        rand::random()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_cannot_reach_the_owner_stays_with_its_standby() -> Result<()> {
    let Some(fleet) = Fleet::start(&NAMES, false)? else { return Ok(()) };
    let (owner, standby) = fleet.two()?;
    let machine = Arc::new(Firewall { closed: fleet.nodes[&owner].native, knocks: AtomicU32::new(0) });
    let client =
        Client::builder(fleet.nodes[&standby].address()).simulated(machine.clone()).connect().await?;
    let stop = Arc::new(AtomicBool::new(false));
    let enqueued = enqueues(&client, &stop);
    // Longer than an attempt takes that nobody answers.
    tokio::time::sleep(Duration::from_secs(5)).await;
    stop.store(true, Ordering::Relaxed);
    let (count, longest) = enqueued.await??;
    println!("behind a firewall: {count} jobs confirmed, the longest enqueue took {longest:?}");
    ensure!(machine.knocks.load(Ordering::Relaxed) >= 1, "it was not even tried");
    ensure!(longest < Duration::from_secs(2), "the attempt holds calls up: {longest:?}");
    is_at(&client, fleet.nodes[&standby].native).await?;
    ensure!(waiting(&client).await? == count);
    Ok(())
}

/// A client of version 1 hears nothing that version 1 does not know, whatever happens to the nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_speaks_version_1_is_told_what_it_knows() -> Result<()> {
    let Some(mut fleet) = Fleet::start(&NAMES, false)? else { return Ok(()) };
    let (owner, standby) = fleet.two()?;
    let (mut old, version) = Raw::greet(fleet.nodes[&owner].native, 1).await?;
    ensure!(version == 1);
    let (mut new, version) = Raw::greet(fleet.nodes[&standby].native, PROTOCOL + 1).await?;
    ensure!(version == PROTOCOL);
    let told = new.told_of(NAMES.len() - 1).await?;
    fleet.node(&standby).stop()?;
    // What the owner says of the nodes has changed twice by now, and the relay has gone.
    let (mut new, _) = Raw::greet(fleet.nodes[&owner].native, PROTOCOL).await?;
    new.told_of(NAMES.len() - 2).await?;
    ensure!(old.before_an_answer().await?.is_empty());
    let client = Client::connect(fleet.nodes[&owner].address()).await?;
    client.call(Request::DrainNode { node: None, hold_ms: 60_000 }).await?;
    ensure!(old.next().await? == ServerFrame::Draining);
    let rest = told.others.iter().find(|node| node.name != standby).context("the third")?.native.clone();
    ensure!(new.next().await? == ServerFrame::Moved { to: rest });
    ensure!(new.next().await? == ServerFrame::Draining);
    let (next, _) = fleet.owned_by_another(&owner, PATIENCE).await?;
    // The cluster is the same one, whoever owns it.
    let (mut new, _) = Raw::greet(fleet.nodes[&next].native, PROTOCOL).await?;
    let again = new.nodes().await?;
    ensure!(again.cluster == told.cluster && again.owner.name == next, "{again:?} after {told:?}");
    Ok(())
}

/// Where there can be only one node, nobody is told of any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_alone_tells_of_nobody() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = Server::start(dir.path(), &[])?;
    let (mut raw, version) = Raw::greet(server.native, PROTOCOL).await?;
    ensure!(version == PROTOCOL && raw.before_an_answer().await?.is_empty());
    Ok(())
}
