//! The native door: every request by every role, words of workers, tokens that are limited to queues.

use windlass_core::access::{Operation, Role};
use windlass_core::api::{BulkAct, BulkSpec, ErrorCode, JobQuery, JobSearch, Request, Response};
use windlass_core::id::JobId;
use windlass_core::job::{JobSpec, Payload};
use windlass_core::schedule::{CatchUp, ScheduleSpec, When};
use windlass_worker::{Error, Worker};

use crate::support::{closed, connect, is_denied, job, limited, make, queue, spec};

const ID: JobId = JobId([7; 16]);

fn schedule(name: &str, into: &str) -> ScheduleSpec {
    ScheduleSpec {
        name: name.to_owned(),
        when: When::Cron("0 3 * * *".to_owned()),
        zone: "UTC".to_owned(),
        catch_up: CatchUp::Skip,
        queue: queue(into),
        job: JobSpec::new("report", Payload::json("null")),
    }
}

fn bulk() -> BulkSpec {
    let (filter, reason) = ("state:dead".to_owned(), String::new());
    BulkSpec { act: BulkAct::Retry, filter, reason, pace: None, dry_run: true }
}

/// Every request, and who may: producer, worker, viewer, operator, admin by their first letters.
fn requests() -> Vec<(Request, &'static str)> {
    let name = || "s".to_owned();
    vec![
        (Request::Enqueue { queue: queue("a"), jobs: vec![job()] }, "pwoa"),
        (Request::GetJob { id: ID }, "pwvoa"),
        (Request::WaitJob { id: ID, timeout_ms: 1 }, "pwvoa"),
        (Request::ListJobs(JobQuery::default()), "voa"),
        (Request::SearchJobs(JobSearch::default()), "voa"),
        (Request::ListQueues, "voa"),
        (Request::ListWorkers, "voa"),
        (Request::GetOverview, "voa"),
        (Request::ListSchedules, "voa"),
        (Request::GetSchedule { name: name() }, "voa"),
        (Request::ListBulks, "voa"),
        (Request::GetBulk { id: 1 }, "voa"),
        (Request::CancelJob { id: ID }, "oa"),
        (Request::RetryJob { id: ID }, "oa"),
        (Request::DeleteJob { id: ID }, "oa"),
        (Request::RetryDead { queue: queue("a"), kind: None }, "oa"),
        (Request::DeleteDead { queue: queue("a"), kind: None }, "oa"),
        (Request::PauseQueue { queue: queue("a") }, "oa"),
        (Request::ResumeQueue { queue: queue("a") }, "oa"),
        (Request::SetRetention { queue: queue("a"), finished_max: 5 }, "oa"),
        (Request::PutSchedule(schedule("s", "a")), "oa"),
        (Request::PauseSchedule { name: name() }, "oa"),
        (Request::ResumeSchedule { name: name() }, "oa"),
        (Request::TriggerSchedule { name: name() }, "oa"),
        (Request::DeleteSchedule { name: name() }, "oa"),
        (Request::StartBulk(bulk()), "oa"),
        (Request::CancelBulk { id: 1 }, "oa"),
        (Request::GetCluster, "voa"),
        (Request::DrainNode { node: None, hold_ms: 1 }, "oa"),
        (Request::ListAudit { before: None, limit: None }, "oa"),
        (Request::ListTokens, "a"),
        (Request::CreateToken(spec("new", Role::Viewer)), "a"),
        (Request::RevokeToken { token: "nobody".to_owned() }, "a"),
    ]
}

