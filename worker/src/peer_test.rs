//! A server that does what a test tells it: accepts, reads frames, sends frames. No windlass behind it.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use windlass_core::api::{ApiError, Enqueued, Request, Response};
use windlass_core::id::{JobId, QueueName};
use windlass_core::job::{JobSpec, Payload};
use windlass_core::limits;
use windlass_core::time::Timestamp;
use windlass_core::wire::{
    ClientFrame, Delivery, Hello, LeaseRef, Outcome, Report, ReportResult, ServerFrame, Token, Welcome,
    decode_exact, encode_frame, next_frame,
};

/// Longest wait for anything that a test expects; reached only by a failing test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Peer {
    listener: TcpListener,
}

impl Peer {
    pub(crate) async fn bind() -> Peer {
        Peer::bind_at("127.0.0.1:0").await
    }

    pub(crate) async fn bind_at(address: &str) -> Peer {
        Peer { listener: TcpListener::bind(address).await.expect("a free port") }
    }

    pub(crate) fn address(&self) -> String {
        self.listener.local_addr().expect("bound").to_string()
    }

    /// The next connection, greeted.
    pub(crate) async fn accept(&self) -> Talk {
        self.accept_with(welcome()).await
    }

    pub(crate) async fn accept_with(&self, welcome: Welcome) -> Talk {
        let mut talk = self.accept_silent().await;
        talk.send(ServerFrame::Welcome(welcome)).await;
        talk
    }

    /// The next connection, its hello read and not answered.
    pub(crate) async fn accept_silent(&self) -> Talk {
        let accepted = tokio::time::timeout(PATIENCE, self.listener.accept()).await.expect("nobody connects");
        let (stream, _) = accepted.expect("accept");
        stream.set_nodelay(true).expect("a TCP socket");
        let hello = Hello { magic: [0; 4], protocol: 0, client: String::new(), token: None, worker: None };
        let mut talk = Talk { stream, buffer: BytesMut::new(), hello, credit: 0 };
        let ClientFrame::Hello(hello) = talk.next().await else { panic!("the first frame is no hello") };
        talk.hello = hello;
        talk
    }
}

pub(crate) fn welcome() -> Welcome {
    Welcome {
        protocol: 1,
        server: "peer/0".to_owned(),
        node: "peer".to_owned(),
        gossip_addr: String::new(),
        cluster: String::new(),
        heartbeat_ms: 1_000,
        lease_ms: 8_000,
        resume_grace_ms: 3_000,
        frame_bytes_max: u32::try_from(limits::FRAME_BYTES_MAX).expect("fits"),
    }
}

/// One connection; dropping it breaks it.
pub(crate) struct Talk {
    stream: TcpStream,
    buffer: BytesMut,
    pub(crate) hello: Hello,
    /// All credit that was given.
    pub(crate) credit: u32,
}

impl Talk {
    /// The next frame.
    pub(crate) async fn next(&mut self) -> ClientFrame {
        self.try_next().await.expect("the connection was closed")
    }

    /// The next frame; `None` when the other side has closed.
    pub(crate) async fn try_next(&mut self) -> Option<ClientFrame> {
        loop {
            if let Some(body) = next_frame(&mut self.buffer, limits::FRAME_BYTES_MAX).expect("a sound frame")
            {
                let frame = decode_exact(&body).expect("a client frame");
                if let ClientFrame::Credit { add } = frame {
                    self.credit += add;
                }
                return Some(frame);
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
            if read.expect("no frame comes").unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// The next frame that is no heartbeat; heartbeats are answered.
    pub(crate) async fn next_but_beats(&mut self) -> ClientFrame {
        let next = async {
            loop {
                match self.next().await {
                    ClientFrame::Heartbeat { seq } => self.send(ServerFrame::HeartbeatAck { seq }).await,
                    frame => return frame,
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("only heartbeats come")
    }

    /// Waits for the progress that a handler tells when it has begun.
    pub(crate) async fn expect_begun(&mut self) {
        let frame = self.next_but_beats().await;
        assert!(matches!(frame, ClientFrame::Progress { .. }), "expected progress, got {frame:?}");
    }

    /// Reads up to the goodbye.
    pub(crate) async fn expect_goodbye(&mut self) {
        while self.next_but_beats().await != ClientFrame::Goodbye {}
    }

    /// The next call: its number and what it asks.
    pub(crate) async fn call(&mut self) -> (u64, Request) {
        match self.next_but_beats().await {
            ClientFrame::Call { request, body } => (request, body),
            other => panic!("expected a call, got {other:?}"),
        }
    }

    /// The next call, which enqueues: its number, queue and jobs.
    pub(crate) async fn enqueue(&mut self) -> (u64, QueueName, Vec<JobSpec>) {
        match self.call().await {
            (request, Request::Enqueue { queue, jobs }) => (request, queue, jobs),
            other => panic!("expected an enqueue, got {other:?}"),
        }
    }

    /// The next report; credit is skipped.
    pub(crate) async fn report(&mut self) -> Report {
        loop {
            match self.next_but_beats().await {
                ClientFrame::Report(report) => return report,
                ClientFrame::Credit { .. } | ClientFrame::Quiet => {}
                other => panic!("expected a report, got {other:?}"),
            }
        }
    }

    /// Reads a report and records it.
    pub(crate) async fn record(&mut self) -> Vec<Outcome> {
        let report = self.report().await;
        let results = vec![ReportResult::Recorded; report.outcomes.len()];
        self.send(ServerFrame::Reported { request: report.request, results }).await;
        report.outcomes
    }

    /// Reads what a worker says first: its subscription and credit.
    pub(crate) async fn expect_credit(&mut self) -> u32 {
        assert!(matches!(self.next().await, ClientFrame::Subscribe(_)));
        match self.next().await {
            ClientFrame::Credit { add } => add,
            other => panic!("expected credit, got {other:?}"),
        }
    }

    pub(crate) async fn send(&mut self, frame: ServerFrame) {
        let mut out = BytesMut::new();
        encode_frame(&mut out, &frame);
        self.stream.write_all_buf(&mut out).await.expect("the other side reads");
    }

    /// Answers a call that enqueues.
    pub(crate) async fn accept_jobs(&mut self, request: u64, jobs: &[JobSpec]) {
        let answers =
            jobs.iter().map(|job| Enqueued { id: job.id.expect("an id"), duplicate: false }).collect();
        self.reply(request, Ok(Response::Enqueued(answers))).await;
    }

    pub(crate) async fn reply(&mut self, request: u64, result: Result<Response, ApiError>) {
        self.send(ServerFrame::Reply { request, result }).await;
    }
}

/// A delivery of `kind` with a JSON payload.
pub(crate) fn delivery(number: u8, kind: &str, payload: &str) -> Delivery {
    Delivery {
        queue: QueueName::default(),
        id: JobId([number; 16]),
        token: Token { epoch: 1, delivery: u64::from(number) },
        attempt: 1,
        max_attempts: 3,
        kind: kind.to_owned(),
        payload: Payload::json(payload.as_bytes().to_vec()),
        enqueued_at: Timestamp(1),
        timeout_ms: None,
        headers: Vec::new(),
        tags: Vec::new(),
    }
}

pub(crate) fn lease(delivery: &Delivery) -> LeaseRef {
    LeaseRef { queue: delivery.queue.clone(), id: delivery.id, token: delivery.token }
}
