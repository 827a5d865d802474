//! The hosts: a server, workers and producers, each the product's own code over a simulated machine.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use turmoil::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use turmoil::net::{TcpListener, TcpStream};
use windlass_core::id::JobId;
use windlass_core::time::{Mono, Now, Timestamp};
use windlass_core::wire::{ClientFrame, ServerFrame, Token};
use windlass_scheduler::chance::Chance;
use windlass_scheduler::clock::Clock;
use windlass_scheduler::door::{Begun, Listen, Origin};
use windlass_scheduler::node::{LocalNode, NodeConfig};
use windlass_scheduler::store::StoreConfig;
use windlass_scheduler::store::writer::StoreWriter;
use windlass_worker::surroundings::{Conn, Simulated};
use windlass_worker::{Backoff, Client, ErrorCode, Job, JobCtx, Schedule, Worker};

use super::book::{Book, Event, millis};
use super::disk::{Arm, Platter};
use super::wire::{Alter, Ear, Reader, Writer};
use super::work::{Task, Work};

/// Wall clock at the beginning: 2026-03-01.
pub(crate) const WALL: u64 = 1_772_323_200_000;
/// Port of the server.
const PORT: u16 = 7_421;
/// Jobs that a worker runs at the same time.
const SLOTS: u32 = 6;
/// Wait before something is asked again that failed on the way.
const AGAIN: Duration = Duration::from_millis(200);
/// How long a producer waits for the end of its job before it asks again.
const WAIT: Duration = Duration::from_secs(20);

/// Time for the last commit of a server that stops, on a slow disk too.
const LAST_COMMIT: Duration = Duration::from_millis(700);

/// Times of the server, short so that a run is.
pub(crate) const HEARTBEAT_MS: u64 = 250;
/// Silence that ends leases.
pub(crate) const LEASE_MS: u64 = 1_750;
/// Time to come back: longer than the longest wait of a worker between two attempts to connect, as it is by default.
pub(crate) const GRACE_MS: u64 = 1_250;

/// Faults in the shell, each at a place where a test can put it without changing the product.
#[derive(Clone, Copy, Default)]
pub(crate) struct Plant {
    /// What reaches the server instead of a client's frame.
    pub to_server: Option<Alter<ClientFrame>>,
    /// What reaches a worker instead of the server's frame.
    pub to_worker: Option<Alter<ServerFrame>>,
    /// Commits are confirmed before they are durable.
    pub lying_disk: bool,
    /// The node draws its random numbers from the system.
    pub free_chance: bool,
}

/// What all hosts of a run share.
#[derive(Clone)]
pub(crate) struct Site {
    pub seed: u64,
    pub book: Book,
    pub work: Arc<Work>,
    pub plant: Plant,
    pub platter: Platter,
    pub server: SocketAddr,
    /// Asks the server to stop in order.
    pub stop: Arc<Notify>,
    lives: Arc<AtomicU64>,
}

impl Site {
    pub(crate) fn new(seed: u64, work: Work, plant: Plant, server: std::net::IpAddr) -> Site {
        let platter = if plant.lying_disk { Platter::lying() } else { Platter::default() };
        let (book, stop, lives) = (Book::default(), Arc::default(), Arc::default());
        Site {
            seed,
            book,
            work: Arc::new(work),
            plant,
            platter,
            server: SocketAddr::new(server, PORT),
            stop,
            lives,
        }
    }

    /// Random numbers of a process that begins now.
    fn chance(&self) -> Chance {
        let life = self.lives.fetch_add(1, Ordering::Relaxed);
        Chance::seeded(windlass_core::retry::mix(self.seed ^ (life << 32)))
    }
}

/// The machine of a worker or a producer.
struct Machine {
    site: Site,
    host: &'static str,
    chance: Chance,
}

impl Machine {
    fn new(site: &Site, host: &'static str) -> Arc<Machine> {
        Arc::new(Machine { site: site.clone(), host, chance: site.chance() })
    }
}

impl Simulated for Machine {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Conn>> {
        let (book, host, alter) = (self.site.book.clone(), self.host, self.site.plant.to_worker);
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
            let (reader, writer) = stream.into_split();
            let hear = move |frame: &ServerFrame| {
                book.digest(host, frame);
                let learn = |job, token| book.write(Event::Learned { host, job, token });
                match frame {
                    ServerFrame::LeaseLost(lease) => learn(lease.id, lease.token),
                    ServerFrame::Resumed { lost, .. } => {
                        lost.iter().for_each(|lease| learn(lease.id, lease.token));
                    }
                    _ => {}
                }
            };
            let reader = Box::new(Reader::new(reader, Ear::new(hear, alter)));
            Ok(Conn { reader, writer: Box::new(writer), local, peer })
        })
    }

    fn random(&self) -> u64 {
        self.chance.u64()
    }
}

/// The server's port on the simulated network.
struct Port {
    listener: TcpListener,
    site: Site,
}

impl Listen for Port {
    type Raw = (Reader<OwnedReadHalf, ClientFrame>, Writer<OwnedWriteHalf, ServerFrame>);
    type Reader = Reader<OwnedReadHalf, ClientFrame>;
    type Writer = Writer<OwnedWriteHalf, ServerFrame>;

    async fn accept(&self) -> io::Result<(Self::Raw, SocketAddr)> {
        let (stream, peer) = self.listener.accept().await?;
        let (reader, writer) = stream.into_split();
        let conn = self.site.book.next_conn();
        let (heard, said, closed) = (self.site.book.clone(), self.site.book.clone(), self.site.book.clone());
        let hear = move |frame: &ClientFrame| heard.write(Event::Heard { conn, frame: frame.clone() });
        let say = move |frame: &ServerFrame| said.write(Event::Said { conn, frame: frame.clone() });
        let reader = Reader::new(reader, Ear::new(hear, self.site.plant.to_server));
        let writer = Writer::new(writer, Ear::new(say, None), move || closed.write(Event::Closed { conn }));
        Ok(((reader, writer), peer))
    }

