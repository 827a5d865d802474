//! The numbers of all alternatives, as `docs/protocol.md` lists them. A new one is added at the end; none is ever moved.

use windlass_core::api::{
    AuditPage, BulkAct, BulkSpec, ErrorCode, JobQuery, JobSearch, NodeState, Request, Response,
};
use windlass_core::id::{JobId, QueueName};
use windlass_core::job::{AttemptOutcome, JobState, RunAt};
use windlass_core::retry::Backoff;
use windlass_core::schedule::{CatchUp, When};
use windlass_core::time::Timestamp;
use windlass_core::wire::encode_into;

fn first_byte<T: bincode::Encode>(value: &T) -> u8 {
    let mut out = Vec::new();
    encode_into(&mut out, value);
    out[0]
}

fn bulk() -> BulkSpec {
    BulkSpec { act: BulkAct::Retry, filter: String::new(), reason: String::new(), pace: None, dry_run: false }
}

#[test]
fn requests_keep_their_numbers() {
    let (id, queue, name) = (JobId([0; 16]), QueueName::default(), String::new());
    let requests = [
        (0, Request::Enqueue { queue: queue.clone(), jobs: Vec::new() }),
        (1, Request::GetJob { id }),
        (2, Request::ListJobs(JobQuery::default())),
        (3, Request::CancelJob { id }),
        (4, Request::RetryJob { id }),
        (5, Request::DeleteJob { id }),
        (6, Request::WaitJob { id, timeout_ms: 1 }),
        (7, Request::RetryDead { queue: queue.clone(), kind: None }),
        (8, Request::DeleteDead { queue: queue.clone(), kind: None }),
        (9, Request::ListQueues),
        (10, Request::PauseQueue { queue: queue.clone() }),
        (11, Request::ResumeQueue { queue: queue.clone() }),
        (12, Request::SetRetention { queue, finished_max: 1 }),
        (13, Request::ListWorkers),
        (14, Request::GetOverview),
        (16, Request::ListSchedules),
        (17, Request::GetSchedule { name: name.clone() }),
        (18, Request::PauseSchedule { name: name.clone() }),
        (19, Request::ResumeSchedule { name: name.clone() }),
        (20, Request::TriggerSchedule { name: name.clone() }),
        (21, Request::DeleteSchedule { name }),
        (22, Request::SearchJobs(JobSearch::default())),
        (23, Request::StartBulk(bulk())),
        (24, Request::ListBulks),
        (25, Request::GetBulk { id: 1 }),
        (26, Request::CancelBulk { id: 1 }),
        (28, Request::ListTokens),
        (29, Request::RevokeToken { token: String::new() }),
        (30, Request::ListAudit { before: None, limit: None }),
        (31, Request::GetCluster),
        (32, Request::DrainNode { node: None, hold_ms: 0 }),
    ];
    for (number, request) in requests {
        assert_eq!(first_byte(&request), number, "{request:?}");
    }
}

#[test]
fn responses_keep_their_numbers() {
    let responses = [
        (0, Response::Enqueued(Vec::new())),
        (3, Response::Done { count: 1 }),
        (4, Response::Queues(Vec::new())),
        (5, Response::Workers(Vec::new())),
        (8, Response::Schedules(Vec::new())),
        (10, Response::Bulks(Vec::new())),
        (12, Response::Tokens(Vec::new())),
        (13, Response::Audit(AuditPage { entries: Vec::new(), next: None })),
        (14, Response::Cluster(Box::default())),
    ];
    for (number, response) in responses {
        assert_eq!(first_byte(&response), number, "{response:?}");
    }
}

#[test]
fn error_codes_keep_their_numbers() {
    use ErrorCode::{
        Busy, Conflict, Denied, Internal, Invalid, NotFound, StaleLease, StoreFailed, StoreFull, Timeout,
        TooLarge, Unavailable, Unsupported,
    };
    let codes = [
        Invalid,
        TooLarge,
        NotFound,
        Conflict,
        StaleLease,
        Busy,
        StoreFull,
        StoreFailed,
        Unavailable,
        Timeout,
        Denied,
        Unsupported,
        Internal,
    ];
    for (number, code) in codes.iter().enumerate() {
        assert_eq!(usize::from(first_byte(code)), number, "{code:?}");
    }
}

#[test]
fn small_alternatives_keep_their_numbers() {
    for (number, state) in JobState::ALL.iter().enumerate() {
        assert_eq!(usize::from(first_byte(state)), number, "{state}");
    }
    for (number, state) in NodeState::ALL.iter().enumerate() {
        assert_eq!(usize::from(first_byte(state)), number, "{}", state.name());
    }
    use AttemptOutcome::{Cancelled, Failed, Lost, Released, Snoozed, Succeeded};
    for (number, outcome) in [Succeeded, Failed, Snoozed, Released, Lost, Cancelled].iter().enumerate() {
        assert_eq!(usize::from(first_byte(outcome)), number, "{outcome:?}");
    }
    let times = [RunAt::Now, RunAt::At(Timestamp(1)), RunAt::AfterMs(1)];
    assert_eq!(times.map(|at| first_byte(&at)), [0, 1, 2]);
    let policies = [
        Backoff::Fixed { delay_ms: 1, jitter_percent: 0 },
        Backoff::Exponential { base_ms: 1, factor_tenths: 20, max_ms: 2, jitter_percent: 0 },
        Backoff::List { delays_ms: vec![1], jitter_percent: 0 },
    ];
    assert_eq!(policies.map(|policy| first_byte(&policy)), [0, 1, 2]);
    assert_eq!([When::Cron(String::new()), When::EveryMs(1_000)].map(|when| first_byte(&when)), [0, 1]);
    assert_eq!([CatchUp::Latest, CatchUp::Skip].map(|catch_up| first_byte(&catch_up)), [0, 1]);
}
