//! Thousands of idle workers. They speak the wire protocol themselves, because a worker of the library has a thread of its
//! own, and ten thousand threads would measure this process instead of the server.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use windlass_core::id::{QueueName, WorkerId};
use windlass_core::limits;
use windlass_core::wire::{
    ClientFrame, Delivery, Hello, Outcome, PROTOCOL, Report, ServerFrame, Subscription, Verdict, WorkerHello,
    decode_exact, encode_frame, next_frame,
};

use super::crew::Starts;
use super::load::{KIND, Load, number_in, offer};
use super::phases::STARTED;
use super::stage::{Bench, Measured, Meter};
use crate::cli::error::CliError;

/// Connections that are being made at the same time; the server's backlog of new ones is finite.
const OPENING_MAX: usize = 64;
/// How long one of them may take until it is greeted.
const OPENING_TIME_MAX: Duration = Duration::from_secs(30);
/// How long the idle workers are watched, and then given jobs, at most.
const WATCH_MAX: Duration = Duration::from_secs(5);
/// Jobs per second while they wait.
const RATE: f64 = 200.0;
/// Descriptors of a process for everything but connections.
const DESCRIPTORS_BESIDE: u64 = 100;

/// Tasks of idle workers; each ends when it is told to, or with the reason why it could not go on.
type Idlers = JoinSet<Result<(), String>>;

/// Opens the connections, watches them idle, then gives them a little to do.
///
/// # Errors
/// When there are too few descriptors, or the server refuses a connection.
pub(super) async fn connections(bench: &Bench) -> Result<Vec<Measured>, CliError> {
    let count = bench.setting.connections;
    check_descriptors(count)?;
    let (starts, stop) = (Starts::new(), CancellationToken::new());
    let begun = bench.begin("connections_open");
    let mut idlers = open(bench, &starts, &stop).await?;
    let opened = bench.end(&begun, "connections_open", format!("connect {count} workers"), u64::from(count));
    let per = opened.server_rss.map(|rss| rss / u64::from(count));
    let opened = opened.with("connections", count).with("rss_bytes_per_connection", per);

    let watch = bench.setting.seconds.min(WATCH_MAX);
    let begun = bench.begin("connections_idle");
    tokio::time::sleep(watch).await;
    let idle = bench.end(&begun, "connections_idle", format!("{count} idle workers, heartbeats only"), 0);

    let phase = format!("latency at {RATE} jobs/s among {count} workers");
    let jobs = (RATE * watch.as_secs_f64()).round().max(1.0) as u64;
    let bar = bench.bar(&phase, jobs);
    let base = bench.runs();
    bench.aim(base + jobs);
    let load = Load { jobs, seconds: None, rate: Some(RATE), ..Load::one_by_one(bench, 1) };
    let begun = bench.begin("connections_latency");
    let offered = offer(bench, &load, &bar).await?;
    bench.until(base + offered.jobs, None, &bar).await?;
    let busy = bench.end(&begun, "connections_latency", phase, offered.jobs);
    bar.finish_and_clear();
    stop.cancel();
    while let Some(ended) = idlers.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            other => return Err(too_early(other)),
        }
    }
    let busy = busy.with_latencies(STARTED, starts.take());
    Ok(vec![opened, idle.with("connections", count), busy.with("connections", count)])
}

/// Connects all of them, some at a time; returns when all are greeted.
async fn open(bench: &Bench, starts: &Starts, stop: &CancellationToken) -> Result<Idlers, CliError> {
    let count = bench.setting.connections;
    let bar = bench.bar(&format!("connect {count} workers"), u64::from(count));
    let (opened, opening) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(OPENING_MAX)));
    let mut idlers = Idlers::new();
    for number in 0..count {
        let permit = Arc::clone(&opening)
            .acquire_owned()
            .await
            .map_err(|e| CliError::failure(format!("bench: {e}; this is a defect")))?;
        let idler = Idler {
            server: bench.server().to_owned(),
            queue: bench.queue.clone(),
            number,
            origin: bench.origin,
            meter: bench.meter(),
            starts: starts.clone(),
        };
        let (opened, stop) = (Arc::clone(&opened), stop.clone());
        idlers.spawn(async move {
            let greeting = tokio::time::timeout(OPENING_TIME_MAX, idler.greet());
            let greeted = match greeting.await {
                Ok(greeted) => greeted,
                Err(_) => Err(format!("no greeting within {OPENING_TIME_MAX:?}")),
            };
            opened.add_permits(1);
            drop(permit);
            let lived = match greeted {
                Ok(link) => idler.live(link, stop).await,
                Err(why) => Err(why),
            };
            lived.map_err(|why| format!("worker {number} of {count}: {why}"))
        });
        bar.inc(1);
        if let Some(ended) = idlers.try_join_next() {
            return Err(too_early(ended));
        }
    }
    tokio::select! {
        // Whoever failed has ended too, and says more than that all are there.
        biased;
        Some(ended) = idlers.join_next() => return Err(too_early(ended)),
        all = opened.acquire_many(count) => drop(all),
    }
    bar.finish_and_clear();
    Ok(idlers)
}