#[tokio::test]
async fn every_role_may_what_the_table_says_of_every_request() {
    let (server, tokens) = closed(false).await;
    let requests = requests();
    let mut asked: Vec<Operation> = requests.iter().map(|(request, _)| Operation::of(request)).collect();
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len(), requests.len(), "each request once");
    // Work, Faktory's own commands and the greeting are no requests; everything else has to be in the table.
    let others = Operation::ALL.len() - requests.len();
    assert_eq!(
        others,
        ["greet", "fetch", "report", "heartbeat", "progress", "leave", "mutate", "flush", "remove"].len()
    );
    server.api().call(Request::Enqueue { queue: queue("a"), jobs: vec![job()] }).await.expect("a queue");
    for (role, token) in &tokens {
        let client = connect(&server, &token.secret).await.expect("a good token");
        for (request, who) in &requests {
            let result = client.call(request.clone()).await;
            let may = who.contains(&role.name()[..1]);
            assert_eq!(!is_denied(&result), may, "{role} {request:?}: {result:?}");
        }
    }
}

/// Who may say that it is a worker, and what becomes of one who only says it is a client and then takes jobs.
#[tokio::test]
async fn only_workers_and_admins_take_jobs() {
    let (server, tokens) = closed(false).await;
    for (role, token) in &tokens {
        let worker = Worker::builder(server.native_addr().to_string())
            .token(&token.secret)
            .gossip(false)
            .queues(["a"])
            .handle("k", |_job: windlass_worker::JobCtx| async {})
            .build();
        let run = worker.run_until(tokio::time::sleep(std::time::Duration::from_millis(300)));
        let result = run.await;
        let may = matches!(role, Role::Worker | Role::Admin);
        assert_eq!(result.is_ok(), may, "{role}: {result:?}");
        assert!(may || is_denied(&result), "{role}: {result:?}");
    }
}

#[tokio::test]
async fn strangers_are_told_the_same_whatever_is_wrong() {
    let (server, tokens) = closed(false).await;
    let good = &tokens[0].1.secret;
    let other = windlass_core::access::TokenText::new(1, [0; 32]).to_text();
    let last = if good.ends_with('0') { "1" } else { "0" };
    let wrong = format!("{}{last}", &good[..good.len() - 1]);
    for text in ["", "x", &wrong, &other, &good.to_uppercase()] {
        let result = connect(&server, text).await.map(|_| ());
        assert!(is_denied(&result), "{text}: {result:?}");
        assert!(!format!("{result:?}").contains(&good[20..]));
    }
    let none = windlass_worker::Client::connect(server.native_addr().to_string()).await.map(|_| ());
    assert!(is_denied(&none), "{none:?}");
}

