//! Input that breaks the rules: an error or a close, never a crash; and the node goes on serving others.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use windlass_core::api::{ApiError, ErrorCode, Request};
use windlass_core::job::{JobSpec, Payload};
use windlass_core::limits;
use windlass_core::wire::{ClientFrame, ServerFrame, encode_frame};
use windlass_scheduler::access::AdminToken;
use windlass_scheduler::testing::TestServer;

use crate::peer::{Peer, hello, job, queue};

/// What the peer is told before the end.
async fn refusal(peer: &mut Peer) -> Option<ApiError> {
    let mut told = None;
    while let Some(frame) = peer.next().await {
        if let ServerFrame::Refused(error) = frame {
            told = Some(error);
        }
    }
    told
}

#[tokio::test]
async fn strangers_are_told_and_closed() {
    let server = TestServer::start();
    let wrong_magic = {
        let mut hello = hello(None);
        hello.magic = *b"HTTP";
        hello
    };
    let too_old = {
        let mut hello = hello(None);
        hello.protocol = 0;
        hello
    };
    let cases: Vec<(&str, Vec<u8>, ErrorCode)> = vec![
        ("another protocol", b"GET / HTTP/1.1\r\n\r\n".to_vec(), ErrorCode::TooLarge),
        (
            "a frame too large for a stranger",
            [&8_192_u32.to_le_bytes()[..], &[0; 16]].concat(),
            ErrorCode::TooLarge,
        ),
        ("garbage", [&5_u32.to_le_bytes()[..], b"\xff\xff\xff\xff\xff"].concat(), ErrorCode::Invalid),
        ("an empty frame", 0_u32.to_le_bytes().to_vec(), ErrorCode::Invalid),
        ("not a hello", framed(&ClientFrame::Heartbeat { seq: 1 }), ErrorCode::Invalid),
        ("wrong magic", framed(&ClientFrame::Hello(wrong_magic)), ErrorCode::Invalid),
        ("too old", framed(&ClientFrame::Hello(too_old)), ErrorCode::Unsupported),
    ];
    for (what, bytes, code) in cases {
        let mut peer = Peer::raw(server.native_addr()).await;
        peer.stream.write_all(&bytes).await.unwrap();
        let told = refusal(&mut peer).await.unwrap_or_else(|| panic!("{what}: closed without a word"));
        assert_eq!(told.code, code, "{what}: {told}");
    }
    Peer::client(server.native_addr()).await.heartbeat().await;
}

fn framed(frame: &ClientFrame) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode_frame(&mut out, frame);
    out.to_vec()
}

#[tokio::test]
async fn a_greeted_peer_is_held_to_the_limits() {
    let server = TestServer::start();
    let announced = u32::try_from(limits::FRAME_BYTES_MAX + 1).unwrap();
    let cases: Vec<(&str, Vec<u8>, ErrorCode)> = vec![
        ("an oversized frame", announced.to_le_bytes().to_vec(), ErrorCode::TooLarge),
        ("garbage", [&3_u32.to_le_bytes()[..], b"\xee\xee\xee"].concat(), ErrorCode::Invalid),
        (
            "bytes left over",
            {
                let mut bytes = framed(&ClientFrame::Heartbeat { seq: 1 });
                bytes.push(0);
                bytes[0] += 1;
                bytes
            },
            ErrorCode::Invalid,
        ),
        ("a second hello", framed(&ClientFrame::Hello(hello(None))), ErrorCode::Invalid),
        ("a client that takes jobs", framed(&ClientFrame::Credit { add: 1 }), ErrorCode::Invalid),
    ];
    for (what, bytes, code) in cases {
        let mut peer = Peer::client(server.native_addr()).await;
        peer.stream.write_all(&bytes).await.unwrap();
        let told = refusal(&mut peer).await.unwrap_or_else(|| panic!("{what}: closed without a word"));
        assert_eq!(told.code, code, "{what}: {told}");
    }
}

#[tokio::test]
async fn bad_jobs_are_refused_as_a_whole_and_the_connection_goes_on() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    let too_many = vec![job("a"); limits::BATCH_JOBS_MAX + 1];
    let too_large = JobSpec::new("a", Payload::json(vec![b'0'; limits::PAYLOAD_BYTES_MAX + 1]));
    for (jobs, code) in [
        (vec![], ErrorCode::Invalid),
        (too_many, ErrorCode::TooLarge),
        (vec![job("fine"), too_large], ErrorCode::Invalid),
        (vec![job("fine"), job("")], ErrorCode::Invalid),
    ] {
        let error = client.call(Request::Enqueue { queue: queue("q"), jobs }).await.unwrap_err();
        assert_eq!(error.code, code, "{error}");
    }
    assert!(client.queues().await.iter().all(|queue| queue.enqueued_total == 0));
    client.enqueue("q", vec![job("fine")]).await;
}

