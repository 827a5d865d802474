//! The relay against raw peers: what passes, what is cut, what is said in each protocol.

use std::future::Future;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener as Owner;
use windlass_core::api::ErrorCode;
use windlass_core::cluster::Nonce;
use windlass_core::limits;
use windlass_core::wire::{ServerFrame, decode_exact, next_frame};

use super::*;
use crate::door::Introductions;

/// What a busy machine may take longer.
const SLACK: Duration = Duration::from_secs(10);

type Steer = watch::Sender<Option<Target>>;

fn run(test: impl Future<Output = ()>) {
    actix_rt::System::new()
        .block_on(async { timeout(Duration::from_secs(60), test).await.expect("in time") });
}

fn config(protocol: Protocol, owner: watch::Receiver<Option<Target>>) -> RelayConfig {
    let (node, traffic, clock) = ("n2".into(), Traffic::default(), Clock::system());
    RelayConfig { protocol, tls: false, owner, node, traffic, clock, descriptors: 9 }
}

/// A relay at a free port, what steers it, and where it is.
fn open(protocol: Protocol, tls: bool, descriptors: u32) -> (Relay, Steer, SocketAddr) {
    let (steer, owner) = watch::channel(None);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a listener that does not block");
    let at = listener.local_addr().expect("an address");
    let config = RelayConfig { tls, descriptors, ..config(protocol, owner) };
    let relay = Relay::open(listener, config, &CancellationToken::new()).expect("a relay");
    (relay, steer, at)
}

async fn owner() -> (Owner, Option<Target>) {
    let owner = Owner::bind("127.0.0.1:0").await.expect("a port");
    let target = owner.local_addr().expect("an address").to_string();
    (owner, Some(Target::plain(target)))
}

async fn dial(at: SocketAddr) -> TcpStream {
    TcpStream::connect(at).await.expect("the relay takes connections")
}

/// Everything until the other side closes; a reset ends it, too.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    let reading = async { while stream.read_buf(&mut all).await.is_ok_and(|read| read > 0) {} };
    timeout(SLACK, reading).await.expect("the other side closes");
    all
}

/// A peer and the owner, with a word said in each direction.
async fn pair(at: SocketAddr, owner: &Owner) -> (TcpStream, TcpStream) {
    let mut peer = dial(at).await;
    peer.write_all(b"hello").await.expect("written");
    let (mut served, _) = owner.accept().await.expect("carried");
    let mut got = [0; 5];
    served.read_exact(&mut got).await.expect("arrived");
    served.write_all(&got).await.expect("written");
    peer.read_exact(&mut got).await.expect("arrived");
    assert_eq!(&got, b"hello");
    (peer, served)
}

/// Bytes that show when some are missing, doubled or out of order.
fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| byte()).collect()
}