#[tokio::test]
async fn a_limited_token_stays_within_its_queues() {
    let (server, _) = closed(false).await;
    let token = make(&server, limited("mail", Role::Operator, &["mail*"])).await.expect("a token");
    let api = server.api();
    let mut ids = Vec::new();
    for name in ["mail.eu", "other"] {
        let mut spec = job();
        spec.id = Some(JobId::v7(windlass_core::time::Timestamp(1_700_000_000_000), rand::random()));
        ids.extend(spec.id);
        api.call(Request::Enqueue { queue: queue(name), jobs: vec![spec] }).await.expect("enqueued");
        api.call(Request::PutSchedule(schedule(name, name))).await.expect("put");
    }
    let client = connect(&server, &token.secret).await.expect("a good token");
    let code = |result: Result<Response, Error>| match result {
        Ok(_) => None,
        Err(Error::Server(e)) => Some(e.code),
        Err(other) => panic!("{other:?}"),
    };
    // The same request about what it reaches, and about what it does not.
    type Make = fn(&str, JobId) -> Request;
    let pairs: [(Make, ErrorCode); 9] = [
        (|name, _| Request::Enqueue { queue: queue(name), jobs: vec![job()] }, ErrorCode::Denied),
        (|name, _| Request::PauseQueue { queue: queue(name) }, ErrorCode::Denied),
        (|name, _| Request::PutSchedule(schedule("new", name)), ErrorCode::Denied),
        (|name, _| Request::GetSchedule { name: name.to_owned() }, ErrorCode::Denied),
        (|name, _| Request::DeleteSchedule { name: name.to_owned() }, ErrorCode::Denied),
        (|_, id| Request::GetJob { id }, ErrorCode::NotFound),
        (|_, id| Request::CancelJob { id }, ErrorCode::NotFound),
        (|_, id| Request::RetryJob { id }, ErrorCode::NotFound),
        (|_, id| Request::DeleteJob { id }, ErrorCode::NotFound),
    ];
    for (make, refusal) in pairs {
        let asked = make("mail.eu", ids[0]);
        assert_eq!(code(client.call(asked.clone()).await), None, "{asked:?}");
        let asked = make("other", ids[1]);
        assert_eq!(code(client.call(asked.clone()).await), Some(refusal), "{asked:?}");
    }
    // What belongs to another queue cannot be taken from it either.
    assert_eq!(
        code(client.call(Request::PutSchedule(schedule("other", "mail.eu"))).await),
        Some(ErrorCode::Denied)
    );
    assert_eq!(code(client.call(Request::StartBulk(bulk())).await), Some(ErrorCode::Denied));
    let Ok(Response::Queues(queues)) = client.call(Request::ListQueues).await else { panic!("queues") };
    assert_eq!(queues.iter().map(|q| q.name.as_str()).collect::<Vec<_>>(), ["mail.eu"]);
    let Ok(Response::Jobs(page)) = client.call(Request::SearchJobs(JobSearch::default())).await else {
        panic!("jobs")
    };
    assert!(!page.jobs.is_empty() && page.jobs.iter().all(|job| job.queue.as_str() == "mail.eu"));
    let Ok(Response::Schedules(all)) = client.call(Request::ListSchedules).await else { panic!("schedules") };
    assert!(all.iter().all(|schedule| schedule.spec.queue.as_str() == "mail.eu"));
    assert!(server.api().call(Request::GetJob { id: ids[1] }).await.is_ok(), "nothing happened to the other");

    let worker = make(&server, limited("mailer", Role::Worker, &["mail*"])).await.expect("a token");
    for (name, may) in [("mail.eu", true), ("other", false)] {
        let worker = Worker::builder(server.native_addr().to_string())
            .token(&worker.secret)
            .gossip(false)
            .queues([name])
            .handle("k", |_job: windlass_worker::JobCtx| async {})
            .build();
        let result = worker.run_until(tokio::time::sleep(std::time::Duration::from_millis(300))).await;
        assert_eq!(result.is_ok(), may, "{name}: {result:?}");
        assert!(may || is_denied(&result), "{name}: {result:?}");
    }
}

#[tokio::test]
async fn the_first_token_is_an_admins_and_the_last_one_stays() {
    let server = windlass_scheduler::testing::TestServer::start();
    let open =
        windlass_worker::Client::connect(server.native_addr().to_string()).await.expect("everybody may");
    for early in [
        spec("ops", Role::Operator),
        windlass_core::api::TokenSpec { expires_in_ms: Some(5), ..spec("a", Role::Admin) },
    ] {
        let error = make(&server, early).await.expect_err("it would lock everybody out");
        assert!(error.code == ErrorCode::Invalid && error.message.contains("--role admin"), "{error}");
    }
    open.call(Request::CreateToken(spec("first", Role::Admin))).await.expect("and its maker is told");
    let error = open.call(Request::ListQueues).await;
    assert!(error.is_err(), "who came in before has to come again: {error:?}");
    for (again, code) in [
        (spec("first", Role::Viewer), ErrorCode::Conflict),
        (spec("two words", Role::Viewer), ErrorCode::Invalid),
        (limited("boss", Role::Admin, &["a"]), ErrorCode::Invalid),
    ] {
        assert_eq!(make(&server, again).await.expect_err("refused").code, code);
    }
    let revoke = |token: &str| server.api().call(Request::RevokeToken { token: token.to_owned() });
    assert_eq!(revoke("first").await.expect_err("the last one").code, ErrorCode::Conflict);
    assert_eq!(revoke("nobody").await.expect_err("unknown").code, ErrorCode::NotFound);
    make(&server, spec("second", Role::Admin)).await.expect("a token");
    revoke("first").await.expect("there is another");
}
