//! A peer that speaks the native protocol frame by frame, without the worker library's help.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use windlass_core::api::{
    ApiError, Enqueued, JobPage, JobQuery, JobView, QueueView, Request, Response, WorkerView,
};
use windlass_core::id::{JobId, QueueName, WorkerId};
use windlass_core::job::{JobSpec, Payload};
use windlass_core::limits::FRAME_BYTES_MAX;
use windlass_core::wire::{
    ClientFrame, Delivery, Hello, LeaseRef, Outcome, PROTOCOL, Report, ReportResult, ServerFrame,
    Subscription, Verdict, Welcome, WorkerHello, decode_exact, encode_frame, next_frame,
};

/// Longest time that anything in these tests may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// One connection.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    buffer: BytesMut,
    stash: VecDeque<ServerFrame>,
    request: u64,
    pub(crate) welcome: Option<Welcome>,
}

pub(crate) fn queue(name: &str) -> QueueName {
    name.parse().expect("a valid name")
}

/// A job of this kind, with its kind as payload.
pub(crate) fn job(kind: &str) -> JobSpec {
    JobSpec::new(kind, Payload::json(format!("{kind:?}")))
}

pub(crate) fn kinds(jobs: &[Delivery]) -> Vec<&str> {
    jobs.iter().map(|job| job.kind.as_str()).collect()
}

pub(crate) fn hello(worker: Option<WorkerHello>) -> Hello {
    Hello { magic: *b"WLSS", protocol: PROTOCOL, client: "test/1".to_owned(), token: None, worker }
}

pub(crate) fn worker_hello(id: u8) -> WorkerHello {
    WorkerHello {
        id: WorkerId([id; 16]),
        name: format!("worker-{id}"),
        host: "here".to_owned(),
        pid: 1,
        kinds: vec!["a".to_owned()],
        gossip_id: String::new(),
    }
}

impl Peer {
    /// A connection without a word said.
    pub(crate) async fn raw(addr: SocketAddr) -> Peer {
        let stream = TcpStream::connect(addr).await.expect("the node listens");
        stream.set_nodelay(true).expect("a fresh socket");
        Peer { stream, buffer: BytesMut::new(), stash: VecDeque::new(), request: 0, welcome: None }
    }

    /// A connection that has been welcomed.
    pub(crate) async fn greeted(addr: SocketAddr, hello: Hello) -> Peer {
        let mut peer = Peer::raw(addr).await;
        peer.send(ClientFrame::Hello(hello)).await;
        match peer.next().await {
            Some(ServerFrame::Welcome(welcome)) => peer.welcome = Some(welcome),
            other => panic!("expected a welcome, got {other:?}"),
        }
        peer
    }

    pub(crate) async fn client(addr: SocketAddr) -> Peer {
        Peer::greeted(addr, hello(None)).await
    }

    pub(crate) async fn worker(addr: SocketAddr, id: u8) -> Peer {
        Peer::greeted(addr, hello(Some(worker_hello(id)))).await
    }

    /// A worker that takes jobs from one queue.
    pub(crate) async fn worker_of(addr: SocketAddr, id: u8, name: &str, credit: u32) -> Peer {
        let mut peer = Peer::worker(addr, id).await;
        peer.subscribe(&[(name, 1)], true).await;
        peer.credit(credit).await;
        peer
    }

    pub(crate) async fn send(&mut self, frame: ClientFrame) {
        self.try_send(frame).await.expect("the connection is open");
    }

    pub(crate) async fn try_send(&mut self, frame: ClientFrame) -> std::io::Result<()> {
        let mut out = BytesMut::new();
        encode_frame(&mut out, &frame);
        self.stream.write_all(&out).await
    }