/// The largest legal job makes its way.
#[tokio::test]
async fn large_payloads_pass_in_both_directions() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    let payload = Payload::json(vec![b'7'; limits::PAYLOAD_BYTES_MAX]);
    client
        .enqueue("q", vec![JobSpec::new("large", payload.clone()), JobSpec::new("large", payload.clone())])
        .await;
    let mut worker = Peer::worker_of(server.native_addr(), 1, "q", 2).await;
    for job in worker.jobs(2).await {
        assert!(job.payload == payload);
        worker.ack(&job).await;
    }
}

/// Thousands of requests in one go are all answered, each in its own right, and order per queue is kept.
#[tokio::test]
async fn a_flood_is_answered() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    let mut out = BytesMut::new();
    const CALLS: u64 = 20_000;
    for request in 0..CALLS {
        let body = Request::Enqueue { queue: queue("q"), jobs: vec![job("a")] };
        encode_frame(&mut out, &ClientFrame::Call { request, body });
    }
    client.stream.write_all(&out).await.unwrap();
    let (mut taken, mut busy) = (0_u64, 0_u64);
    for _ in 0..CALLS {
        let result = client
            .pick(
                |frame| {
                    if let ServerFrame::Reply { result, .. } = frame { Some(result.clone()) } else { None }
                },
            )
            .await;
        match result {
            Ok(_) => taken += 1,
            Err(error) if error.code == ErrorCode::Busy => busy += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(taken > 0, "{taken} taken, {busy} busy");
    let counted = client.queues().await.remove(0).enqueued_total;
    assert_eq!(counted, taken, "what was answered as taken is there, what was refused is not");
}

/// A worker that takes jobs and never reads: the server does not keep its backlog in memory for it.
#[tokio::test]
async fn a_peer_that_does_not_read_is_closed() {
    let server = TestServer::start();
    let mut client = Peer::client(server.native_addr()).await;
    let payload = Payload::json(vec![b'7'; 1024 * 1024]);
    for _ in 0..8 {
        client.enqueue("q", vec![JobSpec::new("large", payload.clone()); 4]).await;
    }
    let mut deaf = Peer::worker_of(server.native_addr(), 1, "q", 100).await;
    let closed = tokio::time::timeout(Duration::from_secs(40), async {
        // Its heartbeats go on, so only its not reading can be what ends it.
        while deaf.try_send(ClientFrame::Heartbeat { seq: 1 }).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    closed.await.expect("closed");
    let mut heir = Peer::worker_of(server.native_addr(), 2, "q", 32).await;
    heir.jobs(32).await;
}

#[tokio::test]
async fn tokens_keep_strangers_out() {
    let mut config = TestServer::config();
    config.admin_token = AdminToken::new("another-long-secret").ok();
    let server = TestServer::with(config).unwrap();
    for wrong in [None, Some("another-long-secreT"), Some("")] {
        let mut hello = hello(None);
        hello.token = wrong.map(str::to_owned);
        let mut peer = Peer::raw(server.native_addr()).await;
        peer.send(ClientFrame::Hello(hello)).await;
        assert_eq!(refusal(&mut peer).await.unwrap().code, ErrorCode::Denied);
    }
    let mut right = hello(None);
    right.token = Some("another-long-secret".to_owned());
    Peer::greeted(server.native_addr(), right).await;
}

/// Somebody who connects and says nothing, or never finishes what he says, does not keep his place.
#[tokio::test]
async fn a_handshake_has_a_deadline() {
    let server = TestServer::start();
    let started = std::time::Instant::now();
    let mut mute = Peer::raw(server.native_addr()).await;
    let mut dripping = Peer::raw(server.native_addr()).await;
    let drip = async {
        for byte in framed(&ClientFrame::Hello(hello(None))) {
            if dripping.stream.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        refusal(&mut dripping).await
    };
    let (told, _) = tokio::join!(refusal(&mut mute), drip);
    assert_eq!(told.expect("told why").code, ErrorCode::Timeout);
    assert!(started.elapsed() >= Duration::from_millis(limits::HANDSHAKE_MS_MAX - 100));
}
