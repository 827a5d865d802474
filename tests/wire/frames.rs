//! One example of every frame, and of every kind of value in them. What they are as bytes stands in `golden-1.txt` and, from version 2
//! on, `golden-2.txt`.

use bytes::Bytes;
use windlass_core::api::{
    ApiError, ClusterNode, ClusterView, Enqueued, ErrorCode, JobQuery, MoveView, NodeState, Request,
    Response, ShardView,
};
use windlass_core::id::{JobId, QueueName, WorkerId};
use windlass_core::job::{JobSpec, Payload, RunAt};
use windlass_core::retry::Backoff;
use windlass_core::schedule::{CatchUp, ScheduleSpec, When};
use windlass_core::time::Timestamp;
use windlass_core::wire::{
    ClientFrame, Delivery, Hello, LeaseRef, NodeAt, Nodes, Outcome, Report, ReportResult, ServerFrame,
    Subscription, Token, Verdict, Welcome, WorkerHello,
};

/// An id whose bytes can be told apart.
fn id() -> JobId {
    JobId([0x01, 0x90, 0x0a, 0x5d, 0xac, 0x96, 0x77, 0x4b, 0xbc, 0xce, 0xb3, 0x02, 0x09, 0x9a, 0x80, 0x57])
}

fn queue() -> QueueName {
    QueueName::new("mail").expect("a good name")
}

fn lease() -> LeaseRef {
    LeaseRef { queue: queue(), id: id(), token: Token { epoch: 3, delivery: 300 } }
}

fn outcome(verdict: Verdict) -> Outcome {
    let LeaseRef { queue, id, token } = lease();
    Outcome { queue, id, token, verdict }
}

fn json(text: &'static str) -> Payload {
    Payload::json(Bytes::from_static(text.as_bytes()))
}

fn full_spec() -> JobSpec {
    let mut spec =
        JobSpec::new("send_email", Payload { content_type: "text/plain".to_owned(), data: "hi".into() });
    spec.id = Some(id());
    spec.priority = -5;
    spec.run_at = RunAt::AfterMs(60_000);
    let options = spec.options_mut();
    options.expires_at = Some(Timestamp(1_767_614_400_000));
    options.timeout_ms = Some(250);
    options.max_attempts = Some(3);
    options.backoff = Some(Backoff::List { delays_ms: vec![100, 1_000], jitter_percent: 10 });
    options.retention_ms = Some(3_600_000);
    options.tags = vec!["welcome".to_owned()];
    options.headers = vec![("tenant".to_owned(), "7".to_owned())];
    spec
}

fn cluster() -> ClusterView {
    let at = Timestamp(1_767_614_400_000);
    let text = |text: &str| text.to_owned();
    let shard = ShardView {
        shard: 0,
        epoch: 300,
        owner: Some(text("n1")),
        since: at,
        moves_total: 4,
        queues: 2,
        ready: 7,
        running: 1,
        rate: 0.5,
    };
    let node = ClusterNode {
        name: text("n2"),
        version: text("0.1.0"),
        state: NodeState::Standby,
        since: Some(at),
        native: text("h:1"),
        http: text("h:2"),
        faktory: String::new(),
        gossip: text("h:3"),
        epoch: 0,
        rate: 0.0,
        workers: 0,
        connections: 9,
        lag_ms: 400,
        clock_skew_ms: Some(-200),
    };
    let step = MoveView { at, shard: 0, epoch: 300, from: None, to: Some(text("n1")), why: text("w") };
    ClusterView {
        name: text("windlass"),
        node: text("n1"),
        store: text("postgres"),
        trouble: None,
        shards: vec![shard],
        nodes: vec![node],
        moves: vec![step],
    }
}

