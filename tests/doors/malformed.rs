//! Goal: no input crashes the server or makes it grow. Method: malformed native frames, HTTP requests and TLS handshakes, each bad in
//! another way, with an honest client before and after. The memory is compared with what it was after the first third.
//! The Faktory port has its own test of this kind (tests/faktory/garbage.rs).
//!
//! 5,000 for each port; `WINDLASS_MALFORMED` says how many else.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::BytesMut;
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use windlass_core::api::Request;
use windlass_core::id::{JobId, QueueName};
use windlass_core::job::{JobSpec, Payload};
use windlass_core::wire::{
    ClientFrame, Hello, LeaseRef, PROTOCOL, ServerFrame, Subscription, Token, decode_exact, encode_frame,
    next_frame,
};
use windlass_tests::certs::{Signed, Site};
use windlass_tests::process::Server;
use windlass_worker::{Client, Job};

/// What the allocator may keep back, and the counters of a few queues.
const GROWTH_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

fn count() -> usize {
    std::env::var("WINDLASS_MALFORMED").ok().and_then(|text| text.parse().ok()).unwrap_or(5_000)
}

/// Throws until there were enough, and compares.
fn throw_all(
    what: &str,
    server: &mut Server,
    mut throw: impl FnMut(&mut SmallRng) -> Result<usize>,
) -> Result<()> {
    let (wanted, mut rng) = (count(), SmallRng::seed_from_u64(16));
    let (mut thrown, mut connections, mut settled) = (0, 0_usize, 0);
    let begun = Instant::now();
    while thrown < wanted {
        thrown += throw(&mut rng)?;
        connections += 1;
        ensure!(connections < 20 * wanted, "too few are refused: {thrown} of {connections} connections");
        if settled == 0 && thrown > wanted / 3 {
            settled = server.process().resident_bytes()?;
        }
    }
    let end = server.process().resident_bytes()?;
    println!(
        "{what}: {thrown} malformed on {connections} connections in {:?}; memory {} KiB after the first third, {} KiB at the end",
        begun.elapsed(),
        settled / 1024,
        end / 1024
    );
    ensure!(server.process().is_running()?, "the server crashed");
    ensure!(end.saturating_sub(settled) < GROWTH_BYTES_MAX, "the server grew from {settled} to {end} bytes");
    Ok(())
}

/// Changes, cuts or adds bytes.
fn spoil(rng: &mut SmallRng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.random_range(1..5) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..4) {
            0 => bytes[at] = rng.random(),
            1 => bytes.truncate(at),
            2 => bytes.insert(at, rng.random()),
            _ => {
                let mut noise = vec![0; rng.random_range(0..64)];
                rng.fill_bytes(&mut noise);
                bytes.splice(at..at, noise);
            }
        }
    }
}

fn connect(at: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends, says that there is no more, and reads all that comes back. A reset is an end.
fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> Result<Vec<u8>> {
    // The server may have closed after the first of it.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            Err(error).with_context(|| format!("the server holds the connection after {bytes:?}"))
        }
        _ => Ok(answer),
    }
}

fn encoded(frame: &ClientFrame) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode_frame(&mut out, frame);
    out.to_vec()
}

/// Frames that would be good, but for what happens to them.
fn frames() -> Vec<Vec<u8>> {
    let queue = QueueName::new("malformed").expect("a good name");
    let lease = LeaseRef { queue: queue.clone(), id: JobId([7; 16]), token: Token { epoch: 1, delivery: 1 } };
    let mut job = JobSpec::new("nothing", Payload::json("[1,2,3]"));
    job.options_mut().tags = vec!["a".to_owned(), "b".to_owned()];
    let call = |body| ClientFrame::Call { request: 1, body };
    let unknown = "queue-that-is-not".to_owned();
    [
        call(Request::Enqueue { queue: queue.clone(), jobs: vec![job; 3] }),
        call(Request::GetJob { id: JobId([9; 16]) }),
        ClientFrame::Resume(vec![lease.clone(); 4]),
        ClientFrame::Subscribe(Subscription { queues: vec![(queue, 2)], strict: false }),
        ClientFrame::Progress { lease, percent: 50, message: unknown },
        ClientFrame::Heartbeat { seq: 1 },
    ]
    .iter()
    .map(encoded)
    .collect()
}