    async fn begin(
        (reader, writer): Self::Raw,
        peer: SocketAddr,
    ) -> io::Result<Begun<Self::Reader, Self::Writer>> {
        Ok(Begun::Ready(reader, writer, Origin::direct(peer)))
    }
}

/// A clock of a process that begins now, in step with the simulation.
fn clock() -> Clock {
    let born = millis();
    Clock::given(move || {
        let now = millis();
        Now { wall: Timestamp(WALL + now), mono: Mono(now - born) }
    })
}

/// The server's process, from its start to its stop.
pub(crate) async fn server(site: Site) -> turmoil::Result {
    let chance = site.chance();
    let (store, epoch) = site.platter.open();
    let writer = StoreWriter::simulated(store, Arm::new(site.platter.clone(), Chance::seeded(chance.u64())));
    let config = NodeConfig {
        lease_ms: LEASE_MS,
        heartbeat_ms: HEARTBEAT_MS,
        resume_grace_ms: GRACE_MS,
        clock: clock(),
        chance: if site.plant.free_chance { Chance::system() } else { chance },
        ..NodeConfig::new(StoreConfig::memory())
    };
    let addr = SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), PORT);
    let port = Port { listener: TcpListener::bind(addr).await?, site: site.clone() };
    site.book.write(Event::Up { epoch });
    let node = LocalNode::start(config, port, addr, writer.clone()).await?;
    tokio::select! {
        biased;
        () = site.stop.notified() => {}
        () = writer.lifelines().cut() => return Err("a part of the node that it needs has ended".into()),
    }
    node.stop().await;
    // Queues have made everything durable; what may be left are marks of leases.
    tokio::time::sleep(LAST_COMMIT).await;
    site.book.write(Event::Down { durable_through: site.platter.crash(&Chance::seeded(0)) });
    Ok(())
}

/// A worker's process.
pub(crate) async fn worker(site: Site, host: &'static str) -> turmoil::Result {
    site.book.write(Event::Born { host });
    let machine = Machine::new(&site, host);
    let theirs = site.clone();
    let handler = move |job: JobCtx| handle(theirs.clone(), host, job);
    let worker = Worker::builder(site.server.to_string())
        .queues(["mail", "reports"])
        .concurrency(SLOTS)
        .name(host)
        .gossip(false)
        .simulated(machine)
        .handle("work", handler)
        .build();
    worker.run_until(std::future::pending()).await?;
    Ok(())
}

/// A run of a handler, ended also when it is dropped.
struct Run {
    book: Book,
    host: &'static str,
    job: JobId,
    token: Token,
    returned: bool,
}

impl Drop for Run {
    fn drop(&mut self) {
        let Run { host, job, token, returned, .. } = *self;
        self.book.write(Event::Ended { host, job, token, returned });
    }
}

async fn handle(site: Site, host: &'static str, job: JobCtx) -> Result<(), String> {
    let (id, token, attempt) = (job.id(), job.token(), job.attempt());
    site.book.write(Event::Began { host, job: id, token, attempt });
    let mut run = Run { book: site.book.clone(), host, job: id, token, returned: false };
    let task = site.work.task(&id);
    tokio::time::sleep(task.takes(site.seed, token)).await;
    run.returned = true;
    if attempt <= task.failures { Err("as planned".to_owned()) } else { Ok(()) }
}

/// A producer: enqueues its jobs at their times and waits for the end of each.
pub(crate) async fn producer(site: Site, host: &'static str) -> turmoil::Result {
    let machine = Machine::new(&site, host);
    let client = Client::builder(site.server.to_string()).lazy().simulated(machine).connect().await?;
    let mut jobs = JoinSet::new();
    let tasks = site.work.tasks.iter().filter(|(_, task)| task.producer == host);
    for (id, task) in tasks {
        jobs.spawn(produce(site.clone(), client.clone(), *id, task.clone()));
    }
    if let Some(every) = site.work.every.filter(|_| host == "producer-1") {
        put_schedule(&site, &client, every).await?;
    }
    while let Some(ended) = jobs.join_next().await {
        ended?;
    }
    Ok(())
}

async fn put_schedule(site: &Site, client: &Client, every: Duration) -> turmoil::Result {
    loop {
        let job = Job::new("work", "tick")?.queue("reports");
        match client.put_schedule(Schedule::every("tick", every, job)).await {
            Ok(_) => break,
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
    site.book.write(Event::Scheduled);
    Ok(())
}

async fn produce(site: Site, client: Client, id: JobId, task: Task) {
    tokio::time::sleep(task.at).await;
    let job = Job::new("work", &task.payload)
        .expect("text is JSON")
        .queue(task.queue)
        .id(id)
        .priority(task.priority)
        .delay(task.delay)
        .retention(Duration::from_secs(3_600))
        .backoff(Backoff::Fixed { delay_ms: 100, jitter_percent: 50 });
    match client.enqueue(job).await {
        Ok(_) => site.book.write(Event::Confirmed { job: id }),
        Err(error) => return site.book.write(Event::NotTaken { job: id, code: error.code() }),
    }
    loop {
        match client.wait_end(id, WAIT).await {
            Ok(job) => {
                let (state, crashes) = (job.state, job.crashes);
                return site.book.write(Event::Outcome { job: id, state, crashes });
            }
            Err(error) if error.code() == Some(ErrorCode::NotFound) => {
                return site.book.write(Event::Unknown { job: id });
            }
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}