/// The frames of a client, by name.
pub(crate) fn client() -> Vec<(&'static str, ClientFrame)> {
    let hello_of = |protocol, worker| {
        let client = "example/1".to_owned();
        ClientFrame::Hello(Hello { magic: *b"WLSS", protocol, client, token: None, worker })
    };
    let hello = |worker| hello_of(1, worker);
    let worker = WorkerHello {
        id: WorkerId([7; 16]),
        name: "w".to_owned(),
        host: "h".to_owned(),
        pid: 4_242,
        kinds: vec!["send_email".to_owned()],
        gossip_id: String::new(),
    };
    let call = |body| ClientFrame::Call { request: 1, body };
    let small = JobSpec { id: Some(id()), ..JobSpec::new("send_email", json("[1]")) };
    let schedule = ScheduleSpec {
        name: "nightly".to_owned(),
        when: When::Cron("0 3 * * *".to_owned()),
        zone: "UTC".to_owned(),
        catch_up: CatchUp::Skip,
        queue: queue(),
        job: JobSpec::new("report", json("null")),
    };
    let outcomes = vec![
        outcome(Verdict::Done(Some(json("42")))),
        outcome(Verdict::Retry { error: "no".to_owned(), retry_in_ms: Some(1_000) }),
        outcome(Verdict::Snooze { ms: 5 }),
        outcome(Verdict::Dead { error: "no".to_owned() }),
        outcome(Verdict::Cancelled { reason: "no".to_owned() }),
        outcome(Verdict::Released),
    ];
    vec![
        ("hello", hello(None)),
        ("hello-2", hello_of(2, None)),
        ("hello-worker", hello(Some(worker))),
        ("enqueue", call(Request::Enqueue { queue: queue(), jobs: vec![small] })),
        ("enqueue-options", call(Request::Enqueue { queue: queue(), jobs: vec![full_spec()] })),
        ("wait", call(Request::WaitJob { id: id(), timeout_ms: 30_000 })),
        ("list-jobs", call(Request::ListJobs(JobQuery { limit: Some(10), ..JobQuery::default() }))),
        ("put-schedule", call(Request::PutSchedule(schedule))),
        ("get-cluster", call(Request::GetCluster)),
        ("drain-node", call(Request::DrainNode { node: Some("n2".to_owned()), hold_ms: 30_000 })),
        ("resume", ClientFrame::Resume(vec![lease()])),
        ("subscribe", ClientFrame::Subscribe(Subscription { queues: vec![(queue(), 2)], strict: false })),
        ("credit", ClientFrame::Credit { add: 16 }),
        ("report", ClientFrame::Report(Report { request: 9, outcomes })),
        ("progress", ClientFrame::Progress { lease: lease(), percent: 50, message: "half".to_owned() }),
        ("heartbeat", ClientFrame::Heartbeat { seq: 1 }),
        ("quiet", ClientFrame::Quiet),
        ("goodbye", ClientFrame::Goodbye),
    ]
}

/// The frames of a server, by name.
pub(crate) fn server() -> Vec<(&'static str, ServerFrame)> {
    let welcome = Welcome {
        protocol: 1,
        server: "windlass/0.1.0".to_owned(),
        node: "n1".to_owned(),
        gossip_addr: String::new(),
        cluster: String::new(),
        heartbeat_ms: 1_000,
        lease_ms: 8_000,
        resume_grace_ms: 3_000,
        frame_bytes_max: 16 * 1024 * 1024,
    };
    let delivery = Delivery {
        queue: queue(),
        id: id(),
        token: Token { epoch: 3, delivery: 300 },
        attempt: 1,
        max_attempts: 20,
        kind: "send_email".to_owned(),
        payload: json("[1]"),
        enqueued_at: Timestamp(1_767_614_400_000),
        timeout_ms: None,
        headers: Vec::new(),
        tags: Vec::new(),
    };
    let node = |name: &str, native: &str| NodeAt { name: name.to_owned(), native: native.to_owned() };
    let nodes = Nodes { cluster: id().0, owner: node("n1", "a:7421"), others: vec![node("n2", "b:7421")] };
    let reply = |result| ServerFrame::Reply { request: 1, result };
    let refusal = ApiError { code: ErrorCode::Busy, message: "later".to_owned(), retry_after_ms: Some(250) };
    vec![
        ("welcome", ServerFrame::Welcome(welcome.clone())),
        ("welcome-2", ServerFrame::Welcome(Welcome { protocol: 2, ..welcome })),
        ("refused", ServerFrame::Refused(ApiError::new(ErrorCode::Denied, "no token"))),
        ("reply-enqueued", reply(Ok(Response::Enqueued(vec![Enqueued { id: id(), duplicate: false }])))),
        ("reply-done", reply(Ok(Response::Done { count: 1 }))),
        ("reply-error", reply(Err(refusal))),
        ("reply-cluster", reply(Ok(Response::Cluster(Box::new(cluster()))))),
        ("resumed", ServerFrame::Resumed { kept: vec![lease()], lost: Vec::new() }),
        ("deliver", ServerFrame::Deliver(vec![delivery])),
        (
            "reported",
            ServerFrame::Reported {
                request: 9,
                results: vec![ReportResult::Recorded, ReportResult::Refused(ErrorCode::StaleLease)],
            },
        ),
        ("cancel-job", ServerFrame::CancelJob(lease())),
        ("lease-lost", ServerFrame::LeaseLost(lease())),
        ("heartbeat-ack", ServerFrame::HeartbeatAck { seq: 1 }),
        ("draining", ServerFrame::Draining),
        ("nodes", ServerFrame::Nodes(nodes)),
        ("moved", ServerFrame::Moved { to: "b:7421".to_owned() }),
    ]
}