#[test]
fn much_passes_both_ways_at_once_and_each_way_ends_by_itself() {
    run(async {
        let (relay, steer, at) = open(Protocol::Native, false, 20);
        let (owner, target) = owner().await;
        steer.send_replace(target);
        let (peer, served) = pair(at, &owner).await;
        let (up, down) = (pattern(1, 9 << 20), pattern(2, 7 << 20));
        let say = |stream: TcpStream, text: Vec<u8>| async move {
            let (mut reader, mut writer) = stream.into_split();
            let saying = async {
                writer.write_all(&text).await.expect("written");
                writer.shutdown().await.expect("closed");
            };
            tokio::join!(saying, rest(&mut reader)).1
        };
        let (heard, arrived) = tokio::join!(say(peer, up.clone()), say(served, down.clone()));
        assert!(heard == down && arrived == up, "{} {}", heard.len(), arrived.len());
        let figures = relay.figures();
        assert_eq!(figures.up_bytes, up.len() as u64 + 5);
        assert_eq!(figures.down_bytes, down.len() as u64 + 5);
        while relay.figures().connections > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn only_another_owner_cuts_connections_to_the_last_one() {
    run(async {
        let (relay, steer, at) = open(Protocol::Native, false, 20);
        let (first, target) = owner().await;
        steer.send_replace(target.clone());
        let (mut peer, mut served) = pair(at, &first).await;
        // Nobody knows, and then it is the same.
        steer.send_replace(None);
        steer.send_replace(target);
        peer.write_all(b"still").await.expect("written");
        let mut got = [0; 5];
        served.read_exact(&mut got).await.expect("arrived");
        assert_eq!((&got, relay.figures().cut), (b"still", 0));
        // The first owner stands still: it neither reads nor closes.
        let (second, target) = owner().await;
        steer.send_replace(target);
        assert_eq!(rest(&mut peer).await, b"");
        assert_eq!(relay.figures().cut, 1);
        pair(at, &second).await;
    });
}

#[test]
fn an_owner_that_comes_in_time_is_waited_for_and_one_that_is_gone_is_left() {
    run(async {
        let (relay, steer, at) = open(Protocol::Native, false, 20);
        let (gone, target) = owner().await;
        drop(gone);
        steer.send_replace(target);
        let mut peer = dial(at).await;
        peer.write_all(b"early").await.expect("written");
        tokio::time::sleep(2 * REDIAL).await;
        let (owner, target) = owner().await;
        steer.send_replace(target);
        let (mut served, _) = owner.accept().await.expect("carried");
        let mut got = [0; 5];
        served.read_exact(&mut got).await.expect("arrived");
        assert_eq!((&got, relay.figures().refused), (b"early", 0));
    });
}

#[test]
fn without_an_owner_each_protocol_is_told_to_try_again() {
    run(async {
        let says = |protocol, tls, target: Option<Target>| async move {
            let (relay, steer, at) = open(protocol, tls, 20);
            steer.send_replace(target);
            let begun = Instant::now();
            let mut peer = dial(at).await;
            peer.write_all(b"GET /api/v1/overview HTTP/1.1\r\n\r\n").await.expect("written");
            let text = rest(&mut peer).await;
            assert!(begun.elapsed() >= OWNER_WAIT && begun.elapsed() < OWNER_WAIT + SLACK);
            assert_eq!(relay.figures().refused, 1);
            text
        };
        let (gone, target) = owner().await;
        drop(gone);
        let (native, http, faktory, tls) = tokio::join!(
            says(Protocol::Native, false, None),
            says(Protocol::Http, false, target),
            says(Protocol::Faktory, false, None),
            says(Protocol::Http, true, None),
        );
        let mut native = BytesMut::from(&native[..]);
        let body = next_frame(&mut native, limits::FRAME_BYTES_MAX).expect("a frame").expect("a whole one");
        let Ok(ServerFrame::Refused(error)) = decode_exact::<ServerFrame>(&body) else { panic!("{body:?}") };
        assert_eq!(error.code, ErrorCode::Unavailable);
        assert!(error.code.is_retryable() && error.retry_after_ms.is_some() && native.is_empty());
        let http = String::from_utf8(http).expect("text");
        let (head, body) = http.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
        for header in ["content-type: application/problem+json", "retry-after: 1", "connection: close"] {
            assert!(head.lines().any(|line| line == header), "{head}");
        }
        assert!(head.lines().any(|line| line == format!("content-length: {}", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!((&body["code"], &body["status"]), (&"unavailable".into(), &503.into()));
        assert!(body["detail"].as_str().is_some_and(|why| why.contains("cannot be reached")), "{body}");
        let faktory = String::from_utf8(faktory).expect("text");
        assert!(faktory.starts_with("+HI {\"v\":2}\r\n-ERR no node owns"), "{faktory}");
        assert_eq!(tls, b"", "under TLS there is nothing to say");
    });
}

#[test]
fn a_browser_without_an_owner_is_shown_a_page() {
    run(async {
        let (_relay, _steer, at) = open(Protocol::Http, false, 20);
        let asks = |path: &str, accept: &str| {
            // Longer than what is read at first, as heads of browsers are.
            let request = format!(
                "GET {path} HTTP/1.1\r\nCookie: {}\r\nAccept: {accept}\r\nAccept-Language: zh-CN\r\n\r\n",
                "x".repeat(3_000)
            );
            async move {
                let mut peer = dial(at).await;
                peer.write_all(request.as_bytes()).await.expect("written");
                String::from_utf8(rest(&mut peer).await).expect("text")
            }
        };
        let page = "text/html,application/xhtml+xml";
        let (shown, api, program) =
            tokio::join!(asks("/queues", page), asks("/api/v1/queues", page), asks("/queues", "*/*"));
        for answer in [&shown, &api, &program] {
            assert!(
                answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nretry-after: 1\r\n"),
                "{answer}"
            );
        }
        assert!(shown.contains("\r\ncontent-type: text/html; charset=utf-8\r\n"), "{shown}");
        assert!(shown.contains("<bdi>n2</bdi>") && shown.contains("http-equiv=\"refresh\""), "{shown}");
        assert!(shown.contains("lang=\"zh-CN\""), "{shown}");
        assert!(api.contains("application/problem+json") && program.contains("application/problem+json"));
    });
}

/// Before the first byte, whoever speaks first.
#[test]
fn an_owner_that_understands_it_is_told_who_the_peer_is() {
    run(async {
        for protocol in Protocol::ALL {
            let (_relay, steer, at) = open(protocol, false, 20);
            let (owner, target) = owner().await;
            let key = IntroductionKey::from(Nonce(7));
            steer.send_replace(target.map(|target| Target { key: Some(key), ..target }));
            let mut peer = dial(at).await;
            peer.write_all(b"POST / HTTP/1.1\r\n").await.expect("written");
            let (mut served, from) = owner.accept().await.expect("carried");
            let introductions = Introductions::new([key], Clock::system()).at(protocol.name());
            let (mut origin, mut buffer) = (Origin::open(from, Some(introductions)), BytesMut::new());
            origin.settle(&mut served, &mut buffer).await.expect("believed");
            assert_eq!(origin.peer(), peer.local_addr().expect("an address"));
            assert_ne!(origin.peer(), from);
            while !buffer.ends_with(b"\r\n") {
                served.read_buf(&mut buffer).await.expect("more");
            }
            assert_eq!(&buffer[..], b"POST / HTTP/1.1\r\n");
        }
    });
}

#[test]
fn figures_go_on_when_a_node_stands_by_again() {
    run(async {
        let (owner, target) = owner().await;
        let traffic = Traffic::default();
        for round in 1..=2 {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.set_nonblocking(true).expect("a listener that does not block");
            let at = listener.local_addr().expect("an address");
            let (_steer, owner_is) = watch::channel(target.clone());
            let config = RelayConfig { traffic: traffic.clone(), ..config(Protocol::Native, owner_is) };
            let relay = Relay::open(listener, config, &CancellationToken::new()).expect("a relay");
            drop(pair(at, &owner).await);
            while traffic.connections() > 0 {
                tokio::task::yield_now().await;
            }
            relay.close().await;
            assert_eq!((relay.figures().up_bytes, traffic.figures(Protocol::Http).up_bytes), (5 * round, 0));
        }
    });
}

#[test]
fn one_connection_too_many_is_told_so() {
    run(async {
        let (relay, steer, at) = open(Protocol::Faktory, false, 4);
        let (owner, target) = owner().await;
        steer.send_replace(target);
        let inside = [pair(at, &owner).await, pair(at, &owner).await];
        let third = rest(&mut dial(at).await).await;
        let third = String::from_utf8(third).expect("text");
        assert!(third.contains("-ERR there are 2 connections already"), "{third}");
        assert_eq!(relay.figures().connections, 2);
        drop(inside);
        while relay.figures().connections > 0 {
            tokio::task::yield_now().await;
        }
        pair(at, &owner).await;
    });
}

#[test]
fn probes_are_answered_here_and_everything_else_is_not() {
    run(async {
        let (_relay, steer, at) = open(Protocol::Http, false, 20);
        let ask = |request: &'static str| async move {
            let mut peer = dial(at).await;
            // Byte by byte, so that no cut matters.
            for byte in request.as_bytes() {
                peer.write_all(&[*byte]).await.expect("written");
                tokio::task::yield_now().await;
            }
            String::from_utf8(rest(&mut peer).await).expect("text")
        };
        let health = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
        let ready = "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n";
        let alive = ask(health).await;
        assert!(alive.starts_with("HTTP/1.1 200 OK\r\n") && alive.ends_with("\r\n\r\nok\n"), "{alive}");
        let idle = ask(ready).await;
        assert!(idle.starts_with("HTTP/1.1 503 ") && idle.contains("\"code\":\"unavailable\""), "{idle}");
        let (owner, target) = owner().await;
        steer.send_replace(target);
        let fine = ask(ready).await;
        assert!(fine.starts_with("HTTP/1.1 200 OK\r\n") && fine.ends_with("\r\n\r\nready\n"), "{fine}");
        let own = ask("GET /metrics/node HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(own.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{own}");
        for line in [
            "windlass_node_info{node=\"n2\",state=\"standby\"} 1",
            "windlass_node_has_owner 1",
            "windlass_relay_connections{port=\"http\"} 1",
            "windlass_relay_connections{port=\"native\"} 0",
        ] {
            assert!(own.lines().any(|said| said == line), "{line} in {own}");
        }
        let head = ask("HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(head.contains("content-length: 3\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        let mut peer = dial(at).await;
        peer.write_all(b"GET /healthy").await.expect("written");
        let (mut served, _) = owner.accept().await.expect("carried");
        let mut got = [0; 12];
        served.read_exact(&mut got).await.expect("arrived");
        assert_eq!(&got, b"GET /healthy");
    });
}

#[test]
fn who_does_not_finish_the_first_words_is_cut_off() {
    run(async {
        let (relay, _steer, at) = open(Protocol::Http, false, 20);
        let (mut drips, mut silent) = (dial(at).await, dial(at).await);
        let begun = Instant::now();
        let dripping = async {
            for byte in b"GET /health" {
                drips.write_all(&[*byte]).await.expect("written");
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            rest(&mut drips).await
        };
        let (dripped, quiet) = tokio::join!(dripping, rest(&mut silent));
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(limits::HANDSHAKE_MS_MAX - 500) && took < SLACK, "{took:?}");
        assert!(dripped.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&dripped));
        assert_eq!(quiet, b"");
        drop((drips, silent));
        while relay.figures().connections > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_relay_that_ends_cuts_what_it_carries_and_tells_who_waits() {
    run(async {
        let (relay, steer, at) = open(Protocol::Faktory, false, 20);
        let (owner, target) = owner().await;
        steer.send_replace(target);
        let (mut peer, mut served) = pair(at, &owner).await;
        steer.send_replace(None);
        let mut waits = dial(at).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        relay.hold();
        peer.write_all(b"on").await.expect("written");
        let mut got = [0; 2];
        served.read_exact(&mut got).await.expect("what is carried goes on");
        let begun = Instant::now();
        let ((), told) = tokio::join!(relay.close(), rest(&mut waits));
        assert!(begun.elapsed() < OWNER_WAIT, "nobody waits for the whole time");
        assert!(String::from_utf8_lossy(&told).contains("-ERR this node takes another part"), "{told:?}");
        assert_eq!((rest(&mut peer).await, rest(&mut served).await), (vec![], vec![]));
    });
}

/// Two clones of a listener in turn, as a node that becomes the owner does: who comes in between waits, and is served.
#[test]
fn the_port_is_handed_on_without_a_gap() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let at = listener.local_addr().expect("an address");
        let (steer, owner_is) = watch::channel(None);
        let config = config(Protocol::Native, owner_is);
        let stop = CancellationToken::new();
        let clone = listener.try_clone().expect("a clone");
        let relay = Relay::open(clone, config, &stop).expect("a relay");
        let (owner, target) = owner().await;
        steer.send_replace(target);
        let (mut peer, _served) = pair(at, &owner).await;
        stop.cancel();
        assert_eq!(rest(&mut peer).await, b"", "the token ends it, too");
        relay.close().await;
        let waits = dial(at).await;
        let next = Port::adopt(listener, None, None).expect("the same port");
        let (taken, from) =
            timeout(SLACK, crate::door::Listen::accept(&next)).await.expect("soon").expect("taken");
        assert_eq!(from, waits.local_addr().expect("an address"));
        drop(taken);
    });
}

/// What a relay costs: `cargo test --release -p windlass-scheduler relay_rate -- --ignored --nocapture`. The relay has a thread of its
/// own, as on a standby.
#[test]
#[ignore = "a measurement, not a test"]
fn relay_rate() {
    const ROUNDS: usize = 20_000;
    const BYTES: usize = 512 << 20;
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || {
        actix_rt::System::new().block_on(async {
            let (_relay, steer, at) = open(Protocol::Native, false, 20);
            tell.send((steer, at)).expect("somebody waits");
            stopped.cancelled().await;
        });
    });
    let (steer, relayed) = told.recv().expect("a relay");
    actix_rt::System::new().block_on(async {
        let (owner, target) = owner().await;
        steer.send_replace(target);
        for (name, at) in [("direct", owner.local_addr().expect("an address")), ("relayed", relayed)] {
            let (mut peer, mut served) = pair(at, &owner).await;
            settle(&peer);
            settle(&served);
            let mut frame = [1; 64];
            let begun = Instant::now();
            for _ in 0..ROUNDS {
                peer.write_all(&frame).await.expect("written");
                served.read_exact(&mut frame).await.expect("arrived");
                served.write_all(&frame).await.expect("written");
                peer.read_exact(&mut frame).await.expect("arrived");
            }
            let round_us = begun.elapsed().as_secs_f64() * 1e6 / ROUNDS as f64;
            let (begun, chunk) = (Instant::now(), vec![1; 64 * 1024]);
            let saying = async {
                for _ in 0..BYTES / chunk.len() {
                    peer.write_all(&chunk).await.expect("written");
                }
            };
            let hearing = async {
                let (mut buffer, mut left) = (vec![0; 256 * 1024], BYTES);
                while left > 0 {
                    left -= served.read(&mut buffer).await.expect("arrived");
                }
            };
            tokio::join!(saying, hearing);
            let rate = BYTES as f64 / 1e6 / begun.elapsed().as_secs_f64();
            println!("{name}: {round_us:.1} µs for 64 bytes there and back, {rate:.0} MB/s one way");
        }
    });
    stop.cancel();
    thread.join().expect("no panic");
}