    /// The next frame, or `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<ServerFrame> {
        match self.stash.pop_front() {
            Some(frame) => Some(frame),
            None => self.read().await,
        }
    }

    async fn read(&mut self) -> Option<ServerFrame> {
        loop {
            if let Some(body) = next_frame(&mut self.buffer, FRAME_BYTES_MAX).expect("whole frames") {
                return Some(decode_exact(&body).expect("a frame of the protocol"));
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer));
            match read.await.expect("the node answers in time") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The first frame for which `pick` has a value; others are kept for later.
    pub(crate) async fn pick<T>(&mut self, mut pick: impl FnMut(&ServerFrame) -> Option<T>) -> T {
        for index in 0..self.stash.len() {
            if let Some(value) = pick(&self.stash[index]) {
                self.stash.remove(index);
                return value;
            }
        }
        loop {
            let frame = self.read().await.expect("the connection stays open");
            match pick(&frame) {
                Some(value) => return value,
                None => self.stash.push_back(frame),
            }
        }
    }

    /// Sends a call without waiting for its answer.
    pub(crate) async fn start_call(&mut self, body: Request) -> u64 {
        self.request += 1;
        let request = self.request;
        self.send(ClientFrame::Call { request, body }).await;
        request
    }

    pub(crate) async fn answer(&mut self, wanted: u64) -> Result<Response, ApiError> {
        self.pick(|frame| match frame {
            ServerFrame::Reply { request, result } if *request == wanted => Some(result.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn call(&mut self, body: Request) -> Result<Response, ApiError> {
        let request = self.start_call(body).await;
        self.answer(request).await
    }

    pub(crate) async fn enqueue(&mut self, name: &str, jobs: Vec<JobSpec>) -> Vec<Enqueued> {
        match self.call(Request::Enqueue { queue: queue(name), jobs }).await {
            Ok(Response::Enqueued(answers)) => answers,
            other => panic!("expected an enqueue's answer, got {other:?}"),
        }
    }

    pub(crate) async fn view(&mut self, id: JobId) -> JobView {
        match self.call(Request::GetJob { id }).await {
            Ok(Response::Job(view)) => *view,
            other => panic!("expected job {id}, got {other:?}"),
        }
    }

    pub(crate) async fn wait(&mut self, id: JobId, timeout_ms: u64) -> Result<JobView, ApiError> {
        match self.call(Request::WaitJob { id, timeout_ms }).await {
            Ok(Response::Job(view)) => Ok(*view),
            Ok(other) => panic!("expected a job, got {other:?}"),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn page(&mut self, query: JobQuery) -> JobPage {
        match self.call(Request::ListJobs(query)).await {
            Ok(Response::Jobs(page)) => page,
            other => panic!("expected a page, got {other:?}"),
        }
    }

    pub(crate) async fn queues(&mut self) -> Vec<QueueView> {
        match self.call(Request::ListQueues).await {
            Ok(Response::Queues(queues)) => queues,
            other => panic!("expected queues, got {other:?}"),
        }
    }

    pub(crate) async fn workers(&mut self) -> Vec<WorkerView> {
        match self.call(Request::ListWorkers).await {
            Ok(Response::Workers(workers)) => workers,
            other => panic!("expected workers, got {other:?}"),
        }
    }

    pub(crate) async fn done(&mut self, body: Request) -> u64 {
        match self.call(body).await {
            Ok(Response::Done { count }) => count,
            other => panic!("expected done, got {other:?}"),
        }
    }

    pub(crate) async fn subscribe(&mut self, queues: &[(&str, u32)], strict: bool) {
        let queues = queues.iter().map(|(name, weight)| (queue(name), *weight)).collect();
        self.send(ClientFrame::Subscribe(Subscription { queues, strict })).await;
    }

    pub(crate) async fn credit(&mut self, add: u32) {
        self.send(ClientFrame::Credit { add }).await;
    }

    /// The next `count` jobs, in the order of their delivery.
    pub(crate) async fn jobs(&mut self, count: usize) -> Vec<Delivery> {
        let mut jobs = Vec::new();
        while jobs.len() < count {
            jobs.extend(self.pick(delivered).await);
        }
        assert_eq!(jobs.len(), count, "more jobs than asked for: {:?}", kinds(&jobs));
        jobs
    }

    /// Asserts that no job is on its way to this peer.
    pub(crate) async fn no_jobs(&mut self) {
        // Each answer leaves the queue behind whatever the queue sent before; one more covers the hop through the session.
        for _ in 0..3 {
            self.queues().await;
        }
        let stray: Vec<_> = self.stash.iter().filter_map(delivered).flatten().collect();
        assert!(stray.is_empty(), "unexpected jobs: {:?}", kinds(&stray));
    }

    pub(crate) async fn report(&mut self, job: &Delivery, verdict: Verdict) -> ReportResult {
        self.report_all(vec![outcome(job, verdict)]).await.remove(0)
    }

    pub(crate) async fn report_all(&mut self, outcomes: Vec<Outcome>) -> Vec<ReportResult> {
        self.request += 1;
        let wanted = self.request;
        self.send(ClientFrame::Report(Report { request: wanted, outcomes })).await;
        self.pick(|frame| match frame {
            ServerFrame::Reported { request, results } if *request == wanted => Some(results.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn ack(&mut self, job: &Delivery) {
        assert_eq!(self.report(job, Verdict::Done(None)).await, ReportResult::Recorded);
    }

    pub(crate) async fn heartbeat(&mut self) {
        self.request += 1;
        let seq = self.request;
        self.send(ClientFrame::Heartbeat { seq }).await;
        self.pick(|frame| (*frame == ServerFrame::HeartbeatAck { seq }).then_some(())).await;
    }

    /// Presents leases; returns those that go on and those that do not.
    pub(crate) async fn resume(&mut self, leases: Vec<LeaseRef>) -> (Vec<LeaseRef>, Vec<LeaseRef>) {
        self.send(ClientFrame::Resume(leases)).await;
        self.pick(|frame| match frame {
            ServerFrame::Resumed { kept, lost } => Some((kept.clone(), lost.clone())),
            _ => None,
        })
        .await
    }
}

fn delivered(frame: &ServerFrame) -> Option<Vec<Delivery>> {
    match frame {
        ServerFrame::Deliver(jobs) => Some(jobs.clone()),
        _ => None,
    }
}

pub(crate) fn outcome(job: &Delivery, verdict: Verdict) -> Outcome {
    Outcome { queue: job.queue.clone(), id: job.id, token: job.token, verdict }
}

pub(crate) fn lease(job: &Delivery) -> LeaseRef {
    LeaseRef { queue: job.queue.clone(), id: job.id, token: job.token }
}