fn too_early(ended: Result<Result<(), String>, tokio::task::JoinError>) -> CliError {
    let why = match ended {
        Ok(Ok(())) => "a worker was told to go".to_owned(),
        Ok(Err(why)) => why,
        Err(e) => e.to_string(),
    };
    CliError::failure(format!("bench connections: {why}; take fewer --connections"))
}

/// Says before anything is opened what is missing. Both sides of each connection are on this machine: this process takes one
/// descriptor per worker, and the server keeps a quarter of its own for HTTP.
fn check_descriptors(count: u32) -> Result<(), CliError> {
    let wanted = (u64::from(count) + DESCRIPTORS_BESIDE) * 4 / 3;
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < wanted => Err(CliError::failure(format!(
            "bench connections: {count} workers need {wanted} open files, this process may have {limit}: raise the hard \
             limit (ulimit -Hn {wanted}, LimitNOFILE= in systemd), or take fewer --connections"
        ))),
        _ => Ok(()),
    }
}

/// A greeted connection.
struct Link {
    stream: TcpStream,
    buffer: BytesMut,
    heartbeat: Duration,
}

/// A worker without a thread.
struct Idler {
    server: String,
    queue: QueueName,
    number: u32,
    origin: std::time::Instant,
    meter: Arc<Meter>,
    starts: Starts,
}

impl Idler {
    /// Connects, introduces itself and asks for a job.
    async fn greet(&self) -> Result<Link, String> {
        let said = |e: std::io::Error| e.to_string();
        let mut stream = TcpStream::connect(&self.server).await.map_err(said)?;
        stream.set_nodelay(true).map_err(said)?;
        let (mut buffer, mut out) = (BytesMut::new(), BytesMut::new());
        encode_frame(&mut out, &ClientFrame::Hello(self.hello()));
        stream.write_all_buf(&mut out).await.map_err(said)?;
        let heartbeat = match next(&mut stream, &mut buffer).await? {
            ServerFrame::Welcome(welcome) => Duration::from_millis(welcome.heartbeat_ms.max(1)),
            ServerFrame::Refused(e) => return Err(e.message),
            _ => return Err("the server did not greet".to_owned()),
        };
        let queues = vec![(self.queue.clone(), 1)];
        encode_frame(&mut out, &ClientFrame::Subscribe(Subscription { queues, strict: false }));
        encode_frame(&mut out, &ClientFrame::Credit { add: 1 });
        stream.write_all_buf(&mut out).await.map_err(said)?;
        Ok(Link { stream, buffer, heartbeat })
    }

    /// Keeps its heartbeats and runs what it is given, until it is told to stop.
    async fn live(self, link: Link, stop: CancellationToken) -> Result<(), String> {
        let Link { mut stream, mut buffer, heartbeat } = link;
        let mut out = BytesMut::new();
        let mut beats = tokio::time::interval(heartbeat);
        let (mut seq, mut request) = (0, 0);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = beats.tick() => {
                    seq += 1;
                    encode_frame(&mut out, &ClientFrame::Heartbeat { seq });
                }
                frame = next(&mut stream, &mut buffer) => match frame? {
                    ServerFrame::Deliver(jobs) => {
                        request += 1;
                        self.run(jobs, request, &mut out);
                    }
                    ServerFrame::Refused(e) => return Err(e.message),
                    _ => {}
                },
            }
            if !out.is_empty() {
                stream.write_all_buf(&mut out).await.map_err(|e| e.to_string())?;
            }
        }
    }

    fn hello(&self) -> Hello {
        let worker = WorkerHello {
            id: WorkerId(rand::random()),
            name: format!("bench-{}", self.number),
            host: "bench".to_owned(),
            pid: std::process::id(),
            kinds: vec![KIND.to_owned()],
            gossip_id: String::new(),
        };
        Hello {
            magic: *b"WLSS",
            protocol: PROTOCOL,
            client: concat!("windlass-bench/", env!("CARGO_PKG_VERSION")).to_owned(),
            token: None,
            worker: Some(worker),
        }
    }

    /// Runs deliveries: notes when they came, reports them as done, and asks for as many again.
    fn run(&self, jobs: Vec<Delivery>, request: u64, out: &mut BytesMut) {
        let add = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
        let outcomes = jobs.into_iter().map(|job| {
            if let Some(us) = number_in(&job.payload) {
                self.starts.record(self.origin.elapsed().saturating_sub(Duration::from_micros(us)));
            }
            self.meter.ran();
            Outcome { queue: job.queue, id: job.id, token: job.token, verdict: Verdict::Done(None) }
        });
        encode_frame(out, &ClientFrame::Report(Report { request, outcomes: outcomes.collect() }));
        encode_frame(out, &ClientFrame::Credit { add });
    }
}

/// The next frame; may be dropped at any await without losing bytes.
async fn next(stream: &mut TcpStream, buffer: &mut BytesMut) -> Result<ServerFrame, String> {
    loop {
        if let Some(body) = next_frame(buffer, limits::FRAME_BYTES_MAX).map_err(|e| e.to_string())? {
            return decode_exact(&body).map_err(|e| e.to_string());
        }
        match stream.read_buf(buffer).await {
            Ok(0) => return Err("the server closed the connection".to_owned()),
            Ok(_) => {}
            Err(e) => return Err(e.to_string()),
        }
    }
}
