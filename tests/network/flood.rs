//! Push-back: more than the server takes is refused with a code, every request is answered, and what was taken is there.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::TcpStream;
use windlass_core::api::{ErrorCode, Request, Response};
use windlass_core::id::JobId;
use windlass_core::job::{JobSpec, JobState, Payload};
use windlass_core::limits;
use windlass_core::time::Timestamp;
use windlass_core::wire::{
    ClientFrame, Hello, PROTOCOL, ServerFrame, decode_exact, encode_frame, next_frame,
};
use windlass_scheduler::chance::Chance;
use windlass_scheduler::session::CALLS_IN_FLIGHT_MAX;

use super::book::frozen;
use super::hosts::{self, Plant, Site, WALL};
use super::work::{SERVER, Work};

/// Requests beyond what one connection may have under way.
const BEYOND: u32 = 500;

/// A peer that speaks frames, as fast as it likes.
struct Peer {
    stream: TcpStream,
    buffer: BytesMut,
    out: BytesMut,
}

impl Peer {
    async fn connect(server: SocketAddr) -> std::io::Result<Peer> {
        let mut peer =
            Peer { stream: TcpStream::connect(server).await?, buffer: BytesMut::new(), out: BytesMut::new() };
        let client = "flood".to_owned();
        let hello = Hello { magic: *b"WLSS", protocol: PROTOCOL, client, token: None, worker: None };
        encode_frame(&mut peer.out, &ClientFrame::Hello(hello));
        peer.send().await?;
        assert!(matches!(peer.next().await?, ServerFrame::Welcome(_)));
        Ok(peer)
    }

    fn enqueue(&mut self, number: u64) {
        let id = Some(JobId::v7(Timestamp(WALL), u128::from(number) << 8));
        let job = JobSpec { id, ..JobSpec::new("work", Payload::json(b"null".to_vec())) };
        let queue = "mail".parse().expect("a name");
        let body = Request::Enqueue { queue, jobs: vec![job] };
        encode_frame(&mut self.out, &ClientFrame::Call { request: number, body });
    }

    async fn send(&mut self) -> std::io::Result<()> {
        self.stream.write_all_buf(&mut self.out).await
    }

    async fn next(&mut self) -> std::io::Result<ServerFrame> {
        loop {
            let body = next_frame(&mut self.buffer, limits::FRAME_BYTES_MAX).expect("sound frames");
            if let Some(body) = body {
                return Ok(decode_exact(&body).expect("a server's frame"));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The answers to the next `count` calls: how many were taken, and how many refused with which code.
    async fn answers(&mut self, count: u64) -> std::io::Result<BTreeMap<Option<&'static str>, u64>> {
        let mut answers = BTreeMap::new();
        for _ in 0..count {
            let ServerFrame::Reply { result, .. } = self.next().await? else { panic!("only answers come") };
            let code = match result {
                Ok(Response::Enqueued(_)) => None,
                Ok(other) => panic!("no answer to an enqueue: {other:?}"),
                Err(error) => Some(error.code.name()),
            };
            *answers.entry(code).or_insert(0) += 1;
        }
        Ok(answers)
    }
}

async fn flood(site: Site) -> turmoil::Result {
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut peer = Peer::connect(site.server).await?;
    site.platter.set_slow(true);
    let most = u64::from(CALLS_IN_FLIGHT_MAX);
    let count = most + u64::from(BEYOND);
    (0..count).for_each(|number| peer.enqueue(number));
    peer.send().await?;
    let answers = peer.answers(count).await?;
    let busy = ErrorCode::Busy.name();
    assert!(answers.get(&Some(busy)).is_some_and(|refused| *refused > 0), "{answers:?}");
    assert!(answers.keys().flatten().all(|code| *code == busy), "no other code: {answers:?}");
    let taken = answers[&None];
    assert!(taken >= most / 2, "{answers:?}");

    site.platter.set_slow(false);
    site.platter.set_full(true);
    peer.enqueue(count);
    peer.send().await?;
    let answers = peer.answers(1).await?;
    assert_eq!(answers.keys().next(), Some(&Some(ErrorCode::StoreFull.name())), "{answers:?}");

    site.platter.set_full(false);
    peer.enqueue(count);
    peer.send().await?;
    assert_eq!(peer.answers(1).await?.keys().next(), Some(&None));
    encode_frame(&mut peer.out, &ClientFrame::Call { request: 0, body: Request::ListQueues });
    peer.send().await?;
    let ServerFrame::Reply { result: Ok(Response::Queues(queues)), .. } = peer.next().await? else {
        panic!("no list of queues")
    };
    assert_eq!(
        queues[0].counts.get(&JobState::Ready),
        Some(&(taken + 1)),
        "what was taken is there, and nothing else"
    );
    Ok(())
}

#[test]
fn too_much_is_refused_with_a_code_and_nothing_taken_is_missing() {
    let mut sim = turmoil::Builder::new()
        .rng_seed(1)
        .simulation_duration(Duration::from_secs(60))
        .tcp_capacity(1_024)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(2))
        .build();
    let work = Work::draw(&Chance::seeded(1), 0, Duration::from_secs(1));
    let site = Site::new(1, work, Plant::default(), sim.lookup(SERVER));
    let theirs = site.clone();
    sim.host(SERVER, move || hosts::server(theirs.clone()));
    sim.client(Ipv4Addr::new(192, 168, 0, 77), flood(site));
    let ran = sim.run();
    let now = sim.elapsed();
    frozen(now, || drop(sim));
    ran.expect("the flood is answered");
}