/// One conversation; counts one when the server refused something in it.
fn native(at: SocketAddr, rng: &mut SmallRng, hello: &[u8], frames: &[Vec<u8>]) -> Result<usize> {
    let mut stream = connect(at)?;
    let mut bytes = hello.to_vec();
    if rng.random_bool(0.2) {
        spoil(rng, &mut bytes);
    }
    for _ in 0..rng.random_range(1..4) {
        let mut frame = frames[rng.random_range(0..frames.len())].clone();
        let prefix = frame.drain(..4).collect::<Vec<u8>>();
        spoil(rng, &mut frame);
        match rng.random_range(0..10) {
            // A length that is not that of the frame, far too large among them.
            0 => bytes.extend(rng.random::<u32>().to_le_bytes()),
            1 => bytes.extend(prefix),
            _ => bytes.extend(u32::try_from(frame.len())?.to_le_bytes()),
        }
        bytes.extend(frame);
    }
    let answer = exchange(&mut stream, &bytes)?;
    let mut answer = BytesMut::from(&answer[..]);
    while let Ok(Some(body)) = next_frame(&mut answer, windlass_core::limits::FRAME_BYTES_MAX) {
        if matches!(decode_exact(&body), Ok(ServerFrame::Refused(_))) {
            return Ok(1);
        }
    }
    Ok(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_native_frames() -> Result<()> {
    let data = tempfile::tempdir()?;
    let mut server = Server::start(data.path(), &[])?;
    let client = Client::connect(server.address()).await?;
    client.enqueue(Job::new("before", &1)?).await?;
    let hello =
        Hello { magic: *b"WLSS", protocol: PROTOCOL, client: "x".to_owned(), token: None, worker: None };
    let (hello, frames, at) = (encoded(&ClientFrame::Hello(hello)), frames(), server.native);
    throw_all("native", &mut server, |rng| native(at, rng, &hello, &frames))?;
    let enqueued = client.enqueue(Job::new("after", &1)?).await?;
    ensure!(client.status(enqueued.id).await?.is_some(), "an honest client is not served any more");
    ensure!(Client::connect(server.address()).await.is_ok(), "a new client is not served any more");
    server.stop()
}

/// Requests that would be good, but for what happens to them.
fn requests() -> Vec<Vec<u8>> {
    let post = |path: &str, body: &str| {
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    let nested = format!("{{\"queue\":\"malformed\",\"kind\":\"k\",\"payload\":{}}}", "[".repeat(500));
    [
        post("/api/v1/jobs", "{\"queue\":\"malformed\",\"kind\":\"k\",\"payload\":{\"a\":[1,2,{\"b\":null}]},\"priority\":1e99}"),
        post("/api/v1/jobs", &nested),
        // A fetch whose body went missing would be a good one, and wait.
        post("/api/v1/bulk", "{\"operation\":\"nothing\",\"filter\":\"state:(\"}"),
        post("/api/v1/jobs/not-an-id/ack", "{\"lease\":{}}"),
        post("/api/v1/schedules", "{\"name\":\"\\u0000\",\"cron\":\"* * * *\"}"),
        "GET /api/v1/jobs?limit=-1&state=%ff&cursor=%00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_owned(),
        "GET /api/v1/queues/%2e%2e%2f HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(),
        "POST /api/v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n".to_owned(),
        "POST /api/v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 18446744073709551616\r\n\r\n{".to_owned(),
        "POST /api/v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            .to_owned(),
        format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(200)),
        "\u{0}\u{0}\u{0}\u{0}".to_owned(),
    ]
    .into_iter()
    .map(String::into_bytes)
    .collect()
}

/// One request; counts one when the server refused it or had none to answer.
fn request(at: SocketAddr, rng: &mut SmallRng, requests: &[Vec<u8>]) -> Result<usize> {
    let mut bytes = requests[rng.random_range(0..requests.len())].clone();
    if rng.random_bool(0.7) {
        spoil(rng, &mut bytes);
    }
    let answer = exchange(&mut connect(at)?, &bytes)?;
    ensure!(!answer.starts_with(b"HTTP/1.1 5"), "{:?}", String::from_utf8_lossy(&answer));
    Ok(usize::from(!answer.starts_with(b"HTTP/1.1 2")))
}

#[test]
fn malformed_http_requests() -> Result<()> {
    let data = tempfile::tempdir()?;
    let mut server = Server::start(data.path(), &[])?;
    let (requests, at) = (requests(), server.http);
    throw_all("HTTP", &mut server, |rng| request(at, rng, &requests))?;
    let (status, body) =
        windlass_tests::http::post(at, "/api/v1/jobs", "{\"queue\":\"good\",\"kind\":\"k\",\"payload\":1}")?;
    ensure!(status == 201, "an honest client is not served any more: {status} {body}");
    server.stop()
}

/// The beginning of a handshake, as rustls writes it.
fn client_hello() -> Result<Vec<u8>> {
    let config = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from("localhost")?;
    let mut tls = rustls::ClientConnection::new(config.into(), name)?;
    let mut out = Vec::new();
    tls.write_tls(&mut out)?;
    Ok(out)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_tls_handshakes() -> Result<()> {
    let mut site = Site::open(&Signed::default());
    let doors = [site.server.native, site.server.http, site.server.faktory];
    let hello = client_hello()?;
    throw_all("TLS", &mut site.server, |rng| {
        let mut bytes = hello.clone();
        spoil(rng, &mut bytes);
        if let Some(first) = bytes.first_mut().filter(|_| rng.random_bool(0.9)) {
            // Otherwise nearly all would be taken for peers without TLS.
            *first = 0x16;
        }
        // No handshake is complete without what the client says next.
        exchange(&mut connect(doors[rng.random_range(0..doors.len())])?, &bytes)?;
        Ok(1)
    })?;
    let client = Client::builder(site.address()).tls_ca(site.authority.ca()).connect().await?;
    client.enqueue(Job::new("after", &1)?).await?;
    site.server.stop()
}
